"""Training by DeepSpeed's engine, as the published run did (ZeRO-3, optimizer and weights in CPU memory)."""

from __future__ import annotations

import importlib
import os
import pickle
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from evolcoder.errors import TrainingError
from evolcoder.train.deepspeed_config import complete_config, read_deepspeed_config
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings

_TAG = "weights"
"""Name of DeepSpeed's folder inside a step checkpoint."""

_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_RECORDS = {
    "deepspeed.runtime.zero.config": ("ZeroStageEnum",),
    "deepspeed.runtime.fp16.loss_scaler": ("LossScaler", "DynamicLossScaler"),
    "deepspeed.utils.tensor_fragment": ("fragment_address", "tensor_fragment"),
}
"""Classes that DeepSpeed's checkpoints hold beside tensors; they keep numbers."""


def _deepspeed_records() -> list[Any]:
    """Return the classes of `_RECORDS` that this version of DeepSpeed has."""
    found = []
    for module, names in _RECORDS.items():
        with suppress(ImportError):
            loaded = importlib.import_module(module)
            found += [getattr(loaded, name) for name in names if hasattr(loaded, name)]
    return found


def _group_of_one(backend: str) -> None:
    """Make what DeepSpeed asks for even of one process: a group, and torchrun's variables."""
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        os.environ.setdefault(name, value)
    if not dist.is_initialized():
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)


class DeepSpeedUpdate:
    """DeepSpeed's engine, which must be installed, with the methods of `WeightsUpdate`."""

    def __init__(self, loss: nn.Module, settings: TrainSettings, processes: Processes) -> None:
        # torch warns at every collective that DeepSpeed calls it by its older name.
        warnings.filterwarnings("ignore", message="`torch.distributed.*is deprecated", category=FutureWarning)
        import deepspeed  # type: ignore[import-not-found]

        assert settings.deepspeed is not None
        backend = "nccl" if processes.device.type == "cuda" else "gloo"
        if processes.count == 1:
            _group_of_one(backend)
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)
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
        """Read this process's part; torch unpickles only tensors and DeepSpeed's own records."""
        # DeepSpeed asks torch for any pickle; this variable of torch's overrules it.
        before = os.environ.get(_TENSORS_ONLY)
        os.environ[_TENSORS_ONLY] = "1"
        try:
            with torch.serialization.safe_globals(_deepspeed_records()):
                self.engine.load_checkpoint(str(folder), tag=_TAG)
        except pickle.UnpicklingError as error:
            raise TrainingError(f"{folder}: {' '.join(str(error).split())[:300]}") from error
        finally:
            if before is None:
                del os.environ[_TENSORS_ONLY]
            else:
                os.environ[_TENSORS_ONLY] = before

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
