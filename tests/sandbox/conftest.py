"""One small sandbox for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evolcoder.sandbox import Sandbox, probe


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    with Sandbox(workers=2) as pool:
        yield pool
