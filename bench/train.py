"""Useful tokens per CPU second and peak memory: evolcoder, the published scheme, and TRL, on the same rows.

    python bench/train.py --data code_alpaca_20k.json --trl-python /tmp/trl/bin/python

Every scheme is a process of its own: SmolLM2-135M (the embedded model) or --base, in --dtype, prompts
masked, 16 rows a step, the same rows (a sample of the data drawn with --seed) in the same order. Useful
tokens are those that are not padding; the clock is the process's CPU time in whole training steps, after
one step that warms up, so that other work on the machine disturbs the ratios little. With --device cuda the
clock is wall time, and the share of the device's bf16 peak (MFU) is printed too. TRL runs in the
environment that --trl-python names (`pip install trl==1.16.*` beside this project's dependencies).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

ROWS_A_STEP = 16
SCHEMES = ("published", "trl", "evolcoder", "evolcoder-checkpointing")


_BASE, _DEVICE, _DTYPE = "BENCH_TRAIN_BASE", "BENCH_TRAIN_DEVICE", "BENCH_TRAIN_DTYPE"
_PARAMETERS = "BENCH_TRAIN_PARAMETERS"


def cpu_seconds() -> float:
    """Return CPU seconds of this process, or wall seconds once a GPU has done what it was given."""
    if os.environ[_DEVICE] == "cuda":
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()
    times = os.times()
    return times.user + times.system


def report(tokens: int, slots: int, seconds: float, losses: Sequence[float]) -> None:
    """Print what a scheme did after its warm-up step, as the line that the parent process reads."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    found = {"tokens": tokens, "slots": slots, "cpu_s": seconds, "peak_gb": peak, "losses": list(losses)}
    if os.environ[_DEVICE] == "cuda":
        import torch

        from evolcoder.train.measurements import model_flops_utilization

        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        n = int(os.environ[_PARAMETERS])
        found["mfu"] = model_flops_utilization(n, n, tokens / seconds, torch.device("cuda"))
    print(json.dumps(found))


def documents(data: str, n_rows: int, seed: int) -> tuple[Any, Any, Any]:
    """Return (model in fp32, tokenizer, tokenized sample of rows)."""
    from evolcoder.instructions import read_instructions
    from evolcoder.models.local.weights import load_weights
    from evolcoder.train.tokenization import tokenize

    model, tokenizer = load_weights(os.environ[_BASE], "fp32")
    os.environ[_PARAMETERS] = str(model.num_parameters())
    rows = random.Random(seed).sample(read_instructions(data), n_rows)
    return model, tokenizer, tokenize(rows, tokenizer, "wizardcoder", 2048)


def run_evolcoder(data: str, n_steps: int, seed: int, checkpointing: bool) -> None:
    from evolcoder.heap import heap_kept
    from evolcoder.train.packing import Step, best_fit
    from evolcoder.train.processes import join_processes
    from evolcoder.train.settings import Precision, TrainSettings
    from evolcoder.train.step import prepare

    model, _, rows = documents(data, ROWS_A_STEP * (n_steps + 1), seed)
    dtype = cast("Precision", os.environ[_DTYPE])
    settings = TrainSettings(batch_size=ROWS_A_STEP, gradient_checkpointing=checkpointing, dtype=dtype)
    training = prepare(model, rows, settings, join_processes(), pad=2)
    lengths = [int(n) for n in rows.lengths]
    losses, begin = [], 0.0
    with heap_kept() as after_step:
        for number in range(n_steps + 1):
            begin = cpu_seconds() if number == 1 else begin
            first = ROWS_A_STEP * number
            packs = best_fit(lengths[first : first + ROWS_A_STEP], 2048)
            step = Step(tuple(tuple(first + i for i in pack) for pack in packs))
            losses.append(training.loss_and_gradients(step, number, lambda n: None))
            training.update.step(2e-5)
            after_step()
        tokens = sum(lengths[ROWS_A_STEP:])
        report(tokens, tokens, cpu_seconds() - begin, losses)


