"""CRUXEval: 800 short functions, each with an input and its output (Gu et al. 2024, arXiv 2401.03065).

`cruxeval:output` asks what the function returns, `cruxeval:input` for an input that makes it return the
output; `cruxeval:output-cot` and `cruxeval:input-cot` ask to think step by step first. Prompts, stops and the
rule that finds the answer are the published ones, for every model: a style says what stands around a prompt.

An answer is one Python expression and is evaluated in the sandbox, apart from the value that it is compared
with and from the function. Three published quirks are mended: an `==` within a string does not cut an answer
in two, `or` cannot make an answer true, and a predicted output may not call the function at all.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm, SampleRows
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.settings import Decoding, Style
from evolcoder.evaluate.styles import Asked, check_style
from evolcoder.extraction import Extraction
from evolcoder.extraction.code_blocks import without_thinking
from evolcoder.extraction.grammar import parse_python
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.protocol import Message
from evolcoder.records import Problem, ProblemText, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import CallJob, InProcessJob, Job, Limits

DATA = DataFile(
    "cruxeval/cruxeval.jsonl.gz",
    "8368b81047dc5014e4caf5a2f97604eff7644e0ecd7415e3ceeb184bbc2e0c96",
    "https://raw.githubusercontent.com/facebookresearch/cruxeval/main/data/cruxeval.jsonl",
)
_SET = NamedSet(
    "cruxeval", 0, 799, 800, hub_dataset="cruxeval-org/cruxeval", licence="MIT", tier="rpc", files=(DATA,)
)
NAMES = {f"cruxeval:{asked}{how}": _SET for asked in ("output", "input") for how in ("", "-cot")}
_STOPS = ("[/ANSWER]",)
_DIRECT = Decoding(n=10, temperature=0.2, top_p=0.95, max_tokens=100)
"""Of the published pass@1; the scripts give an answer 100 tokens, one with its reasoning 1000."""
_ASSERTED = "assert 0 == "
"""What the published check puts before a prediction."""
_FORMAT = 2
"""Raised when the meaning of a verdict changes."""

PROMPTS = {
    "cruxeval:output": """You are given a Python function and an assertion containing an input to the \
function. Complete the assertion with a literal (no unsimplified expressions, no function calls) containing \
the output when executing the provided code on the given input, even if the function is incorrect or \
incomplete. Do NOT output any extra information. Provide the full assertion with the correct output in \
[ANSWER] and [/ANSWER] tags, following the examples.

[PYTHON]
def f(n):
    return n
assert f(17) == ??
[/PYTHON]
[ANSWER]
assert f(17) == 17
[/ANSWER]

[PYTHON]
def f(s):
    return s + "a"
assert f("x9j") == ??
[/PYTHON]
[ANSWER]
assert f("x9j") == "x9ja"
[/ANSWER]
""",
    "cruxeval:output-cot": """You are given a Python function and an assertion containing an input to the \
function. Complete the assertion with a literal (no unsimplified expressions, no function calls) containing \
the output when executing the provided code on the given input, even if the function is incorrect or \
incomplete. Do NOT output any extra information. Execute the program step by step before arriving at an \
answer, and provide the full assertion with the correct output in [ANSWER] and [/ANSWER] tags, following the \
examples.

[PYTHON]
def f(s):
    s = s + s
    return "b" + s + "a"
assert f("hi") == ??
[/PYTHON]
[THOUGHT]
Let's execute the code step by step:

1. The function f is defined, which takes a single argument s.
2. The function is called with the argument "hi", so within the function, s is initially "hi".
3. Inside the function, s is concatenated with itself, so s becomes "hihi".
4. The function then returns a new string that starts with "b", followed by the value of s (which is now \
"hihi"), and ends with "a".
5. The return value of the function is therefore "bhihia".
[/THOUGHT]
[ANSWER]
assert f("hi") == "bhihia"
[/ANSWER]
""",
    "cruxeval:input": """You will be given a function f and an output in the form f(??) == output. Find any \
input such that executing f on the input leads to the given output. There may be multiple answers, but you \
should only output one. In [ANSWER] and [/ANSWER] tags, complete the assertion with one such input that will \
produce the output when executing the function.

