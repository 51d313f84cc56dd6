"""A fourth domain, from one file outside the package, works in evolution, recipes and learning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolcoder.domains import load_domain
from evolcoder.errors import RecipeError, SandboxError, UserError
from evolcoder.evolve.answering import AnswerVerifier, VerifiedAnswer
from evolcoder.evolve.rounds import evolve_rounds
from evolcoder.evolve.settings import EvolveSettings, Phase
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.models.protocol import Completion, LanguageModel, Message, Request
from evolcoder.progress import SilentProgress
from evolcoder.recipe import recipe_from_data
from evolcoder.records import Instruction, Lineage
from evolcoder.reinforce.reward import Answer, Rewarder
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.reinforce.tasks import read_tasks
from evolcoder.sandbox import Sandbox

SQL = Path(__file__).with_name("sql_domain.py")
RIGHT = "```sql\nSELECT team, SUM(pay) FROM staff GROUP BY team ORDER BY team\n```"
BROKEN = "```sql\nSELECT salary FROM staff\n```"


class Teacher(LanguageModel):
    """Makes a question harder, and answers what names a column that is not there with a broken query."""

    name = "scripted"

    async def complete(self, request: Request) -> Completion:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        if text.startswith("Make this query task harder."):
            return Completion(f"{text.rpartition(chr(10))[2]} Order the rows by team.", "stop", 1, 1)
        assert "CREATE TABLE staff" in text  # the domain's own way to ask
        return Completion(BROKEN if "salary" in text else RIGHT, "stop", 1, 1)

    async def close(self) -> None:
        pass


def test_it_evolves_asks_in_its_own_way_and_keeps_only_queries_that_run(tmp_path: Path) -> None:
    domain = load_domain(str(SQL))
    texts = ("What does each team earn together?", "Which salary does each one have?")
    seeds = [Instruction(f"s{i}", text, "", "", Lineage(f"s{i}")) for i, text in enumerate(texts)]
    settings = EvolveSettings(methods=domain.methods_name, verify="runs")
    work = evolve_rounds(
        seeds, Teacher(), settings, range(1, 2), tmp_path, SilentProgress(), answering=domain.answering
    )
    try:
        (summary,) = asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")

    assert summary.verdicts == {"runs": 1, "fails": 1}
    (kept,) = map(json.loads, (tmp_path / "round-1" / "evolved.jsonl").read_text().splitlines())
    assert kept["instruction"] == "What does each team earn together? Order the rows by team."
    assert kept["method"] in ("join", "group")
    (dropped,) = map(json.loads, (tmp_path / "round-1" / "eliminated.jsonl").read_text().splitlines())
    assert dropped["reason"] == "wrong answer"
    assert "no such column: salary" in dropped["detail"]


def test_its_reward_is_the_rows_that_a_query_gives(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    row = {"instruction": "What does each team earn?", "response": "", "rows": [["blue", 4], ["red", 8]]}
    tasks.write_text(json.dumps(row) + "\n")
    (task,) = read_tasks(tasks, forms=load_domain(str(SQL)).tasks)
    said = [RIGHT, RIGHT.replace("SUM", "MAX"), BROKEN, "No query at all."]
    try:
        with Sandbox(1) as sandbox:
            rewarder = Rewarder(sandbox, RewardSettings(), 100)
            rewards = rewarder.rewards([(task, Answer(text, 10, False)) for text in said])
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")

    assert [reward.value for reward in rewards] == [1.0, 0.0, 0.0, 0.0]
    assert [reward.reason for reward in rewards] == ["passed", "failed", "failed", "no answer"]


def test_a_recipe_names_its_file_and_has_its_methods_and_its_verifier(tmp_path: Path) -> None:
    data = {"name": "sql", "domain": str(SQL), "evolve": {"verify": "runs"}}

    recipe = recipe_from_data(data, "recipe.yaml")

    assert [method.name for method in recipe.evolve.method_set().methods] == ["join", "group"]
    assert recipe.stop.benchmark == "mbpp-400"
    with pytest.raises(RecipeError, match=r"verify 'tests'.*off, runs"):
        recipe_from_data({**data, "evolve": {"verify": "tests"}}, "recipe.yaml")


def test_a_recipe_without_a_domain_is_of_code_and_one_may_differ_from_its_domain() -> None:
    code = recipe_from_data({"name": "r"}, "recipe.yaml")
    mixed = recipe_from_data({"name": "r", "domain": "math", "evolve": {"methods": "code"}}, "recipe.yaml")

    assert (code.domain, code.evolve.methods, code.evaluate.benchmarks) == ("code", "code", ("humaneval",))
    assert (mixed.evolve.methods, mixed.evaluate.benchmarks) == ("code", ("gsm8k",))


def test_what_is_made_of_code_goes_with_a_domain_that_learns_from_tests_of_programs() -> None:
    data = {"name": "r", "code": ".", "seeds": {"source": "code"}}
    assert recipe_from_data({**data, "domain": "general"}, "recipe.yaml").takes_code
    with pytest.raises(RecipeError, match="domain math has others"):
        recipe_from_data({**data, "domain": "math"}, "recipe.yaml")


def test_a_recipe_of_mathematics_learns_from_its_own_tasks_where_it_names_none() -> None:
    tasks = {
        name: recipe_from_data({"name": "r", "domain": name, "reinforce": {}}, "recipe.yaml").reinforce
        for name in ("code", "math")
    }
    named = recipe_from_data({"name": "r", "domain": "math", "reinforce": {"tasks": "t.jsonl"}}, "r.yaml")
    assert [how.tasks for how in (*tasks.values(), named.reinforce) if how] == [
        "benchmark:mbpp:train",
        "benchmark:gsm8k:train",
        "t.jsonl",
    ]


def test_what_is_no_domain_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def load():\n    return 3\n")

    with pytest.raises(UserError, match=r"own\.py: .* returns a Domain is expected"):
        load_domain(str(tmp_path / "own.py"))
    with pytest.raises(RecipeError, match=r"domain 'maths'.*did you mean 'math'"):
        recipe_from_data({"name": "r", "domain": "maths"}, "recipe.yaml")


async def of_two_answers(verifier: AnswerVerifier) -> Sequence[VerifiedAnswer]:
    async def ask(phase: Phase, messages: tuple[Message, ...]) -> Completion:
        raise AssertionError("the teacher is asked")

    return await verifier.verify("A pond.", {"a\nb\nc": 1, "a\nb": 2}, ask, "")


def test_the_domain_of_the_guide_works_as_it_stands_there(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "domains.md").read_text(encoding="utf-8")
    (tmp_path / "haiku.py").write_text(guide.partition("```python\n")[2].partition("```")[0])

    domain = load_domain(str(tmp_path / "haiku.py"))

    assert [method.name for method in domain.methods.methods] == ["season", "no-verbs"]
    assert domain.answering.messages("A pond.")[0].content == "A pond.\n\nAnswer in three lines."
    settings = EvolveSettings(methods=domain.methods_name, verify="lines")
    domain.answering.check(settings)
    with domain.answering.verifiers["lines"](settings, False, THIS_MACHINE) as verifier:
        kept, dropped = asyncio.run(of_two_answers(verifier))
    assert kept.elimination is None and kept.columns == {"verdict": "three lines"}
    assert dropped.elimination is not None and dropped.elimination.detail == "2 lines"
    assert domain.card(settings).rows == "wishes for poems"
