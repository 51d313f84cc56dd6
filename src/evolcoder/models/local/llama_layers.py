"""Layers of a llama's kind on processors with AVX512-BF16: all of a model's in one call of a kernel.

With 138 tokens a fifth, with 22 rows a third of a layer's time goes into what lies between the products:
norms, rotations, sums, each an operation of its own. The layers are replaced only where their code names
nothing that a llama's does not, and the numbers of each are the same, for a prompt and for one more token.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.llama import modeling_llama

from evolcoder.models.local.bf16_kernels import (
    PANEL,
    LayerData,
    bf16_kernels,
    can_be_laid_out,
    linear_data,
)
from evolcoder.models.local.kv_cache import CACHE, KVSlots
from evolcoder.models.local.row_attention import kernel_of_rows

_PARTS = {
    "": modeling_llama.LlamaDecoderLayer,
    "self_attn": modeling_llama.LlamaAttention,
    "mlp": modeling_llama.LlamaMLP,
    "input_layernorm": modeling_llama.LlamaRMSNorm,
    "post_attention_layernorm": modeling_llama.LlamaRMSNorm,
}
_FURTHER_NAMES = {"sliding_window", "getattr"}
"""A window is in the mask, and told to the attention besides."""
_LINEAR = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn"} | dict.fromkeys(
    ("gate", "up", "down"), "mlp"
)
_SAME = 0.02
"""Relative difference of a layer's numbers that rounding to bf16 may make; it makes a quarter of it."""
_TOKENS = 20


def take_llama_layers(model: Any) -> Callable[[], Callable[[], None]]:
    """Run the layers of a model, where all are of a llama's kind, as they are, on random numbers.

    Return what is called once linear layers and attention are replaced: it replaces the layers by one that
    does the work of all, if their numbers stay the same, and returns what undoes it.
    """
    lists = [(name, x) for name, x in model.named_modules() if isinstance(x, nn.ModuleList) and len(x)]
    known = [(name, layers) for name, layers in lists if all(map(_is_known, layers)) and _alike(layers)]
    kinds = set(getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ())
    if len(known) != 1 or len(kinds) > 1:
        return lambda: lambda: None
    [(name, layers)] = known
    plain = [list(_tried(layer, layer.self_attn)) for layer in layers]

    def replace() -> Callable[[], None]:
        for layer, before in zip(layers, plain, strict=True):
            alone = _AllLayers([layer], only_last=False)
            if not _same(list(_tried(alone, layer.self_attn, KVSlots(1))), before):
                return lambda: None
        parent, _, attribute = name.rpartition(".")
        within = model.get_submodule(parent)
        setattr(within, attribute, nn.ModuleList([_AllLayers(layers, only_last=True)]))
        return lambda: setattr(within, attribute, layers)

    return replace


def rows_alone(model: Any) -> bool:
    """Return whether no row's numbers depend on its neighbours, to the bit: the kernels do all that adds."""
    parts = list(model.modules())
    return any(isinstance(x, _AllLayers) for x in parts) and all(
        can_be_laid_out(x) for x in parts if isinstance(x, nn.Linear)
    )


def _is_known(layer: nn.Module) -> bool:
    """Return whether a module is built as a llama's layer, of parts that the kernels know."""
    if {name for name in _PARTS if name} != {name for name, _ in layer.named_children()}:
        return False
    for name, theirs in _PARTS.items():
        part = layer.get_submodule(name)
        if _names(part) - _names(theirs) - _FURTHER_NAMES or "forward" in vars(part):
            return False
    linear = [getattr(layer.get_submodule(part), f"{name}_proj", None) for name, part in _LINEAR.items()]
    if not all(type(x) is nn.Linear and can_be_laid_out(x) and "forward" not in vars(x) for x in linear):
        return False
    numbers = torch.linspace(-4, 4, 65)
    attention: Any = layer.self_attn
    return (
        len(list(attention.children())) == 4
        and attention.head_dim % PANEL == 0
        and torch.equal(layer.get_submodule("mlp.act_fn")(numbers), nn.functional.silu(numbers))
        and all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in layer.parameters())
        and not any(x._forward_hooks or x._forward_pre_hooks for x in layer.modules())
    )


