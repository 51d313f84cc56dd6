"""A benchmark added in one file from outside the package, through every part that takes a benchmark."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.evaluate import own_text_benchmark

from evolcoder.cli import cli
from evolcoder.evaluate.benchmarks import load_benchmark, problem_texts
from evolcoder.evaluate.evaluation import evaluate_model
from evolcoder.evaluate.settings import EvaluationSettings, Style
from evolcoder.models.protocol import Completion, Request
from evolcoder.report.leaderboard import gather
from evolcoder.sandbox import probe

FILE = Path(str(own_text_benchmark.__file__))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The benchmark's file in a folder of its own, which is the working folder."""
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(FILE, "sums.py")
    return "sums.py"


def run(*arguments: object) -> Result:
    ended = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended


def rows_in(name: str, rows: list[dict[str, str]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_its_file_is_short() -> None:
    assert len(FILE.read_text().splitlines()) <= 80


def test_samples_are_scored(own: str) -> None:
    right = [f"That makes {3 * n + 1}." for n in range(10)]
    early = [f"<think>{3 * n}?</think>It is {3 * n + 1 + n % 2}, of {n}." for n in range(10)]
    texts = [(n, answer) for answers in (right, early) for n, answer in enumerate(answers)]
    file = rows_in("answers.jsonl", [{"task_id": f"Sum/{n}", "answer": text} for n, text in texts])
    shown = run("score", file, "-b", own, "-k", "1", "--out", "verdicts.jsonl").output
    assert re.search(r"sums v1 +pass@1 +50\.00", shown) and "text 20" in shown
    verdicts = [json.loads(line) for line in Path("verdicts.jsonl").read_text().splitlines()]
    assert verdicts[-1]["detail"] == "28 is expected, found ['9']" and verdicts[-1]["tier"] == "text"
    shown = run("score", file, "-b", own, "--oracle", "any-number", "-k", "1").output
    assert re.search(r"pass@1 +75\.00", shown)


class Adds:
    """A model that adds the first two numbers of what it is asked."""

    name = "adds"

    async def complete(self, request: Request) -> Completion:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        first, second = map(int, re.findall(r"\d+", text)[:2])
        return Completion(f"{first + second}", "stop", 1, 1)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("style", ["wizardcoder", "chat", "completion"])
def test_a_model_is_measured_and_stands_in_the_leaderboard(own: str, style: Style) -> None:
    settings = EvaluationSettings(style=style, limit=8)
    result = asyncio.run(evaluate_model(Adds(), own, settings, Path("scores/sums")))
    assert result.scores[0].value == 1.0
    (entry,) = gather([Path("scores")])
    assert (entry.model, entry.benchmark, entry.percent) == ("adds", "sums v1", 100.0)
    assert entry.subset.startswith("8 of 10")


def test_training_rows_that_copy_it_are_found(own: str) -> None:
    copied = load_benchmark(own).problems[4].prompt
    rows = [
        {"instruction": "Write a loop that prints every even number below a limit.", "output": "for ..."},
        {"instruction": copied + " Explain.", "output": "13"},
    ]
    assert [text.benchmark for text in problem_texts([own])] == ["sums"] * 10
    file = rows_in("rows.jsonl", rows)
    assert "Sum/" in run("decontaminate", file, "-b", own, "--out", "clean.jsonl").output
    assert len(Path("clean.jsonl").read_text().splitlines()) == 1
