"""The stages of a recipe: what each is made from, and its products. `steps.py` does them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.instructions import read_instructions
from evolcoder.loop.model_stages import (
    FINE_TUNED,
    defaults_of,
    evaluation_stage,
    hash_of,
    model_identity,
    own_benchmarks,
    own_methods,
    settings_of,
    training_stage,
)
from evolcoder.loop.stages import Pace, Stage
from evolcoder.recipe import Recipe, Reinforcement
from evolcoder.records import SEEDS_ROUND, Instruction, round_folder
from evolcoder.runs import content_hash


@dataclass(frozen=True)
class RecipeStages:
    """Makes the stages of a recipe in the folder `run`."""

    recipe: Recipe
    run: Path
    journal: Path | None = None
    """The journal of the models; the run's own where absent."""
    suffix: str = ""
    """Ends the titles of the stages that make data."""
    _identities: dict[str, str] = field(default_factory=dict)

    @property
    def journal_path(self) -> Path:
        """Where the replies of the models are kept."""
        return self.journal or self.run / "journal.sqlite"

    def folder(self, number: int) -> Path:
        """Return the folder of a round; 0 is the base model, SEEDS_ROUND the model of the seeds alone."""
        return self.run / round_folder(number)

    @property
    def seeds_file(self) -> Path:
        """Where the seeds in use lie."""
        return self.run / "seeds.jsonl"

    def dataset(self, number: int) -> Path:
        """Return the training set of a round: the seeds and what all rounds so far kept."""
        if number == SEEDS_ROUND:
            return self.seeds_file
        return self.folder(number) / "dataset.jsonl"

    def checkpoint(self, number: int) -> str:
        """Return the MODEL string of a round's checkpoint, of the base model for round 0."""
        return str(self.folder(number) / "checkpoint") if number else self.recipe.base.model

    def fine_tuned(self, number: int) -> Path:
        """Return the folder of a round's fine-tuned model: the checkpoint, unless that learns further."""
        checkpoint = Path(self.checkpoint(number))
        return checkpoint if self.recipe.reinforce is None else checkpoint.with_name(FINE_TUNED)

    def evaluation(self, number: int, benchmark: str) -> Path:
        """Return the folder of a checkpoint's samples, verdicts and scores on a benchmark."""
        return self.folder(number) / "evaluation" / evaluation_folder(benchmark)

    def all(self) -> Iterator[Stage]:
        """Yield the stages of the whole run, as many rounds as it may have."""
        yield self.seeds()
        yield from self.evaluations(0)
        if self.recipe.rounds.train_seeds:
            yield from self.trainings(SEEDS_ROUND)
            yield from self.evaluations(SEEDS_ROUND)
        for number in range(1, self.recipe.rounds.max_rounds + 1):
            yield self.evolve(number)
            yield from self.trainings(number)
            yield from self.evaluations(number)

    def seeds(self) -> Stage:
        """Copy the seeds in use into the run folder, without those that copy a benchmark problem."""
        return Stage(
            id="seeds",
            title="seeds" + self.suffix,
            settings={
                "seeds.source": self.recipe.seeds.source,
                "seeds.limit": self.recipe.seeds.limit,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                "seeds": lambda: content_hash([asdict(seed) for seed in self.chosen_seeds]),
                **own_benchmarks(self.screened_against),
            },
            after=(),
            products=(self.seeds_file,),
        )

    def evolve(self, number: int) -> Stage:
        """Evolve one round and merge the training set of the seeds and all rounds so far."""
        recipe, out = self.recipe, self.folder(number)
        before = [self.folder(n) for n in range(1, number)]
        read = [self.seeds_file]
        read += [folder / name for folder in before for name in ("evolved.jsonl", "eliminated.jsonl")]
        return Stage(
            id=f"evolve:{number}",
            title=f"evolve round {number}{self.suffix}",
            settings={
                **settings_of("evolve", recipe.evolve),
                "seed": recipe.seed,
                "rounds.rows_per_round": recipe.rounds.rows_per_round,
                "teacher.model": recipe.teacher.model,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                **own_methods(recipe.evolve.methods),
                "the teacher's weights": lambda: self.identity(recipe.teacher.model),
                **{str(path.relative_to(self.run)): hash_of(path) for path in read},
                **own_benchmarks(self.screened_against),
            },
            after=(f"evolve:{number - 1}",) if number > 1 else ("seeds",),
            products=(out / "evolved.jsonl", out / "eliminated.jsonl", out / "dataset.jsonl"),
            pace=Pace("evolve", recipe.teacher.model, self._rows_a_round),
            defaults=defaults_of("evolve", recipe.evolve),
        )

    def trainings(self, number: int) -> Iterator[Stage]:
        """Fine-tune, and learn from execution where the recipe says so."""
        yield self.train(number)
        if self.recipe.reinforce is not None:
            yield self.reinforce(number, self.recipe.reinforce)

    def train(self, number: int) -> Stage:
        """Fine-tune the base model on a round's training set."""
        return training_stage(
            self.recipe,
            f"train:{round_id(number)}",
            f"train {_title(number)}",
            self.dataset(number),
            self.fine_tuned(number),
            base_identity=lambda: self.identity(self.recipe.base.model),
            after=("seeds",) if number == SEEDS_ROUND else (f"evolve:{number}",),
            rows=self.rows_of(number),
        )

    def reinforce(self, number: int, how: Reinforcement) -> Stage:
        """Let a round's fine-tuned model learn from the verdicts on its own answers."""
        model = str(self.fine_tuned(number))
        files = [
            Path(name) for name in (how.tasks, how.held_out) if name and not name.startswith("benchmark:")
        ]
        return Stage(
            id=f"reinforce:{round_id(number)}",
            title=f"reinforce {_title(number)}",
            settings={
                **settings_of("reinforce.settings", how.settings),
                "seed": self.recipe.seed,
                "reinforce.tasks": how.tasks,
                "reinforce.held_out": how.held_out,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                "the fine-tuned model": lambda: model_identity(model),
                **{str(path): hash_of(path) for path in files},
            },
            after=(f"train:{round_id(number)}",),
            products=(Path(self.checkpoint(number)),),
            defaults=defaults_of("reinforce.settings", how.settings),
        )

    def evaluations(self, number: int) -> Iterator[Stage]:
        """Measure one checkpoint on every benchmark of the recipe."""
        for benchmark in self.recipe.measured:
            yield self.evaluate(number, benchmark)

    def evaluate(self, number: int, benchmark: str) -> Stage:
        """Measure one checkpoint on one benchmark."""
        model = self.checkpoint(number)
        before = "reinforce" if self.recipe.reinforce else "train"
        return evaluation_stage(
            self.recipe,
            f"evaluate:{round_id(number)}:{benchmark}",
            f"evaluate {_title(number)} on {benchmark}",
            benchmark,
            model,
            self.evaluation(number, benchmark),
            identity=lambda: model_identity(model) if number else self.identity(model),
            after=(f"{before}:{round_id(number)}",) if number else (),
        )

    def rows_of(self, number: int) -> int:
        """Return how many rows a round's training set holds; before it is made, how many at most."""
        data = self.dataset(number)
        if data.exists():
            return sum(1 for _ in data.open("rb"))
        return len(self.chosen_seeds) + max(0, number) * self._rows_a_round

    @cached_property
    def screened_against(self) -> tuple[str, ...]:
        """Benchmarks that the training data must not copy."""
        against = self.recipe.decontaminate.against
        return self.recipe.measured if against is None else against

    def identity(self, model: str) -> str:
        """Return what identifies the weights behind a MODEL string, which do not change during the run."""
        if model not in self._identities:
            self._identities[model] = model_identity(model)
        return self._identities[model]

    @cached_property
    def chosen_seeds(self) -> list[Instruction]:
        """The seeds of the recipe, as many as it says."""
        seeds = read_instructions(self.recipe.seeds.source)
        limit = self.recipe.seeds.limit
        if limit is not None and limit < len(seeds):
            seeds = [seeds[i * len(seeds) // limit] for i in range(limit)]
        return seeds

    @property
    def _rows_a_round(self) -> int:
        seeds = len(self.chosen_seeds)
        return min(seeds, self.recipe.rounds.rows_per_round or seeds)


def round_id(number: int) -> str:
    """Return how the ids of a round's stages name it."""
    return "seeds" if number == SEEDS_ROUND else str(number)


def _title(number: int) -> str:
    return "seeds alone" if number == SEEDS_ROUND else f"round {number}"
