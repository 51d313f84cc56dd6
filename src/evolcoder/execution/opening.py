"""Opens an execution engine by the name that a user gives it; loads Ray only where it is named."""

from __future__ import annotations

from evolcoder.errors import UserError, nearest
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import LocalEngine


def open_engine(spec: str) -> Engine:
    """Return the engine that a user names.

    local             this machine
    ray               a new Ray cluster of this machine alone, or the one that RAY_ADDRESS names
    ray:auto          the cluster that this user began or joined on this machine; never a new one
    ray:HOST:PORT     the cluster whose head listens there
    ray://HOST:PORT   the same through a Ray client server

    Raises UserError for another name, MissingExtraError where Ray is not installed, OutsideError where no
    cluster answers.
    """
    check_engine(spec)
    if spec == "local":
        return LocalEngine()
    from evolcoder.execution.ray.engine import RayEngine

    return RayEngine(spec)


def check_engine(spec: str) -> None:
    """Raise UserError where a name has not the form of an engine's; nothing is connected to."""
    kind, _, address = spec.partition(":")
    if spec in ("local", "ray", "ray:auto"):
        return
    host, _, port = address.removeprefix("//").rpartition(":")
    if kind == "ray" and host and port.isdecimal():
        return
    hint = nearest(kind, ("local", "ray"))
    raise UserError(
        f"engine {spec!r}{hint}: local, ray, ray:auto, ray:HOST:PORT or ray://HOST:PORT is expected"
    )
