"""Opens a model from one string; loads only the backend it names.

embedded                    SmolLM2-135M-Instruct, in this process
FOLDER, FILE.gguf, NAME     a local or Hugging Face model, in this process
openai:NAME                 NAME at --base-url, else at OPENAI_BASE_URL, else at OpenAI
openai:NAME@URL             the same with the address in the string
openai:NAME@URL#VARIABLE    the same with its key in another environment variable

FILE.py, FILE.py:NAME       a backend of the user's own: what `load()` of the file returns is called with NAME

Several that begin with "openai:", with commas between them, are one model that spreads requests over all;
`3*` before one, or before an address, gives it three times the share of the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from evolcoder.errors import JournalError, ModelError, UserError
from evolcoder.models.budget import SpendingBudget
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import LanguageModel
from evolcoder.models.stats import RequestStats
from evolcoder.own_files import load_own_file

if TYPE_CHECKING:
    from evolcoder.models.endpoint.pricing import Price

_log = logging.getLogger(__name__)
REMOTE_PREFIX = "openai:"
_OWN = re.compile(r"(.+\.py)(?::(.*))?")
_WEIGHTED = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?(.+)")


def is_remote(ref: str) -> bool:
    """Whether a MODEL string names a model behind an endpoint."""
    return ref.startswith(REMOTE_PREFIX)


def own_backend(ref: str) -> tuple[Path, str] | None:
    """Return (file, NAME) of a MODEL string that names a user's own backend; None for any other."""
    found = None if is_remote(ref) else _OWN.fullmatch(ref)
    return None if found is None else (Path(found[1]), found[2] or "")


def open_own(file: Path, name: str) -> LanguageModel:
    """Open a model of a user's own backend; raises UserError for a mistake in the file."""
    backend = load_own_file(file)[0]
    if not callable(backend):
        raise UserError(f"{file}: a function load() that returns a LanguageModel's class is expected")
    return cast(LanguageModel, backend(name))


def check_model(ref: str) -> None:
    """Find out that a model is there, without its weights or its endpoint.

    Raises ModelError for weights that are not there, UserError for a mistake in a user's own backend.
    """
    if (own := own_backend(ref)) is not None:
        open_own(*own)
    elif not is_remote(ref):
        from evolcoder.models.local.weights import locate_weights

        locate_weights(ref)


def open_model(
    ref: str,
    *,
    base_url: str | Sequence[str] | None = None,
    journal: Journal | None = None,
    settings: EndpointSettings | None = None,
    local: LocalSettings | None = None,
    budget: SpendingBudget | None = None,
) -> LanguageModel:
    """Open a model; with a journal, every reply is kept and none is asked for twice.

    `base_url` may be several addresses that serve the same weights. `budget` is shared by all models of a
    run; what its journal's earlier sittings spent must have been counted into it (see `budget_of`). Raises
    ModelError where the string names nothing, a key is missing, or a budget in dollars has no price to go by.
    """
    settings = settings or EndpointSettings()
    model: LanguageModel
    if len(parts := _teachers_in(ref)) > 1:
        return _open_pool(parts, base_url, journal, settings, budget)
    if is_remote(ref):
        model = _open_remote(ref, base_url, journal, settings, budget, RequestStats())
        if journal is not None:
            _count_unpriced_elsewhere(journal, [ref], base_url, settings, budget)
            collect = _earlier_batches(journal, [ref], base_url, settings, budget)
            return JournaledModel(model, journal, collect)
    elif (own := own_backend(ref)) is not None:
        model = open_own(*own)
    else:
        if base_url:
            raise ModelError(f"--base-url goes with a model {REMOTE_PREFIX}NAME, found {ref!r}")
        from evolcoder.models.local.local_model import LocalModel

        model = LocalModel(ref, local or LocalSettings(), journal.flushed if journal is not None else None)
    return model if journal is None else JournaledModel(model, journal)


def budget_of(journal: Journal | None, max_usd: float | None, max_requests: int | None) -> SpendingBudget:
    """Return a run's budget with what earlier sittings spent, as its journal says."""
    budget = SpendingBudget(max_usd, max_requests)
    if journal is not None and budget.limited:
        totals = journal.totals()
        budget.count_earlier(totals.spent_usd, totals.requests_sent)
        budget.estimated_usd += totals.counts.get("estimated usd", 0.0)
        budget.noted = journal.counts_kept
    return budget


