"""Drop from a Python program what only shows it at work: prints, asserts, calls of the function, tests.

Everything else at the top level stays as it is written. A statement that shows something stays too where the
rest may need it: where it binds or changes a name that the rest reads, or sets something of the interpreter.
When in doubt it stays: a program that is right as a whole is right without what is dropped here.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_SHOWS = frozenset({"print", "pprint", "display", "input", "raw_input", "exit", "quit", "breakpoint"})
_SHOWS_OF_MODULES = {
    "sys": {"stdin", "stdout", "stderr", "exit"},
    "pprint": {"pprint", "pp"},
    "unittest": {"main", "TextTestRunner", "TestLoader"},
    "doctest": {"testmod", "run_docstring_examples"},
    "pytest": {"main"},
    "timeit": {"timeit", "repeat"},
    "plt": {"show", "plot", "bar", "scatter", "figure", "title", "xlabel", "ylabel", "legend", "savefig"},
}
_READS_ANY = {"eval", "exec", "globals", "locals", "vars", "__import__", "__name__", "inspect", "importlib"}
"""Code that uses one of these may read any name."""
_CHANGES_ANY = {"eval", "exec", "globals", "setattr", "delattr", "__import__"}
_CHANGES_NOTHING = {
    *("print", "input", "len", "str", "int", "float", "repr", "isinstance", "type", "abs", "bool", "range"),
}
_SETTINGS = {"seed", "filterwarnings", "simplefilter", "disable", "stack_size"}
_ANY = "*"
"""Stands among changed names for what has no name: a setting, an attribute of what a call returns."""
_BUILTINS = frozenset(dir(builtins))
_INERT = (
    *(ast.Name, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Attribute, ast.expr_context),
    *(ast.Compare, ast.cmpop, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.Call, ast.Starred),
    *(ast.BoolOp, ast.boolop, ast.IfExp),
)
"""Parts of `[PYTHON]`, `Here is the`, `{code}`, `src/solution.py`, `* O(n)`, `fast and simple`."""


def without_demonstrations(code: str, tree: ast.Module, entry_point: str, first_line: int = 1) -> str:
    """Return a program without the statements from `first_line` on that only show it; `tree` is its own."""
    if not any(_may_show(node, entry_point) for node in tree.body):
        return code
    statements = _statements(code, tree)
    if statements is None:
        return code
    dropped = _Program(statements, entry_point).dropped()
    return cut(code, tree, [node for node in dropped if node.lineno >= first_line])


def global_reads(code: str, tree: ast.Module) -> set[str]:
    """Return the names that a program looks up and neither binds at its top level nor finds in Python."""
    statements = _statements(code, tree) or []
    read = {name for s in statements for name in s.reads}
    return read - {name for s in statements for name in s.binds} - _BUILTINS


def bound_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds in its own scope."""
    return _bound(own_nodes(node))


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    names: set[str] = set()
    for n in nodes:
        if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Store, ast.Del)):
            names.add(n.id)
        elif isinstance(n, DEFINITIONS):
            names.add(n.name)
        elif isinstance(n, _IMPORTS):
            names.update((alias.asname or alias.name).split(".")[0] for alias in n.names)
        elif isinstance(n, ast.ExceptHandler) and n.name:
            names.add(n.name)
    return names


