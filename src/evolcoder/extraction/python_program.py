"""Keep of a Python text one function and what it needs, and drop examples, prints, tests and prose.

A statement at the top level is kept when it binds a needed name, changes a needed variable, or sets what
the interpreter does (recursion limit, random seed); what a kept statement reads is needed in turn.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evolcoder.extraction.grammar import parse_python, sound_pieces

_BUILTINS = frozenset(dir(builtins))
_SETTINGS = frozenset(
    {"setrecursionlimit", "set_int_max_str_digits", "seed", "filterwarnings", "simplefilter"}
)
_DYNAMIC = frozenset({"eval", "exec", "globals"})
"""A function that reads one of these may need any name."""
_DISPLAYS = frozenset({"print", "pprint", "display"})


@dataclass(frozen=True)
class _Statement:
    node: ast.stmt
    text: str
    binds: frozenset[str]
    reads: frozenset[str]
    """Global names it may look up, now or when a function it defines is called."""
    changes: frozenset[str]
    """Names whose value it may change in place."""

    @property
    def is_guard(self) -> bool:
        """True for `if __name__ == ...:`."""
        return isinstance(self.node, ast.If) and any(
            isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(self.node.test)
        )


def function_and_needs(candidates: Sequence[str], entry_point: str, prompt: str) -> str | None:
    """Return the function with its needs from the first sound candidate that has it; None if none has.

    Names it lacks are looked for in the other candidates, and among the imports that `prompt` makes inside
    its function (HumanEval/115), which a whole function would lose. A stub (docstring, `pass`) is taken last.
    """
    modules = [_statements(code) for code in candidates]
    stubs: list[list[_Statement]] = []
    for number, statements in enumerate(modules):
        if statements is None or not _defines(statements, entry_point):
            continue
        if _is_stub(statements, entry_point):
            stubs.append(statements)
            continue
        others = [s for n, other in enumerate(modules) if n != number and other for s in other]
        return _program(statements, others, entry_point, prompt)
    return _program(stubs[0], [], entry_point, prompt) if stubs else None


def continuation(code: str, entry_point: str, prompt: str) -> str | None:
    """Return the part of `code` that goes on where `prompt` stops, without what follows the function's needs.

    None where prompt and code together hold no whole function of that name.
    """
    for text in (code, "    " + code.lstrip(" \t")):  # a server may have stripped the first indentation
        if not text.strip() or not text[:1].isspace():
            continue
        joined = _longest_sound(prompt, text)
        statements = _statements(joined) if joined else None
        if not statements or not _defines(statements, entry_point) or _is_stub(statements, entry_point):
            continue
        n_prompt_lines = prompt.count("\n") + (not prompt.endswith("\n"))
        needed, _ = _needed(statements, {entry_point})
        lines = joined.split("\n")
        body: list[str] = []
        for s in needed:
            end = s.node.end_lineno or s.node.lineno
            if end > n_prompt_lines:
                body.extend(lines[max(_first_line(s.node) - 1, n_prompt_lines) : end])
        if body:
            return "\n".join(body) + "\n"
    return None


def salvaged(candidates: Sequence[str], entry_point: str) -> str | None:
    """Return the function with its needs from text that does not parse whole: prose around it, a cut end."""
    for code in candidates:
        if entry_point in code:
            statements = _statements("\n".join(sound_pieces(code)))
            if statements and _defines(statements, entry_point):
                return _program(statements, [], entry_point, "")
    return None


def _longest_sound(prompt: str, text: str) -> str:
    """Return prompt plus the longest start of `text` that parses, cut before a line in the first column."""
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if line[:1].strip() and n > 0][:40]
    for end in [len(lines), *reversed(starts)]:
        joined = prompt + "\n".join(lines[:end])
        if parse_python(joined) is not None:
            return joined
    return ""


def _program(statements: list[_Statement], others: list[_Statement], entry_point: str, prompt: str) -> str:
    kept, missing = _needed(statements, {entry_point})
    borrowed, missing = _needed(others, missing, also_bound={n for s in kept for n in s.binds})
    imports = [text for text, binds in _inner_imports(prompt) if binds & missing]
    # After a prompt an import from __future__ is a syntax error, and no function here needs one.
    return "\n\n".join([*imports, *(s.text for s in borrowed), *(s.text for s in kept)]) + "\n"


def _needed(
    statements: list[_Statement], wanted: set[str], also_bound: Iterable[str] = ()
) -> tuple[list[_Statement], set[str]]:
    """Return the statements that `wanted` names need, in their order, and the names nothing binds."""
    needed = set(wanted)
    kept: set[int] = set()
    functions = {name for s in statements if isinstance(s.node, _DEFINITIONS) for name in s.binds}
    grown = True
    while grown:
        grown = False
        everything = bool(needed & _DYNAMIC)
        for number, s in enumerate(statements):
            if number in kept or s.is_guard or _from_future(s.node):
                continue
            defines = isinstance(s.node, (*_DEFINITIONS, ast.Import, ast.ImportFrom))
            if (
                s.binds & needed
                or "*" in s.binds
                or (everything and defines)
                or (s.changes & needed - (functions if isinstance(s.node, ast.Expr) else set()))
                or _sets_interpreter(s.node)
            ):
                kept.add(number)
                needed |= s.reads
                grown = True
    bound = {name for number in kept for name in statements[number].binds} | set(also_bound) | _BUILTINS
    return [statements[number] for number in sorted(kept)], needed - bound


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _statements(code: str) -> list[_Statement] | None:
    tree = parse_python(code)
    if tree is None:
        return None
    lines = code.split("\n")
    return [_statement(node, lines, code) for node in tree.body]


def _statement(node: ast.stmt, lines: list[str], code: str) -> _Statement:
    first, last = _first_line(node), node.end_lineno or node.lineno
    text = "\n".join(lines[first - 1 : last])
    if node.col_offset or len(lines[last - 1].encode("utf-8", "replace")) > (node.end_col_offset or 0):
        # A line shared with another statement (a; b) or with a comment.
        text = ast.get_source_segment(code, node) or text
        if isinstance(node, _DEFINITIONS) and node.decorator_list:
            text = "\n".join(lines[first - 1 : node.lineno - 1]) + "\n" + text
    if isinstance(node, _DEFINITIONS):
        return _Statement(node, text, frozenset({node.name}), _global_reads(text), frozenset())
    return _Statement(
        node, text, frozenset(_bound(node)), frozenset(_names_read(node)), frozenset(_changed(node))
    )


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(int(d.lineno) for d in decorators)])


def _global_reads(text: str) -> frozenset[str]:
    """Return the global names that a definition reads, in any scope within it."""
    try:
        top = symtable.symtable(text, "answer", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        is_top = table is top
        names.update(
            s.get_name() for s in table.get_symbols() if s.is_referenced() and (is_top or s.is_global())
        )
    return frozenset(names)


def _own_nodes(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement without the bodies of functions and classes inside it."""
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        yield current
        if current is node or not isinstance(current, (*_DEFINITIONS, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(current))


def _bound(node: ast.stmt) -> set[str]:
    names: set[str] = set()
    for n in _own_nodes(node):
        if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Store, ast.Del)):
            names.add(n.id)
        elif isinstance(n, _DEFINITIONS):
            names.add(n.name)
        elif isinstance(n, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in n.names)
        elif isinstance(n, ast.ExceptHandler) and n.name:
            names.add(n.name)
    return names


