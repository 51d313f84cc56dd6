import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from teacher import TASKS, Teacher, seeds

from evolcoder.errors import SandboxError
from evolcoder.evolve.rounds import evolve_rounds
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.models.protocol import Completion, Request
from evolcoder.progress import SilentProgress

RIGHT = "```python\ndef double(x):\n    return x * 2\n```"
WRONG = "```python\ndef double(x):\n    return x * 3\n```"
BROKEN = "```python\ndef double(x:\n    return\n```"
TESTS = "```python\nassert double(2) == 4\nassert double(0) == 0\n```"


def verified(
    tmp_path, answer: Callable[[str], str], verify: str = "tests", repairs: int = 1
) -> tuple[dict, list]:

    settings = EvolveSettings(verify=verify, repairs=repairs, verify_cpu_s=0.5)  # type: ignore[arg-type]
    teacher = Teacher(answer=answer)
    work = evolve_rounds(seeds(TASKS[:1]), teacher, settings, range(1, 2), tmp_path, SilentProgress())
    try:
        asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")
    lines = [
        line
        for name in ("evolved", "eliminated")
        for line in (tmp_path / "round-1" / f"{name}.jsonl").read_text().splitlines()
    ]
    (row,) = map(json.loads, lines)
    return row, teacher.requests


def replies(answer: str, tests: str = TESTS, repaired: str = "") -> Callable[[str], str]:
    def reply(text: str) -> str:
        if text.startswith("Write tests"):
            return tests
        return repaired if text.startswith("Your solution fails") else answer

    return reply


def test_an_answer_that_passes_the_teachers_tests_is_kept_with_its_verdict(tmp_path) -> None:
    row, _ = verified(tmp_path, replies(RIGHT))
    assert (row["verdict"], row["language"], row["repairs"]) == ("passed", "python", 0)
    assert "double(2) == 4" in row["tests"]
    assert "reason" not in row
    assert json.loads((tmp_path / "round-1" / "summary.json").read_text())["verdicts"] == {"passed": 1}


def test_a_failing_answer_goes_back_with_its_error_and_is_kept_when_mended(tmp_path) -> None:
    row, requests = verified(tmp_path, replies(WRONG, repaired=RIGHT))
    assert (row["verdict"], row["repairs"], row["response"]) == ("repaired", 1, RIGHT)
    assert "assert" in Teacher.last(requests[-1]).lower()
    assert row["requests"] == 4


def test_an_answer_that_still_fails_is_dropped_with_the_error(tmp_path) -> None:
    row, _ = verified(tmp_path, replies(WRONG, repaired=WRONG))
    assert (row["reason"], row["verdict"], row["repairs"]) == ("failed tests", "failed", 1)
    assert row["detail"]


def test_an_endless_answer_ends_and_is_dropped(tmp_path) -> None:
    row, _ = verified(tmp_path, replies("```python\ndef double(x):\n    while True: pass\n```"), repairs=0)
    assert row["reason"] == "failed tests"
    assert "timeout" in row["detail"]


def test_code_that_does_not_parse_is_mended_or_dropped_without_running(tmp_path) -> None:
    row, _ = verified(tmp_path / "a", replies(BROKEN, repaired=RIGHT), verify="syntax")
    assert row["verdict"] == "parses"
    row, _ = verified(tmp_path / "b", replies(BROKEN, repaired=BROKEN), verify="syntax")
    assert row["reason"] == "syntax error"
    assert "line 1" in row["detail"]


def test_other_languages_are_parsed_by_their_grammar(tmp_path) -> None:
    row, _ = verified(tmp_path / "a", replies("```javascript\nlet a = 1;\n```"))
    assert (row["verdict"], row["language"]) == ("parses", "javascript")
    row, _ = verified(tmp_path / "b", replies("```javascript\nlet a = ;;;(\n```"), repairs=0)
    assert row["reason"] == "syntax error"


def test_tests_that_do_not_parse_prove_nothing_and_the_row_stays_untested(tmp_path) -> None:
    row, _ = verified(tmp_path, replies(RIGHT, tests="assert double(2 == 4"))
    assert row["verdict"] == "untested"
    assert "reason" not in row


def test_an_answer_without_code_is_kept_as_such(tmp_path) -> None:
    row, _ = verified(tmp_path, replies("Use a dictionary keyed by date, then merge both."))
    assert row["verdict"] == "no code"


def test_tests_that_are_functions_nobody_calls_are_called(tmp_path) -> None:
    tests = "```python\ndef test_double():\n    assert double(2) == 4\n```"
    row, _ = verified(tmp_path / "right", replies(RIGHT, tests=tests))
    assert row["verdict"] == "passed"
    row, _ = verified(tmp_path / "wrong", replies(WRONG, tests=tests), repairs=0)
    assert (row["verdict"], row["detail"]) == ("failed", "AssertionError: assert double(2) == 4; found 6")


def test_tests_of_their_own_copy_of_the_answer_test_the_answer(tmp_path) -> None:
    tests = (
        "```python\nfrom solution import double\ndef double(x):\n    return x * 2\nassert double(2) == 4\n```"
    )
    row, _ = verified(tmp_path, replies(WRONG, tests=tests), repairs=0)
    assert row["verdict"] == "failed"


