"""The option that says how a data file names its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class ColumnPairs(click.ParamType[tuple[tuple[str, str], ...]]):
    """One or more OURS=THEIRS, separated by commas."""

    name = "NAME=COLUMN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, str], ...]:
        """Return the pairs; a name that no row has is an error of usage."""
        from evolcoder.row_forms import COLUMN_NAMES

        if not isinstance(value, str):
            return tuple(value)
        pairs = []
        for pair in value.split(","):
            ours, equals, theirs = (part.strip() for part in pair.partition("="))
            if not equals or not theirs or ours not in COLUMN_NAMES:
                self.fail(f"{pair!r}: NAME=COLUMN is expected, NAME of {', '.join(COLUMN_NAMES)}", param, ctx)
            pairs.append((ours, theirs))
        return tuple(pairs)


def _as_mapping(ctx: click.Context, param: click.Parameter, value: Any) -> dict[str, str]:
    return dict(pair for pairs in value for pair in pairs)


def columns_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --columns, as the argument `columns`: the file's name of a column by ours."""
    return click.option(
        "--columns",
        type=ColumnPairs(),
        multiple=True,
        callback=_as_mapping,
        help="How the data names what, e.g. instruction=task,response=code; for names not known.",
    )(command)
