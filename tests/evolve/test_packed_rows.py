import datetime

import pytest

from evolcoder.evolve.row_files import PackedRows
from evolcoder.records import Instruction, Lineage


def rows(n: int) -> list[Instruction]:
    day = datetime.date(2024, 1, 31)
    return [Instruction(f"r{i}", f"Do {i}.", "", "é\udc80", Lineage(f"r{i}"), {"day": day}) for i in range(n)]


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_packed_rows_come_back_in_order_as_often_as_asked(n: int) -> None:
    packed = PackedRows(iter(rows(n)))
    assert len(packed) == n
    assert list(packed) == list(packed) == rows(n)


def test_a_row_is_found_among_packed_ones() -> None:
    packed = PackedRows(rows(130))
    assert rows(130)[129] in packed
    assert rows(131)[130] not in packed
