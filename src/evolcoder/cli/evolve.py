"""`evolcoder evolve`: seeds in, harder instructions with answers out."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.model_options import model_choice, model_options, named_value
from evolcoder.cli.options import (
    columns_option,
    domain_option,
    engine_option,
    overwrite_option,
    request_timeout_option,
    spend_options,
    spending,
)
from evolcoder.cli.progress_view import progress_view
from evolcoder.errors import EndpointError, UserError
from evolcoder.models.session import model_session

if TYPE_CHECKING:
    from evolcoder.evolve.rounds import RoundSummary
    from evolcoder.evolve.settings import EvolveSettings
    from evolcoder.models.endpoint.settings import EndpointSettings
    from evolcoder.models.session import ModelChoice
    from evolcoder.models.stats import RequestStats
    from evolcoder.records import Instruction


_SETTINGS = ("shots", "judge", "verify", "answers", "temperature", "top_p", "max_tokens", "keep_truncated")
"""Options that are settings under the same name."""
_SAMPLE = 20
"""Seeds that a dry run evolves."""
_LIKELY_IN_FLIGHT = 256
"""Requests at once that a dry run counts with at most: what an endpoint accepts is not known before."""


@click.command()
@click.option(
    "--seeds", required=True, help='File of rows (docs/formats.md), Hugging Face name, or "shipped".'
)
@columns_option
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    required=True,
    metavar="[WEIGHT*]MODEL",
    help='"embedded", a folder, a GGUF file, a name, or openai:NAME[@URL]; several of the last kind.',
)
@model_options
@request_timeout_option
@click.option("--rounds", type=click.IntRange(min=1), default=1)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Evolve this many of the seeds; all stay in the data set."
)
@domain_option
@click.option(
    "--methods",
    help="Method set: code, wizardlm-paper (or general), wizardlm-repository, or a file.py  [default: the "
    "domain's].",
)
@click.option("--method", "custom", multiple=True, metavar="NAME=SENTENCE", help="A further method.")
@click.option(
    "--weight", "weights", multiple=True, metavar="NAME=NUMBER", help="Chance of a method; 0: never."
)
@click.option("--shots", type=click.IntRange(min=0), default=0, help="Worked examples.")
@click.option("--judge/--no-judge", default=False, help="Ask whether anything was gained.")
@click.option(
    "--verify",
    default="off",
    help="How the domain drops wrong answers. Code: syntax, those that do not parse; tests, also those that "
    "fail tests that the teacher writes (sandboxed).",
)
@click.option(
    "--score",
    "scores",
    multiple=True,
    metavar="NAME=LEAST",
    help="A score of the domain that the teacher gives each row; rows under LEAST are dropped, 0: none.",
)
@click.option(
    "--answers",
    type=click.IntRange(min=1),
    default=1,
    help="Answers to an evolved instruction; all that pass stay.",
)
@click.option("--temperature", type=float, default=1.0)
@click.option("--top-p", type=float, default=0.9)
@click.option("--max-tokens", type=click.IntRange(min=1), default=2048)
@click.option("--keep-truncated", is_flag=True, help="Keep answers that were cut at --max-tokens.")
@click.option("--seed", type=int, default=0, help="Every random choice follows from it.")
@spend_options
@click.option("--decontaminate", "benchmarks", multiple=True, help="Drop rows that copy this benchmark.")
@click.option("--dry-run", is_flag=True, help="Evolve a sample of 20 and say what the whole would take.")
@overwrite_option
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    seeds: str, teachers: tuple[str, ...], out: Path, rounds: int, as_json: bool, **options: Any
) -> None:
    """Evolve seed instructions into harder ones, and answer them, by Evol-Instruct.

    Writes OUT/round-R/ (evolved and eliminated rows) and OUT/dataset.jsonl (seeds and all rounds).
    Interrupted, the same command continues and asks for nothing twice.

    \b
    Example:
      evolcoder evolve --seeds shipped --teacher embedded --shots 2 --rounds 1 --limit 8 --out evolved
      evolcoder evolve --seeds code_alpaca_20k.json --teacher openai:gpt-4.1-mini --rounds 3 --out evolved
    """
    from evolcoder.domains import load_domain
    from evolcoder.evolve.merging import pool_after
    from evolcoder.evolve.output_folder import check_folder, take_folder
    from evolcoder.evolve.row_files import PackedRows
    from evolcoder.evolve.settings import EvolveSettings
    from evolcoder.execution.event_loop import run_async
    from evolcoder.instructions import stream_instructions

    domain = load_domain(options["domain"])
    try:
        settings = EvolveSettings(
            methods=options["methods"] or domain.methods_name,
            custom_methods=dict(named_value("--method", text) for text in options["custom"]),
            weights=_numbers(options["weights"], "--weight"),
            scores=_numbers(options["scores"], "--score"),
            instruction_max_tokens=options["max_tokens"],
            rows_in_flight=2 * options["concurrency"],
            seed=options["seed"],
            **{name: options[name] for name in _SETTINGS},
        )
        domain.answering.check(settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    teacher = model_choice(",".join(teachers), options, options["timeout_s"])
    rows = PackedRows(stream_instructions(seeds, options["columns"]))
    how = (teacher, settings, rounds, out)
    if options["dry_run"]:
        check_folder(out)
        sample = list(islice(pool_after(rows, (), limit=_SAMPLE, seed=options["seed"]), _SAMPLE))
        summaries, stats, seconds = run_async(_evolve(sample, *how, out / "dry-run", options))
        n_seeds = min(len(rows), options["limit"] or len(rows))
        _tell_estimate(summaries, stats, seconds, n_seeds, rounds, teacher.endpoint, as_json)
        return
    take_folder(
        *(out, seeds, rows, teacher, settings, options["benchmarks"], options["domain"]),
        domain.card(settings),
        overwrite=options["overwrite"],
    )
    summaries, stats, seconds = run_async(_evolve(rows, *how, out, options))
    _tell(summaries, stats, seconds, out, as_json)
    _check_that_something_was_kept(summaries)


async def _evolve(
    seeds: Collection[Instruction],
    teacher: ModelChoice,
    settings: EvolveSettings,
    rounds: int,
    run: Path,
    out: Path,
    options: dict[str, Any],
) -> tuple[list[RoundSummary], RequestStats | None, float]:
    from evolcoder.domains import load_domain
    from evolcoder.evaluate.benchmarks import problem_texts
    from evolcoder.evolve.rounds import evolve_dataset
    from evolcoder.execution.event_loop import give_freed_memory_back
    from evolcoder.execution.opening import open_engine
    from evolcoder.models.opening import is_remote
    from evolcoder.models.stats import stats_of

    begun = time.monotonic()
    if is_remote(teacher.model.rpartition("*")[2]):
        give_freed_memory_back()
    problems = problem_texts(options["benchmarks"])
    with open_engine(options["engine"]) as engine:
        # A dry run's sample is part of the run: its replies are in the run's journal and are paid for once.
        async with model_session(teacher, run / "journal.sqlite", engine, **spending(options)) as model:
            summaries = await evolve_dataset(
                *(seeds, model, settings, rounds, out, progress_view()),
                limit=options["limit"],
                problems=problems,
                engine=engine,
                answering=load_domain(options["domain"]).answering,
            )
        return summaries, stats_of(model), time.monotonic() - begun


def _numbers(texts: tuple[str, ...], option: str) -> dict[str, float]:
    numbers = {}
    for name, text in (named_value(option, pair) for pair in texts):
        try:
            numbers[name] = float(text)
        except ValueError as error:
            raise ValueError(f"{option} {name}={text}: a number is expected") from error
    return numbers


def _tell(
    summaries: list[RoundSummary], stats: RequestStats | None, seconds: float, out: Path, as_json: bool
) -> None:
    requests = (
        {"sent": stats.sent, "from journal": stats.hits, "retries": dict(stats.retries)} if stats else {}
    )
    if as_json:
        told = {"rounds": [asdict(summary) for summary in summaries], "requests": requests}
        click.echo(json.dumps({**told, "seconds": round(seconds, 2), "dataset": str(out / "dataset.jsonl")}))
        return
    for summary in summaries:
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.eliminated.items())) or "none"
        click.echo(f"round {summary.round}: {summary.kept} of {summary.asked} kept; eliminated: {dropped}")
        if summary.preambles:
            click.echo(f"  {summary.preambles} instructions freed of words around them")
        if summary.repeated_parents:
            click.echo(f"  {summary.repeated_parents} seeds passed over: their ids came before")
        if summary.verdicts:
            verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(summary.verdicts.items()))
            click.echo(f"  answers verified: {verdicts}")
    tokens = sum(sum(summary.tokens.values()) for summary in summaries)
    money = sum(summary.usd or 0.0 for summary in summaries)
    cost = f", {money:.4f} US dollars" if money else ""
    click.echo(f"{sum(s.requests for s in summaries)} requests, {tokens} tokens{cost}, {seconds:.1f} s")
    if stats is not None and stats.estimated:
        click.echo(f"{stats.estimated} replies came without a count of tokens: theirs is an estimate")
    if stats is not None and stats.left_out:
        click.echo(f"left out, since the endpoint refuses them: {', '.join(stats.left_out)}")
    click.echo(f"{out / 'dataset.jsonl'}")


def _check_that_something_was_kept(summaries: list[RoundSummary]) -> None:
    """Raise EndpointError where the teacher gave no answer of use to anything."""
    from evolcoder.evolve.rounds import by_number

    reasons = sum((Counter(summary.eliminated) for summary in summaries), Counter[str]())
    if reasons and not any(summary.kept for summary in summaries) and reasons.keys() <= _NO_ANSWER:
        hint = "; is --max-tokens too small for it?" if "truncated" in reasons else ""
        why = f"the teacher gave no answer of use ({by_number(reasons)}){hint}"
        raise EndpointError(f"no row was kept: {why}")


_NO_ANSWER = {"truncated", "no reply", "refused"}


def _tell_estimate(
    summaries: list[RoundSummary],
    stats: RequestStats | None,
    seconds: float,
    n_seeds: int,
    rounds: int,
    endpoint: EndpointSettings,
    as_json: bool,
) -> None:
    from evolcoder.evolve.estimate import estimate

    requests = sum(summary.requests for summary in summaries)
    latency = stats.latency.quantile(0.5) if stats is not None and stats.latency.count else 0.0
    at_once = min(endpoint.concurrency, _LIKELY_IN_FLIGHT)
    # A model in this process answers in batches: what counts there is the time the sample took.
    share = latency if latency else seconds / max(requests, 1) * at_once
    found = estimate(summaries, n_seeds, rounds, share, at_once, rpm=endpoint.rpm, tpm=endpoint.tpm)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    money = "no price known" if found.usd is None else f"{found.usd:.2f} US dollars"
    click.echo(
        f"from a sample of {found.sample}: {found.rows_asked} instructions to evolve, "
        f"about {found.rows_kept} kept; {found.requests} requests, "
        f"{found.prompt_tokens} + {found.completion_tokens} tokens, {money}, "
        f"about {found.seconds / 60:.1f} minutes at {at_once} in flight"
    )
