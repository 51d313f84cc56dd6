"""Which decoder architectures of transformers train and write right, on small random models of each.

    python bench/models.py --out docs/models.md                  # all, about 10 minutes on one core
    python bench/models.py --out docs/models.md llama mamba2     # these rows anew, the page's others kept
    python bench/models.py llama gemma2 mamba2                   # some, to the terminal

For each: loss and gradients of five rows as training computes them (packed where possible, and padded),
against the plain model row by row, in fp32; and greedy answers of the own loop against those of `generate`.
Every architecture that transformers lists for causal language models is tried; what cannot be built small, or
is no decoder, is listed with the reason.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from evolcoder.errors import EvolcoderError
from evolcoder.models.local.decoding import DecodeJob, Decoder
from evolcoder.runs import write_text_whole
from evolcoder.train.before_loading import check_architecture
from evolcoder.train.loss import packed_row
from evolcoder.train.packing import Step, micro_batches
from evolcoder.train.processes import Processes
from evolcoder.train.settings import TrainSettings
from evolcoder.train.step import prepare
from evolcoder.train.tokenization import TokenizedData

VOCABULARY, BEGIN, END = 259, 256, 257
LENGTHS, PROMPTS = ((40, 9), (75, 30), (23, 11), (61, 20), (52, 17)), (3, 12, 5, 18, 7)
"""Tokens of each training row and of its prompt."""
LARGEST = 4_000_000
"""Parameters above which a model counts as not small: some sizes are fixed in its code."""
BOUND = 1e-5
"""Relative difference of losses, and of the gradients' norm, that counts as equal in fp32."""

# Small values for every name of a size in a configuration; a configuration takes those that it knows.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": END,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "word_embed_proj_dim", "lru_width"), 32),
    **dict.fromkeys(("embedding_size", "emb_dim", "dim_model", "input_embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "dff", "dim_ff", "ffn_hidden_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "qkv_bias": True,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 512),
    **dict.fromkeys(("sliding_window", "window_size", "attention_chunk_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "shared_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "state_size": 8,
    "n_groups": 1,
    "conv_kernel": 4,
    "block_multiple_of": 16,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 64,
    **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout", "attention_dropout"), 0.0),
    **dict.fromkeys(("activation_dropout", "hidden_dropout", "resid_dropout", "embd_dropout"), 0.0),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop"), 0.0),
    **dict.fromkeys(("initializer_range", "init_std"), 0.2),
}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
_OF_TYPE: dict[str, dict[str, Any]] = {
    "gemma2": {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0},
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "gpt_neox": {"is_decoder": False},
    "gpt_neox_japanese": {"is_decoder": False},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "bamba": {"attn_layer_indices": [1]},
    "mamba": {"hidden_size": 32, "intermediate_size": 64, "time_step_rank": 4},
    "falcon_mamba": {"hidden_size": 32, "intermediate_size": 64, "time_step_rank": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 16, "num_key_value_heads": 1},
    "falcon_h1": {"mamba_d_ssm": 64},
    "zamba2": {"num_hidden_layers": 4, "layer_types": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba": {"num_hidden_layers": 4, "layer_types": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"is_decoder": True, "axial_pos_shape": [16, 32], "axial_pos_embds_dim": [16, 16]},
    "xlstm": {"num_heads": 2},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 259,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    "gemma4_unified_text": {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8}},
    "internlm3": {"qkv_bias": None},
    "longcat_flash": {"head_dim": 4, "num_layers": 2},
}


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one architecture."""

    model_type: str
    model_class: str = ""
    rows: str = ""
    """"packed", "padded" or "single": what training chooses."""
    why: str = ""
    """Why not packed, in the words of the training's log."""
    loss: float = math.nan
    """Largest relative difference of a loss, over the ways that were tried."""
    gradient: float = math.nan
    decoding: str = ""
    """"together", or "generate" with the reason."""
    equal: int = 0
    """Greedy answers, of five, that are those of `generate`."""
    left_out: str = ""
    """Why the architecture was not tried."""


def decoder_types() -> list[str]:
    """Return every model type that transformers knows a causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small_config(model_type: str) -> Any:
    """Return a configuration with every size small; raises ValueError where it is no text model's."""
    kind = transformers.CONFIG_MAPPING[model_type]
    try:
        default = kind()
    except ValueError as error:
        raise ValueError(f"not built without sizes of its own ({error})") from error
    if any(_has(default, name) for name in ("text_config", "vision_config", "audio_encoder", "decoder")):
        raise ValueError("a wrapper of several models; its text model is listed by itself, where it has one")
    values = {
        name: value
        for name, value in _SIZES.items()
        if _has(default, name) and getattr(getattr(kind, name, None), "fset", True) is not None
    }
    if _has(default, "kv_lora_rank"):
        values |= {**{k: v for k, v in _LATENT.items() if _has(default, k)}, "num_key_value_heads": 4}
        values.pop("head_dim", None)
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or []))
    alias = kind.attribute_map.get("layer_types", "layer_types")
    if kinds and getattr(getattr(kind, alias, None), "fset", True) is not None:
        values["layer_types"] = (kinds * 2)[: max(2, len(kinds))]
        values["num_hidden_layers"] = len(values["layer_types"])
    if _has(default, "is_decoder"):
        values["is_decoder"] = True
    values |= _OF_TYPE.get(model_type, {})
    return kind(**{name: value for name, value in values.items() if value is not None})


