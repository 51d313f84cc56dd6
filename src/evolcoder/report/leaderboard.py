"""The scores of any number of evaluations and runs beside the published ones: one table, in three forms.

A measured score is comparable with a published one only where prompt, decoding, data version and all problems
agree; so every row names its decoding, a subset is marked, and a published figure names its source.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError, UserError, nearest
from evolcoder.evaluate.published import published_for

SOURCES = {
    "P": "WizardCoder, arXiv 2306.08568",
    "R": "README of WizardCoder",
    "Q": "Qwen2.5-Coder report, arXiv 2409.12186",
    "B": "BigCode models leaderboard",
}
"""What the letters of published figures mean."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One pass@k of one model on one benchmark, measured or published."""

    model: str
    benchmark: str
    """As the score names it: "humaneval", "humaneval+ v0.1.10"."""
    k: int
    percent: float
    low: float | None
    """95% interval in percent; None for a published figure, which has none."""
    high: float | None
    n_problems: int | None
    n_samples: int | None
    subset: str
    """"40 of 164" where not all problems were measured, else ""."""
    decoding: str
    style: str
    source: str
    """The folder of a measured score; the letter of a published one."""
    measured: bool = True

    @property
    def family(self) -> str:
        """The benchmark without its data version, as published figures name it."""
        return self.benchmark.split(" ")[0].split("@")[0]


def gather(folders: Sequence[Path], with_published: bool = True) -> list[Entry]:
    """Return the scores under the folders, and the published ones of the same benchmarks, best first.

    A file is one that holds what `score --json` or `evaluate --json` printed.

    Raises DataError for a folder without scores, or with a file that is not what its name says.
    """
    measured = _told_apart([entry for folder in folders for entry in _entries_under(folder)])
    families = dict.fromkeys(entry.family for entry in measured)
    published = [entry for family in families for entry in _published(family)] if with_published else []
    order = {family: at for at, family in enumerate(families)}
    return sorted(
        [*measured, *published],
        key=lambda e: (order[e.family], e.k, -e.percent, not e.measured),
    )


def chosen_benchmark(entries: Sequence[Entry], named: str | None) -> str:
    """Return the benchmark to draw: the one named, else the first; UserError for one without a score."""
    families = list(dict.fromkeys(entry.family for entry in entries))
    name = (named or families[0]).split("@")[0]
    if name not in families:
        raise UserError(
            f"benchmark {name!r} has no score here{nearest(name, families)}: one of {', '.join(families)}"
        )
    return name


def for_chart(entries: Sequence[Entry], family: str) -> list[Entry]:
    """Return the pass@1 entries of a benchmark, best first; of a published model its figure that fits best.

    Fits best: the decoding of the measured ones, else greedy.
    """
    # Scores of parts ("ds1000 (Pandas)", "humaneval+ (base tests)") have rows of the table, no bars.
    ones = [e for e in entries if e.family == family and e.k == 1 and "(" not in e.benchmark]
    # `score` does not know how its samples were drawn: one a problem was greedy, as published ones are.
    decodings = [e.decoding or ("greedy" if e.n_samples == e.n_problems else "") for e in ones if e.measured]
    greedy = all(decoding == "greedy" for decoding in decodings)
    best: dict[str, Entry] = {}
    for entry in ones:
        if entry.measured:
            best[entry.source + entry.model] = entry
            continue
        kept = best.get(entry.model)
        if kept is None or (entry.decoding == "greedy") == greedy != (kept.decoding == "greedy"):
            best[entry.model] = entry
    return sorted(best.values(), key=lambda e: (-e.percent, e.model))


