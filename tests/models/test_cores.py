"""One wave written by several threads: every answer once, the same as by one, and an end when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from byte_llama import save_tiny_model
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.models.local.cores import dealt, groups_of, on_cores, threads_worth
from evolcoder.models.local.engine import TransformersEngine
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Request, Sampling


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def none_cancelled() -> bool:
    return False


@given(
    jobs=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 300)), max_size=60), threads=st.integers(1, 4)
)
def test_every_job_is_dealt_once_and_small_groups_stay_together(
    jobs: list[tuple[int, int]], threads: int
) -> None:
    prompts, costs = [prompt for prompt, _ in jobs], [cost for _, cost in jobs]
    order = sorted(range(len(jobs)), key=prompts.__getitem__)
    shares = dealt(groups_of(prompts, costs, order, threads), costs, threads)
    assert sorted(i for share in shares for i in share) == list(range(len(jobs)))
    assert len(shares) <= threads
    assert all(shares), "nobody waits for an empty share"
    for prompt in set(prompts):
        own = [i for i, p in enumerate(prompts) if p == prompt]
        if sum(costs[i] for i in own) <= sum(costs) / (2 * threads):
            assert sum(bool(set(own) & set(share)) for share in shares) == 1


def test_a_thread_has_rows_enough(two_threads: None) -> None:
    assert [threads_worth(n, "cpu") for n in (0, 1, 15, 16, 400)] == [1, 1, 1, 2, 2]
    assert threads_worth(400, "cuda") == 1


def test_two_threads_write_what_one_does(tmp_path: Path, two_threads: None) -> None:
    folder = save_tiny_model(tmp_path / "model")
    engine = TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=16))
    sampling = Sampling(temperature=0.8, top_p=0.9, max_tokens=20, seed=3)
    requests = [Request(f"prompt {i}" * (1 + i % 3), sampling, n) for i in range(9) for n in range(4)]
    heard: list[tuple[int, int]] = []
    together = engine.answer(requests, on_step=lambda tokens, ended: heard.append((tokens, ended)))
    torch.set_num_threads(1)
    assert [c.text for c in engine.answer(requests)] == [c.text for c in together]
    assert len({c.text for c in together}) > len(requests) // 2
    assert sum(tokens for tokens, _ in heard) >= sum(c.completion_tokens for c in together) - len(requests)


def test_the_first_error_is_raised_and_ends_the_others(two_threads: None) -> None:
    ended = threading.Event()

    def write(share: Sequence[int], stopped: Callable[[], bool]) -> None:
        if share == [1]:
            raise ValueError("one of them")
        while not stopped():
            pass
        ended.set()
        raise RuntimeError("cancelled because of it")

    with pytest.raises(ValueError, match="one of them"):
        on_cores(write, [[0], [1]], none_cancelled)
    assert ended.is_set()


def test_cores_are_divided_and_given_back(two_threads: None) -> None:
    seen: list[int] = []
    on_cores(lambda share, stopped: seen.append(torch.get_num_threads()), [[0], [1]], none_cancelled)
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    late: list[int] = []
    thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert late == [2], "threads that start later have all cores again"
