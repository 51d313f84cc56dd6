"""Run a recipe, or say what running it would do. The loop itself is in `wizardcoder.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolcoder.errors import RecipeError, SandboxError, UserError, require_packages
from evolcoder.evaluate.overlap import shared_problems
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions
from evolcoder.loop.estimates import Cost, Design, designs, expected_cost, expected_seconds
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.loop.results import point_to_best, result_of
from evolcoder.loop.stages import Choice, PlannedStage, Stages
from evolcoder.loop.steps import Steps
from evolcoder.loop.stopping import stopping_rule
from evolcoder.loop.wizardcoder import wizardcoder
from evolcoder.progress import Progress, SilentProgress
from evolcoder.recipe import Recipe, recipe_yaml
from evolcoder.run_progress import PROGRESS_NAME, RecordedProgress
from evolcoder.runs import take_lock, write_json_whole, write_text_whole


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do."""

    stages: tuple[PlannedStage, ...]
    """All stages in order, for as many rounds as there may be."""
    seconds: dict[str, float]
    """Expected seconds of the stages to do, by id; absent where they are not known."""
    costs: dict[str, Cost]
    """What the teacher will be asked, by id of the stage."""
    designs: dict[str, Design]
    """What the measurements can see, by benchmark."""


def run_recipe(
    recipe: Recipe,
    run: Path,
    progress: Progress,
    command_line: str,
    choice: Choice | None = None,
    engine: Engine = THIS_MACHINE,
) -> dict[str, Any]:
    """Run or continue a recipe in the folder `run`; return what `result.json` holds.

    Raises UserError where another process works on the same folder or `choice` names no stage, and the
    stages' errors.
    """
    choice = choice or Choice()
    check_before_start(recipe)
    recipe = as_begun(recipe, run)
    run.mkdir(parents=True, exist_ok=True)
    with alone_in(run), RecordedProgress(progress, run / PROGRESS_NAME) as progress:
        stages, of = Stages(run, progress, choice), RecipeStages(recipe, run)
        _announce(of, stages, progress)
        write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
        try:
            steps = Steps(of, stages, progress, engine, recipe.budget.max_hours)
            found = wizardcoder(steps, recipe.stop, recipe.rounds, recipe.budget)
        finally:
            stages.end()
        result = result_of(recipe, found, command_line)
        write_json_whole(run / "result.json", result)
        point_to_best(run, result["best_round"])
        stages.write_times()

        from evolcoder.report import write_report

        write_report(run)
        return result


def plan_recipe(recipe: Recipe, run: Path, choice: Choice | None = None) -> RunPlan:
    """Say what running a recipe in the folder `run` would do; nothing is done or written.

    Raises what a run would raise before its first stage.
    """
    check_before_start(recipe)
    recipe = as_begun(recipe, run)
    progress = SilentProgress()
    stages = Stages(run, progress, choice or Choice())
    of = RecipeStages(recipe, run)
    planned = stages.plan(list(of.all()))
    costs = {item.stage.id: cost for item in planned if (cost := expected_cost(item, recipe, run))}
    return RunPlan(tuple(planned), expected_seconds(planned, run), costs, designs(recipe, of))


def as_begun(recipe: Recipe, run: Path) -> Recipe:
    """Return the recipe with `rounds.train_seeds` decided: as the run in the folder began, else by its rule.

    Runs of version 0.1.0 know no such setting; they go on without.
    """
    if recipe.rounds.train_seeds is not None:
        return recipe
    import yaml

    train_seeds = recipe.stop.rule == "paper-v1"
    if (begun := run / "recipe.yaml").exists():
        recorded = yaml.safe_load(begun.read_text(encoding="utf-8"))
        train_seeds = bool(recorded.get("rounds", {}).get("train_seeds"))
    return replace(recipe, rounds=replace(recipe.rounds, train_seeds=train_seeds))


def check_before_start(recipe: Recipe) -> None:
    """Find out in the first seconds what would stop the run after an hour.

    Raises DataError for the seeds, UserError for a benchmark or an oracle, RecipeError where the deciding
    benchmark shares problems with a reported one, ModelError for a model that is not there, SandboxError
    where this machine cannot run programs safely.
    """
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.evaluate.own_tests import check_own_tests
    from evolcoder.models.local.weights import locate_weights
    from evolcoder.models.opening import is_remote, open_own, own_backend
    from evolcoder.sandbox import probe

    read_instructions(recipe.seeds.source)
    loaded = {name: load_benchmark(name) for name in recipe.measured}
    for benchmark in loaded.values():
        benchmark.checked_oracle(recipe.evaluate.settings.oracle)
        benchmark.check_ready()
    if not recipe.stop.select_on_test:
        deciding = recipe.stop.benchmark
        for name in recipe.evaluate.benchmarks:
            if shared := shared_problems(loaded[deciding], loaded[name]):
                raise RecipeError(
                    f"stop.benchmark {deciding} shares {len(shared)} problems with {name} ({shared[0]} ...), "
                    "whose score would be no test score; stop.select_on_test: true allows it"
                )
    stopping_rule(recipe.stop)
    if is_remote(recipe.base.model) or own_backend(recipe.base.model):
        raise RecipeError(f"base.model: weights to fine-tune are expected, found {recipe.base.model!r}")
    locate_weights(recipe.base.model)
    if own := own_backend(recipe.teacher.model):
        open_own(*own)
    elif not is_remote(recipe.teacher.model):
        locate_weights(recipe.teacher.model)
    if (protection := probe()).level == "none":
        raise SandboxError(f"generated programs cannot be run safely here: {protection.reason}")
    for benchmark in loaded.values():
        check_own_tests(benchmark)


def _announce(of: RecipeStages, stages: Stages, progress: Progress) -> None:
    """Say what a changed recipe does again before any of it is done; forget the result it makes untrue."""
    run = stages.run
    planned = stages.plan(list(of.all()))
    stages.expect(planned, lambda: expected_seconds(planned, run))
    again = [item for item in planned if item.state in ("again", "perhaps again")]
    if any(item.state not in ("done", "skipped") for item in planned):
        require_packages("a run", "train", "torch", "transformers")
    for item in again:
        progress.note(f"to be done {item.state}: {item.stage.title} ({item.why})")
    if any(item.state != "done" for item in planned) or stages.choice != Choice():
        (run / "result.json").unlink(missing_ok=True)


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Hold the run folder against a second process; the kernel lets go when this one dies."""
    try:
        lock = take_lock(run / ".lock")
    except BlockingIOError as error:
        raise UserError(
            f"{run}: another evolcoder works in this folder; wait for it or name another --dir"
        ) from error
    try:
        yield
    finally:
        os.close(lock)
