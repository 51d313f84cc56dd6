"""This machine as an engine: one worker in this process, with as many items at once as there are cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic

from evolcoder.execution.engine import Engine, Item, Result, Tag, Work, Worker, in_order


@dataclass(frozen=True)
class LocalEngine(Engine):
    """Works in this process; holds nothing between pools."""

    name: str = "local"

    @contextmanager
    def open(
        self, work: Work[Item, Result], workers: int | None = None
    ) -> Generator[LocalPool[Item, Result], None, None]:
        """Open one worker of `workers` slots, a core each by default; raises what `work.open` raises."""
        slots = workers or (1 if work.place == "replica" else len(os.sched_getaffinity(0)))
        worker = work.open(slots)
        try:
            yield LocalPool(work, worker, slots)
        finally:
            worker.close()

    def close(self) -> None:
        """Nothing is held."""


THIS_MACHINE = LocalEngine()


class LocalPool(Generic[Item, Result]):
    """One worker of this process."""

    def __init__(self, work: Work[Item, Result], worker: Worker[Item, Result], slots: int) -> None:
        self._worker = worker
        self.workers = slots
        self.label = work.label(worker)

    def run_many(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Result]]:
        """Yield results as they come; the worker bounds what is in flight."""
        return self._worker.run_many(tagged)

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in the order of the items."""
        return in_order(self._worker, items, lambda: 16 * self.workers)

    async def one(self, item: Item) -> Result:
        """Work on one item in a thread."""
        return await asyncio.to_thread(lambda: next(iter(self._worker.run_many([(0, item)])))[1])
