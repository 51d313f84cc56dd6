"""HumanEval+ and MBPP+ (Liu et al. 2023, arXiv 2305.01210), judged as EvalPlus does.

The candidate's process gets a function name and inputs, and gives values back (tier "batch"); expected values
and the comparison are in another process. A score names the version of the test data and the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from evolcoder.cache import cache_folder
from evolcoder.evaluate.benchmarks import humaneval, mbpp
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, JobRunner, NamedSet, PromptForm, preimport_for
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.described_values import WRAPPER_NAME, described_program, rebuilt_call
from evolcoder.evaluate.benchmarks.evalplus_oracles import NOT_NONE, ORACLES, Expectation, ValueComparison
from evolcoder.evaluate.benchmarks.ground_truth import Reference, TruthStore, truth_key
from evolcoder.evaluate.styles import Asked
from evolcoder.extraction import PublishedCuts
from evolcoder.records import Problem, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, Compare, Job, Limits, Outcome

DEFAULT_VERSIONS = {"humaneval+": "v0.1.10", "mbpp+": "v0.2.0"}
_RELEASES = "https://github.com/evalplus/{name}_release/releases/download/{version}/{file}.jsonl.gz"


_SHA256 = {
    "humaneval+@v0.1.10": "42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f",
    "humaneval+@v0.1.9": "50d50fda1ecf4c9168d762456ae29c1d8b8b922e68c66964f7891c98d93a04b7",
    "mbpp+@v0.2.0": "b54e762755248ca411b523c917fa9f93c07b5ff2966bf60b3917b853926a3dad",
    "mbpp+@v0.1.0": "a855b9de667baea8e2f8aa61f898767a7336872208a85222b35622545e819fe9",
}


def _data(name: str, sha256: str) -> DataFile:
    name, _, version = name.partition("@")
    file = "HumanEvalPlus" if name == "humaneval+" else "MbppPlus"
    earlier = "" if version == DEFAULT_VERSIONS[name] else f"{version}-"
    url = _RELEASES.format(name=file.lower(), version=version, file=file)
    return DataFile(f"{file.lower()}/{earlier}{file}.jsonl.gz", sha256, url)


DATA = {name: _data(name, sha256) for name, sha256 in _SHA256.items()}


def _named(name: str) -> NamedSet:
    known = humaneval.NAMES["humaneval"] if name.startswith("humaneval") else mbpp.NAMES["mbpp:all"]
    size = 399 if name.endswith("v0.1.0") else 378 if known.source == "mbpp" else known.size
    return replace(known, size=size, licence="Apache-2.0", tier="batch", files=(DATA[name],))


NAMES = {
    **{name: _named(f"{name}@{version}") for name, version in DEFAULT_VERSIONS.items()},
    **{name: _named(name) for name in DATA},
}
_MBPP_CUTS = PublishedCuts(("assert",))
_REFERENCE_FACTOR = 4.0
"""A test may take this many times the canonical solution's time (EvalPlus)."""
_LONGEST_S = 60.0
"""All tests of a suite together may take this long (EvalPlus), and two seconds for starting."""
_ORACLE_VERSION = 2


def load(name: str) -> Benchmark:
    """Return "humaneval+" or "mbpp+", with "@VERSION" for another than the default version of the tests."""
    name, _, version = name.partition("@")
    version = version or DEFAULT_VERSIONS[name]
    rows = rows_of(DATA[f"{name}@{version}"], f"{name}@{version}")
    problems = tuple(_problem(row, name) for row in rows)
    kind, inputs_of = (HumanEvalPlus, _plain_inputs) if name == "humaneval+" else (MbppPlus, mbpp_plus_inputs)
    inputs = {
        row["task_id"]: {s: tuple(inputs_of(row["task_id"], row[f"{s}_input"])) for s in ("base", "plus")}
        for row in rows
    }
    return kind(name, version, problems, inputs=inputs)


