import pytest

from evolcoder.evolve.evolve_one import without_preamble

TASK = "Write a function f(x) that also rejects NaN."


@pytest.mark.parametrize(
    "said",
    [
        f"Sure! Here's a more challenging version of the question:\n\n{TASK}",
        f"Certainly!\n\n{TASK}",
        f"Sure, here is the rewritten problem:\n{TASK}",
        f"Here is a more difficult version of the programming test question:\n\n{TASK}",
        f"**Modified Question:**\n{TASK}",
        f"**Question:** {TASK}",
        f"Rewritten programming question: {TASK}",
        f"Of course! Below is the revised task:\n\n---\n\n{TASK}".replace("---\n\n", ""),
        f"{TASK}\n\nLet me know if you'd like it harder!",
        f"Sure thing!\n\nTask: {TASK}\n\nI hope this helps.",
    ],
)
def test_what_a_teacher_says_around_an_instruction_is_cut(said: str) -> None:
    assert without_preamble(said) == TASK


@pytest.mark.parametrize(
    "instruction",
    [
        "Here is a function that adds two numbers:\n```python\ndef f(a, b): return a - b\n```\nCorrect it.",
        "Here is a piece of erroneous code for reference:\n```python\nx\n```\nWrite g without its fault.",
        "Sure, write a function that adds: two numbers.",
        "Given the following:\n- a\n- b\nSort it.",
        "Write a new version of the parser:\nit must be faster.",
        "Let me know which of these is faster.",
        "Question:",
        "",
    ],
)
def test_an_instruction_that_begins_alike_stays(instruction: str) -> None:
    assert without_preamble(instruction) == instruction
