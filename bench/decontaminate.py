"""How many hidden copies of HumanEval problems decontamination finds among real rows, and what it calls one
wrongly.

    python bench/decontaminate.py --rows code_alpaca_20k.json.gz --seed 1001
    python bench/decontaminate.py --rows code_alpaca_20k.json.gz --seed 1001 --times 50   # a million rows

Plants copies of 50 problems (planting.py: renamed identifiers, changed literals, reworded first sentence,
all three in each) among the rows. A row that was not planted and is called a copy is printed: it may be a
copy that was there before.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from evolcoder.evaluate.benchmarks import load_benchmark, problem_texts
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.instructions import read_instructions
from evolcoder.records import Instruction, Lineage
from planting import FORMS, Copy, plant


def copies(number: int, forms: Sequence[str], seed: int) -> list[Copy]:
    """Return copies of as many problems, chosen by the seed."""
    rng = random.Random(seed)
    problems = rng.sample(list(load_benchmark("humaneval").problems), number)
    return [
        plant(p.task_id, p.prompt, p.canonical_solution, p.entry_point, rng.choice(list(forms)), rng)
        for p in problems
    ]


class Rows:
    """The background, `times` times over with new ids, and the copies somewhere in it."""

    def __init__(
        self, background: Sequence[Instruction], planted: Sequence[Copy], times: int, seed: int
    ) -> None:
        self._background, self._times = background, times
        rng = random.Random(seed + 1)
        places = rng.sample(range(len(background) * times), len(planted))
        self._planted = dict(zip(places, planted, strict=True))

    def __iter__(self) -> Iterator[Instruction]:
        position = 0
        for turn in range(self._times):
            for row in self._background:
                if copy := self._planted.get(position):
                    id_ = f"planted {copy.task_id}"
                    yield Instruction(id_, copy.instruction, copy.input, copy.response, Lineage(id_))
                else:
                    yield row if turn == 0 else replace(row, id=f"{row.id}-{turn}")
                position += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", required=True, help="background rows, a file or a hub name")
    parser.add_argument("--limit", type=int, default=20_000, help="of them, this many")
    parser.add_argument("--times", type=int, default=1, help="go through the background as often")
    parser.add_argument("--copies", type=int, default=50)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS[:4]))
    parser.add_argument("--show", action="store_true", help="print the copies that were not found")
    args = parser.parse_args()
    background = read_instructions(args.rows)[: args.limit]
    problems = problem_texts(["humaneval"])
    for seed in args.seed:
        begun, cpu = time.monotonic(), time.process_time()
        planted = copies(args.copies, args.form, seed)
        rows = Rows(background, planted, args.times, seed)
        index = ContaminationIndex(problems)
        index.learn(rows)
        found: dict[str, set[str]] = {}
        for row in rows:
            if hits := index.hits(row):
                found[row.id] = {hit.task_id for hit in hits}
        right = [c for c in planted if c.task_id in found.get(f"planted {c.task_id}", ())]
        missed = [c for c in planted if c not in right]
        others = {id_: sorted(tasks) for id_, tasks in found.items() if not id_.startswith("planted")}
        result = {
            "seed": seed,
            "rows": len(background) * args.times,
            "planted": len(planted),
            "found": len(right),
            "missed": {c.task_id: f"{c.form}, {c.sentence}" for c in missed},
            "planted by form": dict(Counter(c.form for c in planted)),
            "others called copies": others if args.times == 1 else len(others),
            "wall_s": round(time.monotonic() - begun, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(result))
        if args.show:
            for c in missed:
                print(
                    f"--- {c.task_id}, {c.form}, {c.sentence}\n{c.instruction}\n[{c.input}]\n=> {c.response}"
                )


if __name__ == "__main__":
    main()
