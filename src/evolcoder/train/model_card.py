"""The model card of a checkpoint: where it comes from, what it was taught, what it scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from evolcoder.records import Instruction, Score
from evolcoder.runs import write_text_whole

# Licence and name of the base model that comes with the project; others are named as the user named them.
_EMBEDDED = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")


def data_lineage(data: Sequence[Instruction]) -> dict[str, Any]:
    """Count rows by round, method and teacher, and seeds by their source's licence column where given."""
    return {
        "rows_by_round": _counts(str(row.lineage.round) for row in data),
        "rows_by_method": _counts(row.lineage.method or "seed" for row in data),
        "rows_by_teacher": _counts(row.lineage.teacher or "none (seeds)" for row in data),
        "licenses": _counts(str(row.extra.get("license") or "not given") for row in data),
    }


def _counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def write_model_card(
    checkpoint: Path, scores: Sequence[Score] = (), *, name: str | None = None, license_: str | None = None
) -> Path:
    """Write README.md beside a checkpoint from its training.json and, after evaluation, its scores."""
    facts = json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))
    base = facts["base"]
    if base == "embedded":
        base, license_ = _EMBEDDED[0], license_ or _EMBEDDED[1]
    header: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "evol-instruct", "evolcoder"],
    }
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        header["base_model"] = base
    if license_:
        header["license"] = license_
    name = name or checkpoint.resolve().name
    if scores:
        header["model-index"] = [{"name": name, "results": [_result(score) for score in scores]}]
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    text = f"---\n{front}---\n\n{_body(name, base, facts, scores)}"
    path = checkpoint / "README.md"
    write_text_whole(path, text)
    return path


def _result(score: Score) -> dict[str, Any]:
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": score.benchmark, "type": score.benchmark.split()[0]},
        "metrics": [
            {
                "name": f"pass@{score.k}",
                "type": "pass@k",
                "value": round(100 * score.value, 2),
                "verified": False,
            }
        ],
    }


def _body(name: str, base: str, facts: dict[str, Any], scores: Sequence[Score]) -> str:
    settings = facts["settings"]
    batch = (
        f"{settings['batch_tokens']} tokens"
        if settings["batch_tokens"]
        else f"{settings['batch_size']} sequences"
    )
    lineage = facts["data"]
    lines = [
        f"# {name}",
        "",
        f"Fine-tuned from `{base}` with evolcoder {facts['evolcoder']} on {facts['rows']:,} instruction "
        "rows, loss on the responses only.",
        "",
        "## Training",
        "",
        "| setting | value |",
        "|---|---|",
        f"| steps | {len(facts['losses'])} |",
        f"| batch | {batch} |",
        f"| learning rate | {settings['learning_rate']:g}, {settings['schedule']} |",
        f"| warm-up | {settings['warmup_steps']} steps |",
        f"| longest sequence | {settings['max_length']} tokens |",
        f"| number format | {settings['dtype']} |",
        f"| method | {'LoRA, rank ' + str(settings['lora']) if settings['lora'] else 'full fine-tuning'} |",
        f"| prompt | {settings['prompt_style']} |",
        f"| tokens | {facts['tokens']:,} ({facts['supervised_tokens']:,} supervised) |",
        f"| loss, first and last step | {facts['losses'][0]:.3f}, {facts['losses'][-1]:.3f} |",
        "",
        "## Data",
        "",
        "| | rows |",
        "|---|---|",
        *(f"| round {number} | {count:,} |" for number, count in lineage["rows_by_round"].items()),
        *(f"| method: {method} | {count:,} |" for method, count in lineage["rows_by_method"].items()),
        *(f"| teacher: {teacher} | {count:,} |" for teacher, count in lineage["rows_by_teacher"].items()),
        *(f"| licence: {license_} | {count:,} |" for license_, count in lineage["licenses"].items()),
        "",
        "The terms of the base model, the seeds and the teacher's provider apply to this model as well.",
    ]
    if scores:
        lines += ["", "## Scores", "", "| benchmark | metric | score | 95% interval |", "|---|---|---|---|"]
        lines += [
            f"| {s.benchmark} | pass@{s.k} | {100 * s.value:.1f} | {100 * s.low:.1f} to {100 * s.high:.1f} |"
            for s in scores
        ]
    return "\n".join(lines) + "\n"
