"""Models that cannot be packed, number formats, 4-bit bases, and the GPU kernels by their calls."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.train.test_training import SETTINGS, Notes, bytes_of, stopped_at
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.models.local.weights import load_weights
from evolcoder.train import attention, train


def save_without_attention_interface(family: str, folder: Path) -> str:
    """Write a tiny model of a class that takes no attention function."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    values = {
        "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 1024},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    }[family]
    ids = {"vocab_size": 259, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
    config = AutoConfig.for_model(family, **values, **ids, initializer_range=0.2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ["codegen", "bloom"])
def test_a_model_that_cannot_be_packed_is_padded_by_itself(family: str, tmp_path: Path) -> None:
    base, notes = save_without_attention_interface(family, tmp_path / family), Notes()
    result = train(base, rows(), replace(SETTINGS, max_steps=6), tmp_path / "out", notes)
    told = "\n".join(notes.lines)
    assert "padding instead, rows grouped by length" in told
    assert "proof 3: padded loss" in told
    assert result.padding_share > 0
    assert result.losses[-1] < result.losses[0]


def test_fp16_scales_its_loss_and_resumes_exactly(tiny: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, dtype="fp16", max_steps=8)
    whole = train(tiny, rows(), settings, tmp_path / "whole")
    stopped_at(5, tiny, tmp_path / "stopped", settings)
    facts = json.loads((tmp_path / "stopped.steps" / "step-00000003" / "checkpoint.json").read_text())
    assert facts["scaler"]["scale"] > 1
    resumed = train(tiny, rows(), settings, tmp_path / "stopped")
    assert (resumed.resumed_from, resumed.losses) == (3, whole.losses)
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)
    fp32 = train(tiny, rows(), replace(settings, dtype="fp32"), tmp_path / "fp32")
    assert whole.losses == pytest.approx(fp32.losses, abs=2e-2)


def test_dropout_can_be_turned_off(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "bigcode", "gpt_bigcode")
    settings = replace(SETTINGS, max_steps=1, warmup_steps=0)
    off = train(base, rows(), replace(settings, dropout=False), tmp_path / "off").losses[0]
    on = train(base, rows(), settings, tmp_path / "on").losses[0]
    plain = save_tiny(tmp_path / "plain", "gpt_bigcode", attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    assert off == pytest.approx(train(plain, rows(), settings, tmp_path / "without").losses[0], rel=1e-6)
    assert abs(on - off) > 1e-3


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="needs bitsandbytes: pip install 'evolcoder[qlora]'",
)
def test_adapters_on_a_4_bit_base_are_merged_into_what_they_were_trained_on(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", hidden_size=64, intermediate_size=128)
    settings = replace(SETTINGS, lora=4, quantize="4bit", learning_rate=1e-2, dtype="bf16", max_steps=12)
    last = replace(settings, eval_rows=3, eval_every_steps=50)
    result = train(base, rows(), last, tmp_path / "out")
    assert result.losses[-1] < result.losses[0] - 0.5
    model, _ = load_weights(str(result.folder), "fp32")
    assert not hasattr(model.config, "quantization_config")
    # The merged model is the one whose loss was measured last.
    merged = replace(SETTINGS, max_steps=1, warmup_steps=0, eval_rows=3, learning_rate=1e-12)
    again = train(str(result.folder), rows(), merged, tmp_path / "again")
    assert again.held_out_losses[0][1] == pytest.approx(result.held_out_losses[-1][1], abs=2e-2)


def test_a_gpu_row_is_one_call_of_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call's arguments only: the kernel itself needs a GPU."""
    called: dict[str, Any] = {}

    def flash(*arguments: Any, **settings: Any) -> torch.Tensor:
        called.update(settings, ends=arguments[3].tolist(), longest=arguments[5])
        result: torch.Tensor = arguments[0]
        return result

    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    kernel = attention._varlen_kernel(0.1)
    assert kernel is not None
    q = torch.zeros(5, 2, 4)
    kernel(q, q, q, torch.tensor([0, 2, 5]), 3, 0.5, (47, 0))
    assert called == {
        "dropout_p": 0.1,
        "softmax_scale": 0.5,
        "causal": True,
        "window_size": (47, 0),
        "ends": [0, 2, 5],
        "longest": 3,
    }


def test_without_flash_attention_pytorch_s_kernel_does_what_has_no_dropout() -> None:
    if importlib.util.find_spec("flash_attn") is not None:
        pytest.skip("flash-attn is installed")
    assert attention._varlen_kernel(0.0) is not None
    assert attention._varlen_kernel(0.1) is None
