"""Runs untrusted programs, many a second, and says what happened to each."""

from evolcoder.sandbox.protection import Protection, probe
from evolcoder.sandbox.sandbox import Sandbox

__all__ = ["Protection", "Sandbox", "probe"]
