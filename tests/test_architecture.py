"""docs/architecture.md: its table of the method's steps, and how few calls lead from the command to them."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner
from tests.models.byte_llama import save_tiny_model

import evolcoder
from evolcoder.cli.run import command
from evolcoder.runs import write_json_whole

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
PACKAGE = Path(evolcoder.__file__).parent
_STEP = re.compile(r"^\| ([^|]+) \| `([\w/]+)\.py` \| `(\w+)` \|", re.M)
STEPS = _STEP.findall(PAGE.read_text())


def test_the_page_names_every_step_of_the_method() -> None:
    assert len(STEPS) >= 15


@pytest.mark.parametrize(("step", "file", "function"), STEPS)
def test_each_step_is_where_the_page_says(step: str, file: str, function: str) -> None:
    found = getattr(importlib.import_module(f"evolcoder.{file.replace('/', '.')}"), function)
    assert inspect.getsourcefile(inspect.unwrap(found)) == str(PACKAGE / f"{file}.py")


def calls_from_the_command() -> int:
    """Calls of the package's functions between `evolcoder run` and the caller, whom it counts too."""
    frame: FrameType | None = inspect.currentframe()
    assert frame is not None
    frame, calls = frame.f_back, 0
    while frame is not None and frame.f_code is not command.callback.__code__:  # type: ignore[union-attr]
        name = frame.f_code.co_filename
        calls += name.startswith(str(PACKAGE)) or name == __file__
        frame = frame.f_back
    assert frame is not None
    return calls


def test_at_most_six_calls_lead_from_the_command_to_the_line_that_evolves_trains_and_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, int] = {}

    async def evolve_rounds(seeds: Any, *args: Any, **options: Any) -> list[Any]:
        calls["evolve"] = calls_from_the_command()
        folder = tmp_path / "run" / "round-1"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("evolved.jsonl", "eliminated.jsonl"):
            (folder / name).touch()
        return []

    def train(base: str, data: Any, settings: Any, out: Path, *args: Any) -> None:
        calls["train"] = calls_from_the_command()
        shutil.copytree(base, out)

    async def evaluate_model(model: Any, benchmark: str, settings: Any, out: Path, *args: Any) -> None:
        calls["measure"] = calls_from_the_command()
        score = {"k": 1, "value": 0.5, "low": 0.4, "high": 0.6, "n_problems": 1}
        write_json_whole(out / "scores.json", {"scores": [score], "problems": {}})

    patched: dict[str, Callable[..., Any]] = {
        "evolcoder.evolve.rounds.evolve_rounds": evolve_rounds,
        "evolcoder.train.trainer.train": train,
        "evolcoder.evaluate.evaluation.evaluate_model": evaluate_model,
        "evolcoder.report.write_report": lambda run: None,
        "evolcoder.report.table.scores_table": lambda result: "",
    }
    for name, replacement in patched.items():
        monkeypatch.setattr(name, replacement)
    model = save_tiny_model(tmp_path / "model")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: calls\nbase: {{model: {model}}}\nteacher: {{model: {model}}}\nseeds: {{limit: 2}}\n"
        "rounds: {max_rounds: 1}\nstop: {rule: paper-v1}\n"
    )
    done = CliRunner().invoke(command, [str(recipe), "--dir", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert set(calls) == {"evolve", "train", "measure"}
    assert max(calls.values()) <= 6, calls
