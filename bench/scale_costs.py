"""What 10,000, 1 million and 100 million rows cost on 1, 8 and 100 machines, from measured rates.

    python bench/scale_costs.py               the table of docs/scale.md
    python bench/scale_costs.py --endpoint-rate 500 --machine-usd 1.2 --cores 32 --model gpt-4.1-mini

A row is two requests to the teacher (evolve, answer), screened for copies and duplicates. The rates are CPU
time measured on two shared cores by `bench/scale.py` and `bench/requests.py`. What was not measured is an
option with a plain default: the endpoint's rate, tokens a row, prices, cores and memory of a machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from evolcoder.models.pricing import price_for
from evolcoder.models.settings import EndpointSettings

ROWS = (10_000, 1_000_000, 100_000_000)
MACHINES = (1, 8, 100)
REQUESTS = 2


@dataclass(frozen=True)
class Rates:
    """Measured: CPU milliseconds, and bytes."""

    request_driver_ms: float = 0.27
    """A journaled request on the event loop (bench/requests.py: 0.25 to 0.28)."""
    duplicates_driver_ms: float = 0.014
    """Looking a row up in a small table and adding it, its sketch made elsewhere (scale.py rates)."""
    transport_driver_ms: float = 0.013
    """Sending a row to workers twice, for its sketch and for screening (scale.py overhead: 0.0063 each)."""
    sketch_ms: float = 0.031
    screen_ms: float = 0.97
    """Counting a row's n-grams and comparing it with HumanEval and MBPP (scale.py rates: 0.43 + 0.54)."""
    table_bytes: float = 350
    """Memory of the driver a row, for duplicates (docs/evolve.md)."""
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
    options = parser.parse_args()
    rates = Rates()
    price = price_for(options.model, "https://api.openai.com/v1", EndpointSettings())
    usd = None if price is None else price.of(options.prompt_tokens, options.completion_tokens)
    driver_ms, worker_ms, disk_bytes = a_row(rates)
    print(
        f"a row: {REQUESTS} requests, {driver_ms:.2f} ms of the driver, {worker_ms:.2f} ms of workers, "
        f"{disk_bytes:,.0f} bytes of disk, {rates.table_bytes:.0f} bytes of the driver's memory"
    )
    print()
    heads = ["rows", "machines", "endpoint", "driver", "workers", "bound by"]
    heads += ["machines' cost", "teacher's cost", "disk", "driver's memory"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for rows in ROWS:
        for machines in MACHINES:
            print(line(rows, machines, options, rates, usd))


def a_row(rates: Rates) -> tuple[float, float, float]:
    """Return the driver's and the workers' CPU milliseconds of a row, and its bytes on disk."""
    driver_ms = REQUESTS * rates.request_driver_ms + rates.duplicates_driver_ms + rates.transport_driver_ms
    # The rows stand in their round's file and again in the merged data set.
    return driver_ms, rates.sketch_ms + rates.screen_ms, 2 * rates.data_bytes + rates.journal_bytes


def line(rows: int, machines: int, options: argparse.Namespace, rates: Rates, usd: float | None) -> str:
    """Return one line of the table."""
    driver_ms, worker_ms, disk_bytes = a_row(rates)
    hours = {
        "the endpoint": rows * REQUESTS / options.endpoint_rate / 3600,
        "the driver": rows * driver_ms / 3.6e6,
        "the workers": rows * worker_ms / 3.6e6 / (machines * options.cores),
    }
    bound = max(hours, key=lambda name: hours[name])
    # The driver also holds some 100 MB, whatever the rows.
    memory_gb = 0.1 + rows * rates.table_bytes / 1e9
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
