"""A model written as GGUF is the model: read back, it gives the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.cli import cli
from evolcoder.errors import DataError, ModelError
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.local.decoding import end_tokens
from evolcoder.models.local.engine import TransformersEngine
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import load_config, load_weights
from evolcoder.models.protocol import Request, Sampling
from evolcoder.train import TrainSettings, train
from evolcoder.train.gguf_export import export_gguf


def answers(model: str) -> list[str]:
    engine = TransformersEngine(model, LocalSettings(dtype="fp32"))
    prompts = [instruction_prompt(row.instruction, row.input) for row in rows(20)]
    return [c.text for c in engine.answer([Request(p, Sampling(max_tokens=12)) for p in prompts])]


def save_merged(folder: Path, family: str = "llama", **changes: object) -> str:
    """Write a tiny model whose tokenizer merges, as GGUF's readers expect of one."""
    save_tiny(folder, family, **changes)
    byte_tokenizer(merged=True).save_pretrained(folder)
    return str(folder)


def halved(folder: Path) -> None:
    """Round the weights to what fp16 holds, so that nothing is lost on the way."""
    from safetensors.torch import load_file, save_file

    weights = {k: v.half().float() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("family", ["llama", "qwen2", "starcoder2"])
def test_greedy_answers_of_the_file_are_those_of_the_folder(family: str, tmp_path: Path) -> None:
    changes = {"sliding_window": None} if family == "starcoder2" else {}
    base = save_merged(tmp_path / "model", family, **changes)
    halved(Path(base))
    file = export_gguf(base, tmp_path / "out" / "tiny.gguf")
    assert answers(str(file)) == answers(base)
    assert len(set(answers(base))) > 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["Modelfile", "tiny.gguf"]


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
SIBLINGS: dict[str, dict[str, Any]] = {
    "head apart": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "embedding padded": {"vocab_size": 320},
    "linear scaling": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    "another base of positions": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "Llama 3's scaling": {"rope_parameters": LLAMA_3, "head_dim": 16},
}


@pytest.mark.parametrize("changes", SIBLINGS.values(), ids=SIBLINGS)
def test_logits_of_the_file_are_those_of_the_folder(changes: dict[str, Any], tmp_path: Path) -> None:
    base = save_merged(tmp_path / "model", **changes)
    halved(Path(base))
    file = export_gguf(base, tmp_path / "m.gguf")
    ids = torch.arange(60)[None]
    with torch.no_grad():
        ours, theirs = (load_weights(model)[0](ids).logits for model in (str(file), base))
    assert torch.allclose(ours, theirs, atol=1e-4)


UNWRITTEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "activation": ("llama", {"hidden_act": "gelu"}, r"its activation \(gelu\) is written by"),
    "window": ("starcoder2", {}, r"its window of attention \(48\) is written by"),
    "windows": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0},
        r"its window of attention \(16\)",
    ),
}


@pytest.mark.parametrize(("family", "changes", "message"), UNWRITTEN.values(), ids=UNWRITTEN)
def test_what_gguf_has_no_word_for_is_not_written(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    base = save_merged(tmp_path / "model", family, **changes)
    with pytest.raises(ModelError, match=message):
        export_gguf(base, tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_answers_of_the_file_end_where_those_of_the_folder_do(tmp_path: Path) -> None:
    base = save_merged(tmp_path / "model")
    settings = tmp_path / "model" / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token_id": [257, 258, 3]}))
    file = export_gguf(base, tmp_path / "m.gguf")
    for model in (base, str(file), str(file)):  # made of the file, and then kept
        assert end_tokens(*load_weights(model)) == {3, 257, 258}


def test_a_scaling_that_is_not_read_back_is_refused(tmp_path: Path) -> None:
    scaling = {**LLAMA_3, "original_max_position_embeddings": 64}
    file = export_gguf(save_merged(tmp_path / "model", rope_parameters=scaling), tmp_path / "m.gguf")
    with pytest.raises(ModelError, match="factors that are not Llama 3's"):
        load_weights(str(file))
    renamed = file.read_bytes().replace(
        b"\x11\0\0\0\0\0\0\0rope_freqs.weight", b"\x18\0\0\0\0\0\0\0rope_factors_long.weight"
    )
    file.write_bytes(renamed)
    with pytest.raises(ModelError, match=r"scaled by the tensor rope_factors_long.weight"):
        load_weights(str(file))


def test_a_file_that_cannot_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    base = save_merged(tmp_path / "model")
    file = export_gguf(base, tmp_path / "m.gguf")
    for out, said in ((file, "another file is expected"), (tmp_path, "a file is expected here")):
        with pytest.raises(DataError, match=said):
            export_gguf(str(file), out)
    whole = file.read_bytes()
    changed = {
        "version": whole[:4] + b"\x09" + whole[5:],
        "many": whole[:16] + b"\xff" * 7 + whole[23:],
        "long": whole[:24] + b"\xff" * 7 + whole[31:],
        "architecture": whole.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0frobn", 1),
    }
    changed |= {f"cut{n}": whole[:n] for n in (0, 3, 10, 30, 500, 3000, len(whole) // 2, len(whole) - 1)}
    for name, data in changed.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(data)
        with pytest.raises(ModelError, match=name) as raised:
            load_config(str(path))
            load_weights(str(path))
        assert "\n" not in str(raised.value)


def test_the_command_quantizes_and_writes_the_prompt_that_was_trained(tmp_path: Path) -> None:
    settings = TrainSettings(max_steps=1, batch_size=4, max_length=512, dtype="fp32", tracking=())
    base = save_merged(tmp_path / "base")
    train(base, rows(), settings, tmp_path / "model")
    arguments = ["export", str(tmp_path / "model"), "--quantize", "q8_0", "--out", str(tmp_path / "m.gguf")]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "Modelfile").read_text()
    assert text.startswith("FROM ./m.gguf\nTEMPLATE") and "{{ .Prompt }}\n\n### Response:" in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    engine = TransformersEngine(str(tmp_path / "m.gguf"), LocalSettings(dtype="fp32"))
    whole = TransformersEngine(str(tmp_path / "model"), LocalSettings(dtype="fp32"))
    ids = torch.arange(60)[None]
    with torch.no_grad():
        one, two = engine.model(input_ids=ids).logits, whole.model(input_ids=ids).logits
    assert ((one - two).norm() / two.norm()).item() < 0.05


def test_what_cannot_be_written_is_one_line(tmp_path: Path, tiny: str) -> None:
    base = save_tiny(tmp_path / "model", "gpt_bigcode")
    with pytest.raises(ModelError, match=r"gpt_bigcode: this architecture is written by llama.cpp"):
        export_gguf(base, tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=r"q4_k_m needs llama.cpp's llama-quantize"):
        export_gguf(tiny, tmp_path / "m.gguf", "q4_k_m")
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*"))
