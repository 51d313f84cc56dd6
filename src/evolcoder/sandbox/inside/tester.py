"""Runs test code against a candidate that lives in another process.

The candidate's function is a stand-in here: a call crosses as bytes, and so does the answer. What the tests
expect never leaves this process. Only the names that the job asks for are the candidate's; all others are the
tests' own or Python's. What the candidate sends is checked for kind, order and size before a value is made of
it, and making it and comparing it costs this process, whose CPU time and memory are bounded.
"""

from __future__ import annotations

import _socket
import builtins
import gc
import marshal
import os
import signal
import struct
import sys
import time
import types
from typing import Any

from evolcoder.sandbox import codec
from evolcoder.sandbox.inside import programs, wire
from evolcoder.sandbox.inside.live import TestsValues
from evolcoder.sandbox.inside.shared import SharedObjects

_COMPILED_KEPT = 256
_DESCRIPTORS = struct.Struct("=ii")
_REHEARSED = b"assert f(1, [2]) == 3\nassert f('a', k=(1, None)) == 3\n" * 5
_ROOM = _socket.CMSG_SPACE(_DESCRIPTORS.size)
# What is beneath `signal.signal`, whose search for names of an enumeration would copy many pages.
_signal: Any = sys.modules["_signal"]
_MUCH_PAGES = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
"""Memory that the tests of one program may leave for those of the next."""
_NO_WAIT_S = 0.1
"""In so short a time no tests wait long enough for a processor to be worth a look."""
_SWALLOWED = (StopIteration, StopAsyncIteration)
"""Exceptions that would end an iteration of the tests as if all had been tested."""


class CandidateOverError(BaseException):
    """The candidate cannot be tested, or no longer: its report says why."""


class TestsTimeoutError(BaseException):
    """The tests themselves used up the CPU time."""


def run_tester() -> None:
    """Judge candidates one after another until the scorer closes the control socket."""
    os.close(wire.PAYLOAD_FD)
    # The first process of a namespace gets no signal that would end it, so a child of it runs the tests.
    if child := os.fork():
        os.close(wire.CHANNEL_FD)
        _, status = os.waitpid(child, 0)
        over_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM
        os._exit(wire.TESTS_OVER_TIME if over_time else 1)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    _signal.signal(signal.SIGPROF, _tests_are_over)
    control = _socket.socket(fileno=wire.CHANNEL_FD)
    schedstat = _own_schedstat()
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    most_pages = _pages(statm) + _MUCH_PAGES
    kept: dict[bytes, types.CodeType] = {}
    while True:
        request, ancillary, _, _ = control.recvmsg(16, _ROOM, _socket.MSG_CMSG_CLOEXEC)
        if not request:
            os._exit(0)
        channel, payload_fd = _DESCRIPTORS.unpack(ancillary[0][2])
        control.send(_judged(channel, payload_fd, kept, schedstat))
        # What tests keep is in cycles (their functions know all names), which Python clears when it likes.
        if _pages(statm) > most_pages:
            gc.collect()
            most_pages = _pages(statm) + _MUCH_PAGES


def run_one_tester() -> None:
    """Judge one candidate; the fork server ends tests that do not hear of the end of their time."""
    _judge_one(wire.CHANNEL_FD, wire.PAYLOAD_FD, wire.WORD_FD)
    os._exit(0)


def rehearsal_payload() -> int:
    """Return a descriptor of what `rehearse` runs; made before the call filter forbids such files."""
    code = compile(_REHEARSED, wire.TESTS_NAME, "exec", dont_inherit=True)
    fd = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
    os.write(
        fd, marshal.dumps({"tests": _REHEARSED, "code": code, "names": ["f"], "cpu_s": 1e3, "classes": []})
    )
    return fd


def rehearse(payload_fd: int) -> None:
    """Judge a candidate in the fork server itself, as `programs.rehearse` is one."""
    answers = [codec.encode(3)] * _REHEARSED.count(b"f(")
    null = os.open("/dev/null", os.O_WRONLY)
    for _ in range(programs.REHEARSALS):
        near, far = _socket.socketpair()
        wire.send_frame(near.fileno(), wire.READY)
        for answer in answers:
            wire.send_frame(near.fileno(), wire.VALUE, answer)
        _judge_one(far.detach(), os.dup(payload_fd), null)
        near.close()
    _signal.signal(signal.SIGPROF, _signal.SIG_DFL)
    os.close(null)
    os.close(payload_fd)