def _teachers_in(ref: str) -> list[tuple[float, str]]:
    """Return (weight, MODEL) of each teacher in a string that names several remote ones; else nothing."""
    parts = [_WEIGHTED.fullmatch(part.strip()) for part in ref.split(",")]
    found = [(float(part[1] or 1), part[2]) for part in parts if part is not None]
    if len(found) == len(parts) and all(is_remote(name) for _, name in found):
        return found
    if len(found) > 1 and any(is_remote(name) for _, name in found):
        local = next(name for _, name in found if not is_remote(name))
        raise ModelError(f"several teachers must all be {REMOTE_PREFIX}NAME, found {local!r} among them")
    return []


def _open_pool(
    parts: list[tuple[float, str]],
    base_url: str | Sequence[str] | None,
    journal: Journal | None,
    settings: EndpointSettings,
    budget: SpendingBudget | None,
) -> LanguageModel:
    from evolcoder.models.teacher_pool import Teacher, TeacherPool

    names = [name for _, name in parts]
    if len(set(names)) < len(names) or any(weight <= 0 for weight, _ in parts):
        raise ModelError(f"teachers {', '.join(names)}: different ones with weights above 0 are expected")
    stats = RequestStats()
    teachers, collect = [], None
    if journal is not None:
        collect = _earlier_batches(journal, names, base_url, settings, budget)
    for weight, name in parts:
        model = _open_remote(name, base_url, journal, settings, budget, stats)
        teachers.append(
            Teacher(model if journal is None else JournaledModel(model, journal, collect), weight)
        )
    if journal is not None:
        _count_unpriced_elsewhere(journal, names, base_url, settings, budget)
    return TeacherPool(teachers, stats)


def _open_remote(
    ref: str,
    base_url: str | Sequence[str] | None,
    journal: Journal | None,
    settings: EndpointSettings,
    budget: SpendingBudget | None,
    stats: RequestStats,
) -> LanguageModel:
    from evolcoder.models.endpoint.address import shown_url
    from evolcoder.models.endpoint.http_model import HttpModel
    from evolcoder.models.endpoint.pricing import dearest_price, price_for

    ref, _, variable = ref.partition("#")
    if variable:
        if not os.environ.get(variable, "").strip():
            raise ModelError(
                f"model {ref}: its key is expected in the environment variable {variable}, unset"
            )
        settings = replace(settings, api_key_env=variable)
    name, addresses = _addresses(ref, base_url)
    urls = [url for _, url in addresses]
    price = dearest_price(name, urls, settings)
    if budget is not None and budget.max_usd is not None:
        if price is None:
            unknown = next(url for url in urls if price_for(name, url, settings) is None)
            raise ModelError(
                f"max_usd needs a price for {name!r} at {shown_url(unknown)}, and none is known: "
                "set usd_per_million_input and usd_per_million_output of the endpoint"
            )
        if journal is not None:
            _count_unpriced(journal, name, price, budget)
    if settings.batch:
        from evolcoder.models.endpoint.batch_api import BatchModel

        if journal is None or len(urls) > 1:
            raise ModelError("batch = true needs a journal and one address: batches outlive the process")
        return BatchModel(name, urls[0], settings, journal, price=price, budget=budget, stats=stats)
    return HttpModel(
        name,
        urls,
        settings,
        weights=[weight for weight, _ in addresses],
        price=price,
        budget=budget,
        journal=journal,
        stats=stats,
    )


def _earlier_batches(
    journal: Journal,
    refs: Sequence[str],
    base_url: str | Sequence[str] | None,
    settings: EndpointSettings,
    budget: SpendingBudget | None,
) -> Callable[[], Awaitable[None]] | None:
    """Return what collects the batches that earlier sittings submitted to these models; None where none is.

    Raises JournalError where one was submitted to an address that is not among those of its model now.
    """
    if not (batches := journal.open_batches()):
        return None
    from evolcoder.models.endpoint.address import checked_base_url, shown_url
    from evolcoder.models.endpoint.batch_api import BatchModel
    from evolcoder.models.endpoint.pricing import price_for

    as_batch = replace(settings, batch=True)
    collectors: dict[tuple[str, str], BatchModel] = {}
    for ref in refs:
        ref, _, variable = ref.partition("#")
        name, addresses = _addresses(ref, base_url)
        own = replace(as_batch, api_key_env=variable) if variable else as_batch
        for _, url in addresses:
            price = price_for(name, url, own)
            place = (settings.key_name(name), shown_url(checked_base_url(url)))
            collectors[place] = BatchModel(name, url, own, journal, price=price, budget=budget)
    for batch in batches:
        addresses_now = [shown for name, shown in collectors if name == batch.model]
        if addresses_now and batch.base_url not in addresses_now:
            raise JournalError(
                f"{journal.path}: batch {batch.batch_id or batch.marker} of {batch.n_requests} requests was "
                f"submitted to {batch.base_url} and is not collected yet: continue with --batch and "
                f"--base-url {batch.base_url}; `evolcoder journal {journal.path} --drop-batches` asks its "
                "requests anew"
            )
    if settings.batch:
        return None  # the model itself waits for them
    at_work, collected = asyncio.Lock(), False

    async def collect() -> None:
        nonlocal collected
        async with at_work:
            for collector in () if collected else collectors.values():
                await collector.collect()
            collected = True

    return collect


