"""How quickly the app browses a big run: index, filters, text search and pages, with the memory they take.

python bench/app.py --rows 100000
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson

from evolcoder.app.data_page import detail_html, rows_html
from evolcoder.app.run_rows import RowFilter, RowSource, RunRows
from evolcoder.app.widgets import Place

_SENTENCE = "write a function that takes a list of numbers and returns the sum of those sorted by key"
_REPEATS = 5
Result = TypeVar("Result")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        sources = made_up(Path(folder), rows)
        size = sum(source.path.stat().st_size for source in sources)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, index = timed(lambda: RunRows(sources), 1)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{rows:,} rows, {size / 2**20:.0f} MiB; index: {seconds:.2f} s, {grown:.0f} MiB more memory")
        for name, wanted in {
            "no filter": RowFilter(),
            "round and method": RowFilter(round=2, method="deepen"),
            "a text in one row": RowFilter(text="needle-77 "),
            "a text in no row": RowFilter(text="nowhere to be found"),
            "a text in every row": RowFilter(text="RETURNS"),
            "a text that is not ASCII": RowFilter(text="é"),
        }.items():
            first, _ = timed(partial(page_of, index, wanted), 1)
            other, _ = timed(partial(page_of, index, wanted, 9))
            print(f"  {name:<26} first page {1000 * first:8.1f} ms   another page {1000 * other:6.1f} ms")
        detail, _ = timed(lambda: detail_html(index, rows - 1, Place({})))
        print(f"  a row with its tree        {1000 * detail:.1f} ms")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  most memory of the process {peak:.0f} MiB")


def page_of(index: RunRows, wanted: RowFilter, number: int = 0) -> str:
    """Return one page of rows as the app sends it."""
    return rows_html(index.page(wanted, number), Place({}))


def timed(work: Callable[[], Result], repeats: int = _REPEATS) -> tuple[float, Result]:
    """Return the median wall seconds of `work`, and what it gave last."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken), result


def made_up(folder: Path, rows: int) -> list[RowSource]:
    """Write five rounds of rows of about 1.5 kB each."""
    generator = random.Random(0)
    sources = []
    for number in range(5):
        path = folder / f"{number}.jsonl"
        with path.open("wb") as f:
            for n in range(rows // 5):
                text = " ".join(generator.choices(_SENTENCE.split(), k=80))
                row = {
                    "id": f"r{number}-{n}",
                    "seed_id": f"r0-{n}",
                    "parent_id": f"r{number - 1}-{n}" if number else None,
                    "instruction": f"{text} needle-{number * rows // 5 + n} ",
                    "response": f"```python\n{text}\n```\n{text}",
                    "method": generator.choice(["deepen", "misdirect", "complexity"]) if number else None,
                    "round": number,
                }
                f.write(orjson.dumps(row) + b"\n")
        sources.append(RowSource(path, number, "kept" if number else "seed"))
    return sources


if __name__ == "__main__":
    main()
