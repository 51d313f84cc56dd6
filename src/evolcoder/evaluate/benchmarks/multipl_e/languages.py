"""How programs of each language are compiled and run, as MultiPL-E's evaluators do, and what their end means.

Facts taken from nuprl/MultiPL-E (evaluation/src/eval_*.py): commands, flags, what counts as a pass. What is
prepared once (`prepared.py`) changes how fast a compiler answers, never what it says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evolcoder.evaluate.benchmarks.multipl_e.toolchains import Found, Tool
from evolcoder.sandbox.protocol import Outcome

Commands = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Language:
    """One language of MultiPL-E."""

    key: str
    """MultiPL-E's own short name: "java", "rs"."""
    name: str
    """As people write it."""
    label: str
    """The label of its code fences, and the name of its grammar."""
    tools: Mapping[str, Tool]
    """By their part in the steps: "compiler", "runtime", ..."""
    steps: tuple[str, ...]
    """Commands; the last one runs the program, those before it compile. "{compiler}" is that tool's path."""
    prepared_step: str = ""
    """The first one where something is ready-made for it (`prepared.py`), in the folder "{prepared}"."""
    prepared_for: str = ""
    """What a program begins with for which it is good."""
    environment: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    """What the program's file is called, "tmp.KEY" for "": MultiPL-E's names are random, none may count."""
    run_s: float = 15.0
    """Seconds MultiPL-E gives a run."""
    compile_s: float = 30.0
    """CPU seconds of a compiler: MultiPL-E's 15 s of wall time (45 for swift and scala), doubled."""
    passed: Callable[[Outcome], bool] = lambda outcome: outcome.verdict.passed
    """Whether a run that ended by itself is a pass."""
    test_mark: str = "candidate"
    """What stands in the tests of every problem, so that a program without it has none yet."""
    syntax_marks: tuple[bytes, ...] = ()
    """What an interpreter writes of a program that does not parse."""
    last_word: str = ""
    """Statement that writes {word}; put after the last assertion, so that to end early is no pass. "" where
    there is no such place: Ruby's tests run as the process ends, Lua's end it, Go's output is go's own."""
    braces: int = 0
    """How many closing braces stand behind the last assertion."""
    whole_answer: bool = False
    """True where the tests stand after a whole program, False where they close the function first."""

    @property
    def compile_steps(self) -> int:
        """Steps before the one that runs the program."""
        return len(self.steps) - 1

    def commands(self, tools: Mapping[str, Found], prepared: str, program: str) -> Commands:
        """Return the steps as commands; `prepared` is the folder of what is ready-made, "" for none."""
        first = self.steps[0]
        if prepared and self.prepared_step and program.lstrip().startswith(self.prepared_for):
            first = self.prepared_step
        places = {part: tool.inside for part, tool in tools.items()} | {"prepared": prepared}
        steps = (first, *self.steps[1:])
        return tuple(tuple(word.format(**places) for word in step.split()) for step in steps)


def _cs_passed(outcome: Outcome) -> bool:
    """Mono ends with 0 after a failed Debug.Assert; what it wrote counts, and its exit code does not."""
    if outcome.failed_step == 0 or outcome.exit_code is None or outcome.exit_code < 0:
        return False
    marks = (b"System.Diagnostics.DefaultTraceListener.Fail", b"Unhandled Exception")
    return not any(mark in outcome.stderr for mark in marks)


GO_ENVIRONMENT = {
    "GOFLAGS": "-count=1",
    "GOPATH": "/tmp/go",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "GO111MODULE": "auto",
    "GOCACHE": "{prepared}/go",
}


def _interpreted(key: str, name: str, label: str, runtime: Tool, *marks: bytes, **more: Any) -> Language:
    told = {"tools": {"runtime": runtime}, "whole_answer": True, **more}
    return Language(key, name, label, steps=(f"{{runtime}} tmp.{key}",), syntax_marks=marks, **told)


_NODE = Tool(("node", "nodejs"), "apt install nodejs")
_LUA = Tool(("lua5.3", "lua5.4", "lua"), "apt install lua5.3", ("-v",))
_LUA_UNITS = tuple(f"/usr/share/lua/{version}/luaunit.lua" for version in ("5.3", "5.4", "5.1"))
_LUA_UNIT = Tool(_LUA_UNITS, "apt install lua-unit", ())
_RUBY = Tool(
    ("ruby",),
    "apt install ruby ruby-test-unit",
    check=("-e", "require 'test/unit'; STDOUT.syswrite(1); exit!(true)"),
)
_SWIFT = (
    "apt install swiftlang (Debian 13), or curl -fsSL https://download.swift.org/swiftly/linux/"
    "swiftly-$(uname -m).tar.gz | tar xz && ./swiftly init"
)
_JAVAC = (
    "{{runtime}} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 {archive}-cp {{tuples}} com.sun.tools.javac.Main "
    "-encoding UTF8 -cp {{tuples}} -d classes tmp.java"
)
_JAVA_TUPLES = Tool(
    (
        "/usr/share/java/javatuples.jar",
        "/usr/share/java/javatuples-1.2.jar",
        "/usr/multiple/javatuples-1.2.jar",
    ),
    "apt install libjavatuples-java",
    (),
)

