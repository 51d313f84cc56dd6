"""Training from a base and rows to a model folder: exact, resumable, and loud when it cannot be right."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from traceback import StackSummary
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.train.tiny import rows, save_tiny
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

from evolcoder.errors import DataError, TrainingError
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.local.weights import load_weights
from evolcoder.progress import Bar, SilentProgress
from evolcoder.train import TrainSettings, train
from evolcoder.train.sanity_checks import rounding

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = TrainSettings(
    max_steps=20,
    batch_size=4,
    max_length=512,
    learning_rate=1e-3,
    warmup_steps=2,
    dtype="fp32",
    save_every_steps=3,
    tracking=(),
)


class Notes(SilentProgress):
    """Keeps the lines that stay."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def bytes_of(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def killed_at(step: int, tiny: str, out: Path, settings: TrainSettings = SETTINGS) -> None:
    """Train in a process of its own that gets SIGKILL right after a step."""
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from contextlib import contextmanager
from pathlib import Path
from evolcoder.train import TrainSettings, train
from tests.train.tiny import rows
class Bar:
    def advance(self, n=1, **facts):
        if facts.get("step") == "{step}/{settings.max_steps}":
            os.kill(os.getpid(), signal.SIGKILL)
class Killer:
    @contextmanager
    def bar(self, name, total):
        yield Bar()
    def note(self, line): pass
train({tiny!r}, rows(), {settings!r}, Path({str(out)!r}), Killer())
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()


class StoppedError(Exception):
    """Stands for whatever ends a process between two steps."""


class StopsAfter(SilentProgress):
    """Stops the training right after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        stop = self._step

        class StoppingBar:
            def advance(self, n: int = 1, **facts: str | float) -> None:
                if str(facts.get("step", "")).startswith(f"{stop}/"):
                    raise StoppedError

        yield StoppingBar()


def stopped_at(step: int, tiny: str, out: Path, settings: TrainSettings = SETTINGS) -> None:
    with pytest.raises(StoppedError):
        train(tiny, rows(), settings, out, StopsAfter(step))


def test_the_same_training_gives_the_same_bytes(tiny: str, tmp_path: Path) -> None:
    for dtype in ("fp32", "bf16"):
        settings = replace(SETTINGS, dtype=dtype, max_steps=6)
        one = train(tiny, rows(), settings, tmp_path / f"one-{dtype}")
        two = train(tiny, rows(), settings, tmp_path / f"two-{dtype}")
        assert one.losses == two.losses
        assert bytes_of(one.folder) == bytes_of(two.folder)


def test_a_killed_training_ends_as_if_it_had_never_been_killed(tiny: str, tmp_path: Path) -> None:
    whole = train(tiny, rows(), SETTINGS, tmp_path / "whole")
    killed_at(7, tiny, tmp_path / "killed")
    notes = Notes()
    resumed = train(tiny, rows(), SETTINGS, tmp_path / "killed", notes)
    assert resumed.resumed_from == 6
    assert any("continuing after step 6" in line for line in notes.lines)
    assert resumed.losses == whole.losses
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)
    assert not (tmp_path / "killed.steps").exists()


def test_a_stopped_bf16_training_with_dropout_resumes_exactly(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "bigcode", "gpt_bigcode")
    settings = replace(SETTINGS, dtype="bf16", max_steps=8, gradient_checkpointing=True)
    whole = train(base, rows(), settings, tmp_path / "whole")
    stopped_at(5, base, tmp_path / "killed", settings)
    resumed = train(base, rows(), settings, tmp_path / "killed")
    assert (resumed.resumed_from, resumed.losses) == (3, whole.losses)
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)


def test_a_checkpoint_cut_short_is_passed_over_for_the_one_before(tiny: str, tmp_path: Path) -> None:
    whole = train(tiny, rows(), SETTINGS, tmp_path / "whole")
    stopped_at(8, tiny, tmp_path / "killed")
    newest = tmp_path / "killed.steps" / "step-00000006"
    for file in newest.glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:-100])
    notes = Notes()
    resumed = train(tiny, rows(), SETTINGS, tmp_path / "killed", notes)
    assert resumed.resumed_from == 3
    assert any("cut short" in line and newest.name in line for line in notes.lines)
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)


def tell_sizes(step: Path) -> None:
    """Have a checkpoint name the sizes that its files have now."""
    facts = json.loads((step / "checkpoint.json").read_text())
    facts["files"] = {
        file.name: file.stat().st_size for file in step.iterdir() if file.name != "checkpoint.json"
    }
    (step / "checkpoint.json").write_text(json.dumps(facts))


class _OlderPickler(pickle.Pickler):
    """Writes members of an enumeration as Python 3.11.0 to 3.11.3 does."""

    def reducer_override(self, obj: object) -> object:
        return (getattr, (type(obj), obj.name)) if isinstance(obj, Enum) else NotImplemented


def test_a_checkpoint_of_an_older_python_is_read(tiny: str, tmp_path: Path) -> None:
    whole = train(tiny, rows(), SETTINGS, tmp_path / "whole")
    stopped_at(4, tiny, tmp_path / "out")
    step = tmp_path / "out.steps" / "step-00000003"
    metadata = pickle.loads((step / ".metadata").read_bytes())
    with (step / ".metadata").open("wb") as stream:
        _OlderPickler(stream).dump(metadata)
    assert b"getattr" in (step / ".metadata").read_bytes()
    tell_sizes(step)
    resumed = train(tiny, rows(), SETTINGS, tmp_path / "out")
    assert resumed.resumed_from == 3 and bytes_of(resumed.folder) == bytes_of(whole.folder)


class _Poison:
    """Makes a file when it is unpickled by whoever calls what it names."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def poison_the_list(step: Path, mark: Path) -> None:
    (step / ".metadata").write_bytes(pickle.dumps(_Poison(mark)))


