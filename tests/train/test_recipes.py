"""The shipped training recipes, checked from their configurations alone, and what they are said to take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.cli import cli
from evolcoder.cli.train import read_train_recipe, training_from
from evolcoder.errors import ModelError, RecipeError
from evolcoder.shipped_recipes import TRAIN, recipe_file, shipped_names
from evolcoder.train.plan import checked_config, plan_text, plan_training
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import tokenize

# Parameters of the published checkpoints, as the hub counts their safetensors.
PARAMETERS = {
    "starcoderbase-1b": 1_137_207_296,
    "starcoderbase-3b": 3_043_311_104,
    "starcoder-15b": 15_517_456_384,
    "codellama-python-7b": 6_738_415_616,
    "codellama-python-13b": 13_015_864_320,
    "codellama-python-34b": 33_743_970_304,
    "deepseek-coder-33b": 33_342_991_360,
    "starcoder2-3b": 3_030_371_328,
    "starcoder2-7b": 7_173_923_840,
    "starcoder2-15b": 15_957_889_024,
    "qwen2.5-coder-0.5b": 494_032_768,
    "qwen2.5-coder-1.5b": 1_543_714_304,
    "qwen2.5-coder-7b": 7_615_616_512,
    "qwen2.5-coder-32b": 32_763_876_352,
}


def training(name: str, **given: object) -> Any:
    return training_from(read_train_recipe(Path(name)), None, (), given)


def test_every_recipe_is_listed() -> None:
    assert set(shipped_names(TRAIN)) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_recipe_builds_its_published_model(name: str) -> None:
    plan = plan_training(training(name), gpus=8, gpu_gb=80)
    assert plan.parameters == PARAMETERS[name]
    assert plan.steps == 3 * 153


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_recipe_has_the_published_settings(name: str) -> None:
    settings = training(name).train
    published = (settings.batch_size, settings.max_length, settings.learning_rate, settings.warmup_steps)
    assert published == (512, 2048, 2e-5, 30)
    with_pad = ("starcoderbase", "starcoder-", "codellama")
    assert (settings.special_tokens == "wizardcoder") == name.startswith(with_pad)
    theirs = name.startswith((*with_pad, "deepseek"))
    assert settings.dtype == ("fp16" if theirs else "bf16")
    assert "# What differs from the published run" in recipe_file(Path(name), TRAIN).read_text()


def test_more_devices_hold_less_each() -> None:
    plans = [plan_training(training("starcoder-15b"), gpus=n, gpu_gb=80) for n in (2, 8, 64)]
    assert plans[0].total_bytes > plans[1].total_bytes > plans[2].total_bytes
    assert plans[0].optimizer_bytes == 15_517_456_384 * 8 // 2
    assert plans[0].days == pytest.approx(4 * plans[1].days)
    parts = plans[1]
    assert parts.total_bytes == (
        parts.weights_bytes
        + parts.gradients_bytes
        + parts.optimizer_bytes
        + parts.activations_bytes
        + parts.logits_bytes
        + parts.reserve_bytes
    )


def test_what_does_not_fit_comes_with_a_way_that_does() -> None:
    plan = plan_training(training("codellama-python-34b"), gpus=1, gpu_gb=80)
    assert not plan.fits and "lora: 16" in plan.advice and "GPUs" in plan.advice
    assert "does not fit" in plan_text(plan)
    quantized = training("codellama-python-34b", lora=16, quantize="4bit")
    assert plan_training(quantized, gpus=1, gpu_gb=80).fits


def test_a_plan_counts_the_rows_it_is_given(tmp_path: Path) -> None:
    from evolcoder.instructions import write_instructions

    write_instructions(tmp_path / "rows.jsonl", rows(100))
    recipe = read_train_recipe(Path("starcoderbase-1b"))
    known = training_from(recipe, None, (str(tmp_path / "rows.jsonl"),), {"eval_rows": 10, "epochs": 2.0})
    plan = plan_training(known, gpus=1, gpu_gb=80)
    assert (plan.rows, plan.steps) == (90, 2)
    assert 60 * 180 < plan.tokens < 110 * 180  # by characters: StarCoder's tokenizer is not here
    small = save_tiny(tmp_path / "tiny")
    exact = plan_training(training_from({}, small, known.data, {"epochs": 1.0}), gpus=1, gpu_gb=80)
    assert exact.tokens == int(tokenize(rows(100), byte_tokenizer(), "wizardcoder", 2048).lengths.sum())


def test_offloading_by_deepspeed_moves_memory_to_the_cpu() -> None:
    config = "zero3-offload"
    plain = plan_training(training("starcoder-15b"), gpus=8, gpu_gb=80)
    offloaded = plan_training(training("starcoder-15b", deepspeed=config), gpus=8, gpu_gb=80)
    assert offloaded.optimizer_bytes == 0 < plain.optimizer_bytes
    assert offloaded.total_bytes < plain.total_bytes
    assert offloaded.host_bytes == 18 * 15_517_456_384  # 16-bit weights; fp32 copy, gradient, two moments
    assert "CPU memory" in plan_text(offloaded) and "CPU memory" not in plan_text(plain)


@pytest.mark.parametrize("option", ["--gpus", "--gpu-gb", "--rows"])
def test_a_plan_for_nothing_is_refused(option: str) -> None:
    arguments = ["train", "--recipe", "starcoder-15b", "--plan", option, "0"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2 and f"'{option}'" in done.output


def test_a_plan_needs_an_architecture() -> None:
    unknown = replace(training("starcoder-15b"), base="someone/else", architecture={})
    with pytest.raises(ModelError, match="architecture is not known"):
        plan_training(unknown, gpus=1, gpu_gb=80)
    with pytest.raises(RecipeError, match="architecture"):
        checked_config({"model_type": "no-such-model"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bse: x\n", "did you mean 'base'"),
        ("base: x\ntrain: {epoch: 3}\n", "did you mean 'epochs'"),
        ("base: x\ncolumns: {Aufgabe: instruction}\n", "'Aufgabe' is none of instruction"),
        ("base: x\ncolumns: Aufgabe\n", "columns: .*dictionary, found 'Aufgabe'"),
        ("base: x\ntrain: {epochs: many}\n", "epochs"),
        ("base: x\ntrain: {batch_size: 0}\n", "above 0"),
        ("- a\n- b\n", "a mapping is expected"),
        ("a: [\n", "not YAML"),
    ],
)
def test_a_broken_recipe_names_the_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        read_train_recipe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_columns_of_a_recipe_are_those_of_the_command_unless_it_gives_others(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base: x\ndata: rows.csv\ncolumns: {instruction: Aufgabe}\n")
    recipe = read_train_recipe(path)
    assert training_from(recipe, None, (), {}).columns == {"instruction": "Aufgabe"}
    assert training_from(recipe, None, (), {}, columns={"input": "x"}).columns == {"input": "x"}


def test_what_is_given_wins_over_the_recipe() -> None:
    recipe = read_train_recipe(Path("starcoderbase-1b"))
    chosen = training_from(
        recipe, "local/model", ("rows.jsonl",), {"epochs": 1.0}, ("train.seed=5", "dtype=fp32")
    )
    assert (chosen.base, chosen.data) == ("local/model", ("rows.jsonl",))
    assert (chosen.train.epochs, chosen.train.seed, chosen.train.dtype) == (1.0, 5, "fp32")
    assert chosen.architecture == {}
    with pytest.raises(RecipeError, match="key=value"):
        training_from(recipe, None, (), {}, ("seed",))


def test_no_settings_are_the_published_defaults() -> None:
    assert training_from({}, "embedded", (), {}).train == TrainSettings()
