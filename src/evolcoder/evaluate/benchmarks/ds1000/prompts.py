"""What a model is asked about a DS-1000 problem: the published prompt, continued, infilled or answered."""

from __future__ import annotations

from evolcoder.errors import UserError, nearest
from evolcoder.evaluate.benchmarks.ds1000.answers import STOPS
from evolcoder.records import Problem

INFILLING: dict[str, tuple[str, str, str]] = {
    # Marks before what comes first, before what comes last, and before what is to be written.
    "published": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "deepseek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "codellama": ("<PRE> ", " <SUF>", " <MID>"),
}
"""Infilling formats by preset; "published" is StarCoder's, the base of the 15B model."""

_GAP = "[insert]"


def continued(problem: Problem, preset: str) -> tuple[str, tuple[str, ...]]:
    """Return what a base model continues, and where it stops: the prompt, or its parts around the gap.

    Raises UserError for an infilling format that is not known.
    """
    if _GAP not in problem.prompt:
        return problem.prompt, STOPS
    if preset not in INFILLING:
        known = ", ".join(INFILLING)
        raise UserError(f"preset {preset!r} names no infilling format{nearest(preset, INFILLING)}: {known}")
    first, last, middle = INFILLING[preset]
    before, _, after = problem.prompt.partition(_GAP)
    return f"{first}{before}{last}{after}{middle}", STOPS


def answered(problem: Problem) -> str:
    """Return what a chat model is asked."""
    where = f"what stands for {_GAP}" if _GAP in problem.prompt else "what comes next"
    return (
        f"Below is a question with the beginning of its answer. Write only {where}: Python code that keeps "
        "the given variable names and indentation and does not repeat what is there already, in one Python "
        f"code block.\n\n{problem.prompt}"
    )
