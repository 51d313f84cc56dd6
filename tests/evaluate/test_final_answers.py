"""GSM8K and MATH: what is asked, what an answer is, and when it is right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.evaluate.math_answers import PAIRS, SIBLINGS, SPELLINGS

from evolcoder.cli import cli
from evolcoder.errors import DataError, SandboxError, UserError
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.competition_math import CompetitionMath
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.evaluate.benchmarks.gsm8k import step_by_step
from evolcoder.evaluate.evaluation import evaluate_model
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.extraction.final_answers import final_answer, first_number, written_alike
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.records import Problem
from evolcoder.sandbox import Sandbox


def own(pairs: Sequence[tuple[str, str]]) -> Benchmark:
    """Return problems with the expected answers of (expected answer, solution)."""
    return FinalAnswers(
        "own", "", tuple(Problem(f"own/{n}", "own", "?", "", e) for n, (e, _) in enumerate(pairs))
    )


def passed(
    benchmark: Benchmark, solutions: Sequence[str], oracle: str, timeout_s: float | None = None
) -> list[bool]:
    """Judge one solution of each problem."""
    samples = [
        benchmark.sample(problem, 0, solution, "auto")
        for problem, solution in zip(benchmark.problems, solutions, strict=True)
    ]
    if oracle == "math-verify":
        pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    try:
        with Sandbox(2) as sandbox:
            judged = judge_samples(
                samples,
                benchmark,
                settings=ScoringSettings(oracle=oracle, timeout_s=timeout_s),
                sandbox=sandbox,
            )
            return [judgement.verdict.passed for judgement in judged]
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")


@pytest.mark.parametrize(("oracle", "every"), [("wizardmath", 1), ("math-verify", 50)])
def test_every_reference_solution_of_gsm8k_is_right(benchmark_data: Path, oracle: str, every: int) -> None:
    whole = load_benchmark("gsm8k")
    some = FinalAnswers("gsm8k", "", whole.problems[::every], same=whole.same)  # type: ignore[attr-defined]

    assert len(whole.problems) == 1319
    assert all(passed(some, [p.canonical_solution for p in some.problems], oracle))


@pytest.mark.parametrize(("oracle", "every"), [("wizardmath", 1), ("math-verify", 30)])
def test_every_reference_answer_of_math_500_equals_itself(
    benchmark_data: Path, oracle: str, every: int
) -> None:
    whole = load_benchmark("math500")
    some = CompetitionMath("math500", "", whole.problems[::every], same=written_alike, symbolic=True)

    assert len(whole.problems) == 500
    assert all(passed(some, [p.canonical_solution for p in some.problems], oracle))


def test_the_published_rule_of_gsm8k_reads_the_first_number_after_its_words(benchmark_data: Path) -> None:
    same = load_benchmark("gsm8k").same  # type: ignore[attr-defined]
    read = {text: value for text, _, value in SPELLINGS}
    others = {text: str(int(value or "18") + 1) for text, value in read.items()}
    for values, right in ((read, True), (others, False)):
        benchmark = FinalAnswers(
            "own",
            "",
            tuple(Problem(f"o/{n}", "o", "?", "", v or "18") for n, v in enumerate(values.values())),
            same=same,
        )
        found = passed(benchmark, list(values), "wizardmath")
        assert found == [right and value is not None for value in read.values()]
    assert len(SPELLINGS) == 60


def test_math_verify_reads_every_spelling() -> None:
    right = own([(value, text) for text, value, _ in SPELLINGS])
    assert passed(right, [text for text, _, _ in SPELLINGS], "math-verify") == [True] * 60


def test_math_verify_tells_pairs_of_every_kind_apart() -> None:
    some = PAIRS[::7]  # each kind of pair; bench/final_answers.py takes all 200
    benchmark = own([(expected, given) for expected, given, _ in some])
    found = passed(benchmark, [f"So it is $\\boxed{{{given}}}$." for _, given, _ in some], "math-verify")

    assert len(PAIRS) == 200
    assert [pair for pair, right in zip(some, found, strict=True) if right is not pair[2]] == []


def test_math_verify_reads_the_siblings_of_these_spellings() -> None:
    some = SIBLINGS[::3]  # bench/final_answers.py takes all
    found = passed(own([(e, text) for e, text, _ in some]), [text for _, text, _ in some], "math-verify")

    assert [row for row, right in zip(some, found, strict=True) if right is not row[2]] == []


def test_an_answer_that_cannot_be_simplified_in_time_is_a_timeout_and_no_more() -> None:
    hard = "\\boxed{" + "^{".join(["9"] * 8) + "}" * 7 + "}"
    found = passed(own([("3", hard), ("3", "")]), [hard, "\\boxed{3}"], "math-verify", timeout_s=1)
    assert found == [False, True]


def test_the_published_prompt_is_asked_with_and_without_the_chain_of_thought(benchmark_data: Path) -> None:
    gsm8k = load_benchmark("gsm8k")
    problem = gsm8k.problems[0]
    with_steps, direct = (gsm8k.ask(problem, "wizardcoder", preset) for preset in ("published", "direct"))

    assert isinstance(with_steps.prompt, str)
    assert with_steps.prompt.endswith(f"{problem.prompt}\n\n### Response: Let's think step by step.")
    assert with_steps.prompt == f"{direct.prompt} Let's think step by step."
    assert with_steps.stop == ("Instruction:", "Instruction", "Response:", "Response")
    with pytest.raises(UserError, match=r"preset 'directly'.*did you mean 'direct'"):
        gsm8k.ask(problem, "wizardcoder", "directly")


def test_a_solution_of_the_data_set_becomes_steps_with_the_published_last_line() -> None:
    answer = "She sells 3*4=<<3*4=12>>12 a day.\nSo 12*100=<<12*100=1200>>1,200 in all.\n#### 1,200"

    assert step_by_step(answer) == (
        "She sells 3*4=12 a day.\nSo 12*100=1,200 in all.\nThe answer is: 1200",
        "1200",
    )
    assert final_answer(answer) == "1,200"


class Voter(LanguageModel):
    """Gives the answers 7, 8, 7 and 9 to everything."""

    name = "voter"

    async def complete(self, request: Request) -> Completion:
        return Completion(f"The answer is: {(7, 8, 7, 9)[request.index]}", "stop", 5, 5)

    async def close(self) -> None:
        pass


SUMS = """
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.records import Problem
def load():
    problems = tuple(Problem(f'Sum/{n}', 'sums', '?', '', str(n)) for n in (7, 8))
    return FinalAnswers('sums', '', problems)
