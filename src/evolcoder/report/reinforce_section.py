"""What learning from execution did, from what `reinforce` leaves: curves by step, and answers over time.

A finished model has its curves in `training.json`, one under way in its newest checkpoint (`OUT.steps/`);
answers lie in `OUT.rollouts/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder.report.charts import Line, both_widths, line_chart, thin
from evolcoder.report.rows import numbered_rows
from evolcoder.report.run_folder import Run, read_list, read_object, rounds_of_result
from evolcoder.report.table import round_name

_STEP_FILE = re.compile(r"step-(\d+)-\d+\.jsonl")
_MOST_ANSWERS = 8
"""Of one step that are shown."""
_STEPS_SHOWN = 4
"""In a report: evenly spaced over the run."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Curves on one pair of axes."""

    title: str
    chart: Markup
    lines: tuple[Line, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """One answer of a step with what it earned."""

    task_id: str
    text: str
    reward: float
    reason: str
    """Of the first rewarded test that did not pass; "passed" where all did."""


@dataclass(frozen=True, slots=True)
class Learning:
    """One model's learning from execution, finished or under way."""

    label: str
    out: Path
    method: str
    finished: bool
    steps: tuple[Mapping[str, Any], ...]
    """One mapping a step, with the fields of `reinforce.curves.PolicyStep`; empty for rft and dpo."""
    held_out: tuple[Mapping[str, Any], ...]
    rounds: tuple[Mapping[str, Any], ...]
    """Of rft: round, passed, new, rows."""
    pairs: int
    """Of dpo."""


def learnings(run: Run) -> list[Learning]:
    """Return what of a run learnt from execution: models of its rounds, or the folder; raises DataError."""
    places = [(round_.folder / "checkpoint", round_name(round_.number)) for round_ in rounds_of_result(run)]
    found = (read_learning(*place) for place in places or [(run.folder, run.name)])
    return [learning for learning in found if learning is not None]


def read_learning(out: Path, label: str) -> Learning | None:
    """Return what `reinforce --out OUT` left so far; None where it left nothing."""
    told = read_object(out / "training.json").get("reinforce")
    finished = isinstance(told, Mapping)
    facts: Mapping[str, Any] = told if isinstance(told, Mapping) else _under_way(out)
    rollouts = out.with_name(f"{out.name}.rollouts")
    if not finished and not rollouts.is_dir():
        return None
    rounds = read_list(rollouts / "rounds.json")
    return Learning(
        label=label,
        out=out,
        method=str((facts.get("settings") or {}).get("method") or ("rft" if rounds else "grpo")),
        finished=finished or (bool(rounds) and (out / "training.json").exists()),
        steps=tuple(facts.get("curve") or ()),
        held_out=tuple(facts.get("held_out") or ()),
        rounds=tuple(rounds),
        pairs=int(facts.get("pairs") or 0),
    )


def _under_way(out: Path) -> Mapping[str, Any]:
    """Return the curves of the newest checkpoint (its facts as `train/checkpoints.py` writes them)."""
    for path in sorted(out.with_name(f"{out.name}.steps").glob("step-*/checkpoint.json"), reverse=True):
        curves = read_object(path).get("curves")
        if isinstance(curves, Mapping):
            return curves
    return {}


def figures(learning: Learning) -> list[Figure]:
    """Return the curves that there are, by step."""
    steps = learning.steps
    drawn = [
        _figure(
            "Reward",
            [
                _line(steps, "reward", "reward", 0),
                _line(steps, "passed", "rewarded tests passed", 1),
                _line(steps, "watched", "watched tests passed", 3, dashed=True),
            ],
            "Means over the answers of a step. Watched tests are never rewarded: where they fall behind the "
            "rewarded ones, the reward is being hacked.",
        ),
        _figure(
            "Held-out tasks",
            [
                _line(learning.held_out, "solved", "held-out tasks solved", 2),
                _line(learning.held_out, "watched", "their watched tests passed", 3, dashed=True),
            ],
        ),
        _figure("Length of an answer, tokens", [_line(steps, "tokens", "tokens", 4)]),
        _figure("Entropy, nats", [_line(steps, "entropy", "entropy of the policy", 5)]),
        _figure("KL from the first model, nats a token", [_line(steps, "kl", "KL", 6)])
        if any(step.get("kl") for step in steps)
        else None,
        _figure(
            "Shares",
            [
                _line(steps, "with_signal", "groups with signal", 0),
                _line(steps, "clipped", "tokens clipped", 6),
                _line(steps, "truncated", "answers cut at the limit", 8),
            ],
        ),
    ]
    return [figure for figure in drawn if figure is not None]


def _line(
    records: Sequence[Mapping[str, Any]], key: str, name: str, color: int, *, dashed: bool = False
) -> Line:
    points = [(float(r["step"]), float(r[key])) for r in records if r.get(key) is not None]
    return Line(name, thin(points), color, dashed)


def _figure(title: str, lines: Sequence[Line], caption: str = "") -> Figure | None:
    told = tuple(line for line in lines if line.points)
    if not told:
        return None
    y_label = told[0].name if len(told) == 1 else "share" if title == "Shares" else title.lower()
    chart = both_widths(lambda width: line_chart(told, "step", y_label, width))
    return Figure(title, chart, told, caption)


def sampled_steps(learning: Learning) -> dict[int, Path]:
    """Return the steps whose answers are on the disk, with the first file of each, in order."""
    folder = learning.out.with_name(f"{learning.out.name}.rollouts")
    found: dict[int, Path] = {}
    newest = max(
        (path for path in folder.glob("*/") if path.is_dir()),
        key=lambda path: path.stat().st_mtime_ns,
        default=folder,
    )
    for path in sorted(newest.glob("step-*.jsonl")):
        if match := _STEP_FILE.fullmatch(path.name):
            found.setdefault(int(match[1]), path)
    return found


def answers_of(path: Path) -> list[SampledAnswer]:
    """Return the first answers of a step's file."""
    found = []
    for _, row in islice(numbered_rows(path), _MOST_ANSWERS):
        reward: Mapping[str, Any] = row.get("reward") or {}
        value, reason = float(reward.get("value") or 0.0), str(reward.get("reason") or "")
        found.append(SampledAnswer(str(row.get("task_id")), str(row.get("text") or ""), value, reason))
    return found


def answers_over_time(learning: Learning) -> list[tuple[int, SampledAnswer]]:
    """Return the best of the first answers of a few steps, evenly spaced, for a report."""
    steps = list(sampled_steps(learning).items())
    last = len(steps) - 1
    places = sorted({round(i * last / (_STEPS_SHOWN - 1)) for i in range(_STEPS_SHOWN)}) if steps else []
    shown = [(steps[i][0], answers_of(steps[i][1])) for i in places]
    return [(step, max(answers, key=lambda a: a.reward)) for step, answers in shown if answers]
