"""Where a language's compiler and runtime are on this machine, and how they are seen in the sandbox.

A tool is looked up on PATH. What lies under /usr is seen inside as it is; another installation (rustup's,
/opt, a version manager's) is shown read-only under /toolchains, as a whole: the folder above its `bin`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evolcoder.errors import UserError

MOUNT = "/toolchains"


class MissingToolchainError(UserError):
    """A language's compiler or runtime is not on this machine."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a language needs."""

    candidates: tuple[str, ...]
    """Names it goes by, the one nearest to MultiPL-E's own image first; or paths, for a file."""
    install: str
    """The command that installs it."""
    version: tuple[str, ...] = ("--version",)
    """Arguments that make it say its version; none: it is not asked."""
    check: tuple[str, ...] = ()
    """Arguments with which it ends well only if a library that the tests need is there; none: no check."""


@dataclass(frozen=True, slots=True)
class Found:
    """A tool of this machine."""

    name: str
    """The candidate that was found."""
    here: str
    """Its path on this machine."""
    inside: str
    """Its path in the sandbox."""
    folders: tuple[tuple[str, str], ...]
    """(folder here, path inside) to be shown."""
    version: str
    """The line it says of its version, "" where it was not asked."""

    @property
    def label(self) -> str:
        """Name and version, the name once."""
        short = Path(self.name).name
        return self.version if short in self.version else f"{short} {self.version}".strip()


@lru_cache(maxsize=64)
def find_tool(tool: Tool) -> Found | None:
    """Return the first candidate that is on this machine, None where there is none."""
    for name in tool.candidates:
        path = name if name.startswith("/") and Path(name).exists() else shutil.which(name)
        if path is not None and (not tool.check or _output([path, *tool.check])):
            return _found(name, path, tool.version)
    return None


def needed(tools: tuple[Tool, ...], language: str) -> tuple[Found, ...]:
    """Return all tools; raises MissingToolchainError that names each missing one and its command."""
    found = [(tool, find_tool(tool)) for tool in tools]
    missing = [tool for tool, here in found if here is None]
    if missing:
        names = ", ".join(tool.candidates[0] for tool in missing)
        commands = " && ".join(dict.fromkeys(tool.install for tool in missing))
        raise MissingToolchainError(
            f"{language} programs need {names}, not found on this machine: {commands}"
        )
    return tuple(here for _, here in found if here is not None)


def _found(name: str, path: str, version: tuple[str, ...]) -> Found:
    folder = Path(path).parent
    if folder.name == "shims":  # of a version manager (pyenv, rbenv): it reads the home folder
        path = _output([folder.parent.name.lstrip("."), "which", Path(path).name]) or path
    real = os.path.realpath(path)
    if Path(real).name == "rustup":  # its proxies read the user's home
        home = _output([path, "--print", "sysroot"]) if Path(path).name == "rustc" else ""
        real = os.path.realpath(f"{home}/bin/rustc" if home else path)
    says = _version(real, version)
    if real.startswith("/usr/"):
        # The alternatives' own name where there is one: scripts look at how they were called.
        return Found(name, path, path if path.startswith("/usr/") else real, (), says)
    root = _root(Path(real))
    inside = f"{MOUNT}/{Path(name).name}"
    return Found(name, real, f"{inside}/{Path(real).relative_to(root)}", ((str(root), inside),), says)


def _root(real: Path) -> Path:
    """Return the folder to show: the installation, but never a whole home folder."""
    root = real.parent.parent if real.parent.name in ("bin", "lib") else real.parent
    broad = {Path("/"), Path.home(), Path.home() / ".local", Path("/opt"), Path("/home"), Path("/root")}
    return real.parent if root in broad else root


def _version(path: str, arguments: tuple[str, ...]) -> str:
    if not arguments:
        return ""
    command = [path, *arguments]
    if path.endswith(("/tsc", ".js")):
        command = ["node", *command]
    lines = [line.strip() for line in _output(command).splitlines() if line.strip()]
    return lines[0][:120] if lines else ""


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else ""
