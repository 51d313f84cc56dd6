"""What an answer earns, and what a policy that hacks its tests looks like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.instructions import instruction_from_row
from evolcoder.progress import SilentProgress
from evolcoder.reinforce.reward import Answer, Rewarder
from evolcoder.reinforce.run import usable_tasks
from evolcoder.reinforce.settings import ReinforceSettings, RewardSettings
from evolcoder.reinforce.tasks import Task, read_tasks, split_watched, task_of_row
from evolcoder.sandbox import Sandbox

SQUARE = {
    "instruction": "Write square(n).",
    "entry_point": "square",
    "tests": ["assert square(2) == 4", "assert square(3) == 9", "assert square(-5) == 25"],
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1) as opened:
        yield opened


def made(row: dict[str, object]) -> Task:
    task = task_of_row(instruction_from_row(row))
    assert task is not None
    return task


def answer(program: str, n_tokens: int = 10) -> Answer:
    return Answer(f"Here:\n```python\n{program}\n```\n", n_tokens, False)


def test_a_share_of_tests_or_all_of_them(sandbox: Sandbox) -> None:
    task = made({**SQUARE, "watched_tests": ["assert square(1) == 1"]})
    half = answer("def square(n):\n    return n * n if n > 0 else 0")
    whole = answer("def square(n):\n    return n ** 2")
    for score, expected in (("all", [0.0, 1.0]), ("share", [2 / 3, 1.0])):
        rewarder = Rewarder(sandbox, RewardSettings(score=score), 100)  # type: ignore[arg-type]
        rewards = rewarder.rewards([(task, half), (task, whole)])
        assert [r.value for r in rewards] == pytest.approx(expected)
        assert [r.solved for r in rewards] == [False, True]


def test_a_policy_that_special_cases_the_rewarded_tests_is_shown_by_the_watched_ones(
    sandbox: Sandbox,
) -> None:
    task = made(SQUARE)
    assert len(task.tests) == 2 and len(task.watched) == 1
    hack = answer("def square(n):\n    return {2: 4, 3: 9}.get(n)")
    honest = answer("def square(n):\n    return n * n")
    rewarder = Rewarder(sandbox, RewardSettings(), 100)
    hacked, earned = rewarder.rewards([(task, hack), (task, honest)])
    assert (hacked.value, hacked.passed, hacked.watched) == (1.0, 1.0, 0.0)
    assert (earned.value, earned.passed, earned.watched) == (1.0, 1.0, 1.0)


def test_a_program_is_found_as_evaluate_finds_it(sandbox: Sandbox) -> None:
    task = made(SQUARE)
    program = "def square(n):\n    return n * n"
    bare = Answer(f"Here:\n```\n{program}\n```\nIt multiplies.", 10, False)
    found = {
        how: Rewarder(sandbox, RewardSettings(extract=how), 100).rewards(
            [(task, bare), (task, answer(program))]
        )
        for how in ("auto", "wizardcoder", None)
    }
    assert [[r.value for r in rewards] for rewards in found.values()] == [[1, 1], [0, 1], [1, 1]]
    assert ReinforceSettings().extraction == "wizardcoder", "as the published scripts measure"
    assert ReinforceSettings(prompt_style="chat").extraction == "auto"
    assert ReinforceSettings(reward=RewardSettings(extract="first")).extraction == "first"


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "def square(n):\n    import os\n    os._exit(0)",
        "class E:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef square(n): return E()",
        "from unittest.mock import ANY as square",
        "from unittest.mock import MagicMock as square",
        "import builtins\nbuiltins.AssertionError = Exception\ndef square(n): return 0",
        "def square(n):\n    raise SystemExit(0)",
        "",
        "def square(n:",
    ],
)
def test_nothing_is_earned_by_what_is_no_answer(sandbox: Sandbox, program: str) -> None:
    (reward,) = Rewarder(sandbox, RewardSettings(), 100).rewards([(made(SQUARE), answer(program))])
    assert reward.value == 0.0 and not reward.solved


def test_no_run_is_spent_on_what_is_no_python(sandbox: Sandbox) -> None:
    test, limits = made(SQUARE).tests[0], RewardSettings()
    said = {
        program: test.at_once(program)
        for program in ("def square(n) n", "return 1", "def square(n): return n")
    }
    assert [verdict and verdict.reason for verdict in said.values()] == ["syntax error", None, None]
    # Parsed it is sound, and only the compiler refuses it: that is the sandbox's to say, as ever.
    assert Rewarder(sandbox, limits, 1).verdicts([("return 1", test)])[0].reason == "syntax error"


def test_form_and_length_count_where_asked_for(sandbox: Sandbox) -> None:
    task = made(SQUARE)
    rewarder = Rewarder(sandbox, RewardSettings(format=0.1, length_buffer=10), 100)
    program = "def square(n):\n    return n * n"
    rewards = rewarder.rewards(
        [(task, answer(program)), (task, Answer(program, 95, False)), (task, answer(program, 200))]
    )
    assert [r.value for r in rewards] == pytest.approx([1.1, 0.5, 0.1])


def test_programs_that_read_their_input(sandbox: Sandbox) -> None:
    cases = [{"input": f"{n}\n", "output": f"{2 * n}"} for n in (1, 2, 3)]
    task = made({"instruction": "Double the number read.", "tests": cases})
    right, wrong = answer("print(2 * int(input()))"), answer("print(2)")
    rewards = Rewarder(sandbox, RewardSettings(score="share"), 100).rewards([(task, right), (task, wrong)])
    assert [r.value for r in rewards] == pytest.approx([1.0, 0.5])


def test_tests_that_prove_nothing_make_no_task() -> None:
    for tests in (["x = square(2)"], ["assert True"], []):
        assert task_of_row(instruction_from_row({**SQUARE, "tests": tests})) is None


def test_rows_that_are_no_tasks_are_counted(tmp_path: Path) -> None:
    wide = {**SQUARE, "id": "wide", "entry_point": "ｓquare"}
    rows = [SQUARE, {**SQUARE, "tests": []}, {"instruction": "x"}, SQUARE, wide]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes: list[str] = []

    class Noted(SilentProgress):
        def note(self, line: str) -> None:
            notes.append(line.partition("jsonl: ")[2])

    tasks = read_tasks(path, progress=Noted())
    assert [task.entry_point for task in tasks] == ["square", "square"]
    assert [note.partition(" rows")[0] for note in notes] == ["2 of 5", "1"]


def test_the_last_third_of_the_tests_is_watched() -> None:
    assert split_watched([1]) == ([1], [])
    assert split_watched([1, 2]) == ([1], [2])
    assert split_watched([1, 2, 3]) == ([1, 2], [3])
    assert split_watched(list(range(9))) == (list(range(6)), [6, 7, 8])


def test_mbpp_is_asked_as_it_is_evaluated_without_the_watched_test(benchmark_data: Path) -> None:
    task = read_tasks("benchmark:mbpp:train")[5]
    benchmark = load_benchmark("mbpp:train")
    problem = benchmark.by_task[task.id]
    shown = benchmark.ask(problem, "wizardcoder").prompt
    assert isinstance(shown, str)
    hidden = problem.extra["test_list"][2].replace("    ", "\t")
    assert instruction_prompt(task.instruction) == shown.replace("\n" + hidden, "")
    assert hidden not in task.instruction and len(task.tests) == 2 and len(task.watched) >= 1


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("watched_tests", "assert square(1) ==", "watched_tests: assertions that call the answer"),
        ("watched_tests", ["assert square(1) == 1", "assert True"], "watched_tests: assertions that call"),
        ("watched_tests", 7, "watched_tests: code, or a list .* found 7"),
        ("watched_tests", [["assert square(1) == 1"]], '.*found \\["assert square'),
        ("tests", [{"in": "1", "out": "1"}], 'tests: code, or a list .* found {"in": "1", "out": "1"}'),
    ],
    ids=["no Python", "one that asserts nothing", "a number", "nested", "other names"],
)
def test_tests_of_another_form_are_an_error_that_names_row_and_column(
    column: str, value: object, told: str
) -> None:
    with pytest.raises(DataError, match=f"^row s: {told}"):
        made({**SQUARE, "id": "s", column: value})


def test_one_test_may_stand_alone() -> None:
    task = made({**SQUARE, "tests": {"input": "3", "output": "9"}})
    assert len(task.tests) == 1 and not task.watched


@pytest.mark.parametrize(
    "tests",
    [
        "for x, y in [(1, 2), (2, 3)]:\n    assert f(x) == y",
        "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3",
        "def check(candidate):\n    assert candidate(2) == 3\n\ncheck(f)",
    ],
    ids=["a loop", "check", "check that is called"],
)
def test_code_without_an_assertion_of_its_own_is_one_test(sandbox: Sandbox, tests: str) -> None:
    task = made({"instruction": "f", "entry_point": "f", "tests": tests})
    right, wrong = answer("def f(n):\n    return n + 1"), answer("def f(n):\n    return 2")
    rewards = Rewarder(sandbox, RewardSettings(), 100).rewards([(task, right), (task, wrong)])
    assert [r.value for r in rewards] == [1.0, 0.0] and len(task.tests) == 1


PASSED_ON = {
    "a class of the tests": (
        "class N:\n    def __init__(self, v): self.v = v\nassert f(N(1)) == 2\nassert f(N(2)) == 3"
    ),
    "a class in a test": "def test_f():\n    class N:\n        v = 1\n    assert f(N()) == 2",
    "a function": "assert f(lambda: 1) == 2",
}


def test_objects_of_the_tests_classes_reach_the_answer(sandbox: Sandbox) -> None:
    task = made({"instruction": "f", "entry_point": "f", "tests": PASSED_ON["a class of the tests"]})
    right, wrong = answer("def f(n):\n    return n.v + 1"), answer("def f(n):\n    return 2")
    rewards = Rewarder(sandbox, RewardSettings(), 100).rewards([(task, right), (task, wrong)])
    assert [(r.value, r.watched) for r in rewards] == [(1.0, 1.0), (1.0, 0.0)]


def test_a_task_whose_arguments_cannot_reach_an_answer_is_told_before(sandbox: Sandbox) -> None:
    tasks = [made({"instruction": k, "entry_point": "f", "tests": v, "id": k}) for k, v in PASSED_ON.items()]
    notes: list[str] = []

    class Noted(SilentProgress):
        def note(self, text: str) -> None:
            notes.append(text)

    kept = usable_tasks([*tasks, made(SQUARE)], Rewarder(sandbox, RewardSettings(), 100), Noted())
    assert [task.id for task in kept] == ["a class of the tests", made(SQUARE).id]
    (note,) = notes
    assert note.startswith("2 of 4 tasks pass to the answer what cannot cross")
