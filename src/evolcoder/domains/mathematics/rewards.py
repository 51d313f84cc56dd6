"""WizardMath's two rewards, given by a judge: of an evolved instruction, and of the steps of its solution.

The paper trains a reward model for each; here the judging model is asked. The prompts' wording is ours.
"""

from __future__ import annotations

import re

from evolcoder.evolve.answering import Ask, Rated, Rating
from evolcoder.models.protocol import Message

CRITERIA = ("definition", "precision", "integrity")
RANKING = """\
Compare two math problems by three criteria.
Definition: it is stated in full and asks for one thing.
Precision: its words, numbers and units have one meaning.
Integrity: its conditions are enough, and none contradicts another.

Problem A:
{first}

Problem B:
{second}

Reply with three lines, which problem is better by each criterion (A, B or tie):
Definition:
Precision:
Integrity:"""
STEPS = """\
Below is a math problem and the numbered steps of a solution. Judge each step: does it follow, and is its \
calculation right?

Problem:
{problem}

Steps:
{steps}

Reply with one line for each step: its number, a colon, and right or wrong."""
_MOST_STEPS = 64
_RANKED = re.compile(rf"({'|'.join(CRITERIA)})\W*(?:problem\s+|a\s+(?=tie\b))?(a|b|tie)\b", re.IGNORECASE)
_JUDGED_STEP = re.compile(r"^\W*(?:step\s+)?(\d+)\W+(?:is\s+)?(right|correct|wrong|incorrect)\b", re.I | re.M)


async def instruction_reward(rated: Rated, ask: Ask) -> float:
    """Return how the evolved instruction ranks beside its parent: the mean over the criteria.

    The judge is asked in both orders. 1 where both prefer the evolved one, 0 where both prefer its parent,
    0.5 where they differ or say a tie.
    """
    first = await _ranking(rated.parent, rated.instruction, ask)
    second = await _ranking(rated.instruction, rated.parent, ask)
    worth = {("b", "a"): 1.0, ("a", "b"): 0.0}
    return sum(worth.get((first.get(c, ""), second.get(c, "")), 0.5) for c in CRITERIA) / len(CRITERIA)


async def process_reward(rated: Rated, ask: Ask) -> float:
    """Return the share of the solution's steps that the judge calls right; a step without a verdict is not.

    A step is a line of the solution; those beyond the 64th are not looked at.
    """
    steps = [line.strip() for line in rated.answer.splitlines() if line.strip()][:_MOST_STEPS]
    if not steps:
        return 0.0
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    text = STEPS.format(problem=rated.instruction, steps=numbered)
    reply = await ask("score", (Message("user", text),))
    said = {int(number): verdict.lower() for number, verdict in _JUDGED_STEP.findall(reply.text)}
    return sum(said.get(n) in ("right", "correct") for n in range(1, len(steps) + 1)) / len(steps)


async def _ranking(first: str, second: str, ask: Ask) -> dict[str, str]:
    """Return which of two problems is better, "a", "b" or "tie", by criterion."""
    text = RANKING.format(first=first, second=second)
    reply = await ask("score", (Message("user", text),))
    return {criterion.lower(): better.lower() for criterion, better in _RANKED.findall(reply.text)}


INSTRUCTION_REWARD = Rating(instruction_reward, of_answer=False)
PROCESS_REWARD = Rating(process_reward, of_answer=True)
