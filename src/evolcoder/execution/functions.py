"""Work that is one function of one item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic

from evolcoder.errors import OutsideError
from evolcoder.execution.engine import Item, Place, Result, Tag, Worker


@dataclass(frozen=True, slots=True)
class FunctionWork(Generic[Item, Result]):
    """Calls `make()` once a worker and what it returns once an item; both must be picklable by name."""

    make: Callable[[], Callable[[Item], Result]]
    place: Place = "core"
    given_up: Callable[[Item, str], Result] | None = None
    """Returns what stands for an item that is set aside, from the item and the reason; absent, such an item
    ends the run."""

    def open(self, slots: int) -> FunctionWorker[Item, Result]:
        """Return a worker; it works on one item at a time, whatever `slots`."""
        return FunctionWorker(self.make())

    def label(self, worker: Worker[Item, Result]) -> str:
        """Return "": results say all."""
        return ""

    def set_aside(self, item: Item, reason: str) -> Result:
        """Return what `given_up` returns; raises OutsideError where there is none."""
        if self.given_up is None:
            raise OutsideError(f"an item was given up: {reason}")
        return self.given_up(item, reason)


class FunctionWorker(Generic[Item, Result]):
    """A function, item by item."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function = function

    def run_many(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Result]]:
        """Yield the function's value of each item, in order."""
        for tag, item in tagged:
            yield tag, self._function(item)

    def close(self) -> None:
        """Nothing is held."""
