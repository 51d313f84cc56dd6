"""The model prepared for training (attention, adapters, precision, sharding), one step, and its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from evolcoder.errors import TrainingError
from evolcoder.models.local.engine import number_format
from evolcoder.train.adapters import add_adapters
from evolcoder.train.before_loading import check_architecture, check_parts, decoder_layers
from evolcoder.train.deepspeed_optimizer import DeepSpeedUpdate
from evolcoder.train.loss import HeadForm, MicroBatch, SummedLoss, packed_row, padded_rows
from evolcoder.train.optimizer import TORCH_DTYPES, WeightsUpdate
from evolcoder.train.packing import Step, micro_batches
from evolcoder.train.processes import Processes
from evolcoder.train.sanity_checks import (
    Rows,
    check_finite,
    choose_batching,
    plain_loss,
    probe_documents,
    rounding,
)
from evolcoder.train.settings import Precision, TrainSettings
from evolcoder.train.tokenization import TokenizedData

Update = WeightsUpdate | DeepSpeedUpdate
"""What moves the weights, saves and loads them."""
_NOT_REENTRANT = {"use_reentrant": False}
"""The kind of checkpointing that keyword arguments and frozen embeddings work with."""


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model with all that a training step needs."""

    model: Any
    """The Hugging Face model; with LoRA, its linear layers carry adapters."""
    adapters: Any
    """The peft model around it; None in full fine-tuning."""
    loss: Any
    """Summed loss of a micro-batch: `SummedLoss`, or DeepSpeed's engine around it."""
    update: Update
    data: TokenizedData
    settings: TrainSettings
    rows: Rows
    """How documents go through the model; `settings.packing` is false for padded ones."""
    processes: Processes
    pad: int
    parameters: int
    trainable: int
    """How many of `parameters` are trained."""
    notes: tuple[str, ...] = ()
    """What was decided otherwise than the settings ask, and why."""

    def batch(self, documents: tuple[int, ...], data: TokenizedData | None = None) -> MicroBatch:
        """Return documents (of `data`; the training data where absent) as they go through the model."""
        if self.settings.packing:
            return packed_row(data or self.data, documents)
        return padded_rows(data or self.data, documents, self.pad)

    @torch.no_grad()
    def prove(self) -> str:
        """Compare the loss as training computes it with the plain model's, document by document.

        Return the log line; raises TrainingError where they differ by more than rounding.
        """
        model, data, settings, device = self.model, self.data, self.settings, self.processes.device
        documents = probe_documents(data, settings)
        was_training = model.training
        model.eval()
        together = [(i,) for i in documents] if self.rows == "single" else [documents]
        trained = sum(float(self.loss(self.batch(part).to(device))) for part in together)
        plain = sum(plain_loss(model, data, i, device) for i in documents)
        model.train(was_training)
        n = sum(int(data.supervised[i]) for i in documents)
        if not math.isfinite(plain):
            raise TrainingError(f"the base model's own loss is {plain}; its weights are broken")
        if not abs(trained - plain) <= rounding(settings.dtype, n, plain):
            advice = "; packing: false trains this model with padding instead" if settings.packing else ""
            raise TrainingError(
                f"the {self.rows} loss of {len(documents)} rows is {trained / n:.6f}, alone it is "
                f"{plain / n:.6f}: the model does not keep rows apart{advice}"
            )
        values = f"{self.rows} loss {trained / n:.6f} equals the loss row by row {plain / n:.6f}"
        return f"proof 3: {values} (relative difference {abs(trained - plain) / plain:.1e})"

    def loss_and_gradients(self, step: Step, number: int, on_batch: Any) -> float:
        """Add up the gradients of one step and return its loss, the mean over its supervised tokens.

        The mean is over the whole step, on all devices: a token weighs the same whatever batch it is in.
        """
        processes = self.processes
        n_supervised = int(self.data.supervised[step.documents].sum())
        # Dropout (StarCoder has it) follows from the step's number, so that a resumed run repeats it.
        torch.manual_seed((self.settings.seed * 1_000_003 + number) * 1009 + processes.rank)
        # Added up on the device: reading each value would make a GPU wait for it.
        total = torch.zeros((), dtype=torch.float64, device=processes.device)
        mine = self.share(step, self.data.lengths)
        for k, (documents, counts) in enumerate(mine, 1):
            summed = self.loss(self.batch(documents).to(processes.device))
            if not counts:
                summed = summed * 0.0
            # FSDP and DeepSpeed average gradients over the processes; the sum is wanted.
            self.update.backward(summed * (processes.count / n_supervised), last=k == len(mine))
            total += summed.detach()
            on_batch(len(documents) if counts else 0)
        return processes.sum(float(total)) / n_supervised

    @torch.no_grad()
    def mean_loss(self, data: TokenizedData) -> float:
        """Return the loss of documents that are not trained on, the mean over their supervised tokens."""
        whole = Step(micro_batches(range(len(data)), data.lengths, self.settings))
        self.loss.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        for documents, counts in self.share(whole, data.lengths):
            summed = self.loss(self.batch(documents, data).to(self.processes.device))
            total += summed if counts else 0.0
        self.loss.train()
        return self.processes.sum(float(total)) / int(data.supervised.sum())

    def share(self, step: Step, lengths: npt.NDArray[np.int64]) -> list[tuple[tuple[int, ...], bool]]:
        """Return this process's micro-batches, each with whether it counts; `lengths` of all documents.

        All processes get as many, for sharded layers are gathered together; where they do not divide evenly,
        some repeat a batch that counts nothing.
        """
        processes = self.processes
        if self.rows == "single":
            step = Step(tuple((i,) for i in step.documents))
        if processes.count == 1:
            return [(documents, True) for documents in step.micro_batches]
        order = sorted(step.micro_batches, key=lambda documents: -int(lengths[list(documents)].sum()))
        rounds = -(-len(order) // processes.count)
        mine = [(documents, True) for documents in order[processes.rank :: processes.count]]
        return mine + [(order[-1], False)] * (rounds - len(mine))


def prepare(
    model: Any, data: TokenizedData, settings: TrainSettings, processes: Processes, pad: int
) -> PreparedModel:
    """Make a loaded fp32 model ready; raises TrainingError for what this model cannot do."""
    check_architecture(model.config)
    check_parts(model, settings)
    check_finite(model)
    batching = choose_batching(model, data, settings, pad)
    dtype = cast("Precision", number_format(settings.dtype, processes.device.type))
    settings = replace(settings, packing=batching.rows != "padded", dtype=dtype)
    model.set_attn_implementation(batching.attention)
    if not settings.dropout:
        _without_dropout(model)
    if settings.gradient_checkpointing:
        _checkpoint_activations(model)
    torch.manual_seed(settings.seed)
    adapters = add_adapters(model, settings) if settings.lora else None
    if settings.layers is not None:
        _freeze_below(model, settings.layers)
    model.train()
    # Counted while they are whole: DeepSpeed leaves empty tensors in the model.
    sizes = model.num_parameters(), model.num_parameters(only_trainable=True)
    update: Update
    if settings.deepspeed is not None:
        deepspeed = DeepSpeedUpdate(SummedLoss(model, batching.head), settings, processes)
        loss, update = deepspeed.engine, deepspeed
    else:
        if processes.count == 1 and settings.quantize == "none":
            model.to(processes.device)
        loss = placed_loss(model, batching.head, settings, processes)
        update = WeightsUpdate(model, settings, processes)
    return PreparedModel(
        model, adapters, loss, update, data, settings, batching.rows, processes, pad, *sizes, batching.notes
    )


def placed_loss(
    model: Any, head: HeadForm | None, settings: TrainSettings, processes: Processes
) -> SummedLoss:
    """Return the loss of a model; several processes shard its weights (FSDP2), a decoder layer at a time."""
    loss = SummedLoss(model, head)
    if processes.count == 1:
        return loss
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(processes.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(
        param_dtype=TORCH_DTYPES[settings.dtype] if settings.dtype != "fp32" else None,
        reduce_dtype=torch.float32,
    )
    layer_names = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in layer_names:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    register_fsdp_forward_method(loss, "log_probabilities")  # it gathers weights as `forward` does
    return loss


def _checkpoint_activations(model: Any) -> None:
    """Recompute activations in the backward pass; transformers renamed the method on its way to 6."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=_NOT_REENTRANT)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=_NOT_REENTRANT)


def _without_dropout(model: Any) -> None:
    """Set every dropout to 0: the modules, and the rates that attention functions are called with."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if name.endswith("dropout") and isinstance(value, float):
                setattr(module, name, 0.0)


def _freeze_below(model: Any, n_layers: int) -> None:
    """Leave only the last `n_layers` decoder layers, and what follows them, to be trained."""
    layers = decoder_layers(model)
    head = {
        id(p)
        for p in (*model.get_input_embeddings().parameters(), *model.get_output_embeddings().parameters())
    }
    below = {id(p) for layer in layers[: len(layers) - n_layers] for p in layer.parameters()}
    for name, parameter in model.named_parameters():
        positions = "wpe" in name
        parameter.requires_grad_(id(parameter) not in head | below and not positions)
