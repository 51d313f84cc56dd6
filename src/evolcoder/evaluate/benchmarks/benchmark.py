"""What a benchmark says of itself: its problems, what a model is asked, and how an answer is judged.

All that is known of one benchmark stands in its own file: a module with a function `load`, whether it comes
with this package or is a user's. The class below holds what they have in common; a method is overridden where
a benchmark differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.benchmarks.data_files import DataFile
from evolcoder.evaluate.settings import GREEDY, Decoding, Style
from evolcoder.evaluate.styles import FUNCTION_STOPS, SCRIPT_LINE, Asked, check_style, of_preset, with_tabs
from evolcoder.extraction import HUMANEVAL_CUTS, Extraction, PublishedCuts
from evolcoder.instruction_prompt import conversation_prompt, instruction_prompt
from evolcoder.models.protocol import Message
from evolcoder.own_files import OwnFile
from evolcoder.records import Problem, ProblemText, Sample, Tier, Verdict
from evolcoder.runs import content_hash

if TYPE_CHECKING:
    from evolcoder.sandbox.protocol import Job, Limits, Outcome, Preimport

Tag = TypeVar("Tag")
SampleRows = tuple[Path, Iterator[tuple[int, dict[str, Any]]]]


class JobRunner(Protocol):
    """What judging needs of a sandbox; `evolcoder.sandbox.Sandbox` is one, and so is an engine's pool."""

    def run_many(self, jobs: Iterable[tuple[Tag, Job]], /) -> Iterator[tuple[Tag, Outcome]]:
        """Run jobs as they come; yield each outcome with its job's tag as it ends."""
        ...


@dataclass(frozen=True, slots=True)
class NamedSet:
    """What is known of a benchmark by its name alone, before its data is there."""

    source: str
    """The set that its problems are of, or translate: that of HumanEval+ and of `multipl-e:java` is
    "humaneval"."""
    first: float = 0
    """First and last number of its problems in that set."""
    last: float = float("inf")
    size: int = 0
    """How many problems it has; 0 where that is not known before they are read."""
    hub_dataset: str = ""
    """The data set of the Hugging Face hub that model cards name."""
    dated: bool = False
    """Whether each problem has a date (`extra["date"]`), so that a window of dates may follow the name."""
    licence: str = ""
    """Of its data, as its publisher names it."""
    tier: Tier | Literal[""] = ""
    """How its programs are judged, most of them at least."""
    measure: Literal["pass@k", "accuracy", "points", "win rate"] = "pass@k"
    """What its scores are; only those of programs are pass@k."""
    places: int = 1
    """Decimals that its scores are shown with."""
    files: tuple[DataFile, ...] = ()
    """Where its data is."""
    ready: Callable[[], object] | None = None
    """Raises UserError where this machine lacks what judging needs, with the command that gets it."""

    def overlaps(self, other: NamedSet) -> bool:
        """Whether two benchmarks may share problems."""
        return self.source == other.source and self.first <= other.last and other.first <= self.last


class BenchmarkFile(Protocol):
    """The module of a benchmark of this package. A user's has `load()` alone, for its one benchmark."""

    NAMES: Mapping[str, NamedSet]
    """The names that a user writes for it."""

    def load(self, name: str) -> Benchmark:
        """Return the benchmark of one of these names; raises DataError where its data is missing."""
        ...


