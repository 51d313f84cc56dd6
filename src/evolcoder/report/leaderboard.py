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
from evolcoder.evaluate.benchmarks import benchmark_names, named_set
from evolcoder.evaluate.model_judge.settings import RATING
from evolcoder.evaluate.published import (
    DecodingKind,
    decoding_kind,
    known_set,
    published_benchmarks,
    published_for,
    published_sources,
    published_table,
)
from evolcoder.records import round_of_folder
from evolcoder.report.table import aligned, round_name


@dataclass(frozen=True, slots=True)
class Entry:
    """One pass@k of one model on one benchmark, measured or published."""

    model: str
    benchmark: str
    """As the score names it: "humaneval", "humaneval+ v0.1.10"."""
    k: int
    percent: float
    """Points of 10 on mt-bench."""
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
        return _family(self.benchmark)

    @property
    def kind(self) -> DecodingKind:
        """How the answers were drawn: only scores of one kind compare."""
        # `score` does not know how its samples were drawn: one a problem was greedy, as published ones are.
        one_a_problem = self.measured and self.n_samples == self.n_problems
        return decoding_kind(self.decoding or ("greedy" if one_a_problem else "n=several"))


def gather(
    folders: Sequence[Path],
    with_published: bool = True,
    benchmarks: Sequence[str] = (),
    table: str | None = None,
) -> list[Entry]:
    """Return the scores under folders and files, and the published ones of the same or the named benchmarks.

    By benchmark, k and kind of decoding, best first; with `table`, only that table's figures and benchmarks.
    Raises DataError for a place without scores, or a broken file, UserError for an unknown benchmark.
    """
    measured = _told_apart([entry for folder in folders for entry in _entries_under(folder)])
    if table is not None:
        figures = published_table(table)
        families = dict.fromkeys(figure.benchmark for figure in figures)
        measured = [entry for entry in measured if entry.family in families and entry.k == 1]
    else:
        families = dict.fromkeys([*map(_family, benchmarks), *(entry.family for entry in measured)])
        _check_known(families, measured)
        figures = [figure for family in families for figure in published_for(family)]
    published = [
        Entry(p.model, p.benchmark, 1, p.value, None, None, None, None, "", p.decoding, "", p.source, False)
        for p in figures
        if with_published
    ]
    order = {family: at for at, family in enumerate(families)}
    return sorted(
        [*measured, *published],
        key=lambda e: (order[e.family], e.k, _KINDS.index(e.kind), -e.percent, not e.measured),
    )


_KINDS: tuple[DecodingKind, ...] = ("greedy", "sampled", "not said")


def _family(benchmark: str) -> str:
    return benchmark.split(" ")[0].split("@")[0]


def _check_known(families: Iterable[str], measured: Sequence[Entry]) -> None:
    known = {*map(_family, benchmark_names()), *published_benchmarks(), *(entry.family for entry in measured)}
    for name in families:
        if name not in known:
            raise UserError(f"benchmark {name!r} has no score here{nearest(name, known)}")


def chosen_benchmark(entries: Sequence[Entry], named: str | None) -> str:
    """Return the benchmark to draw: the one named, else the first; UserError for one without a score."""
    families = list(dict.fromkeys(entry.family for entry in entries))
    name = _family(named) if named is not None else families[0] if families else ""
    if name not in families:
        have = ", ".join(families or published_benchmarks())
        raise UserError(f"benchmark {name!r} has no score here{nearest(name, families)}: one of {have}")
    return name


def chart_kind(entries: Sequence[Entry]) -> DecodingKind:
    """Return the kind of decoding that a chart of the entries shows: greedy, unless none measured is."""
    kinds = {entry.kind for entry in entries if entry.measured} or {"greedy"}
    return next(kind for kind in _KINDS if kind in kinds)


def for_chart(entries: Sequence[Entry], family: str) -> list[Entry]:
    """Return the pass@1 entries of a benchmark, best first; a published model once, decoded as measured."""
    # Scores of parts ("ds1000 (Pandas)", "humaneval+ (base tests)") have rows of the table, no bars.
    ones = [e for e in entries if e.family == family and e.k == 1 and "(" not in e.benchmark]
    kind = chart_kind(ones)
    best: dict[str, Entry] = {}
    for entry in ones:
        if entry.measured:
            best[entry.source + entry.model] = entry
        elif (kept := best.get(entry.model)) is None or (kept.kind != kind == entry.kind):
            best[entry.model] = entry
    return sorted(best.values(), key=lambda e: (-e.percent, e.model))


def for_figure_1(entries: Sequence[Entry]) -> list[tuple[Entry | None, Entry | None]]:
    """Return (HumanEval, HumanEval+) by model, best HumanEval first: greedy pass@1 alone, as in Figure 1."""
    drawn = list(dict.fromkeys(figure.benchmark for figure in published_table("figure-1")))
    pairs: dict[str, list[Entry | None]] = {}
    for entry in entries:
        if entry.kind == "greedy" and entry.k == 1 and "(" not in entry.benchmark:
            key = entry.model if not entry.measured else f"measured {entry.model}"
            pairs.setdefault(key, [None, None])[drawn.index(entry.family)] = entry
    found = [(base, plus) for base, plus in pairs.values()]
    return sorted(found, key=lambda pair: -next(entry.percent for entry in pair if entry is not None))


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
        return [
            _entry(score, file, folder, part.get("missing") or ())
            for part in parts
            for score in part["scores"]
        ]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: not the scores of an evaluation; what score --json or evaluate --json printed is wanted"
        ) from error


