"""Copies of a model's weights in other processes: one a GPU of a cluster or of this machine.

The driver keeps the requests, chooses what is written together, and puts every reply into its journal; a
replica gets a list of requests, returns their completions, and keeps nothing.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from evolcoder.errors import EvolcoderError, ModelError, OutsideError, RequestFailedError
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Request

if TYPE_CHECKING:
    from evolcoder.models.local.engine import TransformersEngine
    from evolcoder.models.local.vllm_engine import VllmEngine

_STEP_OF_GPUS = "CUDA_VISIBLE_DEVICES"
Tag = TypeVar("Tag")
Wave = list[Request]
"""Requests that are written together."""
Answers = Sequence[Completion | RequestFailedError]
"""Of a wave, in its order; an error for a request that was given up."""


class Replicas(Protocol):
    """What a local model needs of an engine's pool."""

    @property
    def workers(self) -> int:
        """Waves that are written at once."""
        ...

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, Answers]]:
        """Yield each wave's answers with its tag, as they come."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaWork:
    """Answers waves of requests with the weights that `ref` names where the worker is."""

    ref: str
    """A MODEL string; a folder or file must lie under this path on every machine."""
    name: str
    """Identity of the weights (see `weights_identity`), so that no other ones answer in their name."""
    settings: LocalSettings

    @property
    def place(self) -> Literal["replica"]:
        """A replica takes up a GPU, or a machine."""
        return "replica"

    def open(self, slots: int) -> Replica:
        """Load the weights; raises ModelError where they are missing or others."""
        import torch

        from evolcoder.models.local.engine import open_answering_engine, weights_identity

        if (found := weights_identity(self.ref)) != self.name:
            raise ModelError(f"{self.ref}: a worker has {found} there, the driver {self.name}")
        if not torch.cuda.is_available():
            # A cluster's scheduler tells OpenMP to use one thread; a replica has its machine to itself.
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        return Replica(open_answering_engine(self.ref, self.settings))

    def label(self, worker: Any) -> str:
        """Return ""."""
        return ""

    def set_aside(self, item: Wave, reason: str) -> Answers:
        """Return errors: an answer that nobody wrote must not stand in a journal."""
        return [RequestFailedError(f"{self.ref}: a request cannot be answered: {reason}") for _ in item]


def answers_on(replicas: Replicas, waves: Sequence[Wave]) -> list[Answers]:
    """Return the answers of each wave; the requests of one that was given up are asked one by one.

    So that a request that kills its replica keeps nobody else's answer back.
    """
    answered = dict(replicas.run_many(enumerate(waves)))
    given_up = [
        number
        for number, wave in enumerate(waves)
        if len(wave) > 1 and all(isinstance(answer, RequestFailedError) for answer in answered[number])
    ]
    alone = {(number, place): [request] for number in given_up for place, request in enumerate(waves[number])}
    found = dict(replicas.run_many(alone.items()))
    for number in given_up:
        answered[number] = [found[number, place][0] for place in range(len(waves[number]))]
    return [answered[number] for number in range(len(waves))]


class Replica:
    """Weights in this process."""

    def __init__(self, engine: TransformersEngine | VllmEngine) -> None:
        self._engine = engine

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, Answers]]:
        """Answer wave after wave."""
        for tag, wave in tagged:
            yield tag, self._engine.answer(wave)

    def close(self) -> None:
        """Nothing to do: the weights go with the object."""


class ReplicaProcesses:
    """Processes of this machine with the weights, one a GPU; made ready at once.

    Without a GPU they share the cores, which helps nobody but the tests. Raises what loading raises.
    """

    def __init__(self, work: ReplicaWork, replicas: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Any] = []
        self._processes: list[Any] = []
        gpus = visible_gpus()
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


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    import torch

    named = os.environ.get(_STEP_OF_GPUS)
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named and count else [str(number) for number in range(count)]


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
