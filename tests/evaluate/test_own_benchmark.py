"""A user's benchmark file: what forms of tests are run, and what is refused before it judges."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from evolcoder.cli import main
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.overlap import benchmarks_overlap, names_overlap, shared_problems
from evolcoder.evaluate.own_tests import check_own_tests
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import judge_samples
from evolcoder.records import Sample
from evolcoder.sandbox import Sandbox, probe

FILE = """
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.records import Problem
PROMPT = "def f(x):\\n    '''Return twice x.'''\\n"
RIGHT = "    return 2 * x\\n"
TESTS = {tests!r}
def load():
    problems = (Problem(i, "mine", PROMPT, "f", t, RIGHT) for i, t in TESTS.items())
    return AssertionBenchmark("mine", "v1", tuple(problems))
"""
CASE = """    class T(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.two = 2
        def test_it(self):
            for i in (1, self.two):
                with self.subTest(i=i): self.assertEqual(f(i), 2 * i)
""".replace("    class", "class").replace("\n    ", "\n")
FORMS = {
    "assertions": "assert f(2) == 4",
    "human-eval": "def check(candidate):\n    assert candidate(2) == 4\n",
    "human-eval, guarded": "def check(c):\n    assert c(2) == 4\nif __name__ == '__main__':\n    check(f)",
    "human-eval, called": "def check(candidate):\n    assert candidate(2) == 4\ncheck(f)",
    "a helper called check": "def check(a, b):\n    assert a == b\ncheck(f(2), 4)",
    "pytest": "def test_f():\n    assert f(2) == 4\ndef test_more():\n    assert f(3) == 6\n",
    "pytest, given the function": "def test_f(candidate):\n    assert candidate(2) == 4\n",
    "the last of them": "def test_f():\n    assert f(0) in (0, None)\ndef test_g():\n    assert f(2) == 4",
    "unittest": f"import unittest\n{CASE}",
    "unittest, with main": f"import unittest\n{CASE}\nif __name__ == '__main__':\n    unittest.main()\n",
    "unittest, derived": f"from unittest import TestCase\nclass B(TestCase): pass\n{CASE}".replace(
        "unittest.TestCase", "B"
    ),
    "unittest, asynchronous": (
        "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n"
        "    async def test(self):\n        with self.subTest(): self.assertEqual(f(2), 4)\n"
    ),
    "a mixin of unittest": (
        "import unittest\nclass Mixin:\n    def test(self): self.assertEqual(f(2), 4)\n"
        "class T(Mixin, unittest.TestCase): pass\n"
    ),
    "an exception": "try:\n    f()\nexcept TypeError as e:\n    assert 'f' in str(e)\nassert f(2) == 4",
}


WEAK = "assert type(f(2)) is int\n"
"""Fails the programs that are tried, and says next to nothing."""


class Shared:
    """An engine whose sandbox is open already."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def open(self, work: object, workers: int | None) -> AbstractContextManager[Sandbox]:
        return nullcontext(self.sandbox)


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    with Sandbox(workers=2) as opened:
        yield Shared(opened)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))


def written(folder: Path, text: str = "", name: str = "mine.py", **tests: str) -> str:
    path = folder / name
    path.write_text(text or FILE.format(tests=tests))
    return str(path)


