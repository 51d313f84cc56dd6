"""Checkpoints that training resumes from: whole or absent, a few kept, written by every process together."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from evolcoder.errors import TrainingError
from evolcoder.runs import sync_folder
from evolcoder.train.processes import Processes

_FACTS = "checkpoint.json"


@contextmanager
def _one_process_is_meant() -> Iterator[None]:
    """Silence torch's warning that nothing is distributed: on one device nothing should be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable")
        yield


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The step checkpoints of one training, in a folder beside its output."""

    folder: Path
    fingerprint: str
    """Names base, data and settings; a checkpoint of another training is never resumed from."""
    keep: int
    processes: Processes

    def save(self, step: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Write the checkpoint after `step` steps and remove those beyond `keep`.

        Raises TrainingError where it cannot be written; older checkpoints are untouched then.
        """
        final = self.folder / _name(step)
        partial = self.folder / f".{_name(step)}.partial"
        try:
            if self.processes.first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.processes.wait()
            with _one_process_is_meant():
                save_tensors(dict(tensors), checkpoint_id=partial, no_dist=self.processes.count == 1)
            if self.processes.first:
                sizes = {p.name: p.stat().st_size for p in sorted(partial.iterdir())}
                own = {"fingerprint": self.fingerprint, "step": step, "files": sizes}
                (partial / _FACTS).write_text(json.dumps({**facts, **own}), encoding="utf-8")
                _sync_files(partial)
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                sync_folder(self.folder)
                for old in self.whole()[self.keep :]:
                    shutil.rmtree(old, ignore_errors=True)
            self.processes.wait()
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise self._unwritten(step, error) from error

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

    def load(self, path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
        """Read a checkpoint into the given tensors."""
        with _one_process_is_meant():
            load_tensors(dict(tensors), checkpoint_id=path, no_dist=self.processes.count == 1)

    def _is_whole(self, path: Path) -> bool:
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            sizes = {name: (path / name).stat().st_size for name in facts["files"]}
            return bool(facts["fingerprint"] == self.fingerprint and sizes == facts["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _unwritten(self, step: int, error: Exception) -> Exception:
        cause = _os_error(error)
        if cause is None:
            return error
        reason = "the disk is full" if cause.errno == errno.ENOSPC else str(cause)
        last = self.latest()
        safe = (
            f"the checkpoint of step {last[1]['step']} is whole" if last else "there is no earlier checkpoint"
        )
        return TrainingError(
            f"{self.folder}: the checkpoint of step {step} cannot be written ({reason}); {safe}; "
            "make room and run the same command again"
        )


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _sync_files(folder: Path) -> None:
    for file in folder.iterdir():
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
    if error is not None and "PytorchStreamWriter failed" in str(error):
        return OSError(errno.ENOSPC, "the file cannot be written in full")
    return None
