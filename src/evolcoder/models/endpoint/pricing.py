"""What a request costs: prices from the settings, or looked up for the vendor behind the address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from evolcoder.models.endpoint.address import checked_base_url
from evolcoder.models.endpoint.settings import EndpointSettings

Price = Callable[[int, int], float]
"""Returns what a request of so many prompt and answer tokens costs now, in US dollars."""


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """US dollars a token, whatever the hour and the length."""

    input_usd: float
    output_usd: float

    def __call__(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one request in US dollars."""
        return prompt_tokens * self.input_usd + completion_tokens * self.output_usd


BATCH_FACTOR = 0.5
"""The Batch API costs half (OpenAI's price list)."""


def dearest_price(model: str, base_urls: Sequence[str], settings: EndpointSettings) -> Price | None:
    """Return the price of a model that several addresses serve: of each request, what the dearest takes.

    None where the price at any of them is unknown. Raises ModelError for an address that is none.
    """
    prices = [price_for(model, url, settings) for url in base_urls]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return known[0] if len(known) == 1 else lambda *tokens: max(price(*tokens) for price in known)


def price_for(model: str, base_url: str, settings: EndpointSettings) -> Price | None:
    """Return the price of a model at an address; None where the settings give none and no vendor is known.

    Prices in the settings are what is billed, a batch discount included. Others are looked up for each
    request (package `genai-prices`): some vendors' prices change with the hour and the length of the prompt.
    Raises ModelError for an address that is none.
    """
    if settings.usd_per_million_input is not None and settings.usd_per_million_output is not None:
        return FixedPrice(settings.usd_per_million_input / 1e6, settings.usd_per_million_output / 1e6)
    if _is_private(base_url):
        return None  # somebody's own server: no list knows its price (and the lists cost 20 MB to load)
    factor = BATCH_FACTOR if settings.batch else 1.0

    def price(prompt_tokens: int, completion_tokens: int) -> float:
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        return factor * _looked_up(model, base_url, prompt_tokens, completion_tokens, now)

    try:
        price(1, 1)
    except LookupError:
        return None
    return price


@lru_cache(maxsize=256)
def _looked_up(
    model: str, base_url: str, prompt_tokens: int, completion_tokens: int, when: datetime
) -> float:
    """Return a vendor's price of one request at a time; raises LookupError where none is known."""
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens)
    found = calc_price(usage, model, provider_api_url=base_url, genai_request_timestamp=when)
    return float(found.total_price)


def _is_private(base_url: str) -> bool:
    host = urlsplit(checked_base_url(base_url)).hostname or ""
    return host in ("localhost", "") or "." not in host or host.replace(".", "").isdigit() or ":" in host
