"""One worker a machine of a Ray cluster, for work that waits for the network: it takes up no core.

The pool of pool.py keeps each worker about a second of computing ahead. A request to an endpoint takes
seconds and computes nothing, so here each item travels by itself, as soon as it is there, and one worker has
thousands of them in hand.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from evolcoder.errors import EvolcoderError, OutsideError
from evolcoder.execution.ray.worker import versions

ItemIn = TypeVar("ItemIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_READY_WITHIN_S = 120.0
_AT_ONCE = 4096


class WaitingWorker(Protocol[ItemIn, ResultOut]):
    """Something that is ready to work on any number of items at once."""

    async def one(self, item: ItemIn, /) -> ResultOut:
        """Work on one item."""
        ...


class WaitingWork(Protocol[ItemIn, ResultOut]):
    """What is done to items: plain data that says how a worker gets ready. Must be picklable."""

    async def open(self) -> WaitingWorker[ItemIn, ResultOut]:
        """Return a worker, in the event loop it will work in; raises EvolcoderError where it cannot."""
        ...


class MachineLostError(OutsideError):
    """The machine that worked on an item is gone, and nobody knows how far it came."""


class Machine:
    """The worker's side: an actor that answers many calls at once. It imports no Ray."""

    def __init__(self, wanted: tuple[str, str], work: bytes) -> None:
        """`wanted` are the driver's versions."""
        self._wanted = wanted
        self._work: Any = pickle.loads(work)
        self._worker: Any = None
        self._opening = asyncio.Lock()

    async def ready(self) -> str:
        """Get ready; return why it cannot, "" where it can."""
        if self._wanted != versions():
            there, here = " on Python ".join(self._wanted), " on Python ".join(versions())
            return f"the driver has evolcoder {there}, this machine {here}"
        try:
            await self._opened()
        except EvolcoderError as error:
            return str(error)
        return ""

    async def one(self, item: bytes) -> bytes:
        """Work on one pickled item; a process that was started again gets ready by itself."""
        return pickle.dumps(await (await self._opened()).one(pickle.loads(item)), 5)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._worker is None:
                self._worker = await self._work.open()
        return self._worker


class RayMachines(Generic[Item, Result]):
    """The driver's side; made by `RayEngine.machines`."""

    def __init__(self, ray: Any, work: WaitingWork[Item, Result], home_only: bool) -> None:
        """Get a worker ready on each machine, or on the driver's own; those that cannot are left out."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        home: str = ray.get_runtime_context().get_node_id()
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        nodes = [node for node in nodes if not home_only or node == home]
        options = {"num_cpus": 0, "max_concurrency": _AT_ONCE, "max_restarts": -1}
        options["enable_task_events"] = False  # nobody looks at single items
        actor_class, packed = ray.remote(Machine), ray.cloudpickle.dumps(work)
        actors = {}
        for node in nodes:
            strategy = NodeAffinitySchedulingStrategy(node, soft=False)
            actor = actor_class.options(**options, scheduling_strategy=strategy).remote(versions(), packed)
            actors[node] = actor
        self._in_flight: dict[Any, int] = {}
        self._home: Any = None
        calls = {actor.ready.remote(): node for node, actor in actors.items()}
        ready = []
        if calls:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=_READY_WITHIN_S)
        for call in ready:
            node = calls[call]
            try:
                refusal: str = ray.get(call)
            except ray.exceptions.RayError as error:
                refusal = str(error).strip().splitlines()[-1]
            if refusal:
                _log.warning("a machine of the cluster is not asked: %s", refusal)
                continue
            self._in_flight[actors[node]] = 0
            if node == home:
                self._home = actors[node]
        self._actors = list(actors.values())
        for actor in set(self._actors) - set(self._in_flight):
            self._kill(actor)

    @property
    def count(self) -> int:
        """Machines that are ready."""
        return len(self._in_flight)

    @property
    def has_home(self) -> bool:
        """Whether the driver's own machine is one of them."""
        return self._home in self._in_flight

    async def one(self, item: Item, at_home: bool = False) -> Result:
        """Work on one item, `at_home` on the driver's machine, else on the one with the fewest in hand.

        Cancelled, it is cancelled there too. Raises MachineLostError.
        """
        if not (self.has_home if at_home else self._in_flight):
            raise MachineLostError("no machine is left")
        actor = self._home if at_home else min(self._in_flight, key=self._in_flight.__getitem__)
        call = actor.one.remote(pickle.dumps(item, 5))
        self._in_flight[actor] += 1
        try:
            result: Result = pickle.loads(await asyncio.wrap_future(call.future()))
            return result
        except asyncio.CancelledError:
            with suppress(Exception):
                self._ray.cancel(call)
            raise
        except self._ray.exceptions.RayError as error:
            # Out of reach for a moment, or gone for good, or begun again where it cannot get ready.
            if not isinstance(error, self._ray.exceptions.ActorUnavailableError):
                self._in_flight.pop(actor, None)
            raise MachineLostError("the machine that asked was lost") from error
        finally:
            if actor in self._in_flight:
                self._in_flight[actor] -= 1

    def close(self) -> None:
        """End the workers; what is in flight is dropped."""
        self._in_flight = {}
        for actor in self._actors:
            self._kill(actor)

    def _kill(self, actor: Any) -> None:
        with suppress(Exception):
            self._ray.kill(actor, no_restart=True)
