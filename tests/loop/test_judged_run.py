"""A recipe whose benchmarks a model judges: what is refused before it starts, and what a stage does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.model_judge.judged_evaluation import check_judge, judged_benchmark
from evolcoder.evaluate.model_judge.judging_cost import expected_requests
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.loop.estimates import Cost, expected_cost
from evolcoder.loop.model_stages import evaluation_stage, measure
from evolcoder.loop.stages import PlannedStage
from evolcoder.progress import SilentProgress
from evolcoder.recipe import Recipe, load_recipe, recipe_from_data, recipe_schema

MODELS = Path(__file__).parents[1] / "evaluate" / "scripted_models.py"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        "".join(json.dumps({"idx": n, "instruction": f"Tell of {n}."}) + "\n" for n in range(1, 7))
    )
    return path


def recipe_of(questions: Path, **judge: object) -> Recipe:
    evaluate = {"benchmarks": [str(questions)], "settings": {"style": "chat"}}
    if judge:
        evaluate["judge"] = judge
    data = {
        "name": "judged",
        "domain": "general",
        "evaluate": evaluate,
        "train": {"prompt_style": "chat"},
        "stop": {"benchmark": str(questions), "select_on_test": True},
    }
    return recipe_from_data(data, "judged.yaml")


def test_the_general_quickstart_is_a_whole_recipe_of_its_domain() -> None:
    recipe = load_recipe(Path("general-quickstart"))
    assert (recipe.domain, recipe.evolve.methods) == ("general", "wizardlm-repository")
    assert recipe.measured == ("general-held-out",)
    check_judge(recipe.evaluate.judge, judged_benchmark("general-held-out"), ())
    bare = recipe_from_data({"name": "x", "domain": "general"}, "x.yaml")
    assert (bare.evolve.methods, bare.measured) == ("general", ("mt-bench", "wizardlm"))
    schema = recipe_schema()["$defs"]["JudgeSettings"]["properties"]
    assert all("description" in schema[key] for key in ("model", "endpoint", "against", "shots"))


def test_a_judged_benchmark_without_a_judge_is_refused_and_so_is_a_missing_file_of_answers(
    questions: Path,
) -> None:
    benchmark = judged_benchmark(str(questions))
    with pytest.raises(UserError, match=r"evaluate\.judge in a recipe"):
        check_judge(recipe_of(questions).evaluate.judge, benchmark, ())
    with pytest.raises(UserError, match="no such file of answers"):
        check_judge(
            recipe_of(questions, model="embedded", against="gone.jsonl").evaluate.judge, benchmark, ()
        )
    questions.with_name("bad.jsonl").write_text('{"response": "x"}\n')
    with pytest.raises(DataError, match="names its problem"):
        bad = recipe_of(questions, model="embedded", against=str(questions.with_name("bad.jsonl")))
        check_judge(bad.evaluate.judge, benchmark, ())


def test_a_rounds_checkpoint_is_measured_by_the_judge_and_again_where_the_judge_changes(
    questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "round-1"
    recipe = recipe_of(questions, model=f"{MODELS}:always-8")
    journal, model = tmp_path / "journal.sqlite", f"{MODELS}:answers-x"
    asyncio.run(measure(recipe, model, str(questions), out, journal, SilentProgress()))
    score = json.loads((out / "scores.json").read_text())["scores"][0]
    assert score["value"] == pytest.approx(0.8)
    assert score["settings"]["judge"] == "scripted-always-8"

    def settings(of: Recipe) -> dict[str, object]:
        stage = evaluation_stage(of, "e", "e", str(questions), out, identity=lambda: "", after=())
        return {**stage.settings, **{name: identity() for name, identity in stage.inputs.items()}}

    other = recipe_of(questions, model=f"{MODELS}:always-3")
    assert settings(recipe) != settings(other)
    faster = recipe_of(questions, model=f"{MODELS}:always-8", endpoint={"concurrency": 3})
    assert settings(recipe) == settings(faster)


def test_the_plan_tells_what_a_judge_behind_an_endpoint_is_asked(questions: Path, tmp_path: Path) -> None:
    questions = questions.rename(tmp_path / "my questions.jsonl")
    benchmark = judged_benchmark(str(questions))
    alone, paired = JudgeSettings("openai:judge"), JudgeSettings("openai:judge", against="theirs.jsonl")
    settings = EvaluationSettings(style="chat")
    requests, tokens = expected_requests(benchmark, settings, alone)
    assert requests == 6 and expected_requests(benchmark, settings, paired)[0] == 12
    more = EvaluationSettings(style="chat", n=3, temperature=0.7)
    assert expected_requests(benchmark, more, alone) == (18, 3 * tokens)
    priced = {"usd_per_million_input": 1.0, "usd_per_million_output": 0.0}
    recipe = recipe_of(questions, model="openai:judge", endpoint=priced)
    stage = evaluation_stage(recipe, "e", "e", str(questions), tmp_path, identity=lambda: "", after=())
    cost = expected_cost(PlannedStage(stage, "to do", "", None), recipe, tmp_path)
    assert cost == Cost(6, round(tokens / 1e6, 4), assumed=True)
