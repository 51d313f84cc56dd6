"""Fine-tuning, from a base model and rows to a Hugging Face folder.

Read `train` first: the parts follow in the order it uses them. One step is in `step.py`, what it computes in
`loss.py` and `attention.py`, what it changes in `optimizer.py`.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from evolcoder.errors import TrainingError, require_packages
from evolcoder.heap import heap_kept
from evolcoder.models.local.engine import number_format
from evolcoder.models.local.weights import (
    check_weights,
    load_config,
    load_tokenizer,
    load_weights,
    locate_weights,
)
from evolcoder.progress import Bar, Progress, SilentProgress
from evolcoder.records import Instruction
from evolcoder.train.adapters import load_quantized
from evolcoder.train.before_loading import check_before_loading
from evolcoder.train.checkpoints import Checkpoints
from evolcoder.train.export import check_place, export
from evolcoder.train.measurements import (
    HeldOutLoss,
    Measurements,
    StepRecord,
    model_flops_utilization,
    peak_memory_bytes,
)
from evolcoder.train.optimizer import learning_rate
from evolcoder.train.packing import Step, plan_steps
from evolcoder.train.processes import Processes, join_processes
from evolcoder.train.result import TrainResult, finished_result, training_fingerprint
from evolcoder.train.sanity_checks import prove_supervision
from evolcoder.train.settings import Precision, TrainSettings
from evolcoder.train.step import PreparedModel, prepare
from evolcoder.train.tokenization import (
    TokenizedData,
    add_wizardcoder_tokens,
    embed_added_tokens,
    split_held_out,
    tokenize_cached,
)


def train(
    base: str,
    data: Sequence[Instruction],
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    held_out: Sequence[Instruction] = (),
    *,
    overwrite: bool = True,
    run: tuple[str, Mapping[str, Any]] | None = None,
) -> TrainResult:
    """Fine-tune `base` on `data` and write a Hugging Face folder to `out`, whole or not at all.

    The loss is also measured on `held_out` and on the `eval_rows` that the settings take out of `data`. A
    killed training goes on from its last step checkpoint with the same losses and, on a CPU, the same final
    bytes; a finished one with the same base, data and settings is returned as it is. Where it ends a `run`
    of more than training, `out` bears that one's name instead, and `training.json` its facts too. Raises
    TrainingError where a proof fails, the loss is not a number, or the disk is full, and DataError, before
    any work, where `out` holds what no training wrote or, without `overwrite`, another model, or a training
    is at work on it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    resolved = cast("Precision", number_format(settings.dtype, device))
    formats: tuple[Precision, Precision] = ("auto", resolved)
    followed, written = (
        training_fingerprint(base, data, replace(settings, dtype=dtype), held_out) for dtype in formats
    )
    names = (followed, written) if run is None else (run[0], run[0])
    fingerprint = names[0] if settings.dtype == "auto" else names[1]
    for name in names:
        if (finished := finished_result(out, name, settings.dtype)) is not None:
            return finished
    out = check_place(out, base, asdict(settings), overwrite=overwrite)
    if settings.deepspeed is not None:
        require_packages("deepspeed", "deepspeed", "deepspeed")
    processes = join_processes()
    progress = progress if progress is not None and processes.first else SilentProgress()

    # Half a training is gone on with in the number format that it began in, and no other.
    checkpoints = Checkpoints(out.with_name(f"{out.name}.steps"), written, settings.keep, processes)
    with checkpoints.alone():
        if settings.eval_rows:
            data, taken = split_held_out(data, settings.eval_rows, settings.seed)
            held_out = [*held_out, *taken]
        # DeepSpeed shards by all processes together, so under it they all load at once.
        with processes.in_turn() if settings.deepspeed is None else nullcontext():
            prepared, tokenizer = _prepared(base, data, settings, processes, progress)
        progress.note(prepared.prove())
        steps = plan_steps(prepared.data.lengths, prepared.settings)
        measured = _tokenized(held_out, tokenizer, settings) if held_out else None

        measurements = Measurements.resumed(checkpoints.resume(prepared.update.load, progress))
        with heap_kept() as after_step:
            _all_steps(prepared, steps, measured, checkpoints, measurements, out.name, progress, after_step)
        trained = (prepared, tokenizer, measurements, checkpoints)
        return export(out, base, data, fingerprint, *trained, {} if run is None else run[1])


