"""Starts a fake OpenAI-compatible endpoint for the benches, which shares the machine with what is measured.

The script takes --port, --latency-ms, --p429, ... and answers /stats.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FakeEndpoint:
    """A running endpoint."""

    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Return what it counted since it was started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats") as answer:
            counted: dict[str, Any] = json.load(answer)
        return counted


@contextmanager
def fake_endpoint(script: str, flags: Sequence[str] = ()) -> Iterator[FakeEndpoint]:
    """Run the script on a free port for the length of the block."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    command = [sys.executable, script, "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it says so when it listens
        yield FakeEndpoint(port)
    finally:
        process.kill()
        process.wait()
