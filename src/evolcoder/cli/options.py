"""Options that several commands share, each a decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime

    from evolcoder.code_base.choice import CodeSettings


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers of at least 1, separated by commas."""

    name = "K,K,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and int(part) >= 1 for part in parts):
            self.fail(f"numbers of at least 1 separated by commas are expected, found {value!r}", param, ctx)
        return tuple(dict.fromkeys(map(int, parts)))


class ColumnPairs(click.ParamType[tuple[tuple[str, str], ...]]):
    """One or more OURS=THEIRS, separated by commas."""

    name = "NAME=COLUMN"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[tuple[str, str], ...]:
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


class EngineName(click.ParamType[str]):
    """An engine's name, checked before anything starts."""

    name = "ENGINE"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the name; a wrong one is an error of usage."""
        from evolcoder.execution.opening import check_engine

        try:
            check_engine(str(value))
        except UserError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator for several options, which --help shows in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


overwrite_option = click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an earlier output of other data or settings; what is no output of this kind stays.",
)


columns_option = click.option(
    "--columns",
    type=ColumnPairs(),
    multiple=True,
    callback=lambda ctx, param, value: dict(pair for pairs in value for pair in pairs),
    help="How the data names what, e.g. instruction=task,response=code; for names not known.",
)
"""As the argument `columns`: the file's name of a column by ours."""

domain_option = click.option(
    "--domain",
    default="code",
    metavar="NAME",
    help="The field that instructions are of (docs/domains.md), or a file.py.",
)

engine_option = click.option(
    "--engine",
    type=EngineName(),
    default="local",
    help="Where work runs: local, or a Ray cluster: ray, ray:auto, ray:HOST:PORT, ray://HOST:PORT.",
)

recipe_options = together(
    click.argument("recipe", type=click.Path(path_type=Path)),
    click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path),
        help="Run folder (default: runs/NAME of the recipe).",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one setting, e.g. train.epochs=1.",
    ),
)

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_DATED = "of a benchmark with dates (livecodebench), this one included."
window_options = together(
    click.option("--from", "first_day", type=_DAY, metavar="DATE", help=f"First day {_DATED}"),
    click.option("--to", "last_day", type=_DAY, metavar="DATE", help=f"Last day {_DATED}"),
)


def benchmark_within(name: str, first_day: datetime | None, last_day: datetime | None) -> str:
    """Return a benchmark's name with the window of `window_options` in it, if there is one."""
    from evolcoder.evaluate.benchmarks.windows import windowed

    return windowed(name, first_day and first_day.date(), last_day and last_day.date())


request_timeout_option = click.option(
    "--timeout", "timeout_s", type=float, default=600.0, help="Seconds a request."
)
spend_options = together(
    click.option("--max-usd", type=float, help="Stop cleanly before more than this is spent."),
    click.option("--max-requests", type=click.IntRange(min=1), help="Stop cleanly after this many requests."),
)


def spending(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `spend_options` say, by the names of a session's limits."""
    return {name: options[name] for name in ("max_usd", "max_requests")}


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
        **{name: options[name] for name in ("limit", "licences", "held_out", "seed")},
    )
