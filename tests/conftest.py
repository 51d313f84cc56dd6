"""What every test may need: the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines that run these tests are shared: how long an example takes says nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

REPOSITORY = Path(__file__).resolve().parent.parent
# A test that reads data asks for the fixture: without it there is none, here or in what a test starts, as
# where nothing is exported. It is moved, not removed: pytest's own processes read it too.
if "EVOLCODER_DATA" in os.environ:
    os.environ["EVOLCODER_TEST_DATA"] = os.environ.pop("EVOLCODER_DATA")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real benchmarks and generations; skips where there is none."""
    named = os.environ.get("EVOLCODER_TEST_DATA")
    for folder in (Path(named) if named else None, REPOSITORY.parent / "shared" / "data"):
        if folder is not None and (folder / "README.md").exists():
            return folder
    pytest.skip("needs real benchmark data: export EVOLCODER_DATA=FOLDER (laid out as docs/data.md says)")


@pytest.fixture
def benchmark_data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, where benchmarks find their data for the length of a test."""
    monkeypatch.setenv("EVOLCODER_DATA", str(data_folder))
    return data_folder
