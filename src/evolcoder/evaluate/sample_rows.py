"""Rows of sample files of any harness, in one form: an id of the problem, and texts by what they are.

A file is read by what it holds, not by its name: JSON lines, one JSON value, Parquet, an Inspect log (a zip
archive), each also compressed by gzip or zstd; CSV and TSV by their names. What other harnesses write becomes
rows as `sample_files` reads them: `task_id`, and `completion`, `solution` (a whole program) or `answer` (a
chat model's text). A text of None is an answer that never came; `absent` says why.

| what is found | read as |
|---|---|
| `generations.json` of bigcode-evaluation-harness: a list of texts a problem, in its order | `solution` |
| lm-eval's `samples_*.jsonl`: `doc`, `resps`, `filtered_resps` | `answer`, and `solution` or `completion` |
| Inspect's log: `samples` of `id` and `output` | `answer` |
| batch output of OpenAI (`custom_id`, `response`) or Anthropic (`custom_id`, `result`) | `answer` |
| `messages` or `conversations`: the last turn, where it is the assistant's | `answer` |
| `choices` of a chat or text completion | `answer` |
| LiveCodeBench's `code_list` and `output_list` | `solution` and `answer` |
| EvalPlus's `eval_results.json` with its programs | `solution` |
| OpenCompass's predictions, any one object of answers by problem | `answer` |
| `generation`, `prediction` and other names of what a model said | `answer` |
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

from evolcoder.data_files import is_json, open_unpacked, rows_of_data
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.parquet_files import parquet_rows
from evolcoder.runs import MOST_ROW_BYTES, bad_rows_message, read_jsonl, read_unpacked

Row = dict[str, Any]
PLAIN_FIELDS = ("completion", "solution", "samples")
RAW_FIELDS = ("all_code", "raw", "output", "response")
ANSWER = "answer"
"""Field of the rows given that holds a chat model's answer: text that needs an extraction."""
TEXT_FIELDS = (*PLAIN_FIELDS, *RAW_FIELDS, ANSWER)
_SAID = (
    *("generation", "generations", "generated_text", "generated_code", "generated_solution", "prediction"),
    *("predictions", "model_output", "model_response", "model_answer", "completions", "outputs"),
    *("answers", "responses", "candidates", "sequences", "generated", "generated_codes", "generated_program"),
    *("model_generation", "model_completion", "llm_output", "llm_response", "raw_output", "raw_response"),
    *("raw_completion", "full_response", "full_generation", "reply", "pred", "wizardcoder"),
)
"""Other names of the field that holds a model's answer or answers."""
_SAID_IF_ALONE = ("program", "code", "content", "text", "programs", "codes", "texts", "solutions")
"""Names that other things have too: read where nothing else may be the answer."""
_DATA_FIELDS = ("canonical_solution", "test", "tests", "test_list")
"""A row with one of these holds the benchmark's own problem too, with its text and code."""
_FORM_FIELDS = {
    *("doc", "custom_id", "code_list", "output_list", "choices", "output", "messages", "conversations"),
    *("conversation", "candidates", "role", "response", "message"),
}
"""A row with none of these that has an id and a program needs no look at its form."""
_IDS = ("question_id", "problem_id", "custom_id", "id")
"""Where a row without `task_id` names its problem, the surest name first."""
_IDS_IF_KNOWN = ("name", "problem", "task", "taskid", "task_name", "problem_name")
"""Further names, of fields that often hold something else."""
_IDS_IF_TEXT = ("taskId", "TaskID", "prompt_id", "qid", "instance_id", "sample_id", "key")
"""Names of fields that may count something where they hold a number."""
_COUNTED_ID = re.compile(r"(.+?)[-_#:. ]+(?:(?:sample|run|try|attempt|n)[-_ ]?)?\d+")
"""A batch's ids are each there once, so several samples of a problem are counted in them."""
_ROW_LISTS = ("samples", "data", "results", "predictions", "generations", "rows", "outputs", "records")
"""Where one object of a whole file holds its rows."""
_SEPARATED = re.compile(r"\.(csv|tsv)(\.gz|\.zst)?$", re.IGNORECASE)
_HEAD = 1 << 16


