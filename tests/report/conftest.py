"""A run folder as the loop leaves it, made up but realistic, with known numbers and hostile texts in it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evolcoder.domains import load_domain
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.instructions import SHIPPED_SEEDS, read_instructions, row_from_instruction
from evolcoder.runs import write_json_whole, write_jsonl_whole, write_text_whole

HOSTILE = "<script>document.title = 'owned'</script><img src=\"https://evil.example/x.png\" onerror=alert(1)>"
METHODS = {
    "add-constraints": " The solution must also handle empty input, and must not change its arguments.",
    "rare-requirement": " Instead of a plain list, take any iterable and make a single pass over it.",
    "more-reasoning": " First validate every entry, then normalise it, then explain each step of the result.",
    "misdirect": " Point out the mistake in this attempt: `return sorted(rows)[0:-1]`.",
    "complexity": " It must run in O(n log n) time and O(1) extra memory.",
}
REASONS = ["unchanged", "equal", "refused", "leaked prompt", "empty"]
VERDICTS = ["failed", "syntax error", "timeout", "crashed", "exited"]

RunBuilder = Callable[..., Path]


@pytest.fixture
def build_run(tmp_path: Path) -> RunBuilder:
    """Return a function that makes a run folder; its keywords are those of `make_run`."""

    def build(name: str = "quick", **choices: Any) -> Path:
        return make_run(tmp_path / name, **choices)

    return build


def make_run(
    run: Path,
    rounds: int = 3,
    seeds: int = 120,
    rows_per_round: int = 60,
    problems: int = 40,
    passed: tuple[int, ...] = (1, 3, 4, 2),
    benchmark: str = "humaneval",
    samples: int = 1,
    hostile: bool = True,
    finished: bool = True,
    trained: bool = True,
) -> Path:
    """Write a run folder in which `passed[r]` problems pass in round r."""
    generator = random.Random(11)
    shipped = [row_from_instruction(row) for row in read_instructions(SHIPPED_SEEDS)]
    pool = [{**shipped[i % 120], "id": f"seed-{i:05d}", "seed_id": f"seed-{i:05d}"} for i in range(seeds)]
    if hostile:
        pool[0] |= {"instruction": f"Explain this line: {HOSTILE}", "response": f"```html\n{HOSTILE}\n```"}
    write_jsonl_whole(run / "seeds.jsonl", pool)
    write_text_whole(run / "recipe.yaml", RECIPE)
    _write_evaluation(run, 0, passed[0], problems, samples, benchmark, generator)
    trained_on = [0]
    for number in range(1, rounds + 1):
        pool = _write_round(run, number, pool, rows_per_round, generator)
        trained_on.append(seeds + number * len(pool))
        if trained:
            _write_training(run, number, trained_on[-1], generator)
        if number < rounds or finished:
            _write_evaluation(
                run, number, passed[number % len(passed)], problems, samples, benchmark, generator
            )
    if finished:
        _write_result(run, rounds, trained_on, benchmark)
    return run


def _write_round(
    run: Path, number: int, parents: list[dict[str, Any]], asked: int, generator: random.Random
) -> list[dict[str, Any]]:
    evolved, dropped = [], []
    for i in range(asked):
        parent = parents[i % len(parents)]
        method = generator.choice(list(METHODS))
        row = {
            "id": f"r{number}-{i:06d}",
            "instruction": parent["instruction"] + METHODS[method],
            "input": "",
            "response": f"Here is the solution.\n\n{parent['response']}\n",
            "seed_id": parent["seed_id"],
            "parent_id": parent["id"],
            "round": number,
            "method": method,
            "teacher": "SmolLM2-135M-Instruct",
        }
        if i % 9 < 5 or i == 0:
            evolved.append(row)
        else:
            reason = REASONS[min(int(generator.expovariate(0.9)), len(REASONS) - 1)]
            dropped.append({**row, "reason": reason, "detail": f"the rule {reason!r} applies"})
    folder = run / f"round-{number}"
    write_jsonl_whole(folder / "evolved.jsonl", evolved)
    write_jsonl_whole(folder / "eliminated.jsonl", dropped)
    summary = {
        "round": number,
        "asked": asked,
        "kept": len(evolved),
        "eliminated": Counter(row["reason"] for row in dropped),
        "methods": Counter(row["method"] for row in evolved),
        "tokens": {"prompt": 90_123 * number, "completion": 31_456 * number},
        "requests": 2 * asked + 11,
        "usd": None,
    }
    write_json_whole(folder / "summary.json", summary)
    return evolved


def _write_training(run: Path, number: int, rows: int, generator: random.Random) -> None:
    steps = 20 + 12 * number
    losses = [0.9 + 0.8 * 0.93**step / number**0.3 + generator.gauss(0, 0.02) for step in range(steps)]
    records = [{"step": step, "loss": loss, "seconds": 1.5} for step, loss in enumerate(losses, 1)]
    facts = {
        "losses": losses,
        "steps": records,
        "fingerprint": "f" * 32,
        "base": "embedded",
        "rows": rows,
        "tokens": 210 * rows,
        "supervised_tokens": 96 * rows,
        "padding_share": 0.021,
        "seconds": 61.2,
        "tokens_per_second": 3.4 * rows,
        "peak_memory_bytes": 3 << 30,
    }
    write_json_whole(run / f"round-{number}" / "checkpoint" / "training.json", facts)


def _write_evaluation(
    run: Path, number: int, passed: int, problems: int, samples: int, benchmark: str, generator: random.Random
) -> None:
    tasks = [f"HumanEval/{4 * i}" for i in range(problems)]
    winners = set(generator.sample(tasks[: max(passed, problems // 3)], passed))
    verdicts = {task: [task in winners] * samples for task in tasks}
    failed = Counter(generator.choices(VERDICTS, [8, 5, 1, 2, 1], k=(problems - passed) * samples))
    value = passed / problems
    margin = 1.96 * (value * (1 - value) / problems + 1 / problems**2) ** 0.5
    score = {
        "benchmark": benchmark,
        "k": 1,
        "value": value,
        "low": max(0.0, value - margin),
        "high": min(1.0, value + margin),
        "n_problems": problems,
        "n_samples": problems * samples,
        "settings": {
            "style": "wizardcoder",
            "decoding": "greedy",
            "extract": "wizardcoder",
            "timeout_s": "3.0",
        },
    }
    folder = run / f"round-{number}" / "evaluation" / benchmark
    reasons = {"passed": passed * samples, **failed}
    write_json_whole(
        folder / "scores.json", {"scores": [score], "problems": verdicts, "reasons": reasons, "seconds": 41.7}
    )


def _write_result(run: Path, rounds: int, trained_on: list[int], benchmark: str) -> None:
    entries = []
    for number in range(rounds + 1):
        path = run / f"round-{number}" / "evaluation" / benchmark / "scores.json"
        score = json.loads(path.read_text())["scores"][0]
        entries.append(
            {
                "round": number,
                **{key: score[key] for key in ("value", "low", "high")},
                "rows": trained_on[number],
            }
        )
    best = max(entries, key=lambda entry: (entry["value"], -entry["round"]))
    last = entries[-1]
    reason = (
        f"round {rounds} scored {last['value']:.1%}, below round {best['round']} with {best['value']:.1%}"
    )
    result = {
        "name": "quickstart",
        "benchmark": benchmark,
        "rounds": entries,
        "best_round": best["round"],
        "card": asdict(load_domain("code").card(EvolveSettings())),
        "stop": {"rule": "decline", "reason": reason},
        "command": "evolcoder run recipes/quickstart.yaml --dir runs/quickstart",
        "notice": f"{benchmark} is both the benchmark reported and the one that chose the round; "
        "its score is therefore not a clean test score.",
    }
    write_json_whole(run / "result.json", result)
    names = ["seeds", f"evaluate round 0 on {benchmark}"]
    for number in range(1, rounds + 1):
        names += [
            f"evolve round {number}",
            f"train round {number}",
            f"evaluate round {number} on {benchmark}",
        ]
    seconds = [0.1, 38.0, *(value for n in range(1, rounds + 1) for value in (52.0, 61.0 + 9 * n, 40.5))]
    write_json_whole(
        run / "stages.json", [{"name": n, "seconds": s} for n, s in zip(names, seconds, strict=True)]
    )


RECIPE = f"""\
name: quickstart
seed: 7
seeds: {{source: shipped, limit: null}}
teacher: {{model: embedded, base_url: null}}
base: {{model: embedded}}
rounds: {{max_rounds: 3, rows_per_round: 60}}
train: {{epochs: 1.0, learning_rate: 2.0e-05}}
evaluate:
  benchmarks: [humaneval]
  settings: {{style: {EvaluationSettings().style}, limit: 40, temperature: 0.0}}
stop: {{rule: decline, benchmark: humaneval}}
"""
