"""`evolcoder recipe`: every name that is listed is one that the commands take."""

from __future__ import annotations

import shlex
from pathlib import Path

from click.testing import CliRunner

from evolcoder.cli import cli


def test_every_listed_recipe_is_taken_by_the_command_beside_it() -> None:
    listed = CliRunner().invoke(cli, ["recipe", "list"]).output.splitlines()
    assert "evolcoder run quickstart" in listed
    assert "evolcoder train --recipe starcoder-15b" in listed
    assert "evolcoder train --deepspeed zero3-offload" in listed
    for line in listed:
        words = shlex.split(line)[1:]
        if words[0] == "run":
            done = CliRunner().invoke(cli, ["recipe", "check", words[1]])
            assert done.exit_code == 0, done.output


def test_a_shipped_recipe_is_planned_in_an_empty_folder(tmp_path: Path) -> None:
    with CliRunner().isolated_filesystem(tmp_path):
        done = CliRunner().invoke(cli, ["run", "quickstart", "--plan"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "evolve round 1" in done.output