def rows_of(file: Path, benchmark: Benchmark) -> Iterator[tuple[int, Row]]:
    """Yield (number, row) of a sample file; the number is the line's, or counts rows from 1.

    Raises DataError for a file that cannot be read, and after the good lines one that names the bad ones.
    """
    first_filter: Any = None
    bad: list[str] = []
    for number, value in _values(file):
        if not (isinstance(value, (dict, str)) or _is_texts(value)):
            bad.append(f"number {number}: a JSON object is expected, found {type(value).__name__}")
            continue
        for row in _rows(value, number, benchmark):
            if "filter" in row and "doc_id" in row:
                # lm-eval writes each answer again for each of its filters.
                first_filter = first_filter or row["filter"]
                if row["filter"] != first_filter:
                    continue
            yield number, row
    if bad:
        raise DataError(bad_rows_message(file, bad))


def _values(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield what a file holds, row by row: lines of JSON, the items of one list, or one JSON object."""
    try:
        with open_unpacked(file) as stream:
            head = stream.read(_HEAD)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{file}: is UTF-16 text; UTF-8 is expected (iconv -f UTF-16 -t UTF-8)")
        if head.startswith(b"PAR1"):
            yield from enumerate(parquet_rows(file), 1)
        elif head.startswith(b"PK\x03\x04"):
            yield from enumerate(_archive_rows(file), 1)
        elif _SEPARATED.search(file.name):
            yield from enumerate((row for _, row in rows_of_data(file)), 1)
        elif _is_one_value(head) and (value := _one_value(file)) is not None:
            yield from enumerate(value, 1) if isinstance(value, list) else [(1, value)]
        else:
            yield from read_jsonl(file, open_unpacked)
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error


def _is_one_value(head: bytes) -> bool:
    """Whether a text may be one JSON value over several lines, not a value a line."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return True
    line, end, _ = text.partition(b"\n")
    return bool(end) and text.startswith(b"{") and not is_json(line)


def _one_value(file: Path) -> Any:
    """Return the one JSON value of a file, None where it is not one."""
    try:
        return json.loads(read_unpacked(file, open_unpacked))
    except (ValueError, RecursionError):
        return None


def _archive_rows(file: Path) -> Iterator[Row]:
    """Yield the samples of an Inspect log: one JSON file each, in the archive's folder `samples`."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"samples/.+\.json", name)]
        of_lines = not names
        if of_lines:
            names = [n for n in archive.namelist() if n.endswith(".jsonl") and not n.startswith("__MACOSX/")]
            if len(names) != 1:
                wanted = "samples/NAME.json (an Inspect log) or one NAME.jsonl is expected"
                raise DataError(f"{file}: an archive with {len(names)} files .jsonl; {wanted}")
        for name in names:
            if archive.getinfo(name).file_size > MOST_ROW_BYTES:
                raise DataError(f"{file}: {name}: over {MOST_ROW_BYTES >> 20} MB; unpack it")
            data = _member(archive, archive.getinfo(name)).removeprefix(b"\xef\xbb\xbf")
            for number, text in enumerate(data.splitlines() if of_lines else [data], 1):
                try:
                    if text.strip() or not of_lines:
                        yield json.loads(text)
                except ValueError as error:
                    line = f"line {number}: " if of_lines else ""
                    raise DataError(f"{file}: {name}: {line}not JSON ({error})") from error


_ZSTD = 93
"""How the zip format numbers zstd (APPNOTE 6.3.7); Python reads it from 3.14 on. Inspect packs by it."""


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a file of an archive; raises what `zipfile` raises."""
    if member.compress_type != _ZSTD:
        return archive.read(member)
    import pyarrow

    assert archive.fp is not None
    archive.fp.seek(member.header_offset)
    header = archive.fp.read(30)
    archive.fp.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    packed = archive.fp.read(member.compress_size)
    try:
        unpacked = pyarrow.decompress(packed, member.file_size, codec="zstd", asbytes=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise zipfile.BadZipFile(f"{member.filename}: {error}") from error
    return cast("bytes", unpacked)


def _rows(value: Any, number: int, benchmark: Benchmark) -> Iterator[Row]:
    """Yield the rows that one value of a file comes to."""
    if not isinstance(value, dict):
        # The texts of one problem, in the benchmark's order.
        named = [problem.task_id for problem in benchmark.problems[number - 1 : number]]
        yield {"task_id": named[0] if named else f"problem number {number}", "solution": value}
    elif (rows := _listed_rows(value)) is not None:
        yield from (_row(row, benchmark) for row in rows)
    elif isinstance(value.get("eval"), dict):
        for task_id, judged in value["eval"].items():
            for row in judged if isinstance(judged, list) else []:
                yield {"task_id": task_id, **row}
    elif (by_problem := _by_problem(value, benchmark)) is not None:
        for task_id, said in by_problem:
            for item in said if _are_objects(said) else [said]:
                row = item if isinstance(item, dict) else {ANSWER: item}
                yield _row({**row, "task_id": task_id}, benchmark)
    else:
        yield _row(value, benchmark)


def _listed_rows(value: Row) -> list[Row] | None:
    """Return the rows that one object lists; None for an object that is a row itself."""
    if "samples" not in value and not value.keys().isdisjoint(("task_id", *_IDS, *_IDS_IF_KNOWN, "doc")):
        return None
    return next((value[name] for name in _ROW_LISTS if _are_objects(value.get(name))), None)


def _by_problem(value: Row, benchmark: Benchmark) -> list[tuple[str, Any]] | None:
    """Return (problem, what a model said) of an object whose keys are problems; None for any other.

    Keys that count from 0 and are not all ids are places in the benchmark's order (OpenCompass).
    """
    are_said = all(_is_said(said) or isinstance(said, dict) for said in value.values())
    if not value or "task_id" in value or not are_said:
        return None
    if all(_is_known(key, benchmark) for key in value):
        return list(value.items())
    n = len(value)
    if n > len(benchmark.problems) or list(value) != list(map(str, range(n))):
        return None
    return [(p.task_id, said) for p, said in zip(benchmark.problems[:n], value.values(), strict=True)]


def _is_known(task_id: Any, benchmark: Benchmark) -> bool:
    try:
        return isinstance(task_id, (str, int)) and benchmark.find(task_id) is not None
    except ValueError:  # of several problems
        return True


def _is_said(value: Any) -> bool:
    return value is None or isinstance(value, str) or _is_texts(value) or _are_objects(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | None) for item in value)


def _row(row: Row, benchmark: Benchmark) -> Row:
    """Return a row with the fields that `sample_files` reads, beside its own."""
    is_plain = isinstance(row.get("task_id"), (str, int)) and ("completion" in row or "solution" in row)
    if is_plain and _FORM_FIELDS.isdisjoint(row):
        return row
    if isinstance(row.get("doc"), dict) and ("resps" in row or "filtered_resps" in row):
        return {**row, **_lm_eval(row, benchmark)}
    named = dict(row)
    if "task_id" not in row:
        found = next((name for name in _IDS if isinstance(row.get(name), (str, int))), None)
        found = found or next((name for name in _IDS_IF_KNOWN if _is_known(row.get(name), benchmark)), None)
        texts = (name for name in _IDS_IF_TEXT if isinstance(row.get(name), str))
        found = found or next((name for name in texts if _is_known(row[name], benchmark)), None)
        if found is not None:
            named["task_id"] = row[found]
    elif isinstance(row["task_id"], float) and row["task_id"].is_integer():
        named["task_id"] = int(row["task_id"])  # a table with an empty cell holds its numbers so
    if "custom_id" in row and ("response" in row or "result" in row):
        counted = _COUNTED_ID.fullmatch(str(row["custom_id"]))
        if counted and "task_id" not in row and not _is_known(row["custom_id"], benchmark):
            named["task_id"] = counted[1] if _is_known(counted[1], benchmark) else row["custom_id"]
        return {**named, **_batch_answer(row)}
    if "code_list" in row or "output_list" in row:
        lists = {"solution": row.get("code_list"), ANSWER: row.get("output_list")}
        return {**named, **{name: texts for name, texts in lists.items() if texts is not None}}
    if (reply := _reply(row)) is not None:
        return {**named, **reply}
    if not any(name in row for name in (*PLAIN_FIELDS, ANSWER)):
        alone = () if any(name in row for name in (*RAW_FIELDS, *_DATA_FIELDS)) else _SAID_IF_ALONE
        found = next((name for name in (*_SAID, *alone) if name in row and _is_said(row[name])), None)
        if found is not None:
            said = row[found]
            if _are_objects(said):
                turns = (one for one in said if one.get("role", "assistant") == "assistant")
                said = [_said(one, None)[ANSWER] for one in turns]
            return {**named, ANSWER: said}
    return named


def _lm_eval(row: Row, benchmark: Benchmark) -> Row:
    """lm-eval's samples: `resps` as the model wrote them, `filtered_resps` as its filters left them."""
    doc, place = row["doc"], row.get("doc_id")
    task_id = doc.get("task_id")
    if task_id is None and isinstance(place, int) and 0 <= place < len(benchmark.problems):
        task_id = benchmark.problems[place].task_id
    fields: Row = {"task_id": task_id}
    problem = benchmark.find(task_id) if isinstance(task_id, (str, int)) else None
    if problem is not None and problem.entry_point not in json.dumps(doc):
        # A number alone names a problem in every benchmark.
        named = doc.get("entry_point") or str(doc.get("text") or doc.get("prompt"))[:60]
        fields["task_id"] = f"{task_id} ({named})"
    answers = _flat(row.get("resps"))
    if answers:
        fields[ANSWER] = answers
    programs = _flat(row.get("filtered_resps"))
    if programs == answers and any("```" in (answer or "") for answer in answers or ()):
        programs = []  # no filter: the answers of a chat
    if programs:
        name = problem.entry_point if problem is not None else ""
        defined = re.compile(rf"^\s*(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b", re.MULTILINE)
        whole = any(defined.search(program or "") for program in programs)
        fields["solution" if whole or not name else "completion"] = programs
    return fields


def _flat(value: Any) -> list[str | None]:
    """Return the texts in lists of lists, in order."""
    if isinstance(value, list):
        return list(chain.from_iterable(map(_flat, value)))
    return [value if isinstance(value, str) else None]


def _batch_answer(row: Row) -> Row:
    """A line of a batch's output: OpenAI's `response` with its body, or Anthropic's `result`."""
    response, result = row.get("response"), row.get("result")
    if isinstance(response, dict):
        body, status = response.get("body"), response.get("status_code", 200)
        if status == 200 and isinstance(body, dict):
            return _reply(body) or {ANSWER: None, "absent": "a reply without a text"}
        return {ANSWER: None, "absent": f"the server's status {status}"}
    if isinstance(result, dict):
        message = result.get("message")
        if isinstance(message, dict):
            return _said(message, message.get("stop_reason"))
        return {ANSWER: None, "absent": f"the batch says: {result.get('type')}"}
    return {ANSWER: None, "absent": "an error instead of a reply" if row.get("error") else "no reply"}


def _reply(row: Row) -> Row | None:
    """Return the answers of one reply of a model: `choices`, `output`, turns of a chat; None for no reply."""
    if isinstance(row.get("choices"), list):
        choices = [choice for choice in row["choices"] if isinstance(choice, dict)]
        said = [_said(_message(c), c.get("finish_reason") or c.get("stop_reason")) for c in choices]
        if not said:
            return {ANSWER: None, "absent": "no choices"}
        absent = [one["absent"] for one in said if "absent" in one]
        return {ANSWER: [one[ANSWER] for one in said], **({"absent": absent[0]} if absent else {})}
    output: Any = row.get("output")
    if isinstance(output, dict):  # Inspect
        if isinstance(output.get("choices"), list) and output["choices"]:
            return _reply(output)
        wrong = row.get("error") or output.get("error") or "no answer"
        return {ANSWER: None, "absent": str(wrong.get("message") if isinstance(wrong, dict) else wrong)}
    if _are_objects(output):  # OpenAI's Responses
        return _said(next((t for t in reversed(output) if t.get("type") == "message"), {}), row.get("status"))
    for name in ("messages", "conversations", "conversation"):
        if _are_objects(row.get(name)) and "completion" not in row and "solution" not in row:
            last = row[name][-1]
            if last.get("role", last.get("from")) in ("assistant", "gpt", "model"):
                return _said(last, row.get("finish_reason"))
            return {ANSWER: None, "absent": "the last turn is not the assistant's"}
    if _are_objects(row.get("candidates")):  # Gemini
        return _said(row["candidates"][0].get("content"), row["candidates"][0].get("finishReason"))
    if row.get("role") == "assistant" and "content" in row:  # Anthropic's message
        return _said(row, row.get("stop_reason"))
    for name in ("response", "message"):
        if isinstance(row.get(name), dict):
            return _reply(row[name]) or _said(row[name], row.get("finish_reason"))
    return None


def _message(choice: Row) -> Any:
    """The message of a choice; a text completion has a text, FastChat the turns."""
    turns = choice.get("turns")
    said = choice.get("text") if not isinstance(turns, list) else turns[-1] if turns else None
    return choice.get("message", {"content": said})


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def _said(message: Any, ended: Any) -> Row:
    """Return the text of one message, or why it has none; thinking in parts of its own is left out."""
    names = ("content", "value", "parts", "text", "generated_text")
    fields = message if isinstance(message, dict) else {}
    content = next((fields[name] for name in names if name in fields), None)
    if isinstance(content, list):
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        parts = [part for part in parts if not part.get("thought")]
        texts = [part.get("text") for part in parts if part.get("type", "text") in ("text", "output_text")]
        content = "".join(text for text in texts if isinstance(text, str)) if any(texts) else None
    if isinstance(content, str):
        return {ANSWER: content}
    return {ANSWER: None, "absent": str(ended) if ended else "no text"}
