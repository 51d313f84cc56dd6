"""The closed loop of WizardCoder: evolve, merge, fine-tune, measure, stop on decline, keep the best.

Reads top to bottom as the paper tells it (3.2, 4.5): the base model is measured; then each round evolves the
previous round's instructions, fine-tunes the base model on the seeds and all rounds so far, and measures the
checkpoint. Covered here: order, what is already done, the stopping rule. Not covered: how any stage works.
"""

from __future__ import annotations

import fcntl
import json
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolcoder import __version__
from evolcoder.errors import RecipeError, SandboxError, UserError
from evolcoder.execution.event_loop import run_async
from evolcoder.instructions import read_instructions, write_instructions
from evolcoder.progress import Progress
from evolcoder.recipe import Recipe, plain_data, recipe_yaml
from evolcoder.records import Instruction
from evolcoder.runs import content_hash, file_hash, write_json_whole, write_text_whole

if TYPE_CHECKING:
    from evolcoder.models.protocol import LanguageModel


@dataclass(frozen=True, slots=True)
class RoundScore:
    """What one round (0: the base model) came to on the benchmark that decides."""

    round: int
    value: float
    """pass@1 as a fraction."""
    low: float
    high: float
    rows: int
    """Rows it was fine-tuned on."""
    n_problems: int
    """Problems it was measured on."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to go on after a round, and why."""

    stop: bool
    reason: str


def run_recipe(recipe: Recipe, run: Path, progress: Progress, command_line: str) -> dict[str, Any]:
    """Run or continue a recipe in the folder `run`; return what `result.json` holds.

    Raises UserError where another process works on the same folder, and the stages' errors.
    """
    check_before_start(recipe)
    run.mkdir(parents=True, exist_ok=True)
    with _alone_in(run):
        write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
        done = FinishedStages(run, progress)
        seeds = take_seeds(recipe, run, done)
        scores = [measure(recipe, run, 0, recipe.base.model, 0, done, progress)]
        decision = Decision(False, "")
        for round_number in range(1, recipe.rounds.max_rounds + 1):
            dataset = evolve_and_merge(recipe, run, round_number, seeds, done, progress)
            checkpoint = fine_tune(recipe, run, round_number, dataset, done, progress)
            rows = sum(1 for _ in dataset.open("rb"))
            scores.append(measure(recipe, run, round_number, str(checkpoint), rows, done, progress))
            decision = decide(recipe, scores)
            if decision.stop:
                break
        result = result_of(recipe, scores, decision, command_line)
        write_json_whole(run / "result.json", result)
        point_to_best(run, int(result["best_round"]))
        done.write_times()

        from evolcoder.report import write_report

        write_report(run)
        return result


def check_before_start(recipe: Recipe) -> None:
    """Find out in the first seconds what would stop the run after an hour.

    Raises DataError for the seeds, UserError for a benchmark or an oracle, ModelError for a model that is not
    there, SandboxError where this machine cannot run programs safely.
    """
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.models.opening import is_remote
    from evolcoder.models.weights import locate_weights
    from evolcoder.sandbox import probe

    read_instructions(recipe.seeds.source)
    for name in _benchmarks(recipe):
        load_benchmark(name).checked_oracle(recipe.evaluate.settings.oracle)
    if is_remote(recipe.base.model):
        raise RecipeError(f"base.model: weights to fine-tune are expected, found {recipe.base.model!r}")
    locate_weights(recipe.base.model)
    if not is_remote(recipe.teacher.model):
        locate_weights(recipe.teacher.model)
    if (protection := probe()).level == "none":
        raise SandboxError(f"generated programs cannot be run safely here: {protection.reason}")


def _benchmarks(recipe: Recipe) -> list[str]:
    """Return the benchmarks of a recipe, the one that decides included, each once."""
    return list(dict.fromkeys([*recipe.evaluate.benchmarks, recipe.stop.benchmark]))


def decide(recipe: Recipe, scores: Sequence[RoundScore]) -> Decision:
    """Apply the stopping rule to the rounds so far (base model first)."""
    last = scores[-1]
    best = best_round(scores[:-1])
    if recipe.stop.rule == "decline" and last.round >= 1 and last.value < best.value:
        return Decision(
            True,
            f"round {last.round} scored {last.value:.1%}, below round {best.round} with {best.value:.1%}",
        )
    if last.round >= recipe.rounds.max_rounds:
        return Decision(True, f"max_rounds = {recipe.rounds.max_rounds} reached")
    return Decision(False, "")


