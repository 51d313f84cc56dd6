"""How long and how much memory de-duplicating a million synthetic rows takes.

    python bench/deduplicate.py --rows 1000000

A twentieth of the rows are exact copies of earlier ones, a twentieth copies with another last word
(similarity 0.97), a twentieth copies with another word in the middle (0.93, near the threshold of 0.9).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Iterator

from evolcoder.evolve.duplicates import DuplicateIndex, Text, batches

KINDS = ("new", "exact", "last word", "middle word")
SHARE = 0.05
"""Of each kind of copy."""


def texts(rows: int, words: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield (kind, text); copies are of one of a thousand earlier texts, replaced as new ones come."""
    rng = random.Random(seed)
    vocabulary = [f"{a}{b}" for a in ("sort", "tree", "list", "query", "parse") for b in range(4000)]
    recent: list[str] = []
    for _ in range(rows):
        draw = rng.random()
        if recent and draw < 3 * SHARE:
            kind = KINDS[1 + int(draw / SHARE)]
            parts = recent[rng.randrange(len(recent))].split()
            # Of 78 triples the last word changes one, a word in the middle three.
            if kind == "last word":
                parts[-1] = rng.choice(vocabulary)
            elif kind == "middle word":
                parts[rng.randrange(2, words - 2)] = rng.choice(vocabulary)
            yield kind, " ".join(parts)
            continue
        text = " ".join(rng.choices(vocabulary, k=words))
        if len(recent) < 1000:
            recent.append(text)
        else:
            recent[rng.randrange(1000)] = text
        yield "new", text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=80)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    index = DuplicateIndex(args.threshold)
    found = {kind: [0, 0] for kind in KINDS}
    begun, cpu = time.monotonic(), time.process_time()
    position = 0
    for batch in batches(texts(args.rows, args.words, args.seed), 2000):
        repeated = index.add_new([Text(text, str(position + i)) for i, (_, text) in enumerate(batch)])
        position += len(batch)
        for (kind, _), duplicate in zip(batch, repeated, strict=True):
            found[kind][0] += 1
            found[kind][1] += duplicate is not None
    result = {
        "rows": args.rows,
        "wall_s": round(time.monotonic() - begun, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "found": {kind: {"rows": n, "called duplicates": hits} for kind, (n, hits) in found.items()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
