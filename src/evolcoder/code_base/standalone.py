"""A function of a file as a program of its own: with the imports, constants and helpers that it needs."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass

from evolcoder.evolve.answer_tests import foreign_modules
from evolcoder.extraction.grammar import parse_python

_MOST_CHARACTERS = 6000
"""Of a whole program; a longer one is no exercise."""


class NotStandaloneError(Exception):
    """Says in a few words why a function cannot be a program of its own."""


@dataclass(frozen=True, slots=True)
class StandaloneFunction:
    """A function, in the parts that a problem is made of."""

    context: str
    """What it needs of its file."""
    head: str
    """Its signature and docstring."""
    body: str
    """The rest of it."""
    docstring: str
    node: ast.FunctionDef

    @property
    def program(self) -> str:
        """The whole program."""
        return self.context + self.head + self.body


def standalone_function(text: str, name: str) -> StandaloneFunction:
    """Return a function of a module's text with what it needs; raises NotStandaloneError."""
    tree = parse_python(text)
    if tree is None:
        raise NotStandaloneError("its file does not parse")
    bound = {name: statement for statement in tree.body for name in _names_bound_by(statement)}
    node = bound.get(name)
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        raise NotStandaloneError("no plain function")
    _check_that_calls_can_be_compared(node)
    lines = text.splitlines(keepends=True)
    docstring_end = node.body[0].end_lineno or 0
    if len(node.body) < 2 or node.body[1].lineno <= docstring_end:
        raise NotStandaloneError("no body beside its docstring")
    needed = _needed(node, bound)
    context = [s for s in tree.body if s is not node and (s in needed or _is_future_import(s))]
    found = StandaloneFunction(
        "".join(f"{_source(statement, lines)}\n\n" for statement in context),
        "".join(lines[node.lineno - 1 : docstring_end]),
        "".join(lines[docstring_end : node.end_lineno]).rstrip() + "\n",
        ast.get_docstring(node) or "",
        node,
    )
    if len(found.program) > _MOST_CHARACTERS:
        raise NotStandaloneError(f"over {_MOST_CHARACTERS} characters with what it needs")
    return found


def _check_that_calls_can_be_compared(node: ast.FunctionDef) -> None:
    own = [inner for inner in ast.walk(node) if not isinstance(inner, (ast.Import, ast.ImportFrom))]
    if any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in own):
        raise NotStandaloneError("a generator")
    if not any(isinstance(inner, ast.Return) and inner.value is not None for inner in own):
        raise NotStandaloneError("returns nothing")
    if not (node.args.args or node.args.posonlyargs or node.args.vararg):
        raise NotStandaloneError("takes nothing")


def _needed(function: ast.FunctionDef, bound: dict[str, ast.stmt]) -> set[ast.stmt]:
    """Return the statements of a module that a function needs; raises where something else is needed."""
    needed: set[ast.stmt] = set()
    waiting: list[ast.stmt] = [function]
    while waiting:
        statement = waiting.pop()
        _check_imports(statement)
        local = {name for inner in ast.walk(statement) for name in _names_bound_by(inner)}
        for read in ast.walk(statement):
            if not isinstance(read, ast.Name) or not isinstance(read.ctx, ast.Load):
                continue
            other = bound.get(read.id)
            if other is not None and other is not function and other not in needed:
                needed.add(other)
                waiting.append(other)
            elif other is None and read.id not in local and not hasattr(builtins, read.id):
                raise NotStandaloneError("needs a name that its file does not plainly define")
    return needed


def _check_imports(statement: ast.stmt) -> None:
    if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(statement)):
        raise NotStandaloneError("needs other modules of the project")
    if foreign_modules([statement]):
        raise NotStandaloneError("needs modules beside the standard library")


def _names_bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ExceptHandler):
        return [node.name] if node.name else []
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return [node.id]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _is_future_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _source(statement: ast.stmt, lines: list[str]) -> str:
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "".join(lines[first - 1 : statement.end_lineno]).rstrip()
