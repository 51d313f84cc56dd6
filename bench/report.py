"""Time, memory and size of the report of a large run: 100,000 evolved rows in 5 rounds, 628 problems.

    python bench/report.py [--rows 100000] [--rounds 5] [--keep FOLDER]

Makes a run folder with texts drawn from the shipped seeds (instructions grow by round, as in a public run of
the method), then writes its report in a process of its own, and prints JSON: seconds (wall and CPU), peak
resident memory of that process, and the size of the file.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.instructions import SHIPPED_SEEDS, read_instructions, row_from_instruction
from evolcoder.recipe import recipe_from_data, recipe_yaml
from evolcoder.runs import write_json_whole, write_jsonl_whole, write_text_whole

REASONS = ("unchanged", "leaked prompt", "refused", "duplicate", "contaminated", "syntax error", "truncated")
VERDICTS = ("failed", "syntax error", "timeout", "crashed", "memory")
PROBLEMS = 164
METHODS = [method.name for method in METHOD_SETS["code"].methods]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="evolved rows that are kept, all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the run here and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.keep or Path(folder) / "large"
        begun = time.monotonic()
        kept = make_run(run, options.rows, options.rounds)
        made_s = time.monotonic() - begun
        print(json.dumps({"rows kept": kept, "rounds": options.rounds, "run made in s": round(made_s, 1)}))
        print(json.dumps(measured(run)))


def measured(run: Path) -> dict[str, float]:
    """Write the report in a process of its own and say what that took."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "evolcoder", "report", str(run)], check=True, capture_output=True)
    wall_s = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_resident_mb": round(used.ru_maxrss / 1000),
        "file_mb": round((run / "report.html").stat().st_size / 1e6, 2),
    }


def make_run(run: Path, rows: int, rounds: int) -> int:
    """Write a finished run of `rows` kept rows; return how many there are."""
    generator = random.Random(0)
    shipped = [row_from_instruction(row) for row in read_instructions(SHIPPED_SEEDS)]
    a_round = rows // rounds
    seeds = [{**shipped[i % len(shipped)], "id": f"s{i:06d}", "seed_id": f"s{i:06d}"} for i in range(a_round)]
    write_jsonl_whole(run / "seeds.jsonl", seeds)
    recipe = recipe_from_data({"name": "large", "rounds": {"max_rounds": rounds}}, "bench")
    write_text_whole(run / "recipe.yaml", recipe_yaml(recipe))
    words = [word for row in shipped for word in str(row["instruction"]).split()]
    parents, kept, entries = seeds, 0, []
    for number in range(rounds + 1):
        if number:
            parents = write_round(run, number, parents, words, generator)
            kept += len(parents)
            write_training(run, number, len(seeds) + kept, generator)
        entries.append(write_evaluation(run, number, generator))
    best = max(entries, key=lambda entry: (entry["value"], -entry["round"]))
    decisions = [{"round": e["round"], "stop": e["round"] == rounds, "reason": "made up"} for e in entries]
    write_json_whole(
        run / "result.json",
        {
            "name": "large",
            "benchmark": "mbpp-400",
            "rounds": entries,
            "best_round": best["round"],
            "stop": {"rule": "max_rounds", "reason": f"max_rounds = {rounds} reached"},
            "decisions": decisions,
            "command": "evolcoder run large.yaml",
        },
    )
    return kept


