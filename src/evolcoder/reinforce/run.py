"""One door to the three ways of learning from execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evolcoder.cache import cache_folder
from evolcoder.errors import DataError, UserError, nearest
from evolcoder.evaluate.benchmarks import problem_texts
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.progress import Progress, SilentProgress
from evolcoder.reinforce.reward import Rewarder, tasks_that_hold
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.sandbox.work import SandboxWork
from evolcoder.train.result import TrainResult


def reinforce(
    model: str,
    tasks: Sequence[Task],
    settings: ReinforceSettings,
    out: Path,
    *,
    held_out: Sequence[Task] = (),
    decontaminate: Sequence[str] = (),
    compared: Callable[[str], str] | None = None,
    progress: Progress | None = None,
    engine: Engine = THIS_MACHINE,
    overwrite: bool = True,
) -> TrainResult:
    """Let a model learn from the verdicts on its own answers; write a Hugging Face folder to `out`.

    Tasks that copy a problem of the benchmarks in `decontaminate`, or whose known solution fails their tests,
    are left out and counted; `compared` is the domain's (`Answering.compared`). Raises UserError for a factor
    of the reward that no task has, DataError where no task is left and, without `overwrite`, where `out`
    holds another model, SandboxError where the machine offers no protection, and what training raises.
    """
    progress = progress or SilentProgress()
    check_factors(tasks, settings.reward.factors, progress)
    with (
        engine.open(SandboxWork()) as sandbox,
        VerdictCache(cache_folder() / "rewards.sqlite") as cache,
    ):
        rewarder = Rewarder(sandbox, settings.reward, settings.max_tokens, cache)
        chosen = usable_tasks(without_copies(tasks, decontaminate, progress, compared), rewarder, progress)
        measured = usable_tasks(held_out, rewarder, progress) if held_out else []
        if not chosen:
            raise DataError("no task is left to learn from")
        if settings.method == "rft":
            from evolcoder.reinforce.rejection import rejection_sampling

            return rejection_sampling(model, chosen, settings, out, rewarder, engine, progress, overwrite)
        from evolcoder.reinforce.grpo import grpo, run_fingerprint

        if settings.method == "dpo":
            from evolcoder.reinforce.preference import preference

            named = run_fingerprint(model, chosen, (), settings)
            return preference(model, chosen, settings, out, named, rewarder, engine, progress, overwrite)
        return grpo(model, chosen, measured, settings, out, rewarder, progress, overwrite)


def check_factors(tasks: Sequence[Task], factors: Sequence[str], progress: Progress) -> None:
    """Raise UserError for a factor of the reward that no task has; say how many tasks lack one."""
    known = sorted({name for task in tasks for name in task.scores})
    for name in factors:
        lacking = sum(name not in task.scores for task in tasks)
        if tasks and lacking == len(tasks):
            raise UserError(
                f"reward.factors: no task has a number between 0 and 1 as {name!r}{nearest(name, known)}; "
                f"they have {', '.join(known) or 'none'}"
            )
        if lacking:
            progress.note(f"{lacking} of {len(tasks)} tasks have no {name}: it counts as 1 there")


def usable_tasks(tasks: Sequence[Task], rewarder: Rewarder, progress: Progress) -> list[Task]:
    """Return the tasks whose known solution passes their tests; say how many do not."""
    chosen, broken = tasks_that_hold(tasks, rewarder)
    if broken:
        progress.note(f"{broken} of {len(tasks)} tasks fail with their own solution and are left out")
    return chosen


def without_copies(
    tasks: Sequence[Task],
    benchmarks: Sequence[str],
    progress: Progress,
    compared: Callable[[str], str] | None = None,
) -> list[Task]:
    """Return the tasks that copy no problem of the benchmarks; say how many do."""
    if not benchmarks:
        return list(tasks)
    index = ContaminationIndex(problem_texts(benchmarks), compared=compared)
    index.learn(task.row for task in tasks)
    clean = [task for task in tasks if not index.hits(task.row)]
    if len(clean) < len(tasks):
        progress.note(f"{len(tasks) - len(clean)} of {len(tasks)} tasks copy a benchmark problem, left out")
    return clean
