"""The key-value cache of a changing batch: each row owns a slot and its own columns, from 0 to its length.

A prompt is computed in a slot of its own, the last, and copied from there: what the next prompt shares with
it is in its place. A row that ends frees its slot for the next one. What stands right of a row's length is
masked, so rows of any length share a forward pass without padding tokens being computed.
Shapes: S slots, H key-value heads, C columns, D head dimension.
"""

from __future__ import annotations

import inspect
import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers.cache_utils import CacheLayerMixin
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from evolcoder.heap import mapped, memory_bytes

_GROWTH = 128
"""Columns added at a time; memory follows the longest row instead of the longest allowed one."""
_WIDTH_STEP = 32
"""The width that attention reads is rounded up to this, for aligned kernels."""
CACHE = "cache" if "cache" in inspect.signature(LlamaForCausalLM.forward).parameters else "past_key_values"
"""What forward passes call their cache: `cache` from transformers 5.24 on."""


@dataclass(slots=True)
class _Pass:
    """What the layers must know of the forward pass under way."""

    n_slots: int
    columns: int
    known: int | None = None
    """Tokens of the prompt that are in its slot already; None in a step of the rows."""
    rows_N: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    lengths_N: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    n: int = 0
    """Rows."""
    width: int = 0


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values for all slots, as a layer of a transformers cache."""

    is_sliding = False

    def __init__(self, its_pass: _Pass) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pass = its_pass
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self._attended: tuple[torch.Tensor, torch.Tensor] | None = None
        """What rows attended to last: mostly it is what they attend to next."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make the slots for keys and values like these."""
        shape = self._pass.n_slots, key_states.shape[1], self._pass.columns
        self.keys = _zeros((*shape, key_states.shape[3]), key_states)
        self.values = _zeros((*shape, value_states.shape[3]), value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a prompt's tokens, or one token a row at its own column; return what they may attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        now = self._pass
        if now.known is not None:
            end = now.known + key_states.shape[2]
            self.keys[-1:, :, now.known : end] = key_states
            self.values[-1:, :, now.known : end] = value_states
            return self.keys[-1:, :, :end], self.values[-1:, :, :end]
        self.keys[now.rows_N, :, now.lengths_N] = key_states[:, :, 0]
        self.values[now.rows_N, :, now.lengths_N] = value_states[:, :, 0]
        attended = self._attended
        if attended is None or attended[0].shape[0] != now.n or attended[0].shape[2] != now.width:
            attended = self.keys[: now.n, :, : now.width], self.values[: now.n, :, : now.width]
            self._attended = attended
        return attended

    def widen(self, columns: int) -> None:
        """Make room for so many columns."""
        self._attended = None  # the old tensors are free as soon as they are copied
        self.keys = _widened(self.keys, columns)
        self.values = _widened(self.values, columns)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the attended width; the mask of a step is given by the caller of the model."""
        known = self._pass.known
        return self._pass.width if known is None else known + query_length, 0

    def get_seq_length(self) -> int:
        """Return the longest row's length."""
        known = self._pass.known
        return self._pass.width if known is None else known

    def get_max_length(self) -> int:
        """Return -1: there is no bound of its own."""
        return -1


class KVSlots:
    """Slots for `n_slots` rows of one model, of `columns` tokens at first: growing copies them all."""

    def __init__(self, n_slots: int, columns: int = _GROWTH) -> None:
        self.rows = n_slots
        self._pass = now = _Pass(n_slots + 1, _up_to(columns, _WIDTH_STEP))
        cache_of: Any = transformers.Cache
        self.cache: Any = cache_of(layer_class_to_replicate=lambda: _SlotLayer(now))
        """What a forward pass is given as `CACHE`."""
        self.cache.slots = weakref.proxy(self)  # in a cycle the memory would wait for the garbage collector
        self.lengths: list[int] = []
        """Of the slots that the pass is for, with the new tokens; a prompt's alone."""
        self.sees_all = True
        """Whether every row of the step sees all before it."""

    @property
    def bytes_a_token(self) -> int:
        """Bytes of the keys and values of a row's token, in all layers; once something was computed."""
        kept = [x for layer in self.cache.layers for x in (layer.keys, layer.values)]
        return sum(x.shape[1] * x.shape[3] * x.element_size() for x in kept)

    @property
    def of_prompt(self) -> bool:
        """Whether the pass is a prompt's."""
        return self._pass.known is not None

    def layers(self, count: int, heads: int, width: int, like: torch.Tensor) -> list[Any]:
        """Return the `keys` and `values` of `count` layers."""
        found: list[_SlotLayer] = self.cache.layers
        while len(found) < count:
            found.append(_SlotLayer(self._pass))
            found[-1].lazy_initialization(*[like.new_empty((1, heads, 0, width))] * 2)
        return found

    def begin_prompt(self, known: int, length: int) -> None:
        """Prepare a forward pass of a prompt of `length` tokens, of which the first `known` are there."""
        self._reserve(length + 1)
        self._pass.known = known
        self.lengths, self.sees_all = [length], False

    def load(self, slot: int, length: int) -> None:
        """Copy the prompt of `length` tokens that was computed last into `slot`."""
        self.move(-1, slot, length)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the row of `length` tokens in slot `source` into slot `target`."""
        for layer in self.cache.layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def begin_step(self, lengths: list[int], window: int | None) -> torch.Tensor | None:
        """Prepare a forward pass of one token for each of slots 0 to n-1; return its mask, N x 1 x 1 x width.

        The mask is additive, in the dtype of the cache; `window` bounds how far back a row looks.
        """
        width = _up_to(max(lengths) + 1, _WIDTH_STEP)
        self._reserve(width)
        now, keys = self._pass, self.cache.layers[0].keys
        now.known = None
        now.rows_N = torch.arange(len(lengths), device=keys.device)
        now.lengths_N = torch.tensor(lengths, device=keys.device)
        now.n, now.width = len(lengths), width
        self.lengths = [length + 1 for length in lengths]
        self.sees_all = window is None or max(lengths) < window
        return self.mask(window, keys.dtype)

    def mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Return the additive mask of the step begun last, for a sliding `window` or none."""
        now = self._pass
        columns_C = torch.arange(now.width, device=now.lengths_N.device)
        hidden_NC = columns_C > now.lengths_N.unsqueeze(1)
        if window is not None:
            hidden_NC |= columns_C <= now.lengths_N.unsqueeze(1) - window
        mask_NC = torch.zeros(hidden_NC.shape, dtype=dtype, device=hidden_NC.device)
        return mask_NC.masked_fill_(hidden_NC, float("-inf"))[:, None, None, :]

    def _reserve(self, columns: int) -> None:
        """Grow every layer to hold at least `columns`."""
        if columns <= self._pass.columns:
            return
        self._pass.columns = _up_to(columns, _GROWTH)
        for layer in self.cache.layers:
            layer.widen(self._pass.columns)


def rows_that_fit(bytes_a_token: int, tokens: int, device: torch.device) -> int:
    """Return for how many rows of `tokens` a quarter of the device's memory is enough, at least one.

    Of all its memory, not of what is free: a run that is repeated writes as many side by side.
    """
    memory = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else memory_bytes()
    return max(1, memory // 4 // max(1, bytes_a_token * tokens))


def _up_to(columns: int, step: int) -> int:
    """Return the next whole number of steps."""
    return -(-columns // step) * step


def _zeros(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Return zeros: a masked column still enters a product with weight 0, and 0 times NaN is NaN.

    On a CPU they take no time or memory before something is written there.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    return mapped(math.prod(shape), like.dtype).view(shape)


def _widened(old_SHCD: torch.Tensor, columns: int) -> torch.Tensor:
    slots, heads, have, dimension = old_SHCD.shape
    new_SHCD = _zeros((slots, heads, columns, dimension), old_SHCD)
    new_SHCD[:, :, :have] = old_SHCD
    return new_SHCD
