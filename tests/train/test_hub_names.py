"""Bases by hub name, read from the hub's cache on this machine: plain models, and adapters explained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.train.tiny import rows, save_tiny

from evolcoder.instructions import write_instructions

_CODE = """
import sys
from click.testing import CliRunner
from evolcoder.cli import cli
from evolcoder.models.local.identity import content_identity
from evolcoder.models.local.weights import load_tokenizer
def ask(*arguments):
    done = CliRunner().invoke(cli, ["train", "--data", "rows.jsonl", *arguments])
    print("EXIT", done.exit_code, done.exception if done.exit_code else done.output)
settings = ["--max-steps", "1", "--batch-size", "4", "--max-length", "512", "--set", "dtype=fp32", "--set",
            "tracking=[]"]
for base in ("user/model", "user/adapter", "user/adapter.with-config", "user/absent"):
    ask("--base", base, "--plan", "--gpus", "1")
    ask("--base", base, "--out", base.replace("/", "-"), *settings)
print("IDENTITY", content_identity("user/model"))
print("TOKENIZER", len(load_tokenizer("user/model")))
"""


def in_cache(cache: Path, name: str, commit: str) -> Path:
    """Return the folder of a hub name's snapshot in a cache laid out as the hub's own."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def test_bases_and_adapters_in_the_hub_s_cache(tmp_path: Path) -> None:
    model = in_cache(tmp_path / "hub", "user/model", "a" * 40)
    save_tiny(model)
    for k, name in enumerate(("user/adapter", "user/adapter.with-config")):
        adapter = in_cache(tmp_path / "hub", name, str(k) * 40)
        (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "user/model"}')
        (adapter / "adapter_model.safetensors").write_bytes(b"")
        for file in model.glob("*token*" if k == 0 else "*"):
            shutil.copy(file, adapter)
    write_instructions(tmp_path / "rows.jsonl", rows())
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    environment |= {"EVOLCODER_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    said = done.stdout.split("EXIT ")[1:]
    assert len(said) == 8, done.stderr
    assert said[0].startswith("0 user/model: ") and "tokens are supervised" in said[0]
    assert said[1].startswith("0 ") and (tmp_path / "user-model" / "model.safetensors").exists()
    for line in said[2:6]:
        assert "an adapter of user/model, not a model; merge it first" in line
    assert "user/absent: its architecture is not known here" in said[6]
    assert "user/absent" in said[7] and said[7].startswith("1 ")
    assert f"IDENTITY user/model@{'a' * 40}" in done.stdout and "TOKENIZER 259" in done.stdout
    assert sorted(p.name for p in tmp_path.glob("user-*")) == ["user-model"]
