"""Options that every command with a model in this process takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def local_model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --batch-size, --dtype and --replicas."""
    for option in (
        click.option(
            "--replicas",
            type=click.IntRange(min=0),
            default=1,
            show_default=True,
            help="Copies of a local model, a GPU each, that write at once; 0: one for each GPU.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
            default="auto",
            show_default=True,
            help="Number format of a local model.",
        ),
        click.option(
            "--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Local models."
        ),
    ):
        command = option(command)
    return command
