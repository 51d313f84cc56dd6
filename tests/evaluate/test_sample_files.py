"""Sample files of every format, and what a broken one says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.sample_files import missing_tasks, read_samples, response_of
from evolcoder.evaluate.verdict_files import read_verdicts


@pytest.fixture(scope="module")
def humaneval() -> Benchmark:
    return load_benchmark("humaneval")


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


RAW = "### Instruction: x\n\n### Response:```python\nraw = 1\n```"


def test_a_completion_goes_on_where_the_prompt_stops(tmp_path: Path, humaneval: Benchmark) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": "HumanEval/0", "completion": "    pass\n"})
    (sample,) = read_samples(path, humaneval)
    problem = humaneval.by_task["HumanEval/0"]
    assert humaneval.program(problem, sample) == problem.prompt + "    pass\n"


def test_a_solution_is_a_whole_program(tmp_path: Path, humaneval: Benchmark) -> None:
    path = write(tmp_path / "s.jsonl.gz", {"task_id": "HumanEval/0", "solution": "x = 1"})
    (sample,) = read_samples(path, humaneval)
    assert humaneval.program(humaneval.by_task["HumanEval/0"], sample) == "x = 1"


def test_with_an_extraction_the_raw_text_is_read_and_without_the_completion(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": "HumanEval/0", "completion": "done = 1", "all_code": RAW})
    assert next(read_samples(path, humaneval, "wizardcoder")).program == "raw = 1"
    assert next(read_samples(path, humaneval)).program == "done = 1"
    assert next(read_samples(path, humaneval, "wizardcoder", "completion")).program == "done = 1"
    assert next(read_samples(path, humaneval, "none", "all_code")).program.startswith("```python")


def test_samples_of_a_problem_are_numbered_as_they_stand(tmp_path: Path, humaneval: Benchmark) -> None:
    rows = [
        {"task_id": t, "completion": c} for t, c in [("HumanEval/1", "a"), (0, "b"), ("HumanEval_1", "c")]
    ]
    samples = list(read_samples(write(tmp_path / "s.jsonl", *rows), humaneval))
    assert [(s.task_id, s.index, s.program) for s in samples] == [
        ("HumanEval/1", 0, "a"),
        ("HumanEval/0", 0, "b"),
        ("HumanEval/1", 1, "c"),
    ]


def test_a_folder_of_sample_files_is_read_together(tmp_path: Path, humaneval: Benchmark) -> None:
    write(tmp_path / "a.jsonl", {"task_id": "HumanEval/0", "completion": "a"})
    write(tmp_path / "b.jsonl.gz", {"task_id": "HumanEval/0", "completion": "b"})
    assert [(s.index, s.program) for s in read_samples(tmp_path, humaneval)] == [(0, "a"), (1, "b")]


def test_the_folder_layout_of_evalplus_is_read(tmp_path: Path, humaneval: Benchmark) -> None:
    for task, number in [("HumanEval_10", 0), ("HumanEval_2", 10), ("HumanEval_2", 9)]:
        (tmp_path / task).mkdir(exist_ok=True)
        (tmp_path / task / f"{number}.py").write_text(f"n = {number}")
    samples = list(read_samples(tmp_path, humaneval))
    assert [(s.task_id, s.program, s.whole) for s in samples] == [
        ("HumanEval/10", "n = 0", True),
        ("HumanEval/2", "n = 9", True),
        ("HumanEval/2", "n = 10", True),
    ]


def test_many_samples_in_one_row_are_found_by_the_prompts_function(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    path = write(tmp_path / "s.jsonl", {"prompt": humaneval.problems[3].prompt, "samples": ["a", "b"]})
    assert [(s.task_id, s.program) for s in read_samples(path, humaneval)] == [
        ("HumanEval/3", "a"),
        ("HumanEval/3", "b"),
    ]


def test_of_two_problems_with_one_function_name_the_prompt_decides(
    tmp_path: Path, humaneval: Benchmark
) -> None:
    rows = [{"prompt": humaneval.by_task[f"HumanEval/{n}"].prompt[:-60], "samples": ["a"]} for n in (56, 61)]
    samples = list(read_samples(write(tmp_path / "s.jsonl", *rows), humaneval))
    assert [s.task_id for s in samples] == ["HumanEval/56", "HumanEval/61"]


def test_problems_without_a_sample_are_told(humaneval: Benchmark) -> None:
    assert missing_tasks(humaneval, ["HumanEval/0", "HumanEval/163"])[::161] == [
        "HumanEval/1",
        "HumanEval/162",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{not json"], r"s\.jsonl: line 1: not JSON"),
        (
            [{"task_id": "HumanEval/0", "completion": "a"}, "[1]"],
            r"line 2: a JSON object is expected, found list",
        ),
        ([{"task_id": "HumanEval/0"}], r"line 1: field 'completion' is missing \(found: 'task_id'\)"),
        ([{"completion": "a"}], r"line 1: field 'task_id' is missing \(found: 'completion'\)"),
        ([{"task_id": ["x"], "completion": "a"}], r"line 1: field 'task_id' is \[\"x\"\], text is expected"),
        ([{"task_id": "HumanEval/0", "completion": 3}], r"line 1: field 'completion'"),
        (
            [{"task_id": "HumanEval/164", "completion": "a"}],
            r"'HumanEval/164' is not in humaneval .*did you mean",
        ),
        ([{"task_id": "Mbpp/11", "completion": "a"}], r"'Mbpp/11' is not in humaneval.*like 'HumanEval/0'"),
        ([{"prompt": "def nothing():", "samples": ["a"]}], r"the prompt's function \['nothing'\] is not in"),
        ([], r"no samples"),
        (["", "  "], r"no samples"),
    ],
)
def test_a_broken_file_says_where_and_what(
    tmp_path: Path, humaneval: Benchmark, rows: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_samples(write(tmp_path / "s.jsonl", *rows), humaneval))
    assert "\n" not in str(caught.value)


def test_all_bad_rows_are_told_together(tmp_path: Path, humaneval: Benchmark) -> None:
    rows = [{"task_id": f"HumanEval/{n}"} for n in range(30)] + ["{"]
    with pytest.raises(DataError) as caught:
        list(read_samples(write(tmp_path / "s.jsonl", *rows), humaneval))
    assert "line 10:" in str(caught.value) and "line 31: not JSON" in str(caught.value)
    assert "20 more" in str(caught.value) and "line 11:" not in str(caught.value)


def test_a_missing_or_unreadable_file_is_told(tmp_path: Path, humaneval: Benchmark) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_samples(tmp_path / "none.jsonl", humaneval))
    (tmp_path / "broken.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_samples(tmp_path / "broken.jsonl.gz", humaneval))
    (tmp_path / "latin.jsonl").write_bytes(b'{"task_id": "HumanEval/0", "completion": "\xe9"}\n')
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        list(read_samples(tmp_path / "latin.jsonl", humaneval))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no samples"):
        list(read_samples(tmp_path / "empty", humaneval))


def test_an_answer_that_goes_on_as_the_user_is_read_from_its_beginning() -> None:
    answer = "```python\nx = 1\n```"
    raw = f"Below.\n\n### Instruction:\nx\n\n### Response:{answer}"
    assert response_of(raw) == answer
    again = f"{answer}\n### Instruction:\ny\n\n### Response:\nz"
    assert response_of(again) == again
    bare = again.replace("```python\nx = 1\n```", "    return 1\n")
    assert response_of(bare) == bare
    told = f"You are a coder.\n\n### Instruction:\nx\n\n### Response:{answer}"
    assert response_of(told) == answer


def test_verdict_files_of_three_kinds_are_read(tmp_path: Path) -> None:
    lines = write(tmp_path / "v.jsonl", {"task_id": "a", "passed": True}, {"task_id": "a", "passed": False})
    assert read_verdicts(lines) == {"a": [True, False]}
    evalplus = tmp_path / "e.json"
    evalplus.write_text(json.dumps({"eval": {"a": [{"base_status": "pass", "plus_status": "fail"}]}}))
    assert read_verdicts(evalplus) == {"a": [False]}
    assert read_verdicts(write(tmp_path / "s.jsonl", {"task_id": "a", "completion": "x"})) is None
    with pytest.raises(DataError, match="line 2: task_id and passed"):
        read_verdicts(write(tmp_path / "w.jsonl", {"task_id": "a", "passed": True}, {"task_id": "a"}))
