"""`evolcoder seeds`: make seed instructions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import code_options, code_settings, engine_option, overwrite_option, spending
from evolcoder.errors import DataError, UserError
from evolcoder.models.session import model_session, price_of

if TYPE_CHECKING:
    from evolcoder.code_base.choice import CodeCounts
    from evolcoder.code_base.snippets import Snippet
    from evolcoder.evolve.rounds import RoundSummary
    from evolcoder.models.session import ModelChoice


_ASKING = ("verify", "shots", "temperature", "top_p", "max_tokens", "seed")
"""Options that are settings of how the teacher is asked."""


@click.group()
def command() -> None:
    """Make seed instructions from what you have.

    \b
    Example:
      evolcoder seeds from-code ~/my-project --teacher embedded --out seeds.jsonl
    """


@command.command("from-code")
@click.argument("places", nargs=-1, required=True, metavar="PATH-OR-GIT-URL...")
@click.option("--teacher", required=True, metavar="MODEL", help="As for evolve.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Ends in .jsonl.")
@click.option(
    "--languages", default="", show_default=False, help="python,rust ...; absent: all that are read."
)
@click.option("--per-file", type=click.IntRange(min=1), default=3)
@code_options
@click.option(
    "--verify",
    type=click.Choice(["off", "syntax", "tests"]),
    default="tests",
    help="Drop answers that do not parse, or fail tests that the teacher writes (sandboxed).",
)
@click.option("--shots", type=click.IntRange(0, 2), default=0, help="Worked examples; 2: small teachers.")
@click.option("--temperature", type=float, default=0.7)
@click.option("--top-p", type=float, default=0.95)
@click.option("--max-tokens", type=click.IntRange(min=1), default=1024)
@click.option("--dry-run", is_flag=True, help="Send nothing; print what would be sent, and its price.")
@overwrite_option
@model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def from_code(
    places: tuple[str, ...],
    teacher: str,
    out: Path,
    languages: str,
    per_file: int,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make seed instructions from the functions and classes of code bases.

    Files that are generated, vendored, minified, tests, or under a licence that is not permissive are left
    out, and so is every function with a key, a token, a mail address or a private URL in it. A share of the
    documented functions is held out for `evolcoder benchmark from-code`. The same command continues.

    \b
    Example:
      evolcoder seeds from-code . --teacher openai:gpt-4.1-mini --out seeds.jsonl --dry-run
      evolcoder seeds from-code ~/a https://github.com/me/b --teacher embedded --out seeds.jsonl --limit 20
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.code_base.choice import chosen_snippets, counted
    from evolcoder.code_base.seeds import SeedFiles, seeds_from_snippets
    from evolcoder.code_base.source_files import names_of, opened_code_bases
    from evolcoder.evolve.settings import EvolveSettings
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine
    from evolcoder.output_files import holds_rows, output_file

    if out.suffix != ".jsonl":
        raise UserError(f"--out {out}: a name that ends in .jsonl is expected")
    settings = code_settings(options, languages, per_file)
    try:
        asking = EvolveSettings(
            **{name: options[name] for name in _ASKING},
            instruction_max_tokens=options["max_tokens"],
            rows_in_flight=2 * options["concurrency"],
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    choice = model_choice(teacher, options, options["timeout_s"])
    with opened_code_bases(places) as code_bases:
        snippets, held_out, counts = chosen_snippets(code_bases, settings)
    if not snippets:
        raise DataError(f"no code to learn from in {names_of(code_bases)}: {counts.told}")
    if dry_run:
        _tell_what_would_be_sent(snippets, counts, choice, asking.verify == "tests", as_json)
        return
    files = SeedFiles(out)
    files.check()

    async def make() -> RoundSummary:
        with open_engine(options["engine"]) as engine:
            async with model_session(choice, files.journal, engine, **spending(options)) as model:
                return await seeds_from_snippets(
                    snippets, held_out, counts, model, asking, files, progress_view(), engine
                )

    with output_file(out, holds_rows(), overwrite=options["overwrite"]):
        summary = run_async(make())
    if as_json:
        click.echo(json.dumps({"out": str(out), **json.loads(files.summary.read_text("utf-8"))}))
        return
    click.echo(f"{counts.snippets} snippets chosen; {counts.told}")
    click.echo(f"{summary.kept} of {summary.asked} kept; eliminated: {counted(summary.eliminated)}")
    if summary.verdicts:
        click.echo(f"answers verified: {counted(summary.verdicts)}")
    cost = "" if summary.usd is None else f", {summary.usd:.4f} US dollars"
    click.echo(f"{summary.requests} requests, {sum(summary.tokens.values())} tokens{cost}")
    click.echo(f"{out}")


def _tell_what_would_be_sent(
    snippets: list[Snippet], counts: CodeCounts, choice: ModelChoice, tests: bool, as_json: bool
) -> None:
    """Print every text of the code base that would leave this machine, and what all requests would cost."""
    from evolcoder.code_base.seeds import expected_summary, first_request
    from evolcoder.evolve.estimate import estimate

    endpoint = choice.endpoint
    expected = expected_summary(snippets, tests, price_of(choice))
    found = estimate(
        [expected], len(snippets), 1, 0.0, endpoint.concurrency, rpm=endpoint.rpm, tpm=endpoint.tpm
    )
    if as_json:
        sent = [{**snippet.source, "text": first_request(snippet)} for snippet in snippets]
        click.echo(json.dumps({"sent": sent, "code": counts.plain(), "estimate": asdict(found)}))
        return
    for snippet in snippets:
        where = f"{snippet.file.code_base.name}/{snippet.file.path}:{snippet.source['lines']}"
        click.echo(f"── {where} ({snippet.file.licence})\n{first_request(snippet)}\n")
    click.echo(f"{counts.snippets} snippets chosen; {counts.told}")
    money = "no price known" if found.usd is None else f"about {found.usd:.4f} US dollars"
    click.echo(
        f"nothing was sent; the above would be, once for its concepts and once for a task: {found.requests} "
        f"requests, about {found.prompt_tokens} + {found.completion_tokens} tokens, {money}"
    )
