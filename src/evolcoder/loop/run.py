"""Run a recipe, or say what running it would do. The loop itself is in `wizardcoder.py`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolcoder.domains import load_domain
from evolcoder.errors import DataError, RecipeError, SandboxError, UserError, require_packages
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.overlap import shared_problems
from evolcoder.evaluate.sampling import subset
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions
from evolcoder.loop.estimates import Cost, Design, designs, expected_cost, expected_seconds
from evolcoder.loop.from_code import ToCome, made_from_code, make_from_code, what_code_gives
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.loop.results import notice_of, point_to_best, result_of
from evolcoder.loop.stages import Choice, PlannedStage, Stages
from evolcoder.loop.steps import Steps
from evolcoder.loop.stopping import stopping_rule
from evolcoder.loop.wizardcoder import wizardcoder
from evolcoder.models.opening import check_model, is_remote, own_backend
from evolcoder.progress import Progress, SilentProgress
from evolcoder.recipe import CODE, Recipe, recipe_yaml
from evolcoder.run_progress import PROGRESS_NAME, RecordedProgress
from evolcoder.runs import check_claimed, take_lock, write_json_whole, write_text_whole


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
    notice: str = ""
    """What must be said of the scores (`notice_of`), and of code that would be sent."""


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
    with locked(run), RecordedProgress(progress, run / PROGRESS_NAME) as progress:
        if recipe.takes_code:
            if not (run / "recipe.yaml").exists():  # so that the app shows the run, and continues it
                write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
            recipe = make_from_code(recipe, run, progress, engine)
            check_data(recipe)
        stages, plan = Stages(run, progress, choice), RecipeStages(recipe, run)
        _announce(plan, stages, progress)
        if notice := notice_of(recipe):
            progress.note(notice)
        write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
        try:
            steps = Steps(plan, stages, progress, engine, recipe.budget.max_hours)
            last = recipe.reinforces("last")
            found = wizardcoder(steps, recipe.stop, recipe.rounds, recipe.budget, last)
        finally:
            stages.end()
        result = result_of(recipe, found, command_line)
        write_json_whole(run / "result.json", result)
        point_to_best(run, result["best_round"])
        stages.write_times()

        from evolcoder.report import write_report

        write_report(run)
        return result


def shell_line(command: str, recipe: str | Path, options: Mapping[str, Sequence[str]], run: Path) -> str:
    """Return the command that does a run again: each option with each of its values."""
    words = [word for option, values in options.items() for value in values for word in (option, value)]
    return shlex.join(["evolcoder", command, str(recipe), *words, "--dir", str(run)])


def plan_recipe(recipe: Recipe, run: Path, choice: Choice | None = None) -> RunPlan:
    """Say what running a recipe in the folder `run` would do; nothing is done or written.

    Raises what a run would raise before its first stage.
    """
    recipe = as_begun(made_from_code(recipe, run), run)
    check_before_start(recipe)
    progress = SilentProgress()
    stages = Stages(run, progress, choice or Choice())
    coming = what_code_gives(recipe) if recipe.takes_code else ToCome()
    plan = RecipeStages(recipe, run, seeds_to_come=coming.seeds, problems_to_come=coming.problems)
    planned = [*coming.stages, *stages.plan(list(plan.all()))]
    costs = {item.stage.id: cost for item in planned if (cost := expected_cost(item, recipe, run))}
    notice = " ".join(filter(None, (notice_of(recipe), coming.notice)))
    seconds, costs = expected_seconds(planned, run), {**coming.costs, **costs}
    return RunPlan(tuple(planned), seconds, costs, designs(recipe, plan), notice)


def as_begun(recipe: Recipe, run: Path) -> Recipe:
    """Return the recipe with `rounds.train_seeds` decided: as the run in the folder began, else by its rule.

    Runs of version 0.1.0 know no such setting; they go on without. Raises what `_check_folder` raises.
    """
    _check_folder(run)
    if recipe.rounds.train_seeds is not None:
        return recipe
    import yaml

    train_seeds = recipe.stop.rule == "paper-v1"
    if (begun := run / "recipe.yaml").exists():
        recorded = yaml.safe_load(begun.read_text(encoding="utf-8"))
        train_seeds = bool(recorded.get("rounds", {}).get("train_seeds"))
    return replace(recipe, rounds=replace(recipe.rounds, train_seeds=train_seeds))


def _check_folder(run: Path) -> None:
    """Raise DataError where the folder is no run's and holds a file of a name that a run writes."""
    signs = (run / "stages", run / ".lock", run / "journal.sqlite")
    sign = next((sign for sign in signs if sign.exists()), signs[0])
    best = run / "best"
    if sign.exists() and best.exists() and not best.is_symlink():  # as copies without links have it
        raise DataError(f"{best}: a run makes a link of this name, found something else; nothing was changed")
    check_claimed(sign, [run / name for name in ("recipe.yaml", "result.json", "report.html", "best")])


