"""Models that are not like Llama: trained right, by packing or padding, or refused with the cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.test_parity import ALONE, FP32, data_of
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows
from torch.nn import functional

from evolcoder.errors import TrainingError
from evolcoder.train import train
from evolcoder.train.loss import packed_row
from evolcoder.train.packing import Step, micro_batches
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
_SLIDING = {"sliding_window": 48, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_CAPS = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}
# What is unlike Llama, the model type and its settings, and whether its rows can be packed.
KINDS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "soft caps": ("gemma2", {**_SLIDING, **_CAPS}, True),
    "sinks": ("gpt_oss", {**_SLIDING, **_EXPERTS}, True),
    "logit_scale": ("cohere", {}, True),
    "logits_scaling": ("granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0}, True),
    "convolution": ("lfm2", {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16}, False),
    "chunked attention": ("llama4_text", {**_EXPERTS, "head_dim": 8, "attention_chunk_size": 16}, False),
    "no keywords": ("nemotron", {}, False),
}


def model_of(family: str, changes: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**_COMMON, **changes})
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize(("family", "changes", "packed"), KINDS.values(), ids=KINDS)
def test_loss_and_gradients_are_those_of_each_row_alone(
    family: str, changes: dict[str, Any], packed: bool
) -> None:
    data = data_of(5)
    plain = model_of(family, changes).eval()
    model = model_of(family, changes)
    training = prepare(model, data, FP32, ALONE, pad=257)
    assert training.settings.packing is packed
    assert packed or "padding instead" in training.notes[0]
    model.eval()
    n = int(data.supervised.sum())
    step = Step(micro_batches(range(5), data.lengths, training.settings))
    loss = training.loss_and_gradients(step, 0, lambda n: None)

    expected = torch.zeros(())
    for i in range(5):
        row = packed_row(data, (i,))
        logits = plain(input_ids=row.input_ids, use_cache=False).logits[0]
        summed = functional.cross_entropy(logits[row.supervised_S], row.targets_S, reduction="sum")
        expected = expected + summed / n
    expected.backward()

    assert loss == pytest.approx(expected.item(), rel=1e-5)
    theirs = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    ours = {name: p.grad for name, p in model.named_parameters() if name in theirs}
    difference = sum((ours[name] - theirs[name]).square().sum() for name in theirs)
    norm = sum(gradient.square().sum() for gradient in theirs.values())
    assert (difference / norm).sqrt().item() < 1e-4


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
    model_of("lfm2", KINDS["convolution"][1]).save_pretrained(tmp_path / "base")
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


def test_adapters_on_experts_are_refused_before_the_first_step(tmp_path: Path) -> None:
    base = save_model("deepseek_v3", _DEEPSEEK, tmp_path / "base")
    with pytest.raises(TrainingError, match=r"lora: .* is a block of experts"):
        train(base, rows(), replace(SETTINGS, lora=4), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
