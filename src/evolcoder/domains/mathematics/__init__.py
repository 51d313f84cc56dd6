"""The domain of WizardMath (arXiv 2308.09583): problems with one final answer, solved step by step."""

from __future__ import annotations

import re

from evolcoder.domains.domain import Domain
from evolcoder.domains.mathematics.rewards import INSTRUCTION_REWARD, PROCESS_REWARD
from evolcoder.domains.mathematics.tasks import SOLUTION_TASKS
from evolcoder.domains.mathematics.verification import solution_verifier
from evolcoder.evaluate.benchmarks.final_answers import ASK_FOR_ANSWER
from evolcoder.evolve.answering import Answering
from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.model_cards import CardWords
from evolcoder.models.protocol import Message

_WORDS = CardWords(
    rows="mathematical problems",
    tags=("math",),
    limits="A solution of the model may be wrong although it reads well: check its steps and its answer.",
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def step_by_step(instruction: str) -> tuple[Message, ...]:
    """Return the chat that asks for a solution in steps with its final answer in the published words."""
    return (Message("user", f"{instruction}\n\n{ASK_FOR_ANSWER}"),)


def with_numbers_alike(text: str) -> str:
    """Return a text with 0 for each number: a problem with other numbers is a copy too."""
    return _NUMBER.sub("0", text)


def load() -> Domain:
    """Return the domain `math`."""
    answering = Answering(
        messages=step_by_step,
        verifiers={"answers": solution_verifier},
        ratings={"instruction_reward": INSTRUCTION_REWARD, "process_reward": PROCESS_REWARD},
        compared=with_numbers_alike,
    )
    reported = ("gsm8k", "math500")
    return Domain(
        "math", METHOD_SETS["math"], answering, ("gsm8k",), "math500", reported, SOLUTION_TASKS, _WORDS
    )
