"""The model made ready to train: attention, adapters, precision, sharding; and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from evolcoder.errors import MissingExtraError, TrainingError
from evolcoder.train.attention import register_document_attention
from evolcoder.train.loss import MicroBatch, SummedLoss, packed_row, padded_rows
from evolcoder.train.packing import Step
from evolcoder.train.processes import Processes
from evolcoder.train.proofs import prove_batching
from evolcoder.train.settings import TrainSettings
from evolcoder.train.tokenization import TokenizedData
from evolcoder.train.weights_update import TORCH_DTYPES, WeightsUpdate

_NOT_REENTRANT = {"use_reentrant": False}
"""The kind of checkpointing that keyword arguments and frozen embeddings work with."""


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model with all that a training step needs."""

    model: Any
    """The Hugging Face model; with LoRA, its linear layers carry adapters."""
    adapters: Any
    """The peft model around it; None in full fine-tuning."""
    loss: SummedLoss
    update: WeightsUpdate
    data: TokenizedData
    settings: TrainSettings
    processes: Processes
    pad: int

    def batch(self, documents: tuple[int, ...]) -> MicroBatch:
        """Return documents as they go through the model."""
        if self.settings.packing:
            return packed_row(self.data, documents)
        return padded_rows(self.data, documents, self.pad)

    def prove(self) -> str:
        """Prove that batching leaves the loss as it is; return the log line."""
        return prove_batching(
            self.model, self.loss, self.data, self.settings, self.batch, self.processes.device
        )

    def loss_and_gradients(self, step: Step, number: int, on_batch: Any) -> float:
        """Add up the gradients of one step and return its loss, the mean over its supervised tokens.

        The mean is over the whole step, on all devices: a token weighs the same whatever batch it is in.
        """
        processes = self.processes
        n_supervised = int(self.data.supervised[step.documents].sum())
        # Dropout (StarCoder has it) follows from the step's number, so that a resumed run repeats it.
        torch.manual_seed((self.settings.seed * 1_000_003 + number) * 1009 + processes.rank)
        total = 0.0
        for documents, counts in _share(step, self.data, processes):
            summed = self.loss(self.batch(documents).to(processes.device))
            if not counts:
                summed = summed * 0.0
            # FSDP averages gradients over the processes; the sum is wanted.
            self.update.backward(summed * (processes.count / n_supervised))
            total += float(summed.detach())
            on_batch(len(documents) if counts else 0)
        return processes.sum(total) / n_supervised


def prepare(
    model: Any, data: TokenizedData, settings: TrainSettings, processes: Processes, pad: int
) -> PreparedModel:
    """Make a loaded fp32 model ready; raises TrainingError for what this model or machine cannot do."""
    if settings.dtype == "fp16" and processes.device.type == "cpu":
        raise TrainingError("dtype fp16 needs a GPU; on a CPU use bf16 or fp32")
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        raise TrainingError(f"{type(model).__name__}: a causal model with a head without bias is expected")
    if settings.packing:
        if not getattr(model, "_supports_attention_backend", True):
            raise TrainingError(
                f"{type(model).__name__} takes no attention function, "
                "so rows cannot be packed; use packing: false"
            )
        model.set_attn_implementation(register_document_attention())
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=_NOT_REENTRANT)
    torch.manual_seed(settings.seed)
    adapters = _with_adapters(model, settings) if settings.lora else None
    if settings.layers is not None:
        _freeze_below(model, settings.layers)
    model.train()
    sharded = processes.count > 1
    if sharded:
        loss = _shard(model, settings, processes)
    else:
        if settings.quantize == "none":
            model.to(processes.device)
        loss = SummedLoss(model)
    update = WeightsUpdate(model, settings, sharded=sharded)
    return PreparedModel(model, adapters, loss, update, data, settings, processes, pad)


def _freeze_below(model: Any, n_layers: int) -> None:
    """Leave only the last `n_layers` decoder layers, and what follows them, to be trained."""
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if n_layers > len(layers):
        raise TrainingError(f"layers: the model has {len(layers)} decoder layers, found {n_layers}")
    head = {
        id(p)
        for p in (*model.get_input_embeddings().parameters(), *model.get_output_embeddings().parameters())
    }
    below = {id(p) for layer in layers[: len(layers) - n_layers] for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        positions = "wpe" in name
        parameter.requires_grad_(id(parameter) not in head | below and not positions)


def _with_adapters(model: Any, settings: TrainSettings) -> Any:
    """Put LoRA adapters on every linear layer but the head; the rest is frozen."""
    try:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    except ImportError as error:
        raise MissingExtraError("LoRA", "train") from error
    assert settings.lora is not None
    if settings.quantize == "4bit":
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model,
            use_gradient_checkpointing=settings.gradient_checkpointing,
            gradient_checkpointing_kwargs=_NOT_REENTRANT,
        )
    config = LoraConfig(
        r=settings.lora,
        lora_alpha=settings.lora_alpha or 2 * settings.lora,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _shard(model: Any, settings: TrainSettings, processes: Processes) -> SummedLoss:
    """Shard the weights over the processes (FSDP2), a decoder layer at a time."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(processes.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(
        param_dtype=TORCH_DTYPES[settings.dtype] if settings.dtype != "fp32" else None,
        reduce_dtype=torch.float32,
    )
    layer_names = set(model._no_split_modules or ())
    loss = SummedLoss(model)
    for module in list(model.modules()):
        if type(module).__name__ in layer_names:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    return loss


def _share(step: Step, data: TokenizedData, processes: Processes) -> list[tuple[tuple[int, ...], bool]]:
    """Return this process's micro-batches, each with whether it counts.

    All processes get as many, for sharded layers are gathered together; where they do not divide evenly,
    some repeat a batch that counts nothing.
    """
    if processes.count == 1:
        return [(documents, True) for documents in step.micro_batches]
    weights = data.lengths
    order = sorted(step.micro_batches, key=lambda documents: -int(weights[list(documents)].sum()))
    rounds = -(-len(order) // processes.count)
    mine = [(documents, True) for documents in order[processes.rank :: processes.count]]
    return mine + [(order[-1], False)] * (rounds - len(mine))