def check_before_start(recipe: Recipe) -> None:
    """Find out in the first seconds what would stop the run after an hour: models, rule, sandbox, data.

    Raises UserError for the rule, ModelError for a model that is not there, SandboxError where this machine
    cannot run programs safely, and what `check_data` raises.
    """
    from evolcoder.sandbox import probe

    stopping_rule(recipe.stop)
    if is_remote(recipe.base.model) or own_backend(recipe.base.model):
        raise RecipeError(f"base.model: weights to fine-tune are expected, found {recipe.base.model!r}")
    check_model(recipe.base.model)
    check_model(recipe.teacher.model)
    if (protection := probe()).level == "none":
        raise SandboxError(f"generated programs cannot be run safely here: {protection.reason}")
    check_data(recipe)


def check_data(recipe: Recipe) -> None:
    """Look at the seeds, tasks and benchmarks of a recipe, but for those still to be made of a code base.

    Raises DataError for the seeds and tasks, UserError for a benchmark, an oracle or a factor of the reward,
    RecipeError where the deciding benchmark shares problems with a reported one.
    """
    from evolcoder.evaluate.model_judge.judged_evaluation import check_judge
    from evolcoder.evaluate.own_tests import check_own_tests

    if recipe.seeds.source != CODE:
        read_instructions(recipe.seeds.source, recipe.seeds.columns)
    if (how := recipe.reinforce) is not None:
        from evolcoder.reinforce.run import check_factors
        from evolcoder.reinforce.tasks import read_tasks

        forms = load_domain(recipe.domain).tasks
        check_factors(read_tasks(how.tasks, forms=forms), how.settings.reward.factors, SilentProgress())
        if how.held_out:
            read_tasks(how.held_out, forms=forms)
    loaded = {name: load_benchmark(name) for name in recipe.measured if name != CODE}
    for benchmark in loaded.values():
        if isinstance(benchmark, JudgedBenchmark):
            problems = subset(benchmark.problems, recipe.evaluate.settings.limit)
            check_judge(recipe.evaluate.judge, benchmark, problems)
            continue
        benchmark.checked_oracle(recipe.evaluate.settings.oracle)
        benchmark.check_ready()
    deciding = recipe.stop.benchmark
    if deciding in loaded and recipe.stop.keep == "best" and not recipe.stop.select_on_test:
        for name in (n for n in recipe.evaluate.benchmarks if n in loaded):
            if shared := shared_problems(loaded[deciding], loaded[name]):
                raise RecipeError(
                    f"stop.benchmark {deciding} shares {len(shared)} problems with {name} ({shared[0]} ...), "
                    "whose score would be no test score; stop.select_on_test: true allows it"
                )
    for benchmark in loaded.values():
        if not isinstance(benchmark, JudgedBenchmark):
            check_own_tests(benchmark)


def _announce(plan: RecipeStages, stages: Stages, progress: Progress) -> None:
    """Say what a changed recipe does again before any of it is done; forget the result it makes untrue."""
    run = stages.run
    planned = stages.plan(list(plan.all()))
    stages.expect(planned, lambda: expected_seconds(planned, run))
    again = [item for item in planned if item.state in ("again", "perhaps again")]
    if any(item.state not in ("done", "skipped") for item in planned):
        require_packages("a run", "train", "torch", "transformers")
    for item in again:
        progress.note(f"to be done {item.state}: {item.stage.title} ({item.why})")
    if any(item.state != "done" for item in planned) or stages.choice != Choice():
        (run / "result.json").unlink(missing_ok=True)


@contextmanager
def locked(run: Path) -> Iterator[None]:
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
