"""What a request costs: prices from the settings, or looked up for the vendor behind the address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from evolcoder.models.endpoint.settings import EndpointSettings


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a token."""

    input_usd: float
    output_usd: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one request in US dollars."""
        return prompt_tokens * self.input_usd + completion_tokens * self.output_usd

    def times(self, factor: float) -> Price:
        """Return this price with a discount (0.5: the Batch API) or surcharge."""
        return Price(self.input_usd * factor, self.output_usd * factor)


BATCH_FACTOR = 0.5
"""The Batch API costs half (OpenAI's price list)."""


def price_for(model: str, base_url: str, settings: EndpointSettings) -> Price | None:
    """Return the price of a model at an address; None where the settings give none and no vendor is known.

    Prices in the settings are what is billed, a batch discount included. Looked-up prices come from the
    `genai-prices` package and are the vendor's base tier.
    """
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        return Price(settings.usd_per_million_input / 1e6, settings.usd_per_million_output / 1e6)
    if _is_private(base_url):
        return None  # somebody's own server: no list knows its price (and the lists cost 20 MB to load)
    price = _looked_up(model, base_url)
    return price.times(BATCH_FACTOR) if price is not None and settings.batch else price


def _looked_up(model: str, base_url: str) -> Price | None:
    from genai_prices import Usage, calc_price

    def usd(prompt_tokens: int, completion_tokens: int) -> float:
        usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens)
        return float(calc_price(usage, model, provider_api_url=base_url).total_price)

    try:
        return Price(usd(1000, 0) / 1000, usd(0, 1000) / 1000)
    except LookupError:
        return None


def _is_private(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "") or "." not in host or host.replace(".", "").isdigit() or ":" in host
