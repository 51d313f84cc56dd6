"""A made-up run folder with samples and verdicts, and hostile texts wherever a model writes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.report.conftest import make_run

from evolcoder.runs import read_jsonl, write_jsonl_whole

HOSTILE = (
    "<script>document.title = 'owned'</script>"
    '<img src="https://evil.example/x.png" onerror="document.title=\'owned\'">'
    "![picture](https://evil.example/y.png) [link](javascript:document.title='owned') "
    "${document.title='owned'} {{constructor.constructor('document.title=1')()}} "
    "</div></pre></textarea><svg onload=document.title='owned'> \u202etxet desrever\u202c"
)
"""What must stay text: tags, handlers, Markdown of other hosts, templates, closing tags, reversed text."""


def make_app_run(run: Path, problems: int = 12, samples: int = 1, **choices: Any) -> Path:
    """Write a run like `make_run`, with the samples and verdicts its scores speak of, and hostile texts."""
    make_run(run, problems=problems, samples=samples, passed=(2, 4, 6, 5), **choices)
    generator = random.Random(5)
    for folder in sorted(run.glob("round-*/evaluation/*")):
        _write_samples(folder, generator)
    _poison(run / "round-1" / "evolved.jsonl", "instruction", "response", "teacher", "method", "verdict")
    _poison(run / "round-1" / "eliminated.jsonl", "instruction", "detail", "reason")
    return run


def _write_samples(folder: Path, generator: random.Random) -> None:
    verdicts = json.loads((folder / "scores.json").read_bytes())["problems"]
    samples, judged = [], []
    for task, passed in verdicts.items():
        for index, good in enumerate(passed):
            number = generator.randrange(100)
            program = f"    total = {number}\n    return total  # {folder.parts[-3]}\n"
            if not good:
                program += f"    # {HOSTILE}\n"
            raw = f"Here it is ({folder.parts[-3]}).\n\n```python\n{program}```\n\n{HOSTILE}"
            samples.append({"task_id": task, "index": index, "completion": program, "all_code": raw})
            judged.append(
                {
                    "task_id": task,
                    "index": index,
                    "passed": good,
                    "reason": "passed" if good else generator.choice(["failed", "timeout"]),
                    "detail": "" if good else f"AssertionError: {HOSTILE}",
                }
            )
    write_jsonl_whole(folder / "samples.jsonl", samples)
    write_jsonl_whole(folder / "verdicts.jsonl", judged)


def _poison(path: Path, *fields: str) -> None:
    """Put the hostile text into the first row's fields."""
    rows = [row for _, row in read_jsonl(path)]
    for field in fields:
        rows[0][field] = f"{rows[0].get(field, '')} {HOSTILE}"
    write_jsonl_whole(path, rows)
