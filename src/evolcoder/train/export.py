"""The finished model as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from evolcoder import __version__
from evolcoder.models.weights import quiet_library
from evolcoder.records import Instruction
from evolcoder.runs import making_folder_whole, write_json_whole
from evolcoder.train.measurements import Measurements
from evolcoder.train.model_card import data_lineage, write_model_card
from evolcoder.train.prepared import PreparedModel
from evolcoder.train.result import TRAINING_FACTS, TrainResult, finished_result


def export(
    out: Path,
    base: str,
    data: Sequence[Instruction],
    fingerprint: str,
    prepared: PreparedModel,
    tokenizer: Any,
    measurements: Measurements,
    steps_folder: Path,
) -> TrainResult:
    """Write weights, tokenizer, generation config, model card and `training.json` to `out`.

    The step checkpoints are removed once the folder stands.
    """
    weights = _whole_weights(prepared)
    if prepared.processes.first:
        settings = prepared.settings
        with making_folder_whole(out) as folder:
            _save_model(folder, prepared, weights, tokenizer)
            summary = measurements.summary()
            facts = {
                "fingerprint": fingerprint,
                "evolcoder": __version__,
                "base": base,
                "settings": asdict(settings),
                "rows": len(data),
                "rows_left_out": prepared.data.n_dropped,
                "responses_cut": prepared.data.n_cut,
                "processes": prepared.processes.count,
                "data": data_lineage(data),
                **summary,
                **measurements.facts(),
            }
            write_json_whole(folder / TRAINING_FACTS, facts)
            write_model_card(folder, name=out.name)
            curves = steps_folder / "tensorboard"
            if curves.is_dir():
                shutil.copytree(curves, folder / "tensorboard")
        shutil.rmtree(steps_folder, ignore_errors=True)
    prepared.processes.wait()
    result = finished_result(out, fingerprint)
    assert result is not None
    return result


def _whole_weights(prepared: PreparedModel) -> dict[str, torch.Tensor] | None:
    """Gather sharded weights in the first process; None where the model holds them itself."""
    if prepared.processes.count == 1:
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = dict(get_model_state_dict(prepared.model, options=options))
    return weights


def _save_model(
    folder: Path, prepared: PreparedModel, weights: dict[str, torch.Tensor] | None, tokenizer: Any
) -> None:
    from transformers import GenerationConfig

    from evolcoder.train.weights_update import TORCH_DTYPES

    model = prepared.model
    if prepared.adapters is not None:
        prepared.adapters.save_pretrained(folder / "adapter")
        model = prepared.adapters.merge_and_unload()
    dtype = TORCH_DTYPES[prepared.settings.dtype]
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    model.config.dtype = dtype
    stop = prepared.data.end_token
    # One stop token that generation obeys: the one the model was just taught.
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop if stop == tokenizer.eos_token_id else [stop, tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    if weights is not None:
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
    with quiet_library():
        model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
