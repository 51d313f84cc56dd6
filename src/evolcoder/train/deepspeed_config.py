"""DeepSpeed's configuration: the user's file, completed from the training settings.

What both could say (batch, precision, learning rate, schedule, clipping, AdamW) comes from the settings
alone, so that nothing is overridden unseen: DeepSpeed follows a scheduler of its file whatever the training
asks for. Nothing heavy is imported here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolcoder.errors import RecipeError
from evolcoder.shipped_recipes import DEEPSPEED, recipe_file
from evolcoder.train.settings import TrainSettings

_FROM_SETTINGS = ("train_batch_size", "scheduler", "fp16", "bf16", "gradient_clipping")


def read_deepspeed_config(path: str) -> dict[str, Any]:
    """Read a DeepSpeed configuration, a file or a shipped one's name.

    Raises RecipeError that names the file and what is wrong with it.
    """
    try:
        file = recipe_file(Path(path).expanduser(), DEEPSPEED)
        config = json.loads(file.read_text(encoding="utf-8"))
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
    if settings.dtype in ("bf16", "fp16"):
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
