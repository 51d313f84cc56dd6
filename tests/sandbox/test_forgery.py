"""Programs drawn at random that try to forge a pass: objects that answer as they like, frames of bytes."""

from __future__ import annotations

import os
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolcoder.sandbox import Sandbox, codec
from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.protocol import CallJob, Limits

EXAMPLES = int(os.environ.get("EVOLCODER_FORGERIES", "60"))
TESTS = st.sampled_from(
    [
        "assert candidate(2) == 41713",
        "assert not candidate(2) != 41713",
        "assert abs(candidate(3) - 90210.5) < 1e-6",
        "assert sorted(candidate(4)) == [5, 77]",
        "assert all(candidate(x) == x * 31 for x in (5, 6))",
        "assert all(map(lambda x: candidate(x) == x * 31, (5, 6)))",
        "assert 41713 in [candidate(2)]",
        "assert isinstance(candidate(7), dict) and set(candidate(7)) == {'q7', 'q9'}",
        "assert 41713.25 < candidate(1) < 41713.26 or tuple(candidate(1)) == (3, 1, 2)",
    ]
)
"""Each alone; no value below is right for any."""
METHODS = (
    "eq ne lt le gt ge bool len iter next hash abs sub rsub add radd float int index contains getitem "
    "call instancecheck getattr str repr format reduce class_getitem array array_ufunc"
)
RETURNS = ["True", "False", "0", "0.0", "s", "iter(())", "'E'", "41713", "NotImplemented", "1 / 0"]
BASES = ["object", "int", "float", "str", "list", "tuple", "dict", "set", "Exception"]
RETURNED = [
    *("E()", "[E()]", "(E(), E())", "{E(): E()}", "{'k1': E(), 'k2': E()}", "E", "lambda *a: True"),
    *("E().__eq__", "(E() for _ in range(99999))", "iter([E()])", "later()"),
]
QUICK = Limits(cpu_s=1.0)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(METHODS.split()), st.sampled_from(RETURNS), max_size=12),
    st.sampled_from(BASES),
    st.sampled_from(RETURNED),
    TESTS,
)
def test_no_object_passes(
    sandbox: Sandbox, methods: dict[str, str], base: str, returned: str, tests: str
) -> None:
    body = "".join(f"    def __{name}__(s, *a, **k): return {value}\n" for name, value in methods.items())
    program = f"class E({base}):\n    pass\n{body}\nasync def later(): return E()\n"
    program += f"def f(x):\n    return {returned}\n"
    verdict = sandbox.run(CallJob(program, "f", tests, QUICK, trusted_tests=True)).verdict
    assert not verdict.passed and verdict.tier == "rpc", program


OWN_CLASS = """
import functools
class N:
    limit = 5
    def __init__(self, v, kids=()): self.v, self.kids = v, list(kids)
    def __eq__(self, other): return type(other) is N and (self.v, self.kids) == (other.v, other.kids)
    def __ne__(self, other): return not self == other
    def holds(self, v): return self.v == v and v in [kid.v for kid in self.kids]
    @property
    def right(self): return self.v == 41713
    @functools.cached_property
    def sure(self): return self.v == 41713
class Sub(N):
    __slots__ = ("mark",)
n = N(1, [N(2), Sub(3)])
"""
OWN_TESTS = st.sampled_from(
    [
        "assert candidate(n) == N(41713)",
        "assert not candidate(n) != N(41713)",
        "assert candidate(n).holds(41713)",
        "assert candidate(n).right",
        "assert candidate(n).sure",
        "candidate(n)\nassert n.right or n.sure or n.kids[0].right or n.kids[1] == N(7)",
        "assert candidate(n).kids == [N(41713)]",
        "assert not candidate(n).holds(1) and n.limit == 41713",
        "assert candidate(n).mark(3) or candidate(n).mark == 41713",
    ]
)
NAMES = [
    "v",
    "kids",
    "holds",
    "right",
    "sure",
    "limit",
    "mark",
    "__class__",
    "__eq__",
    "__dict__",
    "n",
    "index",
]
HELD = ["E()", "bool", "N", "Sub", "True", "[E()]", "[x]", "x", "x.kids", "lambda *a: True", "type(x)", "{x}"]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "N", "Sub", "x.kids[0]"]), *map(st.sampled_from, (NAMES, HELD)))
    ),
    st.sampled_from(["x", "N", "Sub(x)", "E()", "x.kids", "x.kids[1]", "[x, x]", "N(E(), [E()])", "bool"]),
    OWN_TESTS,
)
def test_no_object_of_the_tests_passes(
    sandbox: Sandbox, changes: list[tuple[str, str, str]], returned: str, tests: str
) -> None:
    body = "".join(
        f"    try: setattr({to}, {name!r}, {held})\n    except Exception: pass\n"
        f"    try: {to}.__dict__[{name!r}] = {held}\n    except Exception: pass\n"
        for to, name, held in changes
    )
    equal = "class E:\n    def __eq__(s, o): return True\n    v = 41713\n"
    program = f"{equal}def f(x):\n{body}    return {returned}\n"
    verdict = sandbox.run(CallJob(program, "f", OWN_CLASS + tests, QUICK)).verdict
    assert not verdict.passed and verdict.tier == "rpc", program


def frame(kind: bytes, body: bytes) -> bytes:
    return struct.pack("<I", len(body) + 1) + kind + body


VALUES = (
    st.none() | st.booleans() | st.integers(-999, 999) | st.floats() | st.lists(st.integers()) | st.text()
)
KINDS = st.sampled_from([bytes([letter]) for letter in range(65, 91)])
FRAMES = st.one_of(
    st.binary(max_size=30),
    st.just(frame(wire.READY, b"")),
    st.just(frame(wire.PASSED, b"")),
    st.builds(frame, KINDS, st.binary(max_size=20)),
    st.builds(lambda value: frame(wire.VALUE, codec.encode(value)), VALUES),
    st.builds(
        lambda name, value: frame(wire.READY, codec.encode((name, value))),
        st.sampled_from(["abs", "sorted", "all", "set", "isinstance", "candidate", "__builtins__"]),
        VALUES,
    ),
    st.builds(
        lambda kind: frame(wire.ERROR, codec.encode(("failed", kind, kind))),
        st.sampled_from(["StopIteration", "GeneratorExit", "KeyboardInterrupt", "Warning", "print"]),
    ),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FRAMES, max_size=12), st.booleans(), TESTS)
def test_no_frames_pass(sandbox: Sandbox, frames: list[bytes], stays: bool, tests: str) -> None:
    program = (
        f"import os\nfor fd in range(3, 8):\n  for data in {frames!r}:\n"
        "    try: os.write(fd, data)\n    except OSError: pass\n"
        f"if not {stays}: os._exit(0)\ndef f(x): return 0\n"
    )
    verdict = sandbox.run(CallJob(program, "f", tests, QUICK, trusted_tests=True)).verdict
    assert not verdict.passed and verdict.reason != "infrastructure", (frames, verdict)