def _has(config: Any, name: str) -> bool:
    """Say whether a configuration knows a name; those that vary by layer are left as they are."""
    try:
        return hasattr(config, name)
    except Exception:
        return False


def small_model(model_type: str) -> Any:
    """Return a small random model, the same every time; raises ValueError where none can be made."""
    config = small_config(model_type)
    with torch.device("meta"):
        empty: Any = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        size = empty.num_parameters()
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters are left with every named size small")
    torch.manual_seed(1)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return model.float().eval()


def rows_of(vocabulary: int) -> TokenizedData:
    """Return five rows of random tokens."""
    random = np.random.default_rng(0)
    lengths = [length for length, _ in LENGTHS]
    return TokenizedData(
        tokens=random.integers(5, min(vocabulary, 250), size=sum(lengths)).astype(np.int32),
        starts=np.cumsum([0, *lengths]),
        prompt_lengths=np.array([prompt for _, prompt in LENGTHS], dtype=np.int32),
        end_token=END,
    )


def check_training(model_type: str) -> Row:
    """Compare loss and gradients of five rows, as training computes them, with the plain model row by row."""
    data = rows_of(VOCABULARY)
    n = int(data.supervised.sum())
    plain = small_model(model_type)
    name = type(plain).__name__
    check_architecture(plain.config)
    expected = torch.zeros(())
    for i in range(len(data)):
        row = packed_row(data, (i,))
        logits = plain(input_ids=row.input_ids, use_cache=False).logits[0]
        summed = functional.cross_entropy(logits[row.supervised_S], row.targets_S, reduction="sum")
        (summed / n).backward()  # type: ignore[no-untyped-call]
        expected += summed.detach() / n
    theirs = {key: p.grad for key, p in plain.named_parameters() if p.grad is not None}
    norm = sum(float(g.square().sum()) for g in theirs.values())
    chosen, losses, gradients = None, [0.0], [0.0]
    for packing in (True, False):
        model = small_model(model_type)
        settings = TrainSettings(dtype="fp32", packing=packing, dropout=False)
        training = prepare(model, data, settings, Processes(0, 1, torch.device("cpu")), pad=END)
        chosen = chosen or training
        model.eval()
        step = Step(micro_batches(range(len(data)), data.lengths, training.settings))
        loss = training.loss_and_gradients(step, 0, lambda n: None)
        ours = {key: p.grad for key, p in model.named_parameters() if key in theirs}
        zero = torch.zeros(())
        off = sum(
            float(((zero if ours[k] is None else ours[k]) - g).square().sum()) for k, g in theirs.items()
        )
        losses.append(abs(loss - float(expected)) / abs(float(expected)))
        gradients.append((off / norm) ** 0.5)
    assert chosen is not None
    why = "; ".join(note.removeprefix(name).removeprefix(": ").strip() for note in chosen.notes)
    return Row(model_type, name, chosen.rows, why, max(losses), max(gradients))


def check_decoding(model_type: str) -> tuple[str, int]:
    """Return how the engine writes, and how many of five greedy answers are those of `generate`."""
    model = small_model(model_type)
    model.generation_config.pad_token_id = END
    tokenizer: Any = SimpleNamespace(eos_token_id=END, pad_token_id=END, decode=lambda ids, **_: "")
    decoder = Decoder(model, tokenizer, 3)
    data = rows_of(VOCABULARY)
    prompts = [tuple(data.document(i).tolist()) for i in range(len(data))]
    answers = decoder.decode([DecodeJob(prompt, 24) for prompt in prompts])
    equal = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        expected = out[0, len(prompt) :].tolist()
        while expected and expected[-1] == END:
            expected.pop()
        equal += tuple(expected) == answer.token_ids
    reason = decoder.falls_back
    return ("together" if reason is None else f"`generate`: {reason}"), equal


