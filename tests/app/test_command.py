"""`evolcoder app` as it is typed: mistakes are told in one line, before anything is served."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from evolcoder.cli.app import command
from evolcoder.errors import OutsideError, UserError


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: no such run folder"),
        (["--answers", "a"], "NAME=FILE is expected"),
        (["--answers", "a=nowhere.jsonl"], "no such file: nowhere.jsonl"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, arguments: list[str], told: str) -> None:
    with CliRunner().isolated_filesystem(tmp_path):
        result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, UserError) and told in str(result.exception)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(command, ["--port", str(taken.getsockname()[1])])
    assert isinstance(result.exception, OutsideError)
    assert "the port is taken; name another port with --port" in str(result.exception)


def test_addresses_of_this_machine_are_known() -> None:
    from evolcoder.app.access import is_loopback

    assert all(map(is_loopback, ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.4", "example.org", ""]))