"""


def test_a_slash_without_a_number_behind_it_ends_the_number() -> None:
    assert [first_number(text) for text in ("3/-x", "6 / +", "1/.")] == [3, 6, 1]
    assert first_number("about 3/-2") == Fraction(-3, 2)


def test_a_problem_without_any_answer_counts_in_the_majoritys_score(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(SUMS)
    said = {"Sum/7": "The answer is: 7", "Sum/8": "I do not know."}
    rows = [json.dumps({"task_id": task, "completion": text}) for task, text in said.items()]
    (tmp_path / "samples.jsonl").write_text("\n".join(rows * 2))
    command = ["score", str(tmp_path / "samples.jsonl"), "-b", str(tmp_path / "sums.py"), "--json"]
    done = CliRunner().invoke(cli, [*command, "--no-cache"])
    if isinstance(done.exception, SandboxError):
        pytest.skip(f"needs a sandbox: {done.exception}")

    assert [(s["benchmark"], s["value"]) for s in json.loads(done.stdout)["scores"]] == [
        ("sums", 0.5),
        ("sums (maj@2)", 0.5),
    ]


def test_the_majority_of_the_samples_has_a_score_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(SUMS)
    settings = EvaluationSettings(n=4, temperature=0.5)
    work = evaluate_model(Voter(), str(tmp_path / "sums.py"), settings, tmp_path / "out")
    try:
        result = asyncio.run(work)
    except SandboxError as error:
        pytest.skip(f"needs a sandbox: {error}")

    assert [(s.benchmark, s.k, s.value) for s in result.scores] == [
        ("sums", 1, pytest.approx(3 / 8)),
        ("sums (maj@4)", 1, 0.5),
    ]


def test_math_needs_its_whole_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math").mkdir()
    (tmp_path / "math" / "test.jsonl").write_text('{"problem": "?", "solution": "\\\\boxed{1}"}\n')
    monkeypatch.setenv("EVOLCODER_DATA", str(tmp_path))

    with pytest.raises(DataError, match="5000 problems are expected, found 1"):
        load_benchmark("math")
    (tmp_path / "math" / "test.jsonl").write_text('{"problem": "?"}\n' * 5000)
    with pytest.raises(DataError, match="row 1: solution, level is missing"):
        load_benchmark("math")
    (tmp_path / "math" / "test.jsonl").write_text("problem,solution\n")
    with pytest.raises(DataError, match=r"test\.jsonl: not JSON"):
        load_benchmark("math")


def test_a_draft_in_a_sample_file_is_not_judged_whatever_the_field(tmp_path: Path) -> None:
    benchmark = own([("18", "")])
    told = "<think>\nIt may be \\boxed{12345}. The answer is: 7\n</think>\n\nThe answer is: 18"
    for field in ("completion", "raw", "response", "answer"):
        path = tmp_path / f"{field}.jsonl"
        path.write_text(json.dumps({"task_id": "own/0", field: told}) + "\n")
        for how in ("none", "auto"):
            programs = [sample.program.strip() for sample in read_samples(path, benchmark, how)]
            assert programs == ["The answer is: 18"], (field, how)


def test_an_ornament_is_no_part_of_an_answer() -> None:
    assert final_answer("✅ The answer is: 18 \N{PARTY POPPER}") == "18"
    assert final_answer("**Answer:** 3/4. ✅\nWell done!") == "3/4"