def best_round(scores: Sequence[RoundScore]) -> RoundScore:
    """Return the best-scoring round, the earliest of equals: less data, less training."""
    return max(scores, key=lambda score: (score.value, -score.round))


def result_of(
    recipe: Recipe, scores: Sequence[RoundScore], decision: Decision, command_line: str
) -> dict[str, Any]:
    """Return what `result.json` holds."""
    from evolcoder.evaluate.benchmarks import load_benchmark

    best = best_round(scores)
    result: dict[str, Any] = {
        "name": recipe.name,
        "evolcoder": __version__,
        "benchmark": recipe.stop.benchmark,
        "rounds": [asdict(score) for score in scores],
        "problems": best.n_problems,
        "problems_in_all": len(load_benchmark(recipe.stop.benchmark).problems),
        "best_round": best.round,
        "best_model": recipe.base.model if best.round == 0 else f"round-{best.round}/checkpoint",
        "stop": {"rule": recipe.stop.rule, "reason": decision.reason},
        "command": command_line,
        "environment": versions(),
    }
    if recipe.stop.benchmark in recipe.evaluate.benchmarks:
        result["notice"] = (
            f"{recipe.stop.benchmark} is both the benchmark reported and the one that chose the round; "
            "its score is therefore not a clean test score."
        )
    return result


def versions() -> dict[str, str]:
    """Return the versions that a run's figures hang on."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in ("torch", "transformers", "tokenizers", "accelerate", "peft"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def take_seeds(recipe: Recipe, run: Path, done: FinishedStages) -> list[Instruction]:
    """Copy the seeds in use into the run folder and return them."""
    path = run / "seeds.jsonl"
    seeds = read_instructions(recipe.seeds.source)
    if (limit := recipe.seeds.limit) is not None and limit < len(seeds):
        seeds = [seeds[i * len(seeds) // limit] for i in range(limit)]
    key = content_hash("seeds", [asdict(seed) for seed in seeds])
    done.do("seeds", key, lambda: write_instructions(path, seeds), [path])
    return seeds


def evolve_and_merge(
    recipe: Recipe,
    run: Path,
    round_number: int,
    seeds: list[Instruction],
    done: FinishedStages,
    progress: Progress,
) -> Path:
    """Evolve one round and return the training set of the seeds and all rounds so far."""
    from evolcoder.evolve.pool import merged_rows

    rounds = [run / f"round-{r}" for r in range(1, round_number + 1)]
    out, before = rounds[-1], rounds[:-1]
    teacher = recipe.teacher
    key = content_hash(
        "evolve",
        plain_data(recipe.evolve),
        [recipe.seed, round_number, recipe.rounds.rows_per_round, teacher.model, teacher.base_url or ""],
        file_hash(run / "seeds.jsonl"),
        [file_hash(folder / name) for folder in before for name in ("evolved.jsonl", "eliminated.jsonl")],
    )

    def make() -> None:
        run_async(_evolve(recipe, run, seeds, before, out, progress))
        write_instructions(out / "dataset.jsonl", merged_rows(seeds, rounds))

    done.do(f"evolve round {round_number}", key, make, [out / "evolved.jsonl", out / "dataset.jsonl"])
    return out / "dataset.jsonl"


async def _evolve(
    recipe: Recipe, run: Path, seeds: list[Instruction], before: list[Path], out: Path, progress: Progress
) -> None:
    from evolcoder.evolve.pool import evolved_rows, pool_after
    from evolcoder.evolve.rounds import duplicate_index, evolve_round
    from evolcoder.models.journal import Journal
    from evolcoder.models.opening import budget_of, open_model

    settings = replace(recipe.evolve, seed=recipe.seed)
    limit = recipe.rounds.rows_per_round
    async with Journal(run / "journal.sqlite") as journal:
        teacher = open_model(
            recipe.teacher.model,
            base_url=recipe.teacher.base_url,
            journal=journal,
            settings=recipe.teacher.endpoint,
            local=recipe.teacher.local,
            budget=budget_of(journal, recipe.budget.max_usd, recipe.budget.max_requests),
        )
        async with closing(teacher):
            await evolve_round(
                pool_after(seeds, before, limit=limit, seed=recipe.seed),
                teacher,
                settings,
                len(before) + 1,
                out,
                progress,
                index=duplicate_index(settings, seeds, chain(*map(evolved_rows, before))),
                total=min(len(seeds), limit or len(seeds)),
            )


def fine_tune(
    recipe: Recipe, run: Path, round_number: int, dataset: Path, done: FinishedStages, progress: Progress
) -> Path:
    """Fine-tune the base model on a round's training set and return the checkpoint."""
    out = run / f"round-{round_number}" / "checkpoint"
    key = content_hash("train", plain_data(recipe.train), recipe.base.model, recipe.seed, file_hash(dataset))

    def make() -> None:
        from evolcoder.train import train

        settings = replace(recipe.train, seed=recipe.seed)
        train(recipe.base.model, read_instructions(dataset), settings, out, progress)

    done.do(f"train round {round_number}", key, make, [out])
    return out


