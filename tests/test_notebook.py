"""examples/quickstart.ipynb runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.teacher_server import teacher_server

from evolcoder.sandbox import probe

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"


def test_the_notebook_runs_and_holds_no_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    with teacher_server() as server:
        monkeypatch.setenv("EVOLCODER_TEACHER", f"openai:m@{server.url}")
        names: dict[str, object] = {}
        for cell in cells:
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    said = capsys.readouterr().out
    assert "passed | failed" in said and "2 kept" in said and said.count("after: ") == 2
    assert said.endswith("pass@1 50%\n")
