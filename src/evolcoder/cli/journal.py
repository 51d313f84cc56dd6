"""`evolcoder journal`: what a run's journal holds, and what it cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evolcoder.models.journal.totals import JournalTotals


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Save every readable reply of a damaged journal.")
@click.option(
    "--drop-batches",
    is_flag=True,
    help="Ask anew what submitted batches did not answer; both may be billed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(journal: Path, repair: bool, drop_batches: bool, as_json: bool) -> None:
    """Show what a journal holds: replies, tokens and money by model, hits, retries.

    JOURNAL is the file, or the run's folder. A run may be writing it meanwhile.

    \b
    Example:
      evolcoder journal runs/quickstart
      evolcoder journal runs/quickstart --json
    """
    from evolcoder.models.journal.totals import read_totals

    path = journal / "journal.sqlite" if journal.is_dir() else journal
    if repair:
        from evolcoder.models.journal.repair import repair_journal

        done = repair_journal(path)
        click.echo(
            f"{path}: {done.saved} replies saved, {done.lost} lost; the damaged file is {done.kept_as}",
            err=True,
        )
    if drop_batches:
        from evolcoder.models.journal.repair import drop_open_batches

        dropped = drop_open_batches(path)
        n = sum(batch.n_requests for batch in dropped)
        click.echo(f"{path}: {len(dropped)} batches of {n} requests are given up", err=True)
    totals = read_totals(path)
    if as_json:
        of_all = {name: getattr(totals, name) for name in ("bytes", "replies", "spent_usd")}
        click.echo(json.dumps({"path": str(path), **of_all, **asdict(totals)}, indent=2))
        return
    click.echo(_as_text(totals, path))


def _as_text(totals: JournalTotals, path: Path) -> str:
    counts = totals.counts
    lines = [f"{path}: {totals.replies} replies, {totals.bytes / 1e6:.1f} MB"]
    for model in totals.models:
        cost = "no price" if model.cost_usd is None else f"{model.cost_usd:.4f} US dollars"
        if model.cost_usd is not None and model.unpriced:
            cost += f" ({model.unpriced} replies without a price)"
        lines.append(
            f"  {model.model}: {model.replies} replies, {model.prompt_tokens} + {model.completion_tokens} "
            f"tokens, {cost}, {model.seconds / max(model.replies, 1):.2f} s a reply"
        )
    # Replies of models in this process are none of an endpoint's.
    sent, hits = int(counts.get("sent", 0)), int(counts.get("hits", 0))
    lines.append(f"sent to endpoints {sent}, answered from the journal {hits}")
    retries = {
        name.removeprefix("retry: "): int(n) for name, n in counts.items() if name.startswith("retry: ")
    }
    if retries:
        lines.append("asked again: " + ", ".join(f"{n} {kind}" for kind, n in sorted(retries.items())))
    if counts.get("wasted usd"):
        lines.append(f"paid for answers thrown away: {counts['wasted usd']:.4f} US dollars")
    return "\n".join(lines)
