"""Files are read by what they hold; what no JSON has is kept; a file that is none names the formats."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evolcoder import parquet_files, runs
from evolcoder.errors import DataError
from evolcoder.evolve.data_stats import stats_of_rows
from evolcoder.evolve.row_files import RowFile, write_rows_whole
from evolcoder.instructions import read_instructions, row_from_instruction, write_instructions

ROWS = [
    {"instruction": 'Sum "a", b;\nfast.', "input": "", "output": "sum(x)\n"},
    {"instruction": "Reverse it.", "input": "a\tb", "output": "s[::-1]"},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def separated(delimiter: str, end: str = "\n") -> str:
    quoted = [[f'"{value}"' for value in (text.replace('"', '""') for text in row.values())] for row in ROWS]
    return end.join(delimiter.join(fields) for fields in [list(ROWS[0]), *quoted]) + end


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", LINES.encode()),
        ("a.txt", LINES.encode()),
        ("a.csv", LINES.encode()),
        ("a.ndjson", b"\xef\xbb\xbf" + LINES.encode()),
        ("a.jsonl", json.dumps(ROWS).encode()),
        ("a", json.dumps(ROWS, indent=1).encode()),
        ("a.json.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.jsonl", gzip.compress(LINES.encode(), mtime=0)),
        ("a.jsonl.zst", pa.compress(LINES.encode(), "zstd", asbytes=True)),
        ("a.csv", separated(",").encode()),
        ("a.csv", separated(",", "\r").encode()),
        ("a.csv", b"\xef\xbb\xbf" + separated(";", "\r\n").replace("b;\r\n", "b;\n").encode()),
        ("a.tsv", separated("\t").encode()),
        ("A.CSV.gz", gzip.compress(separated(",").encode(), mtime=0)),
    ],
)
def test_text_of_every_format_reads_alike_whatever_its_suffix(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    rows = read_instructions(tmp_path / name)
    assert [(row.instruction, row.input, row.response) for row in rows] == [
        (row["instruction"], row["input"], row["output"]) for row in ROWS
    ]
    assert list(RowFile(tmp_path / name)) == rows


def test_one_row_in_a_json_file_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS[1]))
    assert read_instructions(tmp_path / "a.json")[0].instruction == "Reverse it."


def test_names_of_csv_may_have_blanks_and_text_of_parquet_may_be_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction, output\nAdd.,a + b\n")
    pq.write_table(pa.table({"prompt": [b"Add."], "answer": [b"a + b"]}), tmp_path / "b.parquet")
    for name in ("a.csv", "b.parquet"):
        (row,) = read_instructions(tmp_path / name)
        assert (row.instruction, row.response) == ("Add.", "a + b")


def test_a_field_of_csv_may_be_long_and_missing_ones_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f',question,answer,price\n0,"{"x" * 300_000}"\n')
    (row,) = read_instructions(tmp_path / "a.csv")
    assert (len(row.instruction), row.response, row.extra) == (300_000, "", {"price": None})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", b"PK\x03\x04 a workbook", "not a data file"),
        ("a.md", b"# Tasks\n", "not a data file"),
        ("a.parquet", b"nothing", "not a Parquet file"),
        ("a.json", b'{\n "data": []\n}', "a list of objects is expected, found dict"),
        ("a.json", b"[{]", "not UTF-8 JSON"),
        ("a.csv", b'instruction\n"open', "not CSV or TSV that can be read"),
        ("a.csv", b"", "no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_the_formats_accepted(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_instructions(tmp_path / name)
    assert said in str(raised.value)
    assert "accepted: JSON lines, a JSON list, CSV, TSV, Parquet" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"instruction,output\na,b,c\n", "line 2: more than the 2 fields of line 1"),
        ("a.csv", "instruction\né\n".encode("latin-1"), "line 2: not UTF-8"),
        ("a.csv.gz", gzip.compress(separated(",").encode(), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_bad_line_of_csv_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: .*{said}"):
        read_instructions(tmp_path / name)


FOREIGN: dict[str, pa.Array] = {
    "cost_usd": pa.array([Decimal("0.10"), None]),
    "prompt_tokens": pa.array(["many", "few"]),
    "raw": pa.array([b"\x00\xff", b""]),
    "took": pa.array([1_500_000_001, None], pa.duration("ns")),
    "at": pa.array([datetime.datetime(2024, 5, 1), None], pa.timestamp("ns", "UTC")),
    "tags": pa.array([["a", "b"], []]),
    "meta": pa.array([{"n": 1, "parts": [Decimal("1.5")]}, None]),
    "score": pa.array([float("nan"), 0.5]),
    "big": pa.array([2**64 - 1, 1], pa.uint64()),
}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Two rows with columns of every kind that Parquet has."""
    columns = {"query": pa.array(["Add.", "Divide."]), "response": pa.array(["a + b", "a / b"]), **FOREIGN}
    pq.write_table(pa.table(columns), tmp_path / "foreign.parquet")
    return tmp_path / "foreign.parquet"


