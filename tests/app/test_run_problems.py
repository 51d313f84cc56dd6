"""Problems of a run: filters by what changed, samples with their verdicts, studies made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evolcoder.app.known_runs import RunView
from evolcoder.app.problems_page import lines_html, problem_html
from evolcoder.app.review_page import named_files, read_answers, study_of_files, study_of_rounds
from evolcoder.app.run_problems import CHANGES, ProblemFilter, RunProblems, benchmarks_of
from evolcoder.app.widgets import Place
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.report.run_folder import Round
from evolcoder.runs import write_jsonl_whole

from .app_run import make_app_run


@pytest.fixture
def problems(tmp_path: Path) -> RunProblems:
    run = make_app_run(tmp_path / "run", problems=12, samples=3)
    assert benchmarks_of(RunView(run).run()) == ["humaneval"]
    return RunView(run).problems("humaneval")


def test_filters_by_change_say_what_the_verdicts_say(problems: RunProblems) -> None:
    lines = {line.task_id: line.shares for line in problems.find(ProblemFilter())}
    assert len(lines) == 12 and problems.rounds == [0, 1, 2, 3]
    gained = {task for task, shares in lines.items() if shares[3][0] > shares[0][0]}
    lost = {task for task, shares in lines.items() if shares[3][0] < shares[0][0]}
    assert gained

    def found(change: str, **more: int) -> set[str]:
        return {line.task_id for line in problems.find(ProblemFilter(change=change, **more))}  # type: ignore[arg-type]

    assert (found("gained"), found("lost"), found("changed")) == (gained, lost, gained | lost)
    assert found("gained", before=3, after=0) == lost
    assert found("never passed") == {
        t for t, s in lines.items() if not any(passed for passed, _ in s.values())
    }
    assert found("always passed") == {t for t, s in lines.items() if all(p == n for p, n in s.values())}
    assert found("any") == set(lines) and set(CHANGES) >= {"gained", "lost"}


def test_filters_by_text_and_reason(problems: RunProblems) -> None:
    assert next(line.task_id for line in problems.find(ProblemFilter(text="HUMANEVAL/4"))) == "HumanEval/4"
    for reason, n in problems.reasons.items():
        assert n > 0 and problems.find(ProblemFilter(reason=reason))
    assert not problems.find(ProblemFilter(reason="never heard of"))


def test_samples_come_with_their_verdicts_page_by_page(problems: RunProblems) -> None:
    task = problems.task_ids()[-1]
    first, n = problems.samples(task, 1, 0, 2)
    rest, _ = problems.samples(task, 1, 2, 2)
    assert n == 3 and [s.index for s in (*first, *rest)] == [0, 1, 2]
    for sample in (*first, *rest):
        assert sample.worth == (sample.reason == "passed")
        assert "return total  # round-1" in sample.program and "Here it is (round-1)" in sample.raw
    assert problems.samples("no such task", 1) == ([], 0)


def test_a_run_without_verdicts_can_be_looked_at(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=1)
    for path in run.glob("round-*/evaluation/*/verdicts.jsonl"):
        path.unlink()
    problems = RunView(run).problems("humaneval")
    sample = problems.samples(problems.task_ids()[0], 0)[0][0]
    assert sample.worth is None and problems.reasons == {}
    assert "no verdict" in problem_html((problems, 0), (problems, 1), problems.task_ids()[0], Place({}))


def test_a_benchmark_that_is_unknown_here_shows_its_samples(tmp_path: Path) -> None:
    run = make_app_run(tmp_path / "run", rounds=1, benchmark="somebody-s-own")
    problems = RunView(run).problems("somebody-s-own")
    assert len(problems.find(ProblemFilter())) == 12 and problems.prompt("HumanEval/0") == ""
    assert "HumanEval/0" in lines_html(problems.find(ProblemFilter()), problems.rounds, Place({}))


def test_a_study_of_rounds_takes_the_first_sample_of_each(problems: RunProblems) -> None:
    study = study_of_rounds(problems, [0, 3], 5)
    assert len(study.items) == 5 and study.models == ("base", "round 3")
    item = study.items[0]
    assert "(round-0)" in item.answers[0] and "(round-3)" in item.answers[1]
    with pytest.raises(UserError, match="two models"):
        study_of_rounds(problems, [0], 5)


def test_a_study_of_answer_files_meets_on_the_instruction(tmp_path: Path) -> None:
    rows = [{"idx": n, "Instruction": f"do {n}", "response": f"small {n}"} for n in range(4)]
    write_jsonl_whole(tmp_path / "a.jsonl", rows)
    write_jsonl_whole(tmp_path / "b.jsonl", [{**row, "response": "big"} for row in rows[::-1][:3]])
    files = named_files([f"small={tmp_path / 'a.jsonl'}", f"big={tmp_path / 'b.jsonl'}"])
    study = study_of_files(files, ["small", "big"], 10)
    assert sorted(item.prompt for item in study.items) == ["do 1", "do 2", "do 3"]
    assert {item.answers for item in study.items} == {(f"small {n}", "big") for n in (1, 2, 3)}


def test_samples_of_a_benchmark_are_answers_too(tmp_path: Path) -> None:
    raw = "Below is ...\n\n### Response: it is this"
    write_jsonl_whole(tmp_path / "a.jsonl", [{"task_id": "HumanEval/0", "all_code": raw}])
    (prompt, answer), = read_answers(tmp_path / "a.jsonl").values()  # fmt: skip
    assert answer == " it is this" and "has_close_elements" in prompt


@pytest.mark.parametrize(
    ("row", "told"),
    [({"Instruction": "x"}, "no answer in it"), ({"response": "x"}, "neither a task_id nor an instruction")],
)
def test_a_row_that_is_no_answer_is_named(tmp_path: Path, row: dict[str, str], told: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl: line 1: {told}"):
        read_answers(tmp_path / "a.jsonl")


@pytest.mark.parametrize("pairs", [["x"], ["=f"], ["a=nowhere.jsonl"]])
def test_a_pair_that_is_none_is_named(pairs: list[str]) -> None:
    with pytest.raises(UserError, match="--answers"):
        named_files(pairs)


def test_answers_in_words_are_shown_as_words_and_each_turn_of_a_judge_counts(
    tmp_path: Path, benchmark_data: Path
) -> None:
    folder = tmp_path / "run" / "round-0" / "evaluation" / "mt-bench"
    folder.mkdir(parents=True)
    write_jsonl_whole(
        folder / "samples.jsonl", [{"task_id": "mt-bench/81", "completion": "import it for all"}]
    )
    said = [{"task_id": "mt-bench/81", "passed": False, "turn": turn} for turn in (1, 2)]
    rated = [{"reason": "rated 7", "worth": 0.7}, {"reason": "rated 10", "worth": 1.0}]
    write_jsonl_whole(folder / "verdicts.jsonl", [a | b for a, b in zip(said, rated, strict=True)])
    problems = RunProblems("mt-bench", [Round(0, tmp_path / "run" / "round-0", {}, None, {})])
    (line,) = problems.find(ProblemFilter())
    assert line.shares == {0: (pytest.approx(0.85), 1)}
    page = problem_html((problems, 0), (problems, 0), line.task_id, Place({}))
    assert "rated 7, rated 10" in page and "import it for all" in page
    assert "hl-keyword" not in page and "tag bad" not in page
    unread = [a | {"reason": "unreadable", "worth": None} for a in said]
    write_jsonl_whole(folder / "verdicts.jsonl", unread)
    problems = RunProblems("mt-bench", [Round(0, tmp_path / "run" / "round-0", {}, None, {})])
    assert problems.samples(line.task_id, 0)[0][0].worth is None


@pytest.mark.parametrize(
    ("name", "shown_in"),
    [("gsm8k", None), ("wizardlm", None), ("multipl-e:js", "javascript"), ("mbpp", "python")],
)
def test_a_benchmark_says_what_its_answers_are_shown_in(
    benchmark_data: Path, name: str, shown_in: str | None
) -> None:
    assert load_benchmark(name).highlighted == shown_in
