"""Seeds and data sets: read JSONL, JSON, Parquet or a Hugging Face data set; write JSONL and Parquet.

Field names accepted, first match wins: instruction | prompt | question | Instruction; input; response |
output | answer | completion. A row of `messages` is a chat. Files that evolcoder wrote carry their lineage
and keep it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError, MissingExtraError
from evolcoder.records import Instruction, Lineage
from evolcoder.runs import (
    bad_rows_message,
    content_hash,
    read_jsonl,
    read_unpacked,
    write_jsonl_whole,
    writing_whole,
)

SHIPPED_SEEDS = "shipped"
"""The source name of the 120 seed instructions in the package."""

INSTRUCTION_FIELDS = ("instruction", "prompt", "question", "Instruction")
RESPONSE_FIELDS = ("response", "output", "answer", "completion", "generation")
_LINEAGE_FIELDS = ("seed_id", "parent_id", "round", "method", "teacher")


def read_instructions(source: str | Path) -> list[Instruction]:
    """Read a data set by path, by "shipped", or by Hugging Face name ("owner/name" or "owner/name:split").

    Raises DataError that names the file and every bad row (the first ten in full).
    """
    return list(stream_instructions(source))


def stream_instructions(source: str | Path) -> Iterator[Instruction]:
    """Yield the rows of a data set one at a time; bad ones are reported together, after the last good one.

    Sources and errors are those of `read_instructions`.
    """
    text = str(source)
    path = shipped_seeds_path() if text == SHIPPED_SEEDS else Path(text)
    if path.exists():
        rows = _numbered_rows(path)
    elif _is_hub_name(text):
        rows = _hub_rows(text)
    else:
        raise DataError(f"{text}: no such file")
    count = 0
    bad: list[str] = []
    unreadable = ""
    try:
        for where, row in rows:
            try:
                instruction = instruction_from_row(row)
            except ValueError as error:
                bad.append(f"{where}: {error}")
            else:
                count += 1
                yield instruction
    except DataError as error:
        if not bad:
            raise
        unreadable = str(error)
    if unreadable:
        raise DataError(f"{unreadable}; {'; '.join(bad[:10])}")
    if bad:
        raise DataError(bad_rows_message(path, bad))
    if count == 0:
        raise DataError(f"{text}: no rows; at least one instruction is expected")


def _is_hub_name(text: str) -> bool:
    return text.count("/") == 1 and not Path(text).suffix and not text.startswith((".", "/", "~"))


def shipped_seeds_path() -> Path:
    """Return the path of the seed instructions that the package ships."""
    return Path(str(resources.files("evolcoder") / "seeds" / "seeds.jsonl"))


def instruction_from_row(row: Mapping[str, Any]) -> Instruction:
    """Make an `Instruction` of one outside row.

    A row of distilabel's Evol-Instruct tasks is the evolved instruction with the answer to it. Raises
    ValueError, without naming the place, where a field is missing or of a wrong type.
    """
    if isinstance(row.get("evolved_instruction"), str):
        row = _distilabel_row(row)
    if row.get("messages") is not None and not any(field in row for field in INSTRUCTION_FIELDS):
        row = {**row, **_from_messages(row["messages"])}
    instruction = _text_field(row, INSTRUCTION_FIELDS, required=True)
    if not instruction.strip():
        raise ValueError("field 'instruction' is empty")
    input_ = _text_field(row, ("input",), required=False)
    response = _text_field(row, RESPONSE_FIELDS, required=False)
    id_ = str(row.get("id") or content_hash(instruction, input_)[:16])
    lineage = Lineage(
        seed_id=str(row.get("seed_id") or id_),
        parent_id=row.get("parent_id"),
        round=int(row.get("round") or 0),
        method=row.get("method"),
        teacher=row.get("teacher"),
    )
    known = {"id", "instruction", "input", "response", *_LINEAGE_FIELDS}
    used = {next(f for f in INSTRUCTION_FIELDS if f in row)} | {f for f in RESPONSE_FIELDS[:1] if f in row}
    used |= set(next(([f] for f in RESPONSE_FIELDS if f in row), []))
    extra = {key: value for key, value in row.items() if key not in known and key not in used}
    return Instruction(id_, instruction, input_, response, lineage, extra)


def _distilabel_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of EvolInstruct under the names of evolcoder's; its answer belongs to what it evolved."""
    rest = {name: row[name] for name in row if name not in ("evolved_instruction", "model_name")}
    return {
        "round": 1,
        "teacher": row.get("model_name"),
        **rest,
        "instruction": row["evolved_instruction"],
        "evolved_from": row.get("instruction"),
    }


