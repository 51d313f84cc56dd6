"""The answers of one wave written by several threads, each with its own cores, rows and cache.

A step of decoding is hundreds of small operations. Two threads that share each of them wait for one another
more than they compute: two cores give 1.4 times the work of one so, and 1.9 times with a thread's own rows.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

_Share = TypeVar("_Share")
_MOST = 4
"""Threads that write: Python's part of a step, a seventh, has one of them at a time."""
_LEAST_ROWS = 8
"""Rows of a thread: with fewer, reading the weights twice costs as much as it saves."""


def threads_worth(n_jobs: int, device: str) -> int:
    """Return how many threads should write so many answers: one on a GPU, else as cores and answers allow."""
    if device != "cpu":
        return 1
    return max(1, min(_MOST, torch.get_num_threads(), n_jobs // _LEAST_ROWS))


def groups_of(
    prompts: Sequence[Hashable], costs: Sequence[int], order: Sequence[int], n: int
) -> list[list[int]]:
    """Return jobs, by number, in the order given; those of one prompt stay together, to be computed once.

    A prompt with more than half of one of `n` shares of the cost is cut.
    """
    together: dict[Hashable, list[int]] = defaultdict(list)
    for i in order:
        together[prompts[i]].append(i)
    most = sum(costs) / (2 * n)
    groups: list[list[int]] = []
    for some in together.values():
        groups.append([])
        for i in some:
            if groups[-1] and sum(costs[j] for j in groups[-1]) + costs[i] > most:
                groups.append([])
            groups[-1].append(i)
    return groups


def dealt(groups: Iterable[Sequence[int]], costs: Sequence[int], n: int) -> list[deque[int]]:
    """Deal groups of jobs to `n` threads, the next to whom has least; it depends on nothing but these."""
    hands: list[deque[int]] = [deque() for _ in range(n)]
    load = [0.0] * n
    for some in groups:
        least = load.index(min(load))
        hands[least] += some
        load[least] += sum(costs[i] for i in some)
    return [hand for hand in hands if hand]


def taken(groups: deque[list[int]]) -> Iterator[int]:
    """Yield jobs of groups that several threads take from, a group at a time."""
    while True:
        try:
            group = groups.popleft()
        except IndexError:
            return
        yield from group


def on_cores(
    write: Callable[[_Share, Callable[[], bool]], None],
    each: Sequence[_Share],
    cancelled: Callable[[], bool],
) -> None:
    """Call `write(share, cancelled)` for all shares at once, a thread each, this thread's cores divided.

    Where one raises the others are cancelled, and what it raised is raised.
    """
    if len(each) < 2:
        for share in each:
            write(share, cancelled)
        return
    threads = torch.get_num_threads()
    ended = threading.Event()
    errors: list[BaseException] = []

    def run(share: _Share) -> None:
        torch.set_num_threads(max(1, threads // len(each)))
        try:
            write(share, lambda: ended.is_set() or cancelled())
        except BaseException as error:  # raised again below
            errors.append(error)
            ended.set()

    try:
        with ThreadPoolExecutor(len(each), thread_name_prefix="writer") as pool:
            try:
                wait([pool.submit(run, share) for share in each])
            finally:
                ended.set()  # an interrupted wait ends the threads too
    finally:
        # torch keeps the last number that any thread set for those that start later.
        torch.set_num_threads(threads)
    if errors:
        raise errors[0]
