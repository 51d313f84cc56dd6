"""Preparing training data: seconds for 78,000 rows (the published count), again from the cache, and packing.

    python bench/prepare.py --data code_alpaca_20k.json --tokenizer embedded

The rows are those of --data, each in several wordings so that no two are equal. `--tokenizer` is any MODEL,
a GGUF file that holds only a vocabulary included. Packing efficiency is of --data itself at 2,048 tokens.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace

from evolcoder.instructions import read_instructions
from evolcoder.models.local.weights import load_tokenizer
from evolcoder.records import Instruction
from evolcoder.train.packing import best_fit, plan_steps
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import tokenize_cached


def reworded(rows: list[Instruction], n: int) -> list[Instruction]:
    """Return n distinct rows: the given ones, then each again with a number of its own."""
    varied = []
    for i in range(n):
        row, again = rows[i % len(rows)], i // len(rows)
        if again:
            instruction = f"{row.instruction} (task {i})"
            row = replace(row, instruction=instruction, response=f"{row.response}\n# task {i}")
        varied.append(row)
    return varied


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="rows (JSON, JSONL or Parquet)")
    parser.add_argument("--rows", type=int, default=78_000)
    parser.add_argument("--tokenizer", default="embedded")
    options = parser.parse_args()
    rows = read_instructions(options.data)
    many = reworded(rows, options.rows)
    tokenizer = load_tokenizer(options.tokenizer)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EVOLCODER_CACHE"] = cache
        for name in ("first time", "from the cache"):
            begin, cpu = time.monotonic(), time.process_time()
            data = tokenize_cached(many, tokenizer, "wizardcoder", 2048)
            steps = plan_steps(data.lengths, TrainSettings(epochs=3))
            print(
                f"{name}: {len(data):,} rows, {int(data.lengths.sum()):,} tokens, {len(steps):,} steps: "
                f"{time.monotonic() - begin:.1f} s, {time.process_time() - cpu:.1f} CPU s",
                flush=True,
            )
        lengths = [int(n) for n in tokenize_cached(rows, tokenizer, "wizardcoder", 2048).lengths]
    packs = best_fit(lengths, 2048)
    print(
        f"{len(rows):,} rows in {len(packs):,} packs of 2,048: "
        f"{sum(lengths) / (2048 * len(packs)):.2%} of the slots are tokens"
    )


if __name__ == "__main__":
    main()
