"""Whether a mathematical answer equals the expected one: asked of `math-verify`, in the sandbox.

The package parses and simplifies what a model wrote, which may take for ever, so it runs with limits. Tier
"in-process": the comparison is ours, and what it is given is text; no code of the model's is meant to run.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from functools import lru_cache
from importlib import metadata

from evolcoder.errors import MissingExtraError
from evolcoder.extraction.final_answers import as_latex, final_answer, last_boxed, number_as_latex, number_of
from evolcoder.sandbox.protocol import InProcessJob, Job, Limits, PythonEnvironment

COMPARISON_LIMITS = Limits(cpu_s=5.0, memory_bytes=1 << 30)
_ASKED = 3
"""Counted up where `_COMPARISON`, or how answers are spelled for it, changes: kept verdicts hold no more."""
_LONGEST_TEXT = 4_000
"""Characters at the end of a solution that are searched for its answer."""
_SIGNED = re.compile(r"(:\s*)(?:\+|\((?=[-\d.,]+\)))([-\d.,]+)\)?")
_WORD = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z]{2,}")
_DIGITS = re.compile(r"-?[\d.]+")
_COMPARISON = """
import logging
logging.disable(logging.CRITICAL)
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
number, expected, text = {told!r}
latex = LatexExtractionConfig(boxed_match_priority=0)
gold = parse(expected, [ExprExtractionConfig()] if number else [latex], parsing_timeout=None)
if not gold:
    raise ValueError("the expected answer cannot be read")
kinds = [latex] if text.startswith("\\\\boxed") else [LatexExtractionConfig(), ExprExtractionConfig()]
found = parse(text, kinds, parsing_timeout=None)
if not found:
    raise AssertionError("no answer was found")
if not verify(gold, found, allow_set_relation_comp=True, timeout_seconds=None):
    raise AssertionError(f"{{gold[-1]}} is expected, found {{found[-1]}}"[:300])
"""


def math_verify_version() -> str:
    """Return the version of math-verify; raises MissingExtraError where it is not installed."""
    try:
        return metadata.version("math-verify")
    except metadata.PackageNotFoundError:
        raise MissingExtraError("comparing mathematical answers by math-verify", "math") from None


def comparison_version() -> str:
    """Return what changes where verdicts may: the version of math-verify, and of how it is asked."""
    return f"{math_verify_version()} {_ASKED}"


def equality_job(expected: str, text: str, limits: Limits) -> Job:
    r"""Return the job that passes where the answer in `text` equals `expected`, a number or LaTeX.

    Raises MissingExtraError where math-verify is not installed.
    """
    number = number_of(expected) is not None
    plain = number and "\\" not in expected
    readable = _readable(text[-_LONGEST_TEXT:], number)
    told = (plain, expected if plain else f"\\boxed{{{expected}}}", readable)
    return InProcessJob(_COMPARISON.format(told=told), limits, _environment())


def _readable(text: str, number: bool) -> str:
    r"""Return the answer in a text as a \boxed of LaTeX where it can be told from the words around it.

    math-verify 0.9 takes several \boxed for one set, and a \boxed that is no LaTeX for the last number in it.
    """
    answer = final_answer(text)
    if number and (found := number_as_latex(answer)):
        # Digits alone need no grammar of LaTeX, which takes four times as long.
        return f"The answer is: {found}" if _DIGITS.fullmatch(found) else f"\\boxed{{{found}}}"
    spelled = as_latex(answer)
    prose = "$" in spelled or (_WORD.search(spelled) and re.search(r"\d", spelled))
    if last_boxed(text) is not None or (spelled and not prose):
        return f"\\boxed{{{spelled}}}"
    return _SIGNED.sub(r"\1\2", text.replace("\\$", ""))


@lru_cache(maxsize=1)
def _environment() -> PythonEnvironment:
    math_verify_version()
    interpreter, base = os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix)
    return PythonEnvironment(interpreter, base, sysconfig.get_path("purelib"), ("math_verify",))
