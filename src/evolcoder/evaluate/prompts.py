"""From a benchmark's problem to what the model is asked, in three styles.

`wizardcoder` is what the published scripts ask, quirks included (their problem text has a tab for every four
spaces, and the number of newlines before "### Instruction:" differs from script to script), so that
published scores reproduce. `chat` asks in plain words through the model's own chat template. `completion`
lets a base model go on where the prompt stops.
"""

from __future__ import annotations

from dataclasses import dataclass

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate import ds1000_prompts
from evolcoder.evaluate.settings import Style
from evolcoder.extraction.code_blocks import Extraction
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.protocol import Message
from evolcoder.records import Problem

_SCRIPT_LINE = "Create a Python script for this problem:\n"

PRESETS: dict[str, dict[str, str]] = {
    # What stands between the introduction and "### Instruction:", by family of benchmark.
    "published": {"humaneval": "\n\n", "mbpp": "\n\n", "mbpp+": "\n\n\n"},
    "script": {"humaneval": "\n\n\n", "mbpp": "\n\n", "mbpp+": "\n\n\n"},
    "33b": {"humaneval": "\n\n    \n", "mbpp": "\n\n", "mbpp+": "\n\n\n"},
}
"""Prompt details of the published outputs: "published" is the 15B file that scored 59.8 (and the training
prompt), "script" is humaneval_gen.py, "33b" the 33B model's HumanEval file."""

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "\n```")
"""Where a continued function ends (Codex, section 3.2, which has the first five)."""
MBPP_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```", "\n#")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent to the model for one problem."""

    prompt: tuple[Message, ...] | str
    stop: tuple[str, ...] = ()


def prompt_for(problem: Problem, style: Style, preset: str = "published") -> tuple[Message, ...] | str:
    """Return the prompt of a request about `problem`; raises UserError for an unknown style or preset."""
    return asked(problem, style, preset).prompt


def asked(problem: Problem, style: Style, preset: str = "published") -> Asked:
    """Return prompt and stop strings for `problem`; raises UserError for an unknown style or preset."""
    if problem.benchmark.startswith("multipl-e:") and style in ("wizardcoder", "chat", "completion"):
        return _multipl_e(problem, style)
    if "instruction" in problem.extra and style in ("wizardcoder", "chat", "completion"):
        return _own(problem, style)
    if style == "wizardcoder":
        if _family(problem) == "ds1000":
            return Asked(instruction_prompt(problem.prompt.replace("    ", "\t")))
        return Asked(_wizardcoder_prompt(problem, preset))
    if style == "chat":
        return Asked((Message("user", _chat_text(problem)),))
    if style == "completion":
        return _completion(problem, preset)
    styles = ("wizardcoder", "chat", "completion")
    raise UserError(f"style {style!r} is not known{nearest(style, styles)}: {', '.join(styles)}")


def default_extraction(style: Style) -> Extraction:
    """Return how a program is found in an answer to this style."""
    extractions: dict[Style, Extraction] = {
        "wizardcoder": "wizardcoder",
        "chat": "auto",
        "completion": "none",
    }
    return extractions[style]


def answer_text(style: Style, text: str) -> str:
    """Return the answer as the published scripts keep it: under `wizardcoder` a tab is four spaces again."""
    return text.replace("\t", "    ") if style == "wizardcoder" else text


def _wizardcoder_prompt(problem: Problem, preset: str) -> str:
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r} is not known{nearest(preset, PRESETS)}: {', '.join(PRESETS)}")
    family = _family(problem)
    if family == "mbpp+":
        text, assertion = _docstring_parts(problem.prompt)
        text = text if text.endswith(".") else text + "."
        task = f"{text} Your code should satisfy the following assertion:\n```python\n{assertion}\n```"
    elif family == "mbpp":
        task = f"{_SCRIPT_LINE}\n{problem.prompt}\nTest examples:\n" + "\n".join(_examples(problem))
    else:
        task = _SCRIPT_LINE + problem.prompt
    return instruction_prompt(task.replace("    ", "\t"), gap=PRESETS[preset][family])


def _own(problem: Problem, style: Style) -> Asked:
    """Ask as a benchmark says that brings its own instruction for chat models (`Problem.extra`)."""
    instruction = str(problem.extra["instruction"])
    if style == "wizardcoder":
        return Asked(instruction_prompt(instruction.replace("    ", "\t")))
    if style == "chat":
        return Asked((Message("user", instruction),))
    return Asked(problem.prompt.rstrip(), HUMANEVAL_STOPS)


def _multipl_e(problem: Problem, style: Style) -> Asked:
    """Have the prompt continued, as the paper does with WizardCoder too, or ask for it in a chat."""
    if style == "chat":
        name, label = problem.extra["language"], problem.extra["label"]
        text = (
            f"Complete this {name} function. Answer with the whole function and what it needs, imports "
            f"included, in one {name} code block, without a main function, tests or examples.\n\n"
            f"```{label}\n{problem.prompt.strip()}\n```"
        )
        return Asked((Message("user", text),))
    return Asked(problem.prompt.strip(), tuple(problem.extra["stop_tokens"]))


def _examples(problem: Problem) -> list[str]:
    if problem.task_id == "MBPP/493":
        # Its tests are too long; the published script shows the call alone.
        return ["calculate_polygons(startx, starty, endx, endy, radius)"]
    return list(problem.extra["test_list"])


def _chat_text(problem: Problem) -> str:
    family = _family(problem)
    if family == "ds1000":
        return ds1000_prompts.answered(problem)
    if family == "humaneval":
        return (
            "Complete this Python function. Answer with the whole function, imports included, "
            f"in one Python code block.\n\n```python\n{problem.prompt.strip()}\n```"
        )
    text, tests = _task_and_tests(problem)
    return (
        f"{text}\n\nAnswer with one Python code block. The code should pass these tests:\n\n"
        f"```python\n{tests}\n```"
    )


def _completion(problem: Problem, preset: str) -> Asked:
    if _family(problem) == "ds1000":
        return Asked(*ds1000_prompts.continued(problem, preset))
    if _family(problem) == "humaneval":
        # A prompt that ends in a newline splits the token that base models put before the first statement.
        return Asked(problem.prompt.rstrip(), HUMANEVAL_STOPS)
    text, tests = _task_and_tests(problem)
    return Asked(f'"""\n{text}\n{tests}\n"""', MBPP_STOPS)


def _task_and_tests(problem: Problem) -> tuple[str, str]:
    if _family(problem) == "mbpp+":
        return _docstring_parts(problem.prompt)
    return problem.prompt, "\n".join(_examples(problem))


def _docstring_parts(prompt: str) -> tuple[str, str]:
    """Split EvalPlus's MBPP+ prompt, a docstring of the task and one assertion, into the two."""
    inside = prompt.strip().removeprefix('"""').removesuffix('"""').strip()
    text, mark, assertion = inside.partition("\nassert ")
    return text, f"{mark.strip()} {assertion}" if mark else ""


def _family(problem: Problem) -> str:
    name = problem.benchmark.split("@")[0].split(" ")[0]
    if name.startswith("humaneval"):
        return "humaneval"
    if name.startswith("mbpp"):
        return "mbpp+" if name.startswith("mbpp+") else "mbpp"
    if name.startswith("ds1000"):
        return "ds1000"
    raise UserError(
        f"benchmark {problem.benchmark!r} has no prompts: humaneval, humaneval+, mbpp, mbpp+, ds1000"
    )
