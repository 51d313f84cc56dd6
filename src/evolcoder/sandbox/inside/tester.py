"""Runs test code against a candidate that lives in another process.

The candidate's function is a stand-in here: a call crosses as plain data, and so does the answer. What the
tests expect never leaves this process.
"""

from __future__ import annotations

import _socket
import builtins
import marshal
import os
import resource
import signal
import struct
import time
import types
from typing import Any

from evolcoder.sandbox import codec
from evolcoder.sandbox.inside import programs, wire

_COMPILED_KEPT = 256


class CandidateGoneError(BaseException):
    """The candidate's process ended or stopped making sense."""


class CandidateReportError(BaseException):
    """The candidate cannot be tested: its reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class TestsTimeoutError(BaseException):
    """The tests themselves used up the CPU time."""


def run_tester() -> None:
    """Judge candidates one after another until the scorer closes the control socket."""
    control = _socket.socket(fileno=wire.CHANNEL_FD)
    os.close(wire.PAYLOAD_FD)
    signal.signal(signal.SIGXCPU, _tests_are_over)
    kept: dict[bytes, types.CodeType] = {}
    two_descriptors = struct.Struct("=ii")
    room = _socket.CMSG_SPACE(two_descriptors.size)
    while True:
        request, ancillary, _, _ = control.recvmsg(16, room, _socket.MSG_CMSG_CLOEXEC)
        if not request:
            os._exit(0)
        channel, payload_fd = two_descriptors.unpack(ancillary[0][2])
        payload = marshal.loads(wire.read_all(payload_fd))
        os.close(payload_fd)
        began = time.process_time()
        resource.setrlimit(
            resource.RLIMIT_CPU,
            (int(began + payload["cpu_s"]) + 2, resource.getrlimit(resource.RLIMIT_CPU)[1]),
        )
        verdict = _judge(payload, channel, kept)
        os.close(channel)
        control.send(codec.encode((*verdict, time.process_time() - began)))


def _tests_are_over(number: int, frame: types.FrameType | None) -> None:
    raise TestsTimeoutError


def _judge(payload: dict[str, Any], channel: int, kept: dict[bytes, types.CodeType]) -> tuple[str, str]:
    source: bytes = payload["tests"]
    remote = _Remote(channel)
    try:
        code = kept.get(source)
        if code is None:
            if len(kept) >= _COMPILED_KEPT:
                kept.clear()
            code = kept[source] = programs.compiled(source, "<tests>")
        names = remote.ready()
        namespace: dict[str, Any] = {name: remote.stand_in(name) for name in names}
        namespace["candidate"] = namespace[payload["names"][0]]
        exec(code, namespace)
    except SyntaxError as error:
        if code is None:
            return "failed", f"the tests are no Python: {programs.describe(error)}"
        return "failed", _with_line(error, source)
    except CandidateReportError as error:
        return error.reason, error.detail
    except CandidateGoneError:
        return "gone", ""
    except TestsTimeoutError:
        return "timeout", "the tests used up the CPU time"
    except BaseException as error:
        if remote.report is None:
            return remote.reason_of(error), _with_line(error, source)
    # Tests may swallow what must not be swallowed (`except:`); what the candidate did stands all the same.
    return remote.report or ("passed", "")


def _with_line(error: BaseException, source: bytes) -> str:
    """Describe a failure with the line of the tests where it came up."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = source.decode("utf-8", "replace").splitlines()
    shown = lines[line - 1].strip()[:300] if 0 < line <= len(lines) else ""
    said = programs.describe(error)
    return f"{shown} -> {said}" if shown else said


class _Remote:
    """The candidate's end of the channel, seen from the tests."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self.report: tuple[str, str] | None = None
        self._raised: dict[int, str] = {}

    def ready(self) -> tuple[str, ...]:
        """Wait until the candidate has executed its program; the names it can answer for."""
        answer = self._read()
        if answer[0] == "R" and len(answer) == 2 and type(answer[1]) is tuple:
            return answer[1]
        raise self._trouble(answer)

    def stand_in(self, name: str) -> Any:
        """Return a function that forwards its calls."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._call(name, arguments, keywords)

        call.__name__ = call.__qualname__ = name
        return call

    def reason_of(self, error: BaseException) -> str:
        """Name the reason of a failure: what the candidate said of its own exception, or the tests' own."""
        return self._raised.get(id(error), programs.reason_of(error))

    def _call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.report is not None:
            raise CandidateReportError(*self.report)
        try:
            request = codec.encode((name, list(arguments), keywords))
        except codec.UnsupportedValueError as error:
            raise self._final("unsupported", f"an argument cannot cross: {error}") from None
        try:
            wire.send_frame(self._channel, request)
        except OSError:
            raise self._gone() from None
        answer = self._read()
        tag = answer[0]
        if tag == "V" and len(answer) == 2:
            return answer[1]
        if tag == "C" and len(answer) == 4:
            _mirror(list(arguments), answer[2])
            _mirror(list(keywords.values()), list(answer[3].values()) if type(answer[3]) is dict else [])
            return answer[1]
        if tag == "E" and len(answer) == 4 and all(type(part) is str for part in answer):
            return self._raise(*answer[1:])
        raise self._trouble(answer)

    def _raise(self, reason: str, kind: str, detail: str) -> Any:
        if reason == "exited":
            raise self._final("exited", detail)
        known = getattr(builtins, kind, None)
        message = detail.partition(": ")[2]
        error: Exception
        if isinstance(known, type) and issubclass(known, Exception):
            try:
                error = known(message)
            except TypeError:  # UnicodeDecodeError and its like want more
                error = Exception(detail)
        else:
            error = Exception(detail)
        if reason in ("memory", "forbidden"):
            self._raised[id(error)] = reason
        raise error

    def _read(self) -> tuple[Any, ...]:
        try:
            frame = wire.read_frame(self._channel, codec.MAX_BYTES + 1024)
        except OSError:
            frame = None
        if frame is None:
            raise self._gone()
        try:
            answer = codec.decode(frame)
        except codec.MalformedValueError as error:
            raise self._final("unsupported", str(error)) from None
        if type(answer) is tuple and answer and type(answer[0]) is str:
            return answer
        raise self._final("unsupported", "the candidate's process sent no answer")

    def _trouble(self, answer: tuple[Any, ...]) -> BaseException:
        if answer[0] == "U" and len(answer) == 2:
            return self._final("unsupported", str(answer[1])[: programs.DETAIL_CHARACTERS])
        if answer[0] == "X" and len(answer) == 3 and answer[1] in programs_reasons:
            return self._final(answer[1], str(answer[2])[: programs.DETAIL_CHARACTERS])
        return self._final("unsupported", "the candidate's process sent no answer")

    def _final(self, reason: str, detail: str) -> CandidateReportError:
        self.report = (reason, detail)
        return CandidateReportError(reason, detail)

    def _gone(self) -> CandidateGoneError:
        self.report = ("gone", "")
        return CandidateGoneError()


programs_reasons = frozenset({"failed", "memory", "forbidden", "exited", "syntax error"})


def _mirror(mine: list[Any], theirs: Any) -> None:
    """Do to the tests' own arguments what the candidate did to its copies."""
    if type(theirs) is not list or len(theirs) != len(mine):
        return
    for own, new in zip(mine, theirs, strict=True):
        if type(own) is not type(new):
            continue
        if type(own) is list:
            if own != new:
                own[:] = new
        elif type(own) is dict:
            if own != new or list(own) != list(new):
                own.clear()
                own.update(new)
        elif type(own) is set and own != new:
            own.clear()
            own.update(new)
