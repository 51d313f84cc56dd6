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

from evolcoder.evaluate.t_test import smallest_difference
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.loop.stages import PlannedStage
from evolcoder.recipe import Recipe

PROMPT_TOKENS, ANSWER_TOKENS = 470, 430
"""Tokens of all requests for one evolved row, prompts and answers, where the run has none to learn from:
the templates of the prompts and the mean lengths of a public run of the method (117, 382 and 523 tokens a row
in its seeds and first two generations)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the teacher's part of a stage comes to."""

    requests: int
    usd: float | None
    """None where no price is known."""
    assumed: bool
    """Whether tokens are assumed, not learnt from an earlier round."""


@dataclass(frozen=True, slots=True)
class Design:
    """What the measurements of a run on one benchmark can see."""

    problems: int
    samples: int
    """Of each problem."""
    rate: float
    """pass@1 near which: the base model's where it is measured, else one half, where the most is needed."""
    smallest_difference: float
    """Between two models, found in 80% of cases at the 5% level; as a fraction."""


def designs(recipe: Recipe, of: RecipeStages) -> dict[str, Design]:
    """Return the design of each benchmark that the recipe measures on."""
    from evolcoder.evaluate.benchmarks import load_benchmark

    found = {}
    for name in recipe.measured:
        in_all = len(load_benchmark(name).problems)
        problems, samples = min(in_all, recipe.evaluate.settings.limit or in_all), recipe.evaluate.settings.n
        scores = _read(of.evaluation(0, name) / "scores.json").get("scores") or [{"value": 0.5}]
        rate = float(scores[0]["value"])
        found[name] = Design(problems, samples, rate, smallest_difference(rate, problems, samples))
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
    """Return what an evolution that was never done asks of a remote teacher; None for any other stage.

    One that is done again is answered from the journal as far as its requests stay the same, which is not
    foreseen: it counts as new.
    """
    from evolcoder.models.opening import is_remote

    pace = item.stage.pace
    if pace is None or pace.kind != "evolve" or item.state not in ("to do", "again"):
        return None
    if not is_remote(recipe.teacher.model):
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
    price = _price(recipe)
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


def _price(recipe: Recipe) -> Any:
    from evolcoder.models.endpoint.address import OPENAI_URL
    from evolcoder.models.endpoint.pricing import price_for
    from evolcoder.models.opening import REMOTE_PREFIX

    teacher = recipe.teacher
    first = teacher.model.split(",")[0].partition("#")[0]
    name, _, inline = first.rpartition(REMOTE_PREFIX)[2].partition("@http")
    addresses = (
        (teacher.base_url,) if isinstance(teacher.base_url, str) else teacher.base_url or (OPENAI_URL,)
    )
    url = f"http{inline}" if inline else addresses[0].rpartition("*")[2]
    return price_for(name, url, teacher.endpoint)


def _read(path: Path) -> Mapping[str, Any]:
    """Return a JSON object of a run that may be under way; {} for what is not one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
