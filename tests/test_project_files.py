"""The files that GitHub, citation tools and pre-commit read say what the project says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import evolcoder

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    assert read_yaml("CITATION.cff")["version"] == evolcoder.__version__
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert first is not None and first[1] == evolcoder.__version__


def test_every_python_that_is_promised_is_tested() -> None:
    promised = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: 3." in text}
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    for job in ("lint-and-test", "wheel"):
        assert set(jobs[job]["strategy"]["matrix"]["python"]) == promised


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_a_file_of_github_is_yaml_and_runs_targets_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"run: make (\S+)", text)) <= set(targets)
    for script in re.findall(r"python (\.ci/\S+)", text):
        assert (ROOT / script).is_file()


def test_no_line_of_the_guides_is_long_but_in_tables() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    lines = [(p.name, text) for p in pages for text in p.read_text(encoding="utf-8").splitlines()]
    assert [(n, text) for n, text in lines if len(text) >= 120 and not text.startswith(("|", "{"))] == []
