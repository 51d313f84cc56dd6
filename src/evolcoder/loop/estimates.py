"""How long stages will take and what they will cost, from what such stages took before.

Learnt from the markers of this run and of the runs beside it; a stage of a kind never done has no estimate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.sampling import subset
from evolcoder.evaluate.t_test import smallest_difference
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.loop.stages import PlannedStage
from evolcoder.models.opening import is_remote
from evolcoder.models.session import price_of
from evolcoder.recipe import CODE, Recipe

PROMPT_TOKENS, ANSWER_TOKENS = 470, 430
"""Tokens of all requests for one evolved row, prompts and answers, where the run has none to learn from:
the templates of the prompts and the mean lengths of a public run of the method (117, 382 and 523 tokens a row
in its seeds and first two generations)."""

VERDICT_TOKENS = 250
"""Tokens of a model judge's reply: a short explanation and the verdict, as its prompts ask for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage asks of a model behind an endpoint."""

    requests: int
    usd: float | None
    """None where no price is known."""
    assumed: bool
    """Whether tokens are assumed, not learnt from an earlier round."""


@dataclass(frozen=True, slots=True)
class Design:
    """What the measurements of a run on one benchmark can see."""

    problems: int
    """Or families of problems, where they come in such."""
    samples: int
    """Of each problem."""
    rate: float
    """pass@1 near which: the base model's where it is measured, else one half, where the most is needed."""
    smallest_difference: float
    """Between two models, found in 80% of cases at the 5% level; as a fraction."""


def designs(recipe: Recipe, plan: RecipeStages) -> dict[str, Design]:
    """Return the design of each benchmark that the recipe measures on."""
    found = {}
    for name in recipe.measured:
        benchmark = None if name == CODE else load_benchmark(name)
        if isinstance(benchmark, JudgedBenchmark):
            continue  # what a difference in ratings takes depends on the judge
        samples, limit = recipe.evaluate.settings.n, recipe.evaluate.settings.limit
        if benchmark:
            problems = len({benchmark.family(problem) for problem in subset(benchmark.problems, limit)})
        else:
            problems = min(plan.problems_to_come, limit or plan.problems_to_come)
        scores = _read(plan.evaluation(0, name) / "scores.json").get("scores") or [{"value": 0.5}]
        rate = float(scores[0]["value"])
        found[name if benchmark else "the private benchmark (at most)"] = Design(
            problems, samples, rate, smallest_difference(rate, problems, samples)
        )
    return found


def expected_seconds(planned: Sequence[PlannedStage], run: Path) -> dict[str, float]:
    """Return the seconds that each stage to do will take, by id; absent where nothing like it was done."""
    paces = _paces(run)
    expected = {}
    for item in planned:
        pace = item.stage.pace
        if item.state in ("done", "skipped") or pace is None:
            continue
        if item.seconds is not None:
            expected[item.stage.id] = item.seconds
        elif known := paces.get((pace.kind, pace.of)):
            expected[item.stage.id] = round(known * pace.units, 1)
    return expected


def expected_cost(item: PlannedStage, recipe: Recipe, run: Path) -> Cost | None:
    """Return what an evolution asks of a remote teacher, or a judged evaluation of a remote judge; else None.

    One that is done again is answered from the journal as far as its requests stay the same, which is not
    foreseen: it counts as new.
    """
    pace = item.stage.pace
    if pace is None or item.state not in ("to do", "again"):
        return None
    if pace.kind == "evaluate":
        return _cost_of_model_judge(str(item.stage.settings.get("benchmark")), recipe)
    if pace.kind != "evolve" or not is_remote(recipe.teacher.model):
        return None
    rounds = [_read(path) for path in sorted(run.glob("round-*/summary.json"))]
    rounds = [summary for summary in rounds if summary.get("asked")]
    rows = pace.units
    if rounds:
        last = rounds[-1]
        scale = rows / last["asked"]
        usd = None if last.get("usd") is None else round(last["usd"] * scale, 4)
        return Cost(round(last["requests"] * scale), usd, assumed=False)
    settings = recipe.evolve
    a_row = 2 + settings.judge + (settings.verify == "tests")
    price = price_of(recipe.teacher)
    usd = None if price is None else round(rows * price(PROMPT_TOKENS, ANSWER_TOKENS), 4)
    return Cost(round(rows * a_row), usd, assumed=True)


def _paces(run: Path) -> dict[tuple[str, str], float]:
    """Return the median seconds a unit by kind and model: of this run, else of the runs beside it."""
    beside = (path for path in run.parent.glob("*/stages/*.json") if path.parent.parent != run)
    return _median_paces(beside) | _median_paces(run.glob("stages/*.json"))


def _median_paces(markers: Iterable[Path]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for path in markers:
        marker = _read(path)
        pace, seconds = marker.get("pace"), marker.get("seconds")
        if pace and seconds is not None and pace[2] > 0:
            found.setdefault((pace[0], pace[1]), []).append(seconds / pace[2])
    return {key: median(values) for key, values in found.items()}


def _cost_of_model_judge(title: str, recipe: Recipe) -> Cost | None:
    """Return what a remote judge is asked about one checkpoint; None where there is none."""
    from evolcoder.evaluate.model_judge.judging_cost import expected_requests

    judge, settings = recipe.evaluate.judge, recipe.evaluate.settings
    if judge is None or not is_remote(judge.model):
        return None
    loaded = (load_benchmark(name) for name in recipe.measured if name != CODE)
    benchmark = next((found for found in loaded if found.title == title), None)
    if not isinstance(benchmark, JudgedBenchmark):
        return None
    requests, prompt_tokens = expected_requests(benchmark, settings, judge)
    price = price_of(judge)
    usd = None if price is None else round(price(prompt_tokens, requests * VERDICT_TOKENS), 4)
    return Cost(requests, usd, assumed=True)


def _read(path: Path) -> Mapping[str, Any]:
    """Return a JSON object of a run that may be under way; {} for what is not one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
