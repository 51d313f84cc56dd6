"""The domain `math`: verification, the judge's two scores, the reward, and what counts as a copy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evolcoder.domains import load_domain
from evolcoder.errors import SandboxError
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.evolve.evolve_one import evolve_row
from evolcoder.evolve.methods import Method, MethodSet
from evolcoder.evolve.rounds import evolve_rounds
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.models.protocol import Completion, FinishReason, LanguageModel, Request
from evolcoder.progress import SilentProgress
from evolcoder.records import Instruction, Lineage, ProblemText
from evolcoder.reinforce.reward import Answer, Rewarder
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.reinforce.tasks import read_tasks
from evolcoder.sandbox import Sandbox

pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
MATH = load_domain("math")
PARENT = "Lena has 3 bags of 4 nuts. How many nuts has she?"
REFUSED = "I cannot help with that."
EVOLVED = "Lena has 3 bags of 4 nuts and eats one nut in eight of them. How many nuts are left?"


class Teacher(LanguageModel):
    """Evolves into `EVOLVED`, answers with `solutions` in turn, and judges with `judge` and `ranking`."""

    name = "scripted"

    def __init__(self, solutions: Sequence[str], judge: str = "", ranking: str = "") -> None:
        self.solutions, self.judge, self.ranking = solutions, judge, ranking
        self.asked: list[str] = []

    async def complete(self, request: Request) -> Completion:
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        self.asked.append(text)
        if "Compare two math problems" in text:
            first = "A" if text.index(EVOLVED) < text.index(PARENT) else "B"
            parent = "AB".strip(first)
            once_a_tie = parent if first == "A" else "a tie"
            better = {"evolved": first, "parent": parent, "once a tie": once_a_tie}.get(
                self.ranking, self.ranking
            )
            reply = f"Definition: {better}\nPrecision: {better}\nIntegrity: tie"
        elif "numbered steps" in text:
            reply = self.judge
        elif "The answer is: " in text:
            reply = self.solutions[request.index % len(self.solutions)]
        else:
            reply = EVOLVED
        ended: FinishReason = "content_filter" if reply == REFUSED else "stop"
        return Completion(reply, ended, len(text), len(reply))

    async def close(self) -> None:
        pass


def evolved(tmp_path: Path, teacher: Teacher, **settings: Any) -> list[dict[str, Any]]:
    """Return the rows of one round over one seed, those that were dropped last."""
    seeds = [Instruction("s", PARENT, "", "12", Lineage("s"))]
    chosen = EvolveSettings(methods="math", **settings)
    work = evolve_rounds(
        seeds, teacher, chosen, range(1, 2), tmp_path, SilentProgress(), answering=MATH.answering
    )
    try:
        asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")
    files = [tmp_path / "round-1" / f"{name}.jsonl" for name in ("evolved", "eliminated")]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_solutions_are_asked_for_step_by_step_with_the_published_last_line(tmp_path: Path) -> None:
    teacher = Teacher(["3 * 4 = 12.\nThe answer is: 12"])
    (row,) = evolved(tmp_path, teacher)

    assert row["method"].startswith(("upward-", "downward-"))
    assert teacher.asked[-1].startswith(EVOLVED)
    assert "step by step" in teacher.asked[-1]


def test_of_several_solutions_those_of_the_majority_stay(tmp_path: Path) -> None:
    said = ["A.\nThe answer is: 10.5", "B.\nThe answer is: \\frac{21}{2}", "C.\nThe answer is: 11"]
    rows = evolved(tmp_path, Teacher(said), verify="answers", answers=3)

    assert [row["response"][0] for row in rows] == ["A", "B"]
    assert {row["verdict"] for row in rows} == {"agreed"}
    assert rows[0]["answer"] == "10.5"


def test_a_refused_solution_has_no_vote(tmp_path: Path) -> None:
    said = ["A.\nThe answer is: 10.5", REFUSED, "B.\nThe answer is: 10.5"]
    rows = evolved(tmp_path / "agreed", Teacher(said), verify="answers", answers=3)
    (alone,) = evolved(tmp_path / "alone", Teacher([*said[:2], REFUSED]), verify="answers", answers=3)
    (refused,) = evolved(tmp_path / "refused", Teacher([REFUSED]), verify="answers", answers=3)

    assert [(row["verdict"], row["verdict_detail"]) for row in rows] == [("agreed", "2 of 2 answers")] * 2
    assert (alone["verdict"], alone["response"][0]) == ("unchecked", "A")
    assert (refused["reason"], refused["verdict"]) == ("refused", "")


def test_solutions_that_all_differ_are_dropped_and_one_alone_is_not_judged(tmp_path: Path) -> None:
    said = ["The answer is: 1", "The answer is: 2"]
    (differing,) = evolved(tmp_path / "two", Teacher(said), verify="answers", answers=2)
    (alone,) = evolved(tmp_path / "one", Teacher(said), verify="answers", answers=1)
    (none,) = evolved(tmp_path / "none", Teacher(["Nobody can say what is left."]), verify="answers")

    assert differing["reason"] == "wrong answer"
    assert (alone["verdict"], alone["answer"]) == ("unchecked", "1")
    assert none["detail"] == "no final answer was found"


@pytest.mark.parametrize(("printed", "kept"), [("6 * 7 / 4", True), ("6 * 7", False)])
def test_a_solution_with_a_program_must_say_what_the_program_writes(
    tmp_path: Path, printed: str, kept: bool
) -> None:
    said = f"We compute:\n```python\nprint({printed})\n```\nThe answer is: $\\frac{{21}}{{2}}$"
    (row,) = evolved(tmp_path, Teacher([said]), verify="answers")

    assert ("reason" not in row) is kept
    assert row["verdict"] == ("executed" if kept else "wrong")


def test_a_method_that_keeps_the_answer_is_held_to_the_given_one() -> None:
    methods = MethodSet("own", "{method} {question}", (Method("reword", "Say it anew.", keeps_answer=True),))
    settings = EvolveSettings(verify="answers")
    parent = Instruction("s", PARENT, "", "", Lineage("s"), {"answer": "12"})

    async def reason(said: str) -> str:
        from evolcoder.execution.local import THIS_MACHINE

        with MATH.answering.verifiers["answers"](settings, True, THIS_MACHINE) as verifier:
            found = await evolve_row(
                parent, Teacher([said]), methods, settings, 1, verifier, answering=MATH.answering
            )
        return found.elimination.reason if found.elimination else "kept"

    try:
        assert asyncio.run(reason("The answer is: 12.0")) == "kept"
        assert asyncio.run(reason("The answer is: 13")) == "wrong answer"
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")


@pytest.mark.parametrize(
    ("ranking", "score"),
    [("evolved", 5 / 6), ("parent", 1 / 6), ("A", 0.5), ("neither", 0.5), ("once a tie", 0.5)],
)
def test_the_instruction_reward_counts_only_what_both_orders_agree_on(
    tmp_path: Path, ranking: str, score: float
) -> None:
    teacher = Teacher(["The answer is: 12"], ranking=ranking)
    (row,) = evolved(tmp_path, teacher, scores={"instruction_reward": 0})

    assert row["instruction_reward"] == pytest.approx(score, abs=1e-3)
    assert len([text for text in teacher.asked if "Compare two" in text]) == 2


def test_a_row_with_a_low_score_is_dropped_and_its_instruction_is_never_answered(tmp_path: Path) -> None:
    teacher = Teacher(["The answer is: 12"], ranking="parent")
    (row,) = evolved(tmp_path, teacher, scores={"instruction_reward": 0.5})

    assert row["reason"] == "low score"
    assert not [text for text in teacher.asked if "step by step" in text]


def test_the_process_reward_is_the_share_of_steps_that_are_judged_right(tmp_path: Path) -> None:
    said = "3 * 4 = 12\n12 - 8 = 5\nThe answer is: 5"
    teacher = Teacher([said], judge="1: right\n2: wrong\n3: right")
    (kept,) = evolved(tmp_path / "a", teacher, scores={"process_reward": 0.5})
    (dropped,) = evolved(tmp_path / "b", teacher, scores={"process_reward": 1})

    assert kept["process_reward"] == pytest.approx(2 / 3, abs=1e-3)
    assert "2. 12 - 8 = 5" in teacher.asked[-1]
    assert dropped["reason"] == "low score"


def test_braces_in_a_problem_or_a_solution_stay_as_they_are(tmp_path: Path) -> None:
    said = "Let {problem} be 4 and {steps} be 3.\nThe answer is: 12"
    teacher = Teacher([said], judge="1: right", ranking="parent")
    (row,) = evolved(tmp_path, teacher, scores={"instruction_reward": 0, "process_reward": 0})

    assert row["process_reward"] == 0.5
    assert "1. Let {problem} be 4 and {steps} be 3." in teacher.asked[-1]


def test_a_right_final_answer_earns_the_reward_times_the_scores_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    row = {"instruction": PARENT, "response": "", "answer": "\\frac{1}{2}", "instruction_reward": 0.5}
    path.write_text(json.dumps(row) + "\n")
    (task,) = read_tasks(path, forms=MATH.tasks)
    said = ["So 2/4.\nThe answer is: 2/4", "The answer is: 0.5", "The answer is: 2", "I do not know."]
    try:
        with Sandbox(1) as sandbox:
            plain, factored = (
                Rewarder(sandbox, RewardSettings(factors=factors), 100).rewards(
                    [(task, Answer(text, 10, False)) for text in said]
                )
                for factors in ((), ("instruction_reward",))
            )
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")

    assert [reward.value for reward in plain] == [1.0, 1.0, 0.0, 0.0]
    assert [reward.value for reward in factored] == [0.5, 0.5, 0.0, 0.0]
    assert plain[3].reason == "no answer"


def test_a_problem_with_other_numbers_is_a_copy_in_this_domain_and_none_in_code() -> None:
    text = "A baker fills {} trays with {} rolls each and sells {} of them at the market. How many are left?"
    problem = ProblemText("own", "own/1", text.format(12, 24, 130), "")
    row = Instruction("r", text.format(7, 35, 99), "", "The answer is: 146", Lineage("r"))
    others = [
        Instruction(f"o{n}", f"What is {n} times {n + 2}?", "", "", Lineage(f"o{n}")) for n in range(20)
    ]
    index = ContaminationIndex([problem], compared=MATH.answering.compared)
    index.learn([row, *others])

    assert [hit.task_id for hit in index.hits(row)] == ["own/1"]
    assert not any(map(index.hits, others))
