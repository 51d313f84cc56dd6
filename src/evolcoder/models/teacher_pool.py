"""Several teachers as one model: a request goes to one of them by weight, or to another if that one is down.

The choice depends on the request alone, so a resumed run asks the same teacher again. An answer that any of
them gave before is used first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolcoder.errors import BudgetExhaustedError, EndpointError
from evolcoder.models.journal.journal import JournaledModel
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats


@dataclass(frozen=True, slots=True)
class Teacher:
    """One model of a pool."""

    model: LanguageModel
    weight: float = 1.0


class TeacherPool(LanguageModel):
    """A `LanguageModel` that spreads requests over several; `Completion.model` says who answered."""

    def __init__(self, teachers: Sequence[Teacher], stats: RequestStats | None = None) -> None:
        if not teachers:
            raise ValueError("a pool needs at least one teacher")
        if any(not teacher.weight > 0 for teacher in teachers):
            raise ValueError("a teacher's weight must be above 0")
        self._teachers = tuple(teachers)
        self.stats = stats or RequestStats()
        """Counts of all teachers together."""

    @property
    def models(self) -> tuple[LanguageModel, ...]:
        """The teachers."""
        return tuple(teacher.model for teacher in self._teachers)

    @property
    def name(self) -> str:
        """The teachers' names, joined by "+"."""
        return "+".join(teacher.model.name for teacher in self._teachers)

    async def complete(self, request: Request) -> Completion:
        """Answer one request by its teacher, else by the next in its order.

        Raises the first teacher's EndpointError where none can answer, BudgetExhaustedError at a limit.
        """
        order = self._order(request)
        for teacher in order[1:]:
            model = teacher.model
            if isinstance(model, JournaledModel) and model.find(request) is not None:
                return await model.complete(request)
        first_error: EndpointError | None = None
        for teacher in order:
            try:
                return await teacher.model.complete(request)
            except BudgetExhaustedError:
                raise
            except EndpointError as error:
                first_error = first_error or error
        assert first_error is not None
        raise first_error

    async def close(self) -> None:
        """Close every teacher."""
        for teacher in self._teachers:
            await teacher.model.close()

    def _order(self, request: Request) -> list[Teacher]:
        """Return the teachers in this request's order: weighted rendezvous hashing."""

        def distance(teacher: Teacher) -> float:
            drawn = (int(request.key(teacher.model.name)[:12], 16) + 0.5) / 16**12
            return -math.log(drawn) / teacher.weight

        return sorted(self._teachers, key=distance)
