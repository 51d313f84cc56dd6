"""From rows to documents: prompt and response tokenized apart, the end token appended, the prompt masked.

Tokens that count in the loss are called supervised, or learnt; all others are masked. `learnt_places` tells
them apart: all that follows `prompt_lengths`, or, in chats, what `learnt` marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evolcoder.cache import cache_folder
from evolcoder.errors import DataError
from evolcoder.models.local.prompt_tokens import encodable
from evolcoder.records import Instruction
from evolcoder.runs import content_hash, writing_whole
from evolcoder.train.chat_templates import dialogue, turn_end, turn_marks
from evolcoder.train.settings import PromptStyle

_ROWS_AT_ONCE = 2048
_PAD = "[PAD]"
_BREAK = "\ue0fe\ue0ff"
"""Stands where text is tokenized in two parts; characters of private use that no text holds in this order."""


@dataclass(frozen=True, slots=True)
class TokenizedData:
    """All documents in one array: document i is tokens[starts[i]:starts[i+1]]; its prompt is masked."""

    tokens: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    prompt_lengths: npt.NDArray[np.int32]
    """So many tokens at a document's start are masked; without `learnt`, all others count in the loss."""
    end_token: int
    """The token that ends a response."""
    n_cut: int = 0
    """Responses that were cut at the longest allowed length; they lose their end token."""
    n_cut_tokens: int = 0
    n_dropped: int = 0
    """Rows left out: the prompt alone fills the allowed length, or the response is empty."""
    n_with_control: int = 0
    """Rows whose text spells control tokens of the model; they are tokenized as the text that they are."""
    learnt: npt.NDArray[np.bool_] | None = field(default=None, kw_only=True)
    """Of each token whether it counts in the loss, where rows have several turns; None: all after prompts."""

    @classmethod
    def of(
        cls, documents: Sequence[Sequence[int]], prompt_lengths: Sequence[int], end_token: int, **counts: Any
    ) -> TokenizedData:
        """Return documents end to end, as one array."""
        starts = np.zeros(len(documents) + 1, dtype=np.int64)
        np.cumsum([len(document) for document in documents], out=starts[1:])
        tokens = np.fromiter((t for d in documents for t in d), dtype=np.int32, count=int(starts[-1]))
        return cls(tokens, starts, np.array(prompt_lengths, dtype=np.int32), end_token, **counts)

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document."""
        return np.diff(self.starts)

    @property
    def supervised(self) -> npt.NDArray[np.int64]:
        """Tokens of each document that count in the loss."""
        if self.learnt is None:
            return self.lengths - self.prompt_lengths
        return np.add.reduceat(self.learnt.astype(np.int64), self.starts[:-1])

    def learnt_places(self, i: int) -> npt.NDArray[np.int64]:
        """Return the places, in document i, of the tokens that count in the loss."""
        if self.learnt is None:
            return np.arange(self.prompt_lengths[i], self.lengths[i])
        return np.flatnonzero(self.learnt[self.starts[i] : self.starts[i + 1]])

    def document(self, i: int) -> npt.NDArray[np.int32]:
        """Return the tokens of document i."""
        return self.tokens[self.starts[i] : self.starts[i + 1]]

    def n_ending(self) -> int:
        """Return how many documents end in the end token."""
        return int((self.tokens[self.starts[1:] - 1] == self.end_token).sum())


def tokenize(
    rows: Sequence[Instruction],
    tokenizer: Any,
    style: PromptStyle,
    max_length: int,
    end_token: str | None = None,
) -> TokenizedData:
    """Tokenize rows; raises DataError where no row is left to learn from.

    `end_token` ends a response; where absent it is found: the chat template's, or the tokenizer's own.
    """
    encode = _Encoder(tokenizer, style, end_token)
    documents: list[list[int]] = []
    masks: list[list[bool]] = []
    prompt_lengths: list[int] = []
    several = False
    n_cut = n_cut_tokens = n_dropped = 0
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        for parts in encode.documents(rows[begin : begin + _ROWS_AT_ONCE]):
            prompt = len(parts[0][0])
            # The published script keeps rows of which nothing is left to learn; they only dilute the batch.
            answered = any(learnt and len(ids) > encode.n_end_tokens for ids, learnt in parts)
            if prompt >= max_length or not answered:
                n_dropped += 1
                continue
            tokens = [token for ids, _ in parts for token in ids]
            too_long = len(tokens) - max_length
            if too_long > 0:
                n_cut, n_cut_tokens = n_cut + 1, n_cut_tokens + too_long
            documents.append(tokens[:max_length])
            masks.append([learnt for ids, learnt in parts for _ in ids][:max_length])
            prompt_lengths.append(prompt)
            several |= len(parts) > 2
    if not documents:
        raise DataError(
            f"none of the {len(rows)} rows has a response that fits {max_length} tokens after its prompt; "
            "rows with a non-empty response are expected (or a larger max_length)"
        )
    return TokenizedData.of(
        documents,
        prompt_lengths,
        encode.end_token,
        n_cut=n_cut,
        n_cut_tokens=n_cut_tokens,
        n_dropped=n_dropped,
        n_with_control=encode.n_with_control,
        learnt=np.concatenate([np.array(mask, dtype=np.bool_) for mask in masks]) if several else None,
    )


def tokenize_cached(
    rows: Sequence[Instruction],
    tokenizer: Any,
    style: PromptStyle,
    max_length: int,
    end_token: str | None = None,
) -> TokenizedData:
    """Like `tokenize`; the same rows, by content, are tokenized by the same tokenizer only once.

    Kept under EVOLCODER_CACHE, or the user's cache folder; a cache that cannot be written is done without.
    """
    check_tokenizer(tokenizer)
    key = content_hash(
        tokenizer.backend_tokenizer.to_str(),
        [tokenizer.eos_token_id, tokenizer.chat_template, style, max_length, end_token, "v3"],
        [[row.instruction, row.input, row.response] for row in rows],
        *([chats] if any(chats := [row.extra.get("messages") for row in rows]) else []),
    )
    path = cache_folder() / "tokens" / f"{key}.npz"
    try:
        with np.load(path) as saved:
            facts = [int(x) for x in saved["facts"]]
            kept = TokenizedData(saved["tokens"], saved["starts"], saved["prompt_lengths"], *facts)
            return replace(kept, learnt=saved.get("learnt"))
    except (OSError, ValueError, KeyError, EOFError):
        pass
    data = tokenize(rows, tokenizer, style, max_length, end_token)
    facts = [data.end_token, data.n_cut, data.n_cut_tokens, data.n_dropped, data.n_with_control]
    try:
        with writing_whole(path) as partial, partial.open("wb") as f:
            learnt: dict[str, Any] = {} if data.learnt is None else {"learnt": data.learnt}
            arrays = {name: getattr(data, name) for name in ("tokens", "starts", "prompt_lengths")}
            np.savez(f, **arrays, facts=facts, **learnt)
    except OSError:
        pass
    return data


class _Encoder:
    """Prompt and response of a row as token lists."""

    def __init__(self, tokenizer: Any, style: PromptStyle, end_token: str | None) -> None:
        if end_token is not None and end_token not in tokenizer.get_vocab():
            raise DataError(f"end_token: the tokenizer has no token {end_token!r}")
        check_tokenizer(tokenizer)
        self._tokenizer = tokenizer
        self._style = style
        # A template writes its own begin token.
        self._opening = [] if style == "chat" else opening_tokens(tokenizer)
        self._anchor = self._anchor_tokens()
        self._turn_end_ids = self._turn_end() if style == "chat" else []
        self._tail: list[int] = self._turn_end_ids or [tokenizer.eos_token_id]
        if end_token is not None:
            self._tail = [tokenizer.convert_tokens_to_ids(end_token)]
        if self._tail == [None]:
            raise DataError(
                "the tokenizer has no end-of-sequence token, so the model would never learn to stop; "
                "end_token names one"
            )
        self._control, self._control_normalized = self._control_tokens()
        self.n_with_control = 0
        self.end_token = self._tail[-1]
        self.n_end_tokens = len(self._tail)

    def documents(self, rows: Sequence[Instruction]) -> Iterable[list[tuple[list[int], bool]]]:
        """Yield the parts of each row: (tokens, whether they are learnt); an answer with its end token."""
        # Tokenized apart: joined, the boundary merges in 42 of 2,017 real rows and swallows the first
        # response token, which the prompt's mask then hides.
        try:
            turns = [dialogue(self._broken(row), self._style, self._tokenizer) for row in rows]
        except ValueError as error:
            raise DataError(str(error)) from error
        prompts = self._encode([row[0][0] for row in turns])
        answers = iter(self._encode_continuations([answer for row in turns for _, answer in row]))
        befores = iter(self._encode_continuations([before for row in turns for before, _ in row[1:]]))
        for prompt, row in zip(prompts, turns, strict=True):
            parts = [(self._opening + prompt, False)]
            for k in range(len(row)):
                if k:
                    parts.append((self._without_turn_end(next(befores)), False))
                answer = next(answers)
                parts.append((answer + self._tail if answer else [], True))
            yield parts

    def _without_turn_end(self, ids: list[int]) -> list[int]:
        """Leave out the end of the turn before: it is learnt with its answer."""
        n = len(self._turn_end_ids)
        return ids[n:] if ids[:n] == self._turn_end_ids else ids

    def _control_tokens(self) -> tuple[re.Pattern[str] | None, frozenset[int]]:
        """Match what the tokenizer would read as a control token: special ones, and marks of turns.

        Longer ones first. A token of one character cannot be broken apart and stays what it is. Returned with
        it: the ids of those that text becomes only once it is normalized.
        """
        texts = set(self._tokenizer.all_special_tokens)
        added = self._tokenizer.added_tokens_decoder
        texts |= {token.content for token in added.values() if token.special}
        texts |= set(self._tokenizer.convert_ids_to_tokens(self._tail))
        if self._tokenizer.chat_template and (turns := turn_marks(self._tokenizer)):
            texts |= {token.content for token in added.values() if token.content in turns}
        found = sorted((text for text in texts if len(text) > 1), key=lambda text: (-len(text), text))
        normalized = {
            id_
            for id_, token in added.items()
            if token.normalized
            and token.content in found
            and self._tokenizer.backend_tokenizer.normalizer is not None
        }
        pattern = re.compile("|".join(map(re.escape, found))) if found else None
        return pattern, frozenset(normalized)

    def _broken(self, row: Instruction) -> Instruction:
        """Break each control token that the row's text spells in two, so that it is tokenized as text."""
        chat = row.extra.get("messages") or []
        texts = (row.instruction, row.input, row.response, *(message["content"] for message in chat))
        if all(self._broken_text(text) == text for text in texts):
            return row
        self.n_with_control += 1
        instruction, input_, response = map(self._broken_text, texts[:3])
        messages = [{**message, "content": self._broken_text(message["content"])} for message in chat]
        extra = {**row.extra, "messages": messages}
        return replace(row, instruction=instruction, input=input_, response=response, extra=extra)

    def _broken_text(self, text: str) -> str:
        pattern = self._control
        if pattern is None:
            return text
        while pattern.search(text):
            text = pattern.sub(lambda found: found[0][0] + _BREAK + found[0][1:], text)
        if not self._control_normalized:
            return text
        # What the normalizer makes a control token of shows in the tokens alone ("<|IM_END|>" in lower case).
        parts = []
        for part in text.split(_BREAK):
            read = self._tokenizer.backend_tokenizer.encode(encodable(part), add_special_tokens=False)
            for id_, (begin, end) in reversed(list(zip(read.ids, read.offsets, strict=True))):
                if id_ in self._control_normalized and end - begin > 1:
                    part = part[: begin + 1] + _BREAK + part[begin + 1 :]
            parts.append(part)
        return _BREAK.join(parts)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Encode texts; what stands on the two sides of a break is encoded apart."""
        parts = [text.split(_BREAK) for text in texts]
        heads = self._encode_plain([part[0] for part in parts])
        for head, part in zip(heads, parts, strict=True):
            for ids in self._encode_continuations(part[1:]):
                head += ids
        return heads

    def _encode_plain(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        plain = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        ids: list[list[int]] = self._tokenizer([encodable(text) for text in texts], **plain).input_ids
        return ids

    def _encode_continuations(self, texts: list[str]) -> list[list[int]]:
        """Encode texts that follow other text; SentencePiece would open each with a space of its own."""
        if not self._anchor or not texts:
            return self._encode(texts) if texts else []
        n = len(self._anchor)
        anchored = self._encode(["\n" + text for text in texts])
        return [ids[n:] if ids[:n] == self._anchor else ids for ids in anchored]

    def _anchor_tokens(self) -> list[int]:
        """Return the tokens of a newline where the tokenizer puts a space before text, else nothing."""
        backend = self._tokenizer.backend_tokenizer
        parts = f"{backend.normalizer!r}{backend.pre_tokenizer!r}"
        adds_space = "Metaspace" in parts or "Prepend" in parts
        return self._encode_plain(["\n"])[0] if adds_space else []

    def _turn_end(self) -> list[int]:
        """Return the tokens that end the assistant's turn, up to and including the stop token."""
        try:
            after = turn_end(self._tokenizer)
        except ValueError as error:
            raise DataError(str(error)) from error
        ids = self._encode([after])[0]
        # Gemma's and others' turn ends are no named special tokens, some not even special: added ones all.
        ending = {*self._tokenizer.all_special_ids, *self._tokenizer.added_tokens_decoder}
        for i, token in enumerate(ids):
            if token in ending:
                return ids[: i + 1]
        return [self._tokenizer.eos_token_id]