def _names_read(node: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _changed(node: ast.stmt) -> set[str]:
    """Return names that a statement may change in place: `x[i] = `, `x.a = `, `x.append(...)`, `fill(x)`."""
    names: set[str] = set()
    for n in _own_nodes(node):
        if isinstance(n, (ast.Subscript, ast.Attribute)) and isinstance(n.ctx, (ast.Store, ast.Del)):
            names |= _root(n)
        elif isinstance(n, ast.Expr) and isinstance(n.value, ast.Call):
            call = n.value
            if isinstance(call.func, ast.Name) and call.func.id in _DISPLAYS:
                continue
            if isinstance(call.func, ast.Attribute):
                names |= _root(call.func)
            names.update(a.id for a in call.args if isinstance(a, ast.Name))
    return names


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _sets_interpreter(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    called = node.value.func
    name = (
        called.attr
        if isinstance(called, ast.Attribute)
        else called.id
        if isinstance(called, ast.Name)
        else ""
    )
    return name in _SETTINGS


def _from_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _defines(statements: list[_Statement], entry_point: str) -> bool:
    return any(entry_point in s.binds for s in statements)


def _is_stub(statements: list[_Statement], entry_point: str) -> bool:
    """True where every definition of the function has no body but a docstring, `pass` or `...`."""
    definitions = [s.node for s in statements if entry_point in s.binds]
    return all(isinstance(node, _DEFINITIONS) and all(map(_says_nothing, node.body)) for node in definitions)


def _says_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _inner_imports(prompt: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the imports that a prompt makes inside a function, as (text, names)."""
    tree = parse_python(prompt)
    if tree is None:
        return
    for top in tree.body:
        if not isinstance(top, (ast.Import, ast.ImportFrom)):
            for node in ast.walk(top):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    yield ast.unparse(node), _bound(node)
