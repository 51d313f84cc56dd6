"""MBPP: 974 problems (Austin et al. 2021, arXiv 2108.07732), each judged by its three assertions.

`mbpp` is the test split (ids 11-510); `mbpp:train` (601-974), `mbpp:validation` (511-600), `mbpp:prompt`
(1-10), `mbpp:all`; `mbpp-400` is train and validation together, the development set of the WizardCoder paper
(464 problems in the published file; the paper rounds); `mbpp:sanitized` the 427 hand-checked ones and
`mbpp:sanitized-test` those of them in the test split.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from typing import Any

from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.evaluate.benchmarks.benchmark import Benchmark
from evolcoder.evaluate.benchmarks.data_files import benchmark_rows
from evolcoder.records import Problem, Sample

SPLITS = {
    "mbpp": range(11, 511),
    "mbpp:test": range(11, 511),
    "mbpp:prompt": range(1, 11),
    "mbpp:validation": range(511, 601),
    "mbpp:train": range(601, 975),
    "mbpp-400": range(511, 975),
    "mbpp:all": range(1, 975),
    "mbpp:sanitized": range(1, 975),
    "mbpp:sanitized-test": range(11, 511),
}


@dataclass(frozen=True)
class _Mbpp(AssertionBenchmark):
    def program(self, problem: Problem, sample: Sample) -> str:
        """An MBPP answer is a whole program: the prompt is prose and no part of it."""
        return sample.program


def load_mbpp(name: str) -> Benchmark:
    """Return a split of MBPP by its name in `SPLITS`."""
    rows = benchmark_rows("mbpp:sanitized" if "sanitized" in name else "mbpp")
    problems = tuple(_problem(row) for row in rows if row["task_id"] in SPLITS[name])
    return _Mbpp(name, "", problems)


def _problem(row: dict[str, Any]) -> Problem:
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports", ()))
    tests = "\n".join([setup, *row["test_list"]]) if setup else "\n".join(row["test_list"])
    tests = tests.replace("\r\n", "\n")
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