def _judge_one(channel: int, payload_fd: int, word_fd: int) -> None:
    _signal.signal(signal.SIGPROF, _tests_are_over)
    os.write(word_fd, _judged(channel, payload_fd, {}, None))


def _own_schedstat() -> int:
    """Return a descriptor that says how long this process waited for a processor; -1 where none does."""
    try:
        return os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _waited_s(schedstat: int) -> float:
    return int(os.pread(schedstat, 64, 0).split()[1]) / 1e9 if schedstat >= 0 else 0.0


def _pages(statm: int) -> int:
    """Return how much this process has mapped."""
    return int(os.pread(statm, 64, 0).split(None, 1)[0])


def _judged(channel: int, payload_fd: int, kept: dict[bytes, types.CodeType], schedstat: int | None) -> bytes:
    """Return the verdict on the candidate at the other end of `channel`, as it is told.

    `schedstat` is open in a process that judges many, where the kernel ends tests that do not listen; None in
    one that judges this one alone.
    """
    payload = marshal.loads(wire.read_all(payload_fd))
    os.close(payload_fd)
    waited_s, began = 0.0 if schedstat is None else _waited_s(schedstat), time.monotonic()
    # Python hears of the first timer; the second ends what does not listen (a comparison in C).
    signal.setitimer(signal.ITIMER_PROF, payload["cpu_s"])
    if schedstat is not None:
        signal.setitimer(signal.ITIMER_VIRTUAL, payload["cpu_s"] + wire.LAST_WORD_S)
    try:
        verdict = _judge(payload, channel, kept)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    except TestsTimeoutError:
        verdict = _TIMEOUT
    if schedstat is not None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    os.close(channel)
    tests_waited_s = 0.0
    if time.monotonic() - began >= _NO_WAIT_S:
        tests_waited_s = _waited_s(_own_schedstat() if schedstat is None else schedstat) - waited_s
    return codec.encode((*verdict, tests_waited_s))


_TIMEOUT = ("timeout", "the tests used up the CPU time")


def _tests_are_over(number: int, frame: types.FrameType | None) -> None:
    raise TestsTimeoutError


def _judge(payload: dict[str, Any], channel: int, kept: dict[bytes, types.CodeType]) -> tuple[str, str]:
    source: bytes = payload["tests"]
    remote = _Remote(channel)
    try:
        code = payload["code"] or kept.get(source)
        if code is None:
            if len(kept) >= _COMPILED_KEPT:
                kept.clear()
            code = kept[source] = programs.compiled(source, wire.TESTS_NAME)
        remote.wait_until_ready()
        namespace: dict[str, Any] = {name: remote.stand_in(name) for name in payload["names"]}
        remote.share(namespace, payload["classes"])
        namespace["__builtins__"] = builtins.__dict__  # those of this module are its own
        namespace["candidate"] = namespace[payload["names"][0]]
        exec(code, namespace)
    except SyntaxError as error:
        if code is None:
            return "failed", f"the tests are no Python: {programs.describe(error)}"
        return "failed", _with_line(error, source)
    except TestsTimeoutError:
        return _TIMEOUT
    except BaseException as error:
        if remote.report is None:
            return remote.reason_of(error), _with_line(error, source)
    # Tests may swallow what must not be swallowed (`except:`); what the candidate did stands all the same.
    if remote.report is None and not remote.was_called:
        return "untested", f"the tests ended without a call of {payload['names'][0]}"
    return remote.report or ("passed", "")


