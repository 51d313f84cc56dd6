"""The seeds and the private benchmark that a recipe makes of a code base, before its first stage.

They are made once: a run keeps the code that it began with, whatever becomes of the code base meanwhile.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolcoder.errors import DataError, RecipeError
from evolcoder.execution.engine import Engine
from evolcoder.execution.event_loop import run_async
from evolcoder.loop.estimates import Cost
from evolcoder.loop.stages import Pace, PlannedStage, Stage
from evolcoder.models.opening import is_remote
from evolcoder.models.session import model_session, price_of
from evolcoder.progress import Progress
from evolcoder.recipe import CODE, Recipe
from evolcoder.runs import write_json_whole

if TYPE_CHECKING:
    from evolcoder.code_base.choice import CodeCounts, HeldOut
    from evolcoder.code_base.snippets import Snippet

_FOLDER = "code"
_MADE_OF = "made_of.json"


@dataclass(frozen=True, slots=True)
class ToCome:
    """What is to be made of a code base before the first stage."""

    stages: tuple[PlannedStage, ...] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """By id of the stage; none where the teacher is in this process."""
    seeds: int | None = None
    """At most: one of each snippet that is shown; None where seeds are not made of code."""
    problems: int = 0
    """At most: one of each function that is held out and can stand alone."""
    notice: str = ""
    """How to see what would be sent."""


def made_from_code(recipe: Recipe, run: Path) -> Recipe:
    """Return a recipe that names the files made of its code base; as it is where none are made.

    Raises RecipeError where they are of another code base.
    """
    marker = run / _FOLDER / _MADE_OF
    if not recipe.takes_code or not marker.exists():
        return recipe
    made_of = {"code": recipe.code, "limit": recipe.seeds.limit}
    if (found := json.loads(marker.read_text())) != made_of:
        raise RecipeError(
            f"{run}: was begun with code = {found['code']} and seeds.limit = {found['limit']}; "
            "name another --dir for another code base"
        )
    return _with_files(recipe, run)


def what_code_gives(recipe: Recipe) -> ToCome:
    """Return what making seeds and benchmark of the recipe's code base would come to; nothing is sent.

    Raises UserError for the place, DataError where the code base holds nothing to make them of.
    """
    from evolcoder.code_base.seeds import CHARACTERS_A_TOKEN, REQUESTS_A_SEED, TESTS_TOKENS, expected_summary

    chosen = _chosen(recipe)
    remote, price, teacher = is_remote(recipe.teacher.model), price_of(recipe.teacher), recipe.teacher.model
    stages, costs = [], {}

    def add(kind: str, title: str, n: int, what: str, requests: int, usd: float | None) -> None:
        stage = Stage(f"{kind}:code", f"make {title}", {}, {}, (), (), Pace(kind, teacher, n))
        stages.append(PlannedStage(stage, "to do", f"{what} of {chosen.name}: {n:,}", None))
        if remote:
            costs[stage.id] = Cost(requests, None if usd is None else round(usd, 4), assumed=True)

    seeds = None
    if recipe.seeds.source == CODE:
        seeds, tests = len(chosen.snippets), recipe.evolve.verify == "tests"
        requests = seeds * (REQUESTS_A_SEED - (not tests))
        usd = expected_summary(chosen.snippets, tests, price).usd
        add("seeds-from", "seeds", seeds, "snippets", requests, usd)
    if CODE in recipe.measured:
        n, length = len(chosen.questions), sum(map(len, chosen.questions))
        usd = None if price is None else price(length // CHARACTERS_A_TOKEN, n * TESTS_TOKENS)
        add("benchmark-from", "the private benchmark", n, "functions", n, usd)
    shown = shlex.join(["evolcoder", "seeds", "from-code", str(recipe.code), "--teacher", teacher])
    notice = f"What a run would send of {chosen.name} is shown by: {shown} --out x.jsonl --dry-run"
    return ToCome(tuple(stages), costs, seeds, len(chosen.questions), notice)


def make_from_code(recipe: Recipe, run: Path, progress: Progress, engine: Engine) -> Recipe:
    """Make seeds, and the private benchmark where it is used, of the code base; return the recipe with them.

    Done only once in a run. Raises UserError for the place, DataError where nothing comes of it, and what
    the teacher raises; the same command continues.
    """
    if not recipe.takes_code:
        return recipe
    if not (run / _FOLDER / _MADE_OF).exists():
        run_async(_make(recipe, run / _FOLDER, run / "journal.sqlite", progress, engine))
        write_json_whole(run / _FOLDER / _MADE_OF, {"code": recipe.code, "limit": recipe.seeds.limit})
    return made_from_code(recipe, run)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What of a code base a teacher is shown."""

    name: str
    snippets: list[Snippet]
    held_out: list[HeldOut]
    questions: list[str]
    """About functions that are held out."""
    counts: CodeCounts


