"""The answers that are judged: asked of a model turn by turn, or read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder.data_files import SUFFIXES, rows_of_data
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.benchmarks.instruction_file import ID_FIELDS
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.evaluate.sampling import IN_FLIGHT, completion_of, sampling_of
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evaluate.styles import answer_text
from evolcoder.execution.bounded import gathered
from evolcoder.extraction.thinking import split_thinking
from evolcoder.models.protocol import LanguageModel, Request
from evolcoder.progress import Bar
from evolcoder.records import Problem
from evolcoder.row_forms import RESPONSE_FIELDS
from evolcoder.runs import bad_rows_message


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a model answered to all turns of one problem."""

    problem: Problem
    index: int
    """Of the sample, 0 to n-1."""
    answers: tuple[str, ...]
    """One a turn, without the model's thinking; fewer where one is absent."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    finish_reason: str = ""
    absent: str = ""
    """Why an answer is missing; "" where none is."""


async def dialogues(
    model: LanguageModel,
    benchmark: JudgedBenchmark,
    problems: Sequence[Problem],
    settings: EvaluationSettings,
    bar: Bar,
) -> list[Dialogue]:
    """Return the model's dialogues by problem and index; raises what stops every request."""

    async def ask(item: tuple[Problem, int]) -> Dialogue:
        problem, index = item
        said: list[str] = []
        prompt_tokens = completion_tokens = 0
        usd: float | None = None
        finish_reason = absent = ""
        for _ in benchmark.turns(problem):
            request = answer_request(benchmark, problem, settings, said, index)
            completion, absent = await completion_of(model, request)
            prompt_tokens += completion.prompt_tokens
            completion_tokens += completion.completion_tokens
            if completion.cost_usd is not None:
                usd = (usd or 0.0) + completion.cost_usd
            finish_reason = completion.finish_reason
            if absent:
                break
            said.append(split_thinking(answer_text(settings.style, completion.text))[1].strip())
        tokens = prompt_tokens, completion_tokens
        return Dialogue(problem, index, tuple(said), *tokens, usd, finish_reason, absent)

    items = ((problem, index) for problem in problems for index in range(settings.n))
    return await gathered(ask, items, IN_FLIGHT, bar)


def answer_request(
    benchmark: JudgedBenchmark,
    problem: Problem,
    settings: EvaluationSettings,
    answers: Sequence[str],
    index: int = 0,
) -> Request:
    """Return the request for the answer to the question after `answers`."""
    asked = benchmark.conversation(problem, settings.style, answers)
    temperature = settings.temperature or benchmark.temperature(problem, settings.preset)
    return Request(asked.prompt, sampling_of(settings, temperature, asked.stop), index)


def answers_file(against: str, benchmark: str) -> Path | None:
    """Return the file of answers that `against` names: itself, or one in the folder of an evaluation.

    None where it names neither, and so a MODEL. Raises UserError for a file that is not there.
    """
    path = Path(against)
    for place in (path, path / "samples.jsonl", path / evaluation_folder(benchmark) / "samples.jsonl"):
        if place.is_file() and place.suffix not in (".gguf", ".py"):
            return place
    if against.endswith(SUFFIXES):
        raise UserError(f"{against}: no such file of answers")
    return None


def read_dialogues(
    path: Path, benchmark: JudgedBenchmark, problems: Sequence[Problem]
) -> dict[str, Dialogue]:
    """Return the first dialogue of each problem in a file, by task id.

    A row names its problem (task_id, question_id, idx, id) and holds its answers: `answers` as evaluations
    write them, FastChat's `choices`, or one answer under a name that data sets use. Raises DataError for a
    row that cannot be read, or a problem without one.
    """
    found: dict[str, Dialogue] = {}
    bad: list[str] = []
    for where, row in rows_of_data(path):
        try:
            named = next((row[name] for name in ID_FIELDS if isinstance(row.get(name), (str, int))), None)
            if named is None:
                raise ValueError(f"none of {', '.join(ID_FIELDS)} names its problem")
            problem = benchmark.find(named)
            if problem is not None and problem.task_id not in found:
                answers = _answers_of(row, len(benchmark.turns(problem)))
                found[problem.task_id] = Dialogue(problem, 0, answers, absent=str(row.get("absent") or ""))
        except ValueError as error:
            bad.append(f"{where}: {error}")
    if bad:
        raise DataError(bad_rows_message(path, bad))
    if missing := [problem.task_id for problem in problems if problem.task_id not in found]:
        raise DataError(f"{path}: no answer to {len(missing)} of {len(problems)} problems ({missing[0]} ...)")
    return found


def _answers_of(row: Mapping[str, Any], turns: int) -> tuple[str, ...]:
    answers: Any = row.get("answers")
    choices = row.get("choices")
    if answers is None and isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        answers = choices[0].get("turns")
    if answers is None:
        answers = [row[name] for name in RESPONSE_FIELDS if isinstance(row.get(name), str)][:1]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError("answers: a list of texts is expected")
    if len(answers) != turns and not row.get("absent"):
        raise ValueError(f"{turns} answers are expected, one a turn, found {len(answers)}")
    return tuple(answers)
