"""`evolcoder publish`: a run's model and data set to the Hugging Face hub."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.errors import UserError

if TYPE_CHECKING:
    from evolcoder.report.publishing import Repository


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--model", metavar="OWNER/NAME", help="Repository for the best checkpoint.")
@click.option("--dataset", metavar="OWNER/NAME", help="Repository for the training data.")
@click.option("--dry-run", is_flag=True, help="Push nothing; show repositories, files, sizes and licences.")
@click.option("--public", is_flag=True, help="Make new repositories public; they are private otherwise.")
@click.option("--accept-terms", is_flag=True, help="Push although a licence forbids a use or is not known.")
@click.option("--endpoint", metavar="URL", help="Another hub than huggingface.co.")
@click.option("--json", "as_json", is_flag=True, help="Print what is pushed as JSON.")
def command(run: Path, model: str | None, dataset: str | None, dry_run: bool, **options: Any) -> None:
    """Push the best model of RUN and its data set to the Hugging Face hub, each with its card.

    With neither --model nor --dataset, both are shown under made-up names (with --dry-run only). The token is
    that of `hf auth login` or the variable HF_TOKEN.

    \b
    Example:
      evolcoder publish runs/quickstart --dry-run
      evolcoder publish runs/quickstart --model me/my-coder --dataset me/my-coder-data
    """
    from evolcoder.report.publishing import publishing_text, push, what_to_publish
    from evolcoder.report.run_folder import read_run

    if model is None and dataset is None:
        if not dry_run:
            raise UserError("--model OWNER/NAME, --dataset OWNER/NAME or --dry-run is expected")
        found = read_run(run)
        model = f"OWNER/{found.name}" if found.result.get("best_round") else None
        dataset = f"OWNER/{found.name}-data"
    repositories = what_to_publish(run, model, dataset)
    if options["as_json"]:
        click.echo(json.dumps([_plain(repository) for repository in repositories], indent=2))
    else:
        click.echo(publishing_text(repositories))
    if dry_run:
        return
    if not options["accept_terms"] and any(repository.restrictions for repository in repositories):
        raise UserError("a licence above forbids a use or is not known; --accept-terms pushes all the same")
    for address in push(repositories, private=not options["public"], endpoint=options["endpoint"]):
        click.echo(address, err=options["as_json"])


def _plain(repository: Repository) -> dict[str, Any]:
    names = ("kind", "name", "what", "licence", "restrictions")
    return {
        **{name: getattr(repository, name) for name in names},
        "chain": [asdict(link) for link in repository.chain],
        "files": [{"name": file.name, "bytes": file.bytes} for file in repository.files],
        "bytes": repository.bytes,
    }
