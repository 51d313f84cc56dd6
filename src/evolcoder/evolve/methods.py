"""The evolving prompts: Code Evol-Instruct's template with its five methods, WizardLM's sets, and Math's.

Code: WizardCoder (arXiv 2306.08568, 3.1). WizardLM: `wizardlm_prompts`. The wording is the published one; of
Math Evol-Instruct (WizardMath, arXiv 2308.09583, 2.1), which published none, it is ours. A new method is one
entry here, one line in a recipe (`custom_methods`), or a set in a file of the user's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from importlib import resources
from pathlib import Path

from evolcoder.errors import UserError
from evolcoder.evolve import wizardlm_prompts
from evolcoder.models.protocol import Message
from evolcoder.own_files import is_own, load_own_file
from evolcoder.runs import content_hash


@dataclass(frozen=True, slots=True)
class Shot:
    """A question and what a good teacher makes of it."""

    question: str
    """An instruction."""
    evolved: str
    """The instruction made harder."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make an instruction harder."""

    name: str
    sentence: str
    """What stands for {method} in the template."""
    template: str | None = None
    """Own template with {method} and {question}; None takes the set's."""
    shots: tuple[Shot, ...] = ()
    """Worked examples, for teachers too small to follow the bare template."""
    weight: float = 1.0
    """Chance relative to the others; the papers say no more than "random", so all are equal."""
    keeps_answer: bool = False
    """True where the evolved instruction has the same final answer as its parent (a rewording, say)."""


@dataclass(frozen=True, slots=True)
class CustomMethod:
    """A method of one's own, in any language."""

    sentence: str = ""
    """What stands for {method} in the template; needed unless the method has a template of its own."""
    template: str | None = None
    """Own template with {question}, and {method} where the sentence shall stand."""
    shots: tuple[Shot, ...] = ()
    """Worked examples, each with `question` and `evolved`."""

    def __post_init__(self) -> None:
        """Refuse a method that says nothing; raises ValueError."""
        check_template(self.template)


def check_template(template: str | None) -> None:
    """Refuse a template without a place for the question; raises ValueError."""
    if template is not None and "{question}" not in template:
        raise ValueError("template: {question} is expected in it, where the instruction shall stand")


@dataclass(frozen=True, slots=True)
class MethodSet:
    """Methods that one of is chosen at random for each instruction."""

    name: str
    template: str
    methods: tuple[Method, ...]
    leaks: tuple[str, ...] = ()
    """Words of the evolving prompt that an evolved instruction must not hold (elimination rule 4)."""
    origin: str = ""
    """Whose method it is, as a card says it: a name and the paper."""


CODE_TEMPLATE = """\
Please increase the difficulty of the given programming test question a bit.

You can increase the difficulty using, but not limited to, the following methods:
{method}

{question}
"""

CODE_SENTENCES = {
    "add-constraints": (
        "Add new constraints and requirements to the original problem, adding approximately 10 additional "
        "words."
    ),
    "rare-requirement": (
        "Replace a commonly used requirement in the programming task with a less common and more specific "
        "one."
    ),
    "more-reasoning": (
        "If the original problem can be solved with only a few logical steps, please add more reasoning "
        "steps."
    ),
    "misdirect": "Provide a piece of erroneous code as a reference to increase misdirection.",
    "complexity": (
        "Propose higher time or space complexity requirements, but please refrain from doing so frequently."
    ),
}

MATH_UPWARD_TEMPLATE = """\
Rewrite the math problem at the end into a somewhat harder one. {method}
The rewritten problem is complete in itself and has exactly one final answer. Reply with it alone, \
without its solution.

{question}
"""

MATH_DOWNWARD_TEMPLATE = """\
Write a math problem that is easier than the one at the end. {method}
The easier problem is complete in itself and has exactly one final answer. Reply with it alone, without its \
solution.

{question}
"""

