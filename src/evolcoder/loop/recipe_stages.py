"""The stages of a recipe: what each is made from, and its products. `steps.py` does them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from evolcoder.domains import DEFAULT_DOMAIN
from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.evaluate.sampling import subset
from evolcoder.instructions import read_instructions
from evolcoder.loop.model_stages import (
    FINE_TUNED,
    defaults_of,
    evaluation_stage,
    hash_of,
    model_identity,
    own_benchmarks,
    own_file,
    settings_of,
    training_stage,
)
from evolcoder.loop.stages import Pace, Stage
from evolcoder.recipe import CODE, Recipe, Reinforcement
from evolcoder.records import REINFORCED_ROUND, SEEDS_ROUND, Instruction, round_folder
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
    seeds_to_come: int | None = None
    """Seeds at most, where they are still to be made of a code base."""
    problems_to_come: int = 0
    """Of the benchmark CODE, at most."""
    _identities: dict[str, str] = field(default_factory=dict)

    @property
    def journal_path(self) -> Path:
        """Where the replies of the models are kept."""
        return self.journal or self.run / "journal.sqlite"

    def folder(self, number: int) -> Path:
        """Return the folder of a round: 0, SEEDS_ROUND, 1 and on, REINFORCED_ROUND."""
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
        return checkpoint.with_name(FINE_TUNED) if self.recipe.reinforces("each_round") else checkpoint

    def learner(self, number: int) -> str:
        """Return the MODEL string of what learns from execution: a fine-tuned model, at last the kept one."""
        if number == REINFORCED_ROUND:
            return self.checkpoint(self.kept_before)
        return str(self.fine_tuned(number))

    @property
    def kept_before(self) -> int:
        """The round that learns from execution last: the kept one, or the base model until that is known."""
        path = self.kept_before_file
        return int(json.loads(path.read_text())["started_from"]) if path.exists() else 0

    @property
    def kept_before_file(self) -> Path:
        """Where that is written down once the rounds have stopped."""
        return self.folder(REINFORCED_ROUND) / "summary.json"

    def evaluation(self, number: int, benchmark: str) -> Path:
        """Return the folder of a checkpoint's samples, verdicts and scores on a benchmark."""
        return self.folder(number) / "evaluation" / evaluation_folder(benchmark)

    def all(self) -> Iterator[Stage]:
        """Yield the stages of the whole run, as many rounds as it may have."""
        yield self.seeds()
        for number in self._models:
            if number > 0:
                yield self.evolve(number)
            if number:
                yield from self.trainings(number)
            yield from self.evaluations(number)
        if how := self.recipe.reinforces("last"):
            yield self.reinforce(REINFORCED_ROUND, how)
            yield from self.evaluations(REINFORCED_ROUND)

    def seeds(self) -> Stage:
        """Copy the seeds in use into the run folder, without those that copy a benchmark problem."""
        return Stage(
            id="seeds",
            title="seeds" + self.suffix,
            settings={
                "seeds.source": self.recipe.seeds.source,
                "seeds.limit": self.recipe.seeds.limit,
                **({"seeds.columns": dict(columns)} if (columns := self.recipe.seeds.columns) else {}),
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
                "domain": recipe.domain,
                "seed": recipe.seed,
                "rounds.rows_per_round": recipe.rounds.rows_per_round,
                "teacher.model": recipe.teacher.model,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                **own_file(recipe.domain),
                **own_file(recipe.evolve.methods),
                "the teacher's weights": lambda: self.identity(recipe.teacher.model),
                **{str(path.relative_to(self.run)): hash_of(path) for path in read},
                **own_benchmarks(self.screened_against),
            },
            after=(f"evolve:{number - 1}",) if number > 1 else ("seeds",),
            products=(out / "evolved.jsonl", out / "eliminated.jsonl", out / "dataset.jsonl"),
            pace=Pace("evolve", recipe.teacher.model, self._rows_a_round),
            defaults={**defaults_of("evolve", recipe.evolve), "domain": DEFAULT_DOMAIN},
        )

    def trainings(self, number: int) -> Iterator[Stage]:
        """Fine-tune, and learn from execution where the recipe says so."""
        yield self.train(number)
        if how := self.recipe.reinforces("each_round"):
            yield self.reinforce(number, how)

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
        """Let a round's fine-tuned model, or at last the kept one, learn from the verdicts on its answers."""
        last, model = number == REINFORCED_ROUND, self.learner(number)
        files = [
            Path(name) for name in (how.tasks, how.held_out) if name and not name.startswith("benchmark:")
        ]
        return Stage(
            id=f"reinforce:{round_id(number)}",
            title="reinforce the kept model" if last else f"reinforce {_title(number)}",
            settings={
                **settings_of("reinforce.settings", how.settings),
                "domain": self.recipe.domain,
                "seed": self.recipe.seed,
                "reinforce.tasks": how.tasks,
                "reinforce.held_out": how.held_out,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                "the kept model" if last else "the fine-tuned model": self._weights(model),
                **own_file(self.recipe.domain),
                **{str(path): hash_of(path) for path in files},
            },
            after=self._compared if last else (f"train:{round_id(number)}",),
            products=(Path(self.checkpoint(number)),),
            defaults={**defaults_of("reinforce.settings", how.settings), "domain": DEFAULT_DOMAIN},
        )

    def evaluations(self, number: int) -> Iterator[Stage]:
        """Measure one checkpoint on every benchmark of the recipe."""
        for benchmark in self.recipe.measured:
            yield self.evaluate(number, benchmark)

    def evaluate(self, number: int, benchmark: str) -> Stage:
        """Measure one checkpoint on one benchmark."""
        model = self.checkpoint(number)
        learns = number == REINFORCED_ROUND or self.recipe.reinforces("each_round")
        before = "reinforce" if learns else "train"
        after = (f"{before}:{round_id(number)}",) if number else ()
        id_ = f"evaluate:{round_id(number)}:{benchmark}"
        if benchmark == CODE:  # planned before it is made
            settings = self.recipe.evaluate.settings
            problems = min(self.problems_to_come, settings.limit or self.problems_to_come)
            pace = Pace("evaluate", f"{self.recipe.base.model} {benchmark}", problems * settings.n)
            title = f"evaluate {_title(number)} on the private benchmark"
            return Stage(id_, title, {}, {}, after, (self.evaluation(number, benchmark),), pace)
        return evaluation_stage(
            self.recipe,
            id_,
            f"evaluate {_title(number)} on {benchmark}",
            benchmark,
            self.evaluation(number, benchmark),
            identity=self._weights(model),
            after=after,
        )

    def rows_of(self, number: int) -> int:
        """Return how many rows a round's training set holds; before it is made, how many at most."""
        if number == REINFORCED_ROUND:
            number = self.kept_before
        if number == 0:
            return 0
        data = self.dataset(number)
        if data.exists():
            return sum(1 for _ in data.open("rb"))
        return self._n_seeds + max(0, number) * self._rows_a_round

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

    def _weights(self, model: str) -> Callable[[], str]:
        """Return a function that returns what identifies the weights of a checkpoint or the base model."""
        return lambda: self.identity(model) if model == self.recipe.base.model else model_identity(model)

    @property
    def _models(self) -> list[int]:
        """The base model, that of the seeds if there is to be one, and as many rounds as there may be."""
        seeds = [SEEDS_ROUND] if self.recipe.rounds.train_seeds else []
        return [0, *seeds, *range(1, self.recipe.rounds.max_rounds + 1)]

    @property
    def _compared(self) -> tuple[str, ...]:
        """Ids of the measurements that say which round is kept, those of rounds to come too."""
        deciding = self.recipe.stop.benchmark
        return tuple(f"evaluate:{round_id(n)}:{deciding}" for n in self._models)

    @cached_property
    def chosen_seeds(self) -> list[Instruction]:
        """The seeds of the recipe, as many as it says."""
        seeds = read_instructions(self.recipe.seeds.source, self.recipe.seeds.columns)
        return list(subset(seeds, self.recipe.seeds.limit))

    @property
    def _n_seeds(self) -> int:
        return len(self.chosen_seeds) if self.seeds_to_come is None else self.seeds_to_come

    @property
    def _rows_a_round(self) -> int:
        return min(self._n_seeds, self.recipe.rounds.rows_per_round or self._n_seeds)


def round_id(number: int) -> str:
    """Return how the ids of a round's stages name it."""
    return {SEEDS_ROUND: "seeds", REINFORCED_ROUND: "last"}.get(number, str(number))


def _title(number: int) -> str:
    names = {SEEDS_ROUND: "seeds alone", REINFORCED_ROUND: "the reinforced model"}
    return names.get(number, f"round {number}")
