"""The steps of a run: take the seeds, evolve and merge, fine-tune, measure. Each is done once.

`recipe_stages.py` says what each step is made from, and so whether it is done; planning asks the same list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolcoder.domains import load_domain
from evolcoder.errors import BudgetExhaustedError, DataError
from evolcoder.evaluate.benchmarks import problem_texts
from evolcoder.execution.engine import Engine
from evolcoder.execution.event_loop import run_async
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions, row_from_instruction, write_instructions
from evolcoder.loop.model_stages import fine_tune, measure
from evolcoder.loop.recipe_stages import RecipeStages, round_id
from evolcoder.loop.stages import Stages
from evolcoder.loop.stopping import RoundCost, RoundScore
from evolcoder.models.session import model_session
from evolcoder.progress import Progress
from evolcoder.recipe import Recipe, Reinforcement
from evolcoder.records import REINFORCED_ROUND, Instruction
from evolcoder.runs import write_json_whole, write_jsonl_whole


@dataclass(frozen=True)
class Steps:
    """Does the steps of a recipe in the folder of its stages."""

    plan: RecipeStages
    """The stages of the steps: what each is made from, and where its products lie."""
    stages: Stages
    """Remembers what is done."""
    progress: Progress
    engine: Engine = THIS_MACHINE
    """Where programs are judged, rows compared and a local model's answers written."""
    max_hours: float | None = None
    """No step begins once its stages have taken so long."""

    @property
    def recipe(self) -> Recipe:
        """The recipe that is followed."""
        return self.plan.recipe

    def take_seeds(self) -> None:
        """Copy the seeds in use into the run folder, without those that copy a benchmark problem."""
        with self.stages.doing(self.plan.seeds()) as undone:
            if undone:
                _write_seeds(self.plan, self.progress)

    def evolve_and_merge(self, number: int) -> None:
        """Evolve one round; merge the seeds and all rounds so far into its training set.

        Raises BudgetExhaustedError where the time or the teacher's budget is over, and what evolution raises.
        """
        self._check_time()
        with self.stages.doing(self.plan.evolve(number)) as undone:
            if undone:
                seeds = read_instructions(self.plan.seeds_file)
                run_async(self._evolve(seeds, number))

    def fine_tune(self, number: int) -> None:
        """Fine-tune the base model on a round's training set; raises BudgetExhaustedError as above.

        Where the recipe says so, the fine-tuned model then learns from the verdicts on its own answers.
        """
        self._check_time()
        with self.stages.doing(self.plan.train(number)) as undone:
            if undone:
                fine_tune(self.recipe, self.plan.dataset(number), self.plan.fine_tuned(number), self.progress)
        if how := self.recipe.reinforces("each_round"):
            self._learn_from_execution(number, how)

    def reinforce_kept(self, kept: int, how: Reinforcement) -> None:
        """Let the model of the round `kept` learn from the verdicts on its answers; raises as above."""
        self._check_time()
        write_json_whole(self.plan.kept_before_file, {"started_from": kept})
        self._learn_from_execution(REINFORCED_ROUND, how)

    def measure(self, number: int) -> RoundScore:
        """Measure a round's checkpoint (0: the base model) on every benchmark; return the deciding score.

        Raises BudgetExhaustedError where the time is over.
        """
        if number:
            self._check_time()
        for benchmark in self.recipe.measured:
            out = self.plan.evaluation(number, benchmark)
            with self.stages.doing(self.plan.evaluate(number, benchmark)) as undone:
                if undone:
                    how = (out, self.plan.journal_path, self.progress, self.engine)
                    run_async(measure(self.recipe, self.plan.checkpoint(number), benchmark, *how))
        return self._score(number)

    def _learn_from_execution(self, number: int, how: Reinforcement) -> None:
        """Let a model learn from the verdicts on its own answers."""
        from evolcoder.reinforce.run import reinforce
        from evolcoder.reinforce.tasks import read_tasks

        self._check_time()
        domain = load_domain(self.recipe.domain)
        with self.stages.doing(self.plan.reinforce(number, how)) as undone:
            if undone:
                reinforce(
                    self.plan.learner(number),
                    read_tasks(how.tasks, forms=domain.tasks, progress=self.progress),
                    replace(how.settings, seed=self.recipe.seed),
                    Path(self.plan.checkpoint(number)),
                    held_out=read_tasks(how.held_out, forms=domain.tasks) if how.held_out else (),
                    decontaminate=self.plan.screened_against,
                    compared=domain.answering.compared,
                    progress=self.progress,
                    engine=self.engine,
                )

    async def _evolve(self, seeds: list[Instruction], number: int) -> None:
        from evolcoder.evolve.merging import merged_rows
        from evolcoder.evolve.rounds import evolve_rounds
        from evolcoder.evolve.row_files import write_when_there_is_room

        recipe, budget = self.recipe, self.recipe.budget
        limits: dict[str, Any] = {"max_usd": budget.max_usd, "max_requests": budget.max_requests}
        settings = replace(recipe.evolve, seed=recipe.seed)
        async with model_session(recipe.teacher, self.plan.journal_path, self.engine, **limits) as teacher:
            await evolve_rounds(
                *(seeds, teacher, settings, range(number, number + 1), self.plan.run, self.progress),
                limit=recipe.rounds.rows_per_round,
                problems=problem_texts(self.plan.screened_against),
                engine=self.engine,
                answering=load_domain(recipe.domain).answering,
            )
        dataset, folders = self.plan.dataset(number), [self.plan.folder(n) for n in range(1, number + 1)]
        await write_when_there_is_room(
            dataset, lambda: write_instructions(dataset, merged_rows(seeds, folders))
        )

    def _score(self, number: int) -> RoundScore:
        rows, cost = self.plan.rows_of(number), self._cost(number)
        deciding = self.recipe.stop.benchmark
        if self.stages.lacks(self.plan.evaluate(number, deciding)):
            return RoundScore(number, None, None, None, rows, 0, cost=cost)
        scores = json.loads((self.plan.evaluation(number, deciding) / "scores.json").read_text())
        score = next(score for score in scores["scores"] if score["k"] == 1)
        value, low, high = score["value"], score["low"], score["high"]
        passed, families = scores["problems"], scores.get("families", {})
        return RoundScore(number, value, low, high, rows, score["n_problems"], passed, cost, families)

    def _cost(self, number: int) -> RoundCost:
        """Return what a round took: the teacher's part as its summary says, time as the markers say."""
        suffix = f":{round_id(number)}"
        ids = [id_ for id_ in self.stages.met if id_.endswith(suffix) or f"{suffix}:" in id_]
        ids += ["seeds"] if number == 0 else []
        path = self.plan.folder(number) / "summary.json"
        summary = json.loads(path.read_text()) if path.exists() else {}
        usd, requests = float(summary.get("usd") or 0.0), int(summary.get("requests") or 0)
        return RoundCost(usd, requests, sum(map(self.stages.seconds_of, ids)))

    def _check_time(self) -> None:
        limit = self.max_hours
        spent = sum(map(self.stages.seconds_of, self.stages.met)) / 3600
        if limit is not None and spent >= limit:
            raise BudgetExhaustedError(
                f"{spent:.2f} hours of stages, the limit (max_hours) is {limit:g}; everything finished is "
                "kept: the same command with a higher limit continues"
            )