def _entries_under(folder: Path) -> list[Entry]:
    if folder.is_file():  # what `score --json` or `evaluate --json` printed
        return _entries_of(folder, folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = sorted(folder.rglob("scores.json"), key=_in_order)
    entries = [entry for file in files for entry in _entries_of(file, folder)]
    if not entries:
        raise DataError(
            f"{folder}: no scores.json in it; a folder that evaluate --out or run wrote is expected"
        )
    return entries


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Round 10 stands after round 9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _entries_of(file: Path, folder: Path) -> list[Entry]:
    try:
        value = json.loads(file.read_bytes())
        parts = [value] if "scores" in value else list(value.values())
        return [_entry(score, file, folder) for part in parts for score in part["scores"]]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not the scores of an evaluation ({error!r})") from error


def _entry(score: Mapping[str, Any], file: Path, folder: Path) -> Entry:
    named = {str(key): str(value) for key, value in score.get("settings", {}).items()}
    problems = re.match(r"(\d+) of (\d+)", named.get("problems", ""))
    subset = f"{problems[1]} of {problems[2]}" if problems and problems[1] != problems[2] else ""
    decoding = named.get("decoding", "")
    return Entry(
        model=_label(named.get("model", ""), file, folder),
        benchmark=str(score["benchmark"]),
        k=int(score["k"]),
        percent=100 * float(score["value"]),
        low=100 * float(score["low"]),
        high=100 * float(score["high"]),
        n_problems=int(score["n_problems"]),
        n_samples=int(score["n_samples"]),
        subset=subset,
        decoding=decoding.split(" seed=")[0],
        style=named.get("style", ""),
        source=str(file if file == folder else file.parent),
    )


def _label(model: str, file: Path, folder: Path) -> str:
    """Name a round of a run by the run, any other evaluation by its model."""
    for parent in file.relative_to(folder.parent).parents:
        if match := re.fullmatch(r"round-(\d+)", parent.name):
            run = parent.parent.name or folder.resolve().name
            return f"{run} base" if match[1] == "0" else f"{run} round {match[1]}"
    if not model and folder.is_file():
        return file.stem
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    return "/".join(Path(model).parts[-2:]) if is_path else model or folder.resolve().name


def _told_apart(entries: list[Entry]) -> list[Entry]:
    """Add to equal names what they differ in: style, decoding, or at last the folder."""
    for describe in (lambda e: e.style, lambda e: e.decoding, lambda e: Path(e.source).parent.name):
        alike: dict[tuple[str, str, int], list[str]] = {}
        for e in entries:
            alike.setdefault((e.model, e.benchmark, e.k), []).append(describe(e))
        differing = {key[0] for key, words in alike.items() if len(set(words)) > 1}
        entries = [
            replace(e, model=f"{e.model}, {describe(e)}") if e.model in differing else e for e in entries
        ]
    return entries


def _published(family: str) -> list[Entry]:
    return [
        Entry(p.model, family, 1, p.percent, None, None, None, None, "", p.decoding, "", p.source, False)
        for p in published_for(family)
    ]


_COLUMNS = ("model", "benchmark", "pass@", "score", "95% interval", "problems", "decoding", "style", "source")


def _cells(entry: Entry) -> tuple[str, ...]:
    interval = "" if entry.low is None else f"{entry.low:.1f} – {entry.high:.1f}"
    problems = entry.subset or ("" if entry.n_problems is None else str(entry.n_problems))
    name = entry.model if entry.measured else f"({entry.model})"
    source = "measured" if entry.measured else f"[{entry.source}]"
    score = f"{entry.percent:.1f}{'*' if entry.subset else ''}"
    return (
        name,
        entry.benchmark,
        str(entry.k),
        score,
        interval,
        problems,
        entry.decoding,
        entry.style,
        source,
    )


def _notes(entries: Sequence[Entry]) -> list[str]:
    used = dict.fromkeys(entry.source for entry in entries if not entry.measured)
    notes = [f"({', '.join(f'[{letter}] {SOURCES.get(letter, letter)}' for letter in used)})"] if used else []
    if used:
        notes.insert(0, "In brackets: published, not measured here.")
    if any(entry.subset for entry in entries):
        notes.append("* a subset of the problems: not comparable with scores over all of them.")
    return notes


def as_text(entries: Sequence[Entry]) -> str:
    """Return the table for a terminal."""
    rows = [_COLUMNS, *map(_cells, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    right = {2, 3, 5}
    lines = [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([*lines, *_notes(entries)])


def as_markdown(entries: Sequence[Entry]) -> str:
    """Return the table as Markdown; measured models are bold."""
    lines = [_markdown_row(_COLUMNS), _markdown_row(["---"] * len(_COLUMNS))]
    for entry in entries:
        name, *rest = (cell.replace("|", "\\|").replace("*", "\\*") for cell in _cells(entry))
        lines.append(_markdown_row([f"**{name}**" if entry.measured else name, *rest]))
    return "\n".join([*lines, "", *(note.replace("*", "\\*") for note in _notes(entries)), ""])


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_csv(entries: Sequence[Entry]) -> str:
    """Return one line an entry, with every field; numbers in percent, unrounded."""
    text = io.StringIO()
    rows = as_rows(entries)
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the entries as plain values, for CSV and JSON."""
    return [
        {
            "model": entry.model,
            "benchmark": entry.benchmark,
            "k": entry.k,
            "percent": entry.percent,
            "low": entry.low,
            "high": entry.high,
            "n_problems": entry.n_problems,
            "n_samples": entry.n_samples,
            "subset": entry.subset,
            "decoding": entry.decoding,
            "style": entry.style,
            "measured": entry.measured,
            "source": entry.source if entry.measured else SOURCES.get(entry.source, entry.source),
        }
        for entry in entries
    ]
