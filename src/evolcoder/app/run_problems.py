"""The problems a run was measured on: each sample of each round, its verdict, what changed.

One pass over the samples and verdicts keeps a few numbers a sample; programs are read again for the problem
that is looked at.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evolcoder.errors import EvolcoderError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.overlap import benchmark_of_folder
from evolcoder.evaluate.sample_files import response_of
from evolcoder.evaluate.sample_rows import RAW_FIELDS
from evolcoder.report.rows import numbered_rows, parse_row
from evolcoder.report.run_folder import Round, Run

Change = Literal["any", "gained", "lost", "changed", "always passed", "never passed"]
CHANGES: tuple[Change, ...] = ("any", "gained", "lost", "changed", "always passed", "never passed")


@dataclass(frozen=True, slots=True)
class ShownSample:
    """One sample with its verdict."""

    index: int
    program: str
    """What was judged."""
    raw: str
    """What the model wrote."""
    worth: float | None
    """1 where it passed, 0 where not; between them what a judge gave. None where there is no verdict."""
    reason: str
    detail: str


@dataclass(slots=True)
class _Places:
    """Where the samples of one problem stand in the files of one round."""

    samples: array[int] = field(default_factory=lambda: array("q"))
    verdicts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By the sample's index; a judge gives one on each turn."""
    worth: float = 0.0
    n_worths: int = 0
    """How many verdicts can be read, and what they sum up to."""
    reasons: set[str] = field(default_factory=set)

    @property
    def passed(self) -> float:
        """How many samples passed; of judged ones what they are worth together."""
        return self.worth * len(self.verdicts) / self.n_worths if self.n_worths else 0.0


@dataclass(frozen=True, slots=True)
class ProblemLine:
    """One problem through the rounds."""

    task_id: str
    title: str
    """The first words that say what it is."""
    shares: Mapping[int, tuple[float, int]]
    """By round: samples that passed, or what a judge says they are worth, and samples."""


@dataclass(frozen=True, slots=True)
class ProblemFilter:
    """Which problems to show."""

    text: str = ""
    """Found in the task id or the problem's text, whatever the case of its letters."""
    change: Change = "any"
    """Between the first and the last of the rounds looked at."""
    reason: str = ""
    """A verdict reason that one of its samples has."""
    before: int | None = None
    """The first of the rounds looked at; None: the first one measured."""
    after: int | None = None
    """The last one; None: the last one measured."""


