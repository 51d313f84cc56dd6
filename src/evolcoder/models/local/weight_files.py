"""Whether the weights of a model folder are all there, by names, sizes and headers: no weight is read."""

from __future__ import annotations

import json
from pathlib import Path

from evolcoder.errors import ModelError

_NAMES = ("model.safetensors", "pytorch_model.bin")
_LFS_POINTER = b"version https://git-lfs"


def check_weight_files(folder: Path) -> None:
    """Raise ModelError where weights are not there, a shard is missing, or a file is cut short."""
    for file in weight_files(folder):
        with file.open("rb") as f:
            if f.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelError(f"{file}: a pointer of git-lfs, not the weights; git lfs pull fetches them")
        if file.suffix == ".safetensors":
            _check_whole(file)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would read; raises ModelError where none, or not all, are there."""
    for name in _NAMES:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(f"{index}: a list of shards (weight_map) is expected") from error
            if missing := [shard for shard in shards if not (folder / shard).exists()]:
                raise ModelError(
                    f"{folder}: {len(missing)} of {len(shards)} files of weights are missing, "
                    f"the first is {missing[0]}"
                )
            return [folder / shard for shard in shards]
    raise ModelError(
        f"{folder}: no weights: model.safetensors, pytorch_model.bin or an index of shards is expected"
    )


def _check_whole(file: Path) -> None:
    """Compare a file's size with what its header says (https://github.com/huggingface/safetensors#format)."""
    size = file.stat().st_size
    with file.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if 8 + length > size:
            raise ModelError(f"{file}: cut short inside its header, or not safetensors ({size:,} bytes)")
        try:
            header = json.loads(f.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(f"{file}: its header is not that of safetensors") from error
    if (whole := 8 + length + max(ends, default=0)) != size:
        raise ModelError(f"{file}: {size:,} bytes, {whole:,} by its header; copy or download it again")