def poison_an_item(step: Path, mark: Path) -> None:
    """Say that the first tensor is bytes, which torch would unpickle, and put a pickle there."""
    metadata = pickle.loads((step / ".metadata").read_bytes())
    index = next(iter(metadata.storage_data))
    metadata.state_dict_metadata[index.fqn] = BytesStorageMetadata()
    stored = metadata.storage_data.pop(index)
    stored.relative_path, stored.offset = "poison", 0
    metadata.storage_data[MetadataIndex(index.fqn)] = stored
    torch.save(_Poison(mark), step / "poison")
    stored.length = (step / "poison").stat().st_size
    (step / ".metadata").write_bytes(pickle.dumps(metadata))


def poison_a_tensor(step: Path, mark: Path) -> None:
    metadata = pickle.loads((step / ".metadata").read_bytes())
    for stored in metadata.storage_data.values():
        stored.relative_path, stored.offset = "poison", 0
        torch.save(_Poison(mark), step / "poison")
        stored.length = (step / "poison").stat().st_size
    (step / ".metadata").write_bytes(pickle.dumps(metadata))


def poison_by_getattr(step: Path, mark: Path) -> None:
    """Name a function by the attribute of another, as the list of an older Python names its formats."""
    (step / ".metadata").write_bytes(
        b"cbuiltins\ngetattr\n(ctorch.serialization\n_get_layout\nV__globals__\ntR."
    )


@pytest.mark.parametrize("poison", [poison_the_list, poison_an_item, poison_a_tensor, poison_by_getattr])
def test_a_resumed_checkpoint_runs_no_code(
    tiny: str, tmp_path: Path, poison: Callable[[Path, Path], None]
) -> None:
    stopped_at(4, tiny, tmp_path / "out")
    step, mark = tmp_path / "out.steps" / "step-00000003", tmp_path / "ran"
    poison(step, mark)
    tell_sizes(step)
    with pytest.raises(TrainingError, match="step-00000003"):
        train(tiny, rows(), SETTINGS, tmp_path / "out")
    assert not mark.exists()


def test_another_training_s_checkpoint_is_not_resumed_from(tiny: str, tmp_path: Path) -> None:
    stopped_at(4, tiny, tmp_path / "out")
    other = replace(SETTINGS, learning_rate=2e-3)
    fresh = train(tiny, rows(), other, tmp_path / "fresh")
    assert train(tiny, rows(), other, tmp_path / "out").resumed_from == 0
    assert bytes_of(tmp_path / "out") == bytes_of(fresh.folder)


def test_a_finished_training_is_not_done_again(tiny: str, tmp_path: Path) -> None:
    first = train(tiny, rows(), SETTINGS, tmp_path / "out")
    written = (first.folder / "model.safetensors").stat().st_mtime_ns
    again = train(tiny, rows(), SETTINGS, tmp_path / "out")
    assert again == first
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == written


def test_only_the_newest_checkpoints_are_kept(tiny: str, tmp_path: Path) -> None:
    stopped_at(13, tiny, tmp_path / "out", replace(SETTINGS, keep=2))
    assert sorted(p.name for p in (tmp_path / "out.steps").glob("step-*")) == [
        "step-00000009",
        "step-00000012",
    ]


