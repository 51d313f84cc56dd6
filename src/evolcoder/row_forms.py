"""Forms of rows that data sets have, under the names of evolcoder: instruction, input, response.

| what is found | read as |
|---|---|
| instruction, prompt, question, query, problem; input | `instruction`, `input` |
| response, output, answer, completion, generation; `solution` of a `problem` | `response` |
| `messages`; ShareGPT's `conversations`; lists in `prompt` and `completion`; `history` | a chat: `messages` |
| distilabel's `evolved_instruction`, or `evolved_instructions` with `answers` | a row an evolution |

The first match wins; columns that no form uses are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from evolcoder.runs import content_hash

INSTRUCTION_FIELDS = ("instruction", "prompt", "question", "query", "problem", "Instruction")
RESPONSE_FIELDS = ("response", "output", "answer", "completion", "generation", "Response", "Output")
LINEAGE_FIELDS = ("seed_id", "parent_id", "round", "method", "teacher")
COLUMN_NAMES = (
    *("instruction", "input", "response", "messages", "id", *LINEAGE_FIELDS),
    *("tests", "watched_tests", "setup", "entry_point", "solution"),
)
"""What a column of a file may be named as; those after the lineage are read by `reinforce`."""
Columns = Mapping[str, str]
"""The file's name of a column, by the name that it is read under."""
NO_COLUMNS: Columns = MappingProxyType({})
FIELDS_ACCEPTED = (
    f"fields accepted: {', '.join(INSTRUCTION_FIELDS[:-1])}, messages, conversations; "
    "others by --columns instruction=NAME"
)
_CHAT_FIELDS = ("messages", "conversations", "conversation")
_INPUT_FIELDS = ("input", "Input")
_ROLES = {
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot"), "assistant"),
    "human": "user",
    "developer": "system",
}


def checked_columns(columns: Any) -> dict[str, str]:
    """Return {our name: the file's name} as a recipe says it; raises ValueError for anything else."""
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns.values()):
        raise ValueError("columns: NAME: COLUMN is expected, one for each column with another name")
    for name in columns:
        if name not in COLUMN_NAMES:
            raise ValueError(f"columns: {name!r} is none of {', '.join(COLUMN_NAMES)}")
    return dict(columns)


