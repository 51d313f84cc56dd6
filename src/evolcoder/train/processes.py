"""The processes that train together: one by default, several under torchrun."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from evolcoder.errors import EvolcoderError

T = TypeVar("T")
_PATIENCE = timedelta(days=30)
"""For work that one process does alone, sampling say. Where a process dies torchrun ends the others."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int
    count: int
    device: torch.device
    patient: Any = None
    """The group, over gloo, in which processes tell each other what is no tensor."""

    @property
    def first(self) -> bool:
        """True in the one process that writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the processes of one machine do this one after another; nothing in it may wait for another.

        Until its weights are sharded each process holds a whole model: eight of a 34B model at once would
        need a terabyte of memory.
        """
        if self.count == 1:
            yield
            return
        turns = torch.tensor(int(os.environ.get("LOCAL_WORLD_SIZE", self.count)), device=self.device)
        dist.all_reduce(turns, dist.ReduceOp.MAX)
        mine = int(os.environ.get("LOCAL_RANK", self.rank))
        for _ in range(mine):
            dist.barrier()
        yield
        for _ in range(int(turns) - mine):
            dist.barrier()

    def sum(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return float(tensor)

    def every(self, value: T) -> list[T]:
        """Return what each process brings, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.patient)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what `make` gives in the first process, the only one that calls it; the others wait.

        Where it raises one of our errors, all raise, so that each ends with a message.
        """
        if self.count == 1:
            return make()
        told: list[Any] = [None, None]
        error: EvolcoderError | None = None
        if self.first:
            try:
                told[0] = make()
            except EvolcoderError as caught:
                told[1], error = str(caught), caught
        dist.broadcast_object_list(told, src=0, group=self.patient, device=torch.device("cpu"))
        if error is not None:
            raise error
        if told[1] is not None:
            raise EvolcoderError(f"process {self.rank}: the first process ended: {told[1]}")
        return told[0]  # type: ignore[no-any-return]


def join_processes() -> Processes:
    """Join the processes that torchrun started, or be the only one; picks the device of this process."""
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if count > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    patient = dist.new_group(backend="gloo", timeout=_PATIENCE) if count > 1 else None
    return Processes(rank, count, device, patient)


def leave_processes() -> None:
    """Leave the group where this process joined one; called once, at the end of a program."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
