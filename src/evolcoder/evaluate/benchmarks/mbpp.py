"""MBPP: 974 problems (Austin et al. 2021, arXiv 2108.07732), each judged by its three assertions.

`mbpp` is the test split (ids 11-510); `mbpp:train` (601-974), `mbpp:validation` (511-600), `mbpp:prompt`
(1-10), `mbpp:all`; `mbpp-400` is train and validation together, the development set of the WizardCoder paper
(464 problems in the published file; the paper rounds); `mbpp:sanitized` the 427 hand-checked ones and
`mbpp:sanitized-test` those of them in the test split.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, replace
from typing import Any

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.styles import SCRIPT_LINE, Asked
from evolcoder.extraction import PublishedCuts
from evolcoder.records import Problem, ProblemText

_PUBLISHED = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/"
DATA = DataFile(
    "mbpp/mbpp.jsonl.gz",
    "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    _PUBLISHED + "mbpp.jsonl",
)
SANITIZED_DATA = DataFile(
    "mbpp/sanitized-mbpp.json.gz",
    "8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769",
    _PUBLISHED + "sanitized-mbpp.json",
)
_HUB = "google-research-datasets/mbpp"
_SET = NamedSet("mbpp", hub_dataset=_HUB, licence="CC-BY-4.0", tier="rpc", files=(DATA,))
_SANITIZED = replace(_SET, files=(SANITIZED_DATA,))
NAMES = {
    "mbpp": replace(_SET, first=11, last=510, size=500),
    "mbpp-400": replace(_SET, first=511, last=974, size=464),
    "mbpp:train": replace(_SET, first=601, last=974, size=374),
    "mbpp:validation": replace(_SET, first=511, last=600, size=90),
    "mbpp:prompt": replace(_SET, first=1, last=10, size=10),
    "mbpp:all": replace(_SET, first=1, last=974, size=974),
    "mbpp:test": replace(_SET, first=11, last=510, size=500),
    "mbpp:sanitized": replace(_SANITIZED, first=1, last=974, size=427),
    "mbpp:sanitized-test": replace(_SANITIZED, first=11, last=510, size=257),
}
GAPS = dict.fromkeys(("published", "script", "33b"), "\n\n")
STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```", "\n#")
"""Where a continued answer ends."""

CUTS = PublishedCuts(("# Test examples",), closing="\n```", keeps_returns=True)
"""Those of `process_mbpp.py`."""


@dataclass(frozen=True)
class Mbpp(AssertionBenchmark):
    """A split of MBPP."""

    origin_set = "mbpp"
    gaps = GAPS
    prompt_form: PromptForm = "prose"
    cuts: PublishedCuts = CUTS

    def instruction(self, problem: Problem) -> str:
        """Return the instruction of the published script: the text and the tests."""
        return f"{SCRIPT_LINE}\n{problem.prompt}\nTest examples:\n" + "\n".join(_examples(problem))

    def question(self, problem: Problem) -> str:
        """Ask a chat model for code that passes the tests."""
        return question_with_tests(problem.prompt, "\n".join(_examples(problem)))

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model go on after the text and the tests."""
        return continued_docstring(problem.prompt, "\n".join(_examples(problem)))

    def texts(self) -> list[ProblemText]:
        """Return the problems of the split; with the test split those of WizardCoder's development set."""
        further = load("mbpp-400").texts() if self.name == "mbpp" else []
        return [*super().texts(), *further]


def load(name: str) -> Benchmark:
    """Return a split of MBPP by its name."""
    rows = rows_of(SANITIZED_DATA, "mbpp:sanitized") if "sanitized" in name else rows_of(DATA, "mbpp")
    named = NAMES[name]
    return Mbpp(name, "", tuple(_problem(row) for row in rows if named.first <= row["task_id"] <= named.last))


def question_with_tests(text: str, tests: str) -> str:
    """Return what a chat model is asked about a task in words with its tests."""
    return (
        f"{text}\n\nAnswer with one Python code block. The code should pass these tests:\n\n"
        f"```python\n{tests}\n```"
    )


def continued_docstring(text: str, tests: str) -> Asked:
    """Return what a base model continues: text and tests as a docstring."""
    return Asked(f'"""\n{text}\n{tests}\n"""', STOPS)


def _examples(problem: Problem) -> list[str]:
    if problem.task_id == "MBPP/493":
        # Its tests are too long; the published script shows the call alone.
        return ["calculate_polygons(startx, starty, endx, endy, radius)"]
    return list(problem.extra["test_list"])


def _problem(row: dict[str, Any]) -> Problem:
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports", ()))
    tests = "\n".join([*filter(None, [setup]), *row["test_list"]]).replace("\r\n", "\n")
    return Problem(
        task_id=f"MBPP/{row['task_id']}",
        benchmark="mbpp",
        prompt=row.get("text") or row["prompt"],
        entry_point=_function_called(row["test_list"][0]),
        tests=tests,
        canonical_solution=row["code"].replace("\r\n", "\n"),
        extra={
            "test_list": list(row["test_list"]),
            "test_setup_code": setup,
            "challenge_test_list": list(row.get("challenge_test_list", ())),
        },
    )


def _function_called(assertion: str) -> str:
    """Return the function an assertion tests: called by its bare name, no builtin if it can be."""
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(assertion))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    own = [name for name in calls if name not in dir(builtins)]
    return (own or calls)[0]
