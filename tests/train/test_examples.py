"""The examples of `examples/` run, on one machine: small programs play what a cluster would bring."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.train.tiny import rows

from evolcoder.errors import RecipeError
from evolcoder.instructions import write_instructions
from evolcoder.shipped_recipes import TRAIN, shipped_names
from evolcoder.train import TrainSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Two nodes, both of them here; `srun` gives each its number and ends with the worst of their statuses.
_SRUN = """#!/bin/bash
shift
SLURM_NODEID=0 "$@" & first=$!
SLURM_NODEID=1 "$@" & second=$!
wait $first && wait $second
"""
SETTINGS = ("max_steps=2", "batch_size=4", "max_length=512", "dtype=fp32", "tracking=[]")


def data_file(folder: Path) -> Path:
    write_instructions(folder / "data.jsonl", rows())
    return folder / "data.jsonl"


def processes_of(out: Path) -> int:
    facts = json.loads((out / "training.json").read_text())
    assert len(facts["losses"]) == 2
    return int(facts["processes"])


def test_the_script_for_slurm_trains_on_two_nodes(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in {"srun": _SRUN, "scontrol": "#!/bin/bash\necho 127.0.0.1\necho 127.0.0.2\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_NODELIST": "here", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "1"}
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = [
        "bash",
        str(EXAMPLES / "train_on_slurm.sbatch"),
        "--base",
        tiny,
        "--data",
        str(data_file(tmp_path)),
    ]
    done = subprocess.run(
        [*script, *(word for pair in SETTINGS for word in ("--set", pair)), "--out", str(tmp_path / "out")],
        env={**os.environ, **slurm, "PATH": path, "RENDEZVOUS_PORT": port},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert processes_of(tmp_path / "out") == 2


def example_for_ray() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_on_ray", EXAMPLES / "train_on_ray.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_for_ray_takes_every_shipped_recipe_by_name() -> None:
    example = example_for_ray()
    for name in shipped_names(TRAIN):
        settings = TrainSettings(**example.settings_from(Path(name), ["epochs=5"]))
        assert settings.epochs == 5
    with pytest.raises(RecipeError, match="no recipe of that name"):
        example.settings_from(Path("starcoder"), [])


def test_the_example_for_ray_trains_in_two_workers(tiny: str, tmp_path: Path) -> None:
    try:
        importlib.import_module("ray.train")
    except ImportError:
        pytest.skip("needs Ray Train: pip install 'ray[train]'")
    options = ["--address", "local", "--workers", "2", "--cpu", "--failures", "0", "--base", tiny]
    options += [word for pair in SETTINGS for word in ("--set", pair)]
    options += ["--data", str(data_file(tmp_path)), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_on_ray.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 steps, the last loss" in done.stdout + done.stderr
    assert processes_of(tmp_path / "out") == 2
