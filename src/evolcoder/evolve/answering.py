"""What a domain says of answers: how they are asked for, verified, scored, and compared with benchmarks.

That of code is `verification.PROGRAMS`; other domains (`evolcoder.domains`) have one of their own. Nothing
else of evolution knows the domain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from evolcoder.errors import nearest
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.settings import EvolveSettings, Phase
from evolcoder.execution.engine import Engine
from evolcoder.models.protocol import Completion, Message

Ask = Callable[[Phase, tuple[Message, ...]], Awaitable[Completion]]
"""Sends a chat of a kind to the teacher, on the account of the row."""


@dataclass(frozen=True, slots=True)
class VerifiedAnswer:
    """An answer after verification."""

    answer: str
    """As it was, or as repaired."""
    elimination: Elimination | None = None
    """Why the row is dropped; None where it stays."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """What was found, as columns of the row; "verdict" is counted in a round's summary."""
    proved: bool = False
    """Whether a test or a given answer confirms it; where one does, the unconfirmed ones are dropped."""


class AnswerVerifier(Protocol):
    """Verifies answers; a context manager, for the sandbox it may hold."""

    @property
    def unverified(self) -> Mapping[str, Any]:
        """The columns of a row that was dropped before its answer could be verified."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    async def verify(
        self, question: str, answers: Mapping[str, int], ask: Ask, given: str
    ) -> Sequence[VerifiedAnswer]:
        """Verify the answers to one question, in order; raises what `ask` raises.

        `answers` says how often each was written; `given` is the final answer where it is known, else "".
        """


MakeVerifier = Callable[[EvolveSettings, bool, Engine], AnswerVerifier]
"""Makes a verifier. The second argument is True for a teacher in this process, whose choice of what to do
next must not depend on how fast a program ran: programs then run while everything else waits."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What a score is given to."""

    parent: str
    instruction: str
    """What the parent was evolved into."""
    answer: str
    """"" where the score is of the instruction alone."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A score between 0 and 1 that a judge gives to a row; kept in a column of its name."""

    rate: Callable[[Rated, Ask], Awaitable[float]]
    of_answer: bool
    """False for a score of the instruction alone, which is given before it is answered."""


def as_chat(instruction: str) -> tuple[Message, ...]:
    """Return the chat that asks for an answer: the instruction as it is."""
    return (Message("user", instruction),)


def as_it_is(text: str) -> str:
    """Return the text that decontamination compares: all of it."""
    return text


@dataclass(frozen=True, slots=True)
class Answering:
    """How the evolved instructions of a domain are answered."""

    messages: Callable[[str], tuple[Message, ...]] = as_chat
    """The chat that asks a teacher to answer an instruction."""
    verifiers: Mapping[str, MakeVerifier] = field(default_factory=dict)
    """By the name that the setting `verify` takes; "off" is always one."""
    ratings: Mapping[str, Rating] = field(default_factory=dict)
    """By the name that the setting `scores` takes."""
    compared: Callable[[str], str] = as_it_is
    """What of a text counts where rows are compared with benchmark problems; a function of a module."""

    def check(self, settings: EvolveSettings) -> None:
        """Raise ValueError where settings name a verifier or a score that this domain has not."""
        known = ("off", *self.verifiers)
        if settings.verify not in known:
            raise ValueError(
                f"verify {settings.verify!r}{nearest(settings.verify, known)}: one of {', '.join(known)} "
                "is expected"
            )
        for name in settings.scores:
            if name not in self.ratings:
                scores = ", ".join(self.ratings) or "none in this domain"
                raise ValueError(f"scores: {name!r} is not known{nearest(name, self.ratings)}: {scores}")
