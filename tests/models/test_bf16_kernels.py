"""The kernels for AVX512-BF16: torch's numbers, all layers where they stay the same, undone where wrong."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from evolcoder.models.local import bf16_kernels as kernels
from evolcoder.models.local import fast_forms, llama_layers, row_attention
from evolcoder.models.local.decoding import DecodeJob, Decoder
from evolcoder.models.local.kv_cache import CACHE, KVSlots
from evolcoder.models.local.packed_weights import pack_linear_layers

needs_the_kernels = pytest.mark.skipif(
    kernels.bf16_kernels() is None, reason="no AVX512-BF16 (or AMX besides it), or no C compiler with OpenMP"
)
SIZES = {
    "vocab_size": 320,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "initializer_range": 0.1,
}
TOKENIZER: Any = SimpleNamespace(eos_token_id=2, pad_token_id=2, decode=lambda ids, **_: "")


def model_of(family: str, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Any:
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight += 0.3 * torch.randn_like(weight)
    return model


def in_one_call(model: Any) -> bool:
    """Whether the layers are replaced."""
    return [type(layer).__name__ for layer in model.model.layers] == ["_AllLayers"]


@pytest.mark.parametrize(("outputs", "inputs"), [(32, 2), (96, 70)])
def test_a_weight_comes_back_as_it_was(outputs: int, inputs: int) -> None:
    weight = torch.randn(outputs, inputs).bfloat16()
    assert torch.equal(kernels.as_it_was(kernels.laid_out(weight)), weight)


@needs_the_kernels
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 2), (96, 70), (320, 128)])
def test_products_are_the_layers(outputs: int, inputs: int, bias: bool, threads: int) -> None:
    layer = nn.Linear(inputs, outputs, bias, dtype=torch.bfloat16).requires_grad_(False)
    rows = torch.randn(3, 100, inputs).bfloat16()
    exact = layer.double()(rows.double())
    layer.bfloat16()
    undo = pack_linear_layers(nn.ModuleList([layer]))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = layer(rows)
        assert (together - exact).abs().max() <= 0.005 * exact.abs().max()
        for n in (1, 2, 12, 13, 25):
            assert torch.equal(layer(rows[0, :n]), together[0, :n]), "a row does not depend on its neighbours"
        assert torch.equal(layer(rows.transpose(0, 1)), together.transpose(0, 1))
        assert layer(rows[:0]).shape == (0, 100, outputs)
    finally:
        torch.set_num_threads(before)
    with pytest.raises(RuntimeError):
        layer(rows.float())
    undo()
    assert (layer(rows) - exact).abs().max() <= 0.005 * exact.abs().max()


@needs_the_kernels
@pytest.mark.parametrize(
    "hides", ["what follows", "what follows and is far", "as a mask says, behind a prefix"]
)
@pytest.mark.parametrize(("group", "width"), [(1, 32), (3, 64), (4, 128)])
@pytest.mark.parametrize("tokens", [2, 12, 37, 70])
def test_attention_of_a_prompt(tokens: int, group: int, width: int, hides: str) -> None:
    columns = tokens + (29 if "prefix" in hides else 0)
    random = torch.Generator().manual_seed(tokens)
    query = torch.randn(1, tokens, 2 * group, width, generator=random).bfloat16().transpose(1, 2)
    keys, values = torch.randn(2, 1, 2, columns + 5, width, generator=random).bfloat16()[:, :, :, :columns]
    sees = torch.ones(tokens, columns, dtype=torch.bool).tril(columns - tokens)
    if "far" in hides:
        sees = sees.triu(-9)
    mask = None if hides == "what follows" else sees[None, None]
    k, v = (x.double().repeat_interleave(group, 1) for x in (keys, values))
    for size in (1.0, 100.0):
        got, _ = row_attention.row_attention(nn.Module(), query * size, keys, values, mask, scaling=0.2)
        exact = functional.scaled_dot_product_attention(
            (query * size).double(), k, v, attn_mask=sees, scale=0.2
        )
        assert got.is_contiguous()
        assert (got.double() - exact.transpose(1, 2)).abs().max() < 3e-2


@needs_the_kernels
def test_what_is_no_number_stays_in_the_rows_that_see_it() -> None:
    query = torch.randn(1, 2, 40, 32).bfloat16()
    keys, values = torch.randn(2, 1, 2, 40, 32).bfloat16()
    values[:, :, 30] = math.nan
    got, _ = row_attention.row_attention(nn.Module(), query, keys, values, None)
    assert torch.isfinite(got[:, :24]).all(), "tokens are taken 12 at a time"
    assert torch.isnan(got[:, 30:]).all()
    query[:, :, 5] = math.nan
    got, _ = row_attention.row_attention(nn.Module(), query, keys, values, None)
    assert torch.isnan(got[:, 5]).all()


def in_slots(model: Any, ids: torch.Tensor, window: int | None) -> torch.Tensor:
    """Logits after some tokens of two texts: prompts, piece by piece, then token by token together."""
    slots, got = KVSlots(2), []
    for slot, text in enumerate(ids):
        for known, end in ((0, 30), (30, 31), (31, 60), (60, 61), (61, 200 - 100 * slot)):
            slots.begin_prompt(known, end)
            out = model(text[None, known:end], use_cache=True, logits_to_keep=1, **{CACHE: slots.cache})
            got.append(out.logits[:, -1])
        slots.load(slot, end)
    for at in range(20):
        lengths = [200 + at, 100 + at]
        mask = slots.begin_step(lengths, window)
        tokens = torch.stack([text[length] for text, length in zip(ids, lengths, strict=True)])
        places = torch.tensor(lengths)[:, None]
        out = model(tokens[:, None], position_ids=places, attention_mask=mask, **{CACHE: slots.cache})
        got.append(out.logits[:, -1])
    return torch.cat(got).float()


@needs_the_kernels
@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 0}),
        ("mistral", {}),
        ("mistral", {"sliding_window": 40}),
    ],
)
def test_layers_in_one_call_give_the_models_numbers(family: str, changes: dict[str, Any]) -> None:
    plain, model = model_of(family, **changes), model_of(family, **changes)
    undo = fast_forms.use_fast_forms(model, True)
    assert in_one_call(model)
    exact = model_of(family, torch.float32, **changes)
    ids = torch.randint(3, 300, (2, 230), generator=torch.Generator().manual_seed(0))
    padded = {"attention_mask": torch.ones_like(ids).index_fill(1, torch.arange(9), 0)}
    with torch.inference_mode():
        true, theirs, ours = (in_slots(m, ids, changes.get("sliding_window")) for m in (exact, plain, model))
        assert (ours - true).norm() <= 1.1 * (theirs - true).norm()
        for further in ({}, padded):
            true, theirs, ours = (
                m(input_ids=ids, **further).logits[:, 9:].float() for m in (exact, plain, model)
            )
            assert (ours - true).norm() <= 1.1 * (theirs - true).norm(), "without slots too"
        undo()
        assert not in_one_call(model) and model.config._attn_implementation == "sdpa"
        assert torch.equal(model(ids).logits, plain(ids).logits)


@needs_the_kernels
def test_numbers_in_one_call_are_a_rows_own() -> None:
    model = model_of("llama")
    fast_forms.use_fast_forms(model, True)
    ids = torch.randint(3, 300, (2, 230), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both, twice = in_slots(model, ids, None), in_slots(model, ids[:1].expand(2, -1), None)
    assert torch.equal(both[10::2], twice[10::2])


@needs_the_kernels
@pytest.mark.parametrize("changes", [{}, {"head_dim": 64}, {"sliding_window": 40}])
def test_an_answer_is_the_same_whoever_writes_it_and_beside_whom(changes: dict[str, Any]) -> None:
    family = "mistral" if "sliding_window" in changes else "llama"
    text = [5 + i * i % 290 for i in range(150)]
    jobs = [
        DecodeJob(
            tuple(text[:at] + text[i : i + 3]), 12, 0.7 * (i % 2), 0.9, (), i, keep_log_probabilities=True
        )
        for i, at in enumerate([20, 90, 40, 90, 7, 130, 60, 90, 41, 25, 3, 77, 90, 33, 64, 110, 90, 18])
    ]
    before = torch.get_num_threads()
    found = []
    try:
        for threads, batch_size, order in [(2, 16, 1), (1, 5, 1), (1, 1, -1), (2, 96, -1)]:
            torch.set_num_threads(threads)
            decoder = Decoder(model_of(family, **changes), TOKENIZER, batch_size, for_answers_alone=True)
            assert llama_layers.rows_alone(decoder._model)
            written = decoder.decode(jobs[::order])[::order]
            found.append([(answer.token_ids, answer.log_probabilities) for answer in written])
    finally:
        torch.set_num_threads(before)
    assert found[1:] == found[:1] * 3, "to the bit"


@needs_the_kernels
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma", {}),
        ("granite", {"residual_multiplier": 0.98}),
        ("smollm3", {"no_rope_layers": [0, 0]}),
        ("qwen3", {}),
        ("olmo", {"clip_qkv": 30.0}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"head_dim": 16}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    ],
)
def test_layers_of_another_kind_stay_as_they_are(family: str, changes: dict[str, Any]) -> None:
    plain, model = model_of(family, **changes), model_of(family, **changes)
    decoder = Decoder(model, TOKENIZER, 4, for_answers_alone=True)
    assert decoder.falls_back is None
    assert not in_one_call(model)
    ids = torch.arange(5, 60)[None]
    with torch.inference_mode():
        ours, theirs = model(ids).logits.float(), plain(ids).logits.float()
    assert (ours - theirs).norm() <= 0.02 * theirs.norm()


@needs_the_kernels
@pytest.mark.parametrize("at", [0, 1])
def test_a_layer_that_names_the_same_and_means_another_thing_stays(at: int) -> None:
    model = model_of("llama")
    norm: Any = model.model.layers[at].input_layernorm

    class OtherNorm(type(norm)):  # type: ignore[misc]
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return self.weight * self.weight * weight

    norm.__class__ = OtherNorm
    fast_forms.use_fast_forms(model, True)
    assert not in_one_call(model)


@needs_the_kernels
@pytest.mark.parametrize(
    ("name", "family"), [("linear", "llama"), ("layers", "llama"), ("prompt_attention", "qwen3")]
)
def test_a_kernel_that_computes_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, name: str, family: str
) -> None:
    library = kernels.bf16_kernels()
    parts = ("linear", "layers", "prompt_attention")
    odd = SimpleNamespace(**{part: getattr(library, part) for part in parts} | {name: lambda *told: 0})
    for module in (kernels, llama_layers, row_attention):
        monkeypatch.setattr(module, "bf16_kernels", lambda: odd)
    plain, model = model_of(family), model_of(family)
    decoder = Decoder(model, TOKENIZER, 4, for_answers_alone=True)
    assert decoder.falls_back is None
    assert not (in_one_call(model) and name == "layers")
    with torch.inference_mode():
        got, expected = (m(torch.arange(5, 60)[None]).logits.float() for m in (model, plain))
    assert (got - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.parametrize("why", ["no AVX512-BF16", "AMX", "no compiler"])
def test_without_the_kernels_answers_are_written_as_before(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    flags = "flags : avx512_bf16" + (" amx_bf16" if why == "AMX" else "")
    monkeypatch.setattr(kernels, "processor", lambda: "flags : avx2" if why == "no AVX512-BF16" else flags)
    monkeypatch.setattr(kernels, "compiled", lambda *_: None)
    kernels.bf16_kernels.cache_clear()
    try:
        plain, model = model_of("llama"), model_of("llama")
        decoder = Decoder(model, TOKENIZER, 4, for_answers_alone=True)
        assert decoder.falls_back is None
        assert not in_one_call(model)
        [answer] = decoder.decode([DecodeJob(tuple(range(5, 30)), 4)])
        assert len(answer.token_ids) <= 4
        with torch.inference_mode():
            got, expected = (m(torch.arange(5, 60)[None]).logits.float() for m in (model, plain))
        assert (got - expected).norm() <= 0.02 * expected.norm()
    finally:
        kernels.bf16_kernels.cache_clear()


@needs_the_kernels
def test_answers_are_the_plain_models_up_to_rounding() -> None:
    model, exact = model_of("llama"), model_of("llama", torch.float32)
    decoder = Decoder(model, TOKENIZER, 4, for_answers_alone=True)
    prompts = [tuple(range(5, 5 + n)) for n in (3, 40, 200, 41, 7)]
    answers = decoder.decode([DecodeJob(p, 30, keep_log_probabilities=True) for p in prompts])
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*prompt, *answer.token_ids]])
        with torch.inference_mode():
            logp = exact(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        theirs = logp.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        ours = torch.tensor(answer.log_probabilities[: len(answer.token_ids)])
        assert len(ours) == 30 or answer.end_token is not None
        assert (ours - theirs).abs().max() < 0.15
