"""Master weights, AdamW and its schedule: one optimizer step, and the state that a resumed training needs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evolcoder.train.before_loading import shortened_warmup
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def learning_rate(step: int, n_steps: int, settings: TrainSettings) -> float:
    """Return the learning rate of step `step` (from 0): linear warm-up, then as the schedule says.

    The formula is that of transformers' cosine scheduler, which the published run used, but for the warm-up:
    there its first step has rate 0 and learns nothing, here it has the first of warmup + 1 equal parts.
    """
    warmup = shortened_warmup(settings, n_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, n_steps - warmup)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
    return settings.learning_rate * (1.0 - done if settings.schedule == "linear" else 1.0)


class WeightsUpdate:
    """The trainable weights in fp32, their AdamW state, and the step that moves them.

    In bf16 and fp16 the model computes with a copy in that format, as DeepSpeed's and FSDP's mixed precision
    do; gradients are added up in fp32. Sharded parameters stay as FSDP made them (fp32, cast when gathered).
    `DeepSpeedUpdate` has the same methods, over DeepSpeed's engine.
    """

    def __init__(self, model: nn.Module, settings: TrainSettings, processes: Processes) -> None:
        dtype = TORCH_DTYPES[settings.dtype]
        self._model = model
        self._settings = settings
        self._alone = processes.count == 1
        sharded = not self._alone
        self._copies: dict[str, nn.Parameter] = {}
        self.masters: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            if sharded or dtype == torch.float32:
                if parameter.requires_grad:
                    self.masters[name] = parameter
                continue
            if parameter.requires_grad:
                self.masters[name] = self._split(parameter, dtype)
                self._copies[name] = parameter
            elif parameter.is_floating_point() and parameter.dtype == torch.float32:
                parameter.data = parameter.data.to(dtype)
        decayed = [p for p in self.masters.values() if p.ndim >= 2]
        plain = [p for p in self.masters.values() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        # Betas and epsilon as in the published DeepSpeed configuration.
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True
        )
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=settings.dtype == "fp16")

    def _split(self, parameter: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
        """Make the fp32 master of a parameter and leave the low-precision copy in the model."""
        master = nn.Parameter(parameter.detach().float())
        parameter.data = parameter.data.to(dtype)

        def move_gradient(copy: nn.Parameter) -> None:
            assert copy.grad is not None
            if master.grad is None:
                master.grad = copy.grad.float()
            else:
                master.grad.add_(copy.grad)
            copy.grad = None

        parameter.register_post_accumulate_grad_hook(move_gradient)  # type: ignore[no-untyped-call]
        return master

    def backward(self, loss: torch.Tensor, *, last: bool = True) -> None:
        """Add the gradients of one micro-batch's share of the loss; `last` ends the step's batch."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, rate: float) -> float:
        """Move the weights by the summed gradients, clear these, return their norm before clipping."""
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._scaler.unscale_(self._adamw)
        largest = self._settings.max_grad_norm or math.inf
        norm: Any = nn.utils.clip_grad_norm_(self.masters.values(), largest)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        self._scaler.step(self._adamw)
        self._scaler.update()
        self._adamw.zero_grad(set_to_none=True)
        self.refresh_copies()
        return float(norm)

    @torch.no_grad()
    def refresh_copies(self) -> None:
        """Bring the low-precision weights of the model up to date."""
        if self._copies:
            torch._foreach_copy_(list(self._copies.values()), [self.masters[name] for name in self._copies])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor that a resumed training needs, by name; loading writes into these tensors."""
        tensors: dict[str, torch.Tensor] = {}
        for name, master in self.masters.items():
            moments = self._moments(master)
            tensors[f"weights.{name}"] = master.data
            tensors[f"mean.{name}"] = moments["exp_avg"]
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        return tensors

    def save(self, folder: Path) -> None:
        """Write weights and moments as a distributed checkpoint."""
        from torch.distributed.checkpoint.state_dict_saver import save

        with _one_process_is_meant():
            save(self.tensors(), checkpoint_id=folder, no_dist=self._alone)

    def load(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Read weights and moments, and the loss scale of fp16."""
        from evolcoder.train.checkpoints import load_tensors

        with _one_process_is_meant():
            load_tensors(folder, self.tensors(), alone=self._alone)
        for master in self.masters.values():
            self._moments(master)["step"].fill_(float(facts["n_updates"]))
        if facts["scaler"]:
            self._scaler.load_state_dict(facts["scaler"])
        self.refresh_copies()

    def facts(self) -> dict[str, Any]:
        """Return the number of updates and the loss scale's state (empty where none is used)."""
        # Not the number of steps: fp16 leaves out those whose gradients overflow.
        n_updates = float(self._moments(next(iter(self.masters.values())))["step"])
        return {"n_updates": n_updates, "scaler": self._scaler.state_dict()}

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """Return the model's weights, gathered on the CPU in the first process where they are sharded."""
        if self._alone:
            return {name: tensor.detach() for name, tensor in self._model.state_dict().items()}
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights: dict[str, Any] = dict(get_model_state_dict(self._model, options=options))
        return weights

    def _moments(self, master: nn.Parameter) -> dict[str, Any]:
        moments: dict[str, Any] = self._adamw.state[master]
        if not moments:
            moments["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            moments["exp_avg"] = torch.zeros_like(master.data)
            moments["exp_avg_sq"] = torch.zeros_like(master.data)
        return moments


@contextmanager
def _one_process_is_meant() -> Iterator[None]:
    """Silence torch's warning that nothing is distributed: on one device nothing should be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable")
        yield
