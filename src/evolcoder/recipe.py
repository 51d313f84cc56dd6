"""The recipe: one YAML file that says a whole run, checked as a whole before anything starts.

Its sections are the stages' own settings, so a setting is written once, with the stage that uses it. The
loop sits above; the stages never see a recipe.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from evolcoder.domains import DEFAULT_DOMAIN, load_domain
from evolcoder.errors import RecipeError, UserError, check_above_zero, check_least, nearest, shortened
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.overlap import folder_clash, names_overlap
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.instructions import SHIPPED_SEEDS
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.session import ModelChoice
from evolcoder.own_files import is_own
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.row_forms import checked_columns
from evolcoder.shipped_recipes import RUN, recipe_file
from evolcoder.train.settings import TrainSettings

CODE = "code"
"""As a source of seeds, or as a benchmark: made of the recipe's own `code`."""
STOP_RULES = ("decline", "paper-v1", "patience", "significant", "budget", "max_rounds")
_SCORELESS = ("max_rounds", "budget")  # rules that look at no score


@dataclass(frozen=True, slots=True)
class SeedSource:
    """Which seed instructions a run starts from."""

    source: str = SHIPPED_SEEDS
    """"shipped", "shipped:math", "shipped:general", a data file, a Hugging Face data set name, or "code":
    made of the recipe's `code`."""
    limit: int | None = None
    """Take this many, evenly spaced over the file; all where absent. Of code, so many snippets are shown."""
    columns: dict[str, str] = field(default_factory=dict)
    """How the file names what, e.g. instruction: task; for names not known."""

    def __post_init__(self) -> None:
        checked_columns(self.columns)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The model that is fine-tuned."""

    model: str = "embedded"
    """"embedded", a folder, a GGUF file, or a Hugging Face name."""
    released: date | None = None
    """The day it was published (2024-11-12). The run then says which dated benchmarks have older problems,
    which the model may have seen."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How many rounds, and how much of each."""

    max_rounds: int = 4
    """Stop after this many rounds at the latest (the paper went to 4)."""
    rows_per_round: int | None = None
    """Evolve this many instructions a round; the whole pool where absent."""
    train_seeds: bool | None = None
    """Fine-tune on the seeds alone first, as the paper does, and compare round 1 with that model. Where
    absent, true for the stopping rule "paper-v1"; a run keeps what it began with."""

    def __post_init__(self) -> None:
        check_least(self, 1, "max_rounds", "rows_per_round")


