"""The command line answers at once: it loads nothing heavy before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from evolcoder.cli import COMMANDS, cli

HEAVY = ("torch", "transformers", "datasets", "ray", "pyarrow", "pydantic", "numpy", "aiohttp", "rich")


@pytest.mark.parametrize(
    "statement",
    [
        "import evolcoder",
        "from evolcoder.cli import main\nsys.argv[1:] = ['-h']\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_importing_the_package_and_asking_for_help_load_nothing_heavy(statement: str) -> None:
    code = f"import sys\n{statement}\nprint('loaded:', [m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Example:" in done.output
    assert f"evolcoder {name}" in done.output


def test_no_command_loads_torch_for_its_help() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom evolcoder.cli import COMMANDS, cli\n"
        "for name in COMMANDS: assert CliRunner().invoke(cli, [name, '--help']).exit_code == 0, name\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_command_is_an_error_of_the_user() -> None:
    done = subprocess.run([sys.executable, "-m", "evolcoder", "evovle"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such command 'evovle'" in done.stderr


@pytest.mark.parametrize("module", ["click", "evolcoder.cli.terminal", "evolcoder.cli.journal"])
def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback(module: str) -> None:
    code = (
        # What a shell runs in the background ignores Ctrl-C.
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupted:\n    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\nsys.argv[1:] = ['journal', '-h']\n"
        "from evolcoder.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
