"""The answers of one wave written by several threads, each with its own cores, rows and cache.

A step of decoding is hundreds of small operations. Two threads that share each of them wait for one another
more than they compute: two cores give 1.4 times the work of one so, and 1.9 times with a thread's own rows.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import torch

_MOST = 4
"""Threads that write: Python's part of a step, a seventh, has one of them at a time."""
_LEAST_ROWS = 8
"""Rows of a thread: with fewer, reading the weights twice costs as much as it saves."""


def threads_worth(n_jobs: int, device: str) -> int:
    """Return how many threads should write so many answers: one on a GPU, else as cores and answers allow."""
    if device != "cpu":
        return 1
    return max(1, min(_MOST, torch.get_num_threads(), n_jobs // _LEAST_ROWS))


def shares(
    prompts: Sequence[Hashable], costs: Sequence[int], order: Sequence[int], n: int
) -> list[list[int]]:
    """Deal jobs, by number, to `n` threads in the order given; those of one prompt stay together.

    A prompt with more than half a share of the cost is cut. What comes out depends on nothing but this.
    """
    together: dict[Hashable, list[int]] = defaultdict(list)
    for i in order:
        together[prompts[i]].append(i)
    most = sum(costs) / (2 * n)
    dealt: list[list[int]] = [[] for _ in range(n)]
    load = [0.0] * n
    for group in together.values():
        cut: list[list[int]] = [[]]
        for i in group:
            if cut[-1] and sum(costs[j] for j in cut[-1]) + costs[i] > most:
                cut.append([])
            cut[-1].append(i)
        for some in cut:
            least = load.index(min(load))
            dealt[least] += some
            load[least] += sum(costs[i] for i in some)
    return [share for share in dealt if share]


def on_cores(
    write: Callable[[Sequence[int], Callable[[], bool]], None],
    each: Sequence[Sequence[int]],
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

    def run(share: Sequence[int]) -> None:
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