def _comparison(oracle: str, wanted: Expectation, described: bool) -> Compare:
    """Begin to compare the values of a problem's tests, described ones or as they are."""
    compare = ValueComparison(oracle, wanted)
    return (lambda number, value: compare(number, *rebuilt_call(value))) if described else compare


def _problem(row: dict[str, Any], name: str) -> Problem:
    return Problem(
        task_id=row["task_id"],
        benchmark=name,
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        tests=row.get("test") or row.get("assertion") or "",
        canonical_solution=row["canonical_solution"],
        extra={"atol": row["atol"], "contract": row.get("contract", "")},
    )


@dataclass(frozen=True)
class EvalPlusBenchmark(Benchmark):
    """A data set of EvalPlus at one version."""

    oracles: tuple[str, ...] = ORACLES
    suites: tuple[str, ...] = ("base", "plus")
    default_timeout_s: float = 1.0
    default_memory_bytes: int = 4 << 30
    """As in EvalPlus; Mbpp/255 needs more than 2 GiB."""
    inputs: dict[str, dict[str, tuple[tuple[Any, ...], ...]]] = field(default_factory=dict)
    """Argument tuples by task id and suite."""

    @cached_property
    def _store(self) -> TruthStore:
        return TruthStore(cache_folder() / "ground-truth.sqlite")

    def prepare(self, task_ids: Iterable[str], sandbox: JobRunner, suites: Sequence[str] = ()) -> None:
        """Compute the ground truth of these problems unless it is cached."""
        references = [
            self._reference(self.by_task[task_id], suite)
            for task_id in task_ids
            for suite in suites or self.suites
        ]
        self._store.compute(references, sandbox)

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """The title names the inputs (their file is checked by sha256), the reference the expected values."""
        reference = self._reference(problem, suite)
        return content_hash(_ORACLE_VERSION, self.title, problem.task_id, suite, oracle, reference.key)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return a batch job of one suite's inputs; `limits.cpu_s` is the least limit of one test."""
        truth = self._store.get(self._reference(problem, suite).key)
        assert truth is not None, "prepare() comes first"
        inputs, name = self.inputs[problem.task_id][suite], problem.entry_point
        # At once: long strings, or arguments looked at after the call.
        keeps_arguments = oracle == "evalplus-0.2.1" and name == "find_zero"
        described = keeps_arguments or truth.compact
        program = program + "\n"
        if described:
            program = described_program(program, name, keep_arguments=keeps_arguments, compact=truth.compact)
        expected = tuple(v is not None for v in truth.values) if name in NOT_NONE else truth.values
        wanted = Expectation(self.origin_set, name, problem.extra["atol"], inputs, expected)
        make = partial(_comparison, oracle, wanted, described)
        # The least limit is EvalPlus's min_time_limit, here in CPU seconds.
        each = tuple(max(limits.cpu_s, _REFERENCE_FACTOR * seconds) for seconds in truth.seconds)
        total = min(_LONGEST_S, sum(each)) + 2.0
        return BatchJob(
            program=program,
            entry_point=WRAPPER_NAME if described else name,
            inputs=inputs,
            limits=replace(limits, cpu_s=total, wall_s=1.5 * total + 5.0, output_bytes=64 << 20),
            call_cpu_s=each,
            stop_at_first_error=True,
            preimport=preimport_for(program),
            comparison=BatchComparison(self.tests_key(problem, oracle, suite), make),
        )

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """The comparison's result is the oracle's."""
        verdict = outcome.verdict
        if verdict.passed or verdict.reason == "infrastructure":
            return verdict
        number = outcome.compared - (outcome.mismatch is not None)
        if number >= len(self.inputs[problem.task_id][suite]):
            return verdict
        why = outcome.mismatch or verdict.detail or verdict.reason
        return replace(verdict, detail=f"{suite} test {number}: {why}"[:500])

    def _reference(self, problem: Problem, suite: str) -> Reference:
        program = problem.prompt + problem.canonical_solution
        key = truth_key(self.title, problem.task_id, suite, program)
        return Reference(program, problem.entry_point, self.inputs[problem.task_id][suite], key)


