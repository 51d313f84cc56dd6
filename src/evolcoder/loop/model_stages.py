"""Fine-tuning and measuring a model: the two stages, and the work; the loop and ablations share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from evolcoder.evaluate.benchmarks import is_file, load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.dialogues import answers_file
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions
from evolcoder.loop.stages import Pace, Stage
from evolcoder.models.opening import is_remote, own_backend
from evolcoder.models.session import ModelChoice, model_session
from evolcoder.own_files import is_own, load_own_file
from evolcoder.progress import Progress
from evolcoder.recipe import Recipe, plain_data
from evolcoder.reinforce.settings import WITHOUT_EFFECT
from evolcoder.runs import file_hash
from evolcoder.train import train
from evolcoder.train.result import NOT_IN_NAME
from evolcoder.train.settings import NAME_OF_AUTO

FINE_TUNED = "fine-tuned"
"""The folder of a fine-tuned model that learns from execution before it is the round's checkpoint."""
_WITHOUT_EFFECT = {
    "evolve": ("seed", "rows_in_flight"),
    "train": ("seed", *NOT_IN_NAME),
    "evaluate.settings": ("workers",),
    "evaluate.judge": ("base_url", "endpoint", "local"),
    "reinforce.settings": ("seed", *WITHOUT_EFFECT),
}
"""Settings that change no product, only how fast or how safely it is made (the recipe's own seed stands for
those of the sections)."""


def settings_of(section: str, settings: Any) -> dict[str, Any]:
    """Return the settings of a recipe's section that its products follow from, by dotted key."""
    without = _WITHOUT_EFFECT.get(section, ())
    return _named(section, {key: value for key, value in plain_data(settings).items() if key not in without})


def defaults_of(section: str, settings: Any) -> dict[str, Any]:
    """Return the default of each setting of a section that has one, by dotted key."""
    made = {f.name: f.default_factory() for f in fields(settings) if f.default_factory is not MISSING}
    made |= {f.name: f.default for f in fields(settings) if f.default is not MISSING}
    clean: dict[str, Any] = json.loads(json.dumps(made, default=asdict))
    return _named(section, clean)


