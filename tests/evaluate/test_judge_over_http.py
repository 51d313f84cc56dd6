"""Benchmarks that a model judges, over a real client and a server that bills, limits and fails."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.teacher_server import json_server

from evolcoder.cli import cli
from evolcoder.errors import BudgetExhaustedError

IN, OUT = 10.0, 30.0
"""US dollars a million tokens."""


class Server:
    """Answers as `model` says; a third of the requests fail once first, which costs nothing."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.paid: Counter[tuple[str, str]] = Counter()
        """How often the answer to a request was given, by model and messages."""
        self.tried: Counter[str] = Counter()
        self.usd = 0.0
        self.url = ""

    def reply(self, body: dict[str, Any]) -> dict[str, Any] | None:
        asked = json.dumps(body["messages"])
        drawn = zlib.crc32(asked.encode())
        with self.lock:
            self.tried[asked] += 1
            if drawn % 3 == 0 and self.tried[asked] == 1:
                return None
            text = self.text(body["model"], body["messages"][-1]["content"], drawn)
            used = {"prompt_tokens": len(asked) // 4, "completion_tokens": max(1, len(text) // 4)}
            self.paid[body["model"], asked] += 1
            self.usd += (used["prompt_tokens"] * IN + used["completion_tokens"] * OUT) / 1e6
        message = {"role": "assistant", "content": text}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": used}

    @staticmethod
    def text(model: str, asked: str, drawn: int) -> str:
        if model == "judge-A":
            return "Both are fair. My final verdict is: [[A]]"
        if model == "judge-tie":
            return "[[C]]"
        if model == "judge-talks":
            return "I would rather not say."
        if model == "judge-good":
            first = asked.partition("Start of Assistant B")[0]
            return f"{'Because. ' * (drawn % 40)}[[{'A' if 'GOOD' in first else 'B'}]]"
        if model == "judge-7":
            return f"{'Because. ' * (drawn % 40)}Rating: [[7]]"
        return f"{'GOOD' if model == 'good' else 'poor'} {'words ' * (30 + drawn % 50)}"


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    with json_server(served.reply) as served.url:
        yield served


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Tell of {n}. " * (n % 7 + 1), "skill": "Art"} for n in range(60)]
    rows[0]["turns"] = ["Tell of 0.", "And of 1?"]  # type: ignore[assignment]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(server: Server, out: Path, benchmark: str, judge: str, *more: str) -> Result:
    command = ["evaluate", "-m", "openai:good", "-b", benchmark, "--judge", f"openai:{judge}"]
    where = ["--base-url", server.url, "--price", str(IN), str(OUT), "--concurrency", "8", "--json"]
    return CliRunner().invoke(cli, [*command, *where, "--out", str(out), *more])


def in_all(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, (done.output, done.exception)
    (found,) = json.loads(done.stdout).values()
    return dict(found)


def test_verdicts_over_http(server: Server, questions: Path, tmp_path: Path) -> None:
    beside = ("--against", "openai:poor")

    def judged(judge: str) -> dict[str, Any]:
        return in_all(evaluate(server, tmp_path / judge, str(questions), judge, *beside))

    one_sided, tied, fair = judged("judge-A"), judged("judge-tie"), judged("judge-good")
    assert one_sided["wins"][str(questions)] == [0, 61, 0]
    assert (one_sided["positions"]["first"], one_sided["positions"]["disagreeing"]) == (122, 61)
    assert (tied["reasons"], tied["positions"]["neither"]) == ({"tie": 61}, 122)
    assert fair["wins"][str(questions)] == [61, 0, 0]
    talks = evaluate(server, tmp_path / "talks", str(questions), "judge-talks", *beside)
    assert talks.exit_code == 1 and "no verdict can be read in 61 judgements" in str(talks.exception)


@pytest.mark.parametrize(("judge", "beside"), [("judge-7", ()), ("judge-good", ("--against", "openai:poor"))])
def test_the_bill_is_told_before_to_a_tenth_and_paid_once(
    server: Server, questions: Path, tmp_path: Path, judge: str, beside: tuple[str, ...]
) -> None:
    told = in_all(evaluate(server, tmp_path / "out", str(questions), judge, *beside, "--dry-run"))
    sampled = server.usd
    assert 0 < sampled < told["usd"]
    for requests in (30, 90):
        stopped = evaluate(
            server, tmp_path / "out", str(questions), judge, *beside, "--max-requests", f"{requests}"
        )
        assert isinstance(stopped.exception, BudgetExhaustedError) or requests > 60
    in_all(evaluate(server, tmp_path / "out", str(questions), judge, *beside))
    assert told["usd"] == pytest.approx(server.usd, rel=0.1)
    assert set(server.paid.values()) == {1}
    again = in_all(evaluate(server, tmp_path / "out", str(questions), judge, *beside))
    assert set(server.paid.values()) == {1} and again["reasons"]


def test_no_more_is_spent_than_allowed(server: Server, questions: Path, tmp_path: Path) -> None:
    limit = 0.2
    stopped = evaluate(server, tmp_path, str(questions), "judge-7", "--max-usd", str(limit))
    assert isinstance(stopped.exception, BudgetExhaustedError)
    assert 0 < server.usd <= limit
    assert not (tmp_path / "questions" / "scores.json").exists()
    in_all(evaluate(server, tmp_path, str(questions), "judge-7", "--max-usd", "5"))
    assert set(server.paid.values()) == {1}


def test_both_turns_of_mt_bench_are_asked_and_judged_once_each(
    server: Server, benchmark_data: Path, tmp_path: Path
) -> None:
    found = in_all(evaluate(server, tmp_path, "mt-bench", "judge-7"))
    assert Counter(model for model, _ in server.paid) == {"good": 160, "judge-7": 160}
    assert found["reasons"] == {"rated 7": 160} and set(server.paid.values()) == {1}


def test_nothing_is_asked_where_the_answers_beside_or_the_judge_are_not_there(
    server: Server, questions: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.jsonl"
    part.write_text('{"task_id": "questions/0", "response": "x"}\n')
    for judge, beside, told in (
        ("judge-A", ("--against", str(part)), "no answer to"),
        ("judge-A", ("--against", str(tmp_path / "gone.jsonl")), "no such file of answers"),
        ("judge-A", ("--judge", str(tmp_path / "gone")), "gone"),
    ):
        refused = evaluate(server, tmp_path / "out", str(questions), judge, *beside)
        assert refused.exit_code and told in str(refused.exception)
    assert not server.tried
