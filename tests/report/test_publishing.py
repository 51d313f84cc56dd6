"""What goes to the hub, what is said before, and the push itself against a hub on this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import EndpointError, UserError
from evolcoder.report.publishing import publishing_text, push, what_to_publish

from .conftest import RunBuilder


@pytest.fixture
def published(build_run: RunBuilder) -> Path:
    """A finished run with a checkpoint and a data set."""
    run = build_run()
    for number in (1, 2, 3):
        folder = run / f"round-{number}"
        (folder / "dataset.jsonl").write_text('{"instruction": "x"}\n' * number)
        checkpoint = folder / "checkpoint"
        (checkpoint / "config.json").write_text("{}")
        (checkpoint / "model.safetensors").write_bytes(bytes(2_500_000))
        (checkpoint / "README.md").write_text("the checkpoint's own card")
        (checkpoint / "tensorboard").mkdir()
        (checkpoint / "tensorboard" / "events").write_text("curves")
    return run


def test_model_and_data_go_with_their_cards_and_nothing_else_of_the_run(published: Path) -> None:
    model, dataset = what_to_publish(published, "me/m", "me/d")
    assert [file.name for file in model.files] == ["README.md", "config.json", "model.safetensors"]
    assert model.files[0].path == published / "cards" / "model" / "README.md"
    assert [file.name for file in dataset.files] == ["README.md", "dataset.jsonl"]
    assert dataset.files[1].path == published / "round-2" / "dataset.jsonl"
    text = publishing_text([model, dataset])
    assert "model me/m: the checkpoint of round 2, the best by the run's rule" in text
    assert "2.5 MB  model.safetensors" in text
    assert "base model: HuggingFaceTB/SmolLM2-135M-Instruct, apache-2.0" in text


def test_what_a_licence_forbids_is_said_first_and_stops_a_push_until_accepted(published: Path) -> None:
    seeds = published / "seeds.jsonl"
    rows = [json.loads(line) | {"license": "cc-by-nc-4.0"} for line in seeds.read_text().splitlines()]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = CliRunner().invoke(cli, ["publish", str(published), "--dry-run"])
    assert shown.exit_code == 0
    assert shown.output.startswith("! No commercial use: the licence of the seeds")
    assert "licence in the card: cc-by-nc-4.0" in shown.output
    pushed = CliRunner().invoke(cli, ["publish", str(published), "--model", "me/m"])
    assert isinstance(pushed.exception, UserError)
    assert "--accept-terms" in str(pushed.exception)


@pytest.mark.parametrize("name", ["m", "a/b/c", "/m"])
def test_a_repository_is_named_by_owner_and_name(published: Path, name: str) -> None:
    with pytest.raises(UserError, match="owner/name is expected"):
        what_to_publish(published, name, None)


def test_a_run_whose_base_model_stayed_best_has_no_model_to_publish(build_run: RunBuilder) -> None:
    with pytest.raises(UserError, match="no round did better"):
        what_to_publish(build_run(passed=(9, 3, 4, 2)), "me/m", None)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a commit of small files needs."""

    received: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["authorization"] == "Bearer secret"
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.received["created"] = asked
            self._answer({"url": f"{self.received['url']}/datasets/{asked['organization']}/{asked['name']}"})
        elif self.path == "/api/validate-yaml":
            self.received["card"] = json.loads(body)["content"]
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer({"files": modes})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    self.received[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.received['url']}/datasets/me/d/commit/1"
            self._answer({"commitUrl": url, "commitOid": "1", "hookOutput": "", "success": True})

    def _answer(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub() -> Iterator[dict[str, Any]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.received = {"url": f"http://127.0.0.1:{server.server_address[1]}"}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hub.received
    server.shutdown()


def test_a_data_set_is_pushed_whole_with_its_card(published: Path, hub: dict[str, Any]) -> None:
    repositories = what_to_publish(published, None, "me/d")
    addresses = push(repositories, private=True, endpoint=hub["url"], token="secret")
    assert len(addresses) == 1 and "me/d" in addresses[0]
    assert hub["created"].get("visibility", "private") == "private" and hub["created"]["type"] == "dataset"
    assert hub["dataset.jsonl"] == (published / "round-2" / "dataset.jsonl").read_bytes()
    assert hub["README.md"].startswith(b"---\nlicense: apache-2.0")


def test_a_hub_out_of_reach_says_what_stands(published: Path) -> None:
    repositories = what_to_publish(published, None, "me/d")
    with pytest.raises(EndpointError, match="dataset me/d: the hub did not take it"):
        push(repositories, private=True, endpoint="http://127.0.0.1:9", token="secret")
