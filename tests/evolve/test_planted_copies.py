"""Copies of HumanEval problems, hidden as bench/planting.py hides them, among rows of Code Alpaca."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.evolve.contamination import find_contamination

from evolcoder.evaluate.benchmarks import load_benchmark, problem_texts
from evolcoder.instructions import read_instructions
from evolcoder.records import Instruction, Lineage

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def planting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planting", BENCH / "planting.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planting"] = module
    spec.loader.exec_module(module)
    return module


def test_of_50_hidden_copies_45_are_found_and_real_rows_are_left_alone(
    planting: ModuleType, benchmark_data: Path
) -> None:
    rng = random.Random(1001)
    copies = [
        planting.plant(
            p.task_id, p.prompt, p.canonical_solution, p.entry_point, rng.choice(planting.FORMS[:4]), rng
        )
        for p in rng.sample(list(load_benchmark("humaneval").problems), 50)
    ]
    rows = [Instruction(c.task_id, c.instruction, c.input, c.response, Lineage(c.task_id)) for c in copies]
    rows += read_instructions(benchmark_data / "codealpaca/code_alpaca_20k.json.gz")[:2000]
    hits = find_contamination(rows, problem_texts(["humaneval"]))
    found = {hit.row_id for hit in hits if hit.row_id == hit.task_id}
    others = {hit.row_id for hit in hits if not hit.row_id.startswith("HumanEval/")}
    assert len(found) >= 45
    assert len(others) <= 1
