"""A Ray cluster as a place where work runs (`--engine ray[:ADDRESS]`); Ray is imported when it is asked for.

The engine keeps one actor a CPU core that Ray grants it (for replicas of a model: one a GPU, or one a machine
where there is none) and replaces those that are lost; all pools share them. Actors and not tasks, because a
worker is dear to get ready (a sandbox, a model's weights) and items are small.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evolcoder.errors import MissingExtraError, OutsideError
from evolcoder.execution.engine import Engine, Item, Place, Result, Work
from evolcoder.execution.ray.host import Host, versions
from evolcoder.execution.ray.pool import RayPool
from evolcoder.execution.ray.worker_state import HostHandle

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 5.0
"""How often the cluster is asked whether it has grown or shrunk."""
_EXCHANGES_AT_ONCE = 32


class RayEngine(Engine):
    """The workers of one Ray cluster."""

    name = ""

    def __init__(self, spec: str) -> None:
        """Connect, or begin a cluster; raises MissingExtraError without Ray, OutsideError if none answers."""
        self._ray = imported_ray()
        self._end_ray = connect(self._ray, spec)
        self.name = spec
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._hosts: dict[int, HostHandle] = {}
        self._looked_at: dict[tuple[Place, int | None], float] = {}
        self._actor_class = self._ray.remote(Host)

    def close(self) -> None:
        """End the workers; leave the cluster if it was joined here, end it if it was begun here."""
        with self._lock:
            hosts, self._hosts = list(self._hosts.values()), {}
        for host in hosts:
            self._kill(host)
        self._end_ray()
        self._end_ray = _nothing

    @contextmanager
    def open(
        self, work: Work[Item, Result], workers: int | None = None
    ) -> Generator[RayPool[Item, Result], None, None]:
        """Get workers ready, the first of them before this returns; the others join as they are."""
        pool = RayPool(self.hosts, self.lost, self._ray, work, workers, uuid.uuid4().hex)
        try:
            pool.wait_until_ready()
            yield pool
        finally:
            pool.close()

    def hosts(self, place: Place, most: int | None) -> list[HostHandle]:
        """Return the workers of a place, at most `most`; asks Ray for more where the cluster has room."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at.get((place, most), -_LOOK_EVERY_S) >= _LOOK_EVERY_S:
                self._looked_at[place, most] = now
                self._add_missing(place, most)
            return [host for host in self._hosts.values() if host.place == place][:most]

    def lost(self, host: HostHandle) -> None:
        """Forget a worker and have it replaced."""
        with self._lock:
            self._hosts.pop(host.number, None)
            self._looked_at.clear()
        self._kill(host)
        _log.warning("a worker of the Ray cluster was lost; what it had not reported runs again elsewhere")

    def _kill(self, host: HostHandle) -> None:
        # One that is only out of reach must not go on with items that others work on now.
        with suppress(Exception):
            self._ray.kill(host.actor, no_restart=True)

    def _add_missing(self, place: Place, most: int | None) -> None:
        there = [host for host in self._hosts.values() if host.place == place]
        if place == "core":
            wanted = int(self._ray.cluster_resources().get("CPU", 0))
            self._add(place, min(wanted, most or wanted) - len(there), num_cpus=1)
            return
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        if gpus:
            self._add(place, min(gpus, most or gpus) - len(there), num_cpus=0, num_gpus=1)
            return
        nodes = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        taken = {host.node_id for host in there}
        free = [node_id for node_id in nodes if node_id not in taken]
        for node_id in free[: max(0, (most or len(nodes)) - len(taken))]:
            self._add(place, 1, node_id, num_cpus=0)

    def _add(self, place: Place, count: int, node_id: str = "", **resources: float) -> None:
        options: dict[str, Any] = dict(resources, max_concurrency=_EXCHANGES_AT_ONCE)
        options["enable_task_events"] = False  # nobody looks at single exchanges
        if node_id:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
        for _ in range(count):
            actor = self._actor_class.options(**options).remote(versions())
            handle = HostHandle(next(self._numbers), place, actor, node_id)
            self._hosts[handle.number] = handle


