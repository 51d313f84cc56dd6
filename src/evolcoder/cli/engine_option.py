"""The option that says where a command's work runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from evolcoder.errors import UserError


class EngineName(click.ParamType[str]):
    """An engine's name, checked before anything starts."""

    name = "ENGINE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; a wrong one is an error of usage."""
        from evolcoder.execution.opening import check_engine

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