PromptForm = Literal["function", "code", "prose"]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark at one version of its data; a subclass has `job`, or `verdict_at_once` for all answers."""

    origin_set: ClassVar[str] = ""
    """The set that its problems are of in whatever benchmark they stand, as in "mbpp"; "" for its own."""
    gaps: ClassVar[Mapping[str, str]] = {}
    """By preset, what stands between the method's introduction and "### Instruction:" in published files."""

    name: str
    """As the user writes it, without a version: "humaneval", "mbpp+"."""
    version: str
    """Version of the test data, "" where the benchmark has only one."""
    problems: tuple[Problem, ...]

    oracles: tuple[str, ...] = ("tests",)
    """Names of the oracles it can be judged by; the first is the default."""
    suites: tuple[str, ...] = ("base",)
    """Test suites that each give a verdict; a sample passes when all do."""
    default_timeout_s: float = 3.0
    default_memory_bytes: int = 2 << 30
    decoding: Decoding = GREEDY
    """How a model is sampled where the user does not say."""
    prompt_form: PromptForm = "function"
    """What a problem's prompt is: the beginning of the function asked for, which an answer may continue;
    code that stands before the program; or words, which are no part of it."""
    cuts: PublishedCuts = HUMANEVAL_CUTS
    """How the published post-processing ends its programs."""
    own_extraction: bool = False
    """Whether a rule of its own finds what is judged in any text, whatever extraction is named."""
    own: OwnFile | None = None
    """The user's file that it comes from; None for one of this package."""

    @property
    def title(self) -> str:
        """Name and version, as scores show them."""
        return f"{self.name} {self.version}".strip()

    @property
    def highlighted(self) -> str | None:
        """The language that what is judged is shown in, as a fence names it; None where answers are words."""
        return "python"

    @property
    def own_identity(self) -> str:
        """What changes where a user's file, what it imports or its data does; "" for one of this package."""
        return "" if self.own is None else content_hash(self.own.hash, self.title, repr(self.problems))

    @cached_property
    def by_task(self) -> dict[str, Problem]:
        """The problems by task id."""
        return {problem.task_id: problem for problem in self.problems}

    @cached_property
    def families(self) -> dict[str, str]:
        """The family of each problem that has one, by task id; problems without kin are not in it."""
        named = {task_id: self.family(problem) for task_id, problem in self.by_task.items()}
        return {task_id: family for task_id, family in named.items() if family != task_id}

    @cached_property
    def _bodies(self) -> dict[str, str]:
        """A body for each prompt that ends with the first line of a block: what defines it anew is none."""
        ends = re.compile(r"^([ \t]*)[^#\s].*:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*\Z", re.MULTILINE)
        found = {problem.task_id: ends.search(problem.prompt) for problem in self.problems}
        return {task_id: f"{match[1]}    ...\n" for task_id, match in found.items() if match}

    @cached_property
    def _by_number(self) -> dict[int, list[Problem]]:
        found: dict[int, list[Problem]] = {}
        for problem in self.problems:
            digits = re.findall(r"\d+", problem.task_id.rpartition("/")[2])
            if digits:
                found.setdefault(int(digits[0]), []).append(problem)
        return found

    def find(self, task_id: str | int) -> Problem | None:
        """Return the problem of a task id as files spell it: "HumanEval/53", "HumanEval_53_add", "53" or 53.

        Raises ValueError where several problems may be meant.
        """
        text = str(task_id)
        if text in self.by_task:
            return self.by_task[text]
        match = re.fullmatch(r"\s*(?:([A-Za-z]+)[/_-])?(\d{1,9})(?:_(\w+))?\s*", text)
        if match is None:
            return None
        named = match[1] and match[1].lower()
        fit = [
            problem
            for problem in self._by_number.get(int(match[2]), [])
            if (named is None or re.split("[/_]", problem.task_id)[0].lower() == named)
            and match[3] in (None, problem.entry_point)
        ]
        if len(fit) > 1:
            named = " or ".join(problem.task_id for problem in fit[:4])
            raise ValueError(f"task id {text!r} may be {named}: write it whole")
        return fit[0] if fit else None

    def checked_oracle(self, oracle: str | None) -> str:
        """Return the oracle's name, the default for None; raises UserError for one this benchmark has not."""
        if oracle is None:
            return self.oracles[0]
        if oracle not in self.oracles:
            known = ", ".join(self.oracles)
            raise UserError(
                f"oracle {oracle!r} cannot judge {self.name}: one of {known} is expected"
                f"{nearest(oracle, self.oracles)}"
            )
        return oracle

    # -- what a model is asked ------------------------------------------------------------------------------

    def ask(self, problem: Problem, style: Style, preset: str = "published") -> Asked:
        """Return prompt and stop strings for a problem; raises UserError for an unknown style or preset."""
        check_style(style)
        if style == "wizardcoder":
            gap = of_preset(preset, self.gaps) if self.gaps else "\n\n"
            return Asked(instruction_prompt(with_tabs(self.instruction(problem)), gap=gap))
        if style == "chat":
            return Asked((Message("user", self.question(problem)),))
        if style in ("wizardlm-7b", "wizardlm-13b"):
            return Asked(conversation_prompt(style, (self.question(problem),), ()))
        return self.continued(problem, preset)

    def instruction(self, problem: Problem) -> str:
        """Return the instruction of the style `wizardcoder`: the problem's own where it brings one."""
        own = problem.extra.get("instruction")
        return SCRIPT_LINE + problem.prompt if own is None else str(own)

    def question(self, problem: Problem) -> str:
        """Return what a chat model is asked: the problem's own instruction where it brings one."""
        if "instruction" in problem.extra:
            return str(problem.extra["instruction"])
        if self.prompt_form == "prose":
            return f"{problem.prompt}\n\nAnswer with one Python code block."
        return (
            "Complete this Python function. Answer with the whole function, imports included, "
            f"in one Python code block.\n\n```python\n{problem.prompt.strip()}\n```"
        )

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Return what a base model continues, and where it stops."""
        # A prompt that ends in a newline splits the token that base models put before the first statement.
        return Asked(problem.prompt.rstrip(), FUNCTION_STOPS)

    # -- from an answer to a program ------------------------------------------------------------------------

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return what is judged of a model's answer; `how` names the extraction of its program."""
        from evolcoder.extraction.code_blocks import extract

        prompt = problem.prompt if self.prompt_form == "function" else ""
        program = extract(raw, how, entry_point=problem.entry_point, prompt=prompt, cuts=self.cuts)
        return Sample(problem.task_id, index, raw, program)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the whole program that is judged."""
        if sample.whole or self.prompt_form == "prose":
            return sample.program
        begins_anew = re.match(r"(?:[ \t]*\n)*\S", sample.program)
        body = self._bodies.get(problem.task_id, "") if begins_anew else ""
        return problem.prompt + body + sample.program

    def vote(self, problem: Problem, sample: Sample) -> str | None:
        """Return what a sample votes for, "" for nothing; None where answers cannot be counted."""
        return None

    def sample_rows(self, path: Path) -> list[SampleRows] | None:
        """Return (file, its numbered rows) where files are of this benchmark's own form; None otherwise.

        Rows have the fields of `sample_files`. Raises DataError for a file that cannot be read.
        """
        return None

    def sample_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row of any sample file with the usual fields in place of this benchmark's own names."""
        return row

    def own_verdicts(self, path: Path) -> dict[str, list[bool]]:
        """Return the verdicts that published sample files carry, by task id; {} where there are none."""
        return {}

    def check_ready(self) -> None:
        """Raise UserError where this machine lacks something that judging needs (a compiler, say)."""
        return

    def further_settings(self) -> dict[str, str]:
        """Return what else names a score of this benchmark, by name (a compiler's version, say)."""
        return {}

    # -- what else is known of its problems -----------------------------------------------------------------

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the names of the parts of the benchmark that get a score of their own and hold a problem."""
        return ()

    def family(self, problem: Problem) -> str:
        """Return what names all forms of the same problem; they are one cluster of an interval."""
        return problem.task_id

    def origin(self, problem: Problem) -> str:
        """Return what names a problem in whatever benchmark it stands, as in "mbpp 17"; "" for its own."""
        return f"{self.origin_set} {problem.task_id.rpartition('/')[2]}" if self.origin_set else ""

    def texts(self) -> list[ProblemText]:
        """Return what training data must not copy: its problems, as decontamination compares them."""
        return [
            ProblemText(
                p.benchmark if self.origin_set else self.name, p.task_id, self.text(p), p.canonical_solution
            )
            for p in self.problems
        ]

    def text(self, problem: Problem) -> str:
        """Return what a problem says, in words and examples."""
        return problem.prompt if self.prompt_form == "function" else f"{problem.prompt}\n{problem.tests}"

    # -- judging --------------------------------------------------------------------------------------------

    def mistake_in(self, problem: Problem) -> str:
        """Return what is wrong with a problem, as far as reading it tells; "" where nothing is."""
        return ""

    def prepare(self, task_ids: Iterable[str], sandbox: JobRunner, suites: Sequence[str] = ()) -> None:
        """Make what judging these problems by these suites (none: all) needs, before the first job."""
        return

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Return the content hash of all that decides a verdict besides program and limits."""
        problem_parts = [problem.prompt, problem.entry_point, problem.tests, problem.canonical_solution]
        return content_hash(self.title, oracle, suite, problem.task_id, problem_parts, repr(problem.extra))

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Return the verdict of what needs no run: here, of a program that Python does not compile."""
        from evolcoder.extraction.grammar import compiled_python

        compiled = compiled_python(program)
        return Verdict(False, "syntax error", compiled[:500]) if isinstance(compiled, str) else None

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the job that judges a whole program on one suite."""
        raise NotImplementedError(f"{type(self).__name__} has neither job nor a verdict at once")

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Return the verdict that a job's outcome means: here, the sandbox's own."""
        return outcome.verdict


_WORTH_A_LOOK = ("numpy", "pandas", "scipy", "sklearn")
_PANDAS = re.compile(r"\b(?:import|from)\s+pandas\b")
_NUMPY = re.compile(r"\b(?:import|from)\s+(?:numpy|scipy|sklearn)\b")


def preimport_for(program: str) -> Preimport:
    """Return the fork server that a program wants: one that has imported what it imports."""
    if not any(name in program for name in _WORTH_A_LOOK):
        return "plain"
    if _PANDAS.search(program):
        return "scientific"
    return "numpy" if _NUMPY.search(program) else "plain"
