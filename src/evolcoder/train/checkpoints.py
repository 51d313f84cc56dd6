"""Checkpoints that training resumes from: whole or absent, a few kept, written by every process together.

Reading one runs no code, whoever wrote it: torch keeps the list of tensors as a pickle, which is read here by
an unpickler that knows only what such a list is made of.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta

from evolcoder.errors import DataError, OutsideError, TrainingError, shortened
from evolcoder.progress import Progress
from evolcoder.runs import sync_folder, take_lock
from evolcoder.train.processes import Processes

_FACTS = "checkpoint.json"
_LOCK = "lock"
_SIGNS_OF_A_FULL_DISK = ("PytorchStreamWriter failed", "inline_container", "No space left on device")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The step checkpoints of one training, in a folder beside its output."""

    folder: Path
    fingerprint: str
    """Names base, data and settings; a checkpoint of another training is never resumed from."""
    keep: int
    processes: Processes

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold this output against a second training; raises DataError where one is at work on it."""
        if not self.processes.first:
            yield
            return
        lock = self.folder / _LOCK
        held = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(OutsideError):  # a file system without locks
                held = take_lock(lock)
        except BlockingIOError as error:
            raise DataError(
                f"{self.folder}: another training is at work on this output ({error.strerror}); "
                "wait for its end, or choose another"
            ) from error
        except OSError as error:
            raise self._unwritten("a lock file", error) from error
        try:
            yield
        finally:
            if held is not None:
                lock.unlink(missing_ok=True)
                os.close(held)
            with suppress(OSError):  # checkpoints stay
                self.folder.rmdir()

    def save(self, step: int, write: Callable[[Path], None], facts: Mapping[str, Any]) -> None:
        """Have every process `write` its tensors, and remove the checkpoints beyond `keep`.

        Raises TrainingError where it cannot be written; older checkpoints are untouched then.
        """
        final = self.folder / f"step-{step:08d}"
        partial = self.folder / f".{final.name}.partial"
        with self.writing(f"the checkpoint of step {step}", partial):
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
                for file in partial.rglob("*"):
                    sync_folder(file)  # of a file, its content
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                sync_folder(self.folder)
                for old in self._whole()[self.keep :]:
                    shutil.rmtree(old, ignore_errors=True)
            self.processes.wait()

    @contextmanager
    def writing(self, what: str, partial: Path | None = None) -> Iterator[None]:
        """Raise TrainingError, which says what is safe, where the disk fails; remove `partial` then."""
        try:
            yield
        except (Exception, CheckpointException) as error:  # torch's is no Exception
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            raise self._unwritten(what, error) from error

    def resume(
        self, load: Callable[[Path, dict[str, Any]], None], progress: Progress
    ) -> dict[str, Any] | None:
        """Load the newest whole checkpoint of this training, and say which cannot be; return its facts."""
        for path in sorted(self.folder.glob("step-*")):
            if not self._is_whole(path):
                progress.note(f"{path}: of another training or cut short; not resumed from")
        if (latest := self.latest()) is None:
            return None
        path, facts = latest
        load(path, facts)
        progress.note(f"continuing after step {facts['step']} from {path}")
        return facts

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest whole checkpoint of this training with its facts; None where there is none."""
        for path in self._whole():
            return path, json.loads((path / _FACTS).read_text(encoding="utf-8"))
        return None

    def _whole(self) -> list[Path]:
        """Return this training's checkpoints whose files are all there in full length, newest first."""
        return [path for path in sorted(self.folder.glob("step-*"), reverse=True) if self._is_whole(path)]

    def _is_whole(self, path: Path) -> bool:
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            sizes = {name: (path / name).stat().st_size for name in facts["files"]}
            return bool(facts["fingerprint"] == self.fingerprint and sizes == facts["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _unwritten(self, what: str, error: BaseException) -> BaseException:
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


def load_tensors(folder: Path, into: dict[str, torch.Tensor], *, alone: bool) -> None:
    """Read a distributed checkpoint into tensors; `alone` where this is the only process.

    Raises TrainingError where it cannot be read, or holds anything but tensors.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        load(into, storage_reader=_TensorsReader(folder), planner=_TensorsPlanner(), no_dist=alone)
    except (Exception, CheckpointException) as error:  # torch's is no Exception
        failures = getattr(error, "failures", None)
        cause = next(iter(failures.values()))[0] if failures else error
        raise TrainingError(
            f"{folder}: no checkpoint that can be read ({shortened(' '.join(str(cause).split()), 200)}); "
            "remove it, and the same command goes on from the one before"
        ) from error


_CHECKPOINT = "torch.distributed.checkpoint"
_LISTED = {
    f"{_CHECKPOINT}.metadata": (
        *("Metadata", "MetadataIndex", "TensorStorageMetadata", "ChunkStorageMetadata"),
        *("TensorProperties", "_MEM_FORMAT_ENCODING", "StorageMeta"),
    ),
    f"{_CHECKPOINT}.filesystem": ("_StorageInfo",),
    "torch": ("Size",),
    "torch.serialization": ("_get_layout",),
    "collections": ("OrderedDict",),
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),
}


class _ListUnpickler(pickle.Unpickler):
    """Knows the classes that a list of tensors is made of, and the number formats."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _memory_format
        is_format = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_format or name in _LISTED.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no list of tensors does")


def _memory_format(of: Any, name: str) -> Any:
    """Return a member of torch's list of memory formats: Python 3.11.0 to 3.11.3 pickle one as `getattr`."""
    if of is not _MEM_FORMAT_ENCODING:
        raise pickle.UnpicklingError(f"it asks {of!r} for {name!r}, which no list of tensors does")
    return _MEM_FORMAT_ENCODING[name]


class _TensorsReader(FileSystemReader):
    """Reads the list of tensors without running code; torch reads tensors themselves so."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with self.fs.create_stream(self._get_metadata_path(kwargs.get("rank")), "rb") as stream:
            metadata = _ListUnpickler(stream).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"a list of tensors is expected, found {type(metadata).__name__}")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _TensorsPlanner(DefaultLoadPlanner):
    """Reads nothing but tensors; torch would unpickle whatever else."""

    def load_bytes(self, read_item: Any, value: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"{read_item.dest_index.fqn} is no tensor")


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
