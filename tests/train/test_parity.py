"""Packed training computes what the plain models compute, document by document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.tiny import FAMILIES, byte_tokenizer, rows, tiny_model
from torch.nn import functional

from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.instructions import read_instructions
from evolcoder.train.loss import SummedLoss, packed_row, padded_rows
from evolcoder.train.optimizer import learning_rate
from evolcoder.train.packing import Step, micro_batches
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings
from evolcoder.train.step import prepare
from evolcoder.train.tokenization import TokenizedData, tokenize

ALONE = Processes(0, 1, torch.device("cpu"))
FP32 = TrainSettings(dtype="fp32", max_length=1024, warmup_steps=0)


def published_loss(model: Any, tokenizer: Any, examples: list[Any]) -> torch.Tensor:
    """Mean loss as the published script defines it: right padding, prompt masked, end token appended."""
    ids, labels = [], []
    for row in examples:
        prompt = tokenizer(instruction_prompt(row.instruction, row.input), add_special_tokens=False).input_ids
        response = [*tokenizer(row.response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        ids.append(torch.tensor(prompt + response))
        labels.append(torch.tensor([-100] * len(prompt) + response))
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    masked = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    lengths = torch.tensor([len(x) for x in ids])
    mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
    logits = model(input_ids=padded, attention_mask=mask.long()).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), masked[:, 1:].flatten())


def data_of(n: int) -> TokenizedData:
    return tokenize(rows(n), byte_tokenizer(), "wizardcoder", 1024)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_loss_and_gradients_equal_those_of_each_row_alone(family: str) -> None:
    data = data_of(6)
    plain = tiny_model(family).eval()
    packed = tiny_model(family)
    training = prepare(packed, data, FP32, ALONE, pad=257)
    packed.eval()  # no dropout, so that the two can be compared
    n = int(data.supervised.sum())

    loss = training.loss(packed_row(data, (4, 0, 2, 5, 1, 3))) / n
    loss.backward()
    expected = torch.zeros(())
    for i in range(6):
        row = packed_row(data, (i,))
        logits = plain(input_ids=row.input_ids).logits[0]
        expected = (
            expected + functional.cross_entropy(logits[row.supervised_S], row.targets_S, reduction="sum") / n
        )
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    difference = sum(
        (a.grad - b.grad).square().sum() for a, b in zip(packed.parameters(), plain.parameters(), strict=True)
    )
    norm = sum(p.grad.square().sum() for p in plain.parameters())
    assert (difference / norm).sqrt().item() < 1e-4


def test_padded_rows_give_the_same_loss_as_packed_ones() -> None:
    data, model = data_of(5), tiny_model()
    training = prepare(model, data, FP32, ALONE, pad=257)
    packed = training.loss(packed_row(data, (0, 1, 2, 3, 4))).item()
    model.set_attn_implementation("sdpa")
    assert SummedLoss(model)(padded_rows(data, (0, 1, 2, 3, 4), 257)).item() == pytest.approx(
        packed, rel=1e-5
    )


def test_twenty_steps_follow_the_published_scheme() -> None:
    examples, tokenizer = rows(12), byte_tokenizer()
    data = tokenize(examples, tokenizer, "wizardcoder", 1024)
    settings = TrainSettings(
        dtype="fp32", max_length=1024, learning_rate=1e-3, warmup_steps=3, max_steps=20, pack_length=2048
    )
    training = prepare(tiny_model(), data, settings, ALONE, pad=257)
    plain = tiny_model()
    adamw = torch.optim.AdamW(plain.parameters(), lr=0.0, weight_decay=0.0)
    ours, theirs = [], []
    for number in range(20):
        documents = tuple((number * 4 + k) % 12 for k in range(4))
        step = Step((documents[:3], documents[3:]))  # two micro-batches count as one batch
        ours.append(training.loss_and_gradients(step, number, lambda n: None))
        training.update.step(learning_rate(number, 20, settings))
        loss = published_loss(plain, tokenizer, [examples[i] for i in documents])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        adamw.param_groups[0]["lr"] = learning_rate(number, 20, settings)
        adamw.step()
        adamw.zero_grad()
        theirs.append(loss.item())
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours[-1] < ours[0] - 0.2


@pytest.fixture(scope="module")
def alpaca(data_folder: Path) -> list[Any]:
    """The 10 first rows of Code Alpaca; `bench/parity.py` takes 64."""
    return read_instructions(data_folder / "codealpaca" / "code_alpaca_20k.json.gz")[:10]


@pytest.fixture(scope="module")
def embedded() -> tuple[Any, Any]:
    """SmolLM2-135M in fp32, and its tokenizer."""
    from evolcoder.models.local.weights import load_weights

    return load_weights("embedded", "fp32")


@pytest.fixture
def both_threads() -> Iterator[None]:
    """A real model gains from the threads that tiny ones lose by."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


