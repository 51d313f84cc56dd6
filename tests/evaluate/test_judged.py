"""Benchmarks that a model judges, as a user asks for them, with scripted models in the place of real ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evolcoder.cli import cli
from evolcoder.errors import DataError, EvolcoderError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.dialogues import answer_request
from evolcoder.evaluate.model_judge.judge_prompts import (
    pair_messages,
    rating_messages,
    read_choice,
    read_rating,
)
from evolcoder.evaluate.model_judge.judged_scores import Compared, length_controlled_rate
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evaluate.verdict_files import read_verdicts
from evolcoder.instruction_prompt import conversation_prompt

MODELS = Path(__file__).with_name("scripted_models.py")


def scripted(name: str) -> str:
    return f"{MODELS}:{name}"


def evaluate(out: Path, benchmark: str, model: str, judge: str, *more: str) -> Result:
    arguments = ["evaluate", "-m", scripted(model), "-b", benchmark, "--judge", scripted(judge)]
    return CliRunner().invoke(cli, [*arguments, "--out", str(out), *more])


def scores(out: Path, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / folder / "scores.json").read_text())
    return found


@pytest.fixture
def data(benchmark_data: Path) -> Path:
    return benchmark_data


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {
            "idx": n,
            "Skill": "Art" if n % 2 else "Law",
            "Difficulty": n % 5 + 1,
            "Instruction": f"Tell of {n}.",
        }
        for n in range(1, 31)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_judges_prompts_are_mt_benchs_word_for_word(data: Path) -> None:
    lines = (data / "mt-bench" / "judge_prompts.jsonl").read_text().splitlines()
    published = {row["name"]: row for row in map(json.loads, lines)}

    def filled(name: str, **values: str) -> tuple[str, str]:
        row = published[name]
        return row["system_prompt"], row["prompt_template"].format(**values)

    one = {"question": "q {x}", "answer": "a"}
    two = {"question_1": "q {x}", "question_2": "r", "answer_1": "a", "answer_2": "b"}
    refs = {"ref_answer_1": "s", "ref_answer_2": "t"}
    pair = {"question": "q {x}", "answer_a": "a", "answer_b": "c"}
    pairs = {
        "question_1": "q {x}",
        "question_2": "r",
        "answer_a_1": "a",
        "answer_a_2": "b",
        "answer_b_1": "c",
        "answer_b_2": "d",
    }
    asked, answered, other, right = ("q {x}", "r"), ("a", "b"), ("c", "d"), ("s", "t")
    expected = {
        filled("single-v1", **one): rating_messages(asked[:1], answered[:1]),
        filled("single-v1-multi-turn", **two): rating_messages(asked, answered),
        filled("single-math-v1", **one, **refs): rating_messages(asked[:1], answered[:1], right[:1]),
        filled("single-math-v1-multi-turn", **two, **refs): rating_messages(asked, answered, right),
        filled("pair-v2", **pair): pair_messages(asked[:1], answered[:1], other[:1]),
        filled("pair-v2-multi-turn", **pairs): pair_messages(asked, answered, other),
        filled("pair-math-v1", **pair, **refs): pair_messages(asked[:1], answered[:1], other[:1], right[:1]),
        filled("pair-math-v1-multi-turn", **pairs, **refs): pair_messages(asked, answered, other, right),
    }
    assert len(expected) == len(published)
    for (system, user), messages in expected.items():
        assert [(m.role, m.content) for m in messages] == [("system", system), ("user", user)]


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good. Rating: [[7]]", 7),
        ("[[8.5]] and then [[2]]", 8.5),
        ("Rating: [6]", 6),
        ("<think>[[1]]</think>Rating: [[9]]", 9),
        ("Rating: [[11]]", None),
        ("Rating: 7", None),
    ],
)
def test_a_rating_is_read_as_fastchat_reads_it(reply: str, rating: float | None) -> None:
    assert read_rating(reply) == rating


def test_a_choice_is_read_as_fastchat_reads_it() -> None:
    assert [read_choice(f"So: [[{letter}]]") for letter in "ABCD"] == ["A", "B", "C", None]
    assert read_choice("<think>[[B]]</think>[[A]]") == "A"


def test_worked_examples_for_a_small_judge_are_earlier_turns_with_readable_verdicts() -> None:
    rated, compared = (
        rating_messages(("q",), ("a",), shots=2),
        pair_messages(("q",), ("a",), ("b",), shots=2),
    )
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert [m.role for m in rated] == [m.role for m in compared] == roles
    assert [read_rating(rated[at].content) for at in (2, 4)] == [9, 2]
    assert [read_choice(compared[at].content) for at in (2, 4)] == ["B", "A"]
    assert rated[-1] == rating_messages(("q",), ("a",))[-1]


@pytest.mark.parametrize(("benchmark", "verdicts"), [("wizardlm", 218), ("mt-bench", 160)])
def test_a_judge_that_always_says_a_gives_no_win(
    data: Path, tmp_path: Path, benchmark: str, verdicts: int
) -> None:
    done = evaluate(tmp_path, benchmark, "answers-x", "always-A", "--against", scripted("answers-y"))
    assert done.exit_code == 0, done.output
    found = scores(tmp_path, benchmark)
    assert found["wins"][benchmark] == [0, verdicts, 0]
    assert found["reasons"] == {"tie": verdicts}
    assert found["positions"]["first"] == 2 * verdicts
    assert found["positions"]["disagreeing"] == verdicts
    assert [score["value"] for score in found["scores"][:2]] == [0.5, 0.5]


def test_a_win_is_the_models_on_whichever_side_it_stood_and_is_counted_by_skill_and_difficulty(
    questions: Path, tmp_path: Path
) -> None:
    done = evaluate(
        tmp_path, str(questions), "answers-good", "prefers-good", "--against", scripted("answers-bad")
    )
    assert done.exit_code == 0, done.output
    found = scores(tmp_path, "questions")
    assert found["wins"] == {
        str(questions): [30, 0, 0],
        f"{questions} (Art)": [15, 0, 0],
        f"{questions} (Law)": [15, 0, 0],
        **{f"{questions} (difficulty {n})": [6, 0, 0] for n in range(1, 6)},
    }
    score = found["scores"][0]
    assert score["value"] == 1 and 0.8 < score["low"] < 1
    lost = evaluate(
        tmp_path / "lost",
        str(questions),
        "answers-bad",
        "prefers-good",
        "--against",
        str(tmp_path / "questions"),
    )
    assert lost.exit_code == 0, lost.output
    assert scores(tmp_path / "lost", "questions")["wins"][str(questions)] == [0, 0, 30]


def test_the_evaluation_continues_where_it_was_stopped_and_gives_the_same_bytes(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out = tmp_path / "asked.log", tmp_path / "out"
    monkeypatch.setenv("ASKED_LOG", str(log))
    against = ("--against", scripted("answers-bad"))
    stopped = evaluate(
        out, str(questions), "answers-good", "prefers-good", *against, "--max-requests", "1", "--limit", "10"
    )
    assert stopped.exit_code == 0  # a model of one's own counts no requests
    first = len(log.read_text().splitlines())
    assert first == 10 + 10 + 20
    evaluate(out, str(questions), "answers-good", "prefers-good", *against)
    assert len(log.read_text().splitlines()) == 30 + 30 + 60
    files = [out / "questions" / name for name in ("samples.jsonl", "verdicts.jsonl", "scores.json")]
    before = [file.read_bytes() for file in files]
    evaluate(out, str(questions), "answers-good", "prefers-good", *against)
    assert len(log.read_text().splitlines()) == 30 + 30 + 60
    assert [file.read_bytes() for file in files] == before


def test_ratings_are_means_of_ten_and_what_cannot_be_read_counts_for_nothing(
    questions: Path, tmp_path: Path
) -> None:
    done = evaluate(tmp_path, str(questions), "answers-good", "always-7")
    assert "7.00 of 10" in done.output
    found = scores(tmp_path, "questions")
    assert (found["scores"][0]["value"], found["reasons"]) == (0.7, {"rated 7": 30})
    assert found["problems"]["questions/1"] == [0.7]
    silent = evaluate(tmp_path / "silent", str(questions), "silent", "always-7")
    assert silent.exit_code == 0, silent.output
    assert scores(tmp_path / "silent", "questions")["reasons"] == {"no answer": 30}
    unreadable = evaluate(tmp_path / "unreadable", str(questions), "answers-good", "talks")
    assert isinstance(unreadable.exception, DataError)
    assert "no verdict can be read in 30 judgements of scripted-talks" in str(unreadable.exception)


def test_two_judged_evaluations_are_compared_by_what_the_judge_gave_and_never_scored_as_programs(
    questions: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / name / "questions" for name in ("a", "b")]
    for folder, judge in zip(folders, ("always-5", "always-7"), strict=True):
        done = evaluate(folder.parent, str(questions), "answers-good", judge)
        assert done.exit_code == 0, done.output
    found = CliRunner().invoke(cli, ["compare", *map(str, folders), "--json"])
    assert json.loads(found.stdout)["difference"] == pytest.approx(0.2)
    samples, named = str(folders[0] / "samples.jsonl"), ["--benchmark", str(questions)]
    for command in (["score", samples, *named], ["compare", samples, samples, *named]):
        refused = CliRunner().invoke(cli, command)
        assert isinstance(refused.exception, UserError) and "is judged by a model" in str(refused.exception)
    rows = [{"task_id": "a", "index": 0, "passed": False, "worth": worth} for worth in (0.4, 0.8, None)]
    path = tmp_path / "turns.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_verdicts(path) == {"a": [pytest.approx(0.6)]}


def test_answers_are_never_set_beside_a_file_that_they_would_overwrite(
    questions: Path, tmp_path: Path
) -> None:
    first = evaluate(tmp_path, str(questions), "answers-bad", "always-7")
    assert first.exit_code == 0, first.output
    samples = (tmp_path / "questions" / "samples.jsonl").read_bytes()
    again = evaluate(tmp_path, str(questions), "answers-good", "prefers-good", "--against", str(tmp_path))
    assert isinstance(again.exception, UserError) and "name another folder" in str(again.exception)
    assert (tmp_path / "questions" / "samples.jsonl").read_bytes() == samples


def test_judged_scores_are_replaced_by_those_of_more_problems_alone(questions: Path, tmp_path: Path) -> None:
    asked = (tmp_path, str(questions), "answers-good", "always-7", "--limit")
    for limit in ("5", "10", "10"):
        done = evaluate(*asked, limit)
        assert done.exit_code == 0, done.output
    again = evaluate(*asked, "5")
    assert isinstance(again.exception, UserError)
    assert "5 of the 10 problems there are left out now" in str(again.exception)
    assert scores(tmp_path, "questions")["settings"]["problems"] == "10 of 30, evenly spaced"
    assert evaluate(*asked, "5", "--overwrite").exit_code == 0


def test_parts_of_any_name_are_counted_and_both_files_name_a_problem_alike(tmp_path: Path) -> None:
    path, beside = tmp_path / "mine.jsonl", tmp_path / "theirs.jsonl"
    ids = [{"question_id": n, "task_id": f"mine/t{n}"} for n in (1, 2)]
    skills = ("Python 3.11.4", "x ²")
    rows = [{**one, "instruction": "Sort.", "skill": s} for one, s in zip(ids, skills, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{**one, "choices": ["A", "B"], "response": "bad"} for one in ids]
    beside.write_text("".join(json.dumps(row) + "\n" for row in answers))
    done = evaluate(tmp_path, str(path), "answers-good", "prefers-good", "--against", str(beside))
    assert done.exit_code == 0, done.output
    wins = scores(tmp_path, "mine")["wins"]
    assert wins == {str(path): [2, 0, 0], **{f"{path} ({skill})": [1, 0, 0] for skill in skills}}


def test_temperature_0_is_greedy_for_every_category_of_mt_bench(data: Path, tmp_path: Path) -> None:
    more = ("--temperature", "0", "--limit", "8")
    done = evaluate(tmp_path, "mt-bench", "answers-x", "always-5", *more)
    assert done.exit_code == 0, done.output
    assert scores(tmp_path, "mt-bench")["scores"][0]["settings"]["decoding"] == "greedy"


@pytest.mark.parametrize("against", ["answers-other", ""])
@pytest.mark.parametrize("benchmark", ["wizardlm", "mt-bench"])
def test_the_cost_is_told_before_to_a_tenth(
    data: Path, tmp_path: Path, benchmark: str, against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKED_LOG", str(tmp_path / "asked.log"))
    beside = ("--against", scripted(against)) if against else ()
    arguments = (benchmark, "answers-x", "always-5" if not against else "always-B", *beside)
    told = json.loads(evaluate(tmp_path, *arguments, "--dry-run", "--json").stdout)[benchmark]
    sampled = len((tmp_path / "asked.log").read_text().splitlines())
    assert evaluate(tmp_path, *arguments).exit_code == 0
    asked = len((tmp_path / "asked.log").read_text().splitlines())
    parts = [part for part in (told["model"], told["other"], told["judge"]) if part]
    assert sampled < asked == sum(part["requests"] for part in parts)
    totals = CliRunner().invoke(cli, ["journal", str(tmp_path / "journal.sqlite"), "--json"])
    spent = json.loads(totals.stdout)["models"]
    for what, told_of_it in (("cost_usd", "usd"), ("prompt_tokens", "prompt_tokens")):
        in_all = sum(model[what] for model in spent)
        assert sum(part[told_of_it] for part in parts) == pytest.approx(in_all, rel=0.1)


def test_mt_bench_is_asked_and_judged_as_published(data: Path) -> None:
    benchmark = load_benchmark("mt-bench")
    assert isinstance(benchmark, JudgedBenchmark) and len(benchmark.problems) == 80
    settings = EvaluationSettings(style="chat", max_tokens=1024)
    first, math = benchmark.find(81), benchmark.find("111")
    assert first is not None and math is not None
    second = answer_request(benchmark, first, settings, ["Aloha."])
    assert [getattr(m, "role", "") for m in second.prompt] == ["user", "assistant", "user"]
    assert second.sampling.temperature == 0.7
    assert answer_request(benchmark, math, settings, []).sampling.temperature == 0
    greedy = EvaluationSettings(style="chat", preset="greedy")
    assert answer_request(benchmark, first, greedy, []).sampling.temperature == 0
    with_reference = {benchmark.groups(p)[0] for p in benchmark.problems if benchmark.references(p)}
    assert with_reference == {"math", "reasoning", "coding"}
    with pytest.raises(UserError, match="published, greedy"):
        benchmark.temperature(first, "script")


def test_the_wizardlm_test_set_has_its_skills_and_difficulties(data: Path) -> None:
    benchmark = load_benchmark("wizardlm")
    assert isinstance(benchmark, JudgedBenchmark) and len(benchmark.problems) == 218
    groups = [benchmark.groups(problem) for problem in benchmark.problems]
    assert len({skill for _, skill, _ in groups}) == 29
    assert {difficulty for _, _, difficulty in groups} == {f"difficulty {n}" for n in range(1, 11)}
    hard = [p for p in benchmark.problems if "difficulty 8 and above" in benchmark.groups(p)]
    assert all((benchmark.difficulty(p) or 0) >= 8 for p in hard) and 0 < len(hard) < 218


def test_a_judge_that_likes_length_alone_moves_the_raw_rate_and_not_the_length_controlled_one() -> None:
    chance = random.Random(0)
    longer = [round(chance.gauss(200, 300)) for _ in range(400)]
    length_alone = [Compared(float(by > 0), by) for by in longer]
    raw = sum(one.worth for one in length_alone) / len(longer)
    assert raw > 0.7
    assert length_controlled_rate(length_alone) == pytest.approx(0.5, abs=0.06)
    better = [Compared(float(chance.random() < 0.7), by, difficulty=chance.randint(1, 10)) for by in longer]
    rate = sum(one.worth for one in better) / len(better)
    assert length_controlled_rate(better) == pytest.approx(rate, abs=0.04)
    swapped = [Compared(1 - one.worth, -one.longer_by, one.difficulty) for one in better]
    assert length_controlled_rate(swapped) == pytest.approx(1 - length_controlled_rate(better), abs=1e-6)
    assert length_controlled_rate([Compared(1.0, 5)] * 50) > 0.99


def test_wizardlms_prompts_stand_as_published_with_later_turns() -> None:
    assert conversation_prompt("wizardlm-7b", ["Sort."], []) == "Sort.\n\n### Response:"
    assert conversation_prompt("wizardlm-13b", ["Hi", "Who are you?"], ["Hello."]) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. USER: Hi ASSISTANT: Hello.</s>"
        "USER: Who are you? ASSISTANT:"
    )
    later = conversation_prompt("wizardcoder", ["One.", "Two."], ["1"])
    assert later.endswith("### Response: 1\n\n### Instruction:\nTwo.\n\n### Response:")


def test_mistakes_are_told_before_anything_is_asked(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "asked.log"
    monkeypatch.setenv("ASKED_LOG", str(log))

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["evaluate", "-m", scripted("x"), "--out", str(tmp_path), *arguments])
        assert isinstance(done.exception, EvolcoderError), done.output
        return str(done.exception)

    judge = ("--judge", scripted("always-A"))
    assert "--judge MODEL" in said("-b", str(questions))
    assert "--against goes with --judge" in said("-b", "humaneval", "--against", "x")
    assert "--judge-shots goes with --judge" in said("-b", "humaneval", "--judge-shots", "2")
    for option, value in {"extract": "auto", "oracle": "x", "timeout": "9", "workers": "1"}.items():
        told = said("-b", str(questions), *judge, f"--{option}", value)
        assert f"--{option} is for programs that are run" in told
    for gone in ("gone.jsonl", "gone.tsv"):
        assert "no such file of answers" in said("-b", str(questions), *judge, "--against", gone)
    assert "the style completion continues code" in said(
        "-b", str(questions), *judge, "--style", "completion"
    )
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"turns": ["a", "b", "c"]}\n{"instruction": "x", "difficulty": "hard"}\n')
    told = said("-b", str(bad), *judge)
    assert "line 1" in told and "turns of 2" in told and "line 2" in told and "'hard'" in told
    bad.write_text(
        '{"instruction": "x", "difficulty": NaN}\n'
        '{"instruction": "x", "evolved_instructions": ["y", "z"], "answers": ["", ""]}\n'
    )
    told = said("-b", str(bad), *judge)
    assert "a number is expected, found nan" in told and "one instruction a row is expected, found" in told
    some = tmp_path / "some.jsonl"
    some.write_text('{"idx": 1, "response": "x"}\n')
    assert "no answer to 29 of 30 problems" in said("-b", str(questions), *judge, "--against", str(some))