@dataclass(frozen=True)
class HumanEvalPlus(EvalPlusBenchmark):
    """HumanEval's problems with further tests."""

    origin_set = "humaneval"
    gaps = humaneval.GAPS


@dataclass(frozen=True)
class MbppPlus(EvalPlusBenchmark):
    """Problems of MBPP with further tests; a prompt is a docstring of the task and one assertion."""

    origin_set = "mbpp"
    gaps = dict.fromkeys(humaneval.GAPS, "\n\n\n")
    prompt_form: PromptForm = "code"
    cuts: PublishedCuts = _MBPP_CUTS

    def instruction(self, problem: Problem) -> str:
        """Return the instruction of the published script."""
        text, assertion = _docstring_parts(problem.prompt)
        text = text if text.endswith(".") else text + "."
        return f"{text} Your code should satisfy the following assertion:\n```python\n{assertion}\n```"

    def question(self, problem: Problem) -> str:
        """Ask a chat model for code that passes the assertion."""
        return mbpp.question_with_tests(*_docstring_parts(problem.prompt))

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model go on after the docstring."""
        return mbpp.continued_docstring(*_docstring_parts(problem.prompt))


def _docstring_parts(prompt: str) -> tuple[str, str]:
    """Split a prompt of MBPP+ into the task and the assertion."""
    inside = prompt.strip().removeprefix('"""').removesuffix('"""').strip()
    text, mark, assertion = inside.partition("\nassert ")
    return text, f"{mark.strip()} {assertion}" if mark else ""


Arguments = list[Any]


def _deep_tuples(value: Any) -> Any:
    return tuple(map(_deep_tuples, value)) if isinstance(value, list) else value


_FORMS: list[tuple[Callable[[Arguments], Any], str]] = [
    # Every argument is a tuple, a list of tuples, a tuple of tuples.
    (
        lambda a: map(tuple, a),
        "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    ),
    (
        lambda a: [[tuple(item) for item in part] for part in a],
        "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    ),
    (lambda a: [tuple(map(tuple, part)) for part in a], "259 401 445"),
    # The first one, or the second.
    (lambda a: [[tuple(item) for item in a[0]], a[1]], "75 413 444 753"),
    (lambda a: [a[0], tuple(a[1])], "106 750"),
    (lambda a: [tuple(a[0]), *a[1:]], "250 307 405 446 617 720 763 808"),
    # A list of sets: an empty one is a dict there, and so it is here.
    (lambda a: [[set(item) if isinstance(item, list) and item else {} for item in a[0]]], "115"),
    (lambda a: [float(a[0]), complex(a[1])], "124"),
    (lambda a: [complex(a[0])], "252"),
    (lambda a: [tuple(tuple(item) if isinstance(item, list) else item for item in a[0])], "278"),
    (lambda a: [{key: tuple(value) for key, value in a[0].items()}, *a[1:]], "722"),
    (_deep_tuples, "580 615 791"),
]
"""What the lists of MBPP+'s JSON mean, which has no tuples, sets and complex numbers; published facts."""
_FORM_OF = {int(number): form for form, numbers in _FORMS for number in numbers.split()}


def _plain_inputs(task_id: str, inputs: Any) -> list[tuple[Any, ...]]:
    return list(map(tuple, inputs))


def mbpp_plus_inputs(task_id: str, inputs: Any) -> list[tuple[Any, ...]]:
    """Return the argument tuples of one problem from its `base_input` or `plus_input` (`{}` means none)."""
    form = _FORM_OF.get(int(task_id.rsplit("/", 1)[-1]), tuple)
    return [tuple(form(arguments)) for arguments in inputs]
