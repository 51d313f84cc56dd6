"""docs/extend.md, typed and run: methods, a model and a stopping rule from outside the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.loop.simulation import InMemory

from evolcoder.cli.evolve import command as evolve
from evolcoder.cli.generate import command as generate
from evolcoder.cli.journal import command as journal
from evolcoder.errors import RecipeError, UserError
from evolcoder.evolve.methods import method_set
from evolcoder.loop.model_stages import model_identity, own_file
from evolcoder.loop.wizardcoder import wizardcoder
from evolcoder.models.opening import open_model
from evolcoder.recipe import Budget, Rounds, recipe_from_data

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extend.md"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's three files, where the process works."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for name, block in zip(("methods.py", "backend.py", "rule.py"), blocks, strict=True):
        (tmp_path / name).write_text(block)
        assert len(block.splitlines()) < 80
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_file_and_an_own_model_evolve_a_data_set(typed: Path) -> None:
    words = [
        "--seeds",
        "shipped",
        "--limit",
        "4",
        "--methods",
        "methods.py",
        "--teacher",
        "backend.py:loud",
        "--out",
        "evolved",
    ]
    done = CliRunner().invoke(evolve, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (typed / "evolved/round-1/evolved.jsonl").read_text().splitlines()]
    rows += [
        json.loads(line) for line in (typed / "evolved/round-1/eliminated.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 4
    assert {row["teacher"] for row in rows} == {"shouting-loud"}
    assert {row["method"] for row in rows} <= {"refactor", "review"}
    assert all(row["instruction"].startswith("REWRITE THE TASK BELOW") for row in rows)


def test_an_own_model_answers_where_any_other_does(typed: Path) -> None:
    (typed / "questions.jsonl").write_text(json.dumps({"idx": 1, "Instruction": "add two numbers"}) + "\n")
    words = ["--model", "backend.py:loud", "--input", "questions.jsonl", "--output", "answers.jsonl"]
    done = CliRunner().invoke(generate, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "ADD TWO NUMBERS" in (typed / "answers.jsonl").read_text()


def test_requests_to_a_model_in_this_process_are_counted(typed: Path) -> None:
    words = ["--seeds", "shipped", "--limit", "4", "--teacher", "backend.py:loud", "--out", "evolved"]
    told = [CliRunner().invoke(evolve, [*words, "--json"], catch_exceptions=False).stdout for _ in range(2)]
    first, again = (json.loads(text.splitlines()[-1]) for text in told)
    asked = first["rounds"][0]["requests"]
    assert first["requests"] == {"sent": asked, "from journal": 0, "retries": {}} and asked >= 4
    assert again["requests"] == {"sent": 0, "from journal": asked, "retries": {}}
    told_of_all = CliRunner().invoke(journal, ["evolved"], catch_exceptions=False).stdout
    assert f"{asked} replies" in told_of_all
    assert f"sent to endpoints 0, answered from the journal {asked}" in told_of_all


def test_an_own_rule_stops_the_loop_and_says_why(typed: Path) -> None:
    stop = recipe_from_data({"name": "own", "stop": {"rule": "rule.py"}}, "test").stop
    passed = [[i < n for i in range(100)] for n in (40, 50, 51, 90)]
    found = wizardcoder(InMemory(passed), stop, Rounds(3), Budget())  # type: ignore[arg-type]
    assert [score.round for score in found.history] == [0, 1, 2]
    assert found.decisions[-1].reason == "round 2 gained 1.0 points"
    assert found.best is not None
    assert found.best.round == 2


def test_a_changed_file_is_another_one(typed: Path) -> None:
    (methods,) = own_file("methods.py").values()
    before = model_identity("backend.py:loud"), methods()
    for name in ("backend.py", "methods.py"):
        path = typed / name
        path.write_text(path.read_text() + "# changed\n")
    assert all(a != b for a, b in zip(before, (model_identity("backend.py:loud"), methods()), strict=True))


@pytest.mark.parametrize("text", [None, "", "def load():\n    return 3\n", "import nothing_there\n"])
def test_a_file_that_is_none_is_one_line_that_names_it(typed: Path, text: str | None) -> None:
    path = typed / "mine.py"
    if text is not None:
        path.write_text(text)
    recipe = recipe_from_data({"name": "own", "stop": {"rule": "mine.py"}}, "test")
    with pytest.raises(UserError, match=r"^(/.*/)?mine\.py: [^\n]+$"):
        wizardcoder(InMemory([[True]]), recipe.stop, Rounds(1), Budget())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^(/.*/)?mine\.py: [^\n]+$"):
        open_model("mine.py:x")
    with pytest.raises(UserError, match=r"^(/.*/)?mine\.py: [^\n]+$"):
        method_set("mine.py", {}, {})
    with pytest.raises(RecipeError, match=r"rule 'declin' \(did you mean 'decline'\?\)"):
        recipe_from_data({"name": "own", "stop": {"rule": "declin"}}, "test")
