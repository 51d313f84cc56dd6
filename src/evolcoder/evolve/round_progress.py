"""The progress line of a round: speed, tokens, money, failures, eliminations."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping

from evolcoder.evolve.evolve_one import RowUsage
from evolcoder.models.protocol import Completion, LanguageModel, Watchable
from evolcoder.models.stats import stats_of

_WINDOW_S = 10.0
"""Requests a second are those of this long a time."""


class LiveCounts:
    """Counts of one round; rows count as soon as they are finished, written in order or not."""

    def __init__(self, model: LanguageModel, rows: int | None, usd_before: float, rounds_after: int) -> None:
        """Begin to count; `rows` is how many this round has, `usd_before` what earlier rounds cost."""
        self._stats = stats_of(model)
        self._rows = rows
        self._usd_before, self._rounds_after = usd_before, rounds_after
        self._finished = self._told = 0
        self._usage = RowUsage()
        self._written = self._from_journal = 0
        inner = getattr(model, "inner", model)
        if isinstance(inner, Watchable):  # its replies come a wave at a time, minutes apart
            inner.watch(self._add_written)
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), self._answers())])

    def add_reply(self, completion: Completion) -> None:
        """Count a reply as it comes."""
        self._usage.add(completion)
        if completion.cached:
            self._from_journal += completion.completion_tokens

    def _add_written(self, tokens: int, ended: int) -> None:
        """Count tokens of answers that a model in this process is writing."""
        self._written += tokens

    def add_row(self) -> None:
        """Count a finished row."""
        self._finished += 1

    def newly_finished(self) -> int:
        """Return how many rows were finished since this was last asked."""
        new, self._told = self._finished - self._told, self._finished
        return new

    def facts(self, kept: int, eliminated: Mapping[str, int]) -> dict[str, str | float]:
        """Return what the bar shows."""
        shown: dict[str, str | float] = {"requests/s": round(self._per_second(), 1)}
        if self._stats is not None:
            shown["in flight"] = self._stats.in_flight
        answers = max(self._usage.completion_tokens, self._from_journal + self._written)
        shown["tokens"] = self._usage.prompt_tokens + answers
        if self._usage.cost_usd is not None:
            shown["usd"] = self._money(self._usage.cost_usd)
        shown["kept"] = kept
        if eliminated:
            shown["eliminated"] = by_number(eliminated)
        if self._stats is not None and self._stats.retries:
            shown["asked again"] = by_number(self._stats.retries)
        if self._stats is not None and self._stats.left_out:
            shown["refused and left out"] = ", ".join(self._stats.left_out)
        if self._stats is not None and (wait_s := self._stats.resumes_at - time.monotonic()) > 1:
            shown["waits as told"] = f"{wait_s:.0f} s"
        return shown

    def _answers(self) -> int:
        return self._usage.requests if self._stats is None else self._stats.answered + self._stats.hits

    def _per_second(self) -> float:
        now, answers = time.monotonic(), self._answers()
        self._seen.append((now, answers))
        while len(self._seen) > 2 and self._seen[1][0] < now - _WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (answers - before) / max(now - then, 0.001)

    def _money(self, usd: float) -> str:
        """Return the money so far and what the last round's end is expected to have cost."""
        so_far = f"{self._usd_before + usd:.4f}"
        if self._rows is None or self._finished == 0:
            return so_far
        rows = self._rows * (1 + self._rounds_after)
        return f"{so_far} of about {self._usd_before + usd / self._finished * rows:.4f}"


def by_number(counts: Mapping[str, int]) -> str:
    """Return "12 refused, 3 empty" of counts, the largest first."""
    return ", ".join(f"{n} {name}" for name, n in Counter(counts).most_common())
