"""Tiny random models of each family, with a byte tokenizer, and rows to train them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evolcoder.records import Instruction, Lineage

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMON = {"vocab_size": 259, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    },
    "gpt_bigcode": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_inner": 64,
        "n_positions": 1024,
        "multi_query": True,
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
    },
    "starcoder2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "sliding_window": 48,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
    },
    "qwen2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
    },
}


def byte_tokenizer(merged: bool = False) -> Any:
    """One token a byte, and three special ones; the end token is also the padding token.

    `merged`: "de" is one token, in the place of a byte that no text here has.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if merged:
        alphabet[-1] = "de"
    merges = [("d", "e")] if merged else []
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.add_tokens(["<|endoftext|>"], special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(family: str = "llama", **changes: object) -> Any:
    """A random model of a family, the same every time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(
        family, **{**COMMON, **FAMILIES[family], "initializer_range": 0.2, **changes}
    )
    return AutoModelForCausalLM.from_config(config)


def save_tiny(folder: Path, family: str = "llama", **changes: object) -> str:
    """Write a tiny model folder and return its path."""
    tiny_model(family, **changes).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def rows(n: int = 12) -> list[Instruction]:
    """Rows of different lengths, some with an input."""
    return [
        Instruction(
            id=f"r{i}",
            instruction=f"Write {'very ' * (i % 5)}short function number {i}.",
            input=f"x = {i}" if i % 3 == 0 else "",
            response=f"def f{i}(x):\n    return x + {i}\n" * (1 + i % 4),
            lineage=Lineage(seed_id=f"r{i}"),
        )
        for i in range(n)
    ]
