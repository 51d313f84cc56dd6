"""The stages of a run in words: for the live view and for plain lines alike."""

from __future__ import annotations

from collections.abc import Sequence

from evolcoder.progress import StageLine, duration

_SIGNS = {"waiting": "·", "running": "▶", "done": "✓", "kept": "✓", "skipped": "–"}


def stage_text(line: StageLine, elapsed: float) -> str:
    """Return one stage as a line; `elapsed` seconds have gone since it began, where it is running."""
    return f"{_SIGNS[line.state]} {line.title:<38} {_time_text(line, elapsed)}".rstrip()


def shown_window(lines: Sequence[StageLine], most: int) -> tuple[Sequence[StageLine], int, int]:
    """Return at most `most` lines around the one that runs, and how many were left out before and after."""
    if len(lines) <= most:
        return lines, 0, 0
    at = next((i for i, line in enumerate(lines) if line.state in ("running", "waiting")), len(lines) - 1)
    start = max(0, min(at - most // 3, len(lines) - most))
    return lines[start : start + most], start, len(lines) - start - most


def _time_text(line: StageLine, elapsed: float) -> str:
    if line.state == "running":
        of = f" of about {duration(line.seconds)}" if line.seconds else ""
        return f"{duration(elapsed)}{of}"
    if line.state == "kept":
        return "done before"
    if line.state == "skipped":
        return "skipped"
    if line.seconds is None:
        return ""
    return duration(line.seconds) if line.state == "done" else f"about {duration(line.seconds)}"
