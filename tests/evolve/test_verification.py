import asyncio
import json
from collections.abc import Callable

import pytest
from teacher import TASKS, Teacher, seeds

from evolcoder.errors import SandboxError
from evolcoder.evolve.rounds import evolve_round
from evolcoder.evolve.settings import EvolveSettings
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
    work = evolve_round(seeds(TASKS[:1]), teacher, settings, 1, tmp_path, SilentProgress())
    try:
        asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")
    lines = [
        line
        for name in ("evolved", "eliminated")
        for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()
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
