"""Verdicts counted by problem, suite, vote, reason and tier, and their scores: for `score` and `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from evolcoder.evaluate.benchmarks import Benchmark
from evolcoder.evaluate.pass_at_k import scores_of
from evolcoder.evaluate.scoring import Judgement
from evolcoder.records import Sample, Score


class Tally:
    """Counts the verdicts on a benchmark as they pass: what every score is made from."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self.passed: dict[str, list[bool]] = {}
        self.votes: dict[str, list[tuple[str, bool]]] = {}
        self.suites: dict[str, dict[str, list[bool]]] = {}
        self.reasons: Counter[str] = Counter()
        self.unread: list[Sample] = []
        """Some samples that are no program."""
        self.tiers: Counter[str] = Counter()

    def add(self, judgement: Judgement) -> None:
        """Count the verdicts on one sample."""
        task_id, verdict = judgement.sample.task_id, judgement.verdict
        self.passed.setdefault(task_id, []).append(verdict.passed)
        problem = self._benchmark.by_task.get(task_id)
        vote = None if problem is None else self._benchmark.vote(problem, judgement.sample)
        if vote is not None:
            self.votes.setdefault(task_id, []).append((vote, verdict.passed))
        self.reasons[verdict.reason] += 1
        if verdict.reason == "syntax error" and len(self.unread) < 50:
            self.unread.append(judgement.sample)
        self.tiers[verdict.tier if verdict.level else "not run"] += 1
        for suite, of_suite in judgement.suites.items():
            self.suites.setdefault(suite, {}).setdefault(task_id, []).append(of_suite.passed)

    def scores(self, ks: Sequence[int], named: Mapping[str, str], base_only: bool = False) -> list[Score]:
        """Return pass@k; then that of the base tests where there are more, of majority votes, and of parts.

        maj@k is how often the answer that most of the first k samples give is right (arXiv 2203.11171), also
        for all samples. `named` are the settings that name the scores. A k is left out where a problem has
        fewer samples. With `base_only` only the base tests were judged, so the first scores are theirs.
        """
        benchmark, title = self._benchmark, self._benchmark.title
        of = partial(scores_of, settings=named, family_of=lambda task: benchmark.families.get(task, task))
        found, base = of(self.passed, ks, title), benchmark.suites[0]
        if len(benchmark.suites) > 1 and not base_only:
            found += of(self.suites.get(base, {}), ks, f"{title} ({base} tests)")
        if any(answer for votes in self.votes.values() for answer, _ in votes):
            fewest = min(map(len, self.votes.values()))
            for k in sorted({*(k for k in ks if 1 < k <= fewest), fewest} - {1}):
                chosen = {task: [_majority(votes[:k])] for task, votes in self.votes.items()}
                found += of(chosen, (1,), f"{title} (maj@{k})")
        parts: dict[str, dict[str, list[bool]]] = {}
        for task_id, verdicts in self.passed.items():
            for group in benchmark.groups(benchmark.by_task[task_id]):
                parts.setdefault(group, {})[task_id] = verdicts
        for group, of_group in parts.items():
            found += of(of_group, (1,), f"{title} ({group})")
        return found


def _majority(votes: Sequence[tuple[str, bool]]) -> bool:
    """Return whether the answer of most votes is right; "" is no vote, and of equals the first given wins."""
    counts = Counter(answer for answer, _ in votes if answer)
    winner = max(counts, key=counts.__getitem__, default=None)
    return next((right for answer, right in votes if answer == winner), False)
