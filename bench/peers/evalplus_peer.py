"""Judge programs with EvalPlus's own code (0.2.1 or 0.3.1), in its venv and contained, for bench/score.py.

Usage: evalplus_peer.py DATASET DATA.jsonl PROGRAMS.jsonl OUT.json WORKERS [base]
It calls EvalPlus's `trusted_exec` and `untrusted_check`, the parts of `evalplus.evaluate` that judge, after
computing the ground truth of all tests as that does; loading models and downloading data are left out (their
packages are stubbed). The clock runs while programs are judged.
"""

from __future__ import annotations

import copy
import importlib
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from cpu_time import cpu_seconds

for package in ("datasets", "wget", "tempdir", "appdirs", "multipledispatch"):
    try:
        importlib.import_module(package)
    except ImportError:
        sys.modules[package] = MagicMock(user_cache_dir=lambda name: f"/tmp/{name}")

untrusted_check: Any = importlib.import_module("evalplus.eval").untrusted_check
trusted_exec: Any = importlib.import_module("evalplus.gen.util").trusted_exec
not_none: Any = importlib.import_module("evalplus.eval._special_oracle").MBPP_OUTPUT_NOT_NONE_TASKS
deserialized: Any = importlib.import_module("evalplus.data.mbpp").mbpp_deserialize_inputs

Problem = dict[str, Any]
SUITES = ("base", "plus")


def ground_truth(problem: Problem, suite: str) -> Any:
    return trusted_exec(
        problem["prompt"] + problem["canonical_solution"],
        copy.deepcopy(
            problem[suite + "_input"]
        ),  # 0.2.1 lets the solution change them unless its cache is warm
        problem["entry_point"],
        record_time=True,
        output_not_none=problem["entry_point"] in not_none,
    )


def judged(
    dataset: str, problem: Problem, program: str, truth: dict[str, Any], suites: tuple[str, ...]
) -> dict[str, str]:
    statuses = {}
    for suite in suites:
        expected, times = truth[suite]
        inputs, name, atol = problem[suite + "_input"], problem["entry_point"], problem["atol"]
        statuses[suite], _ = untrusted_check(
            dataset, program, inputs, name, expected, atol, times, True, 1.0, 4.0
        )
    return statuses


def main() -> None:
    dataset, data, programs, out, workers = sys.argv[1:6]
    suites = SUITES[:1] if sys.argv[6:] == ["base"] else SUITES
    rows = [json.loads(line) for line in Path(programs).read_text().splitlines()]
    wanted = {row["task_id"] for row in rows}
    everything = map(json.loads, Path(data).read_text().splitlines())
    problems = {p["task_id"]: p for p in everything if p["task_id"] in wanted}
    if dataset == "mbpp":
        for task_id, problem in problems.items():
            for suite in SUITES:
                problem[suite + "_input"] = deserialized(task_id, problem[suite + "_input"])
    truths = {t: {suite: ground_truth(p, suite) for suite in SUITES} for t, p in problems.items()}
    cpu, wall = cpu_seconds(), time.monotonic()
    with ProcessPoolExecutor(int(workers)) as pool:
        futures = [
            pool.submit(judged, dataset, problems[r["task_id"]], r["program"], truths[r["task_id"]], suites)
            for r in rows
        ]
        verdicts = [future.result() for future in futures]
    wall = time.monotonic() - wall
    Path(out).write_text(json.dumps({"verdicts": verdicts, "cpu_s": cpu_seconds() - cpu, "wall_s": wall}))


if __name__ == "__main__":
    main()