def own_nodes(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement without the bodies of functions and classes inside it."""
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        yield current
        if isinstance(current, DEFINITIONS):
            stack += current.decorator_list
            if isinstance(current, ast.ClassDef):
                stack += [*current.bases, *(k.value for k in current.keywords)]
            else:
                stack += [current.args, *filter(None, [current.returns])]
        else:
            stack.extend(ast.iter_child_nodes(current))


def first_line(node: ast.stmt) -> int:
    """Return the line on which a statement begins, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def cut(code: str, tree: ast.Module, dropped: Collection[ast.stmt]) -> str:
    """Return the code without statements; one that shares a line with another leaves a `pass`."""
    n_on_line: Counter[int] = Counter()
    for node in tree.body:
        n_on_line.update({first_line(node), node.end_lineno or node.lineno})
    pieces = []
    for node in dropped:
        first, last = first_line(node), node.end_lineno or node.lineno
        if n_on_line[first] > 1 or n_on_line[last] > 1:
            pieces.append(((first, node.col_offset), (last, node.end_col_offset or 0), "pass"))
        else:
            pieces.append(((first, 0), (last + 1, 0), ""))
    return replaced(code, pieces)


def replaced(code: str, pieces: Iterable[tuple[tuple[int, int], tuple[int, int], str]]) -> str:
    """Return the code with each (beginning, end, text) put in; places are (line, byte of it) as in `ast`."""
    data = code.encode()
    lines = [0, *(match.end() for match in re.finditer(b"\n", data)), len(data)]
    kept: list[bytes] = []
    at = 0
    for (line, byte), (end_line, end_byte), new in sorted(pieces):
        kept += [data[at : lines[line - 1] + byte], new.encode()]
        at = lines[min(end_line, len(lines)) - 1] + end_byte
    return b"".join([*kept, data[at:]]).decode()


@dataclass(eq=False)
class _Statement:
    node: ast.stmt
    nodes: list[ast.AST]
    """Those that are executed with it: not the bodies of functions and classes inside it."""
    binds: set[str]
    reads_now: set[str]
    """Names that are looked up when it is executed."""
    reads: set[str]
    """Global names that are looked up then, or later by what it defines."""


def _statements(code: str, tree: ast.Module) -> list[_Statement] | None:
    try:
        scopes = symtable.symtable(code, "answer", "exec").get_children()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    statements = []
    for node in tree.body:
        nodes = list(own_nodes(node))
        reads = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        for n in nodes:
            if isinstance(n, ast.comprehension):
                reads -= _names(n.target)
            elif isinstance(n, ast.Lambda):
                reads -= {a.arg for a in ast.walk(n.args) if isinstance(a, ast.arg)}
        statements.append(_Statement(node, nodes, _bound(nodes), reads, set(reads)))
    begins = [first_line(node) for node in tree.body]
    while scopes:
        scope = scopes.pop()
        scopes.extend(scope.get_children())
        read = {s.get_name() for s in scope.get_symbols() if s.is_referenced() and s.is_global()}
        number = bisect_right(begins, scope.get_lineno()) - 1
        while number >= 0:
            statements[number].reads |= read
            if number == 0 or begins[number - 1] != begins[number]:
                break  # of several statements on one line each may be the one
            number -= 1
    return statements


def _may_show(node: ast.stmt, entry_point: str) -> bool:
    """Whether a look into the statement is worth it: most definitions and assignments show nothing."""
    if isinstance(node, _IMPORTS):
        return entry_point in bound_names(node)
    if isinstance(node, DEFINITIONS):
        return node.name != entry_point and _is_test(node)
    if isinstance(node, _ASSIGNMENTS) and node.value is not None:
        return any(isinstance(n, ast.Call) for n in ast.walk(node))
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


class _Program:
    """Top-level statements, and what its functions do when they are called."""

    def __init__(self, statements: list[_Statement], entry_point: str) -> None:
        self.statements = statements
        self.entry_point = entry_point
        self.imported = {n for s in statements if isinstance(s.node, _IMPORTS) for n in s.binds}
        self.functions = {s.node.name for s in statements if isinstance(s.node, DEFINITIONS)}
        bound = {n for s in statements for n in s.binds}
        self.variables = bound - self.imported - self.functions - {entry_point}
        self.sources: dict[str, set[str]] = {}
        """For each variable those that its value was made of: it may be another name of theirs."""
        for s in statements:
            if any(isinstance(n, ast.Attribute) and n.attr == "parse_args" for n in s.nodes):
                continue  # a new object, whatever parser made it
            for name in s.binds & self.variables if s.reads_now else ():
                self.sources.setdefault(name, set()).update(s.reads_now & self.variables)
        defining = ((s.node, s.reads) for s in statements)
        self.lent = {n.name: reads & self.variables for n, reads in defining if isinstance(n, DEFINITIONS)}
        """For each function the variables that it may return."""
        self.shows: dict[str, bool] = dict.fromkeys(self.functions, False)
        self.changes: dict[str, set[str]] = {name: set() for name in self.functions}
        self._look_into_functions()

    def dropped(self) -> list[ast.stmt]:
        """Return the statements that only show something, and the imports that only they read."""
        unfit = self._unfit()
        showing = {s for s in self.statements if s in unfit or self._demonstrates(s)}
        following = self._following(showing)
        considered = [s for s in self.statements if s in showing or s in following]
        undecided = {s: self._changed_by_statement(s) for s in considered}
        resting = [s for s in self.statements if s not in undecided]
        needed = {self.entry_point}.union(*(s.reads for s in resting))
        if needed & _READS_ANY:
            needed |= self._words()
        n_before = -1
        while n_before != len(undecided):
            n_before = len(undecided)
            for s in reversed([s for s in undecided if s not in unfit]):
                what = undecided[s] | s.binds
                if _ANY in what or what & needed:
                    needed |= s.reads
                    del undecided[s]
        read = {name for s in undecided for name in s.reads} - needed
        imports = (s for s in resting if isinstance(s.node, _IMPORTS))
        unneeded = [s for s in imports if s.binds & read and not s.binds & needed]
        return [s.node for s in [*undecided, *unneeded]]

    def _unfit(self) -> set[_Statement]:
        """Return what cannot run: main guards, what a user's input makes, words, imports of itself."""
        unfit: set[_Statement] = set()
        typed: set[str] = set()
        for s in self.statements:
            if self._imports_itself(s.node):
                unfit.add(s)
            elif isinstance(s.node, (*DEFINITIONS, *_IMPORTS)):
                typed -= s.binds
            elif _is_main_guard(s.node) or self._is_word(s.node):
                unfit.add(s)
            elif s.reads_now & typed or self._asks(s):
                unfit.add(s)
                typed |= s.binds
            else:
                typed -= s.binds
        return unfit

    def _imports_itself(self, node: ast.stmt) -> bool:
        """True for `from solution import f`, as a test's file begins, in the program that defines `f`."""
        is_import = isinstance(node, ast.ImportFrom) and node.module not in sys.stdlib_module_names
        return is_import and self.entry_point in self.functions & bound_names(node)

    def _is_word(self, node: ast.stmt) -> bool:
        """True for what stood beside the program: it reads a name that nothing binds, no more."""
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(node, ast.AnnAssign) and node.value is None:  # `language: python`
            value = node.annotation
        nodes = list(ast.walk(value)) if value else []
        known = self.imported | self.functions | self.variables | _BUILTINS | {self.entry_point}
        unknown = {n.id for n in nodes if isinstance(n, ast.Name)} - known
        named = bool(unknown) or (isinstance(value, ast.Attribute) and value.attr == "py")  # of the file
        return named and "*" not in self.imported and all(isinstance(n, _INERT) for n in nodes)

    def _asks(self, s: _Statement) -> bool:
        """Whether a statement always calls `input`, which fails where nobody types."""
        if "input" in self.functions or not isinstance(s.node, (*_ASSIGNMENTS, ast.Expr)):
            return False
        return any(_is_call(n, "input") for n in s.nodes)

    def _words(self) -> set[str]:
        """Return the words in the program's strings: names that it may look up by their text."""
        nodes = (n for s in self.statements for n in ast.walk(s.node))
        texts = (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
        return {word for text in texts for word in re.findall(r"[^\W\d]\w*", text)}

    def _following(self, showing: set[_Statement]) -> set[_Statement]:
        """Return the plain statements that look up names which only showing statements bind."""
        n_binding = Counter(name for s in self.statements if s not in showing for name in s.binds)
        lacking = {name for s in showing for name in s.binds if not n_binding[name]}
        following: set[_Statement] = set()
        for s in self.statements:
            plain = s not in showing and not isinstance(s.node, (*DEFINITIONS, *_IMPORTS))
            if plain and s.reads_now & lacking:
                following.add(s)
                n_binding.subtract(s.binds)
                lacking |= {name for name in s.binds if not n_binding[name]}
        return following

    def _look_into_functions(self) -> None:
        """Find what the functions that are called at the top level show and change, with those they call."""
        definitions: dict[str, list[_Statement]] = {}
        waiting: list[str] = []
        for s in self.statements:
            if isinstance(s.node, DEFINITIONS):
                definitions.setdefault(s.node.name, []).append(s)
            else:
                waiting += s.reads & self.functions
        callers: dict[str, set[str]] = {self.entry_point: set()}
        while waiting:
            name = waiting.pop()
            if name in callers:
                continue
            callers[name] = set()
            for s in definitions[name]:
                self._look_into(s, name)
                waiting += s.reads & self.functions
        for name in callers:
            for s in definitions.get(name, ()):
                for called in s.reads & callers.keys() - {self.entry_point}:
                    callers[called].add(name)
        waiting = sorted(callers)
        while waiting:
            name = waiting.pop()
            for caller in callers[name] - {self.entry_point}:
                if self.changes[name] <= self.changes[caller] and self.shows[name] <= self.shows[caller]:
                    continue
                self.changes[caller] |= self.changes[name]
                self.shows[caller] |= self.shows[name]
                waiting.append(caller)

    def _look_into(self, s: _Statement, name: str) -> None:
        nodes = list(ast.walk(s.node))
        self.shows[name] |= any(map(self._shows_itself, nodes))
        self.changes[name] |= self._changed(nodes) & (s.reads | {_ANY})
        for n in nodes:
            if isinstance(n, ast.Global):
                self.changes[name].update(n.names)
        values = (n.value for n in getattr(s.node, "body", ()) if isinstance(n, (ast.Assign, ast.AnnAssign)))
        if isinstance(s.node, ast.ClassDef) and any(values):  # its instances may share what they change
            self.changes[name].add(name)

    def _demonstrates(self, s: _Statement) -> bool:
        """Whether a statement shows something; a loop that only calls the function may fill its memory."""
        if isinstance(s.node, _IMPORTS):
            return False
        if isinstance(s.node, DEFINITIONS):
            return s.node.name != self.entry_point and _is_test(s.node)
        value = s.node.value if isinstance(s.node, ast.Expr) else None
        if _is_main_guard(s.node) or (value is not None and _is_call(value, self.entry_point)):
            return True
        discarded = {id(n.value) for n in s.nodes if isinstance(n, ast.Expr)}
        return any(
            (self._shows_itself(n) and not (id(n) in discarded and _is_call(n, self.entry_point)))
            or (isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and self.shows.get(n.func.id, False))
            for n in s.nodes
        )

    def _shows_itself(self, node: ast.AST) -> bool:
        """Whether a node asserts, prints, reads what a user gives, ends the program or calls the function."""
        if isinstance(node, ast.Attribute):
            return node.attr == "argv" and _path(node)[0] == "sys"
        if isinstance(node, ast.Raise):
            return node.exc is not None and _path(node.exc)[0] == "SystemExit"
        if not isinstance(node, ast.Call):
            return isinstance(node, ast.Assert)
        if isinstance(node.func, ast.Name):
            name = node.func.id
            return name == self.entry_point or (name in _SHOWS and name not in self.functions)
        root, attributes = _path(node.func)
        if "parse_args" in attributes and not node.args:
            return True
        return not attributes.isdisjoint(_SHOWS_OF_MODULES.get(root, ()))

    def _changed_by_statement(self, s: _Statement) -> set[str]:
        """Return the names whose values it may change, by other names of the same value too."""
        changed = self._changed(s.nodes)
        for name in s.reads_now & self.functions - {self.entry_point}:
            changed |= self.changes[name]
        waiting = list(changed)
        while waiting:
            more = self.sources.get(waiting.pop(), set()) - changed
            changed |= more
            waiting += more
        return changed

    def _changed(self, nodes: Iterable[ast.AST]) -> set[str]:
        """Return names whose values may change: `x[i] =`, `x.a =`, `x.append(y)`, `fill(x)`, `for i in x`."""
        changed: set[str] = set()
        for n in nodes:
            if isinstance(n, (ast.Subscript, ast.Attribute)) and isinstance(n.ctx, (ast.Store, ast.Del)):
                root = _path(n)[0]
                changed.add(root if root in self.variables | self.functions else _ANY)
                changed |= self.lent.get(root, set())
            elif isinstance(n, ast.Call):
                changed |= self._changed_by_call(n)
            elif isinstance(n, (ast.For, ast.AsyncFor, ast.comprehension)):
                changed |= {_path(n.iter)[0]} & self.variables
        return changed

    def _changed_by_call(self, call: ast.Call) -> set[str]:
        root, attributes = _path(call.func)
        if "parse_args" in attributes:
            return set()
        if not attributes and root in _CHANGES_NOTHING:
            files = [k.value for k in call.keywords if k.arg == "file"]
            return {name for file in files for name in _names(file)} & self.variables
        if not attributes and root in _CHANGES_ANY:
            return {_ANY}
        changed = {name for a in [*call.args, *(k.value for k in call.keywords)] for name in _names(a)}
        changed &= self.variables
        if root in self.imported:
            if any(a.startswith("set") or a in _SETTINGS for a in attributes | {root}):
                changed.add(_ANY)
        elif root in self.functions:
            changed |= self.lent.get(root, set()) if attributes else set()
        elif root in self.variables:
            changed.add(root)
        return changed


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _path(node: ast.AST) -> tuple[str, set[str]]:
    """Return (the name that a chain of attributes, items and calls begins with or "", its attributes)."""
    attributes: set[str] = set()
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        if isinstance(node, ast.Attribute):
            attributes.add(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    return (node.id if isinstance(node, ast.Name) else ""), attributes


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_main_guard(node: ast.stmt) -> bool:
    """True for `if __name__ == "__main__":` without an else."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    is_and = isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And)
    tests = node.test.values if isinstance(node.test, ast.BoolOp) and is_and else [node.test]
    return any(
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq)
        and "__name__" in _names(test)
        and any(isinstance(n, ast.Constant) and n.value == "__main__" for n in ast.walk(test))
        for test in tests
    )


def _is_test(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    if any(_path(d.func if isinstance(d, ast.Call) else d)[0] != "pytest" for d in node.decorator_list):
        return False
    if isinstance(node, ast.ClassDef):
        return any("TestCase" in {_path(base)[0], *_path(base)[1]} for base in node.bases)
    return node.name.startswith("test_")
