"""Where work runs: one interface, two engines (this machine, a Ray cluster). A stage does not know which.

A stage describes its work once (`Work`: how a worker gets ready, as data that can be sent) and maps it over
items. Items are read as they are needed and results come as they are ready, so any number of items fits in
bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, Self, TypeVar, runtime_checkable

from evolcoder.errors import OutsideError

Item = TypeVar("Item")
Result = TypeVar("Result")
Tag = TypeVar("Tag")
ItemIn = TypeVar("ItemIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)

Place = Literal["core", "replica"]
"""What a worker takes up: a CPU core; or, for a model's replica, a GPU (where there is none, a machine)."""


class RunsMany(Protocol[ItemIn, ResultOut]):
    """A worker, or a pool of them."""

    def run_many(self, tagged: Iterable[tuple[Tag, ItemIn]], /) -> Iterator[tuple[Tag, ResultOut]]:
        """Work on items as they come; yield each result with its item's tag when it is ready.

        A bounded number is in flight. Raises what the work raises. Of a pool, an item is never lost and never
        counted twice, whatever worker or machine fails; see `Work.set_aside` for one that kills its workers.
        """
        ...


class Worker(RunsMany[ItemIn, ResultOut], Protocol[ItemIn, ResultOut]):
    """Something that is ready to work on items; `evolcoder.sandbox.Sandbox` is one."""

    def close(self) -> None:
        """Let go of what is held."""
        ...


class Work(Protocol[Item, Result]):
    """What is done to items: plain data that says how a worker gets ready. Must be picklable."""

    @property
    def place(self) -> Place:
        """What one worker takes up."""
        ...

    def open(self, slots: int) -> Worker[Item, Result]:
        """Return a worker that works on `slots` items at once; raises EvolcoderError where it cannot."""
        ...

    def label(self, worker: Worker[Item, Result]) -> str:
        """Return what has to be known of a worker beside its results (a sandbox's level), or ""."""
        ...

    def set_aside(self, item: Item, reason: str) -> Result:
        """Return the result of an item that is given up because it killed its worker again and again."""
        ...


class Pool(RunsMany[ItemIn, ResultOut], Protocol[ItemIn, ResultOut]):
    """Workers that are ready for one kind of work. Safe to use from several threads."""

    @property
    def workers(self) -> int:
        """Items that are worked on at once, now."""
        ...

    @property
    def label(self) -> str:
        """The workers' labels (see `Work.label`), different ones joined by commas."""
        ...

    def map(self, items: Iterable[ItemIn]) -> Iterator[ResultOut]:
        """Yield the results in the order of the items; a bounded number waits for its turn."""
        ...

    async def one(self, item: ItemIn) -> ResultOut:
        """Work on one item without blocking the event loop; many may be asked for at once."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A place where work runs; a class that inherits this one is a context manager that lets go of it."""

    @property
    def name(self) -> str:
        """How the user names it: "local", "ray:ADDRESS"."""
        ...

    def open(
        self, work: Work[Item, Result], workers: int | None = None
    ) -> AbstractContextManager[Pool[Item, Result]]:
        """Get workers ready, `workers` at most (None: all that fit); raises what `Work.open` raises."""
        ...

    def close(self) -> None:
        """Let go of all workers."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def in_order(
    workers: RunsMany[Item, Result], items: Iterable[Item], most: Callable[[], int]
) -> Iterator[Result]:
    """Yield the results in the order of the items; about `most()` items are begun and not yet yielded.

    Where one item takes long, the others pause once that many have been begun, and go on after it.
    """
    numbered = enumerate(items)
    waiting: dict[int, Result] = {}
    begun = yielded = 0
    exhausted = False

    def allowed() -> Iterator[tuple[int, Item]]:
        nonlocal begun, exhausted
        while begun - yielded < most():
            pair = next(numbered, None)
            if pair is None:
                exhausted = True
                return
            begun += 1
            yield pair

    while not exhausted:
        for number, result in workers.run_many(allowed()):
            waiting[number] = result
            while yielded in waiting:
                yield waiting.pop(yielded)
                yielded += 1


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