def test_foreign_columns_are_kept_as_they_are_and_never_summed(foreign: Path) -> None:
    rows = read_instructions(foreign)
    assert list(rows[0].extra) == list(FOREIGN)
    assert rows[0].extra["cost_usd"] == Decimal("0.10")
    assert rows[0].extra["raw"] == b"\x00\xff"
    assert rows[0].extra["took"] == datetime.timedelta(seconds=1.5)
    assert rows[0].extra["meta"] == {"n": 1, "parts": [Decimal("1.5")]}
    stats = stats_of_rows(rows)
    assert (stats.rows, stats.usd, stats.tokens) == (2, 0, 0)


def test_foreign_columns_are_written_as_json_has_them_and_read_again(foreign: Path, tmp_path: Path) -> None:
    rows = read_instructions(foreign)
    flat = row_from_instruction(rows[0])
    assert {name: flat[name] for name in ("cost_usd", "raw", "took", "at", "tags", "meta", "score")} == {
        "cost_usd": "0.10",
        "raw": "AP8=",
        "took": 1.5,
        "at": "2024-05-01T00:00:00+00:00",
        "tags": ["a", "b"],
        "meta": {"n": 1, "parts": ["1.5"]},
        "score": None,
    }
    for name in ("a.jsonl", "a.parquet"):
        assert write_instructions(tmp_path / name, rows) == 2
        assert [row.response for row in read_instructions(tmp_path / name)] == ["a + b", "a / b"]
    write_rows_whole(tmp_path / "b.jsonl", rows)
    assert read_instructions(tmp_path / "b.jsonl") == read_instructions(tmp_path / "a.jsonl")


def test_parquet_is_bounded_as_lines_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "MOST_ROW_BYTES", 1 << 20)
    texts = pa.array(["Add." * 1000, "Sum." * 100_000, "long " * 300_000])
    pq.write_table(pa.table({"instruction": texts}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: row 3: over 1 MB long"):
        read_instructions(tmp_path / "a.parquet")


def test_parquet_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_UNPACKED_FREELY", 1 << 20)
    texts = pa.array(["x" * 1000]).take(pa.array([0] * 20_000))
    for number, column in enumerate((texts, texts.dictionary_encode())):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"instruction": column}), file)
        with pytest.raises(DataError, match="unpack to over"):
            read_instructions(file)


def test_names_of_the_hub_may_have_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, split: str) -> list[dict[str, Any]]:
        asked.append((name, split))
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    names = ("owner/evol-v1.5", "owner.ai/set_2.0:train[:10]", "owner/plain")
    assert [len(read_instructions(name)) for name in names] == [2, 2, 2]
    assert asked == [
        ("owner/evol-v1.5", "train"),
        ("owner.ai/set_2.0", "train[:10]"),
        ("owner/plain", "train"),
    ]
    for name in ("data/missing.jsonl", "data/missing.CSV", "./owner/name", "a/b/c", "data/missing.jsonl.zst"):
        with pytest.raises(DataError, match="no such file"):
            read_instructions(name)


def test_a_folder_without_a_data_set_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found a folder without .*train\.parquet"):
        read_instructions(tmp_path)


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="a file is expected, found a pipe"):
        read_instructions(tmp_path / "rows.jsonl")
