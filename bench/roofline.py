"""How near to the limit of the machine: training and generation, part by part.

    OMP_NUM_THREADS=1 python bench/roofline.py --data code_alpaca_20k.json

Measures the machine first: matrix products at the model's own shapes (forward, and in training both of
the backward pass) and copies in memory. Then one training step of 16 rows and two workloads of
`bench/generate.py`, smaller, run once by the clock and once under torch's profiler, which says what share
each part has. `possible` is what the part would take at the rates measured: products at the rate of their
shapes; weights, keys and values and optimizer state at the rate of memory; what a perfect program would fuse
away (norms, elementwise steps, softmax, Python) has none. Seconds are CPU seconds of one thread, which other
work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from evolcoder.heap import heap_kept
from evolcoder.instructions import read_instructions
from evolcoder.models.local import row_attention
from evolcoder.models.local.bf16_kernels import bf16_kernels
from evolcoder.models.local.engine import TransformersEngine, number_format
from evolcoder.models.local.settings import Dtype, LocalSettings
from evolcoder.models.local.weights import load_weights
from evolcoder.train.packing import Step, micro_batches
from evolcoder.train.processes import join_processes
from evolcoder.train.settings import TrainSettings
from evolcoder.train.step import prepare
from evolcoder.train.tokenization import tokenize
from generate import requests_of

ROWS_A_STEP = 16
ROW_COUNTS = (1, 8, 64, 512, 2048)
"""Rows of a product at which the machine is measured: one token, small and full batches, a prompt, a pack."""
PYTHON = "Python and what it waits for"


@dataclass(frozen=True)
class Machine:
    """What one core does at best."""

    flops: float
    """Of products at the decoder's shapes, FLOP a CPU second, at the best number of rows."""
    head_flops: float
    bytes_: float
    """Read and written by a copy too large for the caches, bytes a CPU second."""


@dataclass(frozen=True)
class Work:
    """What a workload has to do at least: FLOPs and bytes by part."""

    flops: dict[str, float]
    bytes_: dict[str, float]

    def possible(self, part: str, machine: Machine) -> float:
        """Return the least CPU seconds of a part."""
        rate = machine.head_flops if part == "head, loss, sampling" else machine.flops
        return max(self.flops.get(part, 0.0) / rate, self.bytes_.get(part, 0.0) / machine.bytes_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="rows to train on (JSON, JSONL or Parquet); without: no training")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", default="auto", choices=("auto", "bf16", "fp32"))
    parser.add_argument("--workloads", default="32x1,4x16", help="of generation; empty: none")
    parser.add_argument("--tokens", type=int, default=32, help="most new tokens an answer")
    options = parser.parse_args()
    options.dtype = number_format(options.dtype, "cpu")
    torch.set_num_threads(1)
    loaded: tuple[Any, Any] = load_weights(options.model, "fp32")
    model, tokenizer = loaded
    vocabulary, width = model.get_output_embeddings().weight.shape
    machine = measure_machine(linear_shapes(model), (width, vocabulary), options.dtype)
    if options.data:
        train_once(model, tokenizer, options, machine, vocabulary)
    del model, loaded
    record_kernels()
    engine = TransformersEngine(options.model, LocalSettings(dtype=_dtype(options.dtype)))
    for name in filter(None, options.workloads.split(",")):
        problems, _, n = name.partition("x")
        generate_once(engine, name, requests_of(int(problems), int(n), options.tokens), machine, vocabulary)


def record_kernels() -> None:
    """Have the profiler see the own kernels: layers are products for the most part."""

    def recorded(kernel: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*told: Any) -> Any:
            with record_function(part):
                return kernel(*told)

        return call

    library, of_rows = bf16_kernels(), row_attention.kernel_of_rows
    for name in ("linear", "layers", "prompt_attention") if library else ():
        part = "attention" if name == "prompt_attention" else "linear layers"
        setattr(library, name, recorded(getattr(library, name), part))

    def compiled(*told: Any) -> Any:
        kernel = of_rows(*told)
        return kernel and recorded(kernel, "attention")

    row_attention.kernel_of_rows = cache(compiled)


def _dtype(name: str) -> Dtype:
    return "bf16" if name == "bf16" else "fp32"


