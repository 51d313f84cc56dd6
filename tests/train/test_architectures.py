"""Models that are not like Llama: trained right, by packing or padding, or refused with the cause."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from bench.models import BOUND, check, check_decoding, check_training, rows_of_page, table
from tests.train.test_parity import ALONE, FP32, data_of
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows, save_tiny
from torch.nn.functional import cross_entropy

from evolcoder.errors import TrainingError
from evolcoder.models.local.decoding import DecodeJob, Decoder
from evolcoder.train import sanity_checks, train
from evolcoder.train.loss import packed_row
from evolcoder.train.packing import Step, micro_batches
from evolcoder.train.step import prepare
from evolcoder.train.tokenization import TokenizedData

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


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
    "long_factor": [8.0, 4.0, 2.0, 9.0],
    "short_factor": [1.0] * 4,
    "original_max_position_embeddings": 128,
}


def phi3() -> Any:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "vocab_size": 259}
    config = transformers.Phi3Config(
        **{**sizes, **ends, "max_position_embeddings": 512, "initializer_range": 0.2},
        rope_parameters=dict(LONG_ROPE),
        original_max_position_embeddings=128,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def test_positions_scaled_by_the_longest_row_are_those_of_each_row_alone() -> None:
    lengths = [40] * 64 + [60, 300]  # the probe meets none that is long
    tokens = np.random.default_rng(0).integers(5, 250, size=sum(lengths)).astype(np.int32)
    starts, prompts = np.cumsum([0, *lengths]), np.full(len(lengths), 5, np.int32)
    data = TokenizedData(tokens=tokens, starts=starts, prompt_lengths=prompts, end_token=2)
    model = phi3()
    training = prepare(model, data, replace(FP32, batch_size=66), ALONE, pad=2)
    model.eval()
    step = Step(micro_batches(range(66), data.lengths, training.settings))
    plain, expected = phi3(), 0.0
    for i in range(66):
        row = packed_row(data, (i,))
        with torch.no_grad():
            logits = plain(input_ids=row.input_ids, use_cache=False).logits[0]
        expected += float(cross_entropy(logits[row.supervised_S], row.targets_S, reduction="sum"))
    loss = training.loss_and_gradients(step, 0, lambda n: None)
    assert loss == pytest.approx(expected / int(data.supervised.sum()), rel=1e-5)
    assert training.rows == "single" and "beyond 128 tokens the positions" in training.notes[0]
    short = replace(data, tokens=tokens[: starts[65]], starts=starts[:66], prompt_lengths=prompts[:65])
    assert prepare(phi3(), short, FP32, ALONE, pad=2).rows == "packed"


def test_answers_beyond_the_length_that_positions_are_scaled_from_are_those_of_generate() -> None:
    model = phi3()
    tokenizer = SimpleNamespace(eos_token_id=2, pad_token_id=2, decode=lambda ids, **_: "")
    decoder = Decoder(model, tokenizer, 3)
    prompts = [tuple(range(5, 5 + n)) for n in (30, 140, 60)]
    answers = decoder.decode([DecodeJob(prompt, 12) for prompt in prompts])
    assert decoder.falls_back is None
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert tuple(t for t in out[0, len(prompt) :].tolist() if t != 2) == answer.token_ids


def test_rows_beyond_dynamic_scaling_are_refused_before_weights(tmp_path: Path) -> None:
    scaling = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    base = save_tiny(tmp_path / "base", max_position_embeddings=128, rope_parameters=scaling)
    with pytest.raises(TrainingError, match=r"beyond 128 positions follow .*: max_length: 128 cuts it"):
        train(base, rows(), SETTINGS, tmp_path / "out")


def test_a_head_of_an_unknown_form_makes_its_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    data, losses = data_of(4), []
    for names in (("logit_scale",), ()):
        monkeypatch.setattr("evolcoder.train.loss._MULTIPLIERS", names)
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
