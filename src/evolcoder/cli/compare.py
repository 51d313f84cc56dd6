"""`evolcoder compare`: two sample files, problem by problem, with an exact paired test."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from evolcoder.evaluate.comparison import Comparison


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--benchmark", "-b", help="Judge by it; needed for samples without verdicts.")
@click.option(
    "--extract",
    type=click.Choice(["none", "wizardcoder", "fence", "first", "last", "auto"]),
    help="How programs are found in raw text  [default: auto for chat answers, else none].",
)
@click.option("--oracle", help="As for evolcoder score.")
@click.option("--workers", type=click.IntRange(min=1), help="Programs at once; all cores where absent.")
@click.option("--no-cache", is_flag=True, help="Run everything again.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(a: Path, b: Path, no_cache: bool, as_json: bool, **how: Any) -> None:
    """Compare A and B: verdict files of `evolcoder score --out`, or sample files (with --benchmark).

    With --benchmark, samples are judged by it, whatever verdicts their rows carry.

    \b
    Example:
      evolcoder compare base.verdicts.jsonl tuned.verdicts.jsonl
      evolcoder compare claude.jsonl bard.jsonl --benchmark humaneval
    """
    from evolcoder.api import compare_samples
    from evolcoder.cli.progress_view import progress_view

    comparison = compare_samples(a, b, **how, use_cache=not no_cache, progress=progress_view())
    if as_json:
        click.echo(json.dumps(asdict(comparison), indent=2))
    else:
        names = (str(a), str(b)) if a.name == b.name else (a.name, b.name)
        click.echo(_as_text(comparison, *names, how["benchmark"]))


def _as_text(c: Comparison, a: str, b: str, benchmark_name: str | None) -> str:
    over = f" over {c.n_families} families of problems," if c.n_families else ""
    lines = [
        f"A {a}: {100 * c.value_a:.2f}   B {b}: {100 * c.value_b:.2f}   on {c.n_problems} problems",
        f"B - A: {100 * c.difference:+.2f} points, 95% [{100 * c.low:+.1f}, {100 * c.high:+.1f}]",
        f"only A {len(c.only_a)}, only B {len(c.only_b)}; exact paired test{over} p = {c.p_value:.4g}",
        f"only A: {', '.join(c.only_a) or '-'}",
        f"only B: {', '.join(c.only_b) or '-'}",
    ]
    for name, only in (("A", c.only_in_a), ("B", c.only_in_b)):
        if only:
            lines.append(f"not compared: {len(only)} problems that only {name} has")
    lines += [f"A: {c.verdicts_a}", f"B: {c.verdicts_b}"]
    if c.verdicts_a != c.verdicts_b and benchmark_name is None:
        lines.append("A and B may be judged by other tests: --benchmark judges the samples of both alike")
    if c.subset_of is not None:
        lines.append(f"a subset: {c.n_problems} of the {c.subset_of} problems of the benchmark")
    return "\n".join(lines)
