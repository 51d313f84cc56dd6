"""Work for the engines' tests; workers import it by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder.execution.ray import host as ray_host


@dataclass(frozen=True)
class Counted:
    """Returns twice each item, and leaves a line a run of an item in `log`; items may be made to do harm."""

    log: str = ""
    sleep_s: float = 0.0
    poison: tuple[int, ...] = ()
    """Items that kill the process they are worked on in."""
    wrong: tuple[int, ...] = ()
    """Items that raise."""
    place: Any = "core"
    opens: bool = True
    opens_after_s: float = 0.0
    """It takes longer than a worker keeps its driver waiting for a word."""

    def open(self, slots: int) -> Worker:
        if not self.opens:
            raise ValueError("cannot get ready")
        if self.opens_after_s:
            kept, ray_host._KEEPALIVE_S = ray_host._KEEPALIVE_S, 0.0
            time.sleep(self.opens_after_s)
            ray_host._KEEPALIVE_S = kept
        return Worker(self)

    def label(self, worker: Any) -> str:
        return f"worker of {type(self).__name__}"

    def set_aside(self, item: int, reason: str) -> Any:
        return ("set aside", item, reason)


class Worker:
    def __init__(self, work: Counted) -> None:
        self._work = work

    def run_many(self, tagged: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, Any]]:
        for tag, item in tagged:
            yield tag, self._of(item)

    def _of(self, item: int) -> int:
        if self._work.log:
            with Path(self._work.log).open("a") as log:
                log.write(f"{item} {os.getpid()}\n")
        if item in self._work.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if item in self._work.wrong:
            raise ArithmeticError(f"item {item}")
        time.sleep(self._work.sleep_s)
        return 2 * item

    def close(self) -> None:
        pass


def length() -> Callable[[str], int]:
    return len
