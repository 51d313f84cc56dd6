"""Find in an answer the Python program that defines the function asked for.

Of several blocks the last one counts that defines it whole, whatever its label: a real `def` or `class`, and
neither a stub nor an example that imports or calls it. What the block lacks is taken from the other blocks.
"""

from __future__ import annotations

import ast
import html
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evolcoder.extraction.demonstrations import (
    DEFINITIONS,
    bound_names,
    cut,
    global_reads,
    own_nodes,
    replaced,
    without_demonstrations,
)
from evolcoder.extraction.grammar import parse_python, sound_pieces

SPECIAL_TOKEN = re.compile(
    r"<\|[\w/-]{1,40}\|>|</?s>|<(?i:eos|bos|pad|unk|eot|eod|end|end_of_turn|end_of_utterance|turn\|)>"
    r"|<(?:file_sep|repo_name|fim_\w{1,12}|jupyter_\w{1,20}|empty_output|reponame|gh_stars|commit_\w{1,12}"
    r"|issue_\w{1,12}|extra_id_\d+|0x[0-9A-F]{2})>"
    r"|<｜[^｜<>\n]{1,40}｜>|\[\|\w{1,40}\|\]|\[(?:/?INST|EOS|BOS|PAD)\]|\[e~\["
)
"""Special tokens of models' tokenizers, where they are left in a text."""
_BEGINS = re.compile(
    rf"\s*(?:{SPECIAL_TOKEN.pattern})(?:\s*(?:{SPECIAL_TOKEN.pattern})|\s*assistant(?=\s*[\n<]))*\n*"
)
_ENDS = re.compile(
    rf"(?:(?:{SPECIAL_TOKEN.pattern})[ \t]*)+$"
    r"|(?<![\"'`])(?:<\|(?:endoftext|im_end|eot_id|end_of_text|EOT|file_sep)\|>|</s>|<file_sep>)(?![\"'`])",
    re.MULTILINE,
)
_INVISIBLE = str.maketrans(
    dict.fromkeys("\ufeff\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u202a\u202b\u202c\u202d\u202e\ufe0f", "")
    | dict.fromkeys("\x85\u2028\u2029", "\n")
)
_ODD_BLANK = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_GLUED_TAG = re.compile(
    r"^[ \t]*(?:<[A-Za-z?][^<>\n]{0,120}>|<!\[CDATA\[|\[[A-Za-z][\w=]{0,40}\])+"
    r"(?=(?:def|class|import|from|async)[ \t]|@\w)"
    r"|(?:\]\]>(?:</[A-Za-z][\w:.-]{0,40}>)*|</[A-Za-z][\w:.-]{0,40}>|\[/[A-Za-z]\w{0,40}\])[ \t]*$",
    re.MULTILINE,
)
"""A tag on the line where code begins, or ends."""
_NUMBERED = re.compile(r"[ \t]*(\d{1,5})(?:[ \t]?[|:.)│]|(?=[ \t]|$))(.*)")
_TYPED = re.compile(r"^[ \t]*(?:>>>|\.\.\.:?|In \[[\d ]*\]:)(?: (.*))?$", re.MULTILINE)
"""A line of a session with the interpreter, or a notebook's, that was typed."""
_PROJECT_NAMES = ("solution", "your", "my", "main", "module", "answer", "submission", "task")
"""Beginnings of module names under which examples import the answer itself."""


LONGEST_PARSED = 50_000
"""Characters; a longer text is not parsed, for its tree may take 800 times its memory."""


@dataclass(frozen=True)
class _Code:
    text: str
    tree: ast.Module
    closed: bool


def whole_program(text: str, entry_point: str, prompt: str) -> str | None:
    """Return the program of a text that is one as it stands, alone or after `prompt`; None for any other."""
    code = _code(text, closed=True, only_as_is=True)
    if code is not None and _has(code, _defines(entry_point)):
        return _program(code, [], entry_point, prompt)
    may_continue = prompt and text[:1].isspace() and len(text) <= LONGEST_PARSED
    if may_continue and parse_python(prompt + text) is not None:
        return _continuation(text, entry_point, prompt)
    return None


