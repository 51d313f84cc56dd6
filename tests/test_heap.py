"""Memory of a training step stays in the process until training ends, and then goes back."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from evolcoder.heap import bounded, heap_kept, memory_bytes

MIB = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc's allocator is told"
)
def test_freed_memory_is_kept_in_between_and_given_back_at_the_end() -> None:
    with heap_kept():
        before = resident_bytes()
        buffers = [torch.ones(16 * MIB) for _ in range(4)]  # 64 MiB each
        del buffers
        kept = resident_bytes()
    assert kept > before + 200 * MIB
    assert resident_bytes() < before + 100 * MIB


def test_what_fragments_the_heap_is_given_back_and_a_long_step_is_allowed_its_need() -> None:
    live, kept, gave_back = 100, 0, []

    def give_back() -> None:
        nonlocal kept
        gave_back.append(live + kept)
        kept = 0

    after_step = bounded(lambda: live + kept, give_back)
    for _ in range(1000):  # each step leaves holes that the next cannot use
        kept += 1
        after_step()
    assert max(gave_back) <= 110 and len(gave_back) < 200
    live = 300  # longer steps from here on: the first is found out, then all of them fit
    for _ in range(100):
        after_step()
    assert sum(n >= 300 for n in gave_back) == 1


def test_a_step_that_always_needs_the_same_gives_nothing_back() -> None:
    gave_back: list[None] = []
    after_step = bounded(lambda: 1000, lambda: gave_back.append(None))
    for _ in range(50):
        after_step()
    assert not gave_back


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/memory.max": "3000\n", "a/b/memory.max": "max\n"}, 3000),
        ("0::/a/b\n", {"a/memory.max": "3000\n", "a/b/memory.max": "2000\n"}, 2000),
        ("0::/a:b\n", {"a:b/memory.max": "2000\n"}, 2000),
        ("0::/of/the/host\n", {"memory.max": "1000\n"}, 1000),
        ("0::/../..\n", {"memory.max": "1000\n"}, 1000),
        ("4:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "500\n"}, 500),
        ("4:memory:/of/the/host\n0::/\n", {"memory/memory.limit_in_bytes": "500\n"}, 500),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 4096),
        ("5:cpu:/a\n0::/\n", {"memory.max": "max\n"}, 4096),
        (None, {}, 4096),
    ],
)
def test_the_memory_of_a_container_is_its_lowest_limit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str | None,
    limits: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": 1024}.__getitem__)
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, limit in limits.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit)
    assert memory_bytes(tmp_path) == expected