def _from_messages(messages: Any) -> dict[str, Any]:
    """Return the fields of a row that is a chat: its first question, its last answer, and the chat itself.

    A chat is [{"role": "user", "content": "..."}, ...]: a system message or none, then user and assistant by
    turns; what follows the last answer is left out. Raises ValueError for anything else.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("field 'messages': a list of objects is expected")
    roles = [message.get("role") for message in messages]
    if any(not isinstance(message.get("content"), str) for message in messages):
        raise ValueError("field 'messages': each content is expected to be text")
    turns = roles[1:] if roles[:1] == ["system"] else roles
    while turns and turns[-1] == "user":
        turns.pop()
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise ValueError(
            "field 'messages': user and assistant by turns are expected, after a system message or none, "
            f"found {', '.join(map(str, roles)) or 'nothing'}"
        )
    begin = 1 if roles[0] == "system" else 0
    chat = [{"role": m["role"], "content": m["content"]} for m in messages[: begin + len(turns)]]
    return {"instruction": chat[begin]["content"], "response": chat[-1]["content"], "messages": chat}


def row_from_instruction(row: Instruction) -> dict[str, Any]:
    """Return the flat row that data files hold: text fields, lineage, then the extra columns."""
    return {
        "id": row.id,
        "instruction": row.instruction,
        "input": row.input,
        "response": row.response,
        **{name: getattr(row.lineage, name) for name in _LINEAGE_FIELDS},
        **row.extra,
    }


def write_instructions(path: str | Path, rows: Iterable[Instruction]) -> int:
    """Write rows as JSONL or Parquet, by the file's suffix, whole or not at all; return the count."""
    path = Path(path)
    if path.suffix != ".parquet":
        return write_jsonl_whole(path, (row_from_instruction(row) for row in rows))
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = [_with_json_extras(row_from_instruction(row)) for row in rows]
    # Arrow takes the columns of the first row alone, and seeds, which come first, have the fewest.
    columns = dict.fromkeys(name for row in flat for name in row)
    table = pa.table({name: [row.get(name) for row in flat] for name in columns})
    with writing_whole(path) as partial:
        pq.write_table(table, partial)
    return int(table.num_rows)


def _with_json_extras(row: dict[str, Any]) -> dict[str, Any]:
    """Nested columns become JSON text, so that every row has the same Parquet schema."""
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value
        for key, value in row.items()
    }


def _text_field(row: Mapping[str, Any], names: tuple[str, ...], *, required: bool) -> str:
    """Return the first of `names` in the row as text; null counts as ""."""
    for name in names:
        if name in row:
            value = row[name]
            if value is None:
                return ""
            if not isinstance(value, str):
                raise ValueError(f"field {name!r}: text is expected, found {type(value).__name__}")
            return value
    if required:
        raise ValueError(f"field {names[0]!r} is missing (found: {', '.join(map(str, row)) or 'no fields'})")
    return ""


def _numbered_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, row) of a JSONL, JSON or Parquet file."""
    if path.is_dir():
        raise DataError(f"{path}: a file is expected, found a folder")
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet_rows(path)
    elif name.endswith(".json"):
        yield from _json_rows(path)
    else:
        yield from ((f"line {number}", row) for number, row in read_jsonl(path))


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(read_unpacked(path).decode("utf-8-sig"))
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: not UTF-8 JSON ({error})") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: a list of objects is expected, found {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: item {number}: an object is expected, found {type(row).__name__}")
        yield f"item {number}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a Parquet file ({error})") from error
    number = 0
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", row


def _hub_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of a Hugging Face data set; needs the `datasets` package and the hub or its cache."""
    try:
        import datasets
    except ImportError as error:
        if os.environ.get("HF_HUB_OFFLINE"):
            raise DataError(f"{name}: no such file") from error
        raise MissingExtraError(f"reading the Hugging Face data set {name!r}", "hub") from error
    repository, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, split=split or "train")
    except Exception as error:  # the library raises many kinds, all of them the user's name or the network
        raise DataError(f"{name}: neither a file nor a Hugging Face data set that loads ({error})") from error
    for number, row in enumerate(rows, 1):
        yield f"row {number}", dict(row)