def program_in(blocks: Sequence[tuple[str, bool]], outside: str, entry_point: str, prompt: str) -> str | None:
    """Return the program, or continuation of `prompt`, in blocks of (code, closed) and a text, if any."""
    codes = [code for text, closed in blocks if (code := _code(text, closed)) is not None]
    unfenced = _code(outside, closed=True)
    defines = _defines(entry_point)
    for code in [*(c for c in reversed(codes) if c.closed or _returns(c, defines)), unfenced]:
        if code is not None and _has(code, defines):
            return _program(code, codes, entry_point, prompt)
    if prompt and outside[:1].isspace() and (found := _continuation(outside, entry_point, prompt)):
        return found
    texts = [*(text for text, _ in reversed(blocks)), outside]
    for text in texts:
        code = _code(text, closed=True)
        # A name that is assigned here was made by a function of the same text.
        if code is None or not _has(code, _assigns(entry_point)):
            code = _salvaged(text, entry_point)
        if code is not None:
            return _program(code, codes, entry_point, prompt)
    if code := next((c for c in reversed(codes) if _has(c, defines)), None):
        return _program(code, codes, entry_point, prompt)
    if prompt:
        for text in texts:
            if found := _continuation(text, entry_point, prompt):
                return found
    whole = [*reversed(codes), *([unfenced] if unfenced else [])]
    for binds in (_assigns(entry_point), _imports(entry_point), _stub(entry_point)):
        for code in whole:
            if _has(code, binds):
                return _program(code, codes, entry_point, prompt)
    return None


def _code(text: str, closed: bool, only_as_is: bool = False) -> _Code | None:
    """Return a text as code, where it is Python but for blanks and special tokens around it."""
    if len(text) > LONGEST_PARSED:
        return None
    shown = visible(text)  # the text itself goes first: such a character may stand in a string
    spellings = [text, shown, plain := without_special_tokens(shown)]
    if not only_as_is:
        spellings += [textwrap.dedent(plain), plain.lstrip(), _ODD_BLANK.sub(" ", plain)]
        spellings += [html.unescape(plain), textwrap.dedent(_without_line_numbers(plain))]
        spellings += [re.sub(r"\\([_*])", r"\1", plain)]  # escaped as a page's text is
        if ">>> " in plain or "In [" in plain:
            spellings.append("\n".join(typed[1] or "" for typed in _TYPED.finditer(plain)) + "\n")
    for spelling in dict.fromkeys(spellings):
        if (tree := parse_python(spelling)) is not None and not _reads_entities(spelling, tree):
            return _Code(spelling, tree, closed)
    return None


def _reads_entities(code: str, tree: ast.Module) -> bool:
    """Whether `x &lt; y` is a page's `x < y`, read as `x & lt`, a name that nothing binds."""
    found = set(re.findall(r"&(lt|gt|amp|quot);", code))
    return bool(found) and not found.isdisjoint(global_reads(code, tree))


def _without_line_numbers(code: str) -> str:
    """Return code without the numbers before its lines; as it is where they do not count on by one."""
    lines = code.strip("\n").split("\n")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    first = int(numbered[0][1]) if numbered[0] else -1
    if len(lines) < 2 or any(m is None or int(m[1]) != first + n for n, m in enumerate(numbered)):
        return code
    return "\n".join(m[2] for m in numbered if m) + "\n"


def visible(text: str) -> str:
    """Return a text without the characters that show nothing: marks of order, joiners, soft hyphens."""
    return text.translate(_INVISIBLE)


def without_special_tokens(text: str) -> str:
    """Return a text without special tokens at its start, and without what follows the one that ends it."""
    if not ("<" in text or "[" in text) or SPECIAL_TOKEN.search(text) is None:
        return text
    begins = _BEGINS.match(text)
    text = text[begins.end() :] if begins else text
    ends = _ENDS.search(text)
    return text[: ends.start()] + "\n" if ends else text


_Test = Callable[[ast.stmt], bool]
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _has(code: _Code, test: _Test) -> bool:
    return any(map(test, code.tree.body))


def _defines(name: str) -> _Test:
    """A test for statements that define the name by `def` or `class`, not as a stub."""
    return lambda statement: any(not _says_nothing(node) for node in _definitions(statement, name))


def _stub(name: str) -> _Test:
    return lambda statement: any(True for _ in _definitions(statement, name))