def write_round(
    run: Path, number: int, parents: list[dict[str, Any]], words: list[str], generator: random.Random
) -> list[dict[str, Any]]:
    """Write a round's kept and eliminated rows; a row is kept for every parent, one in ten more is not."""
    kept, dropped = [], []
    for i, parent in enumerate(parents):
        method = generator.choice(METHODS)
        more = " ".join(generator.choices(words, k=30))
        row = {
            "id": f"r{number}-{i:06d}",
            "instruction": f"{parent['instruction']} {more}",
            "input": "",
            "response": f"{str(parent['response'])[:1500]}\n{more}",
            "seed_id": parent["seed_id"],
            "parent_id": parent["id"],
            "round": number,
            "method": method,
            "teacher": "teacher",
            "prompt_tokens": 300,
            "completion_tokens": 500,
            "verdict": generator.choice(("passed", "repaired", "untested")),
        }
        kept.append(row)
        if i % 10 == 0:
            reason = generator.choice(REASONS)
            dropped.append({**row, "id": f"d{number}-{i}", "reason": reason, "detail": "made up"})
    folder = run / f"round-{number}"
    write_jsonl_whole(folder / "evolved.jsonl", kept)
    write_jsonl_whole(folder / "eliminated.jsonl", dropped)
    summary = {
        "round": number,
        "asked": len(kept) + len(dropped),
        "kept": len(kept),
        "eliminated": Counter(str(row["reason"]) for row in dropped),
        "methods": Counter(str(row["method"]) for row in kept),
        "tokens": {"prompt": 300 * len(kept), "completion": 500 * len(kept)},
        "requests": 2 * len(kept),
        "usd": 0.001 * len(kept),
    }
    write_json_whole(folder / "summary.json", summary)
    return kept


def write_training(run: Path, number: int, rows: int, generator: random.Random) -> None:
    """Write a training of 600 steps."""
    losses = [0.6 + 0.9 * 0.99**step + generator.gauss(0, 0.02) for step in range(600)]
    facts = {
        "losses": losses,
        "steps": [{"step": i, "loss": loss} for i, loss in enumerate(losses, 1)],
        "base": "base",
        "rows": rows,
        "tokens": 400 * rows,
        "seconds": 5000.0,
    }
    write_json_whole(run / f"round-{number}" / "checkpoint" / "training.json", facts)


def write_evaluation(run: Path, number: int, generator: random.Random) -> dict[str, Any]:
    """Write the verdicts of two benchmarks, 20 samples a problem; return the entry of `result.json`."""
    entry: dict[str, Any] = {}
    for benchmark, problems in (("mbpp-400", 464), ("humaneval", PROBLEMS)):
        chance = 0.3 + 0.05 * number
        verdicts = {f"{benchmark}/{i}": list(draws(generator, chance, 20)) for i in range(problems)}
        value = sum(map(sum, verdicts.values())) / (20 * problems)
        folder = run / f"round-{number}" / "evaluation" / benchmark
        failed = write_samples(folder, verdicts, generator)
        score = {"benchmark": benchmark, "k": 1, "value": value, "low": value - 0.03, "high": value + 0.03}
        score |= {"n_problems": problems, "n_samples": 20 * problems, "settings": {}}
        write_json_whole(
            folder / "scores.json",
            {
                "scores": [score],
                "problems": verdicts,
                "reasons": {"passed": round(value * 20 * problems), **failed},
            },
        )
        if benchmark == "mbpp-400":
            entry = {key: score[key] for key in ("value", "low", "high", "n_problems")}
    return {"round": number, "rows": 0, **entry}


def write_samples(
    folder: Path, passed: Mapping[str, Sequence[bool]], generator: random.Random
) -> Counter[str]:
    """Write programs and verdicts; return how often each reason of a failure is there."""
    samples, verdicts = [], []
    for task, shares in passed.items():
        for index, good in enumerate(shares):
            lines = [f"    x = {generator.randrange(100)}" for _ in range(12)]
            program = "\n".join(["def answer(x):", *lines, "    return x", ""])
            at = {"task_id": task, "index": index}
            samples.append({**at, "completion": program, "all_code": f"```python\n{program}```"})
            reason = "passed" if good else generator.choice(VERDICTS)
            verdicts.append({**at, "passed": good, "reason": reason, "detail": "" if good else "made up"})
    write_jsonl_whole(folder / "samples.jsonl", samples)
    write_jsonl_whole(folder / "verdicts.jsonl", verdicts)
    return Counter(str(verdict["reason"]) for verdict in verdicts if not verdict["passed"])


def draws(generator: random.Random, chance: float, n: int) -> Iterator[bool]:
    """Yield verdicts of one problem, which is easy or hard."""
    own = min(1.0, max(0.0, generator.gauss(chance, 0.3)))
    for _ in range(n):
        yield generator.random() < own


if __name__ == "__main__":
    main()
