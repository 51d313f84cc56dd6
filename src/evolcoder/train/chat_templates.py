"""Training on a model's own chat template, and the chat template that the published prompt stands for."""

from __future__ import annotations

from typing import Any

from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.records import Instruction

_PLACE = "{instruction}"


def chat_parts(row: Instruction, tokenizer: Any) -> tuple[str, str]:
    """Return (prompt, text after the response) of a row in the model's chat template.

    The second part opens with the token that ends the assistant's turn. Raises ValueError where the
    tokenizer has no chat template, or one that rewrites the response.
    """
    if not tokenizer.chat_template:
        raise ValueError("the model has no chat template; use prompt_style: wizardcoder")
    content = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    user = [{"role": "user", "content": content}]
    prompt: str = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    marker = "RESPONSE"
    whole: str = tokenizer.apply_chat_template(
        [*user, {"role": "assistant", "content": marker}], tokenize=False, add_generation_prompt=False
    )
    if not whole.startswith(prompt + marker):
        raise ValueError("the chat template writes more than the response into the assistant's turn")
    return prompt, whole[len(prompt) + len(marker) :]


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


def wizardcoder_template(opening: str) -> str:
    """Return the chat template that asks as training did; `opening` is what the tokenizer puts before text.

    A system message stands before the instruction, which is the nearest that the published prompt has.
    """
    before, _, after = instruction_prompt(_PLACE).partition(_PLACE)
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
