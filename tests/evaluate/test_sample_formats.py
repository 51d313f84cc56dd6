"""Sample files as other harnesses write them, and folders of which only some files are samples."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.sample_files import read_samples, rows_by_file, usual_extraction
from evolcoder.records import Problem
from evolcoder.runs import write_jsonl_whole

ADD, ZERO = "HumanEval/53", "HumanEval/2"
CHAT = "Sure:\n```python\ndef add(x, y):\n    return x + y\n```\n"
CODE = "def add(x, y):\n    return x + y"


@pytest.fixture(scope="module")
def humaneval() -> Benchmark:
    return load_benchmark("humaneval")


def read(path: Path, benchmark: Benchmark) -> list[tuple[str, str, str]]:
    """Return (task id, program, why there is none) of each sample, extracted as is usual for the file."""
    how = usual_extraction(path, benchmark)
    return [(s.task_id, s.program.strip(), s.absent) for s in read_samples(path, benchmark, how)]


def said(text: str | None, ended: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": ended}]}


def inspect_sample(text: str | None, epoch: int = 1) -> dict[str, Any]:
    return {"id": ADD, "epoch": epoch, "input": "x", "messages": [], "output": said(text), "scores": {}}


def lm_eval_row(name: str, program: str) -> dict[str, Any]:
    doc = {"task_id": ADD, "prompt": "def add", "entry_point": "add"}
    return {"doc_id": 53, "doc": doc, "filter": name, "resps": [[CHAT]], "filtered_resps": [[program]]}


def batch_row(response: Any, error: Any = None) -> dict[str, Any]:
    return {"id": "batch_req_1", "custom_id": ADD, "response": response, "error": error}


USER = {"role": "user", "content": "x"}
PARTS = [{"type": "reasoning", "text": "def add(): 0"}, {"type": "text", "text": CHAT}]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([lm_eval_row("a", CODE), lm_eval_row("b", "x")], [(ADD, CODE, "")], id="lm-eval"),
        pytest.param([lm_eval_row("none", CHAT)], [(ADD, CODE, "")], id="lm-eval without a filter"),
        pytest.param(
            [{"task_id": ADD, "messages": [USER, {"role": "assistant", "content": CHAT}]}],
            [(ADD, CODE, "")],
            id="messages",
        ),
        pytest.param(
            [{"id": ADD, "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": CHAT}]}],
            [(ADD, CODE, "")],
            id="conversations",
        ),
        pytest.param(
            [{"task_id": ADD, "messages": [USER]}],
            [(ADD, "", "the last turn is not the assistant's")],
            id="no turn of the assistant",
        ),
        pytest.param(
            [
                batch_row({"status_code": 200, "body": said(CHAT)}),
                batch_row({"status_code": 200, "body": said(None, "length")}),
                batch_row({"status_code": 200, "body": {"choices": []}}),
                batch_row({"status_code": 429, "body": {"error": {}}}),
                batch_row(None, {"code": "batch_expired"}),
            ],
            [
                (ADD, CODE, ""),
                (ADD, "", "length"),
                (ADD, "", "no choices"),
                (ADD, "", "the server's status 429"),
                (ADD, "", "an error instead of a reply"),
            ],
            id="OpenAI's batch output",
        ),
        pytest.param(
            [
                {**batch_row({"status_code": 200, "body": said(CHAT)}), "custom_id": f"{ADD}{counted}"}
                for counted in ("-0", "#1", "_sample_2")
            ],
            [(ADD, CODE, "")] * 3,
            id="OpenAI's batch output, samples counted in its ids",
        ),
        pytest.param(
            [
                {"custom_id": ADD, "result": {"type": "succeeded", "message": {"content": PARTS}}},
                {"custom_id": ADD, "result": {"type": "errored"}},
            ],
            [(ADD, CODE, ""), (ADD, "", "the batch says: errored")],
            id="Anthropic's batch output",
        ),
        pytest.param([{"task_id": 53, **said(CHAT)}], [(ADD, CODE, "")], id="a reply"),
        pytest.param(
            [{"question_id": ADD, "code_list": [CODE, None], "output_list": [CHAT, CHAT]}],
            [(ADD, CODE, ""), (ADD, "", "the text is null")],
            id="LiveCodeBench",
        ),
        pytest.param(
            [{"task_id": ADD, "completion": None, "finish_reason": "content_filter"}],
            [(ADD, "", "content_filter")],
            id="null completion",
        ),
        pytest.param([{"task_id": ADD, "solution": None}], [(ADD, "", "the text is null")], id="null text"),
    ],
)
def test_rows_of_other_harnesses_are_samples(
    tmp_path: Path, humaneval: Benchmark, lines: list[Any], expected: list[Any]
) -> None:
    write_jsonl_whole(tmp_path / "rows.jsonl", lines)
    assert read(tmp_path / "rows.jsonl", humaneval) == expected
    (tmp_path / "list.json").write_text(json.dumps(lines, indent=2))
    assert read(tmp_path / "list.json", humaneval) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"eval": {ADD: [{"task_id": ADD, "solution": CODE, "base_status": "pass"}]}, "hash": ""},
        {"version": 2, "eval": {"task": "humaneval"}, "samples": [inspect_sample(CHAT)]},
        [[]] * 53 + [[CODE]],
        [{"task_id": ADD, "solution": CODE}],
        {"task_id": ADD, "solution": CODE},
    ],
    ids=["EvalPlus results", "Inspect log", "generations.json", "array", "one row"],
)
def test_one_json_value_is_read_on_one_line_or_many(tmp_path: Path, humaneval: Benchmark, value: Any) -> None:
    for indent, name in ((None, "a.json"), (2, "b.json"), (2, "named-wrongly.jsonl")):
        (tmp_path / name).write_text(json.dumps(value, indent=indent))
        assert read(tmp_path / name, humaneval) == [(ADD, CODE, "")]


def test_packed_files_are_known_by_their_first_bytes(tmp_path: Path, humaneval: Benchmark) -> None:
    line = (json.dumps({"task_id": ADD, "solution": CODE}) + "\n").encode()
    (tmp_path / "s.jsonl.zst").write_bytes(pyarrow.compress(line, codec="zstd", asbytes=True))
    (tmp_path / "named-plainly.jsonl").write_bytes(gzip.compress(line))
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + line)
    parquet.write_table(pyarrow.Table.from_pylist([json.loads(line)]), tmp_path / "s.parquet")
    for name in ("s.jsonl.zst", "named-plainly.jsonl", "bom.jsonl", "s.parquet"):
        assert read(tmp_path / name, humaneval) == [(ADD, CODE, "")], name
    (tmp_path / "broken.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd broken")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 broken")
    for name in ("broken.jsonl.zst", "broken.parquet"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            read(tmp_path / name, humaneval)


def test_a_link_to_a_file_of_the_folder_is_no_second_file(tmp_path: Path, humaneval: Benchmark) -> None:
    write_jsonl_whole(tmp_path / "s.jsonl", PROGRAMS)
    (tmp_path / "t.jsonl").symlink_to("s.jsonl")
    assert read(tmp_path, humaneval) == [(ADD, CODE, "")]


def test_an_archive_of_one_file_is_read_and_other_encodings_are_told(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    line = json.dumps({"task_id": ADD, "solution": CODE}) + "\n"
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("m/s.jsonl", f"{line}\n")
        archive.writestr("__MACOSX/m/._s.jsonl", "x")
    assert read(tmp_path / "s.zip", humaneval) == [(ADD, CODE, "")]
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        archive.writestr("s.jsonl", f"{line}no")
    with pytest.raises(DataError, match=r"broken.zip: s.jsonl: line 2: not JSON"):
        read(tmp_path / "broken.zip", humaneval)
    (tmp_path / "utf16.jsonl").write_text(line, encoding="utf-16")
    with pytest.raises(DataError, match="is UTF-16 text; UTF-8 is expected"):
        read(tmp_path / "utf16.jsonl", humaneval)
    (tmp_path / "nan.jsonl").write_text(f'{{"task_id": "{ADD}", "solution": NaN}}\n')
    assert read(tmp_path / "nan.jsonl", humaneval) == [(ADD, "", "the text is null")]


def test_an_inspect_archive_is_read_with_its_epochs(tmp_path: Path, humaneval: Benchmark) -> None:
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("header.json", "{}")
        for epoch, text in ((1, CHAT), (2, None)):
            archive.writestr(f"samples/{ADD}_epoch_{epoch}.json", json.dumps(inspect_sample(text, epoch)))
    assert read(tmp_path / "log.eval", humaneval) == [(ADD, CODE, ""), (ADD, "", "stop")]
    with zipfile.ZipFile(tmp_path / "other.eval", "w") as archive:
        archive.writestr("x", "")
    with pytest.raises(DataError, match="an Inspect log"):
        read(tmp_path / "other.eval", humaneval)


def test_an_inspect_archive_packed_by_zstd_is_read(tmp_path: Path, humaneval: Benchmark) -> None:
    text = json.dumps(inspect_sample(CHAT)).encode()
    packed = pyarrow.compress(text, codec="zstd", asbytes=True)
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as archive:
        archive.writestr("header.json", "{}")
        archive.writestr(f"samples/{ADD}_epoch_1.json", packed)
        stored = archive.infolist()[1]
        stored.compress_type, stored.file_size = 93, len(text)  # goes into the archive's directory
    assert read(tmp_path / "log.eval", humaneval) == [(ADD, CODE, "")]
    data = (tmp_path / "log.eval").read_bytes()
    (tmp_path / "broken.eval").write_bytes(data.replace(packed[:8], b"\0" * 8))
    with pytest.raises(DataError, match=r"broken.eval: cannot be read"):
        read(tmp_path / "broken.eval", humaneval)


SAID_FORMS: dict[str, Any] = {
    "answers by problem": {ADD: CHAT},
    "programs by problem": {ADD: [CODE, None]},
    "rows by problem": {ADD: [{"solution": CODE}]},
    "answers by number": {"53": {"prediction": CHAT}},
    "OpenCompass": {str(n): {"origin_prompt": "x", "prediction": CHAT if n == 53 else ""} for n in range(54)},
    "DeepSeek-Coder": [{"task_id": ADD, "output": CHAT, "generation": CODE}],
    "predictions": [{"id": 53, "predictions": [CHAT]}],
    "generated_text": [{"task_id": ADD, "generated_text": [USER, {"role": "assistant", "content": CHAT}]}],
    "beside the question": [{"task_id": ADD, "text": "question", "model_output": CHAT}],
    "vLLM": [{"task_id": ADD, "prompt": "x", "outputs": [{"index": 0, "text": CHAT}]}],
    "by the prompt": [{"prompt": "def add(x: int, y: int):\n", "generation": CHAT}],
    "by the instruction": [{"instruction": "Write:\ndef add(x, y):", "output": CODE, "generator": "m"}],
    "FastChat": [{"question_id": ADD, "choices": [{"index": 0, "turns": [CHAT]}]}],
    "Gemini": [{"task_id": ADD, "candidates": [{"content": {"parts": [*PARTS[1:]]}}]}],
    "Gemini's thoughts": [
        {"task_id": ADD, "candidates": [{"content": {"parts": [{"text": "x", "thought": True}, PARTS[1]]}}]}
    ],
    "Anthropic": [{"task_id": ADD, "role": "assistant", "content": PARTS, "stop_reason": "end_turn"}],
    "MultiPL-E's name": [{"name": "HumanEval_53_add", "language": "py", "code": CODE}],
    "beside the data set's own code": [
        {"task_id": ADD, "canonical_solution": "return 0", "test": "x", "generation": CHAT}
    ],
    "the script of batch inference": [{"id": 53, "instruction": "x", "wizardcoder": CHAT}],
    "content": [{"task_id": " humaneval-53", "content": CHAT}],
    "raw_response": [{"taskId": ADD, "raw_response": CHAT}],
    "responses": [{"sample_id": ADD, "responses": [CHAT]}],
    "a table's number": [{"task_id": 53.0, "generation": CHAT}],
    "rows under a name": {"model": "m", "results": [{"task_id": ADD, "solution": CODE}]},
}


@pytest.mark.parametrize("name", SAID_FORMS)
def test_what_a_model_said_is_found_under_the_names_in_use(
    tmp_path: Path, humaneval: Benchmark, name: str
) -> None:
    value = SAID_FORMS[name]
    (tmp_path / "a.json").write_text(json.dumps(value, indent=1))
    write_jsonl_whole(tmp_path / "b.jsonl", value if isinstance(value, list) else [value])
    for file in ("a.json", "b.jsonl"):
        programs = [sample for sample in read(tmp_path / file, humaneval) if sample[0] == ADD]
        assert programs[0] == (ADD, CODE, "")


FORMS_OF_OTHERS: dict[str, Callable[[str, str | None], dict[str, Any]]] = {
    "batch": lambda task, text: {**batch_row({"status_code": 200, "body": said(text)}), "custom_id": task},
    "messages": lambda task, text: {
        "task_id": task,
        "messages": [USER, {"role": "assistant", "content": text}],
    },
    "reply": lambda task, text: {"task_id": task, "response": text},
}


@pytest.mark.parametrize("form", FORMS_OF_OTHERS)
@pytest.mark.parametrize(
    ("name", "task", "answer", "program"),
    [
        ("ds1000", "DS-1000/0", "```python\nresult = df\n```", "result = df"),
        ("cruxeval:output", "sample_0", "[ANSWER]assert f(1) == 3[/ANSWER]", "3"),
        ("multipl-e:js", "HumanEval_53_add", "```js\nfunction add(x, y) { return x + y }\n```", "function"),
    ],
)
def test_a_benchmark_with_files_of_its_own_has_those_of_other_harnesses_too(
    tmp_path: Path,
    benchmark_data: Path,
    form: str,
    name: str,
    task: str,
    answer: str,
    program: str,
) -> None:
    benchmark = load_benchmark(name)
    rows = [FORMS_OF_OTHERS[form](task, text) for text in (answer, None)]
    write_jsonl_whole(tmp_path / "rows.jsonl", rows)
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=2))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "packed").write_bytes(
        pyarrow.compress((tmp_path / "rows.jsonl").read_bytes(), "zstd", asbytes=True)
    )
    (tmp_path / "folder").mkdir()
    write_jsonl_whole(tmp_path / "folder" / "rows.jsonl", rows)
    for file in ("rows.jsonl", "list.json", "rows.parquet", "packed", "folder"):
        samples = read_samples(tmp_path / file, benchmark, "auto")
        found = [(s.task_id, s.program.strip().startswith(program), bool(s.absent)) for s in samples]
        assert found == [(task, True, False), (task, False, True)], file


def test_separated_values_are_samples(tmp_path: Path, humaneval: Benchmark) -> None:
    (tmp_path / "a.csv").write_text(f'task_id,generation\n{ADD},"{CHAT}"\n')
    assert read(tmp_path / "a.csv", humaneval) == [(ADD, CODE, "")]


@pytest.mark.parametrize(
    "row",
    [
        {"task_id": ADD, "passed": True, "result": "passed"},
        {"task_id": ADD, "text": "Add.", "code": CODE, "test_list": ["assert add(1, 1) == 2"]},
        {"task_id": "HumanEval_53_sub", "completion": CODE},
    ],
    ids=["a verdict", "a problem of a data set", "another function"],
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, humaneval: Benchmark, row: dict[str, Any]) -> None:
    write_jsonl_whole(tmp_path / "s.jsonl", [row])
    with pytest.raises(DataError, match=r"field 'completion' is missing|is not in humaneval"):
        read(tmp_path / "s.jsonl", humaneval)


def test_a_row_of_another_benchmark_is_no_sample_by_its_number_alone(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    row = lm_eval_row("a", CODE)
    row["doc"] = {"task_id": 11, "entry_point": "remove_Occ"}
    write_jsonl_whole(tmp_path / "s.jsonl", [row])
    with pytest.raises(DataError, match=r"'11 \(remove_Occ\)' is not in humaneval"):
        read(tmp_path / "s.jsonl", humaneval)
    row["doc"] = {
        "task_id": 11,
        "text": "Write a function",
        "code": "def remove_Occ(s): ...",
        "test_list": [],
    }
    write_jsonl_whole(tmp_path / "s.jsonl", [row])
    with pytest.raises(DataError, match=r"'11 \(Write a function\)' is not in humaneval"):
        read(tmp_path / "s.jsonl", humaneval)
    (tmp_path / "long.json").write_text(json.dumps([["x"]] * 165))
    with pytest.raises(DataError, match="'problem number 165' is not in humaneval"):
        read(tmp_path / "long.json", humaneval)


ROWS = [{"task_id": ADD, "completion": "    return x + y"}, {"task_id": ZERO, "completion": "    return 0"}]
JUDGED = [{**row, "result": "passed", "passed": True} for row in ROWS]
PROGRAMS = [{"task_id": ADD, "solution": CODE}]
RAW = [{"task_id": ADD, "solution": CHAT}]
LIVE = [{"question_id": ADD, "code_list": [CODE], "output_list": [CHAT]}]
GRADED = [{**LIVE[0], "graded_list": [True], "pass@1": 1.0}]
EVAL = {"eval": {ADD: [{"solution": CODE, "base_status": "pass"}]}}


@pytest.mark.parametrize(
    ("files", "read_without", "read_with_extraction"),
    [
        ({"s.jsonl": ROWS, "s.jsonl_results.jsonl": JUDGED}, ["s.jsonl"], ["s.jsonl"]),
        ({"s.jsonl.gz": ROWS, "s_results.jsonl": JUDGED}, ["s.jsonl.gz"], ["s.jsonl.gz"]),
        ({"s.jsonl": ROWS, "a-verdicts.jsonl": JUDGED[:1]}, ["s.jsonl"], ["s.jsonl"]),
        ({"m.jsonl": PROGRAMS, "m.raw.jsonl": RAW}, ["m.jsonl"], ["m.raw.jsonl"]),
        ({"m.jsonl": RAW, "m-sanitized.jsonl": PROGRAMS}, ["m-sanitized.jsonl"], ["m.jsonl"]),
        ({"m.jsonl": PROGRAMS, "m_eval_results.json": EVAL}, ["m.jsonl"], ["m.jsonl"]),
        (
            {"m.jsonl": PROGRAMS, "m.raw.jsonl": RAW, "m_eval_results.json": EVAL},
            ["m.jsonl"],
            ["m.raw.jsonl"],
        ),
        (
            {"g_humaneval.json": [[CODE]], "g_humaneval_intermediate.json": [[CODE]]},
            ["g_humaneval.json"],
            ["g_humaneval.json"],
        ),
        ({"m_eval_results.json": EVAL}, ["m_eval_results.json"], ["m_eval_results.json"]),
        ({"m.jsonl": PROGRAMS, "m.jsonl.gz": PROGRAMS}, ["m.jsonl"], ["m.jsonl"]),
        (
            {"generations.json": [[CODE]], "references.json": ["check(add)"]},
            ["generations.json"],
            ["generations.json"],
        ),
        (
            {"g_1_0.2.json": LIVE, "g_1_0.2_eval.json": [{"pass@1": 1}], "g_1_0.2_eval_all.json": GRADED},
            ["g_1_0.2.json"],
            ["g_1_0.2.json"],
        ),
        ({"g_eval_all.json": GRADED}, ["g_eval_all.json"], ["g_eval_all.json"]),
        ({"a.jsonl": ROWS, "b.jsonl": PROGRAMS}, ["a.jsonl", "b.jsonl"], ["a.jsonl", "b.jsonl"]),
        ({"a.jsonl": JUDGED, "b.jsonl": PROGRAMS}, ["a.jsonl", "b.jsonl"], ["a.jsonl", "b.jsonl"]),
        (
            {
                "s.jsonl": ROWS,
                ".s.jsonl": ROWS,
                ".ipynb_checkpoints/s-checkpoint.jsonl": ROWS,
                "__MACOSX/s.jsonl": RAW,
            },
            ["s.jsonl"],
            ["s.jsonl"],
        ),
        ({"x/s.jsonl": ROWS, "config.json": {"a": 1}, "x/results.json": {}}, ["s.jsonl"], ["s.jsonl"]),
    ],
)
def test_every_sample_of_a_folder_is_read_once(
    tmp_path: Path,
    humaneval: Benchmark,
    files: dict[str, Any],
    read_without: list[str],
    read_with_extraction: list[str],
) -> None:
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith(".json"):
            (tmp_path / name).write_text(json.dumps(value))
        else:
            write_jsonl_whole(tmp_path / name, value)
    assert [file.name for file, _ in rows_by_file(tmp_path, humaneval)] == read_without
    assert [file.name for file, _ in rows_by_file(tmp_path, humaneval, "auto")] == read_with_extraction


def test_of_an_evaluations_folder_the_samples_of_the_benchmark_are_read(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    for name in ("humaneval", "mbpp"):
        (tmp_path / name).mkdir()
        write_jsonl_whole(tmp_path / name / "samples.jsonl", ROWS)
        write_jsonl_whole(tmp_path / name / "verdicts.jsonl", [{"task_id": ADD, "passed": True}])
        (tmp_path / name / "scores.json").write_text(json.dumps({"scores": [{"benchmark": name}]}))
    for place in (tmp_path, tmp_path / "humaneval"):
        files = [file for file, _ in rows_by_file(place, humaneval)]
        assert files == [tmp_path / "humaneval" / "samples.jsonl"]
    (tmp_path / "mbpp" / "scores.json").write_text(json.dumps({"scores": [{"benchmark": "humaneval"}]}))
    with pytest.raises(DataError, match=r"samples of 2 evaluations .*; give one of them"):
        list(rows_by_file(tmp_path, humaneval))


def test_raw_texts_beside_programs_are_no_second_model(tmp_path: Path, humaneval: Benchmark) -> None:
    for model, text in (("a_temp_0.0", CODE), ("a_temp_0.0.raw", CHAT)):
        (tmp_path / model / "HumanEval_53").mkdir(parents=True)
        (tmp_path / model / "HumanEval_53" / "0.py").write_text(text)
    assert [file.parent.parent.name for file, _ in rows_by_file(tmp_path, humaneval)] == ["a_temp_0.0"]
    assert [file.parent.parent.name for file, _ in rows_by_file(tmp_path, humaneval, "auto")] == [
        "a_temp_0.0.raw"
    ]


def test_programs_of_two_models_are_not_one_set_of_samples(tmp_path: Path, humaneval: Benchmark) -> None:
    for model in ("a_temp_0.0", "b_temp_0.0"):
        (tmp_path / model / "HumanEval_53").mkdir(parents=True)
        (tmp_path / model / "HumanEval_53" / "0.py").write_text(CODE)
    (tmp_path / "a_temp_0.0" / "eval_results.json").write_text(json.dumps({"eval": {}}))
    assert read(tmp_path / "a_temp_0.0", humaneval) == [(ADD, CODE, "")]
    with pytest.raises(DataError, match=r"programs of 2 folders .*; give one of them"):
        read(tmp_path, humaneval)


def test_a_number_that_names_two_problems_is_an_error(tmp_path: Path) -> None:
    problems = tuple(Problem(name, "mine", "def f(x):\n", "f", "assert f(2) == 4") for name in ("A/1", "B/1"))
    mine = AssertionBenchmark("mine", "v1", problems)
    write_jsonl_whole(tmp_path / "s.jsonl", [{"task_id": 1, "completion": "    return 2 * x"}])
    with pytest.raises(DataError, match=r"line 1: task id '1' may be A/1 or B/1: write it whole"):
        read(tmp_path / "s.jsonl", mine)
    write_jsonl_whole(tmp_path / "s.jsonl", [{"task_id": "b_1", "completion": "    return 2 * x"}])
    assert [name for name, _, _ in read(tmp_path / "s.jsonl", mine)] == ["B/1"]
