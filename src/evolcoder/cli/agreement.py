"""`evolcoder agreement`: a judge beside the people of a blind review."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import overwrite_option, spend_options, spending
from evolcoder.errors import DataError
from evolcoder.models.session import model_session
from evolcoder.runs import check_claimed, write_json_whole

if TYPE_CHECKING:
    from evolcoder.app.judge_agreement import JudgeAgreement


@click.command()
@click.argument("study", type=click.Path(path_type=Path, file_okay=False))
@click.option("--judge", required=True, help="MODEL that judges the pairs of answers that people voted on.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for verdicts and journal."
)
@click.option("--judge-shots", type=click.IntRange(0, 2), default=0, help="For a small judge.")
@spend_options
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Say how many requests it would be.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print the agreement as JSON.")
def command(study: Path, judge: str, out: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Say how often a judge and the people of a blind review prefer the same answer.

    STUDY is the folder of a review of `evolcoder app`, with its votes. The same command continues where it
    was stopped: replies are kept in OUT/journal.sqlite.

    \b
    Example:
      evolcoder agreement runs/x/reviews/base-vs-round-1-0123456789ab --judge openai:NAME --out agreement
    """
    from evolcoder.app.judge_agreement import judge_agreement, judged_study
    from evolcoder.app.study import read_study
    from evolcoder.app.votes import read_votes
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.evaluation_files import refuse_other_scores
    from evolcoder.evaluate.model_judge.settings import JudgeSettings
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.local import THIS_MACHINE

    found, votes = read_study(study), read_votes(study).votes
    if not votes:
        raise DataError(f"{study}: nobody has voted yet")
    if dry_run:
        click.echo(f"{len(found.items)} pairs of answers, {2 * len(found.items)} requests to {judge}")
        return
    choice = model_choice(judge, options)
    settings = JudgeSettings(
        choice.model, choice.base_url, choice.endpoint, choice.local, shots=options["judge_shots"]
    )

    async def work() -> list[JudgeAgreement]:
        async with model_session(
            settings, out / "journal.sqlite", THIS_MACHINE, **spending(options)
        ) as opened:
            with progress_view().bar("judge", len(found.items)) as bar:
                return judge_agreement(found, votes, await judged_study(found, opened, settings, bar))

    check_claimed(out / "journal.sqlite", [out / "agreement.json"])
    named = {"study": found.id, "judge": judge}
    if not options["overwrite"]:
        refuse_other_scores(out / "agreement.json", named)
    out.mkdir(parents=True, exist_ok=True)
    agreements = run_async(work())
    data = [asdict(agreement) for agreement in agreements]
    write_json_whole(out / "agreement.json", {**named, "agreement": data})
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(map(_line, agreements)))


def _line(found: JudgeAgreement) -> str:
    kappa = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
    return (
        f"{found.criterion}: judge and people say the same in {_percent(found.same)} of {found.votes} votes, "
        f"without ties in {_percent(found.same_without_ties)} of {found.votes_without_ties}; kappa {kappa}; "
        f"people among themselves {_percent(found.people_same)}"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
