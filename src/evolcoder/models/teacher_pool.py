"""Several teachers as one model: a request goes to one of them by weight, or to another if that one is down.

The choice depends on the request alone, so a resumed run asks the same teacher again. An answer that any of
them gave before is used first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from evolcoder.errors import BudgetExhaustedError, EndpointError, RequestFailedError, RequestRefusedError
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

        Raises EndpointError where none can answer, that of a teacher who is there before one of an address,
        BudgetExhaustedError at a limit.
        """
        order = self._order(request)
        for teacher in order[1:]:
            model = teacher.model
            with suppress(RequestRefusedError):  # by this teacher; another may take it
                if isinstance(model, JournaledModel) and model.find(request) is not None:
                    return await model.complete(request)
        errors: list[EndpointError] = []
        for teacher in order:
            try:
                return await teacher.model.complete(request)
            except BudgetExhaustedError:
                raise
            except EndpointError as error:
                errors.append(error)
        # While a teacher is there that refuses this request alone, the run goes on without it.
        raise next((error for error in errors if isinstance(error, RequestFailedError)), errors[0])

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
