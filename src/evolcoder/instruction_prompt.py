"""The prompt of Alpaca and WizardCoder: training, evaluation, batch inference and chat use this one."""

from __future__ import annotations


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
