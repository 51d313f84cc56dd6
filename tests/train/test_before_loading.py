"""What can be known to go wrong is said before any weight is loaded, by the plan and by the training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.errors import EvolcoderError
from evolcoder.instructions import write_instructions
from evolcoder.models.local.engine import TransformersEngine
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import load_weights
from evolcoder.models.protocol import Request
from evolcoder.train import TrainSettings, train
from evolcoder.train.export import check_place
from evolcoder.train.plan import plan_text, plan_training
from evolcoder.train.recipes import training_from


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> Any:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("evolcoder.train.trainer.load_weights", load)


def says(base: str, settings: TrainSettings, tmp_path: Path) -> str:
    """Return the one message that plan and training end with."""
    write_instructions(tmp_path / "rows.jsonl", rows())
    values = {"epochs": settings.epochs, "max_steps": settings.max_steps, "max_length": settings.max_length}
    planned = training_from({}, base, (str(tmp_path / "rows.jsonl"),), values)
    messages = []
    for run in (
        lambda: plan_training(planned, gpus=1, gpu_gb=80),
        lambda: train(base, rows(), settings, tmp_path / "out"),
    ):
        with pytest.raises(EvolcoderError) as raised:
            run()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert not list(tmp_path.glob("out*"))
    return messages[0]


def test_rows_longer_than_learned_positions(no_weights: None, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "gpt_bigcode", n_positions=128)
    message = says(base, replace(SETTINGS, max_length=512), tmp_path)
    assert "gpt_bigcode has 128 positions: max_length: 128 cuts them" in message.replace(
        "cuts it", "cuts them"
    )


def test_rows_longer_than_rotary_positions_are_noted(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", max_position_embeddings=128)
    write_instructions(tmp_path / "rows.jsonl", rows())
    plan = plan_training(training_from({}, base, (str(tmp_path / "rows.jsonl"),), {}), gpus=1, gpu_gb=80)
    assert any("the model was trained for 128" in note for note in plan.notes)


def test_tokens_without_an_embedding(no_weights: None, tmp_path: Path) -> None:
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    base = save_tiny(tmp_path / "base", vocab_size=200, **ids)
    assert "the model has embeddings for 200" in says(base, SETTINGS, tmp_path)
    with pytest.raises(EvolcoderError, match=r"a prompt holds the token .* embeddings for 200"):
        TransformersEngine(base, LocalSettings(dtype="fp32")).answer(
            [Request("Grüße ÿ\N{LATIN SMALL LETTER O}")]
        )


def test_no_step_to_take(no_weights: None, tiny: str, tmp_path: Path) -> None:
    message = says(tiny, replace(SETTINGS, max_steps=None, epochs=0.01), tmp_path)
    assert message.startswith("no step to take: epochs 0.01 of 12 rows is less than one row")


def test_a_warm_up_that_is_shortened_is_said_and_no_step_learns_nothing(tiny: str, tmp_path: Path) -> None:
    lines: list[str] = []
    settings = replace(SETTINGS, warmup_steps=30, max_steps=4)
    result = train(tiny, rows(), settings, tmp_path / "out", Noted(lines))
    assert "warm-up: 2 of 4 steps; warmup_steps 30 is more than half" in lines
    steps = json.loads((result.folder / "training.json").read_text())["steps"]
    assert [step["learning_rate"] for step in steps][:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])


class Noted:
    """Progress that keeps the notes."""

    def __init__(self, lines: list[str]) -> None:
        self.note = lines.append

    def bar(self, *arguments: Any, **options: Any) -> Any:
        from evolcoder.progress import SilentProgress

        return SilentProgress().bar(*arguments, **options)


def test_a_folder_that_cannot_be_the_output(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    for out, message in ((Path(), "holds 'notes.txt'"), (base, "holds 'chat_template.jinja'")):
        with pytest.raises(EvolcoderError, match=message):
            check_place(out, str(base))
        with pytest.raises(EvolcoderError, match=message):
            train(str(base), rows(), SETTINGS, out)


def test_a_tokenizer_without_end_or_padding_token(no_weights: None, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    shutil.rmtree(base)
    save_tiny(tmp_path / "base")
    tokenizer.save_pretrained(base)
    assert "no end-of-sequence token" in says(base, SETTINGS, tmp_path)


def test_the_plan_prints_the_hyperparameters_and_counts_tied_embeddings_once(tmp_path: Path) -> None:
    write_instructions(tmp_path / "rows.jsonl", rows())
    plans = [
        plan_training(
            training_from({}, save_tiny(tmp_path / name, tie_word_embeddings=tied), (), {"layers": 1}),
            gpus=1,
            gpu_gb=80,
        )
        for name, tied in (("tied", True), ("untied", False))
    ]
    assert plans[1].parameters - plans[0].parameters == 259 * 32
    assert plans[0].trainable == plans[1].trainable
    text = plan_text(plans[0])
    assert "hyperparameters: epochs 3, max_steps none, batch_size 512" in text
    assert "rows: packed, once its weights have shown" in text


def test_a_gguf_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    from evolcoder.models.local.weights import locate_weights

    try:
        whole = Path(locate_weights("embedded"))
    except EvolcoderError:
        pytest.skip("the embedded model is not installed")
    with whole.open("rb") as f:
        for size in (2_000, 3_000_000):
            f.seek(0)
            path = tmp_path / f"cut{size}.GGUF"
            path.write_bytes(f.read(size))
            with pytest.raises(EvolcoderError, match=r"cut\d+\.GGUF") as raised:
                load_weights(str(path))
            assert "\n" not in str(raised.value)
