"""Bases by hub name, read from the hub's cache on this machine: plain models, and adapters explained."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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


@contextmanager
def hub_of(folder: Path) -> Iterator[str]:
    """Serve the folders USER/NAME of a folder as the hub does, and yield its address."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            name, _, file = self.path.partition("/resolve/main/")
            path = folder / name.lstrip("/") / file
            content = path.read_bytes() if path.is_file() else b""
            self.send_response(200 if path.is_file() else 404)
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_ASK_ALL = """
from click.testing import CliRunner
from evolcoder.cli import cli
for name in ("user/bare", "user/with-tokenizer", "user/with-config", "user/model"):
    for command in (
        ["train", "--data", "rows.jsonl", "--base", name, "--out", "out", "--max-steps", "1", "--batch-size",
         "4", "--max-length", "512", "--set", "tracking=[]"],
        ["generate", "--model", name, "--input", "in.jsonl", "--output", "out.jsonl", "--max-tokens", "4"],
    ):
        done = CliRunner().invoke(cli, command)
        print("EXIT", done.exit_code, done.exception if done.exit_code else "")
"""


def test_an_adapter_on_the_hub_is_explained_before_it_is_fetched(tmp_path: Path) -> None:
    names = ("bare", "with-tokenizer", "with-config", "model")
    bare, tokenizer, config, model = (tmp_path / "hub" / "user" / name for name in names)
    save_tiny(model)
    for folder, files in ((bare, ""), (tokenizer, "*token*"), (config, "*")):
        folder.mkdir()
        for file in model.glob(files) if files else ():
            shutil.copy(file, folder)
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "user/model"}')
        (folder / "adapter_model.safetensors").write_bytes(b"")
    write_instructions(tmp_path / "rows.jsonl", rows())
    (tmp_path / "in.jsonl").write_text('{"idx": 1, "Instruction": "Write hello"}\n')
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"EVOLCODER_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    with hub_of(tmp_path / "hub") as address:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_ALL],
            cwd=tmp_path,
            env={**environment, "HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
        )
    said = done.stdout.split("EXIT ")[1:]
    assert len(said) == 8, done.stderr
    for line in said[:6]:
        assert "an adapter of user/model, not a model; merge it first" in line
    assert [line.strip() for line in said[6:]] == ["0", "0"]
    assert not list((tmp_path / "home").rglob("adapter_model.safetensors"))
