"""Packing: which documents go through the model together, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evolcoder.train.settings import TrainSettings


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Pack items, longest first, each into the fullest bin that still holds it; return item indices by bin.

    Best-fit decreasing; the bins that have exactly r free slots are one bit of an integer, so finding the
    fullest that fits is one shift, and 78,000 rows take about 0.2 s.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    bins: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0
    for i in order:
        length = lengths[i]
        if length > capacity:
            raise ValueError(f"item of {length} tokens does not fit a bin of {capacity}")
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            bin_ = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
            bins[bin_].append(i)
        else:
            room, bin_ = capacity, len(bins)
            bins.append([i])
        with_room[room - length].append(bin_)
        rooms |= 1 << (room - length)
    return bins


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: micro-batches of document indices."""

    micro_batches: tuple[tuple[int, ...], ...]

    @property
    def documents(self) -> list[int]:
        """Every document of the step."""
        return [i for batch in self.micro_batches for i in batch]


def plan_steps(lengths: npt.NDArray[np.int64], settings: TrainSettings) -> list[Step]:
    """Lay out the whole training: a pure function of the lengths and the settings, whatever the devices."""
    random = np.random.default_rng(settings.seed)
    steps: list[Step] = []
    left = round(settings.epochs * len(lengths))
    while left > 0 if settings.max_steps is None else len(steps) < settings.max_steps:
        order = random.permutation(len(lengths))
        if settings.max_steps is None:
            order, left = order[:left], left - len(order)
        steps += _epoch(order, lengths, settings, random)
    return steps[: settings.max_steps]


def _epoch(
    order: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    settings: TrainSettings,
    random: np.random.Generator,
) -> list[Step]:
    """One pass over the documents in `order`."""
    if settings.batch_tokens is None:
        size = settings.batch_size
        return [
            Step(micro_batches(order[begin : begin + size], lengths, settings))
            for begin in range(0, len(order), size)
        ]
    batches = micro_batches(order, lengths, settings)
    shuffled = [batches[i] for i in random.permutation(len(batches))]
    per_step = max(1, round(settings.batch_tokens / row_capacity(settings)))
    return [Step(tuple(shuffled[begin : begin + per_step])) for begin in range(0, len(shuffled), per_step)]


def micro_batches(
    documents: Iterable[int], lengths: npt.NDArray[np.int64], settings: TrainSettings
) -> tuple[tuple[int, ...], ...]:
    """Divide documents into what goes through the model at once."""
    capacity = row_capacity(settings)
    if settings.packing:
        chosen = [int(i) for i in documents]
        bins = best_fit([int(lengths[i]) for i in chosen], capacity)
        return tuple(tuple(chosen[i] for i in bin_) for bin_ in bins)
    batches: list[list[int]] = []
    for i in sorted(map(int, documents), key=lambda i: (-int(lengths[i]), i)):
        # The first of a batch is its longest, so this many slots the batch takes with one more row.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= capacity:
            batches[-1].append(i)
        else:
            batches.append([i])
    return tuple(map(tuple, batches))


def row_capacity(settings: TrainSettings) -> int:
    """Return the most tokens that go through the model at once."""
    return settings.pack_length or settings.max_length
