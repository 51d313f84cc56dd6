"""`evolcoder run`: a whole recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.options import engine_option, recipe_options
from evolcoder.cli.terminal import wrapped
from evolcoder.progress import duration

if TYPE_CHECKING:
    from evolcoder.loop import RunPlan
    from evolcoder.loop.stages import PlannedStage


@click.command()
@recipe_options
@click.option("--plan", is_flag=True, help="Do nothing; show every stage, what is done, and what it takes.")
@click.option(
    "--redo", multiple=True, metavar="STAGE", help="Do this stage again, e.g. train:2, or evaluate for all."
)
@click.option(
    "--skip", multiple=True, metavar="STAGE", help="Leave this stage as it stands, e.g. evaluate:1."
)
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result, or the plan, as JSON.")
def command(
    recipe: Path, folder: Path | None, overrides: tuple[str, ...], plan: bool, as_json: bool, **options: Any
) -> None:
    """Run a whole RECIPE: evolve, fine-tune, evaluate, round after round, until the score stops rising.

    The same command continues an interrupted run: what a model answered is never asked again, what is
    trained and measured stays. A changed recipe does again only what depends on the change, and says what
    first; --plan shows it without doing it.

    \b
    Example:
      evolcoder run quickstart
      evolcoder run quickstart --set rounds.max_rounds=3 --plan
      evolcoder run quickstart --redo train:2
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.execution.opening import open_engine
    from evolcoder.loop import plan_recipe, run_recipe, shell_line
    from evolcoder.loop.stages import Choice
    from evolcoder.recipe import load_recipe
    from evolcoder.report.table import scores_table

    checked = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / checked.name
    choice = Choice(options["redo"], options["skip"])
    if plan:
        planned = plan_recipe(checked, folder, choice)
        click.echo(json.dumps(plan_data(planned), indent=2) if as_json else wrapped(plan_text(planned)))
        return
    line = shell_line("run", recipe, {"--set": overrides, "--skip": choice.skip}, folder)
    with open_engine(options["engine"]) as where:
        result = run_recipe(checked, folder, progress_view(), line, choice, where)
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True))
        return
    click.echo(wrapped(scores_table(result)))
    click.echo(f"report: {folder / 'report.html'}")


def plan_text(plan: RunPlan) -> str:
    """Return a line a stage (what it is, how it stands, why, how long), then what all of it comes to."""
    rows = [("stage", "state", "time", "why")]
    rows += [(item.stage.title, item.state, _time(item, plan), _why(item, plan)) for item in plan.stages]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * (width or 3) for width in widths))
    return "\n".join([*lines, "", *_sum_lines(plan), *_design_lines(plan), plan.notice]).rstrip()


def plan_data(plan: RunPlan) -> dict[str, Any]:
    """Return the plan as JSON-clean data."""
    return {
        "stages": [
            {
                "id": item.stage.id,
                "title": item.stage.title,
                "state": item.state,
                "why": item.why,
                "took_seconds": item.seconds,
                "expected_seconds": plan.seconds.get(item.stage.id),
                "requests": cost.requests if (cost := plan.costs.get(item.stage.id)) else None,
                "usd": cost.usd if cost else None,
            }
            for item in plan.stages
        ],
        "expected_seconds": sum(plan.seconds.values()),
        "seconds_not_known_for": [item.stage.id for item in _unknown(plan)],
        "requests": sum(cost.requests for cost in plan.costs.values()),
        "usd": _usd(plan),
        "notice": plan.notice,
        "designs": {name: asdict(design) for name, design in plan.designs.items()},
    }


def _time(item: PlannedStage, plan: RunPlan) -> str:
    if item.state == "done":
        return f"took {duration(item.seconds or 0.0)}"
    if item.state == "skipped" or item.stage.pace is None:
        return ""
    seconds = plan.seconds.get(item.stage.id)
    return "not known" if seconds is None else f"about {duration(seconds)}"


def _why(item: PlannedStage, plan: RunPlan) -> str:
    cost = plan.costs.get(item.stage.id)
    if cost is None:
        return item.why
    usd = "price not known" if cost.usd is None else f"${cost.usd:.2f}"
    told = f"{cost.requests:,} requests, {usd}" + (" (lengths assumed)" if cost.assumed else "")
    return f"{item.why}; {told}" if item.why else told


def _sum_lines(plan: RunPlan) -> list[str]:
    to_do = [item for item in plan.stages if item.state not in ("done", "skipped")]
    if not to_do:
        return ["nothing to do: every stage is done"]
    known = sum(plan.seconds.get(item.stage.id, 0.0) for item in to_do)
    unknown = _unknown(plan)
    lines = [f"to do: {len(to_do)} of {len(plan.stages)} stages at most"]
    if known:
        lines[0] += f", about {duration(known)}"
    if unknown:
        kinds = ", ".join(dict.fromkeys(item.stage.id.split(":")[0] for item in unknown))
        lines.append(f"time not known yet of {kinds}: none was done here or in a run beside it")
    if plan.costs:
        usd = _usd(plan)
        price = "their price is not known" if usd is None else f"${usd:.2f}"
        lines.append(
            f"behind endpoints: about {sum(c.requests for c in plan.costs.values()):,} requests, {price}"
        )
    return lines


def _design_lines(plan: RunPlan) -> list[str]:
    """Say what each benchmark can show; two trainings tell models apart, not methods."""
    if not plan.designs:
        return []
    lines = [
        f"{name}, {design.problems} problem{'s' * (design.problems != 1)}, samples of each {design.samples}: "
        f"the smallest difference seen is {100 * design.smallest_difference:.1f} points "
        f"(near pass@1 {100 * design.rate:.0f}%)"
        for name, design in plan.designs.items()
    ]
    note = "(between two models, in 80% of cases at the 5% level; for methods see evolcoder ablate --seeds)"
    return [*lines, note]


def _unknown(plan: RunPlan) -> Sequence[PlannedStage]:
    """Stages to do whose time is not known; taking the seeds is no work."""
    return [
        item
        for item in plan.stages
        if item.state not in ("done", "skipped") and item.stage.pace and item.stage.id not in plan.seconds
    ]


def _usd(plan: RunPlan) -> float | None:
    prices = [cost.usd for cost in plan.costs.values()]
    return None if None in prices else round(sum(price or 0.0 for price in prices), 4)
