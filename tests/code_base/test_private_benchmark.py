import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.teacher_server import TeacherServer
from tests.code_base.conftest import PRICES, evolcoder, rows_of

from evolcoder.cli import cli
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evolve.decontamination import ContaminationIndex
from evolcoder.instructions import read_instructions
from evolcoder.sandbox import probe

pytestmark = pytest.mark.skipif(
    probe().level == "none", reason="needs a sandbox: run `evolcoder doctor` to see what is missing"
)


def benchmark_of(shop: Path, teacher: TeacherServer, out: Path, *arguments: object) -> dict:
    model = f"openai:m@{teacher.url}"
    return evolcoder("benchmark", "from-code", shop, "--teacher", model, "--out", out, *arguments)


def test_only_functions_whose_tests_fail_empty_and_changed_bodies_become_problems(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    told = benchmark_of(shop, teacher, tmp_path / "mine", "--held-out", 0.999)
    rows = {row["entry_point"]: row for row in rows_of(tmp_path / "mine" / "problems.jsonl")}
    assert told["problems"] == len(rows)
    assert set(rows) == {"with_tax", "discount", "total_of", "cheapest"}
    assert told["left_out"]["all calls give one value"] == 1  # constant_answer
    tax = rows["with_tax"]
    assert "import math" in tax["prompt"] and "RATES = " in tax["prompt"] and "discount" not in tax["prompt"]
    assert tax["prompt"].endswith('rounded up to cents."""\n')
    assert "candidate(10.5, 'reduced')" in tax["test"] and "-1, 1" not in rows["discount"]["test"]
    assert (tax["repository"], tax["license"]) == ("shop", "MIT")


def test_a_function_that_weak_calls_do_not_tell_from_a_changed_one_is_left_out(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    weak = "```python\ncheapest({'a': 3})\ncheapest({'b': 4})\ncheapest({'c': 5})\n```"
    strong, teacher.plant = teacher.plant, lambda kind, text: weak if "`cheapest`" in text else None
    plant = teacher.plant
    teacher.plant = lambda kind, text: plant(kind, text) or strong(kind, text)
    told = benchmark_of(shop, teacher, tmp_path / "mine", "--held-out", 0.999)
    assert told["left_out"]["a changed body passes"] == 1
    assert "cheapest" not in {row["entry_point"] for row in rows_of(tmp_path / "mine" / "problems.jsonl")}


def test_it_is_a_benchmark_file_that_score_reads(shop: Path, teacher: TeacherServer, tmp_path: Path) -> None:
    told = benchmark_of(shop, teacher, tmp_path / "mine", "--held-out", 0.999)
    problems = load_benchmark(told["benchmark"]).problems
    samples = tmp_path / "samples.jsonl"
    with samples.open("w") as file:
        for problem in problems:
            for completion in (problem.canonical_solution, "    return None\n"):
                file.write(json.dumps({"task_id": problem.task_id, "completion": completion}) + "\n")
    scored = evolcoder("score", samples, "--benchmark", told["benchmark"])
    assert scored["scores"][0]["value"] == 0.5


def test_no_function_of_the_benchmark_is_in_the_seeds_or_was_sent_for_them(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    # Copies with other spacing, in a class, and as a near copy must not come in by another way.
    near = PRICES.replace("total = 0", "total = 0.0").replace("Prices of a shop", "Old prices")
    (shop / "old.py").write_text(near)
    inner = "\n".join(f"    {line}" if line else "" for line in PRICES.splitlines()[9:])
    (shop / "wrapped.py").write_text(f"class Prices:\n{inner}\n")
    model = f"openai:m@{teacher.url}"
    for share in (0.2, 0.5, 0.8):
        teacher.asked.clear()
        out = tmp_path / f"seeds-{share}.jsonl"
        evolcoder(
            *("seeds", "from-code", shop, "--teacher", model, "--out", out, "--per-file", 99),
            *("--held-out", share),
        )
        sent = " ".join(" ".join(text for _, _, text in teacher.asked).split())
        mine = tmp_path / f"mine-{share}"
        command = ["benchmark", "from-code", str(shop), "--teacher", model, "--out", str(mine)]
        CliRunner().invoke(cli, [*command, "--held-out", str(share)])
        if not mine.exists():
            continue  # none of the few functions fell into this share
        problems = load_benchmark(str(mine / "private_benchmark.py"))
        assert sent
        for problem in problems.problems:
            assert " ".join(problem.canonical_solution.split()) not in sent
            assert f"def {problem.entry_point}(" not in sent
        index = ContaminationIndex(problems.texts())
        assert not [hit for row in read_instructions(out) for hit in index.hits(row)]
    assert (tmp_path / "mine-0.8").exists()


def test_the_same_functions_are_held_out_whichever_command_comes_first_and_whatever_its_seed(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    for seed in (0, 1):
        benchmark_of(shop, teacher, tmp_path / f"mine-{seed}", "--held-out", 0.8, "--seed", seed)
    first, second = ((tmp_path / f"mine-{seed}" / "problems.jsonl").read_bytes() for seed in (0, 1))
    assert first == second


def test_a_dry_run_shows_every_text_and_sends_nothing(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    dry = benchmark_of(shop, teacher, tmp_path / "mine", "--held-out", 0.999, "--dry-run")
    assert teacher.asked == [] and not (tmp_path / "mine").exists()
    benchmark_of(shop, teacher, tmp_path / "mine", "--held-out", 0.999)
    assert {text for _, _, text in teacher.asked} == set(dry["sent"])


def test_a_code_base_without_a_function_for_it_is_said_in_one_line(
    teacher: TeacherServer, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="makes a problem"):
        benchmark_of(tmp_path / "empty", teacher, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_value_too_long_to_be_written_and_a_sum_of_hundreds_of_terms_make_no_problem(
    tmp_path: Path, teacher: TeacherServer
) -> None:
    root = tmp_path / "numbers"
    root.mkdir()
    (root / "numbers.py").write_text(
        'def power(exponent):\n    """Return ten to an exponent."""\n    found = 1\n'
        "    for _ in range(exponent):\n        found = found * 10\n    return found\n\n\n"
        'def summed(x):\n    """Return many times a number."""\n    return (\n'
        + "".join(f"        + {' + '.join(['x'] * 20)}\n" for _ in range(20))
        + "    )\n"
    )
    plant = teacher.plant
    calls = {"power": "power(5000)\npower(6000)\npower(1)", "summed": "summed(1)\nsummed(2)\nsummed(3)"}
    teacher.plant = lambda kind, text: next(
        (f"```python\n{calls[name]}\n```" for name in calls if f"`{name}`" in text), plant(kind, text)
    )
    model = f"openai:m@{teacher.url}"
    arguments = ("benchmark", "from-code", root, "--teacher", model, "--out", tmp_path / "mine")
    with pytest.raises(DataError) as raised:
        evolcoder(*arguments, "--held-out", 0.999)
    assert "1 fewer than 3 calls with a value" in str(raised.value)
    assert "1 nested too deeply to be changed" in str(raised.value)
