"""The domain of WizardCoder: programs, run by tests."""

from __future__ import annotations

from evolcoder.domains.domain import Domain
from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.evolve.verification import PROGRAMS
from evolcoder.model_cards import CardWords

_WORDS = CardWords(
    rows="coding instructions",
    tags=("code",),
    limits="The model writes code that may be wrong or unsafe: run it in a sandbox, and read it first.",
)


def load() -> Domain:
    """Return the domain `code`; it decides on MBPP-400, the development set of the paper's second version."""
    reported = ("humaneval", "mbpp:test")
    return Domain("code", METHOD_SETS["code"], PROGRAMS, ("humaneval",), "mbpp-400", reported, words=_WORDS)
