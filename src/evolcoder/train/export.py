"""The finished model as a Hugging Face folder, whole or not at all: weights, tokenizer, facts, card."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.licences import Link, model_link
from evolcoder.model_cards import ModelCard, model_card_text
from evolcoder.models.local.decoding import end_tokens
from evolcoder.models.local.weights import quiet_library
from evolcoder.records import Instruction
from evolcoder.runs import check_output_folder, making_folder_whole, write_json_whole, write_text_whole
from evolcoder.train.chat_templates import published_template
from evolcoder.train.checkpoints import Checkpoints
from evolcoder.train.measurements import Measurements
from evolcoder.train.optimizer import TORCH_DTYPES
from evolcoder.train.result import NOT_IN_NAME, TRAINING_FACTS, TrainResult, finished_result
from evolcoder.train.step import PreparedModel
from evolcoder.train.tokenization import opening_tokens

_ADAPTER = "default"
"""The name that peft gives a model's only adapter."""
MODEL_OUTPUT = "trained model"
"""The kind of output, in the mark of its folder."""


def check_place(out: Path, base: str, settings: Mapping[str, Any], *, overwrite: bool) -> Path:
    """Return the absolute path of `out`; raises DataError where a trained model of `base` cannot go there.

    A model that was trained otherwise stays, unless with `overwrite`: it may have taken days.
    """
    out = out.absolute()  # "." has no name to put the checkpoints beside
    check_output_folder(out, MODEL_OUTPUT)
    if not overwrite and (out / TRAINING_FACTS).exists():
        differing = _differences(out, {"base": base, **settings})
        raise DataError(
            f"{out}: holds another trained model ({differing}); another folder or --overwrite is expected, "
            "nothing was changed"
        )
    if (place := Path(base).resolve()).exists() and out.resolve() in (place, *place.parents):
        raise DataError(f"{out}: holds the base; another folder is expected for the trained model")
    return out


