"""`evolcoder benchmarks`: the benchmarks that a model can be measured on, and what each needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from evolcoder.errors import UserError, nearest

if TYPE_CHECKING:
    from evolcoder.evaluate.known_benchmarks import KnownBenchmark


@click.command()
@click.argument("part", default="")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the list as JSON, with the address of each file."
)
def command(part: str, as_json: bool) -> None:
    """List the benchmarks, those whose name holds PART: size, licence of the data, tier, what is missing.

    The tier says how programs are judged (docs: The sandbox); a name with dates takes a window of them.

    \b
    Example:
      evolcoder benchmarks
      evolcoder benchmarks multipl-e
      evolcoder benchmarks bigcodebench --json
    """
    from evolcoder.evaluate.benchmarks import benchmark_names
    from evolcoder.evaluate.known_benchmarks import known_benchmarks

    found = known_benchmarks(part)
    if not found:
        raise UserError(f"no benchmark's name holds {part!r}{nearest(part, benchmark_names())}")
    click.echo(json.dumps([asdict(one) for one in found], indent=2) if as_json else _as_table(found))


def _as_table(found: list[KnownBenchmark]) -> str:
    rows = [("benchmark", "problems", "licence", "tier", "data from", "missing here")]
    for one in found:
        hosts = dict.fromkeys(urlsplit(place).hostname or "EVOLCODER_DATA" for place in one.data)
        name = f"{one.name} (dates)" if one.dated else one.name
        size = str(one.problems or "–")
        said = "; ".join(one.missing) or "nothing"
        rows.append(
            (name, size, one.licence or "–", one.tier or "–", ", ".join(hosts) or "this package", said)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row[:5], widths, strict=True)), row[5]]) for row in rows
    )
