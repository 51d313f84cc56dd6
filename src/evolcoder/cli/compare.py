"""`evolcoder compare`: two sample files, problem by problem, with an exact paired test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evolcoder.evaluate.comparison import Comparison


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    "-b",
    "benchmark_name",
    help="Judge by it; needed for samples without verdicts.",
)
@click.option(
    "--extract",
    "how",
    type=click.Choice(["none", "wizardcoder", "fence", "auto"]),
    help="How programs are found in raw text  [default: auto for chat answers, else none].",
)
@click.option("--oracle", help="As for evolcoder score.")
@click.option("--workers", type=click.IntRange(min=1), help="Programs at once; all cores where absent.")
@click.option("--no-cache", is_flag=True, help="Run everything again.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    a: Path,
    b: Path,
    benchmark_name: str | None,
    how: str | None,
    oracle: str | None,
    workers: int | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Compare A and B: verdict files of `evolcoder score --out`, or sample files (with --benchmark).

    With --benchmark, samples are judged by it, whatever verdicts their rows carry.

    \b
    Example:
      evolcoder compare base.verdicts.jsonl tuned.verdicts.jsonl
      evolcoder compare claude.jsonl bard.jsonl --benchmark humaneval
    """
    import json
    from dataclasses import asdict
    from typing import cast

    from evolcoder.cli.progress_view import progress_view
    from evolcoder.errors import UserError
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.evaluate.comparison import compare, with_ids_of
    from evolcoder.evaluate.score_file import ScoreRequest, score_file
    from evolcoder.evaluate.scoring import ScoringSettings
    from evolcoder.evaluate.verdict_files import read_verdicts
    from evolcoder.extraction.code_blocks import Extraction

    benchmark = None if benchmark_name is None else load_benchmark(benchmark_name)

    def verdicts(path: Path) -> tuple[dict[str, list[bool]], str]:
        carried = read_verdicts(path, benchmark)
        if carried is not None:
            return carried, "verdicts that the file carries"
        if benchmark is None:
            raise UserError(f"{path}: a sample file, not verdicts; --benchmark NAME is needed to judge it")
        request = ScoreRequest(
            path,
            cast("Extraction | None", how),
            settings=ScoringSettings(oracle=oracle),
            ks=(1,),
            workers=workers,
            use_cache=not no_cache,
        )
        scored = score_file(request, benchmark, progress_view())
        named = scored.scores[0].settings
        how_judged = f"oracle {named['oracle']}, extract {named['extract']}"
        return scored.passed, f"judged by {benchmark.title}, {how_judged}"

    (of_a, said_a), (of_b, said_b) = verdicts(a), verdicts(b)
    comparison = compare(of_a, with_ids_of(of_a, of_b))
    if comparison.n_problems == 0:
        raise UserError(f"{a} and {b} have no problem in common")
    if as_json:
        said = {"verdicts_a": said_a, "verdicts_b": said_b}
        click.echo(json.dumps({**asdict(comparison), **said}, indent=2))
        return
    names = (str(a), str(b)) if a.name == b.name else (a.name, b.name)
    lines = [_as_text(comparison, *names), f"A: {said_a}", f"B: {said_b}"]
    if benchmark is not None and comparison.n_problems < len(benchmark.problems):
        total = len(benchmark.problems)
        lines.append(f"a subset: {comparison.n_problems} of the {total} problems of {benchmark.title}")
    click.echo("\n".join(lines))


def _as_text(c: Comparison, a: str, b: str) -> str:
    lines = [
        f"A {a}: {100 * c.value_a:.2f}   B {b}: {100 * c.value_b:.2f}   on {c.n_problems} problems",
        f"B - A: {100 * c.difference:+.2f} points, 95% [{100 * c.low:+.1f}, {100 * c.high:+.1f}]",
        f"only A {len(c.only_a)}, only B {len(c.only_b)}; exact paired test p = {c.p_value:.4g}",
        f"only A: {', '.join(c.only_a) or '-'}",
        f"only B: {', '.join(c.only_b) or '-'}",
    ]
    for name, only in (("A", c.only_in_a), ("B", c.only_in_b)):
        if only:
            lines.append(f"not compared: {len(only)} problems that only {name} has")
    return "\n".join(lines)
