"""What 10,000, 1 million and 100 million rows cost on 1, 8 and 100 machines, from measured rates.

    python bench/scale_costs.py               the table of docs/scale.md
    python bench/scale_costs.py --endpoint-rate 500 --machine-usd 1.2 --cores 32 --model gpt-4.1-mini

A row is two requests to the teacher (evolve, answer; with --verify a third), screened for copies and
duplicates. The rates are CPU time measured on two shared cores by `bench/scale.py` and `bench/evolve.py`.
What was not measured is an option with a plain default: the endpoint's rate, tokens a row, prices, cores and
memory of a machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from evolcoder.models.endpoint.pricing import price_for
from evolcoder.models.endpoint.settings import EndpointSettings

ROWS = (10_000, 1_000_000, 100_000_000)
MACHINES = (1, 8, 100)
REQUESTS = 2
VERIFY_REQUESTS = 1
"""More, for tests of the answer (--verify)."""


@dataclass(frozen=True)
class Rates:
    """Measured: CPU milliseconds, and bytes."""

    request_driver_ms: float = 0.53
    """A request in the whole command: prompt, client, journal, rules, files (bench/evolve.py: 0.49, 0.56)."""
    duplicates_growth_ms: float = 0.0174
    """Looking it up takes so much more with every million rows in the table (scale.py rates)."""
    transport_driver_ms: float = 0.014
    """Sending a row to workers twice, for its sketch and for screening (scale.py overhead: 0.0068 each)."""
    sketch_ms: float = 0.031
    screen_ms: float = 0.83
    """Counting a row's n-grams and comparing it with HumanEval and MBPP (scale.py rates: 0.36 + 0.47)."""
    memory_bytes: float = 40 + 140 + 152
    """Memory of the driver a row: table for duplicates (duplicates.py), its id, its seed (scale.py rates)."""
    program_ms: float = 2.7
    """Running one program with its tests in the sandbox (scale.py score, Ray, two workers)."""
    table_bytes: float = 300
    """Of the table for duplicates, in a temporary file (duplicates.py)."""
    data_bytes: float = 1321
    journal_bytes: float = 1565
    """Of two replies."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--endpoint-rate", type=float, default=200.0, help="requests a second it answers")
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--machine-usd", type=float, default=0.8, help="an hour of one machine")
    parser.add_argument("--cores", type=int, default=16, help="of one machine")
    parser.add_argument("--memory-gb", type=float, default=64.0, help="of one machine")
    parser.add_argument("--prompt-tokens", type=int, default=450, help="of a row's two requests")
    parser.add_argument("--completion-tokens", type=int, default=600, help="of a row's two answers")
    parser.add_argument("--verify", action="store_true", help="answers are tested, as by --verify tests")
    options = parser.parse_args()
    requests = requests_a_row(options.verify)
    rates = Rates()
    price = price_for(options.model, "https://api.openai.com/v1", EndpointSettings())
    tokens = (count * requests // REQUESTS for count in (options.prompt_tokens, options.completion_tokens))
    usd = None if price is None else price(*tokens)
    driver_ms, worker_ms, disk_bytes = a_row(rates, 0, options.verify)
    print(
        f"a row: {requests} requests, {driver_ms:.2f} ms of the driver and {rates.duplicates_growth_ms:.4f} "
        f"ms more for each million rows before it, {worker_ms:.2f} ms of workers, {disk_bytes:,.0f} bytes of "
        f"disk, {rates.memory_bytes:.0f} bytes of the driver's memory"
    )
    print()
    heads = ["rows", "machines", "endpoint", "driver", "workers", "bound by"]
    heads += ["machines' cost", "teacher's cost", "disk", "driver's memory"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for rows in ROWS:
        for machines in MACHINES:
            print(line(rows, machines, options, rates, usd))


def requests_a_row(verify: bool) -> int:
    """Return how often the teacher is asked for a row."""
    return REQUESTS + VERIFY_REQUESTS * verify


def a_row(rates: Rates, rows: int, verify: bool) -> tuple[float, float, float]:
    """Return of a row, the mean of `rows`: the driver's and workers' CPU milliseconds, and bytes on disk."""
    requests = requests_a_row(verify)
    driver_ms = requests * rates.request_driver_ms + rates.transport_driver_ms
    # On average half of the rows are met already.
    driver_ms += rates.duplicates_growth_ms * rows / 2e6
    # The rows stand in their round's file and again in the merged data set.
    disk_bytes = 2 * rates.data_bytes + rates.journal_bytes * requests / REQUESTS + rates.table_bytes
    return driver_ms, rates.sketch_ms + rates.screen_ms + rates.program_ms * verify, disk_bytes


def line(rows: int, machines: int, options: argparse.Namespace, rates: Rates, usd: float | None) -> str:
    """Return one line of the table."""
    driver_ms, worker_ms, disk_bytes = a_row(rates, rows, options.verify)
    hours = {
        "the endpoint": rows * requests_a_row(options.verify) / options.endpoint_rate / 3600,
        "the driver": rows * driver_ms / 3.6e6,
        "the workers": rows * worker_ms / 3.6e6 / (machines * options.cores),
    }
    bound = max(hours, key=lambda name: hours[name])
    # The driver also holds some 200 MB, whatever the rows.
    memory_gb = 0.2 + rows * rates.memory_bytes / 1e9
    told = f"**{size(memory_gb)}**" if memory_gb > options.memory_gb / 2 else size(memory_gb)
    cells = [
        f"{rows:,}",
        str(machines),
        *(time(hour) for hour in hours.values()),
        bound,
        f"{machines * options.machine_usd * hours[bound]:,.0f} $",
        "unknown" if usd is None else f"{usd * rows:,.0f} $",
        size(rows * disk_bytes / 1e9),
        told,
    ]
    return "| " + " | ".join(cells) + " |"


def time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def size(gb: float) -> str:
    return f"{1000 * gb:.0f} MB" if gb < 1 else f"{gb:,.0f} GB"


if __name__ == "__main__":
    main()
