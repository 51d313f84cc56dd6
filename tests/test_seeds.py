"""The seed instructions that the package ships: valid, correct, varied and of our own making."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolcoder.domains import load_domain
from evolcoder.evaluate.benchmarks import problem_texts
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.extraction.final_answers import final_answer
from evolcoder.instructions import SHIPPED_SEEDS, read_instructions
from evolcoder.records import Instruction

CHECKS = Path(__file__).with_name("seed_checks.jsonl")
NGRAM = 8


@pytest.fixture(scope="module")
def seeds() -> list[Instruction]:
    return read_instructions(SHIPPED_SEEDS)


def tokens(text: str) -> list[str]:
    """Words and single signs, in lower case: what the n-gram check counts."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def ngrams(text: str) -> set[tuple[str, ...]]:
    parts = tokens(text)
    return {tuple(parts[i : i + NGRAM]) for i in range(len(parts) - NGRAM + 1)}


def code_of(seed: Instruction) -> tuple[str, str]:
    """The language and the text of the one fenced block that a response holds."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", seed.response, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"{seed.id}: {len(blocks)} fenced blocks"
    language, code = blocks[0]
    return language, code


def test_there_are_120_distinct_seeds_mostly_python(seeds: list[Instruction]) -> None:
    assert len(seeds) == 120
    assert [seed.id for seed in seeds] == [f"seed-{n:03d}" for n in range(1, 121)]
    assert len({seed.instruction for seed in seeds}) == 120
    languages = Counter(seed.extra["language"] for seed in seeds)
    assert languages["python"] == 75
    assert all(languages[name] >= 6 for name in ("sql", "bash", "javascript", "rust", "go", "cpp"))
    assert {seed.extra["license"] for seed in seeds} == {"Apache-2.0"}


def test_the_first_seeds_already_mix_languages(seeds: list[Instruction]) -> None:
    assert len({seed.extra["language"] for seed in seeds[:24]}) >= 5


def test_instructions_and_responses_are_short(seeds: list[Instruction]) -> None:
    for seed in seeds:
        assert 12 <= len(seed.instruction.split()) <= 60, seed.id
        assert 25 <= len(tokens(seed.response)) <= 200, seed.id


def test_each_response_holds_one_block_in_the_language_it_claims(seeds: list[Instruction]) -> None:
    for seed in seeds:
        language, code = code_of(seed)
        assert language == seed.extra["language"], seed.id
        assert len(seed.response) > len(code) + 30, f"{seed.id}: no sentence beside the code"


def test_every_python_response_is_python(seeds: list[Instruction]) -> None:
    for seed in seeds:
        language, code = code_of(seed)
        if language == "python":
            ast.parse(code, filename=seed.id)


def checks() -> dict[str, dict[str, str]]:
    rows = [json.loads(line) for line in CHECKS.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in rows}


def test_python_responses_do_what_their_instruction_asks(seeds: list[Instruction]) -> None:
    from evolcoder.sandbox import Sandbox
    from evolcoder.sandbox.protocol import InProcessJob

    jobs = []
    for seed in seeds:
        if seed.id in checks():
            check = checks()[seed.id]
            jobs.append(
                (seed.id, InProcessJob("\n".join((check["before"], code_of(seed)[1], check["after"]))))
            )
    assert len(jobs) >= 60
    with Sandbox(workers=2) as sandbox:
        wrong = {id_: done.verdict for id_, done in sandbox.run_many(jobs) if not done.verdict.passed}
    assert not wrong


def test_no_seed_shares_eight_tokens_in_a_row_with_a_benchmark(
    seeds: list[Instruction], data_folder: Path
) -> None:
    known = {gram: task for task, text in benchmark_texts(data_folder) for gram in ngrams(text)}
    assert len(known) > 10_000
    shared = {
        (seed.id, known[gram], " ".join(gram))
        for seed in seeds
        for text in (seed.instruction, seed.input, seed.response)
        for gram in ngrams(text)
        if gram in known
    }
    assert not shared


def benchmark_texts(data_folder: Path) -> Iterator[tuple[str, str]]:
    """Every problem text, solution and test of HumanEval and MBPP."""
    for name in ("humaneval/HumanEval.jsonl.gz", "mbpp/mbpp.jsonl.gz"):
        with gzip.open(data_folder / name, "rt", encoding="utf-8") as f:
            for line in f:
                problem: dict[str, Any] = json.loads(line)
                for field in ("prompt", "canonical_solution", "test", "text", "code"):
                    yield f"{name}/{problem['task_id']}", problem.get(field, "")


def test_the_problems_of_mathematics_end_with_their_answer_and_copy_no_benchmark(
    benchmark_data: Path,
) -> None:
    problems = read_instructions("shipped:math")
    index = ContaminationIndex(
        problem_texts(["gsm8k", "math500"]), compared=load_domain("math").answering.compared
    )
    index.learn(problems)

    assert len({problem.instruction for problem in problems}) == 40
    assert [final_answer(p.response) for p in problems] == [p.extra["answer"] for p in problems]
    assert [p.id for p in problems if index.hits(p)] == []
