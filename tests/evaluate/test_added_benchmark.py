"""docs/add-a-benchmark.md, typed and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.sandbox import probe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-benchmark.md"


def block(language: str) -> str:
    """Return the page's code of a language."""
    match = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    """A folder with the page's benchmark and its data."""
    (tmp_path / "bigcodebench.py").write_text(block("python"))
    script = block("bash")
    making = script[: script.index("evolcoder score")].replace("python -", f"{sys.executable} -", 1)
    subprocess.run(["bash", "-c", making], cwd=tmp_path, check=True, timeout=60)
    return tmp_path


def test_the_page_is_short_enough() -> None:
    assert len(PAGE.read_text().splitlines()) < 80


def test_the_samples_of_the_page_are_scored(typed: Path) -> None:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    command = [sys.executable, "-m", "evolcoder", "score", "samples.jsonl", "--benchmark", "bigcodebench.py"]
    ended = subprocess.run(
        [*command, "--no-cache"], cwd=typed, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"bigcodebench v0\.1\.4\s+pass@1\s+50\.00", ended.stdout), ended.stdout


def test_a_model_is_asked_as_the_benchmark_says(typed: Path) -> None:
    benchmark = load_benchmark(str(typed / "bigcodebench.py"))
    problem = benchmark.problems[0]
    assert benchmark.ask(problem, "chat").prompt[0].content.startswith("Write task_func(text)")  # type: ignore[union-attr]
    assert "### Instruction:\nWrite task_func" in str(benchmark.ask(problem, "wizardcoder").prompt)
    assert str(benchmark.ask(problem, "completion").prompt).endswith('sorted."""')


@pytest.mark.parametrize("text", [None, "", "def load():\n    return 3\n"])
def test_a_file_without_a_benchmark_is_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.py: .*load\(\)"):
        load_benchmark(str(path))