def _prepared(
    base: str, data: Sequence[Instruction], settings: TrainSettings, processes: Processes, progress: Progress
) -> tuple[PreparedModel, Any]:
    """Load the base, tokenize the data and put the two together; return that and the tokenizer."""
    # All that needs no weights comes first: these are what takes long to load.
    config, tokenizer = load_config(base), load_tokenizer(base)
    if settings.special_tokens == "wizardcoder":
        add_wizardcoder_tokens(tokenizer, config.model_type)
    tokens = _tokenized(data, tokenizer, settings)
    for line in [*prove_supervision(tokens), *check_before_loading(config, tokenizer, tokens, settings)]:
        progress.note(line)
    check_weights(locate_weights(base))
    if settings.quantize == "none":
        model, _ = load_weights(base, "fp32")
    else:
        model = load_quantized(base, processes)
    if settings.special_tokens == "wizardcoder":
        embed_added_tokens(model, tokenizer)
    pad = tokens.end_token if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    prepared = prepare(model, tokens, settings, processes, pad)
    for line in prepared.notes:
        progress.note(line)
    return prepared, tokenizer


def _tokenized(rows: Sequence[Instruction], tokenizer: Any, settings: TrainSettings) -> TokenizedData:
    return tokenize_cached(rows, tokenizer, settings.prompt_style, settings.max_length, settings.end_token)


def _all_steps(
    prepared: PreparedModel,
    steps: Sequence[Step],
    held_out: TokenizedData | None,
    checkpoints: Checkpoints,
    measurements: Measurements,
    run: str,
    progress: Progress,
    after_step: Callable[[], None],
) -> None:
    """Do the steps that are left; every so often write a checkpoint and measure the held-out loss."""
    settings, update = prepared.settings, prepared.update
    first = measurements.n_steps
    open_trackers = prepared.processes.first
    trackers = _open_trackers(settings, checkpoints.folder, run, first, progress) if open_trackers else []
    logs = [log for log, _ in trackers]
    with progress.bar("fine-tuning (rows)", sum(len(step.documents) for step in steps)) as bar:
        bar.advance(sum(len(step.documents) for step in steps[:first]))
        if held_out is not None and not measurements.evaluations:
            _evaluate(prepared, held_out, measurements, logs, progress)
        for number in range(first, len(steps)):
            record = _one_step(prepared, steps[number], number, len(steps), bar)
            after_step()
            _check_finite(record, checkpoints)
            measurements.steps.append(record)
            bar.advance(0, step=f"{number + 1}/{len(steps)}", loss=round(record.loss, 4))
            last = number + 1 == len(steps)
            _track(logs, record, prepared, last=last)
            if held_out is not None and (last or (number + 1) % settings.eval_every_steps == 0):
                _evaluate(prepared, held_out, measurements, logs, progress)
            due = settings.save_every_steps and (number + 1) % settings.save_every_steps == 0
            if due and not last:
                checkpoints.save(number + 1, update.save, {**measurements.facts(), **update.facts()})
    for _, close in trackers:
        close()