LANGUAGES: dict[str, Language] = {
    language.key: language
    for language in (
        Language(
            *("cpp", "C++", "cpp"),
            {"compiler": Tool(("g++",), "apt install g++")},
            ("{compiler} -std=c++17 tmp.cpp -o tmp", "./tmp"),
            # The precompiled header holds what the prompt includes first, and stands for it only there:
            # nothing that comes before it could have changed what it means.
            "{compiler} -std=c++17 -include {prepared}/all.h tmp.cpp -o tmp",
            "#include<assert.h>\n#include<bits/stdc++.h>\n",
            last_word='puts("{word}");',
            braces=1,
        ),
        Language(
            *("cs", "C#", "csharp"),
            {
                "compiler": Tool(("csc", "mcs"), "apt install mono-mcs libmono-system-numerics4.0-cil"),
                "runtime": Tool(("mono",), "apt install mono-runtime"),
                "library": Tool(
                    tuple(
                        f"{at}/lib/mono/4.5/System.Numerics.dll" for at in ("/usr", "/usr/local", "/opt/mono")
                    ),
                    "apt install libmono-system-numerics4.0-cil",
                    (),
                ),
            },
            (
                "{compiler} -d:DEBUG -r:System.Numerics.dll tmp.cs -out:tmp.exe",
                "{runtime} tmp.exe",
            ),
            environment={"MONO_TRACE_LISTENER": "Console.Error"},
            test_mark="Debug.Assert(",
            passed=_cs_passed,
            last_word='System.Console.WriteLine("{word}");',
            braces=2,
        ),
        Language(
            *("go", "Go", "go"),
            {"compiler": Tool(("go",), "apt install golang-go", ("version",))},
            ("{compiler} test tmp_test.go",),
            environment=GO_ENVIRONMENT,
            file="tmp_test.go",
            run_s=30.0,
            syntax_marks=(b"[setup failed]", b"[build failed]"),
            whole_answer=True,
        ),
        Language(
            *("java", "Java", "java"),
            {
                "compiler": Tool(("javac",), "apt install default-jdk-headless", ("-version",)),
                "runtime": Tool(("java",), "apt install default-jdk-headless", ("-version",)),
                "tuples": _JAVA_TUPLES,
            },
            # The compiler through `java`: the archive of its loaded classes is named before it starts.
            (_JAVAC.format(archive=""), "{runtime} -XX:+UseSerialGC -ea -cp classes:{tuples} Problem"),
            _JAVAC.format(archive="-XX:SharedArchiveFile={prepared}/javac.jsa "),
            test_mark="assert(",
            last_word='System.out.println("{word}");',
            braces=2,
        ),
        _interpreted(
            *("jl", "Julia", "julia", Tool(("julia",), "curl -fsSL https://install.julialang.org | sh")),
            *(b"ParseError", b"syntax:"),
            last_word='println("{word}")',
        ),
        _interpreted(
            "js", "JavaScript", "javascript", _NODE, b"SyntaxError", last_word='console.log("{word}");'
        ),
        _interpreted("lua", "Lua", "lua", _LUA, b"near ", tools={"runtime": _LUA, "tests": _LUA_UNIT}),
        _interpreted(
            *("php", "PHP", "php", Tool(("php",), "apt install php-cli"), b"Parse error"),
            last_word='echo "{word}";',
        ),
        _interpreted(
            *("py", "Python", "python", Tool((os.path.realpath(sys.executable),), "")),
            *(b"SyntaxError", b"IndentationError"),
            last_word='print("{word}")',
        ),
        _interpreted(
            *("r", "R", "r", Tool(("Rscript",), "apt install r-base-core"), b"unexpected "),
            last_word='cat("{word}")',
        ),
        _interpreted("rb", "Ruby", "ruby", _RUBY, b"syntax error", b"SyntaxError"),
        Language(
            *("rs", "Rust", "rust"),
            {"compiler": Tool(("rustc",), "apt install rustc"), "linker": Tool(("cc",), "apt install gcc")},
            # No --edition: rustc's default, 2015, as in MultiPL-E.
            ("{compiler} tmp.rs -o tmp", "./tmp"),
            last_word='println!("{word}");',
            braces=1,
        ),
        Language(
            *("scala", "Scala", "scala"),
            {
                "compiler": Tool(("scalac",), "apt install scala", ("-version",)),
                "runtime": Tool(("scala",), "apt install scala", ()),
            },
            ("mkdir classes", "{compiler} -d classes tmp.scala", "{runtime} -cp classes Problem"),
            environment={"JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"},
            test_mark="assert(",
            compile_s=90.0,
            passed=lambda outcome: outcome.verdict.passed and not outcome.stderr,
            last_word='println("{word}");',
            braces=2,
        ),
        _interpreted(
            *("sh", "Bash", "bash", Tool(("bash",), "apt install bash"), b"syntax error"),
            last_word="echo {word}",
            whole_answer=False,
        ),
        Language(
            *("swift", "Swift", "swift"),
            {"compiler": Tool(("swiftc",), _SWIFT)},
            ("{compiler} tmp.swift -o tmp", "./tmp"),
            test_mark="assert(",
            run_s=5.0,
            compile_s=90.0,
            last_word='print("{word}")',
        ),
        Language(
            *("ts", "TypeScript", "typescript"),
            {"compiler": Tool(("tsc",), "npm install --global typescript@5"), "runtime": _NODE},
            ("{runtime} {compiler} --target esnext tmp.ts", "{runtime} tmp.js"),
            "{runtime} --snapshot-blob {prepared}/typescript.blob tsc tmp.ts",
            whole_answer=True,
            last_word='console.log("{word}");',
        ),
    )
}
"""By MultiPL-E's short name."""
