"""Training on a model's own chat template, and the chat template that the published prompt stands for."""

from __future__ import annotations

from typing import Any

from evolcoder.instruction_prompt import (
    WIZARDLM_SYSTEM,
    instruction_prompt,
    wizardlm_7b_prompt,
    wizardlm_chat_turn,
)
from evolcoder.models.local.prompt_tokens import rendered_chat
from evolcoder.records import Instruction
from evolcoder.train.settings import PromptStyle

_PLACE = "{instruction}"
_MARK = "EVOLCODERANSWER"
"""Stands for an answer while a template is read."""
_THOUGHT_BEGINS, _THOUGHT_ENDS = "<think>", "</think>"


def dialogue(row: Instruction, style: PromptStyle, tokenizer: Any) -> list[tuple[str, str]]:
    """Return (what stands before an answer, the answer) of each assistant turn of a row.

    In "chat", what stands before a later answer begins with the end of the turn before. Raises ValueError
    where the style has no place for several turns, or the template cannot be followed.
    """
    chat = row.extra.get("messages")
    if style == "chat":
        return chat_turns(_messages(row), tokenizer)
    if style == "wizardlm-13b":
        return _wizardlm_chat(_messages(row))
    if chat and len(chat) > 2:
        raise ValueError(
            f"{style}: one question and one answer are expected, found a chat of {len(chat)} messages; "
            "prompt_style: chat or wizardlm-13b has several turns"
        )
    if style == "wizardlm-7b":
        return [(wizardlm_7b_prompt(row.instruction, row.input), row.response)]
    return [(instruction_prompt(row.instruction, row.input), row.response)]


def _messages(row: Instruction) -> list[dict[str, str]]:
    """Return the row as a chat."""
    chat = row.extra.get("messages")
    if chat:
        return list(chat)
    content = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    return [{"role": "user", "content": content}, {"role": "assistant", "content": row.response}]


def _wizardlm_chat(messages: list[dict[str, str]]) -> list[tuple[str, str]]:
    before, turns = WIZARDLM_SYSTEM + " ", []
    for message in messages:
        if message["role"] == "system":
            before = message["content"] + " "
        elif message["role"] == "user":
            before += wizardlm_chat_turn(message["content"])
        else:
            turns.append((before, " " + message["content"]))
            before = ""
    return turns


def chat_turns(messages: list[dict[str, str]], tokenizer: Any) -> list[tuple[str, str]]:
    """Return (text before, answer) of each assistant turn in the model's chat template.

    An answer is what the model has to write after the template's generation prompt. Where the template puts a
    block of thoughts between the two (Qwen3: an empty one), the block is part of the answer; where the prompt
    itself opens the block (DeepSeek-R1), the answer closes it first, unless it holds thoughts of its own.
    Raises ValueError where the template changes answers otherwise.
    """
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    marked = [
        {**message, "content": f"{_MARK}{at}{_MARK}"} if at in answers else message
        for at, message in enumerate(messages)
    ]
    rest = rendered_chat(tokenizer, marked)
    turns = []
    for at in answers:
        before, found, rest = rest.partition(f"{_MARK}{at}{_MARK}")
        if not found:
            raise ValueError("the chat template does not hold the answers of all turns")
        until, asked = (rendered_chat(tokenizer, messages[:at], asks=asks) for asks in (False, True))
        opening = asked.removeprefix(until)  # what the template adds to ask for an answer
        answer = messages[at]["content"]
        if at != answers[-1] and _THOUGHT_ENDS in tokenizer.chat_template:
            answer = answer.rpartition(_THOUGHT_ENDS)[2].lstrip("\n")  # as templates leave out old thoughts
        turns.append(_opened(before, opening, answer))
    return turns


def _opened(before: str, opening: str, answer: str) -> tuple[str, str]:
    """Return (text before, answer) where a generation prompt ends in `opening` and a chat has `before`."""
    if before.endswith(opening):
        return before, answer
    head, found, block = before.rpartition(opening)
    if found and (_THOUGHT_ENDS in block or not block.strip()):
        return head + found, block + answer
    kept = opening
    while kept and not before.endswith(kept):
        kept = kept[:-1]
    block = opening[len(kept) :]
    if kept and block.strip() == _THOUGHT_BEGINS:
        before += block
        if _THOUGHT_ENDS in answer:
            return before, answer.lstrip().removeprefix(_THOUGHT_BEGINS).lstrip("\n")
        return before, f"\n{_THOUGHT_ENDS}\n\n{answer}"
    raise ValueError("the chat template writes more than the response into the assistant's turn")


def turn_end(tokenizer: Any) -> str:
    """Return what the chat template writes after the last answer; raises ValueError without a template."""
    if not tokenizer.chat_template:
        raise ValueError("the model has no chat template; use prompt_style: wizardcoder")
    chat = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _MARK}]
    return rendered_chat(tokenizer, chat).rpartition(_MARK)[2]


def turn_marks(tokenizer: Any) -> str:
    """Return what the chat template writes around two turns: where tokens that mark turns are found.

    Not around the last answer, where some templates open a block of thoughts, whose marks data may hold.
    """
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    try:
        marks: str = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:
        return ""
    return marks


def published_template(style: PromptStyle, opening: str) -> str:
    """Return the chat template that asks as training in a published style did.

    `opening` is what the tokenizer puts before text. In WizardCoder's and WizardLM 7B's prompt a system
    message stands before the instruction, which is the nearest that they have.
    """
    if style == "wizardlm-13b":
        return (
            f"{_jinja(opening)}{{% if messages[0]['role'] != 'system' %}}{_jinja(WIZARDLM_SYSTEM + ' ')}"
            "{% endif %}{% for message in messages %}{% if message['role'] == 'system' %}"
            "{{ message['content'] + ' ' }}{% elif message['role'] == 'user' %}"
            "{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}"
            "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        )
    asked = instruction_prompt(_PLACE) if style == "wizardcoder" else wizardlm_7b_prompt(_PLACE)
    before, _, after = asked.partition(_PLACE)
    return (
        f"{_jinja(opening)}{{% set system = namespace(text='') %}}{{% for message in messages %}}"
        "{% if message['role'] == 'system' %}{% set system.text = message['content'] + '\\n\\n' %}"
        f"{{% elif message['role'] == 'user' %}}{_jinja(before)}"
        f"{{{{ system.text + message['content'] }}}}{_jinja(after)}{{% set system.text = '' %}}"
        "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    )


def _jinja(text: str) -> str:
    """Write text as an expression, for plain text loses a newline at the end of a block."""
    return "{{ " + repr(text) + " }}" if text else ""