def imported_ray() -> Any:
    """Import Ray; raises MissingExtraError that says the command where it is not installed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray") from error
    return ray


def connect(ray: Any, spec: str) -> Callable[[], None]:
    """Join the cluster that an engine's name names, or begin one for "ray"; return how that is undone.

    A cluster is joined only where its address is given, by the name or RAY_ADDRESS, or where this user began
    or joined it on this machine ("ray:auto"): whoever runs a cluster reads what its members send and runs
    programs as them. Raises OutsideError where no cluster answers.
    """
    if ray.is_initialized():
        return _nothing
    _, _, address = spec.partition(":")
    address = spec if spec.startswith("ray://") else address.removeprefix("auto")
    address = address or os.environ.get("RAY_ADDRESS", "")
    if not address and spec == "ray":
        folder = _begin_own(ray)

        def end() -> None:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)

        return end
    address = address if address not in ("", "auto") else _own_address()
    try:
        if ":" in address:  # where nothing listens Ray itself would wait for a minute and end the process
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        with _sigterm_kept(), warnings.catch_warnings(action="ignore"):  # what they say the error says
            ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from error
    _silence_raylets()
    shutdown: Callable[[], None] = ray.shutdown
    return shutdown


_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where this is 0, Ray takes 127.0.0.1 for this machine's address, and its servers listen there alone."""


def _begin_own(ray: Any) -> Path:
    """Begin a cluster of this machine that nobody else can reach or join; return its folder."""
    # A token of this process and those it starts; not the one in the home, which other clusters may know.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with suppress(ImportError, AttributeError):  # Ray has read its settings at its import, if it was earlier
        core: Any = importlib.import_module("ray._raylet")
        core.Config.initialize("")
        core.AuthenticationTokenLoader.instance().reset_cache()
    # Ray's own folder below /tmp is of whoever came first, and its sockets ask for no token.
    folder = Path(tempfile.mkdtemp(prefix="evolcoder-ray-", dir=os.environ.get("RAY_TMPDIR") or "/tmp"))
    try:
        with _sigterm_kept(), _on_the_loopback():
            ray.init(address="local", include_dashboard=False, _temp_dir=str(folder), **_QUIET)
    except BaseException as error:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if type(error) is Exception:  # what Ray raises where a part of it did not start in its time
            raise OutsideError(f"no Ray cluster could be begun here ({_first_line(error)})") from error
        raise
    _silence_raylets()
    return folder


@contextmanager
def _sigterm_kept() -> Generator[None, None, None]:
    """Keep what this program does at SIGTERM; Ray would print a stack and end with status 15 instead."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(own) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


@contextmanager
def _on_the_loopback() -> Generator[None, None, None]:
    from ray._private import ray_constants

    before = os.environ.get(_LOOPBACK_ONLY), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_LOOPBACK_ONLY], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[_LOOPBACK_ONLY]
        else:
            os.environ[_LOOPBACK_ONLY] = before[0]


def _own_address() -> str:
    """Return the address of the cluster that this user last began or joined here; raises OutsideError."""
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(temporary) / "ray" / "ray_current_cluster"
    try:
        fd = os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _no_cluster("this machine", error) from error
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise _no_cluster("this machine", PermissionError(f"{note} is another user's; name its address"))
        return os.read(fd, 1000).decode("utf-8", "replace").strip()
    finally:
        os.close(fd)


def _nothing() -> None:
    pass


def _no_cluster(address: str, error: Exception) -> OutsideError:
    return OutsideError(
        f"no Ray cluster answers at {address} ({_first_line(error)}); `ray start --head` begins one, "
        "--engine ray uses this machine alone; one that asks for a token (InvalidAuthToken) needs "
        "RAY_AUTH_MODE=token here too, and the head's token (docs/scale.md)"
    )


def _first_line(error: Exception) -> str:
    first = re.split(r"\n|\. ", str(error))[0]
    return first[:200] or type(error).__name__


def _silence_raylets() -> None:
    """Keep Ray from printing its machines' messages to standard output, where results belong."""
    with suppress(Exception):  # not part of Ray's public interface; where it is gone they are printed
        import ray._private.worker as driver

        driver.print_to_stdstream = lambda *message, **how: None
