"""Several teachers as one model: a request goes to one of them by weight, or to another if that one is down.

The choice depends on the request alone, so a resumed run asks the same teacher again. An answer that any of
them gave before is used first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from evolcoder.errors import BudgetExhaustedError, EndpointError, RequestFailedError, RequestRefusedError
from evolcoder.models.journal.journal import JournaledModel
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.stats import RequestStats


class TeacherPool(LanguageModel):
    """A `LanguageModel` that spreads requests over several; `Completion.model` says who answered."""

    def __init__(self, teachers: Sequence[tuple[LanguageModel, float]], stats: RequestStats) -> None:
        """`teachers` are models with their weights, above 0; `stats` counts for all of them together."""
        self._weights = dict(teachers)
        self.stats = stats

    @property
    def name(self) -> str:
        """The teachers' names, joined by "+"."""
        return "+".join(teacher.name for teacher in self._weights)

    async def complete(self, request: Request) -> Completion:
        """Answer one request by its teacher, else by the next in its order.

        Raises EndpointError where none can answer, that of a teacher who is there before one of an address,
        BudgetExhaustedError at a limit.
        """
        order = self._order(request)
        for teacher in order[1:]:
            with suppress(RequestRefusedError):  # by this teacher; another may take it
                if isinstance(teacher, JournaledModel) and teacher.find(request) is not None:
                    return await teacher.complete(request)
        errors: list[EndpointError] = []
        for teacher in order:
            try:
                return await teacher.complete(request)
            except BudgetExhaustedError:
                raise
            except EndpointError as error:
                errors.append(error)
        # While a teacher is there that refuses this request alone, the run goes on without it.
        raise next((error for error in errors if isinstance(error, RequestFailedError)), errors[0])

    async def close(self) -> None:
        """Close every teacher."""
        for teacher in self._weights:
            await teacher.close()

    def _order(self, request: Request) -> list[LanguageModel]:
        """Return the teachers in this request's order: weighted rendezvous hashing."""

        def distance(teacher: LanguageModel) -> float:
            drawn = (int(request.key(teacher.name)[:12], 16) + 0.5) / 16**12
            return -math.log(drawn) / self._weights[teacher]

        return sorted(self._weights, key=distance)
