"""Special tokens before training: none touched, or as the published script sets them."""

from __future__ import annotations

from typing import Any

import torch

PAD = "[PAD]"


def add_wizardcoder_tokens(tokenizer: Any, model_type: str) -> int:
    """Add "[PAD]" where there is no padding token of its own; return how many tokens were added.

    StarCoder also gets "<|endoftext|>" as begin, end and unknown token. Source: `train_wizardcoder.py`.
    """
    added = 0
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        added = tokenizer.add_special_tokens({"pad_token": PAD})
    if "<|endoftext|>" in tokenizer.get_vocab() and model_type in ("gpt_bigcode", "starcoder2"):
        end = "<|endoftext|>"
        tokenizer.add_special_tokens({"bos_token": end, "eos_token": end, "unk_token": end})
    return int(added)


@torch.no_grad()
def embed_added_tokens(model: Any, tokenizer: Any) -> None:
    """Give tokens that have no embedding the mean one.

    Source: `train_wizardcoder.py`, smart_tokenizer_and_embedding_resize.
    """
    n_old = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_old:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        matrices = {
            id(w): w for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        }
        for weight in matrices.values():
            weight[n_old:] = weight[:n_old].mean(dim=0, keepdim=True)
    model.config.pad_token_id = tokenizer.pad_token_id