MATH_SENTENCES = {
    "upward-constraints": "Add one more constraint or requirement.",
    "upward-deepening": "Ask for more: let the question go deeper or wider into the same subject.",
    "upward-concretizing": "Replace a general notion by a more specific one, with numbers of its own.",
    "upward-reasoning": "Change it so that its solution takes one or two more steps.",
    "downward-easier": (
        "Keep the subject, and lower the difficulty: fewer steps, fewer conditions, smaller numbers."
    ),
    "downward-easier-topic": "Choose another subject than the given one.",
}

PROMPT_WORDS = ("given prompt", "rewritten prompt", "created prompt")


def worked_examples(of: str) -> dict[str, tuple[Shot, ...]]:
    """Return worked examples of "code", "wizardlm" or "math" by method, of "input" by the format added.

    Written for evolcoder. A model of 0.1 to 0.5 billion parameters does not follow the bare template; with
    two of these before its question it does half the time. None is near a HumanEval or MBPP problem.
    """
    found: dict[str, tuple[Shot, ...]] = {}
    lines = resources.files("evolcoder.evolve").joinpath("shots.jsonl").read_text(encoding="utf-8")
    for row in map(json.loads, lines.splitlines()):
        if row["set"] == of:
            shot = Shot(row["question"], row["evolved"])
            found[row["method"]] = (*found.get(row["method"], ()), shot)
    return found


def _wizardlm_set(name: str, *, paper: bool) -> MethodSet:
    """Return WizardLM's operations in one wording; only the paper's has complicated input, one of six."""
    words, shots, inputs = wizardlm_prompts, worked_examples("wizardlm"), worked_examples("input")
    sentences = words.PAPER_SENTENCES if paper else words.REPOSITORY_SENTENCES
    breadth = words.PAPER_BREADTH if paper else words.REPOSITORY_BREADTH
    formats = words.INPUT_FORMATS if paper else {}
    complicated = {key: words.complicated_input(key, map(astuple, inputs[key])) for key in formats}
    share = 1 / len(words.INPUT_FORMATS)
    methods = (
        *(Method(key, sentence, shots=shots[key]) for key, sentence in sentences.items()),
        *(Method(f"complicate-{key}", "", template, weight=share) for key, template in complicated.items()),
        Method("breadth", "", breadth, shots["breadth"]),
    )
    examples = tuple(shot.evolved[:60] for key in formats for shot in inputs[key])
    depth = words.PAPER_DEPTH if paper else words.REPOSITORY_DEPTH
    leaks, origin = (*PROMPT_WORDS, *examples), "Evol-Instruct (WizardLM, arXiv 2304.12244)"
    return MethodSet(name, depth, methods, leaks, origin)


_CODE_SHOTS, _MATH_SHOTS = worked_examples("code"), worked_examples("math")
METHOD_SETS: Mapping[str, MethodSet] = {
    "code": MethodSet(
        "code",
        CODE_TEMPLATE,
        tuple(Method(name, text, shots=_CODE_SHOTS[name]) for name, text in CODE_SENTENCES.items()),
        leaks=("programming test question", "increase the difficulty", *PROMPT_WORDS),
        origin="Code Evol-Instruct (WizardCoder, arXiv 2306.08568)",
    ),
    "general": _wizardlm_set("general", paper=True),
    "wizardlm-paper": _wizardlm_set("wizardlm-paper", paper=True),
    "wizardlm-repository": _wizardlm_set("wizardlm-repository", paper=False),
    "math": MethodSet(
        "math",
        MATH_UPWARD_TEMPLATE,
        tuple(
            Method(name, text, MATH_DOWNWARD_TEMPLATE if "downward" in name else None, _MATH_SHOTS[name])
            for name, text in MATH_SENTENCES.items()
        ),
        leaks=(
            *("math problem at the end", "complete in itself", "exactly one final answer"),
            *("rewritten problem", *PROMPT_WORDS),
        ),
        origin="Math Evol-Instruct (after WizardMath, arXiv 2308.09583)",
    ),
}
"""The named method sets; "general" is WizardLM's in the paper's wording. WizardCoder's set drops deepening,
complicated input and breadth from WizardLM's and adds misdirection by erroneous code and complexity
requirements."""


