"""`evolcoder reinforce`: let a model learn from whether its own programs work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from evolcoder.cli.options import columns_option, domain_option, engine_option, overwrite_option

_SETTINGS = ("method", "steps", "rounds", "group_size", "loss")
"""Options that are settings under the same name."""


@click.command()
@click.option("--model", default="embedded", help="The model that learns, as for train.")
@click.option(
    "--tasks",
    required=True,
    metavar="FILE",
    help="Rows with instruction and tests, or benchmark:mbpp:train; see docs/reinforce.md.",
)
@columns_option
@domain_option
@click.option("--held-out", metavar="FILE", help="Tasks that are only measured, as --tasks.")
@click.option(
    "--held-out-tasks", type=int, default=0, show_default=False, help="Keep so many of --tasks for measuring."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the finished model.")
@click.option(
    "--method",
    type=click.Choice(("grpo", "rft", "dpo")),
    default="grpo",
    help="Policy gradient, rejection sampling, or preference.",
)
@click.option("--steps", type=int, help="Steps of grpo.  [default: 100]")
@click.option("--rounds", type=int, help="Rounds of rft.  [default: 1]")
@click.option("--group-size", type=int, help="Answers to a task.  [default: 8]")
@click.option("--loss", type=click.Choice(("grpo", "dr_grpo", "dapo")), help="Loss of grpo.  [default: dapo]")
@click.option(
    "--decontaminate",
    multiple=True,
    metavar="BENCHMARK",
    help="Leave out tasks that copy its problems; repeatable.  [default: the domain's; for code humaneval "
    "and mbpp's test split]",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting, see docs/reinforce.md."
)
@overwrite_option
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: str, tasks: str, out: Path, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Sample answers to tasks, judge them in the sandbox, and train on the verdicts.

    A killed run goes on when the same command is given again; no answer is sampled twice.

    \b
    Example:
      evolcoder reinforce --model model --tasks benchmark:mbpp:train --out better --steps 50
      evolcoder reinforce --method rft --rounds 3 --model model --tasks tasks.jsonl --out better
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.domains import load_domain
    from evolcoder.execution.opening import open_engine
    from evolcoder.recipe import section_from_data, with_overrides
    from evolcoder.reinforce.run import reinforce
    from evolcoder.reinforce.settings import ReinforceSettings
    from evolcoder.reinforce.tasks import read_tasks, split_tasks

    named = {name: value for name in _SETTINGS if (value := options[name]) is not None}
    settings = section_from_data(ReinforceSettings, with_overrides(named, options["overrides"]), "reinforce")
    of, columns, progress = load_domain(options["domain"]), options["columns"], progress_view()
    found = read_tasks(tasks, columns, of.tasks, progress)
    learnt, measured = split_tasks(found, options["held_out_tasks"], settings.seed)
    if options["held_out"] is not None:
        measured += read_tasks(options["held_out"], columns, of.tasks)
    first = os.environ.get("RANK", "0") == "0"
    with open_engine(
        options["engine"] if first else "local"
    ) as where:  # the first of torchrun's processes judges
        result = reinforce(
            *(model, learnt, settings, out),
            held_out=measured,
            decontaminate=options["decontaminate"] or of.reported,
            compared=of.answering.compared,
            progress=progress,
            engine=where,
            overwrite=overwrite,
        )
    from evolcoder.train.processes import leave_processes

    leave_processes()
    if not first:
        return
    facts = json.loads((result.folder / "training.json").read_text(encoding="utf-8")).get("reinforce", {})
    if as_json:
        click.echo(json.dumps({"folder": str(result.folder), "seconds": result.seconds, **facts}))
        return
    click.echo(f"{result.folder}: {len(result.losses)} steps in {result.seconds:.0f} s")
    if scores := facts.get("held_out"):
        first, last = scores[0], scores[-1]
        click.echo(
            f"held-out tasks solved: {first['solved']:.1%} before, {last['solved']:.1%} after "
            f"({last['n_tasks']} tasks, {last['n_samples']} answers each)"
        )
