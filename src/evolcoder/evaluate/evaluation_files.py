"""The folder of one evaluation: its files, and that they are not written over by another evaluation's."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from evolcoder.errors import UserError
from evolcoder.runs import content_hash, write_json_whole, write_jsonl_whole

_NO_MATTER = ("sandbox", "problems")
"""Named in a score, but of the machine or of how far it went: the same evaluation may go on."""


def refuse_other_scores(
    file: Path, named: Mapping[str, str], free: Collection[str] = (), problems: Collection[str] = ()
) -> None:
    """Raise UserError where `file` holds scores of another model, by other settings or of further problems.

    `named` is what names the scores to be written, which are of `problems`; its keys in `free` may differ.
    """
    try:
        scores = json.loads(file.read_bytes())
        earlier = scores.get("settings", scores)
        differing = [
            f"{key} {earlier[key]} there, {value} now"
            for key, value in named.items()
            if key not in (*_NO_MATTER, *free) and earlier.get(key, value) != value
        ]
        there = scores.get("problems", ())
        if left_out := len(set(there) - set(problems)):
            differing.append(f"{left_out} of the {len(there)} problems there are left out now")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if differing:
        raise UserError(
            f"{file.parent} holds the scores of another evaluation ({'; '.join(differing)}); "
            "name another folder, or --overwrite"
        )


def write_evaluation(
    out: Path,
    samples: Iterable[Any],
    verdicts: Iterable[Any],
    scores: Mapping[str, Any],
    named: Mapping[str, str],
    tokens: int,
    seconds: float,
) -> None:
    """Write the files; what was timed stands in `timing.json` alone, so that a rerun gives the same bytes."""
    write_jsonl_whole(out / "samples.jsonl", samples)
    write_jsonl_whole(out / "verdicts.jsonl", verdicts)
    settings = {"settings": dict(named), "hash": content_hash(named)[:16], "tokens": tokens}
    write_json_whole(out / "scores.json", {**scores, **settings})
    write_json_whole(out / "timing.json", {"seconds": round(seconds, 1)})