def _differences(out: Path, now: Mapping[str, Any]) -> str:
    """Say in what the training of the model that stands in `out` differs from the one to come."""
    try:
        facts = json.loads((out / TRAINING_FACTS).read_bytes())
        before = _flat({"base": facts["base"], **facts.get("reinforce", facts)["settings"]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its facts cannot be read"
    told = _flat(json.loads(json.dumps(now)))
    differing = [
        f"{name} {before[name]} there, {told[name]} now"
        for name in told
        if name not in NOT_IN_NAME and told[name] not in (before.get(name, told[name]), "auto")
    ]
    return "; ".join(differing) or "of other data"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of a section under both names: reward.extract."""
    sections = {name: value for name, value in settings.items() if isinstance(value, dict)}
    inner = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {name: value for name, value in settings.items() if name not in sections} | inner


def export(
    out: Path,
    base: str,
    data: Sequence[Instruction],
    fingerprint: str,
    prepared: PreparedModel,
    tokenizer: Any,
    measurements: Measurements,
    checkpoints: Checkpoints,
    further: Mapping[str, Any],
) -> TrainResult:
    """Write weights, tokenizer, generation config, model card and `training.json` to `out`.

    `further` facts stand in `training.json` too. The step checkpoints are removed once the folder stands.
    Raises TrainingError where the disk is full.
    """
    with checkpoints.writing(f"the finished model {out}"):
        weights = prepared.update.whole_weights()
        if prepared.processes.first:
            settings = prepared.settings
            with making_folder_whole(out, MODEL_OUTPUT) as folder:
                _save_model(folder, prepared, weights, tokenizer)
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
                    **measurements.summary(),
                    **measurements.facts(),
                    **further,
                }
                write_json_whole(folder / TRAINING_FACTS, facts)
                write_model_card(folder, facts, out.name)
                curves = checkpoints.folder / "tensorboard"
                if curves.is_dir():
                    shutil.copytree(curves, folder / "tensorboard")
            shutil.rmtree(checkpoints.folder, ignore_errors=True)
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
        named = {f"base_model.model.{name}": tensor for name, tensor in adapters.items()}  # as peft does
        prepared.adapters.save_pretrained(folder / "adapter", state_dict=named)
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    with torch.device("meta"):  # the same class without numbers: these are given
        plain = type(model)(config)
    plain.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    stop = prepared.data.end_token
    # Generation stops at the token the model was just taught, and at what ended answers before.
    ends = [stop, *sorted({tokenizer.eos_token_id, *end_tokens(model, tokenizer)} - {None, stop})]
    plain.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    plain.config.pad_token_id = tokenizer.pad_token_id
    plain.config.eos_token_id = plain.generation_config.eos_token_id
    # A tied weight stands under its first name only.
    own = {name for name, _ in (*plain.named_parameters(), *plain.named_buffers())}
    cast = {name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items() if name in own}
    with quiet_library():
        plain.save_pretrained(folder, state_dict=cast)
    style = prepared.settings.prompt_style
    if style != "chat":
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template = published_template(style, tokenizer.decode(opening_tokens(tokenizer)))
    tokenizer.save_pretrained(folder)


def split_adapters(
    model: Any, weights: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return (plain weights with adapters merged, the adapters' own weights), both on the CPU.

    `weights` is the whole state of `model`, whose linear layers carry adapters. A merged weight is
    W + scale * B @ A in fp32, W as the training saw it: of a 4-bit base, what its code stands for. peft's own
    method would need the whole model on every device, and would round a 4-bit base a second time.
    """
    adapters = {name: tensor.cpu() for name, tensor in weights.items() if ".lora_" in name}
    plain = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in weights.items()
        if ".lora_" not in name and ".weight." not in name  # what follows .weight. is 4-bit bookkeeping
    }
    for name, layer in model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        base = layer.get_base_layer()
        weight: Any = plain.get(f"{name}.weight")
        if hasattr(base.weight, "quant_state"):
            from bitsandbytes.functional import dequantize_4bit  # type: ignore[import-not-found]

            weight = dequantize_4bit(base.weight.data, base.weight.quant_state)
        a = adapters[f"{name}.lora_A.{_ADAPTER}.weight"].float()
        b = adapters[f"{name}.lora_B.{_ADAPTER}.weight"].float()
        delta = layer.scaling[_ADAPTER] * (b @ a)
        plain[f"{name}.weight"] = weight.cpu().float() + (delta.T if layer.fan_in_fan_out else delta)
    return {name: tensor.cpu() for name, tensor in plain.items()}, adapters


def data_lineage(data: Sequence[Instruction]) -> dict[str, Any]:
    """Count rows by round, method and teacher, and by the licence that their column states."""
    of_rows = {
        "rows_by_round": (str(row.lineage.round) for row in data),
        "rows_by_method": (row.lineage.method or "seed" for row in data),
        "rows_by_teacher": (row.lineage.teacher or "none (seeds)" for row in data),
        "licenses": (str(row.extra.get("license") or "not given") for row in data),
    }
    return {name: dict(sorted(Counter(values).items())) for name, values in of_rows.items()}


def write_model_card(folder: Path, facts: Mapping[str, Any], name: str) -> None:
    """Write README.md beside the weights from what `training.json` says."""
    base = model_link("base model", str(facts["base"]))
    lineage = facts["data"]
    licences = [
        Link("data", f"{count:,} rows", "" if licence == "not given" else licence.lower())
        for licence, count in lineage["licenses"].items()
    ]
    teachers = [
        model_link("teacher", teacher) for teacher in lineage["rows_by_teacher"] if teacher != "none (seeds)"
    ]
    made = f"fine-tuned on {facts['rows']:,} instructions, loss on the responses only"
    method = facts["reinforce"]["settings"]["method"] if "reinforce" in facts else None
    if method == "rft":
        made = f"fine-tuned on {facts['rows']:,} of its own answers, all of which pass their tests"
    elif method:
        made = f"trained on whether its own answers to {facts['rows']:,} tasks pass their tests"
    by = (("round ", "rows_by_round"), ("method: ", "rows_by_method"), ("teacher: ", "rows_by_teacher"))
    table = (f"| {of}{name} | {n:,} |" for of, counts in by for name, n in lineage[counts].items())
    card = ModelCard(
        name=name,
        summary=f"`{base.name}`, {made}. Made with evolcoder {facts['evolcoder']}.",
        chain=(*licences, *teachers, base),
        training=facts,
        data=("| | rows |", "|---|---|", *table),
    )
    write_text_whole(folder / "README.md", model_card_text(card))
