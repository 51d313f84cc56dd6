"""Models that are not like Llama: trained right, by packing or padding, or refused with the cause."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from bench.models import BOUND, check, check_decoding, check_training, rows_of_page, table
from tests.train.test_parity import ALONE, FP32, data_of
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows

from evolcoder.errors import TrainingError
from evolcoder.train import sanity_checks, train
from evolcoder.train.step import prepare

_COMMON: dict[str, Any] = {
    "vocab_size": 259,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16}
# What is unlike Llama, by an architecture that has it; and how its rows go through the model.
KINDS = {
    "soft caps": ("gemma2", "packed"),
    "sinks": ("gpt_oss", "packed"),
    "logit scale": ("cohere", "packed"),
    "logits scaling": ("granite", "packed"),
    "other names of sizes": ("opt", "packed"),
    "a view of attention's output": ("jetmoe", "packed"),
    "convolution": ("lfm2", "padded"),
    "chunked attention": ("llama4_text", "padded"),
    "no keywords": ("nemotron", "padded"),
    "positions that do not begin at 0": ("camembert", "padded"),
    "state space": ("mamba2", "padded"),
}


@pytest.mark.parametrize(("model_type", "way"), KINDS.values(), ids=KINDS)
def test_loss_and_gradients_are_those_of_each_row_alone(model_type: str, way: str) -> None:
    found = check_training(model_type)
    assert (found.rows, max(found.loss, found.gradient) < BOUND) == (way, True), found
    assert way == "packed" or "padding instead" in found.why


DECODED = {
    "gemma2": "together",
    "opt": "together",
    "bloom": "`generate`: ",
    "gpt_neo": "`generate`: written together, rows differ from the plain model",
    "mamba2": "`generate`: it has layers of kind linear_attention",
}


@pytest.mark.parametrize(("model_type", "way"), DECODED.items(), ids=DECODED)
def test_greedy_answers_are_those_of_generate(model_type: str, way: str) -> None:
    decoding, equal = check_decoding(model_type)
    assert decoding.startswith(way) and equal == 5


PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_of_models_is_what_the_command_writes_of_its_rows() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = rows_of_page(page)
    assert len(rows) > 150
    lines = "\n".join(table([rows[name] for name in sorted(rows)])) + "\n"
    ours, theirs = (re.sub(r"(?<=transformers )[\d.]*\d", "", text) for text in (lines, page))
    assert ours == theirs


@pytest.mark.parametrize("model_type", ["gemma2", "llama4_text", "reformer", "xlstm", "xmod"])
def test_a_row_of_the_page_is_what_the_command_finds(model_type: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__}.\n" not in page:
        pytest.skip("the page is of another transformers")
    row, found = rows_of_page(page)[model_type], check(model_type)
    for name in ("loss", "gradient"):  # rounding, which differs between machines
        theirs, ours = getattr(row, name), getattr(found, name)
        assert (theirs < BOUND) == (ours < BOUND) and math.isnan(theirs) == math.isnan(ours)
    same = {"loss": 0.0, "gradient": 0.0, "model_class": ""}
    assert replace(row, **same) == replace(found, why=(row.rows != "packed" and found.why) or "", **same)


def test_a_model_that_neither_packs_nor_pads_is_trained_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sanity_checks._difference

    def difference(model: Any, attention: str, batches: Any, alone: Any) -> str | None:
        padded = batches[0].attention_mask is not None
        return "rows change each other" if padded else real(model, attention, batches, alone)

    monkeypatch.setattr(sanity_checks, "_difference", difference)
    found = check_training("lfm2")
    assert found.rows == "single" and max(found.loss, found.gradient) < BOUND
    assert found.why.endswith("one row at a time instead, which is right and slow")


def model_of(family: str, changes: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**_COMMON, **changes})
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def test_a_head_of_an_unknown_form_makes_its_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    data, losses = data_of(4), []
    for names in (("logit_scale",), ()):
        monkeypatch.setattr("evolcoder.train.head._MULTIPLIERS", names)
        training = prepare(model_of("cohere", {}), data, FP32, ALONE, pad=257)
        losses.append(training.loss(training.batch((0, 1, 2, 3))).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_model_no_batching_is_right_for_is_refused_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_of("lfm2", _CONVOLUTION).save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    monkeypatch.setattr("evolcoder.train.sanity_checks._SAME", -1.0)
    with pytest.raises(TrainingError, match=r"kept apart: Lfm2ForCausalLM: packed, rows change each other"):
        train(str(tmp_path / "base"), rows(), SETTINGS, tmp_path / "out")


_MOE = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_DEEPSEEK = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}


def save_model(family: str, changes: dict[str, Any], folder: Path) -> str:
    model_of(family, changes).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def test_adapters_beside_experts_are_exported(tmp_path: Path) -> None:
    base = save_model("qwen3_moe", _MOE, tmp_path / "base")
    settings = replace(SETTINGS, lora=4, learning_rate=1e-2, max_steps=2, eval_rows=3)
    result = train(base, rows(), settings, tmp_path / "out")
    again = replace(SETTINGS, max_steps=1, eval_rows=3, learning_rate=1e-12)
    measured = train(str(result.folder), rows(), again, tmp_path / "again").held_out_losses[0][1]
    assert measured == pytest.approx(result.held_out_losses[-1][1], rel=1e-4)


def test_adapters_on_experts_are_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_model("deepseek_v3", _DEEPSEEK, tmp_path / "base")
    monkeypatch.setattr("evolcoder.train.trainer.load_weights", None)  # before the weights, too
    with pytest.raises(TrainingError, match=r"lora: .* is a block of experts"):
        train(base, rows(), replace(SETTINGS, lora=4), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
