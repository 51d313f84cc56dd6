"""Samples become verdicts: each program once, nothing known again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.benchmark import Tag
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import LONGEST_PROGRAM, ScoringSettings, judge_samples
from evolcoder.evaluate.verdict_cache import VerdictCache
from evolcoder.records import Sample, Verdict
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import Job, Outcome

RIGHT = "    return [x for x in strings if substring in x]\n"
WRONG = "    return []\n"
TASK = "HumanEval/7"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def humaneval() -> Benchmark:
    return load_benchmark("humaneval")


class CountingSandbox:
    """Answers every job with the same verdict and counts them."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.jobs: list[Job] = []
        self.verdict = verdict or Verdict(True, "passed", level="full")

    def run_many(self, jobs: Iterable[tuple[Tag, Job]]) -> Iterator[tuple[Tag, Outcome]]:
        for tag, job in jobs:
            self.jobs.append(job)
            yield tag, Outcome(self.verdict)


def sample(program: str, index: int = 0, task_id: str = TASK) -> Sample:
    return Sample(task_id, index, program, program)


def test_a_right_answer_passes_and_a_wrong_one_does_not(sandbox: Sandbox, humaneval: Benchmark) -> None:
    samples = [
        sample(RIGHT),
        sample(WRONG, 1),
        sample("    return (", 2),
        sample("    while True: pass\n", 3),
    ]
    settings = ScoringSettings(timeout_s=0.5)
    judged = list(judge_samples(samples, humaneval, settings=settings, sandbox=sandbox))
    assert [j.sample for j in judged] == samples
    assert [j.verdict.reason for j in judged] == ["passed", "failed", "syntax error", "timeout"]
    assert [j.verdict.tier for j in judged[:2]] == ["rpc", "rpc"]


def test_every_canonical_solution_passes(sandbox: Sandbox, humaneval: Benchmark) -> None:
    samples = [sample(p.canonical_solution, 0, p.task_id) for p in humaneval.problems]
    verdicts = [j.verdict for j in judge_samples(samples, humaneval, sandbox=sandbox)]
    assert [v.passed for v in verdicts] == [True] * 164


def test_no_function_that_returns_none_passes(sandbox: Sandbox, humaneval: Benchmark) -> None:
    samples = [sample("    return None\n", 0, p.task_id) for p in humaneval.problems]
    assert not any(j.verdict.passed for j in judge_samples(samples, humaneval, sandbox=sandbox))


def test_the_published_wizardcoder_verdicts_are_reproduced_one_by_one(
    sandbox: Sandbox, humaneval: Benchmark, data_folder: Path
) -> None:
    path = data_folder / "wizardcoder" / "15b-humaneval-greedy.jsonl.gz"
    with gzip.open(path, "rt") as f:
        published = {row["task_id"]: row["passed"] for row in map(json.loads, f)}
    samples = list(read_samples(path, humaneval, "wizardcoder"))
    ours = {j.sample.task_id: j.verdict.passed for j in judge_samples(samples, humaneval, sandbox=sandbox)}
    assert ours == published and sum(ours.values()) == 98
    by_grammar = read_samples(path, humaneval, "auto")
    assert sum(j.verdict.passed for j in judge_samples(by_grammar, humaneval, sandbox=sandbox)) >= 98


def test_no_program_chooses_its_tier(sandbox: Sandbox, humaneval: Benchmark) -> None:
    programs = [
        "    return (x for x in strings)\n",
        "    return object()\n",
        "    return strings\nsorted = check = candidate = all = lambda *a: True\nfrom os import *\n",
        "    a = []\n    for _ in range(1000):\n        a = [a]\n    return a\n",
    ]
    judged = judge_samples([sample(p, i) for i, p in enumerate(programs)], humaneval, sandbox=sandbox)
    assert [(j.verdict.passed, j.verdict.tier) for j in judged] == [(False, "rpc")] * len(programs)


ALWAYS_EQUAL = """
class E:
    def __eq__(s, o): return True
    def __ne__(s, o): return False
    def __lt__(s, o): return True
    __le__ = __gt__ = __ge__ = __lt__
    def _s(s, *a): return s
    __abs__ = __sub__ = __rsub__ = __add__ = __radd__ = __mul__ = __rmul__ = __getitem__ = __call__ = _s
    def __float__(s): return 0.0
    def __bool__(s): return True
    def __iter__(s): return iter(())
    def __len__(s): return 0
    __hash__ = None
"""


def test_an_object_equal_to_everything_passes_nothing(sandbox: Sandbox, humaneval: Benchmark) -> None:
    samples = [
        Sample(p.task_id, 0, "", f"{ALWAYS_EQUAL}\ndef {p.entry_point}(*a, **k):\n    return E()\n", True)
        for p in humaneval.problems
    ]
    verdicts = [j.verdict for j in judge_samples(samples, humaneval, sandbox=sandbox)]
    assert [v for v in verdicts if v.passed or v.tier != "rpc"] == []


def test_identical_programs_of_a_problem_run_once_unless_asked_otherwise(humaneval: Benchmark) -> None:
    samples = [sample(RIGHT, i) for i in range(5)] + [sample(WRONG, 5)]
    folding, every = CountingSandbox(), CountingSandbox()
    assert len(list(judge_samples(samples, humaneval, sandbox=folding))) == 6
    list(judge_samples(samples, humaneval, settings=ScoringSettings(fold=False), sandbox=every))
    assert (len(folding.jobs), len(every.jobs)) == (2, 6)