def remote_price(ref: str, base_url: str | Sequence[str] | None, settings: EndpointSettings) -> Price | None:
    """Return the price of a remote model, of the first where several are named; None where none is known.

    Raises ModelError as `open_model` does.
    """
    from evolcoder.models.endpoint.pricing import dearest_price

    (_, first), *_ = _teachers_in(ref)
    name, addresses = _addresses(first.partition("#")[0], base_url)
    return dearest_price(name, [url for _, url in addresses], settings)


def _count_unpriced(journal: Journal, name: str, price: Price, budget: SpendingBudget) -> None:
    """Count towards a limit, at the price known now, what earlier sittings got of this model without one."""
    earlier = journal.give_prices(name, price)
    budget.count_earlier(earlier.usd, 0)
    budget.estimated_usd += earlier.estimated_usd
    if earlier.unknown:
        _log.warning(
            "%s: %d earlier answers of %s came without a count of tokens and without a price: max_usd cannot "
            "count them",
            *(journal.path, earlier.unknown, name),
        )


def _count_unpriced_elsewhere(
    journal: Journal,
    refs: Sequence[str],
    base_url: str | Sequence[str] | None,
    settings: EndpointSettings,
    budget: SpendingBudget | None,
) -> None:
    """Count towards a limit what earlier sittings got without a price of models that are not asked now.

    Nobody says what those cost: the dearest price of those that are asked stands for it, and it is told.
    """
    if budget is None or budget.max_usd is None:
        return
    from evolcoder.models.endpoint.pricing import dearest_price

    named = [_addresses(ref.partition("#")[0], base_url) for ref in refs]
    prices = [dearest_price(name, [url for _, url in places], settings) for name, places in named]
    known = [price for price in prices if price is not None]
    found = journal.unpriced_elsewhere(
        [name for name, _ in named], lambda *tokens: max(price(*tokens) for price in known)
    )
    budget.count_earlier(found.usd, 0)
    budget.estimated_usd += found.usd
    if found.replies:
        _log.warning(
            "%s: %d earlier answers of %s have no price: max_usd counts them at that of %s, %.4f US dollars",
            *(journal.path, found.replies, ", ".join(found.models)),
            *(", ".join(name for name, _ in named), found.usd),
        )


def _addresses(ref: str, base_url: str | Sequence[str] | None) -> tuple[str, list[tuple[float, str]]]:
    """Return the name of a remote model, and (weight, address) of each server; raises ModelError."""
    from evolcoder.models.endpoint.address import OPENAI_URL, shown_url

    name, at, inline = ref.removeprefix(REMOTE_PREFIX).partition("@http")
    if not name:
        raise ModelError(f"model {ref!r}: {REMOTE_PREFIX}NAME is expected")
    if at:
        base_url = "http" + inline
        # The string names the model in results, cards and pages, and a query may hold a secret.
        if "?" in inline:
            raise ModelError(f"model {shown_url(ref)!r}: an address with a query belongs into --base-url")
    named = [base_url] if isinstance(base_url, str) else base_url
    return name, [_weighted(text) for text in named or [os.environ.get("OPENAI_BASE_URL") or OPENAI_URL]]


def _weighted(text: str) -> tuple[float, str]:
    """Return (weight, address) of "3*URL" or "URL"; raises ModelError for a weight of 0."""
    from evolcoder.models.endpoint.address import shown_url

    found = _WEIGHTED.fullmatch(text.strip())
    weight, url = (1.0, text) if found is None else (float(found[1] or 1), found[2])
    if weight <= 0:
        raise ModelError(f"base URL {shown_url(text)!r}: a weight above 0 is expected")
    return weight, url