def run_published(data: str, n_steps: int, seed: int) -> None:
    """The seeds' script on today's transformers: Trainer, pad to longest, gradient checkpointing."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    model, tokenizer, rows = documents(data, ROWS_A_STEP * (n_steps + 1), seed)
    items = [
        {
            "input_ids": torch.from_numpy(rows.document(i).astype("int64")),
            "labels": torch.tensor(
                [-100] * int(rows.prompt_lengths[i]) + rows.document(i)[rows.prompt_lengths[i] :].tolist()
            ),
        }
        for i in range(len(rows))
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        pad = torch.nn.utils.rnn.pad_sequence
        lengths = torch.tensor([len(item["input_ids"]) for item in batch])
        ids = pad(
            [item["input_ids"] for item in batch], batch_first=True, padding_value=tokenizer.pad_token_id
        )
        labels = pad([item["labels"] for item in batch], batch_first=True, padding_value=-100)
        return {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
        }

    clock = _clock_after_first_step(TrainerCallback)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=ROWS_A_STEP,
            max_steps=n_steps + 1,
            learning_rate=2e-5,
            bf16=os.environ[_DTYPE] == "bf16",
            use_cpu=os.environ[_DEVICE] == "cpu",
            gradient_checkpointing=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            train_sampling_strategy="sequential",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=items, data_collator=collate, callbacks=[clock]
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    lengths = rows.lengths[ROWS_A_STEP:].reshape(n_steps, ROWS_A_STEP)
    slots = int(lengths.max(axis=1).sum()) * ROWS_A_STEP
    report(int(lengths.sum()), slots, clock.seconds, losses)


def run_trl(data: str, n_steps: int, seed: int) -> None:
    """TRL's SFTTrainer, packing on (best-fit decreasing), everything else at its defaults."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    # A packed row of 2,048 tokens holds about 16 rows of the data, so one packed row a step is the same work.
    model, tokenizer, rows = documents(data, ROWS_A_STEP * (n_steps + 1), seed)
    items = [
        {
            "input_ids": rows.document(i).tolist(),
            "completion_mask": [0] * int(rows.prompt_lengths[i]) + [1] * int(rows.supervised[i]),
        }
        for i in range(len(rows))
    ]
    clock = _clock_after_first_step(TrainerCallback)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=1,
            num_train_epochs=1,
            learning_rate=2e-5,
            bf16=os.environ[_DTYPE] == "bf16",
            use_cpu=os.environ[_DEVICE] == "cpu",
            packing=True,
            max_length=2048,
            completion_only_loss=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            train_sampling_strategy="sequential",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(items),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        counted = [len(row["input_ids"]) for row in trainer.train_dataset]
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report(sum(counted[1:]), sum(counted[1:]), clock.seconds, losses)


def _clock_after_first_step(base: type) -> Any:
    class Clock(base):  # type: ignore[misc]
        begin = seconds = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                self.begin = cpu_seconds()
            self.seconds = cpu_seconds() - self.begin

    return Clock()


def measure(scheme: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Run one scheme in a process of its own; None where its environment is not given."""
    python = options.trl_python if scheme == "trl" else sys.executable
    if python is None:
        return None
    command = [python, __file__, "--data", options.data, "--steps", str(options.steps), "--only", scheme]
    command += ["--seed", str(options.seed), "--base", options.base]
    command += ["--device", options.device, "--dtype", options.dtype]
    source = str(Path(__file__).resolve().parents[1] / "src")  # TRL's environment has its own packages
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "PYTHONPATH": source}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="rows (JSON, JSONL or Parquet)")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of 16 rows")
    parser.add_argument("--seed", type=int, default=0, help="which rows are drawn")
    parser.add_argument("--base", default="embedded", help="the model")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"), help="of all schemes")
    parser.add_argument("--trl-python", help="a Python that has TRL; left out where absent")
    parser.add_argument("--schemes", nargs="*", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--only", choices=SCHEMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update({_BASE: options.base, _DEVICE: options.device, _DTYPE: options.dtype})
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.only == "published":
        run_published(options.data, options.steps, options.seed)
    elif options.only == "trl":
        run_trl(options.data, options.steps, options.seed)
    elif options.only:
        run_evolcoder(options.data, options.steps, options.seed, options.only.endswith("checkpointing"))
    if options.only:
        return
    print(
        "| scheme | useful tokens | padding | CPU s | tokens per CPU s | x published | x TRL | peak GB "
        "| x published |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rates: dict[str, float] = {}
    first_peak = None
    for scheme in options.schemes:
        found = measure(scheme, options)
        if found is None:
            print(f"| {scheme} | not measured: --trl-python is not given | | | | | | | |")
            continue
        rate = rates[scheme] = found["tokens"] / found["cpu_s"]
        first_peak = first_peak or found["peak_gb"]
        ratios = [f"{rate / rates[peer]:.2f}" if peer in rates else "" for peer in ("published", "trl")]
        print(
            f"| {scheme} | {found['tokens']:,} | {1 - found['tokens'] / found['slots']:.1%} "
            f"| {found['cpu_s']:.1f} | {rate:.1f} | {ratios[0]} | {ratios[1]} | {found['peak_gb']:.1f} "
            f"| {found['peak_gb'] / first_peak:.2f} |",
            flush=True,
        )
        if "mfu" in found:
            print(f"\n{scheme}: {found['mfu'] or 0.0:.1%} of the device's bf16 peak\n", flush=True)


if __name__ == "__main__":
    main()
