"""Whose turn a core is, where more workers share it than can run at once.

A short program runs faster to its end than in slices between others', which each find the caches full of
somebody else's pages. So the workers of a core, those of other processes too, take turns: one runs short
programs for a while, then the next. A program that takes long is left to the kernel, beside all others.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from evolcoder.sandbox.waiting import Wait, Waiting

_NAMES = "evolcoder-turn"
_SHARE_S = 0.05
"""How long a worker goes on with short programs while others wait."""
_SHORT_S = 0.02
"""A program that runs for longer keeps nobody waiting."""
_PATIENCE_S = 1.0
_WITHOUT_S = 30.0
"""Who has waited for longer than `_PATIENCE_S` takes no turns for this long: the holder is stopped or stuck,
or there are too many for turns to be worth anything."""
_AGAIN_MS = 2.0
_MOST_WAITING = 256
_PEER = struct.Struct("=iII")
"""A `struct ucred`: process, user, group."""
_DESCRIPTOR = struct.Struct("=i")


class Turn:
    """A worker's part in the turns at a core; no turns are taken where `core` is None.

    The turn is a listening socket in the kernel's abstract namespace. Who holds it runs; who waits is
    connected to it, and is sent the socket itself in the order of asking. Where a holder ends, however it
    does, the kernel tells all who wait. Only processes of one user take turns with each other.
    """

    def __init__(self, core: int | None, names: str = "") -> None:
        """`names` keeps turns apart from those of the machine's other workers."""
        self._name = f"\0{names or _NAMES}-{os.geteuid()}-{core}"
        self._held: socket.socket | None = None
        self._without_until = 0.0 if core is not None else float("inf")
        self._others_from = self._long_from = 0.0

    @property
    def is_to_be_awaited(self) -> bool:
        """Whether `awaited` comes before the next program: the turn is not held, or others want it by now."""
        now = time.monotonic()
        if self._held is None:
            return now >= self._without_until
        if now <= self._others_from:
            return False
        others = select.poll()
        others.register(self._held, select.POLLIN)
        return bool(others.poll(0))

    def awaited(self) -> Waiting[None]:
        """Give the turn to who has waited for longest, if anybody has, and wait for it to come back.

        Ends without it where it does not come in time; no turns are taken then for a while.
        """
        self.give()
        until = time.monotonic() + _PATIENCE_S
        while self._held is None and time.monotonic() >= self._without_until:
            if not self._took_it_free():
                yield from self._wait_in_line(until)
                if self._held is None and time.monotonic() >= until:
                    self._without_until = time.monotonic() + _WITHOUT_S
        self._others_from = time.monotonic() + _SHARE_S

    def begin_program(self) -> None:
        """Note that a program begins, which is short until it proves long."""
        self._long_from = time.monotonic() + _SHORT_S

    def left_ms(self) -> float | None:
        """Milliseconds until the program that runs is a long one; None where the turn is not held."""
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
                    if _is_ours(first):
                        try:
                            socket.send_fds(first, [b"t"], [held.fileno()])
                        except OSError:  # it waits no more
                            continue
                        return

    def _took_it_free(self) -> bool:
        found = _new_socket()
        try:
            found.bind(self._name)
            found.listen(_MOST_WAITING)
        except OSError:
            found.close()
            return False
        self._held = found
        return True

    def _wait_in_line(self, until: float) -> Waiting[None]:
        with _new_socket() as asking:
            try:
                asking.connect(self._name)
                is_in_line = _is_ours(asking)
            except OSError:  # its holder is about to listen, or just gone
                is_in_line = False
            left_ms = max(0.0, 1000 * (until - time.monotonic()))
            if is_in_line and (yield Wait((asking.fileno(),), left_ms)):
                self._held = _sent(asking)
        if self._held is None and time.monotonic() < until:  # nor did who ended, or another user, send it
            yield Wait((), _AGAIN_MS)


def _is_ours(connected: socket.socket) -> bool:
    """Whether the other end is a process of the same user: abstract sockets are open to all."""
    _, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(uid == os.geteuid())


def _sent(asking: socket.socket) -> socket.socket | None:
    room = socket.CMSG_LEN(_DESCRIPTOR.size)
    try:
        _, ancillary, _, _ = asking.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    if not ancillary:
        return None
    turn = socket.socket(fileno=_DESCRIPTOR.unpack(ancillary[0][2])[0])
    turn.setblocking(False)
    return turn


def _new_socket() -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    found.setblocking(False)
    return found