def check_tokenizer(tokenizer: Any) -> None:
    """Raise DataError for a tokenizer in Python code: how it splits text cannot be known by content."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise DataError(
            f"its tokenizer ({type(tokenizer).__name__}) is Python code; a base with a tokenizer.json is "
            "expected"
        )


def opening_tokens(tokenizer: Any) -> list[int]:
    """Return what the tokenizer itself puts before a text (Llama: the begin token; StarCoder: nothing)."""
    plain: list[int] = tokenizer("a", add_special_tokens=False).input_ids
    whole: list[int] = tokenizer("a").input_ids
    for i in range(len(whole) - len(plain) + 1):
        if whole[i : i + len(plain)] == plain:
            return whole[:i]
    return []


def add_wizardcoder_tokens(tokenizer: Any, model_type: str) -> int:
    """Add "[PAD]" where there is no padding token of its own; return how many tokens were added.

    StarCoder also gets "<|endoftext|>" as begin, end and unknown token. Source: `train_wizardcoder.py`.
    """
    added = 0
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        added = tokenizer.add_special_tokens({"pad_token": _PAD})
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


def split_held_out(
    data: Sequence[Instruction], n_rows: int, seed: int
) -> tuple[list[Instruction], list[Instruction]]:
    """Return (rows to train on, rows held out): whole families, drawn by `seed`, until `n_rows` are out.

    A family is a seed with everything evolved from it: what came of a held-out seed resembles it and would
    give the answer away. Raises DataError where nothing would be left to train on.
    """
    families: dict[str, list[int]] = {}
    for i, row in enumerate(data):
        families.setdefault(row.lineage.seed_id, []).append(i)
    names = list(families)
    held: set[int] = set()
    for k in np.random.default_rng(seed).permutation(len(names)):
        if len(held) >= n_rows:
            break
        held.update(families[names[int(k)]])
    if len(held) == len(data):
        raise DataError(
            f"eval_rows: {n_rows} of {len(data)} rows in {len(names)} families leave nothing to train on; "
            "fewer are expected"
        )
    return [row for i, row in enumerate(data) if i not in held], [data[i] for i in sorted(held)]