def _one_step(prepared: PreparedModel, step: Step, number: int, n_steps: int, bar: Bar) -> StepRecord:
    """Do step `number` (from 0) and measure it."""
    begin = time.monotonic()
    seen = 0

    def on_batch(n: int) -> None:
        nonlocal seen
        seen += n
        bar.advance(n)

    loss = prepared.loss_and_gradients(step, number, on_batch)
    bar.advance(len(step.documents) - seen)  # the rows of the other processes
    rate = learning_rate(number, n_steps, prepared.settings)
    norm = prepared.update.step(rate) if math.isfinite(loss) else math.nan
    data, documents = prepared.data, step.documents
    tokens = int(data.lengths[documents].sum())
    slots = tokens
    if not prepared.settings.packing:
        slots = sum(len(batch) * int(data.lengths[list(batch)].max()) for batch in step.micro_batches)
    supervised = int(data.supervised[documents].sum())
    seconds = time.monotonic() - begin
    return StepRecord(number + 1, loss, rate, norm, tokens, supervised, slots, seconds)


def _evaluate(
    prepared: PreparedModel,
    held_out: TokenizedData,
    measurements: Measurements,
    logs: Sequence[Log],
    progress: Progress,
) -> None:
    """Measure the held-out loss after the steps done so far."""
    done = HeldOutLoss(measurements.n_steps, prepared.mean_loss(held_out))
    measurements.evaluations.append(done)
    progress.note(f"step {done.step}: loss {done.loss:.4f} on {len(held_out):,} held-out rows")
    for log in logs:
        log({"held_out_loss": done.loss}, done.step)


def _check_finite(record: StepRecord, checkpoints: Checkpoints) -> None:
    """Stop at the first loss that is not a number; nothing after it can be right."""
    if math.isfinite(record.loss):
        return
    last = checkpoints.latest()
    safe = f"the last good checkpoint is {last[0]}" if last else "no checkpoint was written yet"
    raise TrainingError(
        f"the loss of step {record.step} is {record.loss}; {safe}; a lower learning_rate (now "
        f"{record.learning_rate:.1e}), a longer warm-up, or dtype bf16 or fp32 instead of fp16 usually helps"
    )


def _track(logs: Sequence[Log], record: StepRecord, prepared: PreparedModel, *, last: bool) -> None:
    """Add a step to the curves, every `log_every_steps`."""
    if not logs or (record.step % prepared.settings.log_every_steps and not last):
        return
    per_second = record.tokens / record.seconds
    values = {
        "loss": record.loss,
        "learning_rate": record.learning_rate,
        "grad_norm": record.grad_norm,
        "tokens_per_second": per_second,
        "padding_share": 1.0 - record.tokens / record.slots,
        "memory_gb": peak_memory_bytes() / 1e9,
    }
    processes = prepared.processes
    utilization = model_flops_utilization(
        prepared.parameters, prepared.trainable, per_second / processes.count, processes.device
    )
    if utilization is not None:
        values["mfu"] = utilization
    for log in logs:
        log(values, record.step)


Log = Callable[[Mapping[str, float], int], None]
"""Adds a point to each curve, at a step."""


def _open_trackers(
    settings: TrainSettings, folder: Path, run: str, first_step: int, progress: Progress
) -> list[tuple[Log, Callable[[], None]]]:
    """Open every tracker that the settings name: what adds to its curves, and what closes it.

    One that is not installed is said and done without.
    """
    trackers = []
    for name in settings.tracking:
        try:
            if name == "tensorboard":
                trackers.append(_tensorboard(folder / name, first_step))
            else:  # wandb and trackio share one interface: init, log, finish
                module: Any = importlib.import_module(name)
                module.init(project="evolcoder", name=run, config=asdict(settings))
                trackers.append((partial(_log_to, module), module.finish))
        except ImportError:
            progress.note(f"{name} is not installed, so it shows no curves: pip install {name}")
    return trackers


def _tensorboard(folder: Path, first_step: int) -> tuple[Log, Callable[[], None]]:
    from torch.utils.tensorboard import SummaryWriter

    # Points after the resumed step are of the killed process; they are hidden.
    writer: Any = SummaryWriter(str(folder), purge_step=first_step + 1)

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _log_to(module: Any, values: Mapping[str, float], step: int) -> None:
    module.log(dict(values), step=step)