def test_a_program_that_does_not_parse_is_never_run(humaneval: Benchmark) -> None:
    broken = ["    return (", "    x = '\ud800'\n", "    return 1\0\n", "x" * (LONGEST_PROGRAM + 1)]
    counting = CountingSandbox()
    judged = judge_samples([sample(b, i) for i, b in enumerate(broken)], humaneval, sandbox=counting)
    reasons = [j.verdict.reason for j in judged]
    assert reasons == ["syntax error", "syntax error", "syntax error", "unsupported"] and not counting.jobs


def test_an_interrupted_scoring_continues_where_it_stopped(humaneval: Benchmark, tmp_path: Path) -> None:
    samples = [sample(f"    return {n}\n", n) for n in range(20)]

    class Interrupted(CountingSandbox):
        def run_many(self, jobs: Iterable[tuple[Tag, Job]]) -> Iterator[tuple[Tag, Outcome]]:
            for number, pair in enumerate(super().run_many(jobs)):
                if number == 12:
                    raise KeyboardInterrupt
                yield pair

    with VerdictCache(tmp_path / "v.sqlite") as cache, pytest.raises(KeyboardInterrupt):
        list(judge_samples(samples, humaneval, sandbox=Interrupted(), cache=cache))
    again = CountingSandbox()
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        assert len(list(judge_samples(samples, humaneval, sandbox=again, cache=cache))) == 20
    assert len(again.jobs) == 8


@pytest.mark.parametrize(
    "changed",
    [ScoringSettings(timeout_s=1.0), ScoringSettings(memory_bytes=1 << 30)],
    ids=["timeout", "memory"],
)
def test_other_limits_are_other_verdicts(
    humaneval: Benchmark, tmp_path: Path, changed: ScoringSettings
) -> None:
    counting = CountingSandbox()
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        for settings in (ScoringSettings(), changed, ScoringSettings()):
            list(judge_samples([sample(RIGHT)], humaneval, settings=settings, sandbox=counting, cache=cache))
    assert len(counting.jobs) == 2


def test_the_machines_fault_is_not_remembered(humaneval: Benchmark, tmp_path: Path) -> None:
    counting = CountingSandbox(Verdict(False, "infrastructure", "wall time ran out"))
    with VerdictCache(tmp_path / "v.sqlite") as cache:
        for _ in range(2):
            list(judge_samples([sample(RIGHT)], humaneval, sandbox=counting, cache=cache))
    assert len(counting.jobs) == 2


def test_an_unknown_task_id_is_told(humaneval: Benchmark) -> None:
    with pytest.raises(DataError, match="'HumanEval/999' is not in humaneval"):
        list(judge_samples([sample(RIGHT, 0, "HumanEval/999")], humaneval, sandbox=CountingSandbox()))


FORGERIES = [
    "    class E:\n        def __eq__(self, o): return True\n    return E()\n",
    "    import sys\n    sys.exit(0)\n",
    "    import os\n    os._exit(0)\n",
    "    import builtins\n    builtins.AssertionError = Exception\n    return []\n",
    "    import sys\n    f = sys._getframe()\n    while f:\n        f.f_globals['check'] = lambda c: None\n"
    "        f = f.f_back\n    return []\n",
]


@pytest.mark.parametrize("program", FORGERIES)
def test_a_forged_answer_does_not_pass(sandbox: Sandbox, humaneval: Benchmark, program: str) -> None:
    (judgement,) = judge_samples([sample(program)], humaneval, sandbox=sandbox)
    verdict = judgement.verdict
    assert not verdict.passed and verdict.tier == "rpc"


@pytest.fixture
def humaneval_plus(
    benchmark_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Benchmark:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path_factory.mktemp("cache")))
    return load_benchmark("humaneval+")


@pytest.mark.parametrize("oracle", ["evalplus", "evalplus-0.3.1", "evalplus-0.2.1"])
def test_plus_tests_judge_in_the_batch_tier(sandbox: Sandbox, humaneval_plus: Benchmark, oracle: str) -> None:
    tasks = ["HumanEval/2", "HumanEval/7", "HumanEval/32"]
    solutions = [humaneval_plus.by_task[t].canonical_solution for t in tasks]
    samples = [sample(s, 0, t) for s, t in zip(solutions, tasks, strict=True)]
    samples.append(sample("    return float(number) % 1 if number < 100 else 0.5\n", 1, "HumanEval/2"))
    samples.append(
        sample("    import collections\n    return collections.deque(strings)\n", 1, "HumanEval/7")
    )
    judged = list(
        judge_samples(samples, humaneval_plus, settings=ScoringSettings(oracle=oracle), sandbox=sandbox)
    )
    passed = [j.verdict.passed for j in judged]
    assert passed == [True, True, oracle != "evalplus-0.3.1", False, False]
    assert judged[3].suites["base"].passed is False or not judged[3].suites["plus"].passed
    assert {j.verdict.tier for j in judged} == {"batch"}


def test_a_program_that_is_wrong_before_it_loops_is_not_waited_for(
    sandbox: Sandbox, humaneval_plus: Benchmark
) -> None:
    # The first input has no match; all others are given up on.
    program = "    if not strings: return None\n    while True: pass\n"
    settings = ScoringSettings(timeout_s=20.0, base_only=True)
    [judged] = judge_samples([sample(program)], humaneval_plus, settings=settings, sandbox=sandbox)
    assert judged.verdict.reason == "failed"
    assert "base test 0: expected [], got None" in judged.verdict.detail
    assert judged.verdict.cpu_s < settings.timeout_s / 2  # type: ignore[operator]


def test_a_numpy_number_equals_a_float_as_in_evalplus(sandbox: Sandbox, humaneval_plus: Benchmark) -> None:
    program = "    import numpy as np\n    return np.float64(number % 1)\n"
    (judged,) = judge_samples([sample(program, 0, "HumanEval/2")], humaneval_plus, sandbox=sandbox)
    assert judged.verdict.passed and judged.verdict.tier == "batch"
