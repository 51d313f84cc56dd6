"""Answer a file of instructions in batch: `{"idx": 11, "Instruction": "..."}` a line, one answer a line.

The published script asks one prompt at a time and cuts prompts at 256 tokens; here they are asked together
and whole. What a row holds beside its instruction passes through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evolcoder.data_files import json_value, rows_of_data
from evolcoder.errors import DataError, EndpointError, RequestFailedError
from evolcoder.evaluate.sampling import IN_FLIGHT
from evolcoder.execution.bounded import map_bounded
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.protocol import LanguageModel, Message, Request, Sampling
from evolcoder.progress import Progress
from evolcoder.row_forms import INSTRUCTION_FIELDS, NO_COLUMNS, Columns, asked_turns
from evolcoder.runs import bad_rows_message, write_jsonl_whole

InferenceStyle = Literal["wizardcoder", "chat"]
OutputFields = Literal["own", "wizardcoder"]
"""What a line of the answers holds: the row's own fields, `response` and `finish_reason`; or the three fields
of the published script, `id` (the row's own), `instruction` and `wizardcoder`."""
_IDS = ("idx", "id", "task_id", "question_id")
_INPUT_FIELDS = ("input", "Input")


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a batch came to."""

    rows: int
    tokens: int
    """Tokens in the answers."""
    cut: int
    """Answers that reached the length limit."""
    absent: int = 0
    """Rows that the endpoint gave no answer to; each says why, in `absent`."""


def read_batch(
    path: Path, columns: Columns = NO_COLUMNS, style: InferenceStyle = "wizardcoder"
) -> list[dict[str, Any]]:
    """Read the rows to answer; raises DataError that names every bad one (the first ten in full)."""
    rows: list[dict[str, Any]] = []
    bad: list[str] = []
    try:
        for where, row in rows_of_data(path):
            try:
                _question(row, columns, style)
            except ValueError as error:
                bad.append(f"{where}: {error}")
            rows.append(row)
    except DataError as error:
        # Bad JSON is told when the file ends; the bad fields belong into the same message.
        if not bad:
            raise
        raise DataError(f"{error}; {'; '.join(bad[:10])}") from error
    if bad:
        raise DataError(bad_rows_message(path, bad))
    if not rows:
        raise DataError(f'{path}: no rows; {{"idx": 1, "Instruction": "..."}} a line is expected')
    return rows


def _question(row: dict[str, Any], columns: Columns, style: InferenceStyle) -> tuple[list[Message], str]:
    """Return what a row asks, after the turns before it, and the input that goes with it.

    Raises ValueError that says what is wrong with the row.
    """
    named, messages = columns.get("instruction"), columns.get("messages")
    name = next((name for name in ((named,) if named else INSTRUCTION_FIELDS) if name in row), None)
    if named is None and (name is None or isinstance(row[name], list)):
        turns: Any = asked_turns({**row, "messages": row.get(messages)} if messages else row)
        if turns is not None and style == "wizardcoder" and len(turns) > 1:
            raise ValueError(f"a chat of {len(turns)} messages, which --style chat takes")
        if turns is not None:
            return [Message(turn["role"], turn["content"]) for turn in turns], ""
    if name is None:
        raise ValueError(f"field 'Instruction' is missing (found: {', '.join(map(str, row)) or 'no fields'})")
    inputs = (columns["input"],) if "input" in columns else _INPUT_FIELDS
    for field in (name, *(field for field in inputs if row.get(field) is not None)):
        if not isinstance(row[field], str):
            raise ValueError(f"field {field!r}: text is expected, found {type(row[field]).__name__}")
    if not row[name].strip():
        raise ValueError(f"field {name!r} is empty")
    return [Message("user", row[name])], next((row[field] for field in inputs if row.get(field)), "")


async def answer_batch(
    model: LanguageModel,
    rows: list[dict[str, Any]],
    sampling: Sampling,
    style: InferenceStyle,
    output: Path,
    progress: Progress,
    fields: OutputFields = "own",
    columns: Columns = NO_COLUMNS,
) -> BatchSummary:
    """Answer every row and write them, in order, with the fields asked for.

    A row that alone gets no answer has an empty one, and says why; raises what stops every request.
    """

    async def ask(item: tuple[dict[str, Any], Request]) -> tuple[dict[str, Any], int]:
        row, request = item
        try:
            completion = await model.complete(request)
        except RequestFailedError as error:  # the others' answers are paid for
            return {**row, "response": "", "finish_reason": "", "absent": " ".join(str(error).split())}, 0
        answer = {"response": completion.text.strip(), "finish_reason": completion.finish_reason}
        return {**row, **answer}, completion.completion_tokens

    answered: list[dict[str, Any]] = []
    tokens = cut = absent = 0
    stream = map_bounded(ask, _requests(rows, sampling, style, columns), IN_FLIGHT)
    with progress.bar("answer", len(rows)) as bar:
        async with contextlib.aclosing(stream):
            async for row, n_tokens in stream:
                answered.append(row if fields == "own" else _as_published(row, len(answered) + 1, columns))
                tokens += n_tokens
                cut += row["finish_reason"] == "length"
                absent += row["finish_reason"] == ""
                bar.advance(tokens=tokens)
    if answered and absent == len(answered):
        raise EndpointError(f"no row was answered: {row.get('absent')}")
    write_jsonl_whole(output, map(json_value, answered))
    return BatchSummary(len(answered), tokens, cut, absent)


def _as_published(row: dict[str, Any], number: int, columns: Columns) -> dict[str, Any]:
    """Name fields as `inference_wizardcoder.py` (WizardLM repository) does; number a row without an id."""
    return {
        "id": next((row[name] for name in _IDS if row.get(name) is not None), number),
        "instruction": _question(row, columns, "chat")[0][-1].content,
        "wizardcoder": row["response"],
    }


def _requests(
    rows: list[dict[str, Any]], sampling: Sampling, style: InferenceStyle, columns: Columns
) -> Iterator[tuple[dict[str, Any], Request]]:
    for row in rows:
        (*before, last), input_ = _question(row, columns, style)
        if style == "wizardcoder":
            yield row, Request(instruction_prompt(last.content, input_), sampling)
        else:
            text = f"{last.content}\n\n{input_}" if input_ else last.content
            yield row, Request((*before, Message("user", text)), sampling)