def linear_shapes(model: Any) -> Counter[tuple[int, int]]:
    """Return how often each shape (inputs, outputs) of a linear layer is in the decoder."""
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return Counter((layer.in_features, layer.out_features) for layer in layers)


def measure_machine(shapes: Counter[tuple[int, int]], head: tuple[int, int], dtype_name: str) -> Machine:
    """Print and return the rates of one core."""
    dtype = torch.bfloat16 if dtype_name == "bf16" else torch.float32
    print(f"GFLOP per CPU s of products in {dtype_name}: x W' / g W / g' x (backward from 64 rows on)\n")
    print("| in x out | " + " | ".join(f"{m} rows" for m in ROW_COUNTS) + " |")
    print("|---" * (len(ROW_COUNTS) + 1) + "|")
    best: dict[tuple[int, int], float] = {}
    for shape in [*shapes, head]:
        rates = [product_rates(shape, m, dtype) for m in ROW_COUNTS if m * shape[1] < 1 << 26]
        best[shape] = max(len(kinds) / sum(1.0 / r for r in kinds) for kinds in rates)
        cells = [" / ".join(f"{r / 1e9:.0f}" for r in kinds) for kinds in rates]
        print(f"| {shape[0]} x {shape[1]} | " + " | ".join(cells) + " |", flush=True)
    total = sum(n * i * o for (i, o), n in shapes.items())
    seconds = sum(n * i * o / best[i, o] for (i, o), n in shapes.items())
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / cpu_seconds_of(lambda: target.copy_(source))
    print(f"\nmemory: {copied / 1e9:.1f} GB read and written per CPU s\n", flush=True)
    return Machine(total / seconds, best[head], copied)


def product_rates(shape: tuple[int, int], rows: int, dtype: torch.dtype) -> list[float]:
    """Return FLOP a CPU second of the products of a linear layer."""
    x, w = torch.randn(rows, shape[0]).to(dtype), torch.randn(shape[1], shape[0]).to(dtype)
    g = torch.randn(rows, shape[1]).to(dtype)
    products: list[Callable[[], Any]] = [lambda: torch.nn.functional.linear(x, w)]
    if rows >= 64:
        products += [lambda: g @ w, lambda: g.T @ x]
    return [2.0 * rows * shape[0] * shape[1] / cpu_seconds_of(product) for product in products]