@dataclass(frozen=True, slots=True)
class StopRule:
    """When the rounds end, and which one is kept."""

    rule: str = "decline"
    """"decline": after the first round below the best before it (WizardCoder 3.2); "paper-v1": the same on
    HumanEval, the test, as the paper's first version did; "patience": after `patience` rounds without a new
    best; "significant": after a decline that an exact paired test confirms; "budget": when the next round
    does not fit the budget; "max_rounds": never early; or a Python file whose `load()` returns a rule.
    `rounds.max_rounds` and the budget bound them all."""
    benchmark: str = "mbpp-400"
    """The benchmark whose pass@1 decides: MBPP's train and validation problems in the paper's v2; "code": the
    functions of the recipe's `code` that are held out of its seeds."""
    patience: int = 2
    """For "patience": rounds without a new best after which the rounds end."""
    alpha: float = 0.05
    """For "significant": a decline with a p value up to this one ends the rounds."""
    select_on_test: bool = False
    """Allow a deciding benchmark that shares problems with a reported one; the report then says so."""
    keep: Literal["best", "last"] = "best"
    """"best": the round with the highest score, the earliest of equals; "last": the last one, so that no
    score chooses and a reported benchmark may stand in `benchmark` (rules "max_rounds" and "budget" only)."""

    def __post_init__(self) -> None:
        if self.rule not in STOP_RULES and not is_own(self.rule):
            known = f"{', '.join(STOP_RULES)} or a file.py is expected"
            raise ValueError(f"rule {self.rule!r}{nearest(self.rule, STOP_RULES)}: {known}")
        if self.rule == "paper-v1":
            object.__setattr__(self, "benchmark", "humaneval")
            object.__setattr__(self, "select_on_test", True)
        if self.keep == "last" and self.rule not in _SCORELESS:
            raise ValueError(f"keep: last goes with {' or '.join(_SCORELESS)}: {self.rule} looks at scores")
        check_least(self, 1, "patience")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, found {self.alpha}")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend. The rounds end before the one that would not fit; one that does not come to its
    end within the budget does not count, and the same command with a higher limit goes on with it."""

    max_usd: float | None = None
    """Most money for model requests, in US dollars."""
    max_requests: int | None = None
    """Most requests sent."""
    max_hours: float | None = None
    """Most time of all stages together, in hours."""

    def __post_init__(self) -> None:
        check_above_zero(self, "max_usd", "max_requests", "max_hours")

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.max_usd, self.max_requests, self.max_hours))


@dataclass(frozen=True, slots=True)
class Decontamination:
    """What the training data must not copy."""

    against: tuple[str, ...] | None = None
    """Benchmarks whose copies are dropped from seeds and evolved rows; all that the recipe measures on where
    absent; [] drops none."""


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What each checkpoint, and the base model, is measured on."""

    benchmarks: tuple[str, ...] = ("humaneval",)
    """Benchmarks that are reported, besides the one that decides when to stop."""
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Prompt style, decoding, extraction, limits; for every benchmark alike."""
    local: LocalSettings = field(default_factory=LocalSettings)
    """Batch size and number format of the model under test."""
    judge: JudgeSettings | None = None
    """The model that judges the answers where no program does: wizardlm, mt-bench, files of instructions."""


Section = TypeVar("Section")
ReinforceWhen = Literal["each_round", "last"]


@dataclass(frozen=True, slots=True)
class Reinforcement:
    """Learning from execution after fine-tuning."""

    when: ReinforceWhen = "each_round"
    """"each_round": each round's fine-tuned model learns further before it is measured; "last": the kept
    round's checkpoint does after the rounds have stopped, and is kept in its turn by the same rule."""
    tasks: str = "benchmark:mbpp:train"
    """Instructions with tests: a file, or "benchmark:NAME"; copies of what is measured are left out."""
    held_out: str | None = None
    """Tasks that are only measured."""
    settings: ReinforceSettings = field(default_factory=ReinforceSettings)
    """Method, loss, group size, reward."""