[PYTHON]
def f(my_list):
    count = 0
    for i in my_list:
        if len(i) % 2 == 0:
            count += 1
    return count
assert f(??) == 3
[/PYTHON]
[ANSWER]
assert f(["mq", "px", "zy"]) == 3
[/ANSWER]

[PYTHON]
def f(s1, s2):
    return s1 + s2
assert f(??) == "banana"
[/PYTHON]
[ANSWER]
assert f("ba", "nana") == "banana"
[/ANSWER]
""",
    "cruxeval:input-cot": """You will be given a function f and an output in the form f(??) == output. Your \
task is to find any input such that executing f on the input leads to the given output. There may be \
multiple answers, but only output one. First, think step by step. You MUST surround the answer with [ANSWER] \
and [/ANSWER] tags. Express your answer as a passing assertion containing the input and the given output.

[PYTHON]
def f(x):
    return x + 1
assert f(??) == 17
[/PYTHON]
[THOUGHT]
To find an input such that executing f on the input leads to the given output, we can work backwards from \
the given assertion. We know that f(??) == 17.\x20

Since the function f(x) returns x + 1, for f(??) to be equal to 17, the value of ?? should be 16.\x20
[/THOUGHT]
[ANSWER]
assert f(16) == 17
[/ANSWER]
""",
}


@dataclass(frozen=True)
class CruxEval(Benchmark):
    """CRUXEval with one of its two questions, with or without reasoning."""

    origin_set = "cruxeval"
    oracles: tuple[str, ...] = ("cruxeval",)
    decoding: Decoding = _DIRECT
    prompt_form: PromptForm = "prose"
    own_extraction: bool = True

    @property
    def asks_output(self) -> bool:
        """Whether the output is asked for, not an input."""
        return self.name.startswith("cruxeval:output")

    def ask(self, problem: Problem, style: Style, preset: str = "published") -> Asked:
        """Return the published prompt: continued, as a chat message, or within the training prompt."""
        check_style(style)
        text = self.text(problem)
        if style == "chat":
            return Asked((Message("user", text),), _STOPS)
        return Asked(instruction_prompt(text) if style == "wizardcoder" else text, _STOPS)

    def text(self, problem: Problem) -> str:
        """Return the published prompt with the problem in it."""
        given = problem.extra["input"] if self.asks_output else "??"
        wanted = "??" if self.asks_output else problem.extra["output"]
        code = f"[PYTHON]\n{problem.prompt}\nassert f({given}) == {wanted}\n[/PYTHON]"
        return f"{PROMPTS[self.name]}\n{code}\n[{'THOUGHT' if self.name.endswith('-cot') else 'ANSWER'}]\n"

    def texts(self) -> list[ProblemText]:
        """Return function, input and output, under one name whatever is asked."""
        texts = ((p, f"{p.prompt}\nassert {p.tests}") for p in self.problems)
        return [ProblemText("cruxeval", p.task_id, text, p.prompt) for p, text in texts]

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the predicted expression by the published rule, which leaves a bare one as it is."""
        return Sample(problem.task_id, index, raw, self._predicted(without_thinking(raw)), whole=True)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the predicted expression."""
        return sample.program.strip()

    def sample_rows(self, path: Path) -> list[SampleRows] | None:
        """Read the authors' files too: one JSON object, from task id to its predictions."""
        if path.suffix != ".json":
            return None
        try:
            rows = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as JSON ({error})") from error
        is_own = isinstance(rows, dict) and any(task in self.by_task for task in rows)
        if not is_own:
            return None
        named = ({"task_id": task_id, "completion": said} for task_id, said in rows.items())
        return [(path, enumerate(named, 1))]

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """Hash the question and its answer; verdicts do not depend on the reasoning."""
        return content_hash(_FORMAT, oracle, self.asks_output, problem.prompt, problem.tests)

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Fail an answer that is not one expression, or that calls the function instead of predicting."""
        found = _expression(program)
        if found is None:
            return Verdict(False, "syntax error", "one expression is expected", tier="text")
        if self.asks_output and _reads_f(found):
            return Verdict(False, "failed", "the predicted output calls the function", tier="text")
        if not self.asks_output and not (
            isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and found.func.id == "f"
        ):
            return Verdict(False, "failed", "a call of the function is expected", tier="text")
        return None

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return a job that evaluates the prediction in one process and compares it in another.

        The function itself runs beside the comparison, on the arguments as plain data, and is in no process
        that evaluates an output: a prediction can neither change the function nor find it under another name.
        Where the problem's own input holds a function (two do), all run together.
        """
        found = _expression(program)
        assert found is not None, "verdict_at_once comes first"
        # As it is written: `ast.unparse` fails on a long sum, and braces let an expression go over lines.
        source = ast.get_source_segment(f"{_ASSERTED}{program}", found) or ""
        wanted = problem.extra["output"]
        if self.asks_output:
            defined, value, checked = "", source, f"assert {wanted} == predicted()\n"
        elif _holds_a_function(problem.extra["input"]):
            return InProcessJob(f"{problem.prompt}\n\nassert {wanted} == (\n{source}\n)\n", limits)
        else:
            defined, value = f"{problem.prompt}\n\n{_GIVEN}", source.replace("f", "given", 1)
            compared = f"listed, named = predicted()\nassert {wanted} == f(*listed, **named)\n"
            checked = f"{problem.prompt}\n\n{compared}"
        return CallJob(
            program=f"{defined}\n\ndef predicted():\n    return (\n{value}\n)\n",
            entry_point="predicted",
            tests=checked,
            limits=limits,
            trusted_tests=True,
        )

    def _predicted(self, text: str) -> str:
        _, tag, tagged = text.partition("[ANSWER]")
        if tag:
            text = tagged
        elif self.name.endswith("-cot"):
            text = text.strip().rpartition("\n")[2]
        text = text.partition("[/ANSWER]")[0].strip()
        # The published rule splits at every "=="; an assertion that Python reads is taken by its parts.
        tree = parse_python(text)
        if tree and len(tree.body) == 1 and isinstance(said := tree.body[0], ast.Assert):
            compared = said.test
            if isinstance(compared, ast.Compare) and isinstance(compared.ops[0], ast.Eq):
                part = compared.comparators[0] if self.asks_output else compared.left
                return ast.get_source_segment(text, part) or ""
        if self.asks_output:
            return text.split("==")[1].strip() if "==" in text else text
        text = text.split("==")[0].strip()
        return text.split("assert")[1].strip() if "assert" in text else text


