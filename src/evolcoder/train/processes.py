"""The processes that train together: one by default, several under torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int
    count: int
    device: torch.device

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


def join_processes() -> Processes:
    """Join the processes that torchrun started, or be the only one; picks the device of this process."""
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if count > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    return Processes(rank, count, device)


def leave_processes() -> None:
    """Leave the group where this process joined one; called once, at the end of a program."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