def _write_seeds(plan: RecipeStages, progress: Progress) -> None:
    """Write the seeds, and beside them those left out, each with its reason."""
    from evolcoder.evolve.decontamination import ContaminationIndex

    seeds, against = plan.chosen_seeds, plan.screened_against
    clean, copies = seeds, []
    if problems := problem_texts(against):
        compared = load_domain(plan.recipe.domain).answering.compared
        index = ContaminationIndex(problems, compared=compared)
        index.learn(clean)
        found = [(seed, index.hits(seed)) for seed in clean]
        clean = [seed for seed, hits in found if not hits]
        copies = [
            {**row_from_instruction(seed), "reason": "contaminated", "detail": f"copies {hits[0].task_id}"}
            for seed, hits in found
            if hits
        ]
    if not clean:
        raise DataError(f"{plan.recipe.seeds.source}: every seed copies a benchmark problem")
    if copies:
        progress.note(f"seeds: {len(copies)} of {len(seeds)} copy a problem, left out")
    write_jsonl_whole(plan.run / "seeds-eliminated.jsonl", copies)
    told = {"asked": len(seeds), "kept": len(clean), "screened_against": list(against)}
    told["eliminated"] = {"contaminated": len(copies)} if copies else {}
    write_json_whole(plan.run / "seeds.json", told)
    write_instructions(plan.seeds_file, clean)
