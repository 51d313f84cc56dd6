"""Nothing of data or of an endpoint commands the terminal, on whatever path it is printed."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.cli import main
from evolcoder.cli.progress_view import LiveProgress, PlainProgress
from evolcoder.cli.terminal import ShownStream, guard_streams, shown, wrapped
from evolcoder.progress import StageLine
from evolcoder.report.table import text_table

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil\x07 \x9b31m\x9d0;t\x9c \u202etxt\u2066 \rover [/x]"
COMMANDS = [chr(n) for n in range(32) if chr(n) not in "\t\n"] + [chr(n) for n in range(0x7F, 0xA0)]
COMMANDS += list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def commanding(text: str) -> str:
    return "".join(sign for sign in text if sign in COMMANDS)


def test_every_command_of_a_terminal_is_shown_and_other_text_is_as_it_was() -> None:
    assert commanding(shown("".join(COMMANDS))) == ""
    assert shown("größe\t日本 👩‍💻 می‌خواهم\n") == "größe\t日本 👩‍💻 می‌خواهم\n"
    assert shown("\x1b]0;t\x07") == "\\u001b]0;t\\u0007"


@given(st.text())
def test_json_that_was_shown_means_what_it_meant(text: str) -> None:
    line = shown(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(line) == {"a": text}
    assert commanding(line) == ""


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make both streams a terminal; in the test itself, as pytest sets its own after the fixtures."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def command_line(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["evolcoder", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def hostile_rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    row = {"id": HOSTILE, "instruction": HOSTILE, "output": HOSTILE, "method": HOSTILE, "teacher": HOSTILE}
    path.write_text(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "samples", "{rows}"),
        ("data", "samples", "{rows}", "--json"),
        ("data", "stats", "{rows}"),
        ("recipe", "check", "{recipe}"),
        ("score", HOSTILE, "-b", "humaneval"),
        ("score", "{rows}", "-b", HOSTILE),
        (HOSTILE,),
        ("run", "quickstart", "--set", HOSTILE),
    ],
)
def test_no_command_prints_what_commands_the_terminal(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(json.dumps({"name": "x", HOSTILE: 1, "base": {"model": HOSTILE}}))
    paths = {"rows": str(hostile_rows(tmp_path)), "recipe": str(recipe)}
    given_ = [a.format(**paths) if a.startswith("{") else a for a in arguments]
    terminal = terminal_of(monkeypatch)
    command_line(monkeypatch, *given_)
    assert "red" in terminal.getvalue() or "stats" in arguments
    assert commanding(terminal.getvalue()) == ""


def test_logs_and_tracebacks_are_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    guard_streams()
    logging.lastResort.handle(logging.makeLogRecord({"msg": HOSTILE}))  # type: ignore[union-attr]
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert terminal.getvalue().count("red") == 2
    assert commanding(terminal.getvalue()) == ""


def test_notes_names_and_facts_of_progress_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    view = PlainProgress()
    view.note(HOSTILE)
    with view.bar(HOSTILE, 1) as bar:
        bar.advance(1, **{HOSTILE: HOSTILE})
    view.stages([StageLine(HOSTILE, "running", None)])
    assert terminal.getvalue().count("red") == 5
    assert commanding(terminal.getvalue()) == ""


def test_live_bars_are_drawn_and_nothing_of_their_texts_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    guard_streams()
    view = LiveProgress()
    view.stages([StageLine(HOSTILE, "running", None)])
    view.note(HOSTILE)
    with view.bar(HOSTILE, 1) as bar:
        bar.advance(1, **{HOSTILE: HOSTILE})
        logging.lastResort.handle(logging.makeLogRecord({"msg": HOSTILE}))  # type: ignore[union-attr]
    view.stages([])
    with view.bar(HOSTILE, 1) as bar:
        bar.advance(1, **{HOSTILE: HOSTILE})
        print(HOSTILE)
    drawn = terminal.getvalue()
    assert "\x1b[" in drawn and "\\u001b]0;title" in drawn
    assert not any(
        sign in drawn for sign in ("\x1b]", "\x07", "\x9b", "\x9d", "\u202e", "\u2066", "\x1b[31mred")
    )
    assert isinstance(sys.stderr, ShownStream)


def test_what_the_terminal_has_no_sign_for_is_written_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Größe \u4e2d", "output": "x"}\n')
    here = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "evolcoder", "data", "samples", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, env=here, capture_output=True)
    assert done.returncode == 0
    assert "Größe \\u4e2d" in done.stdout.decode("latin-1")


def test_a_librarys_progress_bar_keeps_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    guard_streams()
    for text in ("\r 10%", "\n", "\x1b[A", "\r 20%\x1b]0;t\x07"):
        sys.stderr.write(text)
    assert terminal.getvalue() == "\r 10%\n\x1b[A\r 20%\\u001b]0;t\\u0007"


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_keeps_the_count_and_drops_the_bar(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with LiveProgress().bar("write the answers of a benchmark with a long name", 4321) as bar:
        bar.advance(1234)
    last = next(line for line in reversed(terminal.getvalue().splitlines()) if "4321" in line)
    assert "1234/4321" in last and "left" in last
    assert not set(last) & set("━╸╺")


@pytest.mark.parametrize("columns", [40, 60])
def test_a_table_on_a_narrow_terminal_breaks_between_words(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    table = text_table(
        "scores", ("model", "training rows", "pass@1"), [("a model of a long name", "1,234", "59.8")]
    )
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = wrapped(table).splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(wrapped(table).split()).replace("─", "") == " ".join(table.split()).replace("─", "")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert wrapped(table) == table
