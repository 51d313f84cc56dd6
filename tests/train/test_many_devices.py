"""Several processes train as one: FSDP2 and DeepSpeed, on CPUs with gloo."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.test_training import SETTINGS
from tests.train.tiny import rows

from evolcoder.errors import RecipeError
from evolcoder.models.local.weights import load_weights
from evolcoder.shipped_recipes import DEEPSPEED, shipped_recipe
from evolcoder.train import TrainSettings, train
from evolcoder.train.deepspeed_config import complete_config, read_deepspeed_config

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = shipped_recipe("zero3-offload", DEEPSPEED)
PLAIN = shipped_recipe("zero3", DEEPSPEED)
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="needs DeepSpeed: pip install --no-build-isolation 'evolcoder[deepspeed]'",
)


def with_two_processes(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in two processes of torchrun."""
    program = folder / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from pathlib import Path\nfrom evolcoder.train import TrainSettings, train\n"
        "from tests.train.tiny import rows\nfrom tests.train.test_training import stopped_at\n"
        f"{body}\nimport torch.distributed as dist\ndist.destroy_process_group()\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    return subprocess.run(
        [sys.executable, *torchrun, str(program)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return facts


def assert_same_weights(one: Path, two: Path) -> None:
    for a, b in zip(
        load_weights(str(one), "fp32")[0].parameters(),
        load_weights(str(two), "fp32")[0].parameters(),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=2e-4)


def test_two_processes_train_as_one(tiny: str, tmp_path: Path) -> None:
    variants = {
        "full": replace(SETTINGS, max_steps=6),
        "lora": replace(SETTINGS, max_steps=4, lora=4, learning_rate=1e-2, eval_rows=2, eval_every_steps=2),
        "fp16": replace(SETTINGS, max_steps=4, dtype="fp16"),
    }
    for name, settings in variants.items():
        train(tiny, rows(), settings, tmp_path / "alone" / name)
    calls = [
        f"train({tiny!r}, rows(), {settings!r}, Path({str(tmp_path / 'two' / name)!r}))"
        for name, settings in variants.items()
    ]
    done = with_two_processes("\n".join(calls), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in variants:
        alone, two = facts_of(tmp_path / "alone" / name), facts_of(tmp_path / "two" / name)
        assert (alone["processes"], two["processes"]) == (1, 2)
        tolerance = 1e-4 if name != "fp16" else 5e-3  # of two processes each rounds its own half
        assert two["losses"] == pytest.approx(alone["losses"], abs=tolerance)
        assert [record["loss"] for record in two["evaluations"]] == pytest.approx(
            [record["loss"] for record in alone["evaluations"]], abs=1e-4
        )
    assert len(facts_of(tmp_path / "two" / "lora")["evaluations"]) == 3
    for name in ("full", "lora"):
        assert_same_weights(tmp_path / "alone" / name, tmp_path / "two" / name)
    assert (tmp_path / "two" / "lora" / "adapter" / "adapter_model.safetensors").exists()


@needs_deepspeed
@pytest.mark.parametrize("config", [PLAIN, PUBLISHED], ids=["zero3", "zero3-offload"])
def test_deepspeed_trains_as_one_process_does_and_resumes(config: Path, tiny: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=6)
    alone = train(tiny, rows(), settings, tmp_path / "alone")
    # The published configuration's optimizer is DeepSpeed's own, compiled at first use.
    settings = replace(settings, deepspeed=str(config))
    out = str(tmp_path / "two")
    # The first process ends after step 5 and takes the other one with it.
    done = with_two_processes(f"stopped_at(5, {tiny!r}, Path({out!r}), {settings!r})", tmp_path)
    assert done.returncode != 0 and not Path(out).exists()
    assert (tmp_path / "two.steps" / "step-00000003").is_dir(), done.stderr[-2000:]
    done = with_two_processes(f"train({tiny!r}, rows(), {settings!r}, Path({out!r}))", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = facts_of(tmp_path / "two")
    assert (facts["processes"], facts["resumed_from_step"]) == (2, 3)
    assert facts["losses"] == pytest.approx(list(alone.losses), abs=1e-4)
    assert_same_weights(tmp_path / "alone", tmp_path / "two")


def test_the_published_deepspeed_configuration_takes_batch_and_schedule_from_the_settings() -> None:
    settings = TrainSettings(dtype="fp16", learning_rate=3e-5, max_grad_norm=0.5)
    complete = complete_config(read_deepspeed_config(str(PUBLISHED)), settings)
    zero = complete["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["offload_optimizer"] == zero["offload_param"] == {"device": "cpu", "pin_memory": True}
    assert complete["optimizer"]["params"]["lr"] == 3e-5
    assert complete["gradient_clipping"] == 0.5
    assert complete["fp16"]["enabled"] is True and complete["fp16"]["loss_scale"] == 0
    assert complete["gradient_accumulation_steps"] == 1
    assert '"auto"' not in json.dumps(complete)
    with_schedule = {"scheduler": {"type": "WarmupDecayLR"}, **read_deepspeed_config(str(PUBLISHED))}
    assert complete_config(with_schedule, settings) == complete
    assert "fp16" not in complete_config(read_deepspeed_config(str(PUBLISHED)), TrainSettings(dtype="bf16"))


def test_a_broken_deepspeed_configuration_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path, message in ((broken, "not JSON"), (tmp_path / "none.json", "no such file")):
        with pytest.raises(RecipeError, match=message) as caught:
            read_deepspeed_config(str(path))
        assert str(path) in str(caught.value)