def packed_loss(model: Any, data: TokenizedData, settings: TrainSettings = FP32) -> tuple[float, Any]:
    """Mean loss of all documents as training computes it, and what training holds."""
    training = prepare(model, data, settings, ALONE, pad=2)
    packs = micro_batches(range(len(data)), data.lengths, settings)
    total = sum(training.loss(training.batch(pack)).item() for pack in packs)
    return total / int(data.supervised.sum()), training


@pytest.mark.usefixtures("both_threads")
def test_real_rows_start_at_the_published_scheme_s_loss(alpaca: list[Any], embedded: tuple[Any, Any]) -> None:
    model, tokenizer = embedded
    data = tokenize(alpaca, tokenizer, "wizardcoder", 2048)
    assert len(data) == 10
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        unpacked = torch.stack([summed(published_logits(model, tokenizer, row)) for row in alpaca])
        expected = unpacked.sum().item() / int(data.supervised.sum())
        ours, _ = packed_loss(model, data)
    assert ours == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("both_threads")
def test_real_rows_have_the_published_scheme_s_gradients(
    alpaca: list[Any], embedded: tuple[Any, Any]
) -> None:
    model, tokenizer = embedded
    shortest = sorted(alpaca, key=lambda row: len(row.instruction + row.input + row.response))[:4]
    data = tokenize(shortest, tokenizer, "wizardcoder", 2048)
    model.set_attn_implementation("sdpa")
    n = int(data.supervised.sum())
    for row in shortest:
        (summed(published_logits(model, tokenizer, row)) / n).backward()
    expected = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    training = prepare(model, data, FP32, ALONE, pad=2)
    training.loss_and_gradients(Step((tuple(range(4)),)), 0, lambda n: None)
    difference = sum((p.grad - g).square().sum() for p, g in zip(model.parameters(), expected, strict=True))
    norm = sum(g.square().sum() for g in expected)
    model.zero_grad(set_to_none=True)
    assert (difference / norm).sqrt().item() < 1e-4


def published_logits(model: Any, tokenizer: Any, row: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of one row alone by plain transformers, and its labels as the published script masks them."""
    prompt = tokenizer(instruction_prompt(row.instruction, row.input), add_special_tokens=False).input_ids
    response = [*tokenizer(row.response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    return logits, torch.tensor([-100] * len(prompt) + response)


def summed(logits_and_labels: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    logits, labels = logits_and_labels
    # In fp64: over 49,152 classes PyTorch's fp32 sum alone is off by up to 6e-6 on a CPU, half the tolerance.
    return functional.cross_entropy(logits[:-1].double(), labels[1:], reduction="sum")


@pytest.mark.usefixtures("both_threads")
def test_trl_s_unpacked_trainer_starts_at_the_same_loss(
    alpaca: list[Any], embedded: tuple[Any, Any], data_folder: Path
) -> None:
    python = os.environ.get("EVOLCODER_TRL_PYTHON") or (sys.executable if find_spec("trl") else None)
    if python is None:
        pytest.skip(
            "needs TRL: python -m venv trl && trl/bin/pip install trl==1.16.* . && "
            "export EVOLCODER_TRL_PYTHON=trl/bin/python"
        )
    repository = Path(__file__).resolve().parents[2]
    rows_file = data_folder / "codealpaca" / "code_alpaca_20k.json.gz"
    done = subprocess.run(
        [
            python,
            str(repository / "bench" / "peers" / "trl_loss.py"),
            "--data",
            str(rows_file),
            "--rows",
            "10",
        ],
        env={**os.environ, "PYTHONPATH": str(repository / "src"), "OMP_NUM_THREADS": str(os.cpu_count())},
        capture_output=True,
        text=True,
        check=True,
    )
    trl = json.loads(done.stdout.strip().splitlines()[-1])
    model, tokenizer = embedded
    data = tokenize(alpaca, tokenizer, "wizardcoder", 2048)
    with torch.no_grad():
        ours, _ = packed_loss(model, data)
    assert trl["supervised"] == int(data.supervised.sum())
    assert ours == pytest.approx(trl["loss"], abs=1e-5)


def test_many_chunks_of_the_head_give_the_loss_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(8)
    batch = packed_row(data, tuple(range(4)))
    results = []
    for at_once in (1 << 25, 1):
        monkeypatch.setattr("evolcoder.train.loss._LOGITS_AT_ONCE", at_once)
        model = tiny_model()
        loss = prepare(model, data, FP32, ALONE, pad=257).loss(batch)
        loss.backward()
        results.append((loss.item(), model.get_input_embeddings().weight.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-5)
