"""The errors that a user sees, and the exit code of each.

A `UserError` is for the user to correct (exit code 2): its message is one line that names the file, line or
key, what was found, and what is expected. An `OutsideError` comes from outside (endpoint, disk, sandbox; exit
code 1): it says what is safe and how to continue. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable


class EvolcoderError(Exception):
    """Base of every error that ends a command with a message instead of a traceback."""

    exit_code = 1


class UserError(EvolcoderError):
    """A mistake in what the user gave: recipe, data file, model name, option."""

    exit_code = 2


class RecipeError(UserError):
    """The recipe is missing, unreadable or invalid."""


class DataError(UserError):
    """A data file is missing, unreadable or holds bad rows; all bad rows are named in one message."""


class ModelError(UserError):
    """A MODEL string names nothing that can be loaded."""


class JournalError(UserError):
    """The journal is corrupt, foreign, or written by another process; the message says what to do."""


class MissingExtraError(UserError):
    """A feature needs packages that are not installed; the message carries the command that gets them."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed: pip install 'evolcoder[{extra}]'")


def require_packages(what: str, extra: str, *packages: str) -> None:
    """Raise MissingExtraError where `what` cannot work because one of `packages` is not installed."""
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)


class OutsideError(EvolcoderError):
    """Something outside failed (endpoint, disk, sandbox); finished work is safe."""


class EndpointError(OutsideError):
    """The model endpoint cannot be reached or keeps refusing."""


class RequestFailedError(EndpointError):
    """One request got no valid answer after every retry, though others do: a stage may drop its row."""


class RequestRefusedError(RequestFailedError):
    """The endpoint will not take this request, now or later: its filter, its length, its content."""


class JournalWriteError(OutsideError):
    """The journal cannot be written (disk full, disk gone); what was durable stays."""


class SandboxError(OutsideError):
    """The machine offers no protection that untrusted programs may run under, or the sandbox broke."""


class TrainingError(OutsideError):
    """Fine-tuning cannot go on (a proof failed, the loss is not a number, the disk is full)."""


class BudgetExhaustedError(OutsideError):
    """A limit the user set (`--max-usd`, `--max-requests`) is reached; a higher one continues."""


def check_least(settings: object, least: int, *names: str) -> None:
    """Raise ValueError for the first of these fields that is under `least`; None is absent."""
    for name in names:
        if (value := getattr(settings, name)) is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least}, found {value}")


def check_above_zero(settings: object, *names: str) -> None:
    """Raise ValueError for the first of these fields that is not above 0; None is absent."""
    for name in names:
        if (value := getattr(settings, name)) is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, found {value}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known name, or "" where none is near."""
    spelled = {one.casefold(): one for one in known}
    matches = difflib.get_close_matches(name.casefold(), spelled, n=1, cutoff=0.6)
    return f" (did you mean {spelled[matches[0]]!r}?)" if matches else ""


def shortened(text: str, most: int = 60) -> str:
    """Return a text of at most `most` characters, for a message of one line."""
    return text if len(text) <= most else text[: most - 3] + "..."