class RunProblems:
    """One benchmark of a run; raises DataError for a broken file as it is made."""

    def __init__(self, benchmark: str, rounds: Sequence[Round]) -> None:
        self.benchmark = benchmark
        known = known_benchmark(benchmark)
        self._problems = known.by_task if known else {}
        self.language = known.highlighted if known else "python"
        """What its answers are shown in; None where they are words."""
        self._folders: dict[int, Path] = {}
        self._places: dict[str, dict[int, _Places]] = {task: {} for task in self._problems}
        reasons = Counter[str]()
        for round_ in rounds:
            folder = round_.folder / "evaluation" / benchmark
            if (folder / "samples.jsonl").exists():
                self._folders[round_.number] = folder
                self._read(round_.number, folder, reasons)
        self._places = {task: places for task, places in self._places.items() if places}
        self.reasons = dict(reasons.most_common())
        """Verdict reasons with how many samples have each, most frequent first."""

    def _read(self, number: int, folder: Path, reasons: Counter[str]) -> None:
        for offset, row in numbered_rows(folder / "samples.jsonl"):
            places = self._places.setdefault(str(row.get("task_id")), {}).setdefault(number, _Places())
            places.samples.append(offset)
        if not (folder / "verdicts.jsonl").exists():
            return
        for offset, row in numbered_rows(folder / "verdicts.jsonl"):
            at = self._places.get(str(row.get("task_id")), {}).get(number)
            if at is not None:
                reason = str(row.get("reason") or ("passed" if row.get("passed") else "failed"))
                reasons[reason] += 1
                index = int(row.get("index") or 0)
                at.verdicts[index] = (*at.verdicts.get(index, ()), offset)
                if (worth := _worth(row)) is not None:
                    at.worth, at.n_worths = at.worth + worth, at.n_worths + 1
                at.reasons.add(reason)

    @property
    def rounds(self) -> list[int]:
        """The rounds with samples, in their order."""
        return list(self._folders)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._places

    def prompt(self, task_id: str) -> str:
        """Return a problem's text; "" where the benchmark is not to be had here."""
        return self._problems[task_id].prompt if task_id in self._problems else ""

    def task_ids(self) -> list[str]:
        """Return the problems with samples, in the benchmark's order."""
        return list(self._places)

    def find(self, wanted: ProblemFilter) -> list[ProblemLine]:
        """Return the problems that a filter leaves, in the benchmark's order."""
        return [self._line(task) for task in self._places if self._matches(task, wanted)]

    def _line(self, task: str) -> ProblemLine:
        shares = {n: (at.passed, len(at.samples)) for n, at in sorted(self._places[task].items())}
        problem = self._problems.get(task)
        return ProblemLine(task, problem.entry_point if problem else "", shares)

    def _matches(self, task: str, wanted: ProblemFilter) -> bool:
        needle = wanted.text.strip().casefold()
        if needle and needle not in task.casefold() and needle not in self.prompt(task).casefold():
            return False
        rounds = self._places[task]
        if wanted.reason and not any(wanted.reason in at.reasons for at in rounds.values()):
            return False
        if wanted.change == "any":
            return True
        if wanted.change == "always passed":
            return all(at.passed >= len(at.samples) for at in rounds.values())
        if wanted.change == "never passed":
            return not any(at.passed for at in rounds.values())
        before = self._share(task, self.rounds[0] if wanted.before is None else wanted.before)
        after = self._share(task, self.rounds[-1] if wanted.after is None else wanted.after)
        if before is None or after is None:
            return False
        return {"gained": after > before, "lost": after < before, "changed": after != before}[wanted.change]

    def _share(self, task: str, number: int) -> float | None:
        at = self._places[task].get(number)
        return at.passed / len(at.samples) if at else None

    def samples(
        self, task_id: str, number: int, first: int = 0, most: int = 10
    ) -> tuple[list[ShownSample], int]:
        """Return samples `first` to `first + most` of a problem in one round, and how many there are."""
        at = self._places.get(task_id, {}).get(number)
        if at is None:
            return [], 0
        rows = self._lines(self._folders[number] / "samples.jsonl", at.samples[first : first + most].tolist())
        indices = [int(row.get("index") or place) for place, row in enumerate(rows, first)]
        places = [offset for index in indices for offset in at.verdicts.get(index, ())]
        verdicts: dict[int, list[dict[str, Any]]] = {}
        for row in self._lines(self._folders[number] / "verdicts.jsonl", places):
            verdicts.setdefault(int(row.get("index") or 0), []).append(row)
        shown = [_sample(i, row, verdicts.get(i, [])) for i, row in zip(indices, rows, strict=True)]
        return shown, len(at.samples)

    def _lines(self, path: Path, offsets: Sequence[int]) -> list[dict[str, Any]]:
        if not offsets:
            return []
        rows = []
        with path.open("rb") as f:
            for offset in offsets:
                f.seek(offset)
                rows.append(parse_row(f.readline()))
        return rows


def _worth(verdict: Mapping[str, Any]) -> float | None:
    """Return 1 for a pass and 0 for none; what a judge gave, None where that cannot be read."""
    worth = verdict.get("worth") if "worth" in verdict else bool(verdict.get("passed"))
    return float(worth) if isinstance(worth, (int, float)) else None


def _sample(index: int, row: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> ShownSample:
    raw = next((response_of(str(row[name])) for name in RAW_FIELDS if row.get(name)), "")
    worths = [worth for verdict in verdicts if (worth := _worth(verdict)) is not None]
    program = str(row.get("completion") or row.get("solution") or "")
    return ShownSample(
        index=index,
        program=program,
        raw=raw or program,
        worth=sum(worths) / len(worths) if worths else None,
        reason=", ".join(text for verdict in verdicts if (text := str(verdict.get("reason") or ""))),
        detail="\n\n".join(text for verdict in verdicts if (text := str(verdict.get("detail") or ""))),
    )


def benchmarks_of(run: Run) -> list[str]:
    """Return the folders' names of the benchmarks that a run has samples of."""
    files = (sorted(round_.folder.glob("evaluation/*/samples.jsonl")) for round_ in run.rounds)
    return list(dict.fromkeys(file.parent.name for of_round in files for file in of_round))


def known_benchmark(folder_name: str) -> Benchmark | None:
    """Return the benchmark whose scores lie in a folder of this name; None where it is not known here.

    Its data may be absent; a user's stays unknown, as looking at a run must not execute a file it names.
    """
    try:
        return load_benchmark(name) if (name := benchmark_of_folder(folder_name)) else None
    except EvolcoderError:
        return None
