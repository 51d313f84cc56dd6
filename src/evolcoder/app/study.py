"""A blind review: which two answers a person sees to which task, in which order, on which side.

A study is fixed when it is begun and written down whole, answers included, so that a later run cannot change
what was voted on. What a reviewer sees follows from the study and the reviewer's name alone.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from evolcoder.errors import DataError, UserError
from evolcoder.runs import content_hash, write_json_whole

STUDY_NAME = "study.json"
BLOCK = 10
"""Reviewers go through the study block by block, so that two who stop half way have tasks in common."""
_FORMAT = 1

Criterion = Literal["correctness", "readability"]
CRITERIA: tuple[Criterion, ...] = ("correctness", "readability")
Choice = Literal["a", "tie", "b"]
CHOICES: tuple[Choice, ...] = ("a", "tie", "b")


@dataclass(frozen=True, slots=True)
class Item:
    """One task with the answers of two models."""

    number: int
    task: str
    """The benchmark's task id, or the instruction's number."""
    prompt: str
    models: tuple[str, str]
    answers: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Study:
    """What reviewers are asked."""

    id: str
    """Names the study by its content."""
    title: str
    seed: int
    items: tuple[Item, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """All models in the study, in order."""
        return tuple(dict.fromkeys(name for item in self.items for name in item.models))


@dataclass(frozen=True, slots=True)
class Shown:
    """One item as one reviewer sees it."""

    item: Item
    swapped: bool
    """Whether answer A is of the item's second model."""

    @property
    def answers(self) -> tuple[str, str]:
        """Answer A and answer B."""
        return self.item.answers[::-1] if self.swapped else self.item.answers

    @property
    def models(self) -> tuple[str, str]:
        """The models behind A and B; never for the reviewer's eyes."""
        return self.item.models[::-1] if self.swapped else self.item.models


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model with its answers by task."""

    name: str
    answers: Mapping[str, str]


def make_study(
    title: str, prompts: Mapping[str, str], contestants: Sequence[Contestant], tasks: int, seed: int = 0
) -> Study:
    """Return a study of every pair of contestants on `tasks` random tasks that they answered differently.

    Raises UserError for fewer than two contestants, names used twice, or nothing to compare.
    """
    names = [contestant.name for contestant in contestants]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"a review needs two models or more, each once; found {', '.join(names) or 'none'}")
    common = [task for task in prompts if all(task in contestant.answers for contestant in contestants)]
    items: list[Item] = []
    chosen = 0
    for task in sorted(common, key=lambda task: content_hash("task", seed, task)):
        pairs = [
            (a, b)
            for a, b in itertools.combinations(contestants, 2)
            if a.answers[task].strip() != b.answers[task].strip()
        ]
        for a, b in pairs:
            answers = (a.answers[task], b.answers[task])
            items.append(Item(len(items), task, prompts[task], (a.name, b.name), answers))
        chosen += bool(pairs)
        if chosen == tasks:
            break
    if not items:
        raise UserError(f"{' and '.join(names)} have no task with different answers in common")
    return Study(content_hash(title, seed, [asdict(item) for item in items])[:12], title, seed, tuple(items))


def schedule(study: Study, reviewer: str) -> list[Shown]:
    """Return the study in this reviewer's order by block, models on both sides about equally often."""

    def drawn(*what: object) -> str:
        return content_hash(study.id, reviewer, *map(str, what))

    items = sorted(study.items, key=lambda item: content_hash(study.id, "item", item.number))
    shown: list[Shown] = []
    sides: dict[tuple[str, str], int] = {}
    for start in range(0, len(items), BLOCK):
        for item in sorted(items[start : start + BLOCK], key=lambda item: drawn("order", item.number)):
            # Pair after pair of appearances: the first side by lot, then the other one.
            met = sides.get(item.models, 0)
            sides[item.models] = met + 1
            lot = int(drawn("side", *item.models, met // 2), 16) % 2
            shown.append(Shown(item, swapped=(lot + met) % 2 == 1))
    return shown


def write_study(study: Study, folder: Path) -> Path:
    """Write a study into a folder of its own under `folder` and return that; one that is there stays."""
    words = "-".join(re.findall(r"[a-z0-9]+", study.title.lower()))[:60]
    target = folder / f"{words or 'review'}-{study.id}"
    if not (target / STUDY_NAME).exists():
        write_json_whole(target / STUDY_NAME, {"format": _FORMAT, **asdict(study)})
    return target


def read_study(folder: Path) -> Study:
    """Read a study; raises DataError where the file is missing or not one."""
    path = folder / STUDY_NAME
    try:
        data = json.loads(path.read_bytes())
        items = tuple(
            Item(int(i["number"]), str(i["task"]), str(i["prompt"]), _two(i["models"]), _two(i["answers"]))
            for i in data["items"]
        )
        if data["format"] != _FORMAT or [item.number for item in items] != list(range(len(items))):
            raise ValueError(f"format {_FORMAT} with items numbered from 0 is expected")
        return Study(str(data["id"]), str(data["title"]), int(data["seed"]), items)
    except FileNotFoundError:
        raise DataError(f"{folder}: no review study there ({STUDY_NAME} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a review study ({type(error).__name__}: {error})") from error


def studies_in(folder: Path) -> dict[str, Path]:
    """Return the studies under a folder, newest first: their folder by its name."""
    found = [path.parent for path in folder.glob(f"*/{STUDY_NAME}")]
    found.sort(key=lambda path: (path / STUDY_NAME).stat().st_mtime_ns, reverse=True)
    return {path.name: path for path in found}


def _two(values: Sequence[str]) -> tuple[str, str]:
    first, second = values
    return str(first), str(second)
