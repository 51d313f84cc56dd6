"""Wrong versions of a function: its body emptied, and one thing of it changed at a time.

Changed are comparisons, `and` and `or`, arithmetic, conditions, whole numbers, truth values and what is
returned; nothing that only an error's text would show.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

_MOST = 8
_DEEPEST = 100
"""Levels of a tree; copying and printing one take about four calls each of the thousand that there are."""
_OPPOSITE: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}  # fmt: skip
Change = Callable[[], None]


def too_deep_to_change(function: ast.FunctionDef) -> bool:
    """Return whether a function nests deeper than copying and printing its tree can follow.

    A number of its own: the interpreter's limit is moved by libraries (torch's compiler does).
    """
    level: list[ast.AST] = [function]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def wrong_versions(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the sources of some wrong versions of a function with a docstring, the empty one first."""
    empty = copy.deepcopy(function)
    empty.body = [ast.Pass()]
    yield ast.unparse(empty)
    n_changes = len(_changes(copy.deepcopy(function)))
    for number in range(min(n_changes, _MOST)):
        wrong = copy.deepcopy(function)
        _changes(wrong)[number * n_changes // min(n_changes, _MOST)]()
        yield ast.unparse(ast.fix_missing_locations(wrong))


def _changes(function: ast.FunctionDef) -> list[Change]:
    """Return the changes that can be made to a function, each of which alters it where it stands."""
    found: list[Change] = []
    waiting: list[ast.AST] = list(reversed(function.body[1:]))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
            continue
        found += _changes_of(node)
        skipped = {id(part) for part in (getattr(node, "annotation", None), getattr(node, "returns", None))}
        waiting += [part for part in reversed(list(ast.iter_child_nodes(node))) if id(part) not in skipped]
    return found


def _changes_of(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OPPOSITE:
        yield lambda: setattr(node, "ops", [_opposite(node.ops[0]), *node.ops[1:]])
    elif isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in _OPPOSITE:
        yield lambda: setattr(node, "op", _opposite(node.op))
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Compare):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda: setattr(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(value := node.value, int):
        yield lambda: setattr(node, "value", value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield lambda: setattr(node, "value", ast.Constant(None))


def _opposite(operator: ast.AST) -> ast.AST:
    return _OPPOSITE[type(operator)]()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
