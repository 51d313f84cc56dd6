"""Runs untrusted programs, many a second, and says what happened to each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolcoder.sandbox.protection import Protection, probe
    from evolcoder.sandbox.sandbox import Sandbox

__all__ = ["Protection", "Sandbox", "probe"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a report reads verdicts and starts no sandbox."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evolcoder.sandbox import protection, sandbox

    return sandbox.Sandbox if name == "Sandbox" else getattr(protection, name)
