"""The results file of EvalPlus (`*_eval_results.json`), for tools that read it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.scoring import Judgement
from evolcoder.records import Verdict
from evolcoder.runs import content_hash, write_json_whole


class EvalPlusResults:
    """Gathers judgements and writes them as EvalPlus does: `eval` -> task id -> one object a sample."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._eval: dict[str, list[dict[str, Any]]] = {}

    def add(self, judgement: Judgement) -> None:
        """Add one sample's verdicts; a suite that was not judged has status null."""
        sample = judgement.sample
        problem = self._benchmark.find(sample.task_id)
        assert problem is not None
        row: dict[str, Any] = {
            "task_id": sample.task_id,
            "solution": self._benchmark.program(problem, sample),
            "base_status": _status(judgement.suites.get("base")),
            "plus_status": _status(judgement.suites.get("plus")),
            "base_fail_tests": [],
            "plus_fail_tests": [],
        }
        self._eval.setdefault(sample.task_id, []).append(row)

    def write(self, path: Path) -> None:
        """Write the file whole."""
        value = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "hash": content_hash(self._benchmark.title),
            "eval": self._eval,
        }
        write_json_whole(path, value)


def _status(verdict: Verdict | None) -> str | None:
    """EvalPlus has three words: out of time is "timeout", all else that fails is "fail"."""
    if verdict is None:
        return None
    if verdict.passed:
        return "pass"
    return "timeout" if verdict.reason == "timeout" else "fail"
