"""Results that arrive in any order, returned in the order of their items, with a bound on how many wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from evolcoder.execution.engine import Item, ItemIn, Result, ResultOut, Tag


class RunMany(Protocol[ItemIn, ResultOut]):
    """`run_many` of a worker or a pool."""

    def __call__(self, tagged: Iterable[tuple[Tag, ItemIn]], /) -> Iterator[tuple[Tag, ResultOut]]:
        """Yield results with their tags as they come."""
        ...


def in_order(
    run_many: RunMany[Item, Result], items: Iterable[Item], most: Callable[[], int]
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
            try:
                pair = next(numbered)
            except StopIteration:
                exhausted = True
                return
            begun += 1
            yield pair

    while not exhausted:
        for number, result in run_many(allowed()):
            waiting[number] = result
            while yielded in waiting:
                yield waiting.pop(yielded)
                yielded += 1