_FOLDER_NAME = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole run."""

    name: str
    """Name of the run and of its folder under runs/."""
    domain: str = DEFAULT_DOMAIN
    """The field that instructions are of: "code", "math", "general", or a user's file. It says what
    `evolve.methods`, `evaluate.benchmarks` and `stop.benchmark` are where they are absent."""
    seed: int = 0
    """Every random choice follows from it."""
    code: str | None = None
    """A code base (a folder, or the address of a git repository) that what is named "code" is made of."""
    seeds: SeedSource = field(default_factory=SeedSource)
    """Seed instructions."""
    teacher: ModelChoice = field(default_factory=ModelChoice)
    """The model that evolves instructions and answers them."""
    base: BaseModel = field(default_factory=BaseModel)
    """The model that is fine-tuned."""
    rounds: Rounds = field(default_factory=Rounds)
    """How many rounds, of what size."""
    evolve: EvolveSettings = field(default_factory=EvolveSettings)
    """Methods, sampling, elimination."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """Fine-tuning."""
    reinforce: Reinforcement | None = None
    """Learning from execution; none where absent."""
    decontaminate: Decontamination = field(default_factory=Decontamination)
    """Copies of benchmark problems in the training data."""
    evaluate: Evaluations = field(default_factory=Evaluations)
    """Benchmarks."""
    stop: StopRule = field(default_factory=StopRule)
    """Stopping rule."""
    budget: Budget = field(default_factory=Budget)
    """Spending limits."""

    def __post_init__(self) -> None:
        if not _FOLDER_NAME.fullmatch(self.name) or len(self.name.encode("utf-8", "replace")) > 200:
            raise ValueError(
                f"name {shortened(self.name)!r}: a name for one folder under runs/ is expected, "
                "without slashes and control characters"
            )
        if self.takes_code and self.code is None:
            raise ValueError('"code" as seeds.source or as a benchmark needs code, a folder or git address')
        if re.match(r"https?://[^/]*@", self.code or ""):
            raise ValueError("code: an address with a user or password would stand in the files of the run")
        domain = load_domain(self.domain)
        if self.takes_code and domain.tasks is not None:
            raise ValueError(f"seeds and benchmarks of code are programs: domain {self.domain} has others")
        if self.stop.rule == "budget" and not self.budget.limited:
            raise ValueError('stop.rule "budget" needs budget.max_usd, max_requests or max_hours')
        domain.answering.check(self.evolve)
        seeds = {"evolve": self.evolve.seed, "train": self.train.seed}
        if self.reinforce is not None:
            seeds["reinforce.settings"] = self.reinforce.settings.seed
            if self.reinforce.settings.prompt_style != self.train.prompt_style:
                raise ValueError("reinforce.settings.prompt_style differs from train.prompt_style")
        if unused := [name for name, seed in seeds.items() if seed]:
            raise ValueError(f"{unused[0]}.seed has no effect in a run's recipe: set seed at the top instead")
        if clash := folder_clash(self.measured):
            raise ValueError(clash)
        if self.evaluate.settings.style != self.train.prompt_style:
            raise ValueError(
                f"evaluate.settings.style {self.evaluate.settings.style} differs from train.prompt_style "
                f"{self.train.prompt_style}: rounds would be compared through a prompt that they were not "
                "trained with; set both alike"
            )
        shared = [name for name in self.evaluate.benchmarks if names_overlap(self.stop.benchmark, name)]
        if shared and self.stop.keep == "best" and not self.stop.select_on_test:
            raise ValueError(
                f"stop.benchmark {self.stop.benchmark} chooses the round and shares problems with "
                f"{', '.join(shared)} of evaluate.benchmarks, whose score would be no test score: choose on "
                "another one (the default is mbpp-400), or allow it with stop.select_on_test: true"
            )

    @property
    def measured(self) -> tuple[str, ...]:
        """The benchmarks that every checkpoint is measured on, the one that decides included, each once."""
        return tuple(dict.fromkeys([*self.evaluate.benchmarks, self.stop.benchmark]))

    def reinforces(self, when: ReinforceWhen) -> Reinforcement | None:
        """Return how models learn from execution at that point of the loop; None where they do not."""
        return self.reinforce if self.reinforce is not None and self.reinforce.when == when else None

    @property
    def takes_code(self) -> bool:
        """Whether seeds or a benchmark are still to be made of the code base."""
        return self.seeds.source == CODE or CODE in self.measured


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe: a file, or a shipped one's name, with `overrides` "section.key=YAML".

    Raises RecipeError that names the file and every bad key, what was found and what is expected.
    """
    import yaml

    path = recipe_file(path, RUN)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a mapping of sections is expected, found {type(data).__name__}")
    data.setdefault("name", path.stem)
    try:
        return recipe_from_data(with_overrides(data, overrides), where=str(path))
    except RecipeError:
        return recipe_from_data(with_overrides(data, overrides), _at_fault(data, overrides, str(path)))


def _at_fault(data: Mapping[str, Any], overrides: Sequence[str], file: str) -> str:
    """Return what a refused recipe's fault is in: its file, or keys of `--set` (a value may be a secret)."""

    def refusal(given: Sequence[str]) -> str:
        try:
            recipe_from_data(with_overrides(data, given), file)
        except RecipeError as error:
            return str(error)
        return ""

    found, of_file = refusal(overrides), refusal(())
    causes = [pair for pair in overrides if refusal([other for other in overrides if other != pair]) != found]
    named = [f"--set {pair.partition('=')[0]}" for pair in causes or ([] if of_file else overrides)]
    return ", ".join([file, *named] if of_file else named)


def recipe_from_data(data: Mapping[str, Any], where: str) -> Recipe:
    """Check plain data (as YAML gives it) and return the recipe; `where` opens every message."""
    return section_from_data(Recipe, _with_domain(data, where), where)