def _definitions(statement: ast.stmt, name: str) -> Iterator[_Definition]:
    nodes = [statement] if isinstance(statement, DEFINITIONS) else own_nodes(statement)
    return (node for node in nodes if isinstance(node, DEFINITIONS) and node.name == name)


def _says_nothing(node: _Definition) -> bool:
    """True for a body that is left out: docstring, `pass`, `...`, `raise NotImplementedError`."""
    values = [n.value for n in node.body if isinstance(n, ast.Expr)]
    elided = any(isinstance(value, ast.Constant) and value.value is ... for value in values)
    dispatches = any("dispatch" in ast.unparse(decorator) for decorator in node.decorator_list)
    return not dispatches and (elided or all(map(_is_filler, node.body)))


def _is_filler(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise) and node.exc is not None:
        return "NotImplemented" in ast.dump(node.exc)
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Name):
        return node.value.id == "NotImplemented"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _assigns(name: str) -> _Test:
    def test(statement: ast.stmt) -> bool:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            return False
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return False
        by_function = (n for n in ast.walk(statement) if isinstance(n, ast.Global))
        return name in bound_names(statement) or any(name in n.names for n in by_function)

    return test


def _imports(name: str) -> _Test:
    def test(statement: ast.stmt) -> bool:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)) or name not in bound_names(statement):
            return False
        of = statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name
        module = of or ""
        return bool(module) and not module.startswith(_PROJECT_NAMES) and module != name

    return test


def _returns(code: _Code, defines: _Test) -> bool:
    """Whether the definition in a block that broke off is whole: something follows it, or it returns."""
    if not any(map(defines, code.tree.body[-1:])):
        return True
    last: ast.AST = code.tree.body[-1]
    while body := getattr(last, "orelse", None) or getattr(last, "body", None):
        if not isinstance(body, list):
            break
        last = body[-1]
    return isinstance(last, (ast.Return, ast.Raise))


def _program(code: _Code, codes: Sequence[_Code], entry_point: str, prompt: str) -> str:
    """Return the code without demonstrations, after what it lacks: from other blocks, from the prompt."""
    pieces = [_kept(code, entry_point)]
    others = [other for other in codes if other is not code]
    if others or "import" in prompt:
        missing: set[str] | None = None
        for other in reversed(others):
            lender = [node for node in other.tree.body if entry_point not in bound_names(node)]
            lent = {name for node in lender for name in bound_names(node)}
            if missing is None and any(name in code.text for name in lent):
                missing = global_reads(code.text, code.tree)
            lent &= missing or set()
            if lent:
                tree = ast.Module(lender, [])
                text = cut(other.text, other.tree, [node for node in other.tree.body if node not in lender])
                pieces.insert(0, _kept(_Code(text, ast.parse(text), True), entry_point))
                missing = ((missing or set()) - lent) | global_reads(text, tree)
        for text, binds in _inner_imports(prompt):
            missing = global_reads(code.text, code.tree) if missing is None else missing
            if binds & missing:
                pieces.insert(0, text)
    return pieces[0] if len(pieces) == 1 else "\n\n".join(piece.rstrip("\n") for piece in pieces) + "\n"


def _kept(code: _Code, entry_point: str) -> str:
    """Return code without demonstrations; annotations become strings, as `from __future__` makes of them.

    After a prompt such an import is a syntax error; all other features are in the language by now.
    """
    text, tree = code.text, code.tree
    imports = _future_imports(tree)
    if any(alias.name == "annotations" for node in imports for alias in node.names):
        pieces = []
        for node in filter(None, map(_annotation, ast.walk(tree))):
            ends = (node.end_lineno or 0, node.end_col_offset or 0)
            pieces.append(((node.lineno, node.col_offset), ends, repr(ast.unparse(node))))
        text = replaced(text, pieces)
        tree = ast.parse(text)
        imports = _future_imports(tree)
    if imports:
        text = cut(text, tree, imports)
        tree = ast.parse(text)
    return without_demonstrations(text, tree, entry_point)