def _alike(layers: Iterable[Any]) -> bool:
    """Return whether layers have the same heads, and a kernel attends with those."""
    kinds = {
        (x.self_attn.head_dim, float(x.self_attn.scaling), *(_linear(x)[i].out_features for i in range(3)))
        for x in layers
    }
    [(width, _, queries, keys, values), *further] = kinds
    return not further and keys == values and kernel_of_rows(queries // keys, width, True) is not None


def _linear(layer: Any) -> list[Any]:
    return [getattr(layer.get_submodule(part), f"{name}_proj") for name, part in _LINEAR.items()]


def _names(kind: Any) -> set[str]:
    """Return what the code of a module's forward pass names."""
    kind = kind if isinstance(kind, type) else type(kind)
    return set(inspect.unwrap(kind.forward).__code__.co_names)


@torch.no_grad()
def _tried(layer: Any, attention: Any, slots: KVSlots | None = None) -> Iterator[torch.Tensor]:
    """Yield what a layer gives for a prompt and one more token, large numbers and small ones."""
    random = torch.Generator().manual_seed(0)
    inputs, width = attention.q_proj.in_features, attention.head_dim
    for size in (1.0, 2.0**-6):
        cache: Any = transformers.DynamicCache() if slots is None else slots.cache
        for tokens in (_TOKENS, 1):
            hidden = (size * torch.randn(1, tokens, inputs, generator=random)).bfloat16()
            turn = torch.randn(2, 1, tokens, width, generator=random).bfloat16()
            if slots is not None and tokens > 1:
                slots.begin_prompt(0, tokens)
            elif slots is not None:
                slots.load(0, _TOKENS)
                slots.begin_step([_TOKENS], None)
            try:
                out = layer(hidden, position_embeddings=tuple(turn), **{CACHE: cache})
            except (TypeError, ValueError, RuntimeError, AttributeError, LookupError):
                return
            if not isinstance(out, torch.Tensor):
                return
            yield out.float()


def _same(got: list[torch.Tensor], before: list[torch.Tensor]) -> bool:
    return len(got) == len(before) == 4 and all(
        float((a - b).norm() / b.norm()) <= _SAME for a, b in zip(got, before, strict=True)
    )


class _AllLayers(nn.Module):
    """Layers whose linear ones are laid out, as one: a call of the kernel where rows have slots."""

    def __init__(self, layers: Iterable[nn.Module], only_last: bool) -> None:
        """With `only_last` a prompt's last token alone comes out."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._only_last = only_last
        self._data = (LayerData * len(self.layers))(*map(_layer_data, self.layers))
        attention: Any = self.layers[0].self_attn
        self._width, self._scale = attention.head_dim, attention.scaling
        queries, self._heads = (x.out_features // self._width for x in _linear(self.layers[0])[:2])
        of_rows = kernel_of_rows(queries // self._heads, self._width, True)
        self._of_rows = ctypes.cast(of_rows, ctypes.c_void_p)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_embeddings: Any = None,
        **further: Any,
    ) -> torch.Tensor:
        """Return what the last layer hands on."""
        slots: KVSlots | None = getattr(further.get(CACHE), "slots", None)
        known = all(x.dtype == torch.bfloat16 for x in (hidden_states, *position_embeddings))
        if slots is not None and known:
            mask = None if slots.sees_all else attention_mask
            if mask is None or _readable(mask, slots, hidden_states.shape[1]):
                return self._in_one_call(hidden_states, mask, slots, *position_embeddings)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=attention_mask,
                position_embeddings=position_embeddings,
                **further,
            )
        return hidden_states

    def _in_one_call(
        self,
        hidden_NTK: torch.Tensor,
        mask: torch.Tensor | None,
        slots: KVSlots,
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> torch.Tensor:
        n, tokens, inputs = hidden_NTK.shape
        rows, first = n * tokens, tokens - 1 if self._only_last else 0
        hidden_NTK = hidden_NTK.contiguous()
        cos, sin = (turn.expand(n, tokens, self._width).contiguous() for turn in (cos, sin))
        kept = slots.layers(len(self.layers), self._heads, self._width, hidden_NTK)
        begin = -1 if slots.of_prompt else 0
        keys, values = (
            (ctypes.c_void_p * len(kept))(*(getattr(layer, name)[begin].data_ptr() for layer in kept))
            for name in ("keys", "values")
        )
        out_NTK = hidden_NTK.new_empty((n, tokens - first, inputs))
        short_of_memory = bf16_kernels().layers(
            self._data,
            len(kept),
            hidden_NTK.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            keys,
            values,
            (ctypes.c_int64 * 3)(*kept[0].keys.stride()[:3]),
            (ctypes.c_int64 * len(slots.lengths))(*slots.lengths),
            None if slots.of_prompt else self._of_rows,
            None if mask is None else mask.data_ptr(),
            0 if mask is None else mask.stride(-2 if slots.of_prompt else 0),
            out_NTK.data_ptr(),
            first,
            rows,
            self._scale,
            torch.get_num_threads(),
        )
        if short_of_memory:
            raise MemoryError(f"layers of {rows} tokens")
        return out_NTK


def _readable(mask: torch.Tensor, slots: KVSlots, tokens: int) -> bool:
    """Return whether a mask is as the kernel reads it: what a prompt's tokens see, or what rows add."""
    kind, lines = (torch.bool, tokens) if slots.of_prompt else (torch.bfloat16, 1)
    fits = mask.shape[-2] == lines and mask.shape[-1] >= max(slots.lengths)
    return mask.dtype == kind and mask.stride(-1) == 1 and fits


def _layer_data(layer: Any) -> LayerData:
    norms = layer.input_layernorm, layer.post_attention_layernorm
    return LayerData(
        *map(linear_data, _linear(layer)),
        *(norm.weight.data_ptr() for norm in norms),
        *(norm.variance_epsilon for norm in norms),
        layer.self_attn.head_dim,
    )
