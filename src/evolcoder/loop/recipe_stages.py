"""The stages of a recipe: what each follows from, where its products lie, and how it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.execution.engine import Engine
from evolcoder.execution.event_loop import run_async
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions, row_from_instruction, write_instructions
from evolcoder.loop.model_stages import (
    defaults_of,
    evaluation_stage,
    hash_of,
    model_identity,
    opened_teacher,
    settings_of,
    training_stage,
)
from evolcoder.loop.stages import Pace, Stage
from evolcoder.progress import Progress
from evolcoder.recipe import Recipe
from evolcoder.records import Instruction
from evolcoder.runs import content_hash, write_json_whole, write_jsonl_whole


@dataclass(frozen=True)
class RecipeStages:
    """Makes the stages of a recipe in the folder `run`."""

    recipe: Recipe
    run: Path
    progress: Progress
    journal: Path | None = None
    """The journal of the models; the run's own where absent."""
    engine: Engine = THIS_MACHINE
    """Where programs are judged and rows compared."""
    _identities: dict[str, str] = field(default_factory=dict)

    @property
    def journal_path(self) -> Path:
        """Where the replies of the models are kept."""
        return self.journal or self.run / "journal.sqlite"

    def folder(self, number: int) -> Path:
        """Return the folder of a round; 0 is the base model."""
        return self.run / f"round-{number}"

    def checkpoint(self, number: int) -> str:
        """Return the MODEL string of a round's checkpoint, of the base model for round 0."""
        return str(self.folder(number) / "checkpoint") if number else self.recipe.base.model

    def evaluation(self, number: int, benchmark: str) -> Path:
        """Return the folder of a checkpoint's samples, verdicts and scores on a benchmark."""
        return self.folder(number) / "evaluation" / evaluation_folder(benchmark)

    def all(self) -> Iterator[Stage]:
        """Yield the stages of the whole run, as many rounds as it may have."""
        yield self.seeds()
        for number in range(self.recipe.rounds.max_rounds + 1):
            if number:
                yield self.evolve(number)
                yield self.train(number)
            yield from self.evaluations(number)

    def seeds(self) -> Stage:
        """Copy the seeds in use into the run folder, without those that copy a benchmark problem."""
        path = self.run / "seeds.jsonl"
        return Stage(
            id="seeds",
            title="seeds",
            settings={
                "seeds.source": self.recipe.seeds.source,
                "seeds.limit": self.recipe.seeds.limit,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                "seeds": lambda: content_hash([asdict(seed) for seed in self._chosen_seeds]),
            },
            after=(),
            products=(path,),
            make=lambda: self._write_seeds(path),
        )

    def evolve(self, number: int) -> Stage:
        """Evolve one round and merge the training set of the seeds and all rounds so far."""
        recipe, out = self.recipe, self.folder(number)
        before = [self.folder(n) for n in range(1, number)]
        read = [self.run / "seeds.jsonl"]
        read += [folder / name for folder in before for name in ("evolved.jsonl", "eliminated.jsonl")]
        return Stage(
            id=f"evolve:{number}",
            title=f"evolve round {number}",
            settings={
                **settings_of("evolve", recipe.evolve),
                "seed": recipe.seed,
                "rounds.rows_per_round": recipe.rounds.rows_per_round,
                "teacher.model": recipe.teacher.model,
                "decontaminate.against": list(self.screened_against),
            },
            inputs={
                "the teacher's weights": lambda: self.identity(recipe.teacher.model),
                **{str(path.relative_to(self.run)): hash_of(path) for path in read},
            },
            after=(f"evolve:{number - 1}",) if number > 1 else ("seeds",),
            products=(out / "evolved.jsonl", out / "eliminated.jsonl", out / "dataset.jsonl"),
            make=lambda: self._evolve(before, out),
            pace=Pace("evolve", recipe.teacher.model, self._rows_a_round),
            defaults=defaults_of("evolve", recipe.evolve),
        )

    def train(self, number: int) -> Stage:
        """Fine-tune the base model on a round's training set."""
        return training_stage(
            self.recipe,
            f"train:{number}",
            f"train round {number}",
            self.folder(number) / "dataset.jsonl",
            Path(self.checkpoint(number)),
            self.progress,
            base_identity=lambda: self.identity(self.recipe.base.model),
            after=(f"evolve:{number}",),
            rows=self.rows_of(number),
        )

    def evaluations(self, number: int) -> Iterator[Stage]:
        """Measure one checkpoint on every benchmark of the recipe."""
        for benchmark in self.recipe.measured:
            yield self.evaluate(number, benchmark)

    def evaluate(self, number: int, benchmark: str) -> Stage:
        """Measure one checkpoint on one benchmark."""
        model = self.checkpoint(number)
        return evaluation_stage(
            self.recipe,
            f"evaluate:{number}:{benchmark}",
            f"evaluate round {number} on {benchmark}",
            benchmark,
            model,
            self.evaluation(number, benchmark),
            self.progress,
            identity=lambda: model_identity(model) if number else self.identity(model),
            journal=self.journal_path,
            after=(f"train:{number}",) if number else (),
            engine=self.engine,
        )

    def rows_of(self, number: int) -> int:
        """Return how many rows a round's training set holds; before it is made, how many at most."""
        data = self.folder(number) / "dataset.jsonl"
        if data.exists():
            return sum(1 for _ in data.open("rb"))
        return len(self._chosen_seeds) + number * self._rows_a_round

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
    def _chosen_seeds(self) -> list[Instruction]:
        seeds = read_instructions(self.recipe.seeds.source)
        limit = self.recipe.seeds.limit
        if limit is not None and limit < len(seeds):
            seeds = [seeds[i * len(seeds) // limit] for i in range(limit)]
        return seeds

    @property
    def _rows_a_round(self) -> int:
        seeds = len(self._chosen_seeds)
        return min(seeds, self.recipe.rounds.rows_per_round or seeds)

    @cached_property
    def _problems(self) -> Sequence[Any]:
        from evolcoder.loop.benchmark_texts import problem_texts

        return problem_texts(self.screened_against)

    def _write_seeds(self, path: Path) -> None:
        """Write the seeds, and beside them those left out, each with its reason."""
        clean, copies = self._chosen_seeds, []
        if self._problems:
            from evolcoder.evolve.decontamination import ContaminationIndex

            index = ContaminationIndex(self._problems)
            index.learn(clean)
            found = [(seed, index.hits(seed)) for seed in clean]
            clean = [seed for seed, hits in found if not hits]
            copies = [
                {
                    **row_from_instruction(seed),
                    "reason": "contaminated",
                    "detail": f"copies {hits[0].task_id}",
                }
                for seed, hits in found
                if hits
            ]
        if not clean:
            raise DataError(f"{self.recipe.seeds.source}: every seed copies a benchmark problem")
        if copies:
            self.progress.note(f"seeds: {len(copies)} of {len(self._chosen_seeds)} copy a problem, left out")
        write_jsonl_whole(self.run / "seeds-eliminated.jsonl", copies)
        write_json_whole(
            self.run / "seeds.json",
            {
                "asked": len(self._chosen_seeds),
                "kept": len(clean),
                "eliminated": {"contaminated": len(copies)} if copies else {},
                "screened_against": list(self.screened_against),
            },
        )
        write_instructions(path, clean)

    def _evolve(self, before: list[Path], out: Path) -> None:
        from evolcoder.evolve.merging import merged_rows

        seeds = read_instructions(self.run / "seeds.jsonl")
        run_async(self._ask_teacher(seeds, before, out))
        write_instructions(out / "dataset.jsonl", merged_rows(seeds, [*before, out]))

    async def _ask_teacher(self, seeds: list[Instruction], before: list[Path], out: Path) -> None:
        from evolcoder.evolve.contamination_report import ContaminationScreen
        from evolcoder.evolve.merging import evolved_rows, pool_after
        from evolcoder.evolve.rounds import duplicate_index, evolve_round
        from evolcoder.evolve.screening_work import sketch_work
        from evolcoder.models.cluster import on_cluster
        from evolcoder.models.journal.journal import Journal

        recipe = self.recipe
        settings = replace(recipe.evolve, seed=recipe.seed)
        limit = recipe.rounds.rows_per_round
        async with AsyncExitStack() as held:
            journal = await held.enter_async_context(Journal(self.journal_path))
            teacher = await held.enter_async_context(opened_teacher(recipe, recipe.teacher, journal))
            held.enter_context(on_cluster(teacher, self.engine))
            screen = None
            if self._problems:
                screen = ContaminationScreen(self._problems, seeds, self.engine)
                held.callback(screen.close)
            sketches = held.enter_context(self.engine.open(sketch_work(settings.near_duplicates is not None)))
            await evolve_round(
                pool_after(seeds, before, limit=limit, seed=recipe.seed),
                teacher,
                settings,
                len(before) + 1,
                out,
                self.progress,
                index=duplicate_index(settings, seeds, chain(*map(evolved_rows, before)), sketches),
                screen=screen,
                total=min(len(seeds), limit or len(seeds)),
                engine=self.engine,
            )
