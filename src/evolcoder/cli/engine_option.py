"""The option that says where a command's work runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from evolcoder.errors import UserError

if TYPE_CHECKING:
    from evolcoder.execution.engine import Engine
    from evolcoder.models.protocol import LanguageModel


class EngineName(click.ParamType[str]):
    """An engine's name, checked before anything starts."""

    name = "ENGINE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; a wrong one is an error of usage."""
        from evolcoder.execution.engine import check_engine

        try:
            check_engine(str(value))
        except UserError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def engine_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine."""
    return click.option(
        "--engine",
        type=EngineName(),
        default="local",
        show_default=True,
        help="Where work runs: local, or a Ray cluster: ray, ray:auto, ray:HOST:PORT, ray://HOST:PORT.",
    )(command)


@contextmanager
def replicas_of(model: LanguageModel, engine: Engine) -> Iterator[None]:
    """Have a local model's answers written on a cluster's GPUs (or machines); nothing for any other."""
    inner: Any = getattr(model, "inner", model)
    if engine.name == "local" or not hasattr(inner, "replica_work"):
        yield
        return
    with engine.open(inner.replica_work()) as replicas:
        inner.write_on(replicas)
        try:
            yield
        finally:
            inner.write_on(None)
