"""The loss on rows that are not trained on: which rows, when it is measured, where it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.train.test_training import SETTINGS, Notes, bytes_of, stopped_at
from tests.train.tiny import rows

from evolcoder.errors import DataError
from evolcoder.records import Lineage
from evolcoder.train import train
from evolcoder.train.tokenization import split_held_out

MEASURED = replace(SETTINGS, eval_rows=3, eval_every_steps=8, max_steps=20)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(1, 10), st.integers(0, 5))
def test_a_family_is_never_on_both_sides(seeds: list[int], n_rows: int, seed: int) -> None:
    data = [
        replace(row, lineage=Lineage(seed_id=f"s{k}")) for row, k in zip(rows(len(seeds)), seeds, strict=True)
    ]
    try:
        trained, held = split_held_out(data, n_rows, seed)
    except DataError:
        return  # nothing would be left to train on
    assert sorted(row.id for row in (*trained, *held)) == sorted(row.id for row in data)
    families = [{row.lineage.seed_id for row in side} for side in (trained, held)]
    assert not families[0] & families[1]
    assert len(held) >= n_rows and trained


def test_more_held_out_rows_than_there_are_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"eval_rows: 12 of 12 rows.*leave nothing to train on"):
        split_held_out(rows(12), 12, 0)


def test_the_held_out_loss_is_measured_before_during_and_after(tiny: str, tmp_path: Path) -> None:
    notes = Notes()
    settings = replace(MEASURED, tracking=("tensorboard",), log_every_steps=5)
    result = train(tiny, rows(), settings, tmp_path / "out", notes, held_out=rows(14)[12:])
    assert [step for step, _ in result.held_out_losses] == [0, 8, 16, 20]
    assert result.held_out_losses[-1][1] < result.held_out_losses[0][1]
    assert "step 0: loss" in "\n".join(notes.lines) and "5 held-out rows" in "\n".join(notes.lines)
    facts = json.loads((result.folder / "training.json").read_text())
    assert facts["rows"] == 9
    assert "held-out loss, before and after" in (result.folder / "README.md").read_text()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(result.folder / "tensorboard"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("held_out_loss")] == [0, 8, 16, 20]
    assert {"loss", "tokens_per_second", "padding_share", "memory_gb"} <= set(curves.Tags()["scalars"])


def test_measuring_changes_nothing_and_survives_a_stop(tiny: str, tmp_path: Path) -> None:
    whole = train(tiny, rows(), MEASURED, tmp_path / "whole")
    stopped_at(11, tiny, tmp_path / "stopped", MEASURED)
    resumed = train(tiny, rows(), MEASURED, tmp_path / "stopped")
    assert resumed.resumed_from == 9
    assert resumed.held_out_losses == whole.held_out_losses
    often = train(tiny, rows(), replace(MEASURED, eval_every_steps=1), tmp_path / "often")
    assert len(often.held_out_losses) == 21
    assert bytes_of(whole.folder) == bytes_of(resumed.folder) == bytes_of(often.folder)