def _with_domain(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return data with what its domain says where it is silent itself."""
    name = data.get("domain", DEFAULT_DOMAIN)
    if not isinstance(name, str):
        return dict(data)  # the check of the whole says so
    try:
        domain = load_domain(name)
    except UserError as error:
        raise RecipeError(f"{where}: {error}") from error
    said: dict[str, dict[str, Any]] = {
        "evolve": {"methods": domain.methods_name},
        "evaluate": {"benchmarks": list(domain.benchmarks)},
        "stop": {"benchmark": domain.stop_benchmark},
    }
    if data.get("reinforce") is not None and domain.tasks is not None and domain.tasks.source:
        said["reinforce"] = {"tasks": domain.tasks.source}
    merged = dict(data)
    for section, values in said.items():
        if isinstance(given := data.get(section, {}), Mapping):
            merged[section] = {**values, **given}
    return merged


_EXPECTED = {"dataclass_type": "a mapping of keys is expected", "tuple_type": "a list, [a, b], is expected"}
"""What pydantic tells in terms of Python's types."""


def section_from_data(section: type[Section], data: Mapping[str, Any], where: str) -> Section:
    """Return checked data as a settings dataclass; raises RecipeError from `where` on, of every bad key."""
    from pydantic import ValidationError

    if problems := _unknown_keys(data, section, ""):
        raise RecipeError(f"{where}: " + "; ".join(problems))
    try:
        kind: Any = section
        checked: Section = _adapter(kind).validate_python(data)
        return checked
    except ValidationError as error:
        found = []
        for item in error.errors(include_url=False):
            said = _EXPECTED.get(item["type"], item["msg"]).removeprefix("Value error, ")
            # A check over a whole section says itself what it found.
            given = "" if isinstance(item["input"], Mapping) else f", found {shortened(repr(item['input']))}"
            found.append(": ".join(filter(None, [".".join(map(str, item["loc"])), said])) + given)
        raise RecipeError(f"{where}: " + "; ".join(found)) from error


def with_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return data with each "section.key=value" put in; raises RecipeError for another form."""
    import yaml

    merged = copy.deepcopy(dict(data))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {override}: section.key=value is expected")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            why = " ".join(str(error).split())
            raise RecipeError(f"--set {override}: the value is not YAML ({why})") from error
        inner, (*sections, key) = merged, path.split(".")
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {override}: {section} is not a section")
        inner[key] = value
    return merged


def recipe_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe, every default written out, as YAML."""
    import yaml

    return yaml.safe_dump(plain_data(recipe), sort_keys=False, allow_unicode=True)


def plain_data(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as JSON-clean data (tuples become lists)."""
    data = _clean(dataclasses.asdict(settings))
    assert isinstance(data, dict)
    return data


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, each key with its one-line description."""
    schema: dict[str, Any] = _adapter(Recipe).json_schema()
    for name, cls in _sections().items():
        part = schema if name == Recipe.__name__ else schema.get("$defs", {}).get(name)
        if part is None:
            continue
        part["additionalProperties"] = False
        for key, text in field_descriptions(cls).items():
            if key in part.get("properties", {}):
                part["properties"][key]["description"] = text
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


@functools.cache
def field_descriptions(cls: type) -> dict[str, str]:
    """Return the docstring that follows each field of a settings dataclass, as one line."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    parent = cls.__mro__[1]
    described = dict(field_descriptions(parent)) if dataclasses.is_dataclass(parent) else {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            described[statement.target.id] = " ".join(after.value.value.split())
    return described


@functools.cache
def _adapter(section: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(section)


def _sections() -> dict[str, type]:
    """Return every dataclass a recipe is made of, by name."""
    found: dict[str, type] = {}
    waiting: list[type] = [Recipe]
    while waiting:
        cls = waiting.pop()
        found[cls.__name__] = cls
        waiting += [part for kind in _field_types(cls).values() for part in _dataclasses_in(kind)]
    return found


def _dataclasses_in(kind: Any) -> list[type]:
    """Return the dataclasses that a type is made of, such as the values of a mapping."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [kind]
    return [part for arg in typing.get_args(kind) for part in _dataclasses_in(arg)]


def _unknown_keys(data: Mapping[str, Any], cls: type, prefix: str) -> list[str]:
    """Return a message for each key of `data` that the section `cls`, or one within it, does not have."""
    kinds = _field_types(cls)
    problems = []
    for key, value in data.items():
        if key not in kinds:
            section = f"of {prefix.rstrip('.')} " if prefix else ""
            known = f"the keys {section}are {', '.join(kinds)}"
            problems.append(f"{prefix}{key}: unknown key{nearest(str(key), kinds)}; {known}")
        elif isinstance(value, Mapping) and (part := next(iter(_dataclasses_in(kinds[key])), None)):
            parts = {f"{key}.{name}": inner for name, inner in value.items()}
            if typing.get_origin(kinds[key]) is not dict:
                parts = {key: value}
            for name, inner in parts.items():
                if isinstance(inner, Mapping):
                    problems += _unknown_keys(inner, part, f"{prefix}{name}.")
    return problems


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, (Path, date)):
        return str(value)
    return value
