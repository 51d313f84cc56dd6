"""Rewrites a teacher's tests so that a pass means that an assertion about the answer was reached and held.

Models write tests as functions that nobody calls, import the solution from a module that does not exist, or
repeat it and test their own copy. Run unchanged, all of these pass. They also write answers that no assertion
can call: scripts that read their input.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from evolcoder.extraction.grammar import parse_python

NOTHING_ASSERTED = "no assertion of the tests was reached"
_PRELUDE = """\
_evolcoder_held = []
def _evolcoder_shown(value):
    try:
        return repr(value)[:120]
    except Exception:
        return "a value that cannot be shown"
"""
_END = f"""
if not _evolcoder_held:
    raise RuntimeError({NOTHING_ASSERTED!r})
"""
_SHOWN_CHARACTERS = 160
_LONGEST = 50_000
"""Characters of a program or of its tests beyond which it is not looked at: a syntax tree takes seconds."""
_Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def why_untestable(program: str) -> str:
    """Say why no assertion could test a Python program, or return "" where one could."""
    if len(program) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    tree = parse_python(program)
    if tree is None:
        return "it does not parse"
    if not _defined(tree.body):
        return "it defines nothing that a test could call"
    for statement in tree.body:
        if not isinstance(statement, _Definition) and not _is_main_guard(statement):
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "input":
                    return "it reads input as soon as it runs"
    return ""


@dataclass(frozen=True, slots=True)
class RunnableTests:
    """Tests as code that runs in another process than the program."""

    code: str
    """"" for tests that prove nothing."""
    functions: tuple[str, ...] = ()
    """Functions of the program that the tests call."""
    beyond: tuple[str, ...] = ()
    """Further names of the program that they read, which are no functions: only its own process has those."""


def runnable_tests(tests: str, program: str) -> RunnableTests:
    """Return the tests as code to be run beside the program, with the imports of the program that they use.

    Test functions are called; assertions say what they found and are counted; what repeats or imports the
    program's own definitions goes; tests that use none of these, or a module beside the standard library that
    the program does not use, are useless.
    """
    if len(tests) > _LONGEST:
        return RunnableTests("")
    tree, solution = parse_python(tests), parse_python(program)
    if tree is None or solution is None:
        return RunnableTests("")
    ours = _defined(solution.body)
    body = [s for s in tree.body if not _is_main_guard(s) and not _repeats(s, ours)]
    names = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name)}
    if not names & ours or foreign_modules(body) - foreign_modules(solution.body):
        return RunnableTests("")
    functions = {s.name for s in solution.body if isinstance(s, ast.FunctionDef)} | (
        ours - {s.name for s in solution.body if isinstance(s, _Definition)}
    )
    imports = [
        statement
        for statement in solution.body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        and _bound(statement) & names
        # Never a name that is Python's or the program's own: MagicMock as its function would pass.
        and not _bound(statement) & (ours | set(dir(builtins)))
    ]
    variables = {n.id for s in solution.body for n in _assigned(s)}
    own = {
        n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
    }
    called = {n.func.id for s in body for n in _calls(s) if isinstance(n.func, ast.Name)}
    asserting = ast.Module([_Asserting().visit(statement) for statement in body], [])
    calls = "".join(
        f"{s.name}()\n"
        for s in body
        if isinstance(s, ast.FunctionDef)
        and s.name.startswith("test")
        and s.name not in called
        and _takes_nothing(s)
    )
    head = "".join(f"{ast.unparse(statement)}\n" for statement in imports)
    code = f"{head}{_PRELUDE}{ast.unparse(ast.fix_missing_locations(asserting))}\n{calls}{_END}"
    beyond = names & (ours | variables) - functions - own
    return RunnableTests(code, tuple(sorted(names & functions)), tuple(sorted(beyond)))


def needs_of(program: str) -> set[str]:
    """Return the modules beside the standard library that a program imports."""
    tree = parse_python(program)
    return foreign_modules(tree.body) if tree is not None else set()


class _Asserting(ast.NodeTransformer):
    """Turns each `assert` into a check that says what was found, and counts those that held."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        said = ast.unparse(ast.Assert(node.test, None))[:_SHOWN_CHARACTERS]
        test, before, found = node.test, "", ""
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            before = f"_evolcoder_found = {ast.unparse(test.left)}\n"
            compared = ast.Compare(ast.Name("_evolcoder_found", ast.Load()), test.ops, test.comparators)
            condition, found = ast.unparse(compared), ' + "; found " + _evolcoder_shown(_evolcoder_found)'
        else:
            condition = ast.unparse(test)
        check = f"if not ({condition}):\n    raise AssertionError({said!r}{found})\n"
        return ast.parse(f"{before}{check}_evolcoder_held.append(1)").body


def _bound(statement: ast.Import | ast.ImportFrom) -> set[str]:
    return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}


def _assigned(statement: ast.stmt) -> list[ast.Name]:
    """Return the names that a statement of a module assigns to."""
    if isinstance(statement, _Definition):
        return []
    return [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _defined(body: Iterable[ast.stmt]) -> set[str]:
    """Return the functions and classes, and the functions by assignment (`f = lambda ...`), of a module."""
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, _Definition):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Lambda):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def _repeats(statement: ast.stmt, ours: set[str]) -> bool:
    """Return whether a statement of the tests defines or imports what the program defines."""
    if isinstance(statement, _Definition):
        return statement.name in ours and not statement.name.startswith("test")
    if isinstance(statement, ast.ImportFrom):
        # An import from __future__ may stand at the beginning of a program only.
        return statement.module == "__future__" or {alias.name for alias in statement.names} <= ours
    return False


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(statement.test)
    )


def _takes_nothing(function: ast.FunctionDef) -> bool:
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) <= len(arguments.defaults)


def _calls(statement: ast.stmt) -> Iterable[ast.Call]:
    """Yield the calls that running a statement of a module makes itself."""
    if isinstance(statement, _Definition):
        return ()
    return (node for node in ast.walk(statement) if isinstance(node, ast.Call))


def foreign_modules(body: Iterable[ast.stmt]) -> set[str]:
    """Return the modules beside the standard library that statements import."""
    found: set[str] = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names
