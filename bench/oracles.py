"""EvalPlus's verdicts and ours, one by one, on right and spoiled programs of HumanEval+ or MBPP+.

    python bench/oracles.py --evalplus /tmp/peer/bin/python --benchmark mbpp+ --spoiled 3

PYTHON is the interpreter of a venv with `evalplus==0.3.1` (or 0.2.1 with `--oracle evalplus-0.2.1`). The
programs are each problem's canonical solution and `--spoiled` copies of it with one thing changed: a
comparison, an operator, a constant or a returned value, drawn by the problem's name. Base and plus tests are
both judged. EvalPlus runs contained, as in bench/score.py.
"""

from __future__ import annotations

import argparse
import ast
import random
import tempfile
from pathlib import Path

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.data_files import rows_of
from evolcoder.evaluate.benchmarks.evalplus import DATA
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.records import Sample
from evolcoder.sandbox import Sandbox
from score import PEERS, judged_by_peer, lines_file

COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult}


def spoiled(program: str, chance: random.Random) -> str:
    """Return the program with one thing changed; the program itself where there is nothing to change."""
    tree = ast.parse(program)
    changes = [node for node in ast.walk(tree) if _changeable(node)]
    if changes:
        _change(chance.choice(changes))
    return ast.unparse(tree)


def _changeable(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in COMPARISONS
    if isinstance(node, ast.BinOp):
        return type(node.op) in OPERATORS
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.Return) and node.value is not None


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp):
        node.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1
    elif isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.List([node.value], ast.Load())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evalplus", metavar="PYTHON", required=True)
    parser.add_argument("--benchmark", default="mbpp+")
    parser.add_argument("--data", default="mbpp+@v0.2.0", help="the same data by its versioned name")
    parser.add_argument("--oracle", default="evalplus-0.3.1")
    parser.add_argument("--spoiled", type=int, default=3, help="of each problem")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    benchmark = load_benchmark(options.benchmark)
    rows = rows_of(DATA[options.data], options.data)
    samples = []
    for row in rows:
        whole, chance = row["prompt"] + row["canonical_solution"], random.Random(row["task_id"])
        programs = [whole, *(spoiled(whole, chance) for _ in range(options.spoiled))]
        samples += [Sample(row["task_id"], i, text, text, whole=True) for i, text in enumerate(programs)]
    settings = ScoringSettings(oracle=options.oracle, all_suites=True)
    with Sandbox(workers=options.workers) as sandbox:
        judged = list(judge_samples(samples, benchmark, settings=settings, sandbox=sandbox))
    ours = [j.suites for j in judged]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        data = lines_file(folder / "data", rows)
        asked = [{"task_id": s.task_id, "program": s.program} for s in samples]
        kind = options.benchmark.partition("+")[0]
        command = [PEERS / "evalplus_peer.py", kind, data, lines_file(folder / "programs", asked)]
        theirs = judged_by_peer(options.evalplus, folder, command, options.workers)["verdicts"]
    for suite in ("base", "plus"):
        passed = [(o[suite].passed, t[suite] == "pass") for o, t in zip(ours, theirs, strict=True)]
        same = sum(a == b for a, b in passed)
        print(
            f"{suite}: {same} of {len(passed)} verdicts are the same; {sum(a for a, _ in passed)} passed here"
        )
        for sample, own, (a, b), said in zip(samples, ours, passed, theirs, strict=True):
            if a != b:
                verdict = own[suite]
                here = f"{verdict.reason} {verdict.detail[:80]} ({verdict.cpu_s:.2f} s of CPU)"
                print(f"    {sample.task_id} program {sample.index}: {here}; there {said[suite]}")


if __name__ == "__main__":
    main()