def measure(
    recipe: Recipe,
    run: Path,
    round_number: int,
    model: str,
    rows: int,
    done: FinishedStages,
    progress: Progress,
) -> RoundScore:
    """Evaluate one checkpoint on every benchmark of the recipe; return its score on the one that decides."""
    folder = run / f"round-{round_number}" / "evaluation"
    weights = Path(model) / "model.safetensors"
    identity = file_hash(weights) if weights.exists() else model
    for benchmark in _benchmarks(recipe):
        out = folder / benchmark.replace(":", "-").replace("@", "-")
        key = content_hash("evaluate", plain_data(recipe.evaluate.settings), benchmark, identity)

        def make(benchmark: str = benchmark, out: Path = out) -> None:
            run_async(_evaluate(recipe, run, model, benchmark, out, progress))

        done.do(f"evaluate round {round_number} on {benchmark}", key, make, [out / "scores.json"])
    scores = json.loads(
        (folder / recipe.stop.benchmark.replace(":", "-").replace("@", "-") / "scores.json").read_text()
    )
    score = next(score for score in scores["scores"] if score["k"] == 1)
    return RoundScore(round_number, score["value"], score["low"], score["high"], rows, score["n_problems"])


async def _evaluate(
    recipe: Recipe, run: Path, model_name: str, benchmark: str, out: Path, progress: Progress
) -> None:
    from evolcoder.evaluate.evaluation import evaluate_model
    from evolcoder.models.journal import Journal
    from evolcoder.models.opening import open_model

    async with Journal(run / "journal.sqlite") as journal:
        model = open_model(model_name, journal=journal, local=recipe.evaluate.local)
        async with closing(model):
            await evaluate_model(model, benchmark, recipe.evaluate.settings, out, progress)


@asynccontextmanager
async def closing(model: LanguageModel) -> AsyncIterator[None]:
    """Close a model when the block ends."""
    try:
        yield
    finally:
        await model.close()


class FinishedStages:
    """Remembers, in `RUN/stages/`, what each finished stage was made from, so that it is done once."""

    def __init__(self, run: Path, progress: Progress) -> None:
        self._run = run
        self._folder = run / "stages"
        self._progress = progress
        self._met: list[str] = []

    def do(self, name: str, key: str, make: Callable[[], object], products: Sequence[Path]) -> None:
        """Call `make` unless this stage was finished with the same `key` and its products are there."""
        marker = self._folder / f"{name.replace(' ', '-').replace(':', '-')}.json"
        self._met.append(marker.name)
        if marker.exists() and all(product.exists() for product in products):
            if json.loads(marker.read_text())["key"] == key:
                self._progress.note(f"{name}: done before")
                return
            self._progress.note(f"{name}: what it depends on has changed, done again")
            marker.unlink()
        self._progress.note(name)
        begun = time.monotonic()
        make()
        write_json_whole(marker, {"name": name, "key": key, "seconds": round(time.monotonic() - begun, 1)})

    def write_times(self) -> None:
        """Write `stages.json`: the run's stages in order, with the seconds each took when it was done."""
        markers = [json.loads((self._folder / name).read_text()) for name in self._met]
        stages = [{"name": marker["name"], "seconds": marker["seconds"]} for marker in markers]
        write_json_whole(self._run / "stages.json", stages)


def point_to_best(run: Path, best: int) -> None:
    """Make `RUN/best` a link to the best checkpoint; no link where the base model was best."""
    link = run / "best"
    link.unlink(missing_ok=True)
    if best > 0:
        link.symlink_to(Path(f"round-{best}") / "checkpoint")


@contextmanager
def _alone_in(run: Path) -> Iterator[None]:
    """Hold the run folder against a second process; the kernel lets go when this one dies."""
    with (run / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{run}: another evolcoder works in this folder; wait for it or name another --dir"
            ) from error
        yield