def _chosen(recipe: Recipe) -> _Chosen:
    """Read the recipe's code base; raises DataError where it holds nothing to make of what is asked for."""
    from evolcoder.code_base.choice import CodeSettings, chosen_snippets
    from evolcoder.code_base.private_benchmark import requests_for
    from evolcoder.code_base.source_files import names_of, opened_code_bases

    settings = CodeSettings(limit=recipe.seeds.limit, seed=recipe.seed)
    with opened_code_bases([str(recipe.code)]) as code_bases:
        name = names_of(code_bases)
        snippets, held_out, counts = chosen_snippets(code_bases, settings)
    if recipe.seeds.source == CODE and not snippets:
        raise DataError(f"no code to learn from in {name}: {counts.told}")
    questions = requests_for(held_out) if CODE in recipe.measured else []
    if CODE in recipe.measured and not questions:
        raise DataError(
            f"no function of {name} can be a problem of a private benchmark: one with a docstring that needs "
            f"no other module of it is held out of five ({len(held_out)} are here); name another "
            "stop.benchmark"
        )
    return _Chosen(name, snippets, held_out, questions, counts)


async def _make(recipe: Recipe, out: Path, journal: Path, progress: Progress, engine: Engine) -> None:
    from evolcoder.code_base.choice import counted
    from evolcoder.code_base.private_benchmark import private_benchmark
    from evolcoder.code_base.seeds import SeedFiles, seeds_from_snippets

    asking = replace(recipe.evolve, seed=recipe.seed)
    chosen = _chosen(recipe)
    held_out, counts = chosen.held_out, chosen.counts
    limits: dict[str, Any] = {"max_usd": recipe.budget.max_usd, "max_requests": recipe.budget.max_requests}
    async with model_session(recipe.teacher, journal, engine, **limits) as model:
        if recipe.seeds.source == CODE:
            seeds = SeedFiles(out / "seeds.jsonl")
            made = await seeds_from_snippets(
                chosen.snippets, held_out, counts, model, asking, seeds, progress, engine
            )
            if not made.kept:
                raise DataError(f"no seed came of {chosen.name}: {counted(made.eliminated)}")
        if CODE in recipe.measured:
            greedy = replace(asking, temperature=0.0)
            found = await private_benchmark(
                held_out, counts, model, greedy, _benchmark(out).parent, progress, engine=engine
            )
            if not found.problems:
                raise DataError(
                    f"no function of {chosen.name} makes a problem of a private benchmark "
                    f"({counted(found.left_out)}): name another stop.benchmark"
                )


def _with_files(recipe: Recipe, run: Path) -> Recipe:
    benchmark = str(_benchmark(run / _FOLDER))
    seeds, stop, evaluate = recipe.seeds, recipe.stop, recipe.evaluate
    if seeds.source == CODE:
        seeds = replace(seeds, source=str(run / _FOLDER / "seeds.jsonl"))
    if stop.benchmark == CODE:
        stop = replace(stop, benchmark=benchmark)
    names = tuple(benchmark if name == CODE else name for name in evaluate.benchmarks)
    return replace(recipe, seeds=seeds, stop=stop, evaluate=replace(evaluate, benchmarks=names))


def _benchmark(folder: Path) -> Path:
    from evolcoder.code_base.private_benchmark import FILE_NAME

    return folder / "benchmark" / FILE_NAME
