"""Hostile programs hold: a set of our own, and a larger collection where it is at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sandbox.ordinary_user import prefix

from evolcoder.sandbox import probe

RUNNER = Path(__file__).with_name("hostile_run.py")
OWN = Path(__file__).with_name("own_hostile")


def troubles(folder: Path, command: tuple[str, ...]) -> dict[str, list[str]]:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    ran = subprocess.run(
        [*command, sys.executable, str(RUNNER), str(folder)], capture_output=True, text=True, check=False
    )
    assert ran.stdout, ran.stderr
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def as_ordinary_user() -> tuple[str, ...]:
    command = prefix()
    if command is None:
        pytest.skip("this machine cannot run a command as another user (setpriv, unshare, a readable Python)")
    return command


@pytest.fixture
def collection(data_folder: Path) -> Path:
    folder = data_folder.parent / "tools" / "hostile"
    if not folder.is_dir():
        pytest.skip("needs the collection of hostile programs beside EVOLCODER_DATA, in ../tools/hostile")
    return folder


def test_every_hostile_program_holds(collection: Path) -> None:
    assert troubles(collection, ()) == {}


def test_every_hostile_program_holds_as_an_ordinary_user(collection: Path) -> None:
    assert troubles(collection, as_ordinary_user()) == {}


def test_our_own_hostile_programs_hold() -> None:
    assert troubles(OWN, ()) == {}


def test_our_own_hostile_programs_hold_as_an_ordinary_user() -> None:
    assert troubles(OWN, as_ordinary_user()) == {}
