"""The licences of a run's seeds, teacher and base model, as far as they are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from evolcoder.instructions import SHIPPED_SEEDS
from evolcoder.licences import Link, model_link, restrictions, resulting_licence, seed_link
from evolcoder.report.rows import numbered_rows
from evolcoder.report.run_folder import Run

__all__ = ["Link", "licence_chain", "restrictions", "resulting_licence"]


def licence_chain(run: Run) -> tuple[Link, ...]:
    """Return what the run's data and models were made from, seeds first, then teacher and base model."""
    return (*_seed_links(run), _model_link("teacher", run), _model_link("base model", run))


def _seed_links(run: Run) -> list[Link]:
    """One link for each licence that the seeds' rows name."""
    seeds = run.recipe.get("seeds")
    source = str(seeds.get("source", SHIPPED_SEEDS)) if isinstance(seeds, Mapping) else SHIPPED_SEEDS
    known = seed_link(source)
    rows = numbered_rows(run.seeds) if run.seeds else ()
    counts = Counter(str(row.get("license") or "").lower() for _, row in rows)
    return [
        Link("seeds", known.name, licence or known.licence, f"{count:,} rows")
        for licence, count in counts.most_common()
    ] or [known]


def _model_link(role: str, run: Run) -> Link:
    section: Any = run.recipe.get("teacher" if role == "teacher" else "base")
    return model_link(
        role, str(section.get("model", "embedded")) if isinstance(section, Mapping) else "embedded"
    )
