"""`import evolcoder`: what it gives, what it loads, and that docs/python.md runs as it stands."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.teacher_server import teacher_server

import evolcoder
from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.records import Instruction, Lineage

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
_BLOCK = re.compile(r"^(<!-- not run by the test -->\n)?```python\n(.*?)^```$", re.M | re.S)


def test_every_public_name_is_there_and_described() -> None:
    for name in evolcoder.__all__:
        assert getattr(evolcoder, name) is not None
        assert name in dir(evolcoder)
        if name != "__version__":
            assert inspect.getdoc(getattr(evolcoder, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evolve_everything'"):
        evolcoder.evolve_everything  # noqa: B018


def test_public_names_are_still_functions_after_the_packages_are_imported() -> None:
    code = (
        "import evolcoder.train, evolcoder.evaluate, evolcoder.evolve, evolcoder\n"
        "print([n for n in evolcoder.__all__ if n.islower() and not n.startswith('_')"
        " and not callable(getattr(evolcoder, n))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_pages_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        load_benchmark("humaneval")
    except evolcoder.EvolcoderError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    with teacher_server(lambda kind, text: None) as server:
        names: dict[str, object] = {"TEACHER_URL": server.url}
        for not_run, code in blocks:
            program = compile(code, str(PAGE), "exec")
            if not not_run:
                exec(program, names)
    rounds = names["rounds"]
    assert isinstance(rounds, list) and rounds[0].kept == 2
    assert getattr(names["verdict"], "reason", "") == "failed"
    assert getattr(names["score"], "scores", ())[0].value == 1.0
    assert getattr(names["comparison"], "only_b", ()) == ("HumanEval/23",)
    assert len(blocks) >= 6


def test_a_function_may_be_called_where_an_event_loop_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    async def notebook(url: str) -> int:
        seeds = evolcoder.read_instructions("shipped")[:2]
        rounds = evolcoder.evolve_instructions(seeds, "openai:teacher", tmp_path / "out", base_url=url)
        return rounds[0].kept

    with teacher_server(lambda kind, text: None) as server:
        assert asyncio.run(notebook(server.url)) == 2


def test_settings_of_another_domain_evolve_by_its_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Instruction("a", "What is 2 + 3?", "", "", Lineage("a"))]
    settings = EvolveSettings(instruction_max_tokens=100)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with teacher_server(lambda kind, text: f"{text.splitlines()[-1]} And twice 7 apples?") as teacher:
        evolcoder.evolve_instructions(
            rows, "openai:x", tmp_path / "out", base_url=teacher.url, domain="math", settings=settings
        )
        assert "math problem" in teacher.asked[0][2]
        wrong = EvolveSettings(verify="tests")
        with pytest.raises(UserError, match="off, answers is expected"):
            evolcoder.evolve_instructions(rows, "openai:x", tmp_path / "no", domain="math", settings=wrong)
    assert not (tmp_path / "no").exists()
