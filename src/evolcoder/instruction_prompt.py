"""The published prompts: that of Alpaca and WizardCoder, WizardLM's of 7B, and its chat of 13B and later.

Training, evaluation, batch inference and chat use these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

PublishedPrompt = Literal["wizardcoder", "wizardlm-7b", "wizardlm-13b"]
WIZARDLM_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions."
)
"""Opens the chat of WizardLM 13B and later."""
WIZARDLM_TURN_END = "</s>"
"""Ends each answer in that chat."""


def instruction_prompt(instruction: str, input_: str = "", gap: str = "\n\n") -> str:
    """Return the published prompt around an instruction, up to and including "### Response:".

    `gap` stands before "### Instruction:"; some published evaluation scripts have another one than training
    (PROMPT_DICT of WizardCoder's training script, taken from Alpaca).
    """
    if input_:
        return (
            "Below is an instruction that describes a task, paired with an input that provides further "
            f"context. Write a response that appropriately completes the request.{gap}### Instruction:\n"
            f"{instruction}\n\n### Input:\n{input_}\n\n### Response:"
        )
    return (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        f"request.{gap}### Instruction:\n{instruction}\n\n### Response:"
    )


def wizardlm_7b_prompt(instruction: str, input_: str = "") -> str:
    """Return the prompt of WizardLM 7B: the instruction, a blank line, "### Response:"."""
    asked = f"{instruction}\n{input_}" if input_ else instruction
    return f"{asked}\n\n### Response:"


def wizardlm_chat_turn(question: str) -> str:
    """Return what stands before an answer in the chat of WizardLM 13B, after what came before the turn."""
    return f"USER: {question} ASSISTANT:"


def conversation_prompt(style: PublishedPrompt, questions: Sequence[str], answers: Sequence[str]) -> str:
    """Return the text that asks the last of `questions`, after the `answers` to those before it.

    The prompts of WizardCoder and of WizardLM 7B have one question: further ones follow in the same form,
    without the introduction.
    """
    asked, *more = questions
    if style == "wizardlm-13b":
        text = f"{WIZARDLM_SYSTEM} {wizardlm_chat_turn(asked)}"
        for answer, question in zip(answers, more, strict=True):
            text += f" {answer}{WIZARDLM_TURN_END}{wizardlm_chat_turn(question)}"
        return text
    whole = instruction_prompt if style == "wizardcoder" else wizardlm_7b_prompt
    head = "### Instruction:\n" if style == "wizardcoder" else ""
    text = whole(asked)
    for answer, question in zip(answers, more, strict=True):
        text += f" {answer}\n\n{head}{wizardlm_7b_prompt(question)}"
    return text
