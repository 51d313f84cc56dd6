import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.evolve.answer_tests import runnable_tests
from evolcoder.evolve.elimination import (
    answer_elimination,
    has_content,
    instruction_elimination,
    is_part_of,
    is_unchanged,
    says_equal,
)
from evolcoder.evolve.evolve_one import without_preamble
from evolcoder.evolve.methods import METHOD_SETS
from evolcoder.extraction.thinking import split_thinking

CODE = METHOD_SETS["code"]
PARENT = "Write a Python function that merges two calendars."


def reason_for(evolved: str, parent: str = PARENT) -> str | None:
    found = instruction_elimination(parent, evolved, CODE.methods[0], CODE)
    return found.reason if found else None


@pytest.mark.parametrize(
    "same",
    [
        PARENT,
        PARENT.upper(),
        "  write a python function,  that merges two calendars!! ",
        "Please write a Python function that merges the two calendars.",
    ],
)
def test_an_instruction_that_comes_back_the_same_is_unchanged(same: str) -> None:
    assert reason_for(same) == "unchanged"


@pytest.mark.parametrize("part", ["for i in x print(i)", "Fix this code.", "fix  this\ncode. for I in x"])
def test_a_piece_of_the_parent_adds_nothing(part: str) -> None:
    assert reason_for(part, "Fix this code.\nfor i in x print(i)") == "unchanged"


@pytest.mark.parametrize(
    "changed",
    [
        "Write a Python function that merges three calendars.",
        "Write a Python function that does not merge two calendars.",
        PARENT + " It must run in linear time.",
    ],
)
def test_a_small_real_change_is_kept(changed: str) -> None:
    assert reason_for(changed) is None


@pytest.mark.parametrize(
    "leak",
    [
        "#Rewritten Prompt#: merge calendars of three people in linear time",
        "Given prompt: merge calendars of three people in linear time",
        "Here is a harder programming test question: merge calendars of three people",
        "To increase the difficulty, merge calendars of three people",
        "Merge calendars. Provide a piece of erroneous code as a reference to increase misdirection.",
        CODE.methods[0].shots[0].evolved,
    ],
)
def test_words_of_the_evolving_prompt_are_a_leak(leak: str) -> None:
    method = CODE.methods[0] if "erroneous" not in leak else CODE.methods[3]
    found = instruction_elimination(PARENT, leak, method, CODE)
    assert found is not None
    assert found.reason == "leaked prompt"


def test_words_that_the_parent_already_held_are_no_leak() -> None:
    parent = "Write a function that shows the given prompt to a user."
    assert reason_for("Write a function that shows the given prompt twice, in two colours.", parent) is None


def test_a_refusal_to_evolve_and_an_empty_reply_are_dropped() -> None:
    assert reason_for("I'm sorry, but as an AI language model I cannot help with that.") == "refused"
    assert reason_for("") == "empty"
    assert reason_for(" ... ") == "empty"
    assert reason_for("Write a program that prints sorry whenever a train is late, in two languages.") is None


def test_a_short_answer_with_sorry_is_a_refusal_and_a_long_one_is_not() -> None:
    short, long = "Sorry, " + "word " * 78, "Sorry, " + "word " * 79
    assert answer_elimination(short).reason == "refused"  # type: ignore[union-attr]
    assert answer_elimination(long) is None


@pytest.mark.parametrize("nothing", ["", "...", "And so, the: of!", "\n\t", "It is."])
def test_an_answer_of_punctuation_and_stop_words_is_empty(nothing: str) -> None:
    assert answer_elimination(nothing).reason == "empty"  # type: ignore[union-attr]


def test_an_answer_of_one_real_word_or_number_counts() -> None:
    assert answer_elimination("42") is None
    assert answer_elimination("O(n log n)") is None


@pytest.mark.parametrize("echo", [PARENT, f"user:{PARENT}", f"  Question: {PARENT.upper()}\n"])
def test_an_answer_that_only_repeats_its_instruction_is_dropped(echo: str) -> None:
    assert answer_elimination(echo, PARENT).reason == "unchanged"  # type: ignore[union-attr]
    assert answer_elimination(f"{PARENT}\n\ndef merge(a, b):\n    return sorted(a + b)", PARENT) is None


@pytest.mark.parametrize(
    "leak",
    [
        "#Rewritten Prompt#: given prompt Here is a solution.",
        "# Given Prompt #\nprint(1)",
        "Please increase the difficulty of the given programming test question a bit.",
    ],
)
def test_an_answer_with_marks_of_the_evolving_prompt_is_a_leak(leak: str) -> None:
    assert answer_elimination(leak, PARENT).reason == "leaked prompt"  # type: ignore[union-attr]
    assert answer_elimination(leak, f"Explain this text: {leak}") is None


def test_an_answer_may_speak_of_prompts() -> None:
    assert answer_elimination("It prints the given prompt and reads a line.", PARENT) is None


@pytest.mark.parametrize(
    ("said", "equal"),
    [
        ("Equal", True),
        ("equal.", True),
        ("Judgement: Equal", True),
        ("Not Equal", False),
        ("not equal", False),
        ("They are not equal", False),
        ("Unequal", False),
        ("", False),
        ("I cannot tell", False),
    ],
)
def test_the_judges_word_is_read(said: str, equal: bool) -> None:
    assert says_equal(said) is equal


@given(st.text())
def test_every_text_equals_itself_and_a_shouted_copy_of_words(text: str) -> None:
    assert is_unchanged(text, text)
    assert is_unchanged("alpha beta gamma delta " + text, "alpha  beta gamma delta " + text)


@given(st.text(), st.text())
def test_judging_never_fails_and_empty_means_no_content(parent: str, evolved: str) -> None:
    found = instruction_elimination(parent, evolved, CODE.methods[2], CODE)
    if has_content(evolved):
        assert found is None or found.reason != "empty"
    else:
        assert found is not None
        assert found.reason == ("unchanged" if is_part_of(parent, evolved) else "empty")


REPEATED = [*"-#`'(<*_:. a\n\x00\u4e00", "a ", "a\n", "# ", "```\n", "~~~\n", "#\n", "new ", "Sure! "]
REPEATED += ["[[]]", "](", "{", "</", "<think>", "http://a.", "0", "|", "\\", "\u200b", "\u4e00\u3002"]
REPEATED += ["sorry ", "user: ", "Note: ", "given prompt ", "assert f(1) == 1\n"]


@pytest.mark.parametrize("kind", REPEATED)
def test_no_rule_takes_more_than_linear_time(kind: str) -> None:
    def seconds(n: int) -> float:
        text = "Note: " + kind * (n // len(kind))
        begun = time.process_time()
        instruction_elimination("Write a function f.", text, CODE.methods[0], CODE)
        answer_elimination(text, "Write a function f.")
        answer_elimination(text + "x", text)
        without_preamble("Sure: " + text)
        split_thinking(text + "</think>" + text)
        runnable_tests(text, "def f(x):\n    return x")
        return time.process_time() - begun

    # Ten times the text: a quadratic rule would take a hundred times as long.
    assert seconds(200_000) < 50 * max(seconds(20_000), 0.002)