def cpu_seconds_of(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call, from calls over a tenth of a second."""
    call()
    begin, n = time.process_time(), 0
    while time.process_time() - begin < 0.1:
        call()
        n += 1
    return (time.process_time() - begin) / n


def train_once(
    model: Any, tokenizer: Any, options: argparse.Namespace, machine: Machine, vocabulary: int
) -> None:
    """Train three steps and print where the time of one goes."""
    decoder = sum(n * i * o for (i, o), n in linear_shapes(model).items())
    width = model.get_output_embeddings().weight.shape[1]
    rows = random.Random(0).sample(read_instructions(options.data), ROWS_A_STEP)
    data = tokenize(rows, tokenizer, "wizardcoder", 2048)
    settings = TrainSettings(batch_size=ROWS_A_STEP, dtype=options.dtype)
    training = prepare(model, data, settings, join_processes(), pad=tokenizer.pad_token_id)
    step = Step(micro_batches(range(len(data)), data.lengths, training.settings))

    def train() -> None:
        training.loss_and_gradients(step, 0, lambda n: None)
        with record_function("optimizer"):
            training.update.step(2e-5)

    tokens, supervised = int(data.lengths.sum()), int(data.supervised.sum())
    flops = {
        "linear layers": 6.0 * decoder * tokens,
        "head, loss, sampling": 6.0 * width * vocabulary * supervised,
        "attention": attention_flops(model, data.lengths),
    }
    # AdamW reads weight, gradient and two moments and writes three of them, in fp32; the norm reads the
    # gradient once more; the copy that the model computes with is written.
    state = training.trainable * (8 * 4 + (2 if options.dtype == "bf16" else 0))
    with heap_kept():
        train()  # the first step makes the optimizer's state
        seconds, shares = parts_of(train, vocabulary)
    print(f"**Training**: {tokens:,} tokens ({supervised:,} supervised), {tokens / seconds:.0f} a CPU s\n")
    print_parts(seconds, shares, Work(flops, {"optimizer": float(state)}), machine)


def attention_flops(model: Any, lengths: Any) -> float:
    """Return the FLOPs of causal attention inside documents, forward and backward (twice the forward)."""
    config = model.config.get_text_config()
    per_pair = 4.0 * float(config.hidden_size * config.num_hidden_layers)
    return 3.0 * per_pair * float((lengths.astype(float) ** 2).sum()) / 2.0


def generate_once(
    engine: TransformersEngine, name: str, requests: Sequence[Any], machine: Machine, vocabulary: int
) -> None:
    """Write the answers of one workload and print where the time goes."""
    shapes = linear_shapes(engine.model)
    decoder = sum(n * i * o for (i, o), n in shapes.items())
    head = engine.model.get_output_embeddings().weight
    short = replace(requests[0].sampling, max_tokens=3)
    engine.answer([replace(requests[0], sampling=short)])
    steps: list[int] = []
    before = engine.decoder.prompt_tokens_computed
    answers = engine.answer(list(requests), on_step=lambda tokens, ended: steps.append(tokens))
    prompts = engine.decoder.prompt_tokens_computed - before
    tokens = sum(answer.completion_tokens for answer in answers)
    rows = sum(steps)
    flops = {
        "linear layers": 2.0 * decoder * (prompts + rows),
        "head, loss, sampling": 2.0 * head.numel() * (len(requests) + rows),
    }
    config = engine.model.config.get_text_config()
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * head.element_size()
    bytes_ = {
        "linear layers": float(decoder * head.element_size() * len(steps)),
        "head, loss, sampling": float(head.nbytes * len(steps)),
        "attention": float(
            kept * sum(a.completion_tokens * (a.prompt_tokens + a.completion_tokens / 2) for a in answers)
        ),
    }
    seconds, shares = parts_of(lambda: engine.answer(list(requests)), vocabulary)
    print(
        f"**Generation {name}**: {prompts:,} prompt tokens, {tokens:,} written in {len(steps)} steps of "
        f"{rows / max(1, len(steps)):.0f} rows, {tokens / seconds:.0f} a CPU s\n"
    )
    print_parts(seconds, shares, Work(flops, bytes_), machine)


def parts_of(work: Callable[[], Any], vocabulary: int) -> tuple[float, dict[str, float]]:
    """Return the CPU seconds of `work`, and each part's share of them."""
    begin = os.times()
    work()
    end = os.times()
    with (
        profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled,
        record_function(PYTHON),
    ):
        work()
    times: Counter[str] = Counter()
    for event in profiled.key_averages(group_by_input_shape=True):
        sizes = {size for shape in event.input_shapes or () if isinstance(shape, list) for size in shape}
        times[part_of(event.key, vocabulary in sizes)] += int(event.self_cpu_time_total)
    total = sum(times.values())
    return (end.user + end.system) - (begin.user + begin.system), {p: t / total for p, t in times.items()}


def part_of(operation: str, over_vocabulary: bool) -> str:
    """Return the part of the work that an operation belongs to."""
    if any(word in operation for word in ("adamw", "AdamW", "optimizer", "foreach", "vector_norm")):
        return "optimizer"
    if over_vocabulary or "CrossEntropy" in operation:
        return "head, loss, sampling"
    if operation in ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise", "linear layers"):
        return "linear layers"
    if "scaled_dot_product" in operation or operation in ("aten::bmm", "attention"):
        return "attention"
    return PYTHON if operation == PYTHON else "norms, elementwise, copies"


def print_parts(seconds: float, shares: dict[str, float], work: Work, machine: Machine) -> None:
    """Print taken and possible seconds by part."""
    print("| part | CPU s | share | possible | possible / taken |")
    print("|---|---|---|---|---|")
    bound = 0.0
    for part, share in sorted(shares.items(), key=lambda item: -item[1]):
        possible = work.possible(part, machine)
        bound += possible
        print(
            f"| {part} | {share * seconds:.2f} | {share:.0%} | {possible:.2f} "
            f"| {possible / (share * seconds):.0%} |"
        )
    print(f"| all | {seconds:.2f} | 100% | {bound:.2f} | {bound / seconds:.0%} |\n", flush=True)


if __name__ == "__main__":
    main()
