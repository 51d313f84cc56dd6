import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evolcoder.errors import DataError
from evolcoder.evolve.row_files import RowFile, write_rows_whole
from evolcoder.instructions import row_from_instruction
from evolcoder.parquet_files import write_parquet
from evolcoder.records import Instruction, Lineage

SEED = Instruction("s", "Sort.", "", "sorted(x)", Lineage("s"), {"licence": "mit", "size": 3})
EVOLVED = Instruction(
    "e",
    "Sort it well.",
    "",
    "x.sort()",
    Lineage("s", "s", 1, "complexity", "teacher"),
    {"requests": 2, "cost_usd": None, "verdict": "passed", "size": 2.5, "mixed": 1, "nested": {"a": [1]}},
)
LAST = Instruction(
    "l", "Sort.\ud800", "", "", Lineage("s", "e", 2, "m", "t"), {"cost_usd": 1, "mixed": "x", "big": 2**70}
)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    write_rows_whole(tmp_path / "rows.jsonl", [SEED, EVOLVED, LAST])
    write_parquet(tmp_path / "rows.jsonl", tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_parquet_has_the_columns_of_all_rows_though_seeds_come_first(parquet: Path) -> None:
    seed, evolved, last = pq.read_table(parquet).to_pylist()
    assert (evolved["parent_id"], evolved["round"], evolved["method"]) == ("s", 1, "complexity")
    assert (seed["verdict"], evolved["verdict"], last["verdict"]) == (None, "passed", None)
    assert (seed["licence"], seed["size"], evolved["size"]) == ("mit", 3.0, 2.5)
    assert (evolved["mixed"], last["mixed"]) == ("1", "x")
    assert json.loads(evolved["nested"]) == {"a": [1]}
    assert (last["cost_usd"], last["big"]) == (1.0, str(2**70))


def test_rows_come_back_from_jsonl_and_parquet_as_often_as_one_likes(tmp_path: Path, parquet: Path) -> None:
    for path in (tmp_path / "rows.jsonl", parquet):
        rows = RowFile(path)
        for _ in range(2):
            assert [row.lineage for row in rows] == [SEED.lineage, EVOLVED.lineage, LAST.lineage]


def test_an_empty_file_becomes_parquet_with_the_lineage_columns(tmp_path: Path) -> None:
    write_rows_whole(tmp_path / "none.jsonl", [])
    write_parquet(tmp_path / "none.jsonl", tmp_path / "none.parquet")
    table = pq.read_table(tmp_path / "none.parquet")
    assert table.num_rows == 0
    assert {"id", "instruction", "seed_id", "method"} <= set(table.column_names)


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    lines = [json.dumps(row_from_instruction(EVOLVED)), '{"output": "x"}']
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"bad\.jsonl.*line 2.*instruction"):
        list(RowFile(tmp_path / "bad.jsonl"))
