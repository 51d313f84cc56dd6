"""What the elimination rules and de-duplication make of a published run: evol-teacher's two generations.

    python bench/evol_teacher.py FOLDER [--show 3]

FOLDER holds converted_alpaca_2k, evol-codealpaca-2k-1 and -2 (.json.gz) of nickrosh/evol-teacher. The files
do not say what was evolved from what. A row's parent is taken to be the row of the generation before, of
those near its place in the file, that shares the most of its words; its method is not known, so it is held
against the sentences of all five.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evolcoder.evolve.duplicates import DuplicateIndex, Text
from evolcoder.evolve.elimination import Elimination, answer_elimination, instruction_elimination
from evolcoder.evolve.evolve_one import question_of
from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.evolve.settings import EvolveSettings, Phase
from evolcoder.evolve.verification import PROGRAMS
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions
from evolcoder.models.protocol import Completion, Message
from evolcoder.records import Instruction, Lineage

FILES = ("converted_alpaca_2k", "evol-codealpaca-2k-1", "evol-codealpaca-2k-2")
NEAR = 150
"""Places that a child may stand from its parent's share of the way: replies came back out of order."""
METHODS = METHOD_SETS["code"]


def with_parents(
    rows: Sequence[Instruction], parents: Sequence[Instruction], number: int
) -> list[Instruction]:
    """Return rows with the lineage that their words suggest."""
    words = [set(re.findall(r"\w+", question_of(parent).lower())) for parent in parents]
    found = []
    for place, row in enumerate(rows):
        middle = place * len(parents) // len(rows)
        near = range(max(0, middle - NEAR), min(len(parents), middle + NEAR))
        mine = set(re.findall(r"\w+", question_of(row).lower()))
        best = max(
            near, key=lambda at: (len(words[at] & mine) / (len(words[at] | mine) or 1), -abs(at - middle))
        )
        parent = parents[best]
        found.append(replace(row, lineage=Lineage(parent.lineage.seed_id, parent.id, number)))
    return found


def judged(row: Instruction, parent: Instruction) -> Elimination | None:
    """Apply the rules that need no teacher."""
    question = question_of(row)
    for method in METHODS.methods:
        if elimination := instruction_elimination(question_of(parent), question, method, METHODS):
            return elimination
    return answer_elimination(row.response, question)


async def syntax(row: Instruction) -> Elimination | None:
    async def no_teacher(phase: Phase, chat: tuple[Message, ...]) -> Completion:
        raise AssertionError("nothing is repaired here")

    verifier = PROGRAMS.verifiers["syntax"](EvolveSettings(repairs=0), True, THIS_MACHINE)
    (verified,) = await verifier.verify(row.instruction, {row.response: 1}, no_teacher, "")
    return verified.elimination


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print this many rows of each reason")
    args = parser.parse_args()
    index = DuplicateIndex(0.9)
    before = read_instructions(args.folder / f"{FILES[0]}.json.gz")
    counts: dict[str, dict[str, int]] = {}
    shown: dict[str, list[str]] = defaultdict(list)
    for number, name in enumerate(FILES):
        rows = before if number == 0 else read_instructions(args.folder / f"{name}.json.gz")
        reasons: Counter[str] = Counter({"rows": len(rows)})
        if number:
            rows = with_parents(rows, before, number)
        parents = {parent.id: parent for parent in before}
        for row in rows:
            elimination = None
            if number:
                elimination = judged(row, parents[row.lineage.parent_id or ""]) or asyncio.run(syntax(row))
            if elimination is None:
                (repeated,) = index.add_new([Text(question_of(row), row.lineage.seed_id)])
                if repeated is not None:
                    kind = "exact" if repeated.similarity == 1 else "near"
                    elimination = Elimination("duplicate", f"{kind} ({repeated.similarity})")
                    reasons[f"  {kind}"] += 1
            reason: str = elimination.reason if elimination else "kept"
            reasons[reason] += 1
            if elimination and len(shown[reason]) < args.show:
                parent_text = question_of(parents[row.lineage.parent_id or row.id])[:300]
                said = f"{elimination.detail}\n  PARENT {parent_text}\n  ROW {question_of(row)[:400]}"
                shown[reason].append(f"{name}: {said}\n  ANSWER {row.response[:200]}")
        counts[name] = dict(reasons)
        before = rows
    print(json.dumps(counts, indent=2))
    for reason, texts in shown.items():
        for text in texts:
            print(f"--- {reason}: {text}")


if __name__ == "__main__":
    main()