# As torch reports it: from the system, or wrapped where the end of a file does not fit (seen on a tmpfs).
WRITER = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
FULL_DISK = {
    "system": OSError(28, "No space left on device"),
    "writer": CheckpointException("write", {0: (WRITER, StackSummary())}),
}


@pytest.mark.parametrize("error", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_says_what_is_safe(
    error: BaseException, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolcoder.train.optimizer import WeightsUpdate

    real = WeightsUpdate.save

    def fills_up(update: WeightsUpdate, folder: Path) -> None:
        if "00000006" in folder.name:
            raise error
        real(update, folder)

    monkeypatch.setattr(WeightsUpdate, "save", fills_up)
    with pytest.raises(TrainingError, match=r"disk is full.*checkpoint of step 3 is whole") as caught:
        train(tiny, rows(), SETTINGS, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out.steps").glob(".*partial"))
    monkeypatch.undo()
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    assert train(tiny, rows(), SETTINGS, tmp_path / "out").resumed_from == 3


def test_a_disk_too_full_for_the_finished_model_says_what_is_safe(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolcoder.train import export

    def fills_up(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_model_card", fills_up)
    with pytest.raises(
        TrainingError, match=r"finished model .*out cannot be written \(the disk is full\).*18"
    ):
        train(tiny, rows(), SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    assert train(tiny, rows(), SETTINGS, tmp_path / "out").resumed_from == 18


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(tiny: str, tmp_path: Path) -> None:
    wild = replace(SETTINGS, learning_rate=1e30, save_every_steps=1, max_grad_norm=0.0)
    with pytest.raises(
        TrainingError, match=r"the loss of step \d+ is (nan|inf).*last good checkpoint is .*step-"
    ):
        train(tiny, rows(), wild, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_three_proofs_are_told_before_training(tiny: str, tmp_path: Path) -> None:
    notes = Notes()
    train(tiny, rows(), replace(SETTINGS, max_steps=1), tmp_path / "out", notes)
    text = "\n".join(notes.lines)
    assert "tokens are supervised" in text
    assert "the end token is supervised in 12 of 12 rows" in text
    assert "packed loss" in text and "equals the loss row by row" in text


def test_packing_that_leaks_is_caught(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evolcoder.train import loss

    real = loss.packed_row

    def one_document(data: loss.TokenizedData, documents: tuple[int, ...]) -> loss.MicroBatch:
        batch = real(data, documents)
        return replace(batch, document_lengths=(sum(batch.document_lengths),))

    monkeypatch.setattr("evolcoder.train.step.packed_row", one_document)
    with pytest.raises(TrainingError, match="does not keep rows apart"):
        train(tiny, rows(), SETTINGS, tmp_path / "out")


def test_rounding_over_few_tokens_is_not_taken_for_a_leak() -> None:
    assert rounding("bf16", 66, 66 * 1.3) > 0.014 * 66 * 1.3  # seen with one row of SmolLM2-135M
    assert rounding("bf16", 512, 512) == pytest.approx(5.12)
    assert rounding("bf16", 100_000, 150_000) == pytest.approx(1500)
    assert rounding("bf16", 1, 2.0) < 0.11 * 2.0  # documents that see each other
    # Its own answers, as rft learns from them: two rows packed and alone.
    assert rounding("bf16", 250, 250 * 0.333610) > 250 * (0.333610 - 0.327846)


def test_an_end_token_that_is_always_cut_stops_training(tiny: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_length=215)
    long = [replace(row, input="", instruction="Go.", response="x" * 500) for row in rows(3)]
    with pytest.raises(TrainingError, match="never learn to stop"):
        train(tiny, long, settings, tmp_path / "out")
    with pytest.raises(DataError, match="none of the 3 rows"):
        train(tiny, long, replace(SETTINGS, max_length=20), tmp_path / "out")


def test_the_finished_folder_loads_anywhere_and_says_where_it_comes_from(tiny: str, tmp_path: Path) -> None:
    result = train(tiny, rows(), replace(SETTINGS, dtype="bf16", tracking=("tensorboard",)), tmp_path / "out")
    model, tokenizer = load_weights(str(result.folder), "bf16")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Add {x}"}], tokenize=False, add_generation_prompt=True
    )
    assert asked == instruction_prompt("Add {x}")
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    facts = json.loads((result.folder / "training.json").read_text())
    assert len(facts["losses"]) == 20 and facts["tokens"] > 0 and facts["padding_share"] == 0.0
    assert facts["losses"][-1] < facts["losses"][0]
    card = (result.folder / "README.md").read_text()
    assert "rows by" not in card and "| round 0 | 12 |" in card
    assert list((result.folder / "tensorboard").glob("events.out.*"))


def test_curves_go_to_the_trackers_that_are_named(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb and trackio have one interface; neither is installed here, so a module stands for them."""
    seen: dict[str, list[Any]] = {"init": [], "log": [], "finish": []}
    for name in ("wandb", "trackio"):
        module = ModuleType(name)
        module.init = lambda **facts: seen["init"].append(facts)  # type: ignore[attr-defined]
        module.log = lambda values, step: seen["log"].append((step, values))  # type: ignore[attr-defined]
        module.finish = lambda: seen["finish"].append(None)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    settings = replace(SETTINGS, max_steps=4, log_every_steps=2, tracking=("wandb", "trackio"))
    train(tiny, rows(), settings, tmp_path / "model")
    assert [(facts["project"], facts["name"]) for facts in seen["init"]] == [("evolcoder", "model")] * 2
    assert [step for step, _ in seen["log"]] == [2, 2, 4, 4]
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second", "padding_share", "memory_gb"} <= set(
        seen["log"][0][1]
    )
    assert len(seen["finish"]) == 2


def test_a_tracker_that_is_not_installed_is_named_and_done_without(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    notes = Notes()
    train(tiny, rows(), replace(SETTINGS, max_steps=1, tracking=("wandb",)), tmp_path / "out", notes)
    assert any("pip install wandb" in line for line in notes.lines)


def test_adapters_are_trained_and_merged(tiny: str, tmp_path: Path) -> None:
    result = train(tiny, rows(), replace(SETTINGS, lora=4, learning_rate=1e-2), tmp_path / "out")
    assert result.losses[-1] < result.losses[0] - 0.1
    before, _ = load_weights(tiny, "fp32")
    after, _ = load_weights(str(result.folder), "fp32")
    assert before.model.embed_tokens.weight.equal(after.model.embed_tokens.weight)
    assert not before.model.layers[0].mlp.up_proj.weight.equal(after.model.layers[0].mlp.up_proj.weight)
    assert (result.folder / "adapter" / "adapter_model.safetensors").exists()


def test_training_the_last_layers_leaves_the_rest_alone(tiny: str, tmp_path: Path) -> None:
    result = train(tiny, rows(), replace(SETTINGS, layers=1), tmp_path / "out")
    before, _ = load_weights(tiny, "fp32")
    after, _ = load_weights(str(result.folder), "fp32")
    changed = {
        name
        for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not a.equal(b)
    }
    assert changed and all(name.startswith(("model.layers.2.", "model.norm.")) for name in changed)
    assert result.losses[-1] < result.losses[0]


def test_the_chat_template_is_taught_with_its_own_end_token(tiny: str, tmp_path: Path) -> None:
    result = train(tiny, rows(), replace(SETTINGS, prompt_style="chat", max_steps=2), tmp_path / "out")
    assert json.loads((result.folder / "generation_config.json").read_text())["eos_token_id"] == 257


def test_padding_trains_to_nearly_the_same_losses(tiny: str, tmp_path: Path) -> None:
    packed = train(tiny, rows(), SETTINGS, tmp_path / "packed")
    padded = train(tiny, rows(), replace(SETTINGS, packing=False), tmp_path / "padded")
    assert padded.losses == pytest.approx(packed.losses, abs=1e-3)
    assert padded.padding_share > 0 and packed.padding_share == 0


def test_the_script_s_padding_token_gets_the_mean_embedding(tiny: str, tmp_path: Path) -> None:
    from evolcoder.train.tokenization import add_wizardcoder_tokens, embed_added_tokens

    model, tokenizer = load_weights(tiny, "fp32")
    mean = model.get_input_embeddings().weight[:259].mean(dim=0)
    assert add_wizardcoder_tokens(tokenizer, model.config.model_type) == 1
    embed_added_tokens(model, tokenizer)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[PAD]", 259)
    assert torch.allclose(model.get_input_embeddings().weight[259], mean)
    result = train(
        tiny, rows(), replace(SETTINGS, special_tokens="wizardcoder", max_steps=2), tmp_path / "out"
    )
    assert load_weights(str(result.folder), "fp32")[1].pad_token == "[PAD]"
