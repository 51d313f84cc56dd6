"""The classes that tests define for what they pass: which of them the program may have, and when.

Tests and expected values never enter a program's process; so neither does a class that may hold some. One
that only keeps what it is given is the program's from the first call on, as where program and tests are one
file, but for its documentation. Any other follows with the first of its objects that the tests pass.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from evolcoder.extraction.grammar import parse_python

OwnClass = tuple[str, bytes, list[int], bool]
"""Name, source with its imports, numbers of the other classes that it needs, whether it holds no value."""
_Import = (ast.Import, ast.ImportFrom)
_KEEPING = (
    "__init__ __post_init__ __repr__ __str__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __len__"
)
"""Methods of a class that keeps what it is given."""
_SHOWING = ("__repr__", "__str__")
_NO_VALUES = (None, True, False, 0, 1, "", ...)


@lru_cache(maxsize=256)
def own_classes(tests: str, programs_names: frozenset[str]) -> list[OwnClass]:
    """Return the classes of tests that stand by themselves, in their order.

    A class that reads other names of the tests, or a function of the program, does not.
    """
    tree = parse_python(tests) if "class " in tests else None
    if tree is None:
        return []
    future = [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    places: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _bound(statement):
            places.setdefault(name, []).append(statement)
    found: list[OwnClass] = []
    number_of: dict[str, int] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.ClassDef) or len(places[statement.name]) > 1:
            continue
        if statement.name in programs_names:
            continue
        read = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)} - {statement.name}
        needed = [s for name in sorted(read) for s in places.get(name, [])]
        imports = [s for s in needed if isinstance(s, _Import)]
        classes = [s.name for s in needed if isinstance(s, ast.ClassDef)]
        if read & programs_names or len(imports) + len(classes) < len(needed):
            continue
        if not all(name in number_of for name in classes):  # of a class that follows, or that does not stand
            continue
        numbers = {number_of[name] for name in classes}
        numbers |= {further for number in numbers for further in found[number][2]}
        holds_no_value = _holds_no_value(statement) and all(found[number][3] for number in numbers)
        bare = _Undocumented().visit(copy.deepcopy(statement)) if holds_no_value else statement
        source = "\n".join(map(ast.unparse, [*future, *imports, bare]))
        number_of[statement.name] = len(found)
        found.append(
            (statement.name, source.encode("utf-8", "surrogatepass"), sorted(numbers), holds_no_value)
        )
    return found


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that running a statement of a module binds."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, _Import):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}


def _holds_no_value(node: ast.ClassDef) -> bool:
    """Whether a class only keeps what it is given: fields, methods that Python calls, no constants."""
    if _has_value([*node.bases, *node.keywords, *node.decorator_list]):
        return False
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            if part.name not in _KEEPING.split() or _has_value(part.decorator_list) or _args_have(part.args):
                return False
            if (_shows_value if part.name in _SHOWING else _has_value)(part.body):
                return False
        elif isinstance(part, ast.AnnAssign):
            if _shows_value([part.annotation]) or (part.value is not None and _has_value([part.value])):
                return False
        elif not isinstance(part, ast.Pass) and not _is_text(part) and not _names_slots(part):
            return False
    return True


def _args_have(given: ast.arguments) -> bool:
    """Whether the parameters of a method have a value, in a default or an annotation."""
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    defaults = [default for default in (*given.defaults, *given.kw_defaults) if default is not None]
    return _has_value(defaults) or _shows_value([a.annotation for a in named if a.annotation is not None])


def _has_value(nodes: Sequence[ast.AST]) -> bool:
    return any(constant.value not in _NO_VALUES for constant in _constants(nodes))


def _shows_value(nodes: Sequence[ast.AST]) -> bool:
    """Whether a text that is shown or names a type, or a number beside it, may be an expected value."""
    found = [constant.value for constant in _constants(nodes)]
    return any(re.search(r"\d", v) if isinstance(v, str) else v not in _NO_VALUES for v in found)


def _constants(nodes: Sequence[ast.AST]) -> Iterator[ast.Constant]:
    inside = (n for node in nodes if not _is_text(node) for n in ast.walk(node))
    return (n for n in inside if isinstance(n, ast.Constant))


class _Undocumented(ast.NodeTransformer):
    """Takes out the texts that stand by themselves, which may tell what is expected."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return ast.Pass() if _is_text(node) else node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _names_slots(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__slots__"]
