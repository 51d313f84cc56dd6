"""Which benchmarks share problems: what chooses a checkpoint must not be what it is reported on.

By name, before any data is there: HumanEval and HumanEval+ are the same 164 problems, MBPP+ a choice from all
of MBPP's splits, and translations (MultiPL-E) the same problems again; each benchmark says so itself. By
problem, once data is loaded: a user's file by what is in it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from evolcoder.evaluate.benchmarks import Benchmark, benchmark_names, is_file, load_benchmark, named_set
from evolcoder.evaluate.benchmarks.windows import seen_notice, split_window
from evolcoder.records import Problem


def evaluation_folder(benchmark: str) -> str:
    """Return the name of the folder that a benchmark's samples and scores lie in."""
    short = Path(benchmark).stem if is_file(benchmark) else benchmark
    return short.replace(":", "-").replace("@", "-")


def output_files(out: Path, benchmarks: Iterable[str]) -> list[Path]:
    """Return the files that an evaluation on these benchmarks writes into a folder."""
    names = ("samples.jsonl", "verdicts.jsonl", "scores.json", "timing.json")
    return [out / evaluation_folder(benchmark) / name for benchmark in benchmarks for name in names]


def benchmark_of_folder(folder: str) -> str | None:
    """Return the benchmark of this package whose scores lie in a folder of this name; None for any other."""
    for name in benchmark_names():
        if evaluation_folder(name) == folder:
            return name
        base, at, version = name.partition("@")
        window = folder.removeprefix(f"{evaluation_folder(base)}-").removesuffix(f"-{version}" if at else "")
        dated = f"{base}:{window}{at}{version}"
        if evaluation_folder(dated) == folder and split_window(dated) != (dated, None):
            return dated
    return None


def folder_clash(benchmarks: Sequence[str]) -> str:
    """Return the sentence that says which two benchmarks would write into one folder; "" where none do."""
    named: dict[str, str] = {}
    for name in dict.fromkeys(benchmarks):
        first = named.setdefault(evaluation_folder(name), name)
        if first != name:
            return f"{first} and {name} would both write into {evaluation_folder(name)}/: rename a file"
    return ""


def names_overlap(first: str, second: str) -> bool:
    """Whether two benchmarks share problems, as far as their names tell."""
    return named_set(first).overlaps(named_set(second))


def benchmarks_overlap(first: str, second: str) -> bool:
    """Whether two benchmarks share problems; a user's file is loaded and looked at."""
    if names_overlap(first, second) or not (is_file(first) or is_file(second)):
        return names_overlap(first, second)
    return bool(shared_problems(load_benchmark(first), load_benchmark(second)))


def shared_problems(first: Benchmark, second: Benchmark) -> tuple[str, ...]:
    """Return the task ids of `first` that `second` holds too, under whatever id or in the same words."""
    known = {key for problem in second.problems for key in _keys(second, problem)}
    return tuple(p.task_id for p in first.problems if not known.isdisjoint(_keys(first, p)))


def selection_notice(
    deciding: str, reported: Sequence[str], rule: str, overlap: Callable[[str, str], bool] = names_overlap
) -> str:
    """Return the sentence that says that a test was used to select by a stopping rule; "" where none was."""
    if deciding in reported or rule == "paper-v1":
        of_paper = " (the rule of the paper's first version)" if rule == "paper-v1" else ""
        return (
            f"{deciding} is both the benchmark reported and the one that chose the round; its score is "
            f"therefore not a clean test score{of_paper}."
        )
    shared = ", ".join(name for name in reported if overlap(deciding, name))
    said = f"{deciding} chose the round and shares problems with {shared}, whose score is therefore"
    return f"{said} not a clean test score." if shared else ""


def score_notices(
    deciding: str,
    reported: Sequence[str],
    rule: str | None,
    released: date | None,
    overlap: Callable[[str, str], bool] = names_overlap,
) -> str:
    """Return what must be said of a run's scores: a test that selected, problems the base model may know.

    `rule` is the stopping rule, None where no score chooses the round; `released` the day the base model was
    published, None where the recipe does not say.
    """
    sets = [(name, named_set(name)) for name in dict.fromkeys([*reported, deciding])]
    selected = "" if rule is None else selection_notice(deciding, reported, rule, overlap)
    said = (selected, seen_notice(sets, released))
    return " ".join(filter(None, said))


def _keys(benchmark: Benchmark, problem: Problem) -> set[str]:
    """What a problem is recognised by: where it comes from, and its words."""
    words = " ".join(problem.prompt.split())
    return {key for key in (benchmark.origin(problem), words) if key}
