"""Is packed training the published training? The same numbers by three routes, in fp32, SmolLM2-135M.

    python bench/parity.py --data code_alpaca_20k.json --trl-python /tmp/trl/bin/python

Loss and gradient of the first step on 64 rows: the published scheme row by row with plain transformers; this
project's packed rows; TRL's SFTTrainer, unpacked (bench/peers/trl_loss.py). Then 20 optimizer steps of 3 rows
by the published scheme and packed, loss against loss.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.instructions import read_instructions
from evolcoder.models.local.weights import load_weights
from evolcoder.records import Instruction
from evolcoder.train.optimizer import learning_rate
from evolcoder.train.packing import Step, best_fit
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings
from evolcoder.train.step import PreparedModel, prepare
from evolcoder.train.tokenization import tokenize

ROWS, STEPS, ROWS_A_STEP = 64, 20, 3
SETTINGS = TrainSettings(dtype="fp32", warmup_steps=2)


def published(model: Any, tokenizer: Any, rows: list[Instruction]) -> float:
    """Add the gradients of the batch's mean loss, row by row without packing, and return the loss."""
    texts = [
        (
            tokenizer(instruction_prompt(row.instruction, row.input), add_special_tokens=False).input_ids,
            [*tokenizer(row.response, add_special_tokens=False).input_ids, tokenizer.eos_token_id],
        )
        for row in rows
    ]
    supervised = sum(len(response) for _, response in texts)
    total = 0.0
    for prompt, response in texts:
        labels = torch.tensor([-100] * len(prompt) + response)
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
        loss = functional.cross_entropy(logits[:-1].float(), labels[1:], reduction="sum") / supervised
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def packed_step(lengths: list[int], documents: list[int]) -> Step:
    packs = best_fit([lengths[i] for i in documents], 2048)
    return Step(tuple(tuple(documents[i] for i in pack) for pack in packs))


def norm_of_difference(one: Any, two: Any) -> tuple[float, float]:
    """Return (relative norm of the gradients' difference, norm of the first's gradient)."""
    pairs = list(zip(one.parameters(), two.parameters(), strict=True))
    difference = sum(float((a.grad - b.grad).square().sum()) for a, b in pairs)
    norm = sum(float(a.grad.square().sum()) for a, _ in pairs)
    return (difference / norm) ** 0.5, norm**0.5


def twenty_steps(plain: Any, training: PreparedModel, tokenizer: Any, rows: list[Instruction]) -> float:
    """Train both by the same steps; return the largest difference of two losses."""
    adamw = torch.optim.AdamW(plain.parameters(), lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    lengths = [int(n) for n in training.data.lengths]
    largest = 0.0
    for number in range(STEPS):
        documents = [(number * ROWS_A_STEP + k) % ROWS for k in range(ROWS_A_STEP)]
        rate = learning_rate(number, STEPS, SETTINGS)
        theirs = published(plain, tokenizer, [rows[i] for i in documents])
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        adamw.param_groups[0]["lr"] = rate
        adamw.step()
        adamw.zero_grad()
        ours = training.loss_and_gradients(packed_step(lengths, documents), number, lambda n: None)
        training.update.step(rate)
        largest = max(largest, abs(ours - theirs))
        print(f"    step {number + 1}: published {theirs:.6f}, packed {ours:.6f}", flush=True)
    return largest


def first_step(
    plain: Any, training: PreparedModel, tokenizer: Any, rows: list[Instruction], options: argparse.Namespace
) -> None:
    """Compare loss and gradient of one step of all rows, and TRL's loss where it is at hand."""
    data, model = training.data, training.model
    whole = packed_step([int(n) for n in data.lengths], list(range(len(data))))
    ours = training.loss_and_gradients(whole, 0, lambda n: None)
    theirs = published(plain, tokenizer, rows)
    relative, norm = norm_of_difference(plain, model)
    print(f"loss of {ROWS} rows: published {theirs:.8f}, packed {ours:.8f}: {abs(ours - theirs):.1e} apart")
    print(f"gradient: relative difference {relative:.1e} (norm {norm:.6f})")
    for parameter in (*plain.parameters(), *model.parameters()):
        parameter.grad = None
    if options.trl_python:
        peer = Path(__file__).with_name("peers") / "trl_loss.py"
        command = [options.trl_python, str(peer), "--data", options.data, "--rows", str(ROWS)]
        source = str(Path(__file__).resolve().parents[1] / "src")
        env = {**os.environ, "PYTHONPATH": source}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
        trl = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"TRL, unpacked: loss {trl['loss']:.8f}, {abs(ours - trl['loss']):.1e} from packed; "
            f"gradient norm {trl['grad_norm']:.6f}; {trl['supervised']:,} supervised tokens "
            f"(here {int(data.supervised.sum()):,})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="rows (JSON, JSONL or Parquet)")
    parser.add_argument("--trl-python", help="a Python that has TRL; left out where absent")
    parser.add_argument("--parts", nargs="*", default=["first", "twenty"], choices=["first", "twenty"])
    options = parser.parse_args()
    rows = read_instructions(options.data)[:ROWS]
    model, tokenizer = load_weights("embedded", "fp32")
    plain, _ = load_weights("embedded", "fp32")
    data = tokenize(rows, tokenizer, "wizardcoder", 2048)
    training = prepare(model, data, SETTINGS, Processes(0, 1, torch.device("cpu")), pad=2)

    if "first" in options.parts:
        first_step(plain, training, tokenizer, rows, options)
    if "twenty" in options.parts:
        largest = twenty_steps(plain, training, tokenizer, rows)
        print(f"{STEPS} steps: losses at most {largest:.1e} apart")


if __name__ == "__main__":
    main()
