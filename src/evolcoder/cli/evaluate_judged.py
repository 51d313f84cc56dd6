"""The part of `evolcoder evaluate` that is for benchmarks which a model judges (`--judge`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.options import spend_options, spending, together
from evolcoder.errors import UserError

if TYPE_CHECKING:
    from evolcoder.evaluate.evaluation import EvaluationResult
    from evolcoder.evaluate.model_judge.judged_evaluation import JudgedResult
    from evolcoder.evaluate.model_judge.judging_cost import JudgedEstimate, Part
    from evolcoder.evaluate.model_judge.settings import JudgeSettings
    from evolcoder.evaluate.settings import EvaluationSettings
    from evolcoder.models.session import ModelChoice

_SHOWN_PARTS = 60
"""Parts of a benchmark that the table shows, at most."""


judge_options = together(
    click.option("--judge", help="MODEL that judges answers, where no program does (wizardlm, mt-bench)."),
    click.option(
        "--against",
        default="",
        show_default=False,
        help="Answers to set beside: a file, an evaluation's folder, or a MODEL. Without: 1 to 10.",
    ),
    click.option(
        "--judge-shots", type=click.IntRange(0, 2), default=0, help="Worked examples for a small judge."
    ),
    spend_options,
    click.option("--dry-run", is_flag=True, help="Judge a sample of 20 and say what the whole would take."),
)
"""Add the options of a judged evaluation."""


def judge_settings(choice: ModelChoice, options: Mapping[str, Any]) -> JudgeSettings:
    """Return the judge that the options say, which is reached as the model is.

    Raises UserError for an address without a model behind an endpoint.
    """
    from evolcoder.evaluate.model_judge.settings import JudgeSettings
    from evolcoder.models.opening import REMOTE_PREFIX, is_remote

    judge, against = options["judge"], options["against"]
    if choice.base_url and not any(map(is_remote, (choice.model, judge, against))):
        raise UserError(f"--base-url goes with a model {REMOTE_PREFIX}NAME, found {choice.model!r}")
    reached = (choice.base_url, choice.endpoint, choice.local)
    return JudgeSettings(judge, *reached, against, options["judge_shots"])


def evaluate_with_judge(
    choice: ModelChoice, plan: Mapping[str, EvaluationSettings], options: Mapping[str, Any], out: Path
) -> None:
    """Evaluate on benchmarks that a model judges, or say what that would take, and print it."""
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.model_judge.judged_evaluation import (
        EvaluationContext,
        evaluate_judged,
        judged_benchmark,
    )
    from evolcoder.evaluate.model_judge.judging_cost import estimate_judged
    from evolcoder.evaluate.overlap import evaluation_folder, output_files
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine
    from evolcoder.runs import check_claimed

    for name in plan:
        judged_benchmark(name)
    judge = judge_settings(choice, options)
    check_claimed(out / "journal.sqlite", output_files(out, plan))
    out.mkdir(parents=True, exist_ok=True)
    as_json, overwrite = options["as_json"], options["overwrite"]
    with open_engine(options["engine"]) as where:
        journal, limits = out / "journal.sqlite", spending(options)
        context = EvaluationContext(journal, where, progress_view(), **limits, overwrite=overwrite)

        async def estimates() -> dict[str, JudgedEstimate]:
            return {name: await estimate_judged(choice, name, s, judge, context) for name, s in plan.items()}

        async def results() -> dict[str, JudgedResult]:
            return {
                name: await evaluate_judged(choice, name, s, judge, out / evaluation_folder(name), context)
                for name, s in plan.items()
            }

        if options["dry_run"]:
            told = run_async(estimates())
            data = {name: {**asdict(found), "usd": found.usd} for name, found in told.items()}
            click.echo(json.dumps(data, indent=2) if as_json else estimate_text(told))
        else:
            found = run_async(results())
            texts = (_result_text(result, choice.model) for result in found.values())
            click.echo(results_json(found) if as_json else "\n\n".join(texts))


def estimate_text(estimates: Mapping[str, JudgedEstimate]) -> str:
    """Return what judged evaluations would take, as lines for the terminal."""
    lines = []
    for found in estimates.values():
        money = "no price known" if found.usd is None else f"{found.usd:.4f} US dollars"
        lines.append(
            f"{found.benchmark}: {found.problems} problems, from a sample of {found.sample}: {money}"
        )
        parts = {"answers": found.model, "answers beside": found.other, "judge": found.judge}
        lines += [_part_text(name, part) for name, part in parts.items() if part is not None]
    return "\n".join(lines)


def _part_text(name: str, part: Part) -> str:
    money = "" if part.usd is None else f", {part.usd:.4f} US dollars"
    return (
        f"  {name}: {part.requests} requests, {part.prompt_tokens} + {part.completion_tokens} tokens{money}"
    )


def _result_text(result: JudgedResult, model: str) -> str:
    from evolcoder.evaluate.model_judge.settings import RATING
    from evolcoder.evaluate.published import published_for

    first = result.scores[0]
    problems = first.settings["problems"]
    mark = "*" if problems.split(" of ")[0] != problems.split(" of ")[-1] else ""
    lines = [f"{model}  judged by {first.settings['judge']}"]
    if other := first.settings.get("against"):
        lines[0] += f" against {other}"
    for score in result.scores[:_SHOWN_PARTS]:
        scale, unit = (10, "of 10") if score.settings["measure"] == RATING else (100, "% won")
        value, low, high = (scale * number for number in (score.value, score.low, score.high))
        lines.append(
            f"  {score.benchmark:<44} {value:6.2f}{mark} {unit}   95% [{low:.2f}, {high:.2f}]"
            f"   {score.n_problems} problems"
            + ("   won {} tied {} lost {}".format(*won) if (won := result.wins.get(score.benchmark)) else "")
        )
    if (left := len(result.scores) - _SHOWN_PARTS) > 0:
        lines.append(f"  and {left} parts more in scores.json")
    if not other and published_for(first.benchmark):
        lines += beside_published(first.benchmark, first.settings["decoding"], 10 * first.value, mark)
    if mark:
        lines.append(f"  * a subset ({problems}): not comparable with published scores")
    at = result.positions
    if other:
        lines.append(
            f"  by place: the first answer chosen {at.first} times, the second {at.second}, neither "
            f"{at.neither}, unreadable {at.unreadable}; {at.disagreeing} pairs of orders disagree"
        )
    return "\n".join([*lines, *last_lines(result)])


def last_lines(result: EvaluationResult | JudgedResult) -> list[str]:
    """Return the lines that every result ends with: its verdicts, its settings, its time."""
    told = ", ".join(f"{reason} {count}" for reason, count in result.reasons.items())
    settings = result.scores[0].settings
    named = ", ".join(f"{name} {value}" for name, value in settings.items() if name != "model")
    return [f"  verdicts: {told}", f"  settings: {named}", f"  {result.seconds:.0f} s"]


def results_json(results: Mapping[str, EvaluationResult | JudgedResult]) -> str:
    """Return evaluations as JSON: of a judged one also what was won, and by which place."""
    found = {name: asdict(result) for name, result in results.items()}
    parts = ("scores", "reasons", "wins", "positions")
    told = {
        name: {part: data[part] for part in parts if part in data} | {"seconds": round(data["seconds"], 1)}
        for name, data in found.items()
    }
    return json.dumps(told, indent=2)


_BESIDE = 3
"""Published figures shown above and below a measured one."""


def beside_published(benchmark: str, decoding: str, percent: float, mark: str) -> list[str]:
    """Return lines of the published figures nearest to a measured one, best first.

    Those that were drawn otherwise (one greedy answer, or a mean over samples) stand apart, marked.
    """
    from evolcoder.evaluate.published import decoding_kind, published_for

    kind = decoding_kind(decoding)
    figures = published_for(benchmark)
    above = [p for p in figures if p.value > percent][-_BESIDE:]
    below = [p for p in figures if p.value <= percent][:_BESIDE]
    lines = [f"  measured   {percent:5.1f}{mark or ' '} <- this"]
    told = [
        f"  published  {p.value:5.1f}{' ' if decoding_kind(p.decoding) == kind else '†'} "
        f"{p.model} ({p.decoding})"
        for p in [*above, *below]
    ]
    lines = [*told[: len(above)], *lines, *told[len(above) :]]
    if any("†" in line for line in told):
        lines.append(f"  † not {kind}: does not compare")
    return lines
