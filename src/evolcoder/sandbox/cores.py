"""Which core each worker's fork server stays on.

A fork server, its test process and the program under test speak in turn. Left to the kernel they wander over
the cores, and each message wakes a core that slept and finds cold caches: on two cores that costs a sixth of
the throughput. So each server stays on one core. Its programs may use all of them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

_ROUNDS = 64
"""How many workers may share a core before further ones are left to the kernel."""


class CoreClaim:
    """A core of this machine, held until `close` or this process ends; `core` is None where none was had.

    Workers of other processes (Ray's, a second run) count too. The claim is a socket's name in the kernel's
    abstract namespace: bound by one process at a time, and free again however that process ends.
    """

    def __init__(self, names: str = "evolcoder-core") -> None:
        self.core: int | None = None
        self._name: socket.socket | None = None
        cores = _whole_cores_first(sorted(os.sched_getaffinity(0)))
        if len(cores) < 2:
            return
        for round_ in range(_ROUNDS):
            for core in cores:
                name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                try:
                    name.bind(f"\0{names}-{core}-{round_}")
                except OSError:
                    name.close()
                    continue
                self.core, self._name = core, name
                return

    def close(self) -> None:
        """Leave the core to others."""
        if self._name is not None:
            self._name.close()


def _whole_cores_first(cores: Sequence[int]) -> list[int]:
    """Order processors so that the second thread of a core comes after the first ones of all cores."""

    def turn(core: int) -> int:
        file = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        try:
            text = file.read_text()
        except OSError:
            return 0
        first = int(text.strip().replace("-", ",").split(",")[0])
        return int(first in cores and first != core)

    return sorted(cores, key=lambda core: (turn(core), core))