def method_set(
    name: str,
    custom: Mapping[str, str | CustomMethod],
    weights: Mapping[str, float],
    template: str | None = None,
    leaks: Sequence[str] = (),
) -> MethodSet:
    """Return the named set with `custom` methods (a sentence, or more) added and `weights` applied.

    A name that ends in .py is a user's file whose `load()` returns a MethodSet, or a domain that has one as
    `methods`. `template` replaces the set's; `leaks` are further words that no evolved instruction may hold.
    Raises ValueError for an unknown name, an empty method, a negative weight, or when no method is left,
    UserError for a mistake in the user's file.
    """
    chosen = load_own_file(Path(name))[0] if is_own(name) else METHOD_SETS.get(name)
    if not isinstance(chosen, MethodSet):
        chosen = getattr(chosen, "methods", None)
    if not isinstance(chosen, MethodSet):
        if is_own(name):
            raise UserError(f"{name}: a function load() that returns a MethodSet is expected")
        raise ValueError(f"methods must be one of {', '.join(METHOD_SETS)}, or a file.py; found {name!r}")
    own = {key: CustomMethod(value) if isinstance(value, str) else value for key, value in custom.items()}
    if empty := [key for key, value in own.items() if not value.sentence.strip() and value.template is None]:
        raise ValueError(f"custom method {empty[0]!r} has no sentence")
    methods = [m for m in chosen.methods if m.name not in own]
    methods += [Method(key, value.sentence, value.template, value.shots) for key, value in own.items()]
    known = [m.name for m in methods]
    if unknown := [key for key in weights if key not in known]:
        raise ValueError(f"weight for an unknown method {unknown[0]!r}; the methods are {', '.join(known)}")
    if negative := [key for key, weight in weights.items() if not weight >= 0]:
        raise ValueError(f"the weight of {negative[0]!r} must be 0 or more, found {weights[negative[0]]}")
    weighed = [replace(m, weight=weights.get(m.name, m.weight)) for m in methods]
    left = tuple(m for m in weighed if m.weight > 0)
    if not left:
        raise ValueError("every method has weight 0; at least one is needed")
    return replace(chosen, template=template or chosen.template, methods=left, leaks=(*chosen.leaks, *leaks))


def choose_method(methods: MethodSet, seed: int, row_id: str, round_number: int) -> Method:
    """Choose a method at random, as a function of the run's seed, the row and the round only.

    Every method draws its own exponential waiting time and the first one wins, which gives each the chance
    of its weight; a method that is left out changes the choice of its own rows and of no others.
    """

    def waiting_time(method: Method) -> float:
        return -math.log1p(-fraction_of("method", seed, row_id, round_number, method.name)) / method.weight

    return min(methods.methods, key=waiting_time)


def fraction_of(*parts: str | int) -> float:
    """Return a number in [0, 1) that follows from `parts` alone."""
    return int(content_hash(*parts)[:13], 16) / 16**13


def evolution_messages(
    methods: MethodSet, method: Method, question: str, shots: int = 0
) -> tuple[Message, ...]:
    """Return the chat that asks to evolve `question`, after `shots` worked examples of the same method."""
    template = method.template or methods.template

    def ask(text: str) -> Message:
        return Message("user", template.replace("{method}", method.sentence).replace("{question}", text))

    turns: list[Message] = []
    for shot in method.shots[:shots]:
        turns += [ask(shot.question), Message("assistant", shot.evolved)]
    return (*turns, ask(question))


EQUALITY_TEMPLATE = """\
Here are two Instructions to ChatGPT AI, do you think they are equal to each other, which meet the following \
requirements:
1. They have same constraints and requirements.
2. They have same depth and breadth of the inquiry.
The First Prompt: {first}
The Second Prompt: {second}
Your Judgement (Just answer: Equal or Not Equal. No need to explain the reason):"""


def equality_messages(question: str, evolved: str) -> tuple[Message, ...]:
    """Return the chat that asks a teacher whether two instructions are equal (WizardLM, appendix)."""
    return (Message("user", EQUALITY_TEMPLATE.format(first=question, second=evolved)),)