def test_every_form_of_tests_is_run(tmp_path: Path, shared: Any) -> None:
    benchmark = load_benchmark(written(tmp_path, **FORMS))
    check_own_tests(benchmark, engine=shared)
    for completion, passes in (("    return 2 * x\n", True), ("    return None\n", False)):
        samples = [Sample(name, 0, completion, completion) for name in FORMS]
        judged = judge_samples(samples, benchmark, sandbox=shared.sandbox)
        assert {j.sample.task_id: (j.verdict.passed, j.verdict.tier) for j in judged} == dict.fromkeys(
            FORMS, (passes, "rpc")
        )


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("", "its tests never read 'f'"),
        ("assert True\n", "its tests never read 'f'"),
        ("def g():\n    return 1\nassert g() == 1\n", "its tests never read 'f'"),
        ("assert f(2) = 4\n", r"its tests are no Python: .*line 1 of them"),
        ("def test_f(tmp_path, capsys):\n    assert f(2) == 4\n", "test_f takes more than the candidate"),
        (f"{WEAK}assert (f(2) == 5, 'text')\n", "assert \\(f\\(2\\) == 5, 'text'\\) is always true"),
        (f"{WEAK}async def test_f():\n    assert f(2) == 4\n", "test_f is asynchronous"),
        (f"{WEAK}def test_f():\n    for i in (1, 2): yield f(i) == 2 * i\n", "test_f is a generator"),
        (
            f"{WEAK}class TestF:\n    def test_a(self): assert f(2) == 4\n",
            "class TestF is no unittest.TestCase",
        ),
    ],
)
def test_tests_that_cannot_test_are_refused_at_load(tmp_path: Path, tests: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.py: line 6: problem A/1: {said}"):
        load_benchmark(written(tmp_path, **{"A/1": tests}))


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("f(2)", "its tests pass a function that returns None"),
        ("assert f(2)", "its tests pass a function whose result says that it equals everything"),
        ("assert f(2) == 5", "its reference solution does not pass: assert f"),
        ("if f is None:\n    assert f(2) == 4\n", "its tests test nothing"),
        ("if not __debug__:\n    assert f(2) == 4\n", "its tests test nothing: .* without a call"),
        ("assert f(2) == 4\nassert type(Node) is type", r".* and program run in one process|its reference"),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def it(self): assert f(2) == 4\n",
            "its tests test",
        ),
        *(
            (f"assert f(1) == 2\n{more}", "its tests would pass if this failed, .*f.2. == 5")
            for more in (
                "def test_a(): assert f(2) == 5\ndel test_a\n",
                "def test_a(): assert f(2) == 5\ndef test_a(): assert f(2) == 4\n",
                "def test_a(): assert f(2) == 5\ntests = [test_a]\n",
                "if f:\n    def test_a(): assert f(2) == 5\n",
                "if __name__ == '__main__':\n    assert f(2) == 5\n",
                "for n in []:\n    assert f(2) == 5\n",
                "try:\n    assert f(2) == 5\nexcept Exception: print('failed')\n",
                "def check_all(n): assert f(2) == 5\n",
            )
        ),
        *(
            (
                f"import unittest\nassert f(1) == 2\nclass T(unittest.TestCase):\n    {more}",
                "its tests would pass if this failed, .*self.assertEqual.f.2., 5",
            )
            for more in (
                "async def test(self): self.assertEqual(f(2), 5)\n",
                "def test(self): yield self.assertEqual(f(2), 5)\n",
                "@unittest.expectedFailure\n    def test(self): self.assertEqual(f(2), 5)\n",
            )
        ),
    ],
)
def test_tests_that_pass_what_is_wrong_are_refused_when_tried(
    tmp_path: Path, shared: Any, tests: str, said: str
) -> None:
    benchmark = load_benchmark(written(tmp_path, **{"A/1": tests}))
    with pytest.raises(UserError, match=rf"mine\.py: line 6: problem A/1: ({said})"):
        check_own_tests(benchmark, engine=shared)


def test_an_assertion_that_a_right_program_must_not_reach_is_no_mistake(tmp_path: Path, shared: Any) -> None:
    tests = """
def helper(found): assert found
def test_f():
    assert f(2) == 4
    try:
        f("a", 1)
        assert False, "no error"
    except TypeError:
        pass
try:
    f(None)
    assert False
except TypeError:
    pass
"""
    check_own_tests(load_benchmark(written(tmp_path, **{"A/1": tests})), engine=shared)


@pytest.mark.parametrize(
    "prompt",
    [
        "def f(x):\n",
        "def f(x):  # twice\n\n",
        "def f(x):\n    # Return twice x.\n",
        "if True:\n    def f(x):\n",
    ],
    ids=["header", "comment behind it", "comment below it", "indented"],
)
def test_a_prompt_without_a_docstring_is_gone_on_with_or_defined_anew(
    tmp_path: Path, shared: Any, prompt: str
) -> None:
    text = FILE.format(tests={"A/1": "assert f(2) == 4"})
    known = next(line for line in text.splitlines() if line.startswith("PROMPT"))
    benchmark = load_benchmark(written(tmp_path, text.replace(known, f"PROMPT = {prompt!r}")))
    (problem,) = benchmark.problems
    assert problem.prompt == prompt
    answers = ("```python\ndef f(x):\n    return 2 * x\n```", "import math\n\ndef f(x):\n    return 2 * x\n")
    samples = [benchmark.sample(problem, 0, answer, "auto") for answer in answers]
    samples.append(Sample("A/1", 0, "", "        return 2 * x\n"))
    judged = judge_samples(samples, benchmark, sandbox=shared.sandbox)
    assert [j.verdict.passed for j in judged] == [True] * 3


