"""The finished model as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.models.local.decoding import end_tokens
from evolcoder.models.local.weights import quiet_library
from evolcoder.records import Instruction
from evolcoder.runs import check_output_folder, making_folder_whole, write_json_whole
from evolcoder.train.measurements import Measurements
from evolcoder.train.merging import split_adapters
from evolcoder.train.model_card import data_lineage, write_model_card
from evolcoder.train.optimizer import TORCH_DTYPES
from evolcoder.train.prompts import published_template
from evolcoder.train.result import TRAINING_FACTS, TrainResult, finished_result
from evolcoder.train.step import PreparedModel
from evolcoder.train.tokenization import opening_tokens

MODEL_OUTPUT = "trained model"
"""The kind of output, in the mark of its folder."""


def check_place(out: Path, base: str) -> Path:
    """Return the absolute path of `out`; raises DataError where a trained model of `base` cannot go there."""
    out = out.absolute()  # "." has no name to put the checkpoints beside
    check_output_folder(out, MODEL_OUTPUT)
    if out == Path(base).absolute():
        raise DataError(f"{out}: the base itself; another folder is expected for the trained model")
    return out


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
    weights = prepared.update.whole_weights()
    if prepared.processes.first:
        settings = prepared.settings
        with making_folder_whole(out, MODEL_OUTPUT) as folder:
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
            write_model_card(folder, facts, out.name)
            curves = steps_folder / "tensorboard"
            if curves.is_dir():
                shutil.copytree(curves, folder / "tensorboard")
        shutil.rmtree(steps_folder, ignore_errors=True)
    prepared.processes.wait()
    result = finished_result(out, fingerprint)
    assert result is not None
    return result


def _save_model(
    folder: Path, prepared: PreparedModel, weights: dict[str, torch.Tensor], tokenizer: Any
) -> None:
    """Save the weights in the number format of the computation, under the base's own architecture."""
    from transformers import GenerationConfig

    model, dtype = prepared.model, TORCH_DTYPES[prepared.settings.dtype]
    if prepared.adapters is not None:
        weights, adapters = split_adapters(model, weights)
        prepared.adapters.save_pretrained(folder / "adapter", state_dict=_as_peft_names(adapters))
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):  # the same class without numbers: these are given
        plain = type(model)(config)
    plain.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    stop = prepared.data.end_token
    # Generation stops at the token the model was just taught, and at what ended answers before.
    ends = [stop]
    for end in (tokenizer.eos_token_id, *end_tokens(model, tokenizer)):
        if end is not None and end not in ends:
            ends.append(end)
    ends[1:] = sorted(ends[1:])
    plain.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    plain.config.pad_token_id = tokenizer.pad_token_id
    plain.config.eos_token_id = plain.generation_config.eos_token_id
    own = {name for name, _ in plain.named_parameters()}  # a tied weight under its first name only
    own |= {name for name, _ in plain.named_buffers()}
    with quiet_library():
        plain.save_pretrained(
            folder,
            state_dict={
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in weights.items()
                if name in own
            },
        )
    style = prepared.settings.prompt_style
    if style != "chat":
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template = published_template(style, tokenizer.decode(opening_tokens(tokenizer)))
    tokenizer.save_pretrained(folder)


def _as_peft_names(adapters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"base_model.model.{name}": tensor for name, tensor in adapters.items()}
