"""A training is named by the content of its base: any other byte is another training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open
from tests.train.test_parity import ALONE, data_of
from tests.train.test_training import SETTINGS, stopped_at
from tests.train.tiny import rows, save_tiny, tiny_model

from evolcoder import cache
from evolcoder.errors import DataError, ModelError
from evolcoder.loop.model_stages import defaults_of, settings_of
from evolcoder.models.local.identity import content_identity
from evolcoder.models.local.weights import load_weights
from evolcoder.train import TrainSettings, train
from evolcoder.train.result import training_fingerprint
from evolcoder.train.step import prepare


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text() + " ")


def change_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rms_norm_eps": 1e-5}))


CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: flip_last_byte(folder / "model.safetensors"),
    "template": change_template,
    "config": change_config,
    "tokenizer": lambda folder: (folder / "merges.txt").write_text("a b"),
    "adapter": lambda folder: (folder / "extra.safetensors").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_base_that_differs_in_a_byte_is_another_base(
    change: Callable[[Path], None], tiny: str, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny, folder)
    before = content_identity(str(folder))
    assert before == content_identity(tiny)
    change(folder)
    assert content_identity(str(folder)) != before


def test_weights_a_folder_deeper_are_content_too(tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny, folder)
    (folder / "shards").mkdir()
    shard = (folder / "model.safetensors").rename(folder / "shards" / "one.safetensors")
    with safe_open(shard, "pt") as tensors:
        shards = dict.fromkeys(tensors.keys(), "shards/one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    assert load_weights(str(folder))
    before = content_identity(str(folder))
    flip_last_byte(shard)
    assert content_identity(str(folder)) != before


def test_a_stopped_training_does_not_go_on_under_other_weights(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_tiny(base)
    stopped_at(4, str(base), tmp_path / "out")
    flip_last_byte(base / "model.safetensors")
    assert train(str(base), rows(), SETTINGS, tmp_path / "out").resumed_from == 0


def test_a_large_file_is_read_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "weights.bin", []
    path.write_bytes(bytes(2 << 20))
    monkeypatch.setattr(cache, "_SETTLED_NS", -1)
    real = cache.file_hash
    monkeypatch.setattr(cache, "file_hash", lambda p: read.append(p) or real(p))
    first = cache.kept_file_hash(path)
    assert cache.kept_file_hash(path) == first and len(read) == 1
    times = path.stat()
    flip_last_byte(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size, inode and time of change
    assert cache.kept_file_hash(path) != first


def test_an_adapter_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(ModelError, match="an adapter of org/base, not a model; merge it first"):
        content_identity(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")  # transformers would load its base in its name
    with pytest.raises(ModelError, match="an adapter of org/base"):
        content_identity(str(tmp_path))


def test_the_default_number_format_follows_the_machine_and_names_the_same_training(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, written = replace(SETTINGS, dtype="auto"), replace(SETTINGS, dtype="bf16")
    assert training_fingerprint(tiny, rows(), auto) == training_fingerprint(tiny, rows(), written)
    assert settings_of("train", auto) == settings_of("train", written)
    assert defaults_of("train", TrainSettings)["train.dtype"] == "bf16"
    for multiplies, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("evolcoder.models.local.engine.cpu_multiplies_bf16", lambda m=multiplies: m)
        assert prepare(tiny_model(), data_of(3), auto, ALONE, pad=257).settings.dtype == name


def test_a_training_that_followed_the_machine_is_not_taken_for_one_in_another_format(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(SETTINGS, max_steps=2)
    auto, bf16, fp32 = (replace(short, dtype=dtype) for dtype in ("auto", "bf16", "fp32"))
    multiplies = [False]
    monkeypatch.setattr("evolcoder.models.local.engine.cpu_multiplies_bf16", lambda: multiplies[0])
    followed = train(tiny, rows(), auto, tmp_path / "out", overwrite=False)
    assert train(tiny, rows(), fp32, tmp_path / "out", overwrite=False) == followed
    with pytest.raises(DataError, match="dtype fp32 there, bf16 now"):
        train(tiny, rows(), bf16, tmp_path / "out", overwrite=False)
    multiplies[0] = True  # the folder is brought to another machine
    assert train(tiny, rows(), auto, tmp_path / "out", overwrite=False) == followed
    written = train(tiny, rows(), fp32, tmp_path / "written", overwrite=False)
    multiplies[0] = False
    assert train(tiny, rows(), auto, tmp_path / "written", overwrite=False) == written


def test_a_stopped_training_does_not_go_on_in_another_format(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, bf16 = (replace(SETTINGS, dtype=dtype) for dtype in ("auto", "bf16"))
    monkeypatch.setattr("evolcoder.models.local.engine.cpu_multiplies_bf16", lambda: False)
    for out in ("as-it-was", "otherwise"):
        stopped_at(4, tiny, tmp_path / out, auto)
    assert train(tiny, rows(), SETTINGS, tmp_path / "as-it-was").resumed_from > 0
    assert train(tiny, rows(), bf16, tmp_path / "otherwise").resumed_from == 0