def test_a_number_that_may_be_two_problems_is_no_id(tmp_path: Path) -> None:
    benchmark = load_benchmark(written(tmp_path, **{"A/1": "assert f(2) == 4", "B/1": "assert f(2) == 6"}))
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"task_id": 1, "completion": "    return 2 * x"}')
    with pytest.raises(DataError, match="line 1: task id '1' may be A/1 or B/1: write it whole"):
        list(read_samples(samples, benchmark))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def load(:\n", r"mine\.py: line 1: SyntaxError: invalid syntax"),
        ("x = 1\ndef load():\n    return {}['a']\n", r"mine\.py: line 3: KeyError: 'a'"),
        ("import no_such_module\n", r"mine\.py: line 1: ModuleNotFoundError: No module named"),
        ("\nraise SystemExit('no')\n", r"mine\.py: line 2: SystemExit: no"),
        (FILE.format(tests={7: "assert f(2) == 4"}), r"mine\.py: problem 7: task_id: text is expected"),
        (FILE.format(tests={}), r"mine\.py: load\(\) gives no problems"),
        (
            FILE.format(tests={"A/1": "assert f(2) == 4"}).replace("tuple(problems)", "2 * tuple(problems)"),
            r"mine\.py: line 6: problem A/1: two problems have this task_id",
        ),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_benchmark(written(tmp_path, text))


def test_a_mistake_in_a_method_ends_with_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FILE.format(tests={"A/1": "assert f(2) == 4"}) + (
        "class Mine(AssertionBenchmark):\n    def sample_rows(self, path):\n        return path.nothing\n"
    )
    written(tmp_path, text.replace("return AssertionBenchmark(", "return Mine("))
    (tmp_path / "samples.jsonl").write_text(json.dumps({"task_id": "A/1", "completion": "    return 1\n"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evolcoder", "score", "samples.jsonl", "-b", "mine.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "mine.py: line 12: AttributeError: " in error


def test_a_file_is_read_again_when_it_or_what_it_imports_changes(tmp_path: Path) -> None:
    text = FILE.format(tests={}).replace("TESTS = {}", "from given import TESTS")
    (tmp_path / "given.py").write_text("TESTS = {'A/1': 'assert f(2) == 4'}\n")
    name = written(tmp_path, text)
    first = load_benchmark(name)
    assert first.own is not None and load_benchmark(name) is first
    (tmp_path / "given.py").write_text("TESTS = {'A/2': 'assert f(2) == 4'}\n")
    second = load_benchmark(name)
    assert second.own is not None and first.own.hash != second.own.hash
    assert [p.task_id for p in second.problems] == ["A/2"]
    assert not list(tmp_path.glob("**/*.pyc"))
    assert "given" not in sys.modules


def test_a_file_is_looked_at_and_not_judged_by_its_name(tmp_path: Path, benchmark_data: Path) -> None:
    own = written(tmp_path, name="better-than-humaneval.py", **{"B/1": "assert f(2) == 4"})
    assert not names_overlap(own, "humaneval")
    assert not benchmarks_overlap(own, "humaneval+")
    text = FILE.format(tests={"B/1": "assert f(2) == 4"})
    text = text.replace("PROMPT,", "load_benchmark('humaneval').problems[3].prompt,")
    copy = written(tmp_path, "from evolcoder.evaluate.benchmarks import load_benchmark\n" + text)
    humaneval = load_benchmark("humaneval")
    assert shared_problems(humaneval, load_benchmark(copy)) == ("HumanEval/3",)
    assert benchmarks_overlap(copy, "humaneval") and benchmarks_overlap("humaneval", copy)
