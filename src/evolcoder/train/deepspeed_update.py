"""Training by DeepSpeed's engine, as the published run did (ZeRO-3, optimizer and weights in CPU memory).

The configuration is the user's file; what it shares with the training settings (batch, precision, learning
rate, clipping, AdamW) comes from the settings alone, so that nothing is said twice and nothing is overridden
unseen: the published configuration's own scheduler silently replaced the cosine that its script asked for.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evolcoder.errors import MissingExtraError, RecipeError, TrainingError
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings

_TAG = "weights"
"""Name of DeepSpeed's folder inside a step checkpoint."""
_FROM_SETTINGS = ("train_batch_size", "scheduler", "fp16", "bf16", "gradient_clipping")


def read_deepspeed_config(path: str) -> dict[str, Any]:
    """Read a DeepSpeed configuration; raises RecipeError that names the file and what is wrong with it."""
    try:
        config = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file; a DeepSpeed configuration (JSON) is expected") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: not JSON text ({error})") from error
    if not isinstance(config, dict):
        raise RecipeError(f"{path}: an object is expected, found {type(config).__name__}")
    return config


def complete_config(config: Mapping[str, Any], settings: TrainSettings) -> dict[str, Any]:
    """Return the configuration that the engine gets: the file's, with what the settings say put in.

    Values "auto", as transformers' Trainer reads them, become DeepSpeed's defaults.
    """
    complete: dict[str, Any] = _without_auto(copy.deepcopy(dict(config)))
    for key in _FROM_SETTINGS:
        complete.pop(key, None)
    # A micro-batch is whatever the loop gives it; how many make a step, the loop says with the last one.
    complete["train_micro_batch_size_per_gpu"] = complete["gradient_accumulation_steps"] = 1
    complete["gradient_clipping"] = settings.max_grad_norm
    if settings.dtype != "fp32":
        complete[settings.dtype] = {"enabled": True}
        if settings.dtype == "fp16":
            given = config.get("fp16")
            complete["fp16"] |= {"loss_scale": 0} | (_without_auto(given) if isinstance(given, dict) else {})
            complete["fp16"]["enabled"] = True
    optimizer = dict(complete.get("optimizer") or {"type": "AdamW"})
    own = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    published = {"betas": [0.9, 0.999], "eps": 1e-8}
    complete["optimizer"] = {**optimizer, "params": {**published, **(optimizer.get("params") or {}), **own}}
    return complete


def _without_auto(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_auto(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value != "auto"
    }


class DeepSpeedUpdate:
    """DeepSpeed's engine behind the interface of `Update`."""

    def __init__(self, loss: nn.Module, settings: TrainSettings, processes: Processes) -> None:
        # torch warns at every collective that DeepSpeed calls it by its older name.
        warnings.filterwarnings("ignore", message="`torch.distributed.*is deprecated", category=FutureWarning)
        try:
            import deepspeed  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingExtraError("deepspeed", "deepspeed") from error
        assert settings.deepspeed is not None
        deepspeed.init_distributed(dist_backend="nccl" if processes.device.type == "cuda" else "gloo")
        # The head's weight is read outside of the head's own forward, so its gathering must be asked for.
        head = loss.model.get_output_embeddings()  # type: ignore[operator, union-attr]
        config = complete_config(read_deepspeed_config(settings.deepspeed), settings)
        trained = [p for p in loss.parameters() if p.requires_grad]
        try:
            self.engine: Any = deepspeed.initialize(model=loss, model_parameters=trained, config=config)[0]
        except (ValueError, TypeError, AssertionError) as error:  # what its own checks raise
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"{settings.deepspeed}: DeepSpeed refuses it: {reason}") from error
        self._is_zero3 = self.engine.zero_optimization_stage() == 3
        if self._is_zero3:
            deepspeed.zero.register_external_parameter(self.engine.module, head.weight)
        self._processes = processes

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add the gradients of one micro-batch; DeepSpeed reduces them with the last one's."""
        self.engine.set_gradient_accumulation_boundary(is_boundary=last)
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, rate: float) -> float:
        """Move the weights at this learning rate and return the gradients' norm before clipping."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def save(self, folder: Path) -> None:
        """Write each process's part in DeepSpeed's own layout."""
        self.engine.save_checkpoint(str(folder), tag=_TAG, exclude_frozen_parameters=False)

    def load(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Read this process's part."""
        self.engine.load_checkpoint(str(folder), tag=_TAG)

    def facts(self) -> dict[str, Any]:
        """Return nothing: the engine's files hold all."""
        return {}

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """Gather the weights in the first process, in the number format of the computation."""
        if self._is_zero3:
            gathered = self.engine._zero3_consolidated_16bit_state_dict()
        else:
            gathered = self.engine.module.state_dict()
        if not self._processes.first:
            return {}
        return {name.removeprefix("model."): tensor.detach().cpu() for name, tensor in gathered.items()}
