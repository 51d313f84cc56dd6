"""The data set's card: what is in it, how it was made, what was dropped and why, and under which terms."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from evolcoder import __version__
from evolcoder.evolve.looking import DataStats


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says beside counts."""

    name: str
    seeds: str = "not said"
    """Name of the seed set."""
    seed_licence: str = "other"
    """SPDX-like name, as the hub writes it; evolved rows derive from the seeds."""
    summaries: tuple[Path, ...] = ()
    """`summary.json` of each round."""
    eliminated_files: tuple[Path, ...] = ()
    decontaminated: tuple[str, ...] = ()
    """Benchmarks that the rows were checked against."""


def data_card(facts: CardFacts, stats: DataStats) -> str:
    """Return the card in the hub's form: YAML head, then Markdown."""
    eliminated: Counter[str] = Counter()
    for path in facts.summaries:
        eliminated.update(json.loads(path.read_text())["eliminated"])
    size = next((text for limit, text in _SIZES if stats.rows < limit), "n>1T")
    teachers = ", ".join(name for name in stats.teachers if name != "none") or "no model"
    lines = [
        "---",
        f"license: {facts.seed_licence}",
        "task_categories: [text-generation]",
        "tags: [code, instruction-tuning, evol-instruct, synthetic]",
        f"size_categories: [{size}]",
        "configs:",
        "- config_name: default",
        "  data_files: data/train.parquet",
        "---",
        f"# {facts.name}",
        "",
        f"{stats.rows} coding instructions with responses, of {stats.trees} seeds, made by",
        f"Code Evol-Instruct (WizardCoder, arXiv 2306.08568) with evolcoder {__version__}.",
        "",
        *_table("Round", "Rows", stats.rounds),
        *_table("Method", "Rows", stats.methods),
        *_table("Teacher", "Rows", stats.teachers),
        *_table("Verdict of the executed answer", "Rows", stats.verdicts),
        *_table("Eliminated because", "Rows", dict(eliminated.most_common())),
        "## Columns",
        "",
        "`instruction`, `input`, `response`; lineage: `id`, `seed_id`, `parent_id`, `round`, `method`,",
        "`teacher`; `requests`, `prompt_tokens`, `completion_tokens`, `cost_usd`;",
        "where answers were verified also `language`, `verdict`, `repairs`, `tests`.",
        "",
        "## Terms",
        "",
        f"- Seeds: {facts.seeds}, licence {facts.seed_licence}. Evolved rows derive from them.",
        f"- Written by: {teachers}. Check the",
        "  model's terms: some vendors forbid training competing models on its output.",
        "- Contamination: "
        + (
            f"rows were checked against {', '.join(facts.decontaminated)}; copies were dropped."
            if facts.decontaminated
            else "not checked. Run `evolcoder decontaminate` before you train and report scores."
        ),
        "",
    ]
    return "\n".join(lines)


_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def _table(what: str, count: str, counts: dict[int, int] | dict[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {n} |" for name, n in counts.items()]
    return [f"| {what} | {count} |", "|---|---|", *rows, ""]