def _with_line(error: BaseException, source: bytes) -> str:
    """Describe a failure with the line of the tests where it came up."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == wire.TESTS_NAME:
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
        self.was_called = False
        self._raised: dict[int, str] = {}
        self._namespace: dict[str, Any] = {}
        self._classes: list[Any] = []
        self._sent: set[int] = set()
        self._shared: SharedObjects | None = None
        self._live = TestsValues(lambda number, *given, **named: self._call(number, given, named))

    def share(self, namespace: dict[str, Any], classes: list[Any]) -> None:
        """Have objects of the tests' classes cross; `classes` are as `own_classes.OwnClass` has them."""
        if classes:
            self._namespace, self._classes = namespace, classes
            self._shared = SharedObjects(False, self._live)

    def wait_until_ready(self) -> None:
        """Wait until the candidate has executed its program."""
        kind, body = self._read(wire.READY + wire.UNFIT)
        if kind == wire.UNFIT:
            raise self._final(*self._words(body, 2))

    def stand_in(self, name: str) -> Any:
        """Return a function that forwards its calls."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._call(name, arguments, keywords)

        call.__name__ = call.__qualname__ = name
        return call

    def reason_of(self, error: BaseException) -> str:
        """Name the reason of a failure: what the candidate said of its own exception, or the tests' own."""
        return self._raised.get(id(error), programs.reason_of(error))

    def _call(self, name: str | int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.report is not None:
            raise CandidateOverError
        self.was_called = True
        try:
            request = self._request(name, list(arguments), keywords)
        except codec.UnsupportedValueError as error:
            raise self._final("unsupported", f"an argument cannot cross: {error}") from None
        try:
            wire.send_frame(self._channel, *request)
        except OSError:
            raise self._final(*_GONE) from None
        values = wire.VALUE_WITH_OBJECTS if self._shared else wire.VALUE + wire.CHANGED + wire.SAME
        kind, body = self._read(values + wire.ERROR + wire.UNSUPPORTED)
        if kind == wire.ERROR:
            return self._raise(*self._words(body, 3, bytes))
        value = self._decoded(body)
        if kind == wire.UNSUPPORTED:
            raise self._final("unsupported", str(value)[: programs.DETAIL_CHARACTERS])
        if kind == wire.VALUE_WITH_OBJECTS and self._shared is not None:
            try:
                value = self._shared.unpacked(value)
            except codec.MalformedValueError as error:
                raise self._final("unsupported", str(error)) from None
        if kind != wire.VALUE:
            if type(value) is not tuple or len(value) != 3 or type(value[2]) is not dict:
                raise self._final("unsupported", _NO_ANSWER)
            value, changed, changed_keywords = value
            _mirror(list(arguments), changed)
            _mirror(list(keywords.values()), list(changed_keywords.values()))
        if kind == wire.SAME:
            given = [*arguments, *keywords.values()]
            if (
                type(value) is not int
                or not 0 <= value < len(given)
                or not programs.is_changeable(given[value])
            ):
                raise self._final("unsupported", _NO_ANSWER)
            return given[value]
        return value

    def _request(
        self, name: str | int, arguments: list[Any], keywords: dict[str, Any]
    ) -> tuple[bytes, bytes]:
        """Return the frame of a call; raises UnsupportedValueError where an argument cannot cross."""
        shared = self._shared
        if shared is None:
            return wire.CALL, codec.encode((name, arguments, keywords), objects=False, shared=self._live)
        for number, (class_name, *_) in enumerate(self._classes):
            shared.learn(number, self._namespace.get(class_name))
        packed = shared.packed((name, arguments, keywords))
        wanted = shared.kinds_met | {
            n for n, (*_, holds_no_value) in enumerate(self._classes) if holds_no_value
        }
        wanted |= {needed for n in wanted for needed in self._classes[n][2]}
        sources = [(n, *self._classes[n][:2]) for n in sorted(wanted - self._sent)]
        self._sent |= wanted
        return wire.CALL_WITH_OBJECTS, codec.encode((sources, packed))

    def _raise(self, reason: str, kind: str, detail: str, made_of: bytes) -> Any:
        if reason == "exited":
            raise self._final("exited", detail)
        error = _exception(kind, detail, made_of)
        if reason in ("memory", "forbidden"):
            self._raised[id(error)] = reason
        raise error

    def _read(self, expected: bytes) -> tuple[bytes, bytes]:
        """Return the next frame; where it is none that is expected now, the candidate is gone."""
        try:
            frame = wire.read_frame(self._channel, expected)
        except OSError:
            frame = None
        if frame is None:
            raise self._final(*_GONE)
        return frame

    def _decoded(self, body: bytes) -> Any:
        try:
            return codec.decode(body, shared=self._live)
        except codec.MalformedValueError as error:
            raise self._final("unsupported", str(error)) from None

    def _words(self, body: bytes, count: int, *further: type) -> tuple[Any, ...]:
        """Return a reason that a candidate may give, and what it says of it."""
        words = self._decoded(body)
        if type(words) is not tuple or tuple(map(type, words)) != (*(str,) * count, *further):
            raise self._final("unsupported", _NO_ANSWER)
        if words[0] not in _CANDIDATES_REASONS:
            raise self._final("unsupported", _NO_ANSWER)
        return (*(word[: programs.DETAIL_CHARACTERS] for word in words[:count]), *words[count:])

    def _final(self, reason: str, detail: str) -> CandidateOverError:
        self.report = (reason, detail)
        return CandidateOverError(reason, detail)


_GONE = ("gone", "")
_NO_ANSWER = "the candidate's process sent no answer"
_CANDIDATES_REASONS = frozenset({"failed", "memory", "forbidden", "exited", "syntax error"})


def _exception(kind: str, detail: str, made_of: bytes) -> Exception:
    """Return what a candidate raised: of the class named, with its arguments where they say the same."""
    known: Any = next(filter(None, map(_class_of, kind.split())), None)
    if known is not None and issubclass(known, _SWALLOWED):
        return RuntimeError(f"the function raised {known.__name__}")
    if known is None:
        return Exception(detail)
    message = detail.partition(": ")[2]
    try:
        arguments = codec.decode(made_of)
        if type(arguments) is not tuple or not _lie_within(known, arguments):
            raise ValueError("no arguments of an exception")
        error: Exception = _made_of(known, arguments)
        if str(error)[: len(message)] == message and (message or not str(error)):
            return error
    except Exception:  # it takes others, or shows what it has no text for
        pass
    try:
        error = _made_of(known, (message,))
    except TypeError:  # a group of exceptions
        return Exception(detail)
    return error


def _class_of(name: str) -> Any:
    """Return an exception's class where the tests may know it: Python's own, or one of what they imported."""
    module, _, leaf = name.rpartition(".")
    where = builtins if not module else sys.modules.get(module) if name in programs.LIBRARY_ERRORS else None
    known = getattr(where, leaf, None)
    return known if isinstance(known, type) and issubclass(known, Exception) else None


def _lie_within(known: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether an exception can be shown: Python reads what a UnicodeError points at wherever it points."""
    if not issubclass(known, UnicodeError) or known is UnicodeError:
        return True
    of, start, end, _ = arguments[-4:]
    return bool(0 <= start <= end <= len(of))


def _made_of(known: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        return known(*arguments)
    except TypeError:  # the library's may take other arguments than they keep
        if known.__module__ == "builtins":
            raise
        return known.__new__(known, *arguments)


def _mirror(mine: list[Any], theirs: Any) -> None:
    """Do to the tests' own arguments what the candidate did to its copies."""
    if type(theirs) is not list or len(theirs) != len(mine):
        return
    for own, new in zip(mine, theirs, strict=True):
        kind = type(own)
        if kind is not type(new) or not programs.is_changeable(own) or not _differ(own, new):
            continue
        if kind is list or kind is bytearray:
            own[:] = new
        elif kind is tuple:
            _mirror(list(own), list(new))
        elif kind.__name__ in ("ndarray", "Tensor"):
            if own.shape == new.shape and own.dtype == new.dtype:
                own[...] = new
        else:  # a dict, set or deque, or one of their kinds
            own.clear()
            getattr(own, "extend" if hasattr(kind, "extend") else "update")(new)


def _differ(own: Any, new: Any) -> bool:
    try:
        return bool(own != new) or (isinstance(own, dict) and list(own) != list(new))
    except Exception:  # arrays have no one truth
        return True
