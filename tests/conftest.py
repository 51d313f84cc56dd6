"""What every test may need: the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real benchmarks and generations; skips where there is none."""
    named = os.environ.get("EVOLCODER_DATA")
    for folder in (Path(named) if named else None, REPOSITORY.parent / "shared" / "data"):
        if folder is not None and (folder / "README.md").exists():
            return folder
    pytest.skip("needs real benchmark data: export EVOLCODER_DATA=FOLDER (laid out as docs/data.md says)")
