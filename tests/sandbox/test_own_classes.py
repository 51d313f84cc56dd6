"""Tests that define classes of their own and pass their objects: right answers pass, and no others."""

from __future__ import annotations

import pytest

from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import CallJob, Limits

NODE = "class Node:\n    def __init__(self, v, next=None):\n        self.v, self.next = v, next\n"
LINKED = f"""{NODE}
def linked(xs):
    head = None
    for x in reversed(xs):
        head = Node(x, head)
    return head
def values(node):
    found = []
    while node:
        found.append(node.v)
        node = node.next
    return found
"""
REVERSE = "def f(h):\n    p = None\n    while h:\n        h.next, p, h = p, h, h.next\n    return p"
BUILD = "def f(xs):\n    h = None\n    for x in reversed(xs):\n        h = Node(x, h)\n    return h"
POINT = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int\n    y: int = 0\n"
TREE = (
    "class T:\n    __slots__ = ('l', 'r', 'v')\n"
    "    def __init__(self, v, l=None, r=None):\n        self.v, self.l, self.r = v, l, r\n"
)
SHAPES = """
class Shape:
    def area(self): return 0
class Square(Shape):
    def __init__(self, a): self.a = a
    def area(self): return self.a ** 2
class Strip(Shape):
    def __init__(self, a): self.a = a
    def area(self): return self.a * 2
"""
ACCOUNT = """
class Account:
    LEAST = 5
    def __init__(self): self.total = 0
    def put(self, n): self.total += max(n, self.LEAST)
a = Account()
"""
COLOR = "from enum import Enum\nclass Color(Enum):\n    RED = 1\n    BLUE = 7\n"
RIGHT = {
    "an attribute is read": ("def f(n): return n.v + 2", NODE + "assert f(Node(1)) == 3"),
    "a list is reversed": (REVERSE, LINKED + "assert values(f(linked([1, 2, 3]))) == [3, 2, 1]"),
    "a long list is no deep value": (REVERSE, LINKED + "assert values(f(linked(range(20000))))[0] == 19999"),
    "an object stays the same one": (
        "def f(h):\n    while h.next: h = h.next\n    return h",
        LINKED + "h = linked([1, 2, 3])\nassert f(h) is h.next.next",
    ),
    "a cycle": (
        "def f(h):\n    seen = []\n    while h not in seen:\n        seen += [h]; h = h.next\n    return h",
        LINKED + "h = linked([1, 2, 3])\nh.next.next.next = h.next\nassert f(h) is h.next",
    ),
    "the program makes them": (BUILD, LINKED + "assert values(f([1, 2])) == [1, 2]"),
    "the program has the class too": (NODE + BUILD, LINKED + "assert values(f([1, 2])) == [1, 2]"),
    "changed in place": ("def f(n): n.v = 9", NODE + "n = Node(1)\nf(n)\nassert n.v == 9"),
    "in a list": (
        "def f(ns): return sorted(ns, key=lambda n: n.v)",
        NODE + "a, b = Node(2), Node(1)\nr = f([a, b])\nassert r[0] is b and r[1] is a",
    ),
    "in a set": (
        "def f(ps): return {p for p in ps if p.x}",
        POINT + "assert f({P(1, 2), P(0, 1)}) == {P(1, 2)}",
    ),
    "equal as their class says": ("def f(p): return P(p.y, p.x)", POINT + "assert f(P(1, 2)) == P(2, 1)"),
    "slots": (
        "def f(t):\n    if t: t.l, t.r = f(t.r), f(t.l)\n    return t",
        TREE + "t = f(T(1, T(2), T(3)))\nassert (t.l.v, t.r.v) == (3, 2)",
    ),
    "members of an Enum": (
        "def f(c): return Color.BLUE if c is Color.RED else c.value",
        COLOR + "assert f(Color.RED) is Color.BLUE and f(Color.BLUE) == 7",
    ),
    "methods are called": (
        "def f(a, n): a.put(n); return a.total",
        ACCOUNT + "assert f(a, 7) == 7 and f(a, n=1) == 12 and a.total == 12",
    ),
    "classes of classes": (
        "def f(xs): return sum(x.area() for x in xs if isinstance(x, Shape))",
        SHAPES + "assert f([Square(3), Strip(2), Shape()]) == 13",
    ),
    "a class is passed": ("def f(k, x): return k(x)", NODE + "assert f(Node, 4).v == 4"),
    "a documented class": (
        "def f(x): return Pair(x, 'b')",
        "class Pair:\n    'Two things.'\n    def __init__(self, a: 'Pair', b: str = ''):\n"
        "        'Keep both.'\n        self.a, self.b = a, b\n"
        "    def __repr__(self): return f'Pair({self.a}, {self.b})'\n"
        "p = f(3)\nassert isinstance(p, Pair) and repr(p) == 'Pair(3, b)'",
    ),
    "changed and no longer to be reached": (
        "def f(h):\n    rest, h.next = h.next, None\n    rest.v, rest.next = 7, None",
        LINKED + "h = linked([1, 2, 3])\nb = h.next\nf(h)\nassert (h.next, b.v, b.next) == (None, 7, None)\n"
        "h.next = b\nb.v = 8\nf(h)\nassert b.v == 7",
    ),
    "what an object holds stays the same": (
        "def f(n): n.v.append(3)",
        NODE + "xs = [1]\nf(Node(xs))\nassert xs == [1, 3]",
    ),
}
WRONG = {
    "another value": ("def f(n): return 0", NODE + "assert f(Node(1)) == 3"),
    "equal to everything": (
        "class E:\n    def __eq__(s, o): return True\ndef f(n): return E()",
        NODE + "assert f(Node(1)) == 3",
    ),
    "attributes equal to everything": (
        "class E:\n    def __eq__(s, o): return True\ndef f(p): return P(E(), E())",
        POINT + "assert f(P(1, 2)) == P(2, 1)",
    ),
    "the class patched": (
        "def f(p):\n    P.__eq__ = lambda s, o: True\n    return P(0)",
        POINT + "assert f(P(1, 2)) == P(2, 1)",
    ),
    "a method covered": (
        "def f(b):\n    b.__dict__['ok'] = bool\n    return b",
        "class B:\n    def ok(self, x): return x == 'q'\nassert f(B()).ok(3)",
    ),
    "a computed attribute covered": (
        "def f(b):\n    vars(b)['ok'] = True\n    return b",
        "import functools\nclass B:\n    @functools.cached_property\n    def ok(s): pass\nb = f(B())\n"
        "assert b.ok",
    ),
    "the class in place of an object": (
        "def f(b): return [B]",
        "class B:\n    @property\n    def ok(self): pass\nassert f(B())[0].ok",
    ),
    "the tests' own solution": (
        "def f(x): return Known().f(x)",
        "class Known:\n    def f(self, x): return x * 41\nassert f(2) == Known().f(2)",
    ),
    "an expected value of a class": ("def f(x): return E.A", "class E:\n    A = 41\nassert f(2) == E.A"),
    "an expected value of an object": (
        "def f(x): return E().a",
        "class E:\n    def __init__(self): self.a = 41\nassert f(2) == E().a",
    ),
    **{
        f"an expected value in {where}": (
            f"def f(x): return {found}",
            f"from typing import Literal\nclass E:\n    {body}\nassert f(2) == 41",
        )
        for where, body, found in (
            ("a default", "def __init__(self, a=41): pass", "E.__init__.__defaults__[0]"),
            ("a named default", "def __init__(self, *, a=41): pass", "E.__init__.__kwdefaults__['a']"),
            (
                "an annotation",
                "def __init__(self, a: '41'): pass",
                "int(E.__init__.__annotations__['a'])",
            ),
            ("a field's annotation", "a: Literal[41]", "E.__annotations__['a'].__args__[0]"),
            ("what is shown", "def __repr__(self): return '41'", "int(repr(E()))"),
            ("documentation", "'41'", "int(E.__doc__)"),
            ("a method's documentation", "def __init__(self): '41'", "int(E.__init__.__doc__)"),
        )
    },
    "a type as the method of a field": (
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    issubset: type\ndef f(x): return D(bool)",
        "assert f(1).issubset({1, 2})",
    ),
    "a type as the method of a named tuple": (
        "import collections\nD = collections.namedtuple('D', 'is_finite')\ndef f(x): return D(bool)",
        "assert f(1).is_finite(7)",
    ),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", RIGHT)
def test_a_right_answer_passes(sandbox: Sandbox, case: str, trusted: bool) -> None:
    program, tests = RIGHT[case]
    verdict = sandbox.run(CallJob(program, "f", tests, trusted_tests=trusted)).verdict
    assert verdict.passed and verdict.tier == "rpc", verdict


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_no_other_answer_does(sandbox: Sandbox, case: str, trusted: bool) -> None:
    program, tests = WRONG[case]
    verdict = sandbox.run(CallJob(program, "f", tests, Limits(cpu_s=1.0), trusted_tests=trusted)).verdict
    assert verdict.reason in ("failed", "unsupported") and verdict.tier == "rpc", verdict


def test_what_stands_for_no_object_is_refused(sandbox: Sandbox) -> None:
    """Frames that a program sends itself: numbers of no object, classes, attributes of no class."""
    frames = [
        "encode(([], [], [], encode_x('shared', (7,))))",
        "encode(([9], [], [], encode(3)))",
        "encode(([0] * 3 * 10**6, [], [], encode(3)))",
        "encode(([], [(0, encode({'__class__': 3}))], [], encode(3)))",
        "encode(([], [(0, encode(['v']))], [], encode(3)))",
        "encode(([], [(-1, encode({}))], [], encode(3)))",
        "encode(([], [(True, encode({}))], [], encode(3)))",
        "encode(3)",
        "encode_x('shared class', (-1,))",
    ]
    for frame in frames:
        program = (
            "import os, struct, sys\n"
            "def encode(value):\n"
            "    encoder = next(f.f_globals['codec'] for f in above() if 'codec' in f.f_globals)\n"
            "    return encoder.encode(value)\n"
            "def encode_x(kind, parts):\n"
            "    return b'x' + struct.pack('<I', len(kind)) + kind.encode() + encode(parts)\n"
            "def above():\n"
            "    frame = sys._getframe()\n"
            "    while frame:\n        yield frame\n        frame = frame.f_back\n"
            "def f(n):\n"
            f"    body = {frame}\n"
            "    data = struct.pack('<I', len(body) + 1) + b'D' + body\n"
            "    while data:\n        data = data[os.write(4, data):]\n"
            "    os._exit(0)\n"
        )
        verdict = sandbox.run(
            CallJob(program, "f", NODE + "assert f(Node(1)) == 3", Limits(cpu_s=1.0))
        ).verdict
        assert verdict.reason == "unsupported", (frame, verdict)
