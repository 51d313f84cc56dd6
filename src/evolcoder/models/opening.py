"""Opens a model from one string; loads only the backend it names.

embedded                    SmolLM2-135M-Instruct, in this process
FOLDER, FILE.gguf, NAME     a local or Hugging Face model, in this process
openai:NAME                 NAME at --base-url, else at OPENAI_BASE_URL, else at OpenAI
openai:NAME@URL             the same with the address in the string
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from evolcoder.errors import ModelError
from evolcoder.models.budget import Budget
from evolcoder.models.journal import Journal, JournaledModel
from evolcoder.models.local_settings import LocalSettings
from evolcoder.models.protocol import LanguageModel
from evolcoder.models.settings import EndpointSettings

REMOTE_PREFIX = "openai:"


def is_remote(ref: str) -> bool:
    """Whether a MODEL string names a model behind an endpoint."""
    return ref.startswith(REMOTE_PREFIX)


def open_model(
    ref: str,
    *,
    base_url: str | Sequence[str] | None = None,
    journal: Journal | None = None,
    settings: EndpointSettings | None = None,
    local: LocalSettings | None = None,
    budget: Budget | None = None,
) -> LanguageModel:
    """Open a model; with a journal, every reply is kept and none is asked for twice.

    `base_url` may be several addresses that serve the same weights. `budget` is shared by all models of a
    run; what its journal's earlier sittings spent must have been counted into it (see `budget_of`). Raises
    ModelError where the string names nothing, a key is missing, or a budget in dollars has no price to go by.
    """
    settings = settings or EndpointSettings()
    model: LanguageModel
    if is_remote(ref):
        model = _open_remote(ref, base_url, journal, settings, budget)
    else:
        if base_url:
            raise ModelError(f"--base-url goes with a model {REMOTE_PREFIX}NAME, found {ref!r}")
        from evolcoder.models.local import LocalModel

        model = LocalModel(ref, local or LocalSettings(), journal.flushed if journal is not None else None)
    return model if journal is None else JournaledModel(model, journal)


def budget_of(journal: Journal | None, max_usd: float | None, max_requests: int | None) -> Budget:
    """Return a run's budget with what earlier sittings spent, as its journal tells."""
    budget = Budget(max_usd, max_requests)
    if journal is not None and budget.limited:
        totals = journal.totals()
        budget.count_earlier(totals.spent_usd, totals.requests_sent)
    return budget


def _open_remote(
    ref: str,
    base_url: str | Sequence[str] | None,
    journal: Journal | None,
    settings: EndpointSettings,
    budget: Budget | None,
) -> LanguageModel:
    from evolcoder.models.endpoint import OPENAI_URL
    from evolcoder.models.http import HttpModel
    from evolcoder.models.pricing import price_for

    name, at, inline = ref.removeprefix(REMOTE_PREFIX).partition("@http")
    if not name:
        raise ModelError(f"model {ref!r}: {REMOTE_PREFIX}NAME is expected")
    if at:
        urls = ["http" + inline]
    elif isinstance(base_url, str):
        urls = [base_url]
    else:
        urls = list(base_url or [os.environ.get("OPENAI_BASE_URL") or OPENAI_URL])
    price = price_for(name, urls[0], settings)
    if budget is not None and budget.max_usd is not None and price is None:
        raise ModelError(
            f"max_usd needs a price for {name!r} at {urls[0]}, and none is known: "
            "set usd_per_million_input and usd_per_million_output of the endpoint"
        )
    return HttpModel(
        name, urls, settings, price=price, budget=budget, ledger=None if journal is None else journal.count
    )
