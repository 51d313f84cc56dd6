"""The sandbox as a reward for other trainers: TRL, verl, verifiers. Each calls a function of its own form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from evolcoder.extraction.code_blocks import extract
from evolcoder.reinforce.judge import test_of
from evolcoder.reinforce.reward import Rewarder
from evolcoder.reinforce.settings import RewardSettings
from evolcoder.sandbox.sandbox import Sandbox


class ExecutionReward(AbstractContextManager["ExecutionReward"]):
    """1.0 where the program in a completion passes its tests, else 0.0; keeps a sandbox open between calls.

    A context manager; the sandbox also ends with its process.
    """

    __name__ = "execution_reward"  # TRL names a reward function's curve by it

    def __init__(self, *, timeout_s: float = 3.0, workers: int | None = None, trusted_tests: bool = False):
        self._sandbox = Sandbox(workers)
        self._rewarder = Rewarder(self._sandbox, RewardSettings(cpu_s=timeout_s), 1)
        self._trusted = trusted_tests

    def __exit__(self, *error: object) -> None:
        self._sandbox.close()

    def rewards(
        self, completions: Sequence[Any], tests: Sequence[Any], entry_points: Sequence[str]
    ) -> list[float]:
        """Return the reward of each completion (text, or a chat whose last message counts)."""
        wanted = [
            (extract(_text(completion), "auto", entry_point=name), test_of(given, name, self._trusted))
            for completion, given, name in zip(completions, tests, entry_points, strict=True)
        ]
        return [float(verdict.passed) for verdict in self._rewarder.verdicts(wanted)]

    def __call__(
        self,
        completions: Sequence[Any],
        tests: Sequence[Any],
        entry_point: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float]:
        """TRL: called with the completions and the columns of the data set."""
        return self.rewards(completions, tests, entry_point or [""] * len(completions))

    def compute_score(
        self, data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **rest: Any
    ) -> float:
        """verl: `ground_truth` is {"tests", "entry_point"}, or that as JSON."""
        told: Mapping[str, Any] = json.loads(ground_truth) if isinstance(ground_truth, str) else ground_truth
        return self.rewards([solution_str], [told["tests"]], [str(told.get("entry_point") or "")])[0]

    async def verifiers_reward(self, completion: Any, info: Mapping[str, Any], **rest: Any) -> float:
        """verifiers: `info` of a row is {"tests", "entry_point"}."""
        names = [str(info.get("entry_point") or "")]
        (value,) = await asyncio.to_thread(self.rewards, [completion], [info["tests"]], names)
        return value


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    last = completion[-1]
    return str(last["content"] if isinstance(last, Mapping) else last.content)
