"""`evolcoder train` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.train.tiny import rows, save_tiny

from evolcoder.cli.train import command
from evolcoder.errors import DataError, RecipeError
from evolcoder.instructions import write_instructions


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def test_files_and_a_base_become_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    base = save_tiny(tmp_path / "base")
    write_instructions(tmp_path / "one.jsonl", rows(6))
    write_instructions(tmp_path / "two.parquet", rows(6))
    result = run(
        *("--base", base, "--data", tmp_path / "one.jsonl", tmp_path / "two.parquet"),
        *("--out", tmp_path / "model", "--epochs", 1, "--batch-size", 4, "--max-length", 512),
        *("--set", "tracking=[]", "--set", "dtype=fp32", "--json"),
    )
    told = json.loads(result.stdout)
    assert len(told["losses"]) == 3 and told["folder"] == str(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_another_model_is_replaced_only_where_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    base = save_tiny(tmp_path / "base")
    write_instructions(tmp_path / "one.jsonl", rows(6))
    common = ("--base", base, "--data", tmp_path / "one.jsonl", "--out", tmp_path / "model", "--max-steps", 1)
    common = (*common, "--batch-size", 4, "--set", "tracking=[]", "--set", "dtype=fp32")
    run(*common)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    run(*common)
    with pytest.raises(DataError, match=r"seed 0 there, 1 now.*--overwrite"):
        run(*common, "--set", "seed=1")
    write_instructions(tmp_path / "one.jsonl", rows(5))
    with pytest.raises(DataError, match="of other data"):
        run(*common)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    run(*common, "--overwrite", "--set", "learning_rate=1e-3")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() != before


def test_a_plan_is_told_in_text_or_json() -> None:
    recipe = "starcoderbase-1b"
    text = run("--recipe", recipe, "--plan", "--gpus", 1, "--gpu-gb", 80).stdout
    assert "fits" in text and "459 steps" in text
    told = json.loads(run("--recipe", recipe, "--plan", "--gpus", 2, "--rows", 1000, "--json").stdout)
    assert (told["gpus"], told["rows"], told["steps"]) == (2, 1000, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--base MODEL or --recipe FILE"),
        (("--base", "embedded"), "--data FILE and --out DIR"),
        (("--base", "embedded", "--set", "lerning_rate=1"), "did you mean 'learning_rate'"),
        (("--recipe", "no.yaml"), "no such file"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        run(*arguments)


def test_a_training_leaves_a_folder_alone_that_no_training_wrote(tmp_path: Path) -> None:
    write_instructions(tmp_path / "one.jsonl", rows(6))
    thesis = tmp_path / "precious/notes/thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("thesis")
    with pytest.raises(DataError, match=r"notes/thesis\.txt"):
        run("--base", "embedded", "--data", tmp_path / "one.jsonl", "--out", tmp_path / "precious")
    assert thesis.read_text() == "thesis"
