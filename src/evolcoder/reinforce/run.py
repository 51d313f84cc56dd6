"""One door to the three ways of learning from execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evolcoder.cache import cache_folder
from evolcoder.errors import DataError, UserError, nearest
from evolcoder.evaluate.benchmarks import problem_texts
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.models.local.identity import content_identity
from evolcoder.progress import Progress, SilentProgress
from evolcoder.reinforce.reward import Rewarder, tasks_that_cross
from evolcoder.reinforce.settings import WITHOUT_EFFECT, ReinforceSettings
from evolcoder.reinforce.tasks import Task
from evolcoder.runs import content_hash
from evolcoder.sandbox.work import SandboxWork
from evolcoder.train.result import TrainResult, finished_result


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
    are left out and counted; `compared` is the domain's (`Answering.compared`). A finished run with the same
    model, tasks and settings is returned as it is, a killed one goes on. Raises UserError for a factor of the
    reward that no task has, DataError where no task is left and, before any work, where `out` holds what no
    training wrote or, without `overwrite`, another model, SandboxError where the machine offers no
    protection, and what training raises. Of several processes (torchrun's) the first one judges.
    """
    from evolcoder.models.local.engine import cpu_multiplies_bf16
    from evolcoder.reinforce.answers import RunUnderWay
    from evolcoder.train.export import check_place
    from evolcoder.train.processes import join_processes

    processes = join_processes()
    progress = progress if progress is not None and processes.first else SilentProgress()
    if settings.dtype == "bf16" and processes.device.type == "cpu" and not cpu_multiplies_bf16():
        progress.note("this CPU does not multiply bf16: sampling is several times faster with dtype fp32")
    check_factors(tasks, settings.reward.factors, progress)
    settings = replace(settings, reward=replace(settings.reward, extract=settings.extraction))

    with ExitStack() as opened:
        sandbox: Any = None  # the first process judges
        cache = None
        if processes.first:
            sandbox = opened.enter_context(engine.open(SandboxWork()))
            cache = opened.enter_context(VerdictCache(cache_folder() / "rewards.sqlite"))
        rewarder = Rewarder(sandbox, settings.reward, settings.max_tokens, cache)

        def usable() -> tuple[list[Task], list[Task]]:
            clean = without_copies(tasks, decontaminate, progress, compared)
            measured = usable_tasks(held_out, rewarder, progress) if held_out else []
            return usable_tasks(clean, rewarder, progress), told_apart(clean, measured, progress)

        chosen, measured = processes.from_first(usable)
        if not chosen:
            raise DataError("no task is left to learn from")
        named = run_fingerprint(model, chosen, measured if settings.method == "grpo" else (), settings)
        if (finished := finished_result(out, named)) is not None:
            progress.note(f"{out}: this run is finished; nothing is sampled or trained again")
            return finished
        out = check_place(out, model, asdict(settings), overwrite=overwrite)
        run = RunUnderWay(model, settings, out, named, rewarder, progress, processes, engine)
        if settings.method == "rft":
            from evolcoder.reinforce.rejection import rejection_sampling

            return rejection_sampling(run, chosen)
        if settings.method == "dpo":
            from evolcoder.reinforce.preference import preference

            return preference(run, chosen)
        from evolcoder.reinforce.grpo import grpo

        return grpo(run, chosen, measured)


def run_fingerprint(
    base: str, tasks: Sequence[Task], held_out: Sequence[Task], settings: ReinforceSettings
) -> str:
    """Return the name, by content, of a run: model, tasks, settings."""
    chosen = {key: value for key, value in asdict(settings).items() if key not in WITHOUT_EFFECT}
    told = [[asdict(task) for task in some] for some in (tasks, held_out)]
    if settings.extraction == "auto":  # as before there was another way, so that a run begun then goes on
        del chosen["reward"]["extract"]
    if not settings.reward.factors:  # as before there were any, so that a run begun then goes on
        del chosen["reward"]["factors"]
        for task in (*told[0], *told[1]):
            del task["scores"]
    return content_hash("reinforce", content_identity(base), told, chosen)


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


def told_apart(tasks: Sequence[Task], held_out: Sequence[Task], progress: Progress) -> list[Task]:
    """Return the held-out tasks, another name for one that is named as a task to learn from is.

    Files that number their rows name different tasks alike. Says how many tasks are learnt from too.
    """
    learnt = {task.id: task for task in tasks}
    asked = {task.instruction for task in tasks}
    if both := sum(task.instruction in asked for task in held_out):
        progress.note(f"{both} of {len(held_out)} held-out tasks are learnt from too: they measure memory")
    return [
        replace(task, id=f"held-out-{task.id}") if learnt.get(task.id, task) != task else task
        for task in held_out
    ]


def usable_tasks(tasks: Sequence[Task], rewarder: Rewarder, progress: Progress) -> list[Task]:
    """Return the tasks that an answer can pass, as far as can be told; say how many others there are."""
    crossing, held_back = tasks_that_cross(tasks, rewarder)
    if held_back:
        progress.note(
            f"{held_back} of {len(tasks)} tasks pass to the answer what cannot cross to its process "
            "(a function, say), and are left out"
        )
    known = [task for task in crossing if task.solution]
    wanted = [(task.solution, test) for task in known for test in (*task.tests, *task.watched)]
    verdicts = iter(rewarder.verdicts(wanted))
    passed = ([next(verdicts).passed for _ in (*task.tests, *task.watched)] for task in known)
    broken = {task.id for task, all_of in zip(known, passed, strict=True) if not all(all_of)}
    if broken:
        progress.note(f"{len(broken)} of {len(tasks)} tasks fail with their own solution and are left out")
    return [task for task in crossing if task.id not in broken]


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
