"""Chats of several turns, templates with thoughts, WizardLM's prompts: what is learnt and exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.errors import DataError
from evolcoder.instructions import instruction_from_row
from evolcoder.models.local.weights import load_tokenizer
from evolcoder.records import Instruction
from evolcoder.train import train
from evolcoder.train.loss import packed_row
from evolcoder.train.settings import PromptStyle
from evolcoder.train.tokenization import TokenizedData, tokenize, tokenize_cached

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role=='assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
R1 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}"
)


def chat(messages: list[dict[str, str]] = CHAT) -> Instruction:
    return instruction_from_row({"messages": messages})


def learnt(data: TokenizedData, tokenizer: Any, i: int = 0) -> str:
    return str(tokenizer.decode(data.document(i)[data.learnt_places(i)]))


def test_every_answer_of_a_chat_is_learnt_with_its_end_and_nothing_else() -> None:
    tokenizer = byte_tokenizer()
    data = tokenize([chat(), *rows(1)], tokenizer, "chat", 1024)
    assert learnt(data, tokenizer) == "1<|im_end|>2<|im_end|>"
    assert learnt(data, tokenizer, 1) == rows(1)[0].response + "<|im_end|>"
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False).removesuffix("\n")
    assert tokenizer.decode(data.document(0)) == whole
    batch = packed_row(data, (1, 0))
    assert tokenizer.decode(batch.targets_S.tolist()[-4:]) == "1<|im_end|>2<|im_end|>"
    assert list(data.supervised) == [4, len(rows(1)[0].response) + 1]


def test_chats_are_kept_apart_by_content() -> None:
    tokenizer = byte_tokenizer()
    other = chat([*CHAT[:2], {"role": "assistant", "content": "one"}, *CHAT[3:]])
    first, again, differing = (
        learnt(tokenize_cached([row], tokenizer, "chat", 512), tokenizer) for row in (chat(), chat(), other)
    )
    assert first == again != differing


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": "x"}], "user and assistant by turns"),
        ([*CHAT[1:3], CHAT[2]], "user and assistant by turns"),
        ([{"role": "tool", "content": "x"}], "user and assistant by turns"),
        ([{"role": "user", "content": None}], "content is expected to be text"),
        ("x", "a list of objects"),
    ],
)
def test_what_is_no_chat_is_refused(messages: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chat(messages)


def test_a_block_of_thoughts_that_the_template_adds_is_learnt() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = QWEN3
    data = tokenize([chat()], tokenizer, "chat", 1024)
    assert learnt(data, tokenizer) == "1<|im_end|><think>\n\n</think>\n\n2<|im_end|>"


def test_a_block_of_thoughts_that_the_prompt_opens_is_closed_or_filled() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = R1
    thoughtful = replace(rows(2)[1], response="<think>\nAdd.\n</think>\n\n3")
    data = tokenize([replace(rows(2)[1], response="3"), thoughtful], tokenizer, "chat", 1024)
    assert learnt(data, tokenizer, 0) == "\n</think>\n\n3<|im_end|>"
    assert learnt(data, tokenizer, 1) == "Add.\n</think>\n\n3<|im_end|>"
    prompts = [tokenizer.decode(data.document(i)[: data.prompt_lengths[i]]) for i in (0, 1)]
    assert all(prompt.endswith("<|im_start|>assistant\n<think>\n") for prompt in prompts)


def test_wizardlm_s_prompts() -> None:
    tokenizer = byte_tokenizer()
    row = replace(rows(2)[1], instruction="Add.", input="", response="1")
    free = tokenize([row], tokenizer, "wizardlm-7b", 1024)
    assert tokenizer.decode(free.document(0)) == "Add.\n\n### Response:1<|im_end|>"
    talk = tokenize([chat(CHAT[1:])], tokenizer, "wizardlm-13b", 1024)
    assert tokenizer.decode(talk.document(0)) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. USER: One? ASSISTANT: 1<|im_end|>"
        "USER: Two? ASSISTANT: 2<|im_end|>"
    )
    assert learnt(talk, tokenizer) == " 1<|im_end|> 2<|im_end|>"
    with pytest.raises(DataError, match="wizardcoder: one question and one answer are expected"):
        tokenize([chat()], tokenizer, "wizardcoder", 1024)


@pytest.mark.parametrize("style", ["wizardcoder", "wizardlm-7b", "wizardlm-13b"])
def test_the_exported_template_asks_as_training_did(style: PromptStyle, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    out = train(base, rows(6), replace(SETTINGS, prompt_style=style, max_steps=1), tmp_path / "out").folder
    tokenizer = load_tokenizer(str(out))
    row = replace(rows(2)[1], input="")
    data = tokenize([row], tokenizer, style, 1024)
    asked = tokenizer.apply_chat_template([{"role": "user", "content": row.instruction}], tokenize=False)
    assert tokenizer.decode(data.document(0)[: data.prompt_lengths[0]]) == asked


def test_a_chat_trains(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    settings = replace(SETTINGS, prompt_style="chat", max_steps=3, batch_size=3)
    result = train(base, [chat(), *rows(5)], settings, tmp_path / "out")
    assert result.losses[-1] < result.losses[0]
