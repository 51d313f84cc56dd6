"""Checkpoints that training resumes from: whole or absent, a few kept, written by every process together."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException

from evolcoder.errors import TrainingError
from evolcoder.runs import sync_folder
from evolcoder.train.processes import Processes

_FACTS = "checkpoint.json"
_SIGNS_OF_A_FULL_DISK = ("PytorchStreamWriter failed", "inline_container", "No space left on device")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The step checkpoints of one training, in a folder beside its output."""

    folder: Path
    fingerprint: str
    """Names base, data and settings; a checkpoint of another training is never resumed from."""
    keep: int
    processes: Processes

    def save(self, step: int, write: Callable[[Path], None], facts: Mapping[str, Any]) -> None:
        """Have every process `write` its tensors, and remove the checkpoints beyond `keep`.

        Raises TrainingError where it cannot be written; older checkpoints are untouched then.
        """
        final = self.folder / _name(step)
        partial = self.folder / f".{_name(step)}.partial"
        try:
            if self.processes.first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.processes.wait()
            write(partial)
            self.processes.wait()
            if self.processes.first:
                files = sorted(p for p in partial.rglob("*") if p.is_file())
                sizes = {str(p.relative_to(partial)): p.stat().st_size for p in files}
                own = {"fingerprint": self.fingerprint, "step": step, "files": sizes}
                (partial / _FACTS).write_text(json.dumps({**facts, **own}), encoding="utf-8")
                _sync_files(partial)
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                sync_folder(self.folder)
                for old in self.whole()[self.keep :]:
                    shutil.rmtree(old, ignore_errors=True)
            self.processes.wait()
        except (Exception, CheckpointException) as error:  # torch's is no Exception
            shutil.rmtree(partial, ignore_errors=True)
            raise self.unwritten(f"the checkpoint of step {step}", error) from error

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest whole checkpoint of this training with its facts; None where there is none."""
        for path in self.whole():
            return path, json.loads((path / _FACTS).read_text(encoding="utf-8"))
        return None

    def whole(self) -> list[Path]:
        """Return this training's checkpoints whose files are all there in full length, newest first."""
        return [path for path in sorted(self.folder.glob("step-*"), reverse=True) if self._is_whole(path)]

    def damaged(self) -> list[Path]:
        """Return this folder's checkpoints that cannot be resumed from: cut short, or of another training."""
        return [path for path in sorted(self.folder.glob("step-*")) if not self._is_whole(path)]

    def _is_whole(self, path: Path) -> bool:
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            sizes = {name: (path / name).stat().st_size for name in facts["files"]}
            return bool(facts["fingerprint"] == self.fingerprint and sizes == facts["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def unwritten(self, what: str, error: BaseException) -> BaseException:
        """Return the error to raise for something that could not be written; other errors as they are."""
        cause = _os_error(error)
        if cause is None:
            return error
        reason = "the disk is full" if cause.errno == errno.ENOSPC else str(cause)
        last = self.latest()
        safe = (
            f"the checkpoint of step {last[1]['step']} is whole" if last else "there is no earlier checkpoint"
        )
        return TrainingError(
            f"{self.folder}: {what} cannot be written ({reason}); {safe}; "
            "make room and run the same command again"
        )


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _sync_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _os_error(error: BaseException | None) -> OSError | None:
    """Find the operating system's error inside the library's."""
    failures = getattr(error, "failures", None)
    inner = [wrapped[0] for wrapped in failures.values()] if isinstance(failures, dict) else []
    for candidate in (error, *inner, getattr(error, "__cause__", None)):
        if isinstance(candidate, OSError):
            return candidate
        # What the writers of torch and safetensors say of a file that is shorter than what they wrote.
        if any(sign in str(candidate) for sign in _SIGNS_OF_A_FULL_DISK):
            return OSError(errno.ENOSPC, "the file cannot be written in full")
    return None
