"""The time a stage takes over all its sittings, those that were killed included."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CLOCK_S = 1.0
"""How often the time of a stage under way is written down, in seconds."""


@contextmanager
def clock(path: Path, key: str) -> Iterator[Callable[[], float]]:
    """Measure a block over all its sittings: what killed ones took stands in the file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start, ended = time.monotonic() - (_earlier_seconds(path, key) or 0.0), threading.Event()

    def seconds() -> float:
        return time.monotonic() - start

    def keep() -> None:
        while not ended.wait(_CLOCK_S):
            path.write_text(f"{key} {seconds():.1f}")

    thread = threading.Thread(target=keep, name="clock", daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        ended.set()
        thread.join()
        path.write_text(f"{key} {seconds():.1f}")


def begun(path: Path, key: str) -> bool:
    """Return whether an earlier sitting of the same stage did not come to its end."""
    return _earlier_seconds(path, key) is not None


def _earlier_seconds(path: Path, key: str) -> float | None:
    """Return what earlier sittings took; None for a file that is missing, cut short or of another stage."""
    try:
        of, seconds = path.read_text().split()
        return float(seconds) if of == key else None
    except (OSError, ValueError):
        return None
