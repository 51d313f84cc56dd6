"""The card inside a checkpoint: base model, data and settings. Scores are in the card of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolcoder.licences import Link, model_link
from evolcoder.model_cards import ModelCard, model_card_text
from evolcoder.records import Instruction
from evolcoder.runs import write_text_whole


def data_lineage(data: Sequence[Instruction]) -> dict[str, Any]:
    """Count rows by round, method and teacher, and by the licence that their column states."""
    return {
        "rows_by_round": _counts(str(row.lineage.round) for row in data),
        "rows_by_method": _counts(row.lineage.method or "seed" for row in data),
        "rows_by_teacher": _counts(row.lineage.teacher or "none (seeds)" for row in data),
        "licenses": _counts(str(row.extra.get("license") or "not given") for row in data),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def write_model_card(folder: Path, facts: Mapping[str, Any], name: str) -> None:
    """Write README.md beside the weights from what `training.json` says."""
    base = model_link("base model", str(facts["base"]))
    lineage = facts["data"]
    licences = [
        Link("data", f"{count:,} rows", "" if licence == "not given" else licence.lower())
        for licence, count in lineage["licenses"].items()
    ]
    teachers = [
        model_link("teacher", teacher) for teacher in lineage["rows_by_teacher"] if teacher != "none (seeds)"
    ]
    card = ModelCard(
        name=name,
        summary=f"`{base.name}`, fine-tuned on {facts['rows']:,} coding instructions, loss on the responses "
        f"only. Made with evolcoder {facts['evolcoder']}.",
        chain=(*licences, *teachers, base),
        training=facts,
        data=(
            "| | rows |",
            "|---|---|",
            *(f"| round {number} | {count:,} |" for number, count in lineage["rows_by_round"].items()),
            *(f"| method: {method} | {count:,} |" for method, count in lineage["rows_by_method"].items()),
            *(f"| teacher: {teacher} | {count:,} |" for teacher, count in lineage["rows_by_teacher"].items()),
        ),
    )
    write_text_whole(folder / "README.md", model_card_text(card))
