"""A mistake of the user ends with one message and exit code 2; a failure outside with one message and 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EVOLVE_UNREACHABLE = (
    *("evolve", "--seeds", "seeds.jsonl", "--rounds", "1", "--out", "out"),
    *("--teacher", "openai:m", "--base-url", "http://127.0.0.1:9/v1"),
)
SEEDS_GOOD = '{"instruction": "Write a function that adds two numbers."}\n'


def evolcoder(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "unused"}
    return subprocess.run(
        [sys.executable, "-m", "evolcoder", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("name: x\ntrian: {}\n", "trian: unknown key (did you mean 'train'?)"),
        ("rounds: {max_rounds: many}\n", "rounds.max_rounds: Input should be a valid integer"),
        ("train: {learning_rate: -5}\n", "learning_rate must be above 0, found -5"),
        ("seeds: {source: missing.jsonl}\n", "missing.jsonl: no such file"),
        (None, "r.yaml: no such file"),
    ],
    ids=["unknown key", "wrong type", "impossible number", "missing seeds", "missing recipe"],
)
def test_a_broken_recipe_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, recipe: str | None, said: str
) -> None:
    if recipe is not None:
        (tmp_path / "r.yaml").write_text(recipe)
    done = evolcoder("run", "r.yaml", "--dir", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (SEEDS_GOOD.encode() * 6 + b"{oops\n", "line 7: not JSON"),
        (b'{"output": "x"}\n', "line 1: field 'instruction' is missing"),
        (b"", "no rows"),
        ('{"instruction": "é"}\n'.encode("latin-1"), "line 1: not UTF-8"),
    ],
    ids=["bad JSON in line 7", "missing field", "empty file", "wrong encoding"],
)
def test_a_broken_seed_file_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, seeds: bytes, said: str
) -> None:
    (tmp_path / "seeds.jsonl").write_bytes(seeds)
    done = evolcoder(*EVOLVE_UNREACHABLE, cwd=tmp_path)
    assert done.returncode == 2
    assert "seeds.jsonl" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_endpoint_ends_with_its_address_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text(SEEDS_GOOD)
    done = evolcoder(*EVOLVE_UNREACHABLE, cwd=tmp_path)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1" in done.stderr
    assert "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1


def test_a_model_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"idx": 1, "Instruction": "Say hi."}\n')
    done = evolcoder(
        "generate", "--model", "./no-such-folder", "--input", "in.jsonl", "--output", "o.jsonl", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "no-such-folder" in done.stderr
    assert "Traceback" not in done.stderr
