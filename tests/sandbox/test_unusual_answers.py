"""Right answers of unusual kinds pass, and what only looks like them does not."""

from __future__ import annotations

from functools import partial

import pytest

from evolcoder.evaluate.benchmarks.livecodebench import wrong_answer
from evolcoder.sandbox import Sandbox
from evolcoder.sandbox.protocol import BatchComparison, BatchJob, CallJob, Limits

TENSOR = "import torch\ndef f(x=None): return "
TENSORS = {
    "one number": ("torch.tensor([3])", "assert f() == 3 and not f() != 3", True),
    "as a list": ("torch.tensor([3, 4])", "assert f().tolist() == [3, 4]", True),
    "beside an array": ("torch.ones(2)", "import numpy as np\nassert (f() == np.ones(2)).all()", True),
    "beside a tensor": ("torch.ones(2)", "import torch\nassert torch.equal(f(), torch.ones(2))", True),
    "as an argument": ("x.sum().item()", "import torch\nassert f(torch.ones(2)) == 2", True),
    "another number": ("torch.tensor([4])", "assert f() == 3", False),
    "no list": ("torch.tensor([3])", "assert f() == [3] or [3] == f() or not f() != [3]", False),
    "no infinity": ("torch.full((1,), float('inf'), dtype=torch.half)", "assert f() == 10 ** 39", False),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", TENSORS)
def test_a_tensor_is_judged_as_torch_has_it(sandbox: Sandbox, case: str, trusted: bool) -> None:
    pytest.importorskip("torch")
    value, tests, passes = TENSORS[case]
    job = CallJob(TENSOR + value, "f", tests, Limits(cpu_s=20.0), trusted_tests=trusted)
    verdict = sandbox.run(job).verdict
    assert (verdict.passed, verdict.tier) == (passes, "rpc"), verdict


@pytest.mark.parametrize("value", ["np.array([1, 2])", "np.array([])", "[np.array([1, 2]), 3]"])
def test_an_array_in_the_place_of_a_list_fails(sandbox: Sandbox, value: str) -> None:
    comparison = BatchComparison("a list", partial(partial, wrong_answer, ("[1, 2]",), True))
    program = f"import numpy as np\ndef f(): return {value}"
    outcome = sandbox.run(BatchJob(program, "f", ((),), comparison=comparison))
    assert (outcome.verdict.reason, outcome.compared) == ("failed", 1), outcome


FIBONACCI = "def f():\n    a, b = 0, 1\n    while True:\n        yield a\n        a, b = b, a + b"
RAISES = "def f():\n    yield 1\n    raise ValueError('no more')"
LATE = "try:\n    next(found)\nexcept ValueError as e:\n    assert e.args == ('no more',)\nelse:\n    1 / 0"
ASYNC = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x * 2"
GATHERED = "import asyncio\nasync def all_of(): return await asyncio.gather(*map(f, range(3)))\n"
ADDER = "def f(n):\n    def add(x): return x + n\n    return add"
FOLDED = "def f(*a):\n    if len(a) == 1: return lambda x: x + a[0]\n    return lambda x: a[0](a[1](x))"
KEEPS = "from collections import *\ndef f(d):\n    d['x'] += 1"
SORTS = "def f(a):\n    a.sort()\n    return a"
EXPECT = "try:\n    f({0})\nexcept {1} as e:\n    assert {2}\nelse:\n    assert 0"
JSON = "import json\ndef f(x): return json.loads(x)"
ANSWERS = {
    "a generator without end": (FIBONACCI, "g = f()\nassert [next(g) for _ in range(5)] == [0, 1, 1, 2, 3]"),
    "many items of one": (
        FIBONACCI,
        "import itertools\nassert sum(1 for _ in itertools.islice(f(), 999)) == 999",
    ),
    "a slow generator": (
        "import time\ndef f():\n    for i in range(9):\n        time.sleep(0.03)\n        yield i",
        "assert list(f()) == list(range(9))",
    ),
    "a generator that raises": (RAISES, f"found = f()\nassert next(found) == 1\n{LATE}"),
    "an iterator of its own": (
        "class It:\n    n = 0\n    def __iter__(self): return self\n"
        "    def __next__(self):\n        self.n += 1\n        return self.n\ndef f(): return It()",
        "found = iter(f())\nassert (next(found), next(found)) == (1, 2)",
    ),
    "a coroutine": (ASYNC, "import asyncio\nassert asyncio.run(f(3)) == 6"),
    "coroutines together": (ASYNC, GATHERED + "assert asyncio.run(all_of()) == [0, 2, 4]"),
    "a function": (
        ADDER,
        "assert f(3)(4) == 7 and f(1)(x=1) == 2 and f(1).__name__ == 'add' and f(3) != f(3)",
    ),
    "functions of functions": (FOLDED, "assert f(f(1), f(2))(3) == 6"),
    "a defaultdict is given": (
        KEEPS,
        "from collections import *\nd = defaultdict(int)\nf(d)\nassert d == {'x': 1}",
    ),
    "a defaultdict comes back": (
        "from collections import *\ndef f(): return defaultdict(lambda: 0, a=1), defaultdict(list)",
        "counts, lists = f()\nassert counts == {'a': 1} and counts['b'] == 0 and lists['c'] == []",
    ),
    "a Counter is changed": (KEEPS, "from collections import *\nd = Counter()\nf(d)\nassert d['x'] == 1"),
    "a deque is changed": (
        "def f(d): d.rotate(1)",
        "from collections import *\nd = deque([1, 2])\nf(d)\nassert d == deque([2, 1])",
    ),
    "bytes are changed": ("def f(b): b.append(65)", "b = bytearray()\nf(b)\nassert b == b'A'"),
    "an array is changed": (
        "def f(a): a.sort()",
        "import numpy as np\na = np.array([2, 1])\nf(a)\nassert a.tolist() == [1, 2]",
    ),
    "a list in a tuple is changed": ("def f(t): t[0].append(1)", "a = []\nf((a,))\nassert a == [1]"),
    "arrays in a list": (
        "def f(xs, n): n.append(xs[0].sum())",
        "import numpy as np\nn = []\nf([np.array([1, 2])], n)\nassert n == [3]",
    ),
    "the same list": (SORTS, "a = [2, 1]\nassert f(a) is a and f(a=a) is a and a == [1, 2]"),
    "an exception's arguments": (
        "def f(x): raise ValueError('bad', x)",
        EXPECT.format(3, "ValueError", "e.args == ('bad', 3)"),
    ),
    "a key that is missing": (
        "def f(x): return {}[x]",
        EXPECT.format("'k'", "KeyError", "str(e) == \"'k'\""),
    ),
    "no UTF-8": (
        "def f(x): return x.decode()",
        EXPECT.format(r"b'\xff'", "UnicodeDecodeError", "e.start == 0"),
    ),
    "no file": (
        "def f(x): return open(x)",
        EXPECT.format("'none'", "FileNotFoundError", "(e.errno, e.filename) == (2, 'none')"),
    ),
    "no JSON": (JSON, "import json\n" + EXPECT.format("'{'", "json.JSONDecodeError", "'line 1' in str(e)")),
    "no value": (JSON, EXPECT.format("'{'", "ValueError", "'line 1' in str(e)")),
    "its own exception": (
        "class No(ValueError):\n    def __str__(self): return 'none'\ndef f(x): raise No",
        EXPECT.format(1, "ValueError", "str(e) == 'none'"),
    ),
    "further types": (
        "import array, collections, types\ndef f():\n    return [collections.UserList([1]), "
        "collections.UserDict(a=1), collections.ChainMap({'a': 1}), types.MappingProxyType({'a': 1}), "
        "array.array('i', [1]), memoryview(b'a'), slice(1)]",
        "a, b, c, d, e, m, s = f()\nassert a == list(e) == [1] and b == c == d == {'a': 1}\n"
        "assert m == b'a' and s == slice(1)",
    ),
    "types of further modules": (
        "def f(p, u, z, s): return p / 'b', u, z, [1, 2, 3][s]",
        "import datetime as t, pathlib, uuid\nu, z = uuid.UUID(int=1), t.timezone(t.timedelta(hours=1))\n"
        "assert f(pathlib.Path('a'), u, z, slice(2)) == (pathlib.Path('a/b'), u, z, [1, 2])",
    ),
}
WRONG = {
    "the same list is no copy": (SORTS, "a = [2, 1]\nassert f(a) is not a"),
    "a function in the place of a value": ("def f(): return lambda *a: True", "assert f() == 3"),
    "a function in the place of a method": (
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    issubset: object\n"
        "def f(): return D(lambda *a: True)",
        "assert f().issubset({1})",
    ),
    "a function that ends an iteration": (
        "def f():\n    def g(x): raise StopIteration\n    return g",
        "assert all(map(lambda x: f()(x) == x, (1, 2)))",
    ),
    "an exception of another name that ends an iteration": (
        "class Full(StopIteration): __module__ = 'queue'\ndef f(x): raise Full",
        "assert all(map(lambda x: f(x) == x * 3, (1, 2)))",
    ),
    "an iterator that never says enough": ("def f():\n    while True: yield 3", "assert list(f()) == [3]"),
    "an exception that a test framework swallows": (
        "import unittest\ndef f(): raise unittest.case._ShouldStop",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(), 2)\n"
        "found = unittest.TestResult()\nunittest.defaultTestLoader.loadTestsFromTestCase(T).run(found)\n"
        "assert found.wasSuccessful()",
    ),
}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", ANSWERS)
def test_a_right_answer_passes(sandbox: Sandbox, case: str, trusted: bool) -> None:
    program, tests = ANSWERS[case]
    verdict = sandbox.run(CallJob(program, "f", tests, trusted_tests=trusted)).verdict
    assert verdict.passed and verdict.tier == "rpc", verdict


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_one_does_not(sandbox: Sandbox, case: str, trusted: bool) -> None:
    program, tests = WRONG[case]
    verdict = sandbox.run(CallJob(program, "f", tests, Limits(cpu_s=0.5), trusted_tests=trusted)).verdict
    assert not verdict.passed and verdict.reason != "infrastructure", verdict