def load(name: str) -> Benchmark:
    """Return CRUXEval with the question that its name says; raises DataError where its data is missing."""
    output = name.startswith("cruxeval:output")
    problems = tuple(_problem(row, output) for row in rows_of(DATA, "cruxeval"))
    decoding = replace(_DIRECT, max_tokens=1000) if name.endswith("-cot") else _DIRECT
    return CruxEval(name, "", problems, decoding=decoding)


def _problem(row: dict[str, str], output: bool) -> Problem:
    call = f"f({row['input']})"
    return Problem(
        task_id=row["id"],
        benchmark="cruxeval",
        prompt=row["code"],
        entry_point="f",
        tests=f"{call} == {row['output']}",
        canonical_solution=row["output"] if output else call,
        extra={"input": row["input"], "output": row["output"]},
    )


def _expression(predicted: str) -> ast.expr | None:
    """Return the expression as the published check reads it, after `assert X == `; None where it is none."""
    tree = parse_python(f"{_ASSERTED}{predicted}")
    if tree is None or len(tree.body) != 1 or not isinstance(said := tree.body[0], ast.Assert):
        return None
    compared = said.test
    if not isinstance(compared, ast.Compare) or len(compared.ops) != 1:
        return None
    return compared.comparators[0]


_GIVEN = "def given(*listed, **named):\n    return listed, named\n"
"""In the place of the function: what it is called with."""


@lru_cache(maxsize=1024)
def _holds_a_function(arguments: str) -> bool:
    return any(isinstance(node, ast.Lambda) for node in ast.walk(ast.parse(f"f({arguments})")))


def _reads_f(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "f" for part in ast.walk(node))
