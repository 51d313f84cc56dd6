"""Copies of a model's weights in processes of this machine, one a GPU: data parallel without a cluster.

Without a GPU the processes share the cores, which helps nobody but the tests.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from evolcoder.errors import EvolcoderError, ModelError, OutsideError
from evolcoder.models.local.replicas import ReplicaWork, Tag, Wave
from evolcoder.models.protocol import Completion

_STEP_OF_GPUS = "CUDA_VISIBLE_DEVICES"


class ReplicaProcesses:
    """Some processes with the weights; made ready at once. Raises what loading the weights raises."""

    def __init__(self, work: ReplicaWork, replicas: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Any] = []
        self._processes: list[Any] = []
        gpus = _gpus()
        each = max(1, work.settings.tensor_parallel)
        if gpus and replicas * each > len(gpus):
            raise ModelError(
                f"{replicas} replicas of {each} GPUs each: {replicas * each} GPUs are expected, "
                f"found {len(gpus)}"
            )
        for number in range(replicas):
            near, far = context.Pipe()
            own = ",".join(gpus[number * each : (number + 1) * each])
            process = context.Process(target=_serve, args=(far, work, own, replicas), daemon=not gpus)
            process.start()
            far.close()
            self._connections.append(near)
            self._processes.append(process)
        try:
            for connection in self._connections:
                self._received(connection)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """Waves that are written at once."""
        return len(self._processes)

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, list[Completion]]]:
        """Yield each wave's completions with its tag, as they come; raises what writing one raises."""
        waiting = iter(tagged)
        idle = list(self._connections)
        busy: dict[Any, Tag] = {}
        while True:
            while idle and (item := next(waiting, None)) is not None:
                connection = idle.pop()
                connection.send(item[1])
                busy[connection] = item[0]
            if not busy:
                return
            for connection in wait(list(busy)):
                tag = busy.pop(connection)
                completions: list[Completion] = self._received(connection)
                idle.append(connection)
                yield tag, completions

    def close(self) -> None:
        """End the processes, in the middle of a wave if need be."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def _received(self, connection: Any) -> Any:
        try:
            ok, value = connection.recv()
        except (EOFError, OSError):
            number = self._connections.index(connection)
            self._processes[number].join(5)
            raise OutsideError(
                f"replica {number} ended with code {self._processes[number].exitcode} (out of memory?); "
                "finished answers are kept, the same command continues"
            ) from None
        if not ok:
            raise value
        return value


def _gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    import torch

    named = os.environ.get(_STEP_OF_GPUS)
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named and count else [str(number) for number in range(count)]


def count_gpus() -> int:
    """Return how many GPUs this process may use, at least 1: without any there is the CPU."""
    return max(1, len(_gpus()))


def _serve(connection: Connection, work: ReplicaWork, gpus: str, replicas: int) -> None:
    """Answer waves until the other end is closed; runs in a process of its own."""
    if gpus:
        os.environ[_STEP_OF_GPUS] = gpus
    try:
        import torch

        replica = work.open(1)
        if not gpus:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // replicas))
        connection.send((True, None))
        while True:
            try:
                wave = connection.recv()
            except EOFError:
                return
            try:
                (_, completions), *_rest = replica.run_many([(0, wave)])
                connection.send((True, completions))
            except EvolcoderError as error:
                connection.send((False, error))
    except EvolcoderError as error:
        connection.send((False, error))
    except (BrokenPipeError, KeyboardInterrupt):
        return
