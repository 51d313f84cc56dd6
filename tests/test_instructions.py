"""Seeds and data sets: every format reads alike, and a broken file gets one clear message."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.errors import DataError
from evolcoder.instructions import (
    instruction_from_row,
    read_instructions,
    row_from_instruction,
    write_instructions,
)
from evolcoder.records import Instruction, Lineage

ROWS = [
    {"instruction": "Sum a list.", "input": "", "output": "sum(x)"},
    {"instruction": "Reverse it.", "input": "abc", "output": "s[::-1]"},
]


def test_the_same_rows_read_alike_from_jsonl_json_gz_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.json").write_text(json.dumps(ROWS))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    read = [read_instructions(tmp_path / name) for name in ("a.jsonl", "b.json", "c.jsonl.gz", "d.parquet")]
    assert read[0] == read[1] == read[2] == read[3]
    assert read[0][1].input == "abc"
    assert read[0][1].response == "s[::-1]"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.jsonl", b'{"instruction": "a"}\n' * 6 + b"{oops\n", "line 7: not JSON"),
        ("missing.jsonl", b'{"output": "x"}\n', "field 'instruction' is missing (found: output)"),
        ("empty.jsonl", b"", "no rows"),
        ("latin.jsonl", '{"instruction": "é"}\n'.encode("latin-1"), "line 1: not UTF-8"),
        ("number.jsonl", b'{"instruction": 5}\n', "text is expected, found int"),
        ("list.jsonl", b"[1]\n", "line 1: a JSON object is expected, found list"),
        ("bad.json", b"{}", "a list of objects is expected, found dict"),
        ("bad.parquet", b"nothing", "not a Parquet file"),
        ("cut.jsonl.gz", gzip.compress(b'{"instruction": "a"}\n' * 50, mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_broken_seed_file_gets_one_message_that_names_the_place(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_instructions(tmp_path / name)
    assert said in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_rows_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": ""}\n{"instruction": "ok"}\n{"output": "x"}\n')
    with pytest.raises(DataError, match=r"line 1: .*; line 3: "):
        read_instructions(tmp_path / "a.jsonl")


def test_unreadable_lines_and_bad_rows_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"output": "x"}\n{oops\n')
    with pytest.raises(DataError, match=r"line 2: not JSON.*line 1: field 'instruction' is missing"):
        read_instructions(tmp_path / "a.jsonl")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        read_instructions("nowhere.jsonl")
    with pytest.raises(DataError, match=r"shipped:maths: no such file \(did you mean 'shipped:math'"):
        read_instructions("shipped:maths")


def test_null_input_is_no_input() -> None:
    assert instruction_from_row({"instruction": "a", "input": None, "output": None}).input == ""


@given(
    st.builds(
        Instruction,
        id=st.text(min_size=1).filter(str.strip),
        instruction=st.text(min_size=1).filter(str.strip),
        input=st.text(),
        response=st.text(),
        lineage=st.builds(
            Lineage,
            seed_id=st.text(min_size=1),
            parent_id=st.none() | st.text(min_size=1),
            round=st.integers(0, 9),
            method=st.none() | st.text(min_size=1),
            teacher=st.none() | st.text(min_size=1),
        ),
    )
)
def test_a_row_keeps_everything_on_the_way_out_and_in(row: Instruction) -> None:
    assert instruction_from_row(json.loads(json.dumps(row_from_instruction(row)))) == row


def test_parquet_and_jsonl_hold_the_same_rows(tmp_path: Path) -> None:
    rows = [instruction_from_row({**row, "cost": 0.5}) for row in ROWS]
    assert (
        write_instructions(tmp_path / "a.parquet", rows)
        == write_instructions(tmp_path / "a.jsonl", rows)
        == 2
    )
    assert read_instructions(tmp_path / "a.parquet") == read_instructions(tmp_path / "a.jsonl") == rows


def test_a_row_of_distilabels_evol_instruct_is_the_evolved_instruction_and_its_answer() -> None:
    row = instruction_from_row(
        {
            "instruction": "Add two numbers.",
            "evolved_instruction": "Add two numbers of any base.",
            "answer": "int(a, base) + int(b, base)",
            "model_name": "gpt-4o-mini",
            "distilabel_metadata": {"raw": 1},
        }
    )
    assert (row.instruction, row.response) == ("Add two numbers of any base.", "int(a, base) + int(b, base)")
    assert (row.lineage.round, row.lineage.teacher) == (1, "gpt-4o-mini")
    assert row.extra == {"evolved_from": "Add two numbers.", "distilabel_metadata": {"raw": 1}}
    plain = instruction_from_row({"instruction": "Add.", "generation": "a + b", "model_name": "m"})
    assert (plain.response, plain.extra) == ("a + b", {"model_name": "m"})