def _named(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    named = {f"{section}.{key}": value for key, value in values.items()}
    if named.get("train.dtype") == "auto":
        named["train.dtype"] = NAME_OF_AUTO
    return named


def hash_of(path: Path) -> Callable[[], str]:
    """Return a function that returns a file's content hash, "" where there is no file."""
    return lambda: file_hash(path) if path.is_file() else ""


def own_benchmarks(names: Sequence[str]) -> dict[str, Callable[[], str]]:
    """Return what a stage follows from where its benchmarks are users' files: each file and its problems.

    Those of the package are named by their versions, so that nothing is added for them.
    """
    return {name: partial(_own_identity, name) for name in names if is_file(name)}


def own_file(name: str) -> dict[str, Callable[[], str]]:
    """Return what a stage follows from where its method set or domain is a user's file; else nothing."""
    return {name: lambda: load_own_file(Path(name))[1].hash} if is_own(name) else {}


def _own_identity(name: str) -> str:
    return load_benchmark(name).own_identity


def model_identity(model: str) -> str:
    """Return what identifies the weights behind a MODEL string; "" for a folder that is not there yet."""
    from evolcoder.models.local.engine import weights_identity

    if (own := own_backend(model)) is not None:
        return f"{model}@{load_own_file(own[0])[1].hash[:16]}"
    if is_remote(model) or (Path(model).name in ("checkpoint", FINE_TUNED) and not Path(model).exists()):
        return model if is_remote(model) else ""
    return weights_identity(model)


def training_stage(
    recipe: Recipe,
    id_: str,
    title: str,
    data: Path,
    out: Path,
    *,
    base_identity: Callable[[], str],
    after: tuple[str, ...],
    rows: int,
) -> Stage:
    """Return the stage that fine-tunes the base model on the rows of `data`; `rows` is about how many."""
    train = recipe.train
    trained = rows * train.epochs if train.max_steps is None else train.max_steps * train.batch_size
    speed = f"{recipe.base.model} layers={train.layers} lora={train.lora}"
    return Stage(
        id=id_,
        title=title,
        settings={
            **settings_of("train", train),
            "seed": recipe.seed,
            "base.model": recipe.base.model,
            "product": out.name,
        },
        inputs={"the base model's weights": base_identity, f"{data.parent.name}/{data.name}": hash_of(data)},
        after=after,
        products=(out,),
        pace=Pace("train", speed, trained),
        defaults={**defaults_of("train", train), "product": "checkpoint"},
    )


def evaluation_stage(
    recipe: Recipe,
    id_: str,
    title: str,
    benchmark: str,
    out: Path,
    *,
    identity: Callable[[], str],
    after: tuple[str, ...],
) -> Stage:
    """Return the stage that samples and judges one checkpoint on one benchmark."""
    settings, loaded = recipe.evaluate.settings, load_benchmark(benchmark)
    judge = recipe.evaluate.judge if isinstance(loaded, JudgedBenchmark) else None
    problems = min(len(loaded.problems), settings.limit or len(loaded.problems))
    speed = f"{recipe.base.model} {benchmark} {settings.max_tokens}"

    def all_of(part: Callable[[str, Any], dict[str, Any]]) -> dict[str, Any]:
        return part("evaluate.settings", settings) | (part("evaluate.judge", judge) if judge else {})

    return Stage(
        id=id_,
        title=title,
        settings={**all_of(settings_of), "benchmark": loaded.title},
        inputs={
            "the model's weights": identity,
            **own_benchmarks((benchmark,)),
            **(_judge_inputs(judge, loaded.name) if judge else {}),
        },
        after=after,
        products=(out / "scores.json",),
        defaults=all_of(defaults_of),
        pace=Pace("evaluate", f"{speed} {judge.model}" if judge else speed, problems * settings.n),
    )


def _judge_inputs(judge: JudgeSettings, benchmark: str) -> dict[str, Callable[[], str]]:
    """Return what a judged stage follows from besides: the judge, and what answers are set beside."""
    inputs: dict[str, Callable[[], str]] = {"the judge's weights": partial(model_identity, judge.model)}
    if judge.against:
        file = answers_file(judge.against, benchmark)
        inputs[judge.against] = partial(model_identity, judge.against) if file is None else hash_of(file)
    return inputs


def fine_tune(recipe: Recipe, data: Path, out: Path, progress: Progress) -> None:
    """Fine-tune the base model on the rows of `data` into the folder `out`; raises what training does."""
    settings = replace(recipe.train, seed=recipe.seed)
    train(recipe.base.model, read_instructions(data), settings, out, progress)


async def measure(
    recipe: Recipe,
    model: str,
    benchmark: str,
    out: Path,
    journal: Path,
    progress: Progress,
    engine: Engine = THIS_MACHINE,
) -> None:
    """Sample and judge a model on a benchmark into the folder `out`; raises what evaluation does."""
    from evolcoder.evaluate.evaluation import evaluate_model

    choice, judge = ModelChoice(model, local=recipe.evaluate.local), recipe.evaluate.judge
    if isinstance(load_benchmark(benchmark), JudgedBenchmark) and judge is not None:
        from evolcoder.evaluate.model_judge.judged_evaluation import EvaluationContext, evaluate_judged

        budget = recipe.budget
        context = EvaluationContext(journal, engine, progress, budget.max_usd, budget.max_requests)
        await evaluate_judged(choice, benchmark, recipe.evaluate.settings, judge, out, context)
        return
    async with model_session(choice, journal, engine) as opened:
        await evaluate_model(opened, benchmark, recipe.evaluate.settings, out, progress, engine)