def _future_imports(tree: ast.Module) -> list[ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def _annotation(node: ast.AST) -> ast.expr | None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.returns
    return node.annotation if isinstance(node, (ast.arg, ast.AnnAssign)) else None


def _continuation(text: str, entry_point: str, prompt: str) -> str | None:
    """Return the part of a text that goes on where `prompt` stops, without demonstrations.

    None where prompt and text together hold no whole function of that name, and for an example that would be
    the function's body only by its place.
    """
    if len(text) > LONGEST_PARSED:
        return None
    if parse_python(prompt + text) is None:
        text = visible(text)
    text = without_special_tokens(text)
    begins = prompt.count("\n") + 1
    # A server may have stripped the first indentation, a model all of it.
    for body in (text, "    " + text.lstrip(" \t"), textwrap.indent(textwrap.dedent(text), "    ")):
        if not text.strip() or not body[:1].isspace():
            continue
        joined = _longest_sound(prompt, body)
        tree = parse_python(joined) if joined else None
        if tree is None or not _goes_on(tree, entry_point, begins):
            continue
        if body is not text and (not _leaves(tree, entry_point) or _returns_outside(tree)):
            continue
        kept = without_demonstrations(joined, tree, entry_point, begins)
        return kept[len(prompt) :].rstrip("\n") + "\n"
    return None


def _goes_on(tree: ast.Module, name: str, line: int) -> bool:
    """Whether a function's body does something from this line on; a program that was indented is nothing."""
    definitions = (node for statement in tree.body for node in _definitions(statement, name))
    added = [n for node in definitions for n in node.body if n.lineno >= line and not _is_filler(n)]
    again = any(isinstance(n, DEFINITIONS) and n.name == name for n in added)
    return _leaves(tree, name) if again else bool(added)


def _returns_outside(tree: ast.Module) -> bool:
    """Whether a statement returns that is in no function: only part of the body was indented."""
    outside = (statement for statement in tree.body if not isinstance(statement, DEFINITIONS))
    return any(isinstance(node, ast.Return) for statement in outside for node in own_nodes(statement))


def _leaves(tree: ast.Module, name: str) -> bool:
    """Whether a function returns, yields or raises."""
    leaving = (ast.Return, ast.Yield, ast.YieldFrom, ast.Raise)
    definitions = (node for statement in tree.body for node in _definitions(statement, name))
    bodies = (statement for node in definitions for statement in node.body)
    return any(isinstance(n, leaving) for statement in bodies for n in own_nodes(statement))


def _longest_sound(prompt: str, text: str) -> str:
    """Return prompt plus the longest start of `text` that parses, cut before a line in the first column."""
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if line[:1].strip() and n > 0][:40]
    for end in [len(lines), *reversed(starts)]:
        joined = prompt + "\n".join(lines[:end])
        if parse_python(joined) is not None:
            return joined
    return ""


def _salvaged(text: str, entry_point: str) -> _Code | None:
    """Return the sound statements of a text that does not parse whole: prose around it, a cut end."""
    if len(text) > LONGEST_PARSED:
        return None
    text = _GLUED_TAG.sub("", text) if "<" in text or "[" in text else text
    if entry_point not in text:
        return None
    for whole in (text, without_special_tokens(text)):
        code = _code("\n".join(sound_pieces(visible(whole))), closed=True)
        if code is not None and _has(code, _defines(entry_point)):
            return code
    if code is not None:
        made = _has(code, _assigns(entry_point)) and global_reads(code.text, code.tree) <= {entry_point}
        if made or _has(code, _imports(entry_point)):
            return code
    begins = rf"^([ \t]*)(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(entry_point)}\b"
    found = re.search(begins, text, re.MULTILINE)
    if found is None:
        return None
    # The grammar may take the words before a definition for its beginning.
    for part in (text, text[found.start() :]):
        lines = without_special_tokens(visible(part)).split("\n")
        plain = "\n".join(line.removeprefix(found[1]) for line in lines)  # an indented block amid prose
        code = _code("\n".join(sound_pieces(plain)), closed=True)
        if code is not None and _has(code, _defines(entry_point)):
            return code
    code = _code(_longest_sound("", plain), closed=True)
    return code if code is not None and _has(code, _defines(entry_point)) else None


def _inner_imports(prompt: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the imports that a prompt makes inside a function, as (text, names); HumanEval/115 has one."""
    tree = parse_python(prompt)
    for top in tree.body if tree else ():
        if not isinstance(top, (ast.Import, ast.ImportFrom)):
            for node in ast.walk(top):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    yield ast.unparse(node), bound_names(node)
