"""Copies of HumanEval problems that hide: identifiers renamed, literals changed, first sentence reworded.

Every choice follows from a seed. Used by decontaminate.py; the thresholds of `evolcoder decontaminate` were
set on seeds below 1000 only.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import random
import re
import textwrap
from dataclasses import dataclass

NAMES_TEXT = """
alpha amount answer apples bag base basket bits bottom bound box bucket buffer candidate cap cargo
cell chunk clue coin collection core counter crate data deck delta digits distance domain dot draft
edge element entry epsilon extra field figure fragment frame gap gauge gear goal grain graph grid
guess handle head heap hits holder info inner input_data items_in jar joint kernel known label lane
layer ledger left_side line link load log mark mass measure member mesh mode mover mux needle node
notes numbers_in offset old outcome outer pack pair parcel part path payload peak pick piece pile
pivot place plan point pointer pool portion prior probe quota rank rate raw record region remainder
reserve rest result_list rim ring root route rule sack sample scan score seat section seen segment
series set_a share shelf shift side sink slot source span spot stack_in start_at state stem step
store stream stretch tail target term text_in thing tick token top total_so_far tower track trail
tray tuple_in unit upper val vault view wall wave weight width window x1 y2 yield_sum zone
"""
NAMES = NAMES_TEXT.split()
WORDS_TEXT = """
anchor apple bridge candle copper daisy ember falcon garden harbor island jungle kettle lantern
meadow needle orchid pepper quartz river saddle timber umbrella velvet walnut yellow zebra Marble
ORANGE
"""
WORDS = WORDS_TEXT.split()
_SYNONYMS = {
    "return": ["produce", "give back", "output", "compute"],
    "returns": ["gives back", "yields", "outputs"],
    "check": ["find out", "test", "determine", "verify"],
    "given": ["provided with", "taking", "with"],
    "list": ["sequence", "array", "collection"],
    "array": ["list", "sequence"],
    "string": ["text", "piece of text", "character sequence"],
    "strings": ["texts", "pieces of text"],
    "number": ["value", "integer", "figure"],
    "numbers": ["values", "figures"],
    "integer": ["whole number", "int"],
    "integers": ["whole numbers", "ints"],
    "function": ["method", "routine", "procedure"],
    "create": ["build", "implement", "write"],
    "write": ["create", "implement", "develop"],
    "find": ["locate", "work out", "search for"],
    "sum": ["total", "addition"],
    "elements": ["items", "entries"],
    "element": ["item", "entry"],
    "positive": ["greater than zero", "non-negative"],
    "takes": ["accepts", "receives", "gets"],
    "if": ["whether", "when"],
    "largest": ["biggest", "greatest"],
    "smallest": ["least", "lowest"],
    "input": ["incoming", "supplied"],
    "words": ["terms"],
    "two": ["a pair of", "2"],
    "all": ["every one of the", "each of the"],
    "you": ["we", "one"],
    "your": ["our", "the"],
}
_OPENINGS = (
    "Write a Python function for the following job.",
    "Please help me with this programming exercise.",
    "Here is a small coding challenge for you.",
    "Solve the task below in Python.",
    "I need a routine that behaves as described.",
)
_FRAMES = (
    "Could you write a Python function for this: {}",
    "Your job is the following. {}",
    "Implement code such that: {}",
    "In Python, {}",
    "{} Please use Python.",
    "As part of a bigger program we need this: {}",
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]|\.\d)")
_QUOTED = re.compile(r"(?<![\w])'[^'\n]*'|\"[^\"\n]*\"")
_EXAMPLE_LINE = re.compile(r">>>|==|=>|->|➞|\w\(.*\)|^\s*[\[\('\"{\d]|^\s*(?:True|False|None)\b")
_DOCSTRING = re.compile(r"(\"\"\"|''')(.*?)\1", re.DOTALL)

FORMS = (
    "prompt and solution",
    "words and solution",
    "input and solution",
    "prompt and body",
    "prompt alone",
    "words alone",
)
"""What of a problem a row holds: its prompt (signature and docstring) or the docstring's words, with the
solution or without any."""


@dataclass(frozen=True)
class Copy:
    """A planted row."""

    task_id: str
    form: str
    sentence: str
    """How the first sentence was reworded."""
    instruction: str
    input: str
    response: str


def plant(task_id: str, prompt: str, solution: str, entry_point: str, form: str, rng: random.Random) -> Copy:
    """Make a copy of a problem that hides as well as the three ways together can."""
    head, doc = _split(prompt, entry_point)
    names = _new_names(prompt + solution, rng)
    crude = rng.random() < 0.15
    how, first, rest = _reword(doc, rng)
    first = _renamed(first, names, prose=not crude)
    rest = "\n".join(
        _change_literals(
            _renamed(line, names, prose=not (crude or _EXAMPLE_LINE.search(line))),
            rng,
            everything=bool(_EXAMPLE_LINE.search(line)) or rng.random() < 0.5,
        )
        for line in rest.split("\n")
    )
    head = _renamed(head, names, prose=False)
    body = _change_literals(_renamed(solution, names, prose=False), rng, everything=rng.random() < 0.5)
    words = f"{first}\n{rest}".strip()
    code = f'{head}    """{words}\n    """\n'
    whole = f"{head}{body}"
    fenced = f"```python\n{whole}```" if rng.random() < 0.5 else whole
    instruction, input_, response = {
        "prompt and solution": (f"Complete the function below.\n{code}", "", fenced),
        "words and solution": (textwrap.dedent(words), "", fenced),
        "input and solution": (first, textwrap.dedent(rest), fenced),
        "prompt and body": (code, "", body),
        "prompt alone": (code, "", ""),
        "words alone": (textwrap.dedent(words), "", ""),
    }[form]
    return Copy(task_id, form, how, instruction or "Solve this.", input_, response)


def _split(prompt: str, entry_point: str) -> tuple[str, str]:
    """Return the text up to the docstring of the function asked for, and the docstring."""
    start = prompt.index(f"def {entry_point}")
    match = _DOCSTRING.search(prompt, start)
    if match is None:
        return prompt, ""
    return prompt[: match.start()].rstrip(" "), match[2].strip()


def _reword(doc: str, rng: random.Random) -> tuple[str, str, str]:
    """Return how, the new first sentence, and the rest of a docstring."""
    match = re.search(r"\.(?=\s|$)|\n\s*\n|\n(?=\s*>>>)|\n(?=\s*(?:Examples?|For example)\b)|$", doc)
    end = match.end() if match else len(doc)
    sentence, rest = " ".join(doc[:end].split()), doc[end:]
    how = rng.choice(("opening", "synonyms", "synonyms", "frame", "frame and synonyms", "turned", "dropped"))
    if how == "opening":
        return how, rng.choice(_OPENINGS), rest
    if how == "dropped":
        return how, "", rest
    if "synonyms" in how:
        sentence = re.sub(r"[A-Za-z]+", lambda m: _synonym(m[0], rng), sentence)
    if how == "turned":
        parts = re.split(r",\s+|\s+(?=(?:and|that|which|where|if|of|in|from)\s)", sentence.rstrip("."))
        rng.shuffle(parts)
        sentence = ", ".join(part.strip() for part in parts) + "."
    if "frame" in how:
        sentence = rng.choice(_FRAMES).format(sentence[:1].lower() + sentence[1:])
    return how, sentence, rest


def _synonym(word: str, rng: random.Random) -> str:
    choices = _SYNONYMS.get(word.lower())
    return rng.choice(choices) if choices else word


def _new_names(code: str, rng: random.Random) -> dict[str, str]:
    """Return a new name for everything the code defines."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return {}
    old: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            old[node.name] = None
        elif isinstance(node, ast.arg):
            old[node.arg] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            old[node.id] = None
    kept = [name for name in old if not hasattr(builtins, name) and not keyword.iskeyword(name)]
    if rng.random() < 0.3:
        return {name: f"{rng.choice('abcdfghkmpqrtuvwz')}{i}" for i, name in enumerate(kept)}
    new = rng.sample(NAMES, len(kept))
    return {
        name: f"{a}_{rng.choice(WORDS).lower()}" if len(name) > 9 else a
        for name, a in zip(kept, new, strict=True)
    }


def _renamed(text: str, names: dict[str, str], *, prose: bool) -> str:
    """Rename in code everything, in prose all but single letters (the article "a") and common short words."""
    return _IDENTIFIER.sub(
        lambda m: m[0] if prose and len(m[0]) < 3 else names.get(m[0], m[0]),
        text,
    )


def _change_literals(text: str, rng: random.Random, *, everything: bool) -> str:
    """Change the numbers and quoted strings of a line; 0 and 1 only where `everything` changes."""

    def number(match: re.Match[str]) -> str:
        old = match[0]
        if old in "01" and not everything:
            return old
        if "." in old:
            return f"{rng.randrange(1, 90)}.{rng.randrange(1, 99)}"
        return str(rng.randrange(2, max(20, min(int(old) * 3, 10**6))))

    def quoted(match: re.Match[str]) -> str:
        old = match[0]
        if len(old) <= 3:
            return old[0] + rng.choice("abcdefgxyz?!") * (len(old) - 2) + old[0]
        return old[0] + " ".join(rng.choices(WORDS, k=rng.randrange(1, 4))) + old[0]

    if '"""' in text or "'''" in text:
        return text
    return _NUMBER.sub(number, _QUOTED.sub(quoted, text))
