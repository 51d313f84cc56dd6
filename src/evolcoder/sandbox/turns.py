"""Whose turn a core is, where more workers share it than can run at once.

A short program runs faster to its end than in slices between others', which each find the caches full of
somebody else's pages: on two cores four workers so lost a fifth of their work per CPU second, and judged
less in a minute than two. So the workers of a core, those of other processes too, take turns: one runs short
programs for a while, then the next. A program that takes long is left to the kernel, beside all others.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from evolcoder.sandbox.waiting import Wait, Waiting

_SHARE_S = 0.05
"""How long a worker goes on with short programs while others wait."""
_SHORT_S = 0.02
"""A program that runs for longer keeps nobody waiting."""
_PATIENCE_S = 1.0
"""Who waits for longer takes no more turns: the holder is stopped, or stuck."""
_AGAIN_MS = 2.0
_MOST_WAITING = 256
_PEER = struct.Struct("3i")


class Turn:
    """A worker's part in the turns at a core; no turns are taken where `core` is None.

    The turn is a listening socket in the kernel's abstract namespace. Who holds it runs; who waits is
    connected to it, and is sent the socket itself in the order of asking. Where a holder ends, however it
    does, the kernel tells all who wait.
    """

    def __init__(self, core: int | None, names: str = "evolcoder-turn") -> None:
        self._name = None if core is None else f"\0{names}-{os.geteuid()}-{core}"
        self._held: socket.socket | None = None
        self._others_from = self._long_from = 0.0

    @property
    def is_to_be_awaited(self) -> bool:
        """Whether the next program has to wait: the turn is somebody else's, or ought to be."""
        if self._name is None:
            return False
        return self._held is None or (time.monotonic() > self._others_from and self._has_waiting(self._held))

    def awaited(self) -> Waiting[None]:
        """Give the turn to who has waited for longest, if anybody has, and wait for it to come back."""
        self.give()
        until = time.monotonic() + _PATIENCE_S
        while self._name is not None and self._held is None:
            if not self._found_free(self._name):
                yield from self._wait_in_line(self._name, until)
        self._others_from = time.monotonic() + _SHARE_S

    def begin_program(self) -> None:
        """Note that a program begins, which is short until it proves long."""
        self._long_from = time.monotonic() + _SHORT_S

    def left_ms(self) -> float | None:
        """Milliseconds until the program that runs is a long one; None where that keeps nobody waiting."""
        return None if self._held is None else max(0.0, 1000 * (self._long_from - time.monotonic()))

    def give(self) -> None:
        """Pass the turn to who has waited for longest; without effect where it is not held."""
        held, self._held = self._held, None
        if held is None:
            return
        with held:
            while True:
                try:
                    first, _ = held.accept()
                except OSError:
                    return
                with first:
                    try:
                        socket.send_fds(first, [b"t"], [held.fileno()])
                    except OSError:  # it waits no more
                        continue
                    return

    def _has_waiting(self, held: socket.socket) -> bool:
        poller = select.poll()
        poller.register(held, select.POLLIN)
        return bool(poller.poll(0))

    def _found_free(self, name: str) -> bool:
        found = _new_socket()
        try:
            found.bind(name)
            found.listen(_MOST_WAITING)
        except OSError:
            found.close()
            return False
        self._held = found
        return True

    def _wait_in_line(self, name: str, until: float) -> Waiting[None]:
        with _new_socket() as asking:
            try:
                asking.connect(name)
                _, uid, _ = _PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            except OSError:  # its holder is about to listen, or just gone
                yield Wait((), _AGAIN_MS)
            else:
                if uid != os.geteuid():
                    self._name = None
                    return
                left_ms = max(0.0, 1000 * (until - time.monotonic()))
                if (yield Wait((asking.fileno(),), left_ms)):
                    self._held = _sent(asking)
        if self._held is None and time.monotonic() >= until:
            self._name = None


def _sent(asking: socket.socket) -> socket.socket | None:
    try:
        _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
    except OSError:
        return None
    if not descriptors:
        return None
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