def check(model_type: str) -> Row:
    """Return all that is found of one architecture."""
    try:
        model = small_model(model_type)
    except Exception as error:  # a configuration may refuse in any way; the table says which
        return Row(model_type, left_out=_line(error))
    name = type(model).__name__
    if "ForConditionalGeneration" in name:
        return Row(model_type, name, left_out="a wrapper of several models")
    try:
        text = torch.arange(5, 35)[None]
        with torch.no_grad():
            short, whole = (model(input_ids=text[:, :n], use_cache=False).logits for n in (20, 30))
        if short.shape[1] != 20 or float((short - whole[:, :20]).abs().max()) > 1e-3:
            return Row(model_type, name, left_out="no decoder: its rows see what comes after them")
    except Exception as error:
        return Row(model_type, name, left_out=f"not run on text alone ({_line(error)})")
    try:
        row = check_training(model_type)
    except EvolcoderError as error:
        row = Row(model_type, name, "refused", _line(error))
    except Exception as error:
        row = Row(model_type, name, "FAILS", _line(error))
    try:
        decoding, equal = check_decoding(model_type)
    except EvolcoderError as error:
        decoding, equal = f"refused: {_line(error)}", 0
    except Exception as error:
        decoding, equal = f"FAILS: {_line(error)}", 0
    return replace(row, decoding=decoding, equal=equal)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150].rstrip()}".replace("|", "/")


def rows_of_page(page: str) -> dict[str, Row]:
    """Return the rows that a page of `table` shows, by type; figures as they are rounded there."""
    rows = []
    for line in page.splitlines():
        match [cell.strip() for cell in line.strip("|").split("|")]:
            case [kind, how, loss, gradient, decoding, equal] if equal.endswith(f"/{len(LENGTHS)}"):
                way, _, why = how.partition(": ")
                same = int(equal.split("/")[0])
                rows.append(Row(kind, "", way, why, float(loss), float(gradient), decoding, same))
            case [kind, why] if line.startswith("|") and kind not in ("type", "---"):
                rows.append(Row(kind, left_out=why))
    return {row.model_type: row for row in rows}


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the page."""
    tried = [row for row in rows if not row.left_out]
    chosen = Counter(row.rows for row in tried)
    right = sum(max(row.loss, row.gradient) <= BOUND for row in tried)
    same = sum(row.equal == len(LENGTHS) for row in tried)
    together = sum(row.decoding == "together" for row in tried)
    generated = sum(row.decoding.startswith("`generate`") for row in tried)
    ways = ", ".join(f"{n} {kind}" for kind, n in sorted(chosen.items()))
    yield "# Models\n"
    version = transformers.__version__
    yield f"Made by `python bench/models.py --out docs/models.md` with transformers {version}."
    yield f"Of {len(rows)} causal architectures that it lists, {len(tried)} could be built small"
    yield "(random weights, fp32) and tried.\n"
    yield f"- Training: {ways}. In {right} of {len(tried)}, loss and gradients of five rows, in the way that"
    yield "  training chooses and padded, are those of each row alone to 1e-5."
    yield f"- Greedy answers: in {same} of {len(tried)} those of `generate`, token for token."
    yield f"  {together} are written side by side by the own loop, {generated} one by one by `generate`,"
    yield f"  and the log says so; {len(tried) - together - generated} are refused.\n"
    yield "A training decides on the model's own weights before its first step, not by this table.\n"
    yield "| type | rows | loss | gradients | decoding | equal |"
    yield "|---|---|---|---|---|---|"
    for row in tried:
        how = row.rows + (f": {row.why}" if row.why and row.rows != "packed" else "")
        how_decoded = row.decoding.replace("|", "/")
        yield (
            f"| {row.model_type} | {how.replace('|', '/')} | {row.loss:.0e} | {row.gradient:.0e} "
            f"| {how_decoded} | {row.equal}/{len(LENGTHS)} |"
        )
    yield "\n## Not tried\n"
    yield "| type | why |\n|---|---|"
    for row in rows:
        if row.left_out:
            yield f"| {row.model_type} | {row.left_out} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("types", nargs="*", help="model types; all where none is named")
    parser.add_argument("--out", type=Path, help="write the page there; rows of types not named are kept")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    rows: dict[str, Row] = {}
    if options.types and options.out and options.out.exists():
        before = options.out.read_text(encoding="utf-8")
        if f"transformers {transformers.__version__}.\n" not in before:
            parser.error(f"{options.out} is of another transformers: try all types anew")
        rows = rows_of_page(before)
    for model_type in options.types or decoder_types():
        rows[model_type] = check(model_type)
        print(rows[model_type], flush=True)
    page = "\n".join(table([rows[name] for name in sorted(rows)])) + "\n"
    if options.out:
        write_text_whole(options.out, page)
    else:
        print(page)


if __name__ == "__main__":
    main()
