"""Options of the commands that read a code base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.options import (
    request_timeout_option,
    spend_options,
    together,
)

if TYPE_CHECKING:
    from evolcoder.code_base.choice import CodeSettings


code_options = together(
    click.option(
        "--licence",
        "licences",
        multiple=True,
        metavar="SPDX",
        help="Also read files under this licence; permissive ones and files without any are read.",
    ),
    click.option(
        "--held-out",
        type=float,
        default=0.2,
        help="Share of the documented Python functions kept for the private benchmark.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="At most so many snippets or functions."),
    click.option("--seed", type=int, default=0),
    spend_options,
    request_timeout_option,
)
"""Add what decides which files and functions are read, and what a teacher may spend on them."""


def code_settings(options: dict[str, Any], languages: str = "", per_file: int = 3) -> CodeSettings:
    """Return what these options say; raises UserError."""
    from evolcoder.code_base.choice import CodeSettings

    return CodeSettings(
        languages=tuple(name.strip() for name in languages.split(",") if name.strip()),
        per_file=per_file,
        limit=options["limit"],
        licences=options["licences"],
        held_out=options["held_out"],
        seed=options["seed"],
    )