@pytest.mark.parametrize(
    "tests",
    [
        "assert 1 + 1 == 2",
        "print(double(2))",
        "if double(1) > 100:\n    assert double(2) == 4",
        "import some_framework\nassert double(2) == 4",
        "assert double(2) == 4 or True",
        "assert double(2) is not None",
        "try:\n    assert double(2) == 4\nexcept AssertionError:\n    pass\nassert double",
        "double(2)\n_evolcoder_held.append(1)",
        "class Any:\n    def __eq__(self, other): return True\nassert double(2) == Any()",
        "def test_double():\n    double = lambda x: 4\n    assert double(2) == 4\ndouble(2)",
    ],
    ids=[
        "about something else",
        "no assertion",
        "never reached",
        "a framework",
        "or True",
        "any value",
        "swallowed",
        "the count of assertions",
        "equal to everything",
        "a function of their own",
    ],
)
def test_tests_that_prove_nothing_leave_the_row_untested(tmp_path, tests: str) -> None:
    row, _ = verified(tmp_path, replies(WRONG, tests=f"```python\n{tests}\n```"))
    assert row["verdict"] == "untested"
    assert "reason" not in row


def test_no_tests_are_asked_for_where_none_could_call_the_answer(tmp_path) -> None:
    script = (
        "```python\nimport sys\nname = input('Name? ')\ndef greet(n):\n    return n\nprint(greet(name))\n```"
    )
    row, requests = verified(tmp_path, replies(script))
    assert (row["verdict"], len(requests)) == ("untested", 2)


def test_an_answer_that_needs_a_package_which_is_not_here_is_not_called_wrong(tmp_path) -> None:
    answer = "```python\nimport no_such_package_xyz as np\ndef double(x):\n    return np.mul(x, 2)\n```"
    row, _ = verified(tmp_path, replies(answer))
    assert row["verdict"] == "untested"


def test_a_language_without_a_grammar_that_can_be_trusted_is_unchecked(tmp_path) -> None:
    row, _ = verified(tmp_path / "a", replies("```cobol\nDISPLAY 'A'.\n```"))
    assert (row["verdict"], row["language"]) == ("unchecked", "cobol")
    sql = "```sql\nSELECT id FROM o WHERE d >= DATE_SUB(NOW(), INTERVAL 6 MONTH);\n```"
    row, _ = verified(tmp_path / "b", replies(sql))
    assert (row["verdict"], row["language"]) == ("unchecked", "sql")


def test_an_answer_cannot_forge_its_pass(tmp_path) -> None:
    equal = (
        "```python\nclass E:\n    def __eq__(self, other): return True\ndef double(x):\n    return E()\n```"
    )
    row, _ = verified(tmp_path, replies(equal), repairs=0)
    assert (row["reason"], row["verdict"]) == ("failed tests", "failed")


@pytest.mark.parametrize("name", ["double", "abs"])
def test_an_answer_lends_the_tests_no_name_of_its_own_or_of_pythons(tmp_path, name: str) -> None:
    answer = f"```python\ndef double(x): return 0\nfrom unittest.mock import MagicMock as {name}\n```"
    row, _ = verified(
        tmp_path, replies(answer, "```python\nassert abs(double(2)) > 3 or abs(double(3))\n```")
    )
    assert row["verdict"] != "passed"


def test_tests_may_use_what_the_answer_imports(tmp_path) -> None:
    answer = "```python\nimport math\ndef area(r):\n    return math.pi * r * r\n```"
    row, _ = verified(tmp_path, replies(answer, "```python\nassert area(1) == math.pi\n```"))
    assert row["verdict"] == "passed"


def test_tests_that_read_a_class_of_the_answer_leave_the_row_untested(tmp_path) -> None:
    answer = "```python\nclass Box:\n    def __init__(self, n): self.n = n\ndef box(n): return Box(n)\n```"
    row, _ = verified(tmp_path, replies(answer, "```python\nassert isinstance(box(2), Box)\n```"))
    assert row["verdict"] == "untested"


def test_several_answers_are_run_with_the_same_tests_and_all_that_pass_stay(tmp_path) -> None:
    texts = [RIGHT, WRONG, RIGHT.replace("x * 2", "x + x"), BROKEN]

    class Several(Teacher):
        async def complete(self, request: Request) -> Completion:
            reply = await super().complete(request)
            return replace(reply, text=texts[request.index]) if reply.text == RIGHT else reply

    teacher = Several(answer=replies(RIGHT))
    settings = EvolveSettings(verify="tests", answers=4, verify_cpu_s=0.5)
    work = evolve_rounds(seeds(TASKS[:1]), teacher, settings, range(1, 2), tmp_path, SilentProgress())
    try:
        (summary,) = asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")
    rows = [json.loads(line) for line in (tmp_path / "round-1/evolved.jsonl").read_text().splitlines()]
    assert [row["response"] for row in rows] == [texts[0], texts[2]]
    assert {row["tests"] for row in rows} == {"assert double(2) == 4\nassert double(0) == 0"}
    assert [row["verdict"] for row in rows] == ["passed", "passed"]
    assert summary.requests == len(teacher.requests) == 1 + 4 + 1


def test_the_tests_are_asked_for_the_program_as_it_stands(tmp_path) -> None:
    answer = '```python\ndef double(task):\n    print(f"{task} {program}")\n    return task * 2\n```'
    _, asked = verified(tmp_path, replies(answer))
    assert any('print(f"{task} {program}")' in request.prompt[-1].content for request in asked[1:])
