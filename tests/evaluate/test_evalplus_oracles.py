"""Values are compared as each named oracle compares them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evaluate.benchmarks.described_values import WRAPPER_NAME, described_program, rebuilt_call
from evolcoder.evaluate.benchmarks.evalplus import mbpp_plus_inputs
from evolcoder.evaluate.benchmarks.evalplus_oracles import ORACLES, Expectation, ValueComparison
from evolcoder.sandbox.codec import decode, encode
from evolcoder.sandbox.protocol import CallValue


def passes(
    oracle: str,
    out: Any,
    exp: Any,
    *,
    name: str = "f",
    dataset: str = "mbpp",
    atol: float = 0,
    args: Any = (),
) -> bool:
    return all_pass(oracle, [(out, exp)], name=name, dataset=dataset, atol=atol, args=args)


def all_pass(
    oracle: str,
    pairs: list[tuple[Any, Any]],
    *,
    name: str = "f",
    dataset: str = "mbpp",
    atol: float = 0,
    args: Any = (),
) -> bool:
    wanted = Expectation(dataset, name, atol, [args] * len(pairs), [exp for _, exp in pairs])
    compare = ValueComparison(oracle, wanted)
    return all(compare(at, CallValue(True, out)) is None for at, (out, _) in enumerate(pairs))


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(
    ("out", "exp", "right"),
    [
        (1, 1, True),
        (True, 1, True),
        ([1, 2], (1, 2), False),
        (1.0 + 1e-9, 1.0, True),
        (1.1, 1.0, False),
        ([1.0, 2.0 + 1e-9], [1.0, 2.0], True),
        (None, 1.0, False),
        ("1", 1.0, False),
        ([[1], [1, 2]], [1.0, 2.0], False),
    ],
)
def test_values_that_all_oracles_judge_alike(oracle: str, out: Any, exp: Any, right: bool) -> None:
    assert passes(oracle, out, exp) is right


@pytest.mark.parametrize(
    ("oracle", "right"), [("evalplus-0.2.1", True), ("evalplus-0.3.1", False), ("evalplus", False)]
)
def test_an_integer_near_an_expected_float_passes_only_in_0_2_1(oracle: str, right: bool) -> None:
    assert passes(oracle, 10**9, 10.0**9 + 0.5) is right


@pytest.mark.parametrize(
    ("oracle", "right"), [("evalplus-0.2.1", False), ("evalplus-0.3.1", True), ("evalplus", True)]
)
def test_order_counts_in_set_problems_only_in_0_2_1(oracle: str, right: bool) -> None:
    assert passes(oracle, (2, 1), (1, 2), name="similar_elements") is right


@pytest.mark.parametrize(
    ("oracle", "right"), [("evalplus-0.2.1", True), ("evalplus-0.3.1", True), ("evalplus", False)]
)
def test_a_float_turns_tolerance_on_for_later_tests_unless_mended(oracle: str, right: bool) -> None:
    assert all_pass(oracle, [(1.0, 1.0), (10**9 + 1, 10**9)]) is right


@pytest.mark.parametrize(
    ("oracle", "right"), [("evalplus-0.2.1", True), ("evalplus-0.3.1", False), ("evalplus", True)]
)
def test_a_right_root_fails_only_in_0_3_1(oracle: str, right: bool) -> None:
    arguments = ([1, 2],)
    assert (
        passes(oracle, -0.5, -0.5, name="find_zero", dataset="humaneval", atol=1e-4, args=arguments) is right
    )


def test_a_wrong_root_with_a_negative_value_fails_in_ours() -> None:
    arguments = ([1, 2],)
    assert not passes(
        "evalplus", -9.0, -0.5, name="find_zero", dataset="humaneval", atol=1e-4, args=arguments
    )


@pytest.mark.parametrize("oracle", ORACLES)
def test_special_problems(oracle: str) -> None:
    assert passes(oracle, 0, 6, name="sum_div")
    assert passes(oracle, False, True, name="are_equivalent")
    assert passes(oracle, "Found a match!", True, name="check_str")
    assert not passes(oracle, None, True, name="check_str")
    assert passes(oracle, False, False, name="check_str")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@given(PLAIN, PLAIN, st.sampled_from(ORACLES), st.sampled_from([0, 1e-4]))
def test_no_pair_of_values_breaks_an_oracle(out: Any, exp: Any, oracle: str, atol: float) -> None:
    assert passes(oracle, out, exp, atol=atol) in (True, False)


def crossed(expression: str) -> Any:
    """Return what an expression (written here, not generated) gives, as it comes from another process."""
    namespace: dict[str, Any] = {}
    exec("import collections, decimal, fractions, re\nimport numpy as np\n", namespace)
    return decode(encode(eval(expression, namespace)))


def test_long_values_come_back_short_and_equal_only_equal_ones() -> None:
    def described(expression: str) -> Any:
        namespace: dict[str, Any] = {}
        exec(described_program(f"def f():\n    return {expression}", "f", compact=True), namespace)
        return rebuilt_call(CallValue(True, namespace[WRAPPER_NAME]()))[0].value

    assert described("['x' * 20000, (1, {2: None})]") == [described("'x' * 20000"), (1, {2: None})]
    assert described("'x' * 20000") != described("'y' * 20000")
    assert described("[1, 2.5] * 9000") == [1, 2.5] * 9000
    assert described("['a'] * 20000") != described("('a',) * 20000")


@pytest.mark.parametrize(
    ("expression", "equal"),
    [
        ("collections.Counter('aab')", {"a": 2, "b": 1}),
        ("collections.defaultdict(list, {1: [2]})", {1: [2]}),
        ("collections.OrderedDict([(1, 2)])", {1: 2}),
        ("{1: 2}.keys()", {1}),
        ("np.float64(0.5)", 0.5),
        ("np.int64(3)", 3),
        ("np.bool_(True)", True),
        ("[(1, {2: {3}}), frozenset({4})]", [(1, {2: {3}}), frozenset({4})]),
        ("range(2, 9, 3)", range(2, 9, 3)),
        ("fractions.Fraction(1, 2)", 0.5),
        ("decimal.Decimal('2')", 2),
        ("type('Text', (str,), {})('a')", "a"),
        ("collections.namedtuple('P', 'x y')(1, 2)", (1, 2)),
    ],
)
def test_a_value_of_a_known_type_equals_what_it_equals_there(expression: str, equal: Any) -> None:
    value = crossed(expression)
    assert (value == equal and type(value) is not type(equal)) or expression[0] in "[r"


@pytest.mark.parametrize(
    "expression", ["(n for n in [1])", "re.match('a', 'a')", "object()", "map(str, [1])", "lambda: 1"]
)
def test_a_value_of_another_type_equals_nothing(expression: str) -> None:
    value = crossed(expression)
    assert value is not None and value != [1] and value != "a"


def test_an_array_is_rebuilt_as_an_array() -> None:
    value = crossed("np.array([[1, 2], [3, 4]])")
    assert value.shape == (2, 2) and value.tolist() == [[1, 2], [3, 4]]


def test_an_object_that_equals_everything_equals_nothing_here() -> None:
    everything = "type('E', (), {'__eq__': lambda s, o: True})()"
    wanted = Expectation("mbpp", "f", 0, [()], [1])
    assert ValueComparison("evalplus", wanted)(0, CallValue(True, crossed(everything))) is not None


JUNK = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["dict", "list", "digest", "numbers", "value"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=6,
)


@given(JUNK)
def test_a_forged_description_breaks_nothing(answer: Any) -> None:
    value, _ = rebuilt_call(CallValue(True, answer))
    assert value.ok or value.error.startswith("unsupported")


@pytest.mark.parametrize(
    ("task", "inputs", "meant"),
    [
        ("Mbpp/2", [[[1], [2]]], [((1,), (2,))]),
        ("Mbpp/63", [[[[1, 2]]]], [([(1, 2)],)]),
        ("Mbpp/115", [[[[1, 1], []]]], [([{1}, {}],)]),
        ("Mbpp/124", [["1", "2j"]], [(1.0, 2j)]),
        ("Mbpp/580", [[[1, [2, [3]]]]], [((1, (2, (3,))),)]),
        ("Mbpp/722", [[{"a": [1, 2]}, 1]], [({"a": (1, 2)}, 1)]),
        ("Mbpp/793", {}, []),
        ("Mbpp/3", [[[1]]], [([1],)]),
    ],
)
def test_inputs_get_the_types_that_json_has_not(task: str, inputs: Any, meant: Any) -> None:
    assert mbpp_plus_inputs(task, inputs) == meant


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(
    ("out", "exp"),
    [
        ((np.empty((0, 2)),) * 2, (1.5, 2.5)),
        ([np.empty((0, 2))] * 2, [1.5, 2.5]),
        (np.empty((0,)), np.ones(3)),
        (["x" * 10_000_000, "a"], [1.5, 2.5]),
    ],
)
def test_what_numpy_would_broadcast_or_widen_is_no_answer(oracle: str, out: Any, exp: Any) -> None:
    assert not passes(oracle, out, exp, atol=1e-6)
