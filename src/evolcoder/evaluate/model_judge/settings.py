"""Who judges answers, and how; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from evolcoder.errors import check_least
from evolcoder.models.session import ModelChoice

RATING = "rating, % of 10"
WIN_RATE = "win rate"
"""What a score's value is (`measure` of its settings): a mean rating over 10, or wins and half the ties."""


@dataclass(frozen=True, slots=True)
class JudgeSettings(ModelChoice):
    """The model that judges, how it is reached, and what it is asked."""

    against: str = ""
    """What the answers are set beside: a file of answers, the folder of an evaluation, or a MODEL that
    answers too. "": each answer is rated alone, 1 to 10."""
    shots: int = 0
    """Worked examples before each question, at most 2; a small judge needs them, a strong one does not."""
    max_tokens: int = 2048
    """Most tokens of a judgement (FastChat: 2048)."""

    @property
    def measure(self) -> str:
        """What the scores of this judge are."""
        return WIN_RATE if self.against else RATING

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises ValueError."""
        if not 0 <= self.shots <= 2:
            raise ValueError(f"shots must be 0, 1 or 2, found {self.shots}")
        check_least(self, 1, "max_tokens")