def asked_turns(row: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """Return a chat's turns up to its last question, None for no chat; ValueError for odd turns."""
    for field in ("prompt", *_CHAT_FIELDS):
        turns = _with_system(_decoded(row.get(field)), row)
        if isinstance(turns, list):
            answer = {"role": "assistant", "content": ""}  # an answer that follows the question is left out
            return _turns([*turns, answer], field)[:-1] if _is_question(turns) else _turns(turns, field)[:-1]
    return None


def _is_question(turns: Sequence[Any]) -> bool:
    last = turns[-1] if turns else None
    return isinstance(last, Mapping) and _role_of(last) in ("user", "human")


def _role_of(message: Mapping[str, Any]) -> str:
    return str(message.get("role") or message.get("from")).lower()


def plain_rows(row: Mapping[str, Any], columns: Columns = NO_COLUMNS) -> list[dict[str, Any]]:
    """Return an outside row under our names; raises ValueError for a field missing or of a wrong type."""
    if columns:
        row = _renamed(row, columns)
    several = row.get("evolved_instructions")
    if isinstance(row.get("evolved_instruction"), str) or (isinstance(several, list) and several):
        return [_plain_row(evolution) for evolution in _evolutions(row)]
    return [_plain_row(row)]


def _renamed(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Put columns under the names they were given; one that had such a name is kept as `original_NAME`."""
    renamed = {name: value for name, value in row.items() if name not in columns.values()}
    if "instruction" in columns:  # what is asked for by name is not looked for in a chat
        for name in _CHAT_FIELDS:
            if name in renamed:
                renamed[f"original_{name}"] = renamed.pop(name)
    for ours, theirs in columns.items():
        if theirs not in row:
            raise ValueError(f"column {theirs!r} is missing (found: {_names(row)})")
        if ours in renamed:
            renamed[f"original_{ours}"] = renamed[ours]
        renamed[ours] = row[theirs]
    return renamed


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "no fields"


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = next((name for name in INSTRUCTION_FIELDS if name in row), None)
    responses = ("solution", *RESPONSE_FIELDS) if asked == "problem" else RESPONSE_FIELDS
    answered = next((name for name in responses if name in row), None)
    whole = asked is not None and answered is not None and None not in (row[asked], row[answered])
    chat, chat_field = _chat_of(row, whole=whole)
    if chat is not None:
        used = {"prompt", "completion"} if chat_field == "prompt" else {chat_field}
        if chat_field == "history":  # its last turn stands in these
            used |= {name for name in (asked, answered, *_INPUT_FIELDS) if name is not None}
        if row.get("system") in ("", chat[0]["content"]):
            used.add("system")
        row = {**{name: value for name, value in row.items() if name not in used}, "messages": chat}
        if not whole or chat_field != "messages":
            first = next(message for message in chat if message["role"] == "user")
            return {**row, "instruction": first["content"], "input": "", "response": chat[-1]["content"]}
    if asked is None:
        raise ValueError(f"field 'instruction' is missing (found: {_names(row)})")
    given = next((name for name in _INPUT_FIELDS if name in row), None)
    plain = {name: value for name, value in row.items() if name not in (asked, answered, given)}
    texts = {"instruction": _text(row, asked), "input": _text(row, given), "response": _text(row, answered)}
    return plain | texts


def _text(row: Mapping[str, Any], name: str | None) -> str:
    """Return a field as text; null, or no field, counts as ""."""
    value = None if name is None else row.get(name)
    if value is None:
        return ""
    if isinstance(value, bytes):  # Parquet of writers that do not mark text as such
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError(f"field {name!r}: text is expected, found {type(value).__name__}")
    return value


def _chat_of(row: Mapping[str, Any], *, whole: bool) -> tuple[list[dict[str, str]] | None, str]:
    """Return a row's chat and the field it stands in; of a row that is whole without, only `messages`."""
    if isinstance(row.get("prompt"), list):
        ended = row.get("completion")
        return _turns(row["prompt"] + (ended if isinstance(ended, list) else []), "prompt"), "prompt"
    for name in _CHAT_FIELDS[:1] if whole else _CHAT_FIELDS:
        if (value := _decoded(row.get(name))) is not None:
            return _turns(_with_system(value, row), name), name
    history = _decoded(row.get("history"))
    # With an empty one, as a row without earlier turns has it, only a system message makes a chat of it.
    if whole and (history or (history == [] and str(row.get("system") or "").strip())):
        return _turns(_with_system(_from_history(history, row), row), "history"), "history"
    return None, ""


def _decoded(value: Any) -> Any:
    """Return a nested column that went through Parquet or CSV, where it is JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value) if value.startswith("[") else value or None
        except (ValueError, RecursionError):
            return value
    return value


def _with_system(turns: Any, row: Mapping[str, Any]) -> Any:
    """Put a text in the column `system` before turns that have none."""
    said = row.get("system")
    if not isinstance(turns, list) or not isinstance(said, str) or not said.strip():
        return turns
    if turns and isinstance(turns[0], dict) and "system" in (turns[0].get("role"), turns[0].get("from")):
        return turns
    return [{"role": "system", "content": said}, *turns]


def _from_history(history: Any, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a row whose earlier ones are a list of [question, answer]."""
    if not isinstance(history, list) or not all(isinstance(p, Sequence) and len(p) == 2 for p in history):
        raise ValueError("field 'history': a list of [question, answer] is expected")
    row = _plain_row({name: value for name, value in row.items() if name not in ("history", "messages")})
    last = f"{row['instruction']}\n{row['input']}" if row["input"].strip() else row["instruction"]
    texts = [text for pair in history for text in pair] + [last, row["response"]]
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def _turns(messages: Any, field: str) -> list[dict[str, str]]:
    """Return a chat as [{"role": "user", "content": "..."}, ...].

    A system message or none, then user and assistant by turns; what follows the last answer is left out, and
    in ShareGPT's form an answer before the first question. Raises ValueError for anything else.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f"field {field!r}: a list of objects is expected")
    chat = []
    for message in messages:
        role = _role_of(message)
        chat.append({"role": _ROLES.get(role, role), "content": _content(message, field)})
    system = chat[:1] if chat and chat[0]["role"] == "system" else []
    turns = chat[len(system) :]
    while field in _CHAT_FIELDS[1:] and turns and turns[0]["role"] == "assistant":
        turns.pop(0)
    while turns and turns[-1]["role"] == "user":
        turns.pop()
    if not turns or [turn["role"] for turn in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise ValueError(
            f"field {field!r}: user and assistant by turns are expected, after a system message or none, "
            f"found {', '.join(message['role'] for message in chat) or 'nothing'}"
        )
    return system + turns


def _content(message: Mapping[str, Any], field: str) -> str:
    content = message.get("content")
    content = message.get("value") if content is None else content
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    if not isinstance(content, str):
        raise ValueError(f"field {field!r}: each content is expected to be text")
    return content


def _evolutions(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one row of distilabel's EvolInstruct: an evolution each, with the answer to it.

    With `store_evolutions` it holds a list of them, each made of the one before; the first may be the
    instruction itself. Without a list of answers, the answer belongs to the last.
    """
    original = row.get("instruction")
    several = row.get("evolved_instructions")
    texts: list[Any] = several if isinstance(several, list) and several else [row["evolved_instruction"]]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("field 'evolved_instructions': a list of texts is expected")
    answers = row.get("answers") if texts is several else None
    if answers is not None and (not isinstance(answers, list) or len(answers) != len(texts)):
        raise ValueError(f"field 'answers': {len(texts)} are expected, one for each evolved instruction")
    own = {"evolved_instruction", "evolved_instructions", "answers", "model_name", "instruction", "id"}
    rest = {name: value for name, value in row.items() if name not in own}
    unanswered = {name: value for name, value in rest.items() if name not in RESPONSE_FIELDS}
    begins = 0 if texts[0] == original else 1
    rows: list[dict[str, Any]] = []
    for at, text in enumerate(texts):
        number = at + begins
        evolution: dict[str, Any] = {
            "round": number,
            "teacher": row.get("model_name") if number else None,
            "seed_id": content_hash(original, "")[:16] if isinstance(original, str) else None,
            **(rest if answers is None and text is texts[-1] else unanswered),
            "instruction": text,
        }
        if answers is not None:
            evolution["response"] = answers[at]
        if number:
            evolution["evolved_from"] = texts[at - 1] if at else original
        if row.get("id"):
            evolution["id"] = row["id"] if len(texts) == 1 else f"{row['id']}-{number}"
        if rows:
            evolution["parent_id"] = rows[-1].get("id") or content_hash(rows[-1]["instruction"], "")[:16]
        rows.append(evolution)
    return rows
