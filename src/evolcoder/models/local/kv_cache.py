"""The key-value cache of a changing batch: each row owns a slot and its own columns, from 0 to its length.

A row that ends frees its slot for the next one, whose prompt is copied in. What stands right of a row's
length is masked, so rows of any length share a forward pass without padding tokens being computed.
Shapes: S slots, H key-value heads, C columns, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers.cache_utils import CacheLayerMixin

_GROWTH = 128
"""Columns added at a time; memory follows the longest row instead of the longest allowed one."""
_WIDTH_STEP = 32
"""The width that attention reads is rounded up to this, for aligned kernels."""


@dataclass(slots=True)
class _Step:
    """What the layers must know of the forward pass under way."""

    rows_N: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    lengths_N: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    n: int = 0
    """Rows."""
    width: int = 0


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values for all slots, as a layer of a transformers cache."""

    is_sliding = False

    def __init__(self, step: _Step, keys_SHCD: torch.Tensor, values_SHCD: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self._step = step
        self.keys: torch.Tensor = keys_SHCD
        self.values: torch.Tensor = values_SHCD
        self._attended: tuple[torch.Tensor, torch.Tensor] | None = None
        """What rows attended to last: mostly it is what they attend to next."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the tensors are there from the beginning."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token a row at its own column; return what the rows may attend to."""
        step = self._step
        self.keys[step.rows_N, :, step.lengths_N] = key_states[:, :, 0]
        self.values[step.rows_N, :, step.lengths_N] = value_states[:, :, 0]
        attended = self._attended
        if attended is None or attended[0].shape[0] != step.n or attended[0].shape[2] != step.width:
            attended = self.keys[: step.n, :, : step.width], self.values[: step.n, :, : step.width]
            self._attended = attended
        return attended

    def widen(self, columns: int) -> None:
        """Make room for so many columns."""
        self._attended = None  # the old tensors are free as soon as they are copied
        self.keys = _widened(self.keys, columns)
        self.values = _widened(self.values, columns)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the attended width; the mask itself is given by the caller of the model."""
        return self._step.width, 0

    def get_seq_length(self) -> int:
        """Return the longest row's length."""
        return self._step.width

    def get_max_length(self) -> int:
        """Return -1: there is no bound of its own."""
        return -1


class KVSlots:
    """Slots for `n_slots` rows of one model, of `columns` tokens at first: growing copies them all."""

    def __init__(self, n_slots: int, columns: int = _GROWTH) -> None:
        self._n_slots = n_slots
        self._columns = columns
        self._step = _Step()
        self._layers: list[_SlotLayer] = []
        self.cache: Any = None
        """The `past_key_values` of a step."""

    def load(self, slot: int, prompt: Any, length: int) -> None:
        """Copy the keys and values of a prompt of `length` tokens, in a `DynamicCache`, into `slot`."""
        if not self._layers:
            cache_of: Any = transformers.Cache
            self._layers = [self._new_layer(layer.keys, layer.values) for layer in prompt.layers]
            self.cache = cache_of(layers=list(self._layers))
        self._reserve(length + 1)
        for own, layer in zip(self._layers, prompt.layers, strict=True):
            own.keys[slot, :, :length] = layer.keys[0, :, :length]
            own.values[slot, :, :length] = layer.values[0, :, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the row of `length` tokens in slot `source` into slot `target`."""
        for layer in self._layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def begin_step(self, lengths: list[int], window: int | None) -> torch.Tensor | None:
        """Prepare a forward pass of one token for each of slots 0 to n-1; return its mask, N x 1 x 1 x width.

        The mask is additive, in the dtype of the cache; `window` bounds how far back a row looks.
        """
        width = -(-(max(lengths) + 1) // _WIDTH_STEP) * _WIDTH_STEP
        self._reserve(width)
        device, dtype = self._layers[0].keys.device, self._layers[0].keys.dtype
        self._step.rows_N = torch.arange(len(lengths), device=device)
        self._step.lengths_N = torch.tensor(lengths, device=device)
        self._step.n, self._step.width = len(lengths), width
        return self.mask(window, dtype)

    def mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Return the additive mask of the step begun last, for a sliding `window` or none."""
        step = self._step
        columns_C = torch.arange(step.width, device=step.lengths_N.device)
        hidden_NC = columns_C > step.lengths_N.unsqueeze(1)
        if window is not None:
            hidden_NC |= columns_C <= step.lengths_N.unsqueeze(1) - window
        mask_NC = torch.zeros(hidden_NC.shape, dtype=dtype, device=hidden_NC.device)
        return mask_NC.masked_fill_(hidden_NC, float("-inf"))[:, None, None, :]

    def _new_layer(self, keys: torch.Tensor, values: torch.Tensor) -> _SlotLayer:
        # Zeros, not empty: a masked column still enters the product with weight 0, and 0 times NaN is NaN.
        shape = (self._n_slots, keys.shape[1], max(self._columns, keys.shape[2] + 1))
        return _SlotLayer(
            self._step, keys.new_zeros((*shape, keys.shape[3])), values.new_zeros((*shape, values.shape[3]))
        )

    def _reserve(self, columns: int) -> None:
        """Grow every layer to hold at least `columns`."""
        have = self._layers[0].keys.shape[2]
        if columns <= have:
            return
        grown = -(-columns // _GROWTH) * _GROWTH
        for layer in self._layers:
            layer.widen(grown)


def _widened(old_SHCD: torch.Tensor, columns: int) -> torch.Tensor:
    slots, heads, have, dimension = old_SHCD.shape
    new_SHCD = old_SHCD.new_empty((slots, heads, columns, dimension))
    new_SHCD[:, :, :have] = old_SHCD
    new_SHCD[:, :, have:] = 0
    return new_SHCD
