"""Scores that a folder holds are not written over by another evaluation's without a word."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from evolcoder.errors import UserError

_NO_MATTER = ("sandbox", "problems")
"""Named in a score, but of the machine or of how far it went: the same evaluation may go on."""


def refuse_other_scores(file: Path, named: Mapping[str, str], free: Collection[str] = ()) -> None:
    """Raise UserError where `file` holds the scores of another model, or by other settings.

    `named` is what names the scores to be written; those of its keys in `free` may differ.
    """
    try:
        scores = json.loads(file.read_bytes())
        earlier = scores.get("settings", scores)
        differing = [
            f"{key} {earlier[key]} there, {value} now"
            for key, value in named.items()
            if key not in (*_NO_MATTER, *free) and earlier.get(key, value) != value
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if differing:
        raise UserError(
            f"{file.parent} holds the scores of another evaluation ({'; '.join(differing)}); "
            "name another folder, or --overwrite"
        )
