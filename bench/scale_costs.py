"""What 10,000, 1 million and 100 million rows cost on 1, 8 and 100 machines, from measured rates.

    python bench/scale_costs.py               the tables of docs/scale.md
    python bench/scale_costs.py --endpoint-rate 500 --machine-usd 1.2 --cores 32 --model gpt-4.1-mini

A row is two requests to the teacher (evolve, answer), with --verify a third one for tests and one program run.
The rates below are `bench/scale.py`'s and `bench/requests.py`'s, on two shared cores; what was not measured is
an option with a plain default: the endpoint's rate, prices, cores a machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from evolcoder.models.pricing import price_for
from evolcoder.models.settings import EndpointSettings

ROWS = (10_000, 1_000_000, 100_000_000)
MACHINES = (1, 8, 100)


@dataclass(frozen=True)
class Rates:
    """Measured: CPU milliseconds, and bytes."""

    request_driver_ms: float = 0.27
    """A journaled request on the event loop (bench/requests.py, the middle of 0.25 to 0.28)."""
    duplicates_driver_ms: float = 0.12
    """Looking a row up in the table and adding it, its sketch made elsewhere (scale.py rates)."""
    write_driver_ms: float = 0.05
    """Writing a row out."""
    transport_driver_ms: float = 0.02
    """Sending a row to workers twice, for its sketch and for screening (scale.py overhead)."""
    sketch_ms: float = 0.2
    screen_ms: float = 1.5
    """Counting a row's n-grams and comparing it with the problems of HumanEval and MBPP."""
    program_ms: float = 4.0
    """A program in the sandbox (scale.py score, CPU of the whole tree)."""
    program_driver_ms: float = 0.15
    """A program's share of the driver (scale.py score)."""
    table_bytes: float = 350
    """Memory of the driver a row, for duplicates (docs/evolve.md)."""
    data_bytes: float = 2500
    """A row in the data set; again as much for each merged data set."""
    journal_bytes: float = 4500
    """Two replies in the journal."""
    prompt_tokens: float = 450
    completion_tokens: float = 600
    """Of both requests together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--endpoint-rate", type=float, default=200.0, help="requests a second it answers")
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--machine-usd", type=float, default=0.8, help="an hour of one machine")
    parser.add_argument("--cores", type=int, default=16, help="of one machine")
    parser.add_argument("--memory-gb", type=float, default=64.0, help="of one machine")
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    rates = Rates()
    usd = price_a_row(options.model, rates, options.verify)
    driver_ms, worker_ms, n_requests = a_row(rates, options.verify)
    print(
        f"a row: {n_requests} requests, {driver_ms:.2f} ms of the driver, {worker_ms:.1f} ms of workers, "
        f"{(rates.data_bytes + rates.journal_bytes) / 1000:.1f} kB of disk, {rates.table_bytes:.0f} B of memory"
        + (f", {1000 * usd:.3f} US dollars a thousand at {options.model}" if usd is not None else "")
    )
    print(
        f"\n| rows | machines | endpoint at {options.endpoint_rate:g}/s | driver | workers | bound by | machines' "
        "cost | teacher's cost | disk | driver's memory |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for rows in ROWS:
        for machines in MACHINES:
            print(line(rows, machines, options, rates, usd))


def a_row(rates: Rates, verify: bool) -> tuple[float, float, int]:
    """Return the driver's and the workers' CPU milliseconds of a row, and its requests."""
    n_requests = 3 if verify else 2
    driver_ms = n_requests * rates.request_driver_ms + rates.duplicates_driver_ms
    driver_ms += rates.write_driver_ms + rates.transport_driver_ms + verify * rates.program_driver_ms
    worker_ms = rates.sketch_ms + rates.screen_ms + verify * rates.program_ms
    return driver_ms, worker_ms, n_requests


def price_a_row(model: str, rates: Rates, verify: bool) -> float | None:
    """Return US dollars a row; None where no price is known."""
    price = price_for(model, "https://api.openai.com/v1", EndpointSettings())
    factor = 1.5 if verify else 1.0
    return (
        None if price is None else factor * price.of(int(rates.prompt_tokens), int(rates.completion_tokens))
    )


def line(rows: int, machines: int, options: argparse.Namespace, rates: Rates, usd: float | None) -> str:
    """Return one line of the table."""
    driver_ms, worker_ms, n_requests = a_row(rates, options.verify)
    hours = {
        "the endpoint": rows * n_requests / options.endpoint_rate / 3600,
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
        size(rows * (rates.data_bytes + rates.journal_bytes) / 1e9),
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
