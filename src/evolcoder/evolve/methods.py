"""The evolving prompts: Code Evol-Instruct's template with its five methods, and WizardLM's sets.

Code: WizardCoder (arXiv 2306.08568, 3.1). WizardLM: `wizardlm_prompts`. The wording is the
published one. A new method is one entry here, one line in a recipe (`custom_methods`), or a set in a file of
the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evolcoder.errors import UserError
from evolcoder.evolve import math_prompts
from evolcoder.evolve.shots import CODE_SHOTS, INPUT_SHOTS, WIZARDLM_SHOTS, Shot
from evolcoder.evolve.wizardlm_prompts import (
    INPUT_FORMATS,
    PAPER_BREADTH,
    PAPER_DEPTH,
    PAPER_SENTENCES,
    REPOSITORY_BREADTH,
    REPOSITORY_DEPTH,
    REPOSITORY_SENTENCES,
    complicated_input,
)
from evolcoder.models.protocol import Message
from evolcoder.own_files import is_own, load_own_file
from evolcoder.runs import content_hash


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
        check_template(self.template, "template")


def check_template(template: str | None, what: str) -> None:
    """Refuse a template without a place for the question; raises ValueError."""
    if template is not None and "{question}" not in template:
        raise ValueError(f"{what}: {{question}} is expected in it, where the instruction shall stand")


@dataclass(frozen=True, slots=True)
class MethodSet:
    """Methods that one of is chosen at random for each instruction."""

    name: str
    template: str
    methods: tuple[Method, ...]
    leaks: tuple[str, ...] = field(default=())
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

PROMPT_WORDS = ("given prompt", "rewritten prompt", "created prompt")


def _wizardlm_set(name: str, *, paper: bool) -> MethodSet:
    """Return WizardLM's operations in one wording; only the paper's has complicated input.

    The formats of complicated input share the chance of one operation.
    """
    sentences = PAPER_SENTENCES if paper else REPOSITORY_SENTENCES
    formats = INPUT_FORMATS if paper else {}
    methods = (
        *(Method(key, sentence, shots=WIZARDLM_SHOTS[key]) for key, sentence in sentences.items()),
        *(
            Method(f"complicate-{key}", "", template=complicated_input(key), weight=1 / len(formats))
            for key in formats
        ),
        Method("breadth", "", PAPER_BREADTH if paper else REPOSITORY_BREADTH, WIZARDLM_SHOTS["breadth"]),
    )
    examples = tuple(shot.evolved[:60] for key in formats for shot in INPUT_SHOTS[key])
    depth = PAPER_DEPTH if paper else REPOSITORY_DEPTH
    leaks, origin = (*PROMPT_WORDS, *examples), "Evol-Instruct (WizardLM, arXiv 2304.12244)"
    return MethodSet(name, depth, methods, leaks, origin)


METHOD_SETS: Mapping[str, MethodSet] = {
    "code": MethodSet(
        "code",
        CODE_TEMPLATE,
        tuple(Method(name, text, shots=CODE_SHOTS[name]) for name, text in CODE_SENTENCES.items()),
        leaks=("programming test question", "increase the difficulty", *PROMPT_WORDS),
        origin="Code Evol-Instruct (WizardCoder, arXiv 2306.08568)",
    ),
    "general": _wizardlm_set("general", paper=True),
    "wizardlm-paper": _wizardlm_set("wizardlm-paper", paper=True),
    "wizardlm-repository": _wizardlm_set("wizardlm-repository", paper=False),
    "math": MethodSet(
        "math",
        math_prompts.UPWARD_TEMPLATE,
        (
            *(
                Method(f"upward-{name}", text, shots=math_prompts.MATH_SHOTS[name])
                for name, text in math_prompts.UPWARD_SENTENCES.items()
            ),
            *(
                Method(
                    f"downward-{name}", text, math_prompts.DOWNWARD_TEMPLATE, math_prompts.MATH_SHOTS[name]
                )
                for name, text in math_prompts.DOWNWARD_SENTENCES.items()
            ),
        ),
        leaks=(*math_prompts.LEAKS, *PROMPT_WORDS),
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
    """Return the chat that asks a teacher to evolve `question`.

    With `shots`, that many worked examples of the same method come first, as earlier turns.
    """
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