def _entry(score: Mapping[str, Any], file: Path, folder: Path, missing: Sequence[str]) -> Entry:
    named = {str(key): str(value) for key, value in score.get("settings", {}).items()}
    problems = re.match(r"(\d+) of (\d+)", named.get("problems", ""))
    subset = f"{problems[1]} of {problems[2]}" if problems and problems[1] != problems[2] else ""
    if not problems:  # older results name the problems without a sample, or say nothing
        measured = int(score["n_problems"])
        whole = measured + len(missing) if missing else named_set(_family(str(score["benchmark"]))).size
        subset = f"{measured} of {whole}" if measured < whole else ""
    decoding = named.get("decoding", "")
    scale = 10 if named.get("measure") == RATING else 100
    return Entry(
        model=_label(named.get("model", ""), file, folder),
        benchmark=str(score["benchmark"]),
        k=int(score["k"]),
        percent=scale * float(score["value"]),
        low=scale * float(score["low"]),
        high=scale * float(score["high"]),
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
        if (number := round_of_folder(parent.name)) is not None:
            run = parent.parent.name or folder.resolve().name
            return f"{run} {round_name(number)}"
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


_COLUMNS = ("model", "benchmark", "pass@", "score", "95% interval", "problems", "decoding", "style", "source")


def _cells(entry: Entry) -> tuple[str, ...]:
    interval = "" if entry.low is None else f"{entry.low:.1f} – {entry.high:.1f}"
    problems = entry.subset or ("" if entry.n_problems is None else str(entry.n_problems))
    name = entry.model if entry.measured else f"({entry.model})"
    source = "measured" if entry.measured else f"[{entry.source}]"
    k = str(entry.k) if known_set(entry.family).measure == "pass@k" else ""
    middle = (interval, problems, entry.decoding, entry.style)
    return (name, entry.benchmark, k, _score(entry), *middle, source)


def _score(entry: Entry) -> str:
    return f"{entry.percent:.{known_set(entry.family).places}f}{'*' if entry.subset else ''}"


def _by_kind(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Set scores apart that do not compare, each part with its heading: "humaneval, greedy"."""
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        words = {"greedy": "greedy", "sampled": "mean over samples", "not said": "decoding not said"}
        k = f" pass@{entry.k}" if entry.k > 1 else ""
        parts.setdefault(f"{entry.family}{k}, {words[entry.kind]}", []).append(entry)
    return list(parts.items())


def as_matrix(entries: Sequence[Entry]) -> str:
    """Return a table for a terminal: a row a model and decoding, a column a benchmark."""
    families = list(dict.fromkeys(entry.family for entry in entries))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for entry in sorted(entries, key=lambda e: _KINDS.index(e.kind)):
        name, *_, decoding, _, source = _cells(entry)
        if "(" not in entry.benchmark:
            rows.setdefault((name, decoding, source), {}).setdefault(entry.family, _score(entry))
    cells = [
        (name, *(found.get(family, "") for family in families), decoding, source)
        for (name, decoding, source), found in rows.items()
    ]
    table = aligned([("model", *families, "decoding", "source"), *cells], range(1, 1 + len(families)))
    return "\n".join([*table, *_notes(entries)])


def _notes(entries: Sequence[Entry]) -> list[str]:
    used = dict.fromkeys(entry.source for entry in entries if not entry.measured)
    sources = published_sources()
    notes = [f"({', '.join(f'[{letter}] {sources[letter]}' for letter in used)})"] if used else []
    if used:
        notes.insert(0, "In brackets: published, not measured here.")
    if any(entry.subset for entry in entries):
        notes.append("* a subset of the problems: not comparable with scores over all of them.")
    return notes


def as_text(entries: Sequence[Entry]) -> str:
    """Return the table for a terminal: a part for each benchmark and kind of decoding."""
    if not entries:
        have = ", ".join(published_benchmarks())
        return f"no score measured, and no figure published that is known here; there are figures of {have}"
    parts = _by_kind(entries)
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for heading, part in parts:
        if len(parts) > 1:
            rows.append((f"{heading}:", *[""] * (len(_COLUMNS) - 1)))
        rows += map(_cells, part)
    return "\n".join([*aligned(rows, {2, 3, 5}), *_notes(entries)])


def as_markdown(entries: Sequence[Entry]) -> str:
    """Return the table as Markdown, in the same parts; measured models are bold."""
    lines: list[str] = []
    for heading, part in _by_kind(entries):
        lines += [*([""] if lines else []), f"**{heading}**", ""]
        lines += [_markdown_row(_COLUMNS), _markdown_row(["---"] * len(_COLUMNS))]
        for entry in part:
            name, *rest = (cell.replace("|", "\\|").replace("*", "\\*") for cell in _cells(entry))
            lines.append(_markdown_row([f"**{name}**" if entry.measured else name, *rest]))
    return "\n".join([*lines, "", *(note.replace("*", "\\*") for note in _notes(entries)), ""])


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_csv(entries: Sequence[Entry]) -> str:
    """Return one line an entry, with every field; numbers in percent, unrounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_rows(entries))
    return text.getvalue()


_FIELDS = (
    *("model", "benchmark", "k", "percent", "low", "high", "n_problems", "n_samples", "subset"),
    *("decoding", "style", "measured", "source"),
)


def as_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the entries as plain values, for CSV and JSON."""
    sources = published_sources()
    return [
        {name: getattr(entry, name) for name in _FIELDS}
        | ({} if entry.measured else {"source": sources[entry.source]})
        for entry in entries
    ]
