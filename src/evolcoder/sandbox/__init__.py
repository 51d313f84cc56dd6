"""Runs untrusted programs, many a second, and says what happened to each."""

from evolcoder.sandbox.pool import Sandbox
from evolcoder.sandbox.protection import Protection, probe

__all__ = ["Protection", "Sandbox", "probe"]
