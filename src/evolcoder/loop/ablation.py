"""Ablations, as the paper's tables: what each round, each method and each teacher is worth.

Every arm is a training set; its model is trained and measured as the recipe says, once or with several seeds.
One training does not tell the arm from the run: the scores of several do. All arms live in the run's folder
and share its work: rounds that the run has evolved, models it has trained and replies in its journal are not
made again, and arms whose rows are the same are one training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.overlap import evaluation_folder
from evolcoder.execution.event_loop import run_async
from evolcoder.instructions import instruction_from_row, write_instructions
from evolcoder.loop.ablation_arms import Arm, ArmResult, Count, Equal, Question, arm_scores, made_equal
from evolcoder.loop.model_stages import evaluation_stage, fine_tune, measure, model_identity, training_stage
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.loop.run import as_begun, check_before_start, locked
from evolcoder.loop.stages import Stage, Stages
from evolcoder.loop.steps import Steps
from evolcoder.models.opening import is_remote
from evolcoder.progress import Progress
from evolcoder.recipe import Recipe, recipe_yaml
from evolcoder.records import SEEDS_ROUND, Instruction
from evolcoder.runs import content_hash, file_hash, read_jsonl, write_json_whole, write_text_whole

FOLDER = "ablation"
_EQUAL = {"samples": "samples", "tokens": "tokens", "supervised": "tokens of answers"}


def ablate(recipe: Recipe, run: Path, question: Question, progress: Progress, command: str) -> dict[str, Any]:
    """Do what is not done yet of an ablation in the folder `run`; return what `ablation.json` holds.

    Raises UserError for a method or a teacher that is not there, and what a run raises.
    """
    _check(recipe, question)
    check_before_start(recipe)
    recipe = as_begun(recipe, run)
    run.mkdir(parents=True, exist_ok=True)
    with locked(run):
        stages = Stages(run, progress)
        if not (run / "recipe.yaml").exists():
            write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
        work = _Work(recipe, RecipeStages(recipe, run), stages, question)
        try:
            groups = list(work.groups())
            stages.announce(title for group in groups for arm in group for title in work.titles(arm))
            results = [row for group in groups for row in work.results(group)]
        finally:
            stages.end()
        found: dict[str, Any] = {"name": recipe.name, "command": command, "base": recipe.base.model}
        found |= {"benchmarks": list(recipe.measured), "trainings": question.seeds}
        found["arms"] = [asdict(row) for row in results]
        write_json_whole(run / FOLDER / "ablation.json", found)

        from evolcoder.report.ablation_page import write_ablation

        write_ablation(run / FOLDER)
        return found


def _check(recipe: Recipe, question: Question) -> None:
    if recipe.takes_code:
        raise UserError("an ablation needs seeds and benchmarks that are files: make those of `code` first")
    if recipe.reinforces("each_round"):
        raise UserError(
            "an ablation compares fine-tuned models: take `reinforce` out of its recipe or set `when: last`"
        )
    known = [method.name for method in _methods(recipe)]
    for name in question.methods:
        if name not in known:
            raise UserError(
                f"method {name!r} is not in the recipe{nearest(name, known)}: {', '.join(known)} are"
            )
    if "methods" in question.over and len(known) < 2:
        raise UserError(f"the recipe has one method only ({known[0]}): none can be left out")
    if "teachers" in question.over and not question.teachers:
        raise UserError("--over teachers needs at least one --teacher MODEL besides the recipe's own")
    if ("files" in question.over) != bool(question.files):
        raise UserError("--over files and --arm NAME=FILE go together: what each arm is trained on")
    if question.files and set(question.over) != {"files"}:
        raise UserError("--over files evolves nothing: it is not combined with another --over")
    if len(names := [name for name, _ in question.files]) != len(set(map(_slug, names))):
        raise UserError(f"--arm: two arms have the same name among {', '.join(names)}")
    if ("steps" in question.over) != bool(question.steps):
        raise UserError(
            "--over steps and --steps N,N,... go together: how many steps each round is trained for"
        )


def _methods(recipe: Recipe) -> Sequence[Any]:
    return recipe.evolve.method_set().methods


@dataclass(frozen=True)
class _Work:
    recipe: Recipe
    plan: RecipeStages
    stages: Stages
    question: Question

    @property
    def last(self) -> int:
        """The last round that arms reach: where the run stopped, else as far as the recipe goes."""
        if self.question.over == ("seeds-only",):
            return 1
        if self.question.files:
            return 0
        path = self.plan.run / "result.json"
        if path.exists():
            rounds = [entry["round"] for entry in json.loads(path.read_text())["rounds"]]
            return max([1, *map(int, rounds)])
        return self.recipe.rounds.max_rounds

    def groups(self) -> Iterator[list[Arm]]:
        """Yield the arms that are compared with each other."""
        question = self.question
        alone_or: Equal = "nothing" if question.equal == ("nothing",) else "samples"
        for equal in question.equal if {"rounds", "alone"} & set(question.over) else ():
            yield list(self._rounds_alone(equal))
        if {"rounds", "merged"} & set(question.over):
            yield list(self._rounds_merged("rounds merged"))
        if "seeds-only" in question.over:
            yield list(self._seeds_only())
        if "steps" in question.over:
            yield [
                replace(arm, name=f"{arm.name}, {steps} steps", data=arm.name, steps=steps, reference=first)
                for arm in self._rounds_merged("rounds and steps")
                for steps in question.steps
                for first in [arm.reference and steps == question.steps[0]]
            ]
        if "methods" in question.over:
            yield list(self._methods_left_out(alone_or))
        if "teachers" in question.over:
            yield list(self._teachers(alone_or))
        for equal in question.equal if question.files else ():
            yield list(self._of_files(equal))

    def titles(self, arm: Arm) -> Iterator[str]:
        """Yield the titles of an arm's stages."""
        yield from (stage.title for plan in arm.plans for stage in self._evolution(plan))
        number = self._round_of_the_run(arm)
        if number is not None:
            yield from (self.plan.train(number).title for _ in arm.files)
            yield from (stage.title for stage in self.plan.evaluations(number))
        for nth in range(0 if number is None else 1, self._trainings(arm)):
            title = self._title(arm, nth)
            yield f"train {title}"
            yield from (f"evaluate {title} on {name}" for name in self.recipe.measured)

    def _trainings(self, arm: Arm) -> int:
        return self.question.seeds if arm.files else 1

    def _title(self, arm: Arm, nth: int) -> str:
        return f"{arm.group}: {arm.name}" + (f", seed {self.recipe.seed + nth}" if nth else "")

    def _rounds_alone(self, equal: Equal) -> Iterator[Arm]:
        group = _group("rounds alone", equal)
        yield Arm(group, "round 0 (seeds)", (self.plan.seeds_file,), equal, (self.plan,), reference=True)
        for number in range(1, self.last + 1):
            rows = (self.plan.folder(number) / "evolved.jsonl",)
            yield Arm(group, f"round {number}", rows, equal, (self.plan,))

    def _rounds_merged(self, group: str) -> Iterator[Arm]:
        yield Arm(group, "seeds", (self.plan.seeds_file,), "nothing", (self.plan,), reference=True)
        for number in range(1, self.last + 1):
            name = f"seeds and rounds 1 to {number}" if number > 1 else "seeds and round 1"
            yield Arm(group, name, (self.plan.dataset(number),), "nothing", (self.plan,))

    def _seeds_only(self) -> Iterator[Arm]:
        """Fine-tuning on the seeds alone is what the first round is compared with, not the base model."""
        seeds, first, *_ = self._rounds_merged("seeds only")
        yield from (seeds, replace(seeds, name="base model", files=(), reference=False), first)

    def _methods_left_out(self, equal: Equal) -> Iterator[Arm]:
        group = _group("methods left out", equal)
        yield self._all_rounds_of(self.plan, group, "all methods", equal)
        for method in self.question.methods or [method.name for method in _methods(self.recipe)]:
            weights = {**self.recipe.evolve.weights, method: 0.0}
            other = replace(self.recipe, evolve=replace(self.recipe.evolve, weights=weights))
            plan = self._beside(other, f"without-{_slug(method)}")
            yield self._all_rounds_of(plan, group, f"without {method}", equal)

    def _teachers(self, equal: Equal) -> Iterator[Arm]:
        group = _group("teachers", equal)
        teacher = self.recipe.teacher
        yield self._all_rounds_of(self.plan, group, teacher.model, equal)
        for model in self.question.teachers:
            url = teacher.base_url if is_remote(model) else None
            other = replace(self.recipe, teacher=replace(teacher, model=model, base_url=url))
            plan = self._beside(other, f"teacher-{_slug(model)}")
            yield self._all_rounds_of(plan, group, model, equal)

    def _all_rounds_of(self, plan: RecipeStages, group: str, name: str, equal: Equal) -> Arm:
        """Return the arm of a recipe's last data set; the run's own is what the others are compared with."""
        return Arm(group, name, (plan.dataset(self.last),), equal, (plan,), reference=plan is self.plan)

    def _of_files(self, equal: Equal) -> Iterator[Arm]:
        """Each file is read and screened as seeds are; what is learnt from it is compared with the first."""
        group = _group("files", equal)
        parts = {file: self._of_file(file) for _, files in self.question.files for file in files}
        for at, (name, files) in enumerate(self.question.files):
            plans = tuple(parts[file] for file in files)
            yield Arm(group, name, tuple(part.seeds_file for part in plans), equal, plans, reference=not at)
            if not at:
                yield Arm(group, "base model", (), equal, (), reference=False)

    def _of_file(self, file: str) -> RecipeStages:
        other = replace(self.recipe, seeds=replace(self.recipe.seeds, source=file))
        return self._beside(other, f"file-{_slug(Path(file).name)}-{content_hash(file)[:6]}")

    def _beside(self, recipe: Recipe, name: str) -> RecipeStages:
        """Return the stages of a recipe that differs, in a folder of its own with the run's journal."""
        folder = self.plan.run / FOLDER / "evolved" / name
        return RecipeStages(recipe, folder, self.plan.journal_path, suffix=f", {name.replace('-', ' ', 1)}")

    def _evolution(self, plan: RecipeStages) -> Iterator[Stage]:
        """Yield the stages that evolve all rounds of a recipe."""
        yield plan.seeds()
        yield from map(plan.evolve, range(1, self.last + 1))

    def _evolve(self, plan: RecipeStages) -> None:
        if plan is not self.plan:
            plan.run.mkdir(parents=True, exist_ok=True)
        steps = self._steps(plan)
        if plan.seeds().id not in steps.stages.met:
            steps.take_seeds()
        for number in range(1, self.last + 1):
            if plan.evolve(number).id not in steps.stages.met:
                steps.evolve_and_merge(number)

    def _steps(self, plan: RecipeStages) -> Steps:
        stages = self.stages if plan is self.plan else replace(self.stages, run=plan.run, met=[])
        return Steps(plan, stages, self.stages.progress)

    def _round_of_the_run(self, arm: Arm) -> int | None:
        """Return the round whose training set an arm is, where it is one of the run's own as it stands."""
        if not arm.files:
            return 0
        path = arm.files[0]
        as_in_the_run = arm.equal == "nothing" and arm.steps in (None, self.recipe.train.max_steps)
        if as_in_the_run and path == self.plan.seeds_file and self.recipe.rounds.train_seeds:
            return SEEDS_ROUND
        if as_in_the_run and arm.plans == (self.plan,) and path.name == "dataset.jsonl":
            return int(path.parent.name.removeprefix("round-"))
        return None

    def results(self, arms: Sequence[Arm]) -> list[ArmResult]:
        """Train and measure the arms of one group and compare each with the reference."""
        for plan in (plan for arm in arms for plan in arm.plans):
            self._evolve(plan)
        sets = self._made_equal(arms)
        found = [
            [self._measured(arm, rows, nth) for nth in range(self._trainings(arm))]
            for arm, rows in zip(arms, sets, strict=True)
        ]
        reference = next(at for at, arm in enumerate(arms) if arm.reference)
        by_benchmark = [
            arm_scores([[training[benchmark] for training in arm] for arm in found], reference, benchmark)
            for benchmark in self.recipe.measured
        ]
        tokens = [sum(map(self._counting(arm.equal), rows)) for arm, rows in zip(arms, sets, strict=True)]
        of_arms = zip(arms, sets, tokens, zip(*by_benchmark, strict=True), strict=True)
        return [
            ArmResult(arm.group, arm.name, len(rows), n_tokens, scores, arm.data, arm.steps)
            for arm, rows, n_tokens, scores in of_arms
        ]

    def _made_equal(self, arms: Sequence[Arm]) -> list[list[Instruction]]:
        """Return each arm's rows, made equally large; none for the base model."""
        trained = [_rows(arm) for arm in arms if arm.files]
        sets = iter(made_equal(trained, arms[0].equal, self._counting(arms[0].equal), self.recipe.seed))
        return [next(sets) if arm.files else [] for arm in arms]

    def _counting(self, equal: Equal) -> Count:
        """Return the function that counts a row's tokens, or where these are made equal its answer's."""

        def tokens(row: Instruction) -> int:
            whole = f"{row.instruction}\n{row.input}\n{row.response}"
            return self._length(row.response if equal == "supervised" else whole)

        return tokens

    def _measured(self, arm: Arm, rows: Sequence[Instruction], nth: int) -> dict[str, Any]:
        """Train on the rows and measure, unless rows like these were; return `scores.json` by benchmark.

        The first training has the recipe's seed, the nth one that seed and n more.
        """
        if nth == 0 and (number := self._round_of_the_run(arm)) is not None:
            return self._of_the_run(number)
        recipe = replace(self.recipe, seed=self.recipe.seed + nth)
        folder = self.plan.run / FOLDER / "arms"
        waiting = folder / "rows.jsonl"
        write_instructions(waiting, rows)
        name = file_hash(waiting)[:12]
        if arm.steps not in (None, recipe.train.max_steps):
            recipe = replace(recipe, train=replace(recipe.train, max_steps=arm.steps))
            name += f"-{arm.steps}-steps"
        arm_folder = folder / (name + (f"-seed-{recipe.seed}" if nth else ""))
        arm_folder.mkdir(exist_ok=True)
        data = waiting.replace(arm_folder / "dataset.jsonl")
        title = self._title(arm, nth)
        training = training_stage(
            recipe,
            f"ablation:{arm_folder.name}:train",
            f"train {title}",
            data,
            arm_folder / "checkpoint",
            base_identity=lambda: self.plan.identity(self.recipe.base.model),
            after=(),
            rows=len(rows),
        )
        with self.stages.doing(training) as undone:
            if undone:
                fine_tune(recipe, data, arm_folder / "checkpoint", self.stages.progress)
        return {benchmark: self._measure(arm_folder, title, benchmark) for benchmark in self.recipe.measured}

    def _measure(self, folder: Path, title: str, benchmark: str) -> Any:
        model, out = str(folder / "checkpoint"), folder / "evaluation" / evaluation_folder(benchmark)
        evaluation = evaluation_stage(
            self.recipe,
            f"ablation:{folder.name}:evaluate:{benchmark}",
            f"evaluate {title} on {benchmark}",
            benchmark,
            out,
            identity=lambda: model_identity(model),
            after=(),
        )
        with self.stages.doing(evaluation) as undone:
            if undone:
                how = (out, self.plan.journal_path, self.stages.progress)
                run_async(measure(self.recipe, model, benchmark, *how))
        return _scores(out)

    def _of_the_run(self, number: int) -> dict[str, Any]:
        steps = self._steps(self.plan)
        if number:
            steps.fine_tune(number)
        steps.measure(number)
        return {b: _scores(self.plan.evaluation(number, b)) for b in self.recipe.measured}

    @cached_property
    def _length(self) -> Callable[[str], int]:
        from evolcoder.models.local.weights import load_tokenizer

        tokenizer: Any = load_tokenizer(self.recipe.base.model)

        @cache
        def length(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False).input_ids)

        return length


def _group(name: str, equal: Equal) -> str:
    return name if equal == "nothing" else f"{name}, equal {_EQUAL[equal]}"


def _rows(arm: Arm) -> list[Instruction]:
    rows = [instruction_from_row(row) for path in arm.files for _, row in read_jsonl(path)]
    if arm.files and not rows:
        raise UserError(f"{arm.group}: {arm.name} has no rows")
    return rows


def _scores(folder: Path) -> Any:
    return json.loads((folder / "scores.json").read_text())


def _slug(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "+.-" else "-" for sign in name)
