"""The answers that a blind review compares: from the rounds of a run, or from files of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evolcoder.app.run_problems import RunProblems, known_benchmark
from evolcoder.app.study import Contestant, Study, make_study
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.sample_files import response_of
from evolcoder.evaluate.sample_rows import TEXT_FIELDS
from evolcoder.report.table import round_name
from evolcoder.row_forms import INSTRUCTION_FIELDS
from evolcoder.runs import content_hash, read_jsonl

FILES = "files"
"""Name of the source that is the files of answers, beside the run's benchmarks."""


def study_of_rounds(problems: RunProblems, rounds: Sequence[int], tasks: int) -> Study:
    """Return a study of the first samples in several rounds; raises UserError with nothing to compare."""
    prompts = {task: problems.prompt(task) or task for task in problems.task_ids()}
    contestants = []
    for number in rounds:
        answers = {}
        for task in prompts:
            samples, _ = problems.samples(task, number, 0, 1)
            if samples:
                answers[task] = samples[0].raw
        contestants.append(Contestant(round_name(number), answers))
    names = " vs ".join(round_name(number) for number in rounds)
    return make_study(f"{names} on {problems.benchmark}", prompts, contestants, tasks)


def study_of_files(files: Mapping[str, Path], names: Sequence[str], tasks: int) -> Study:
    """Return a study of the answers in files; `files` gives each model's file.

    Raises UserError where there is nothing to compare, DataError for a file that holds no answers.
    """
    prompts: dict[str, str] = {}
    contestants = []
    for name in names:
        rows = read_answers(files[name])
        prompts |= {task: prompt for task, (prompt, _) in rows.items()}
        contestants.append(Contestant(name, {task: answer for task, (_, answer) in rows.items()}))
    return make_study(" vs ".join(names), prompts, contestants, tasks)


def named_files(pairs: Sequence[str]) -> dict[str, Path]:
    """Return the files of "NAME=FILE" pairs; raises UserError for one that is none or used twice."""
    files: dict[str, Path] = {}
    for pair in pairs:
        name, mark, path = pair.partition("=")
        if not mark or not name.strip() or not path:
            raise UserError(f"--answers {pair!r}: NAME=FILE is expected")
        if name.strip() in files:
            raise UserError(f"--answers: the name {name.strip()!r} is used twice")
        if not Path(path).is_file():
            raise UserError(f"--answers {pair!r}: no such file: {path}")
        files[name.strip()] = Path(path)
    return files


def read_answers(path: Path) -> dict[str, tuple[str, str]]:
    """Return (prompt, answer) by task of a file of `evolcoder generate`, or of samples of a benchmark.

    The first answer to a task counts. Raises DataError for a file with a row that holds no answer.
    """
    found: dict[str, tuple[str, str]] = {}
    prompts: dict[str, str] | None = None
    for number, row in read_jsonl(path):
        field = next((name for name in TEXT_FIELDS if isinstance(row.get(name), str)), None)
        if field is None:
            raise DataError(
                f"{path}: line {number}: no answer in it: one of {', '.join(TEXT_FIELDS)} is expected, "
                f"found {', '.join(map(str, row))[:200] or 'no fields'}"
            )
        asked = next((str(row[name]) for name in INSTRUCTION_FIELDS if isinstance(row.get(name), str)), "")
        if "task_id" in row:
            if prompts is None:
                prompts = _benchmark_prompts()
            task = str(row["task_id"])
            asked = prompts.get(task) or asked or task
        elif asked:
            task = f"instruction {content_hash(asked)[:8]}"
        else:
            why = "neither a task_id nor an instruction says what was asked"
            raise DataError(f"{path}: line {number}: {why}")
        found.setdefault(task, (asked, response_of(str(row[field]))))
    if not found:
        raise DataError(f"{path}: no answers")
    return found


def _benchmark_prompts() -> dict[str, str]:
    return {
        task: problem.prompt
        for name in ("mbpp-all", "mbpp+", "humaneval")
        if (benchmark := known_benchmark(name)) is not None
        for task, problem in benchmark.by_task.items()
    }
