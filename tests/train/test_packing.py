"""Which documents share a row, and which a step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.train.packing import best_fit, plan_steps
from evolcoder.train.settings import TrainSettings

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=200)


@given(LENGTHS)
def test_every_document_is_packed_once_and_no_row_overflows(lengths: list[int]) -> None:
    bins = best_fit(lengths, 64)
    assert sorted(i for bin_ in bins for i in bin_) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in bin_) <= 64 for bin_ in bins)


@given(LENGTHS)
def test_no_two_rows_fit_into_one(lengths: list[int]) -> None:
    sums = sorted(sum(lengths[i] for i in bin_) for bin_ in best_fit(lengths, 64))
    assert len(sums) < 2 or sums[0] + sums[1] > 64


@given(LENGTHS, st.integers(1, 50), st.booleans(), st.integers(1, 3))
def test_an_epoch_sees_every_document_once(lengths: list[int], size: int, packing: bool, epochs: int) -> None:
    settings = TrainSettings(epochs=epochs, batch_size=size, max_length=64, packing=packing)
    steps = plan_steps(np.array(lengths), settings)
    seen = Counter(i for step in steps for i in step.documents)
    assert seen == dict.fromkeys(range(len(lengths)), epochs)
    assert all(len(step.documents) <= size for step in steps)


def test_a_batch_in_tokens_holds_that_many() -> None:
    lengths = np.random.default_rng(0).integers(10, 100, size=2000)
    settings = TrainSettings(epochs=1, batch_tokens=4096, max_length=512)
    steps = plan_steps(lengths, settings)
    tokens = [int(lengths[step.documents].sum()) for step in steps]
    assert all(n <= 4096 for n in tokens)
    assert sum(n < 4000 for n in tokens) <= 3  # the last rows of an epoch are not full


def test_max_steps_wins_over_epochs_and_the_seed_sets_the_order() -> None:
    lengths = np.full(10, 5)
    one = plan_steps(lengths, TrainSettings(max_steps=7, batch_size=4, max_length=16))
    assert len(one) == 7
    assert one == plan_steps(lengths, TrainSettings(max_steps=7, batch_size=4, max_length=16))
    assert one != plan_steps(lengths, TrainSettings(max_steps=7, batch_size=4, max_length=16, seed=1))


def test_a_half_epoch_sees_half_the_documents() -> None:
    steps = plan_steps(np.full(10, 5), TrainSettings(epochs=1.5, batch_size=4, max_length=16))
    assert sum(len(step.documents) for step in steps) == 15


def test_code_alpaca_fills_99_percent_of_its_rows(data_folder: Path) -> None:
    from evolcoder.instructions import read_instructions

    rows = read_instructions(data_folder / "codealpaca" / "code_alpaca_20k.json.gz")
    # Four characters a token is near enough for a distribution of lengths; the tokenizer itself takes longer.
    lengths = [min(2048, 40 + len(r.instruction + r.input + r.response) // 4) for r in rows]
    assert sum(lengths) / (2048 * len(best_fit(lengths, 2048))) >= 0.99


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"epochs": -1}, "epochs must be above 0"),
        ({"pack_length": 100}, "pack_length must be at least max_length"),
        ({"quantize": "4bit"}, "give lora a rank"),
        ({"tracking": ("excel",)}, "found excel"),
        ({"lora": 8, "layers": 2}, "one of the two"),
    ],
)
def test_an_impossible_setting_is_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainSettings(**setting)
