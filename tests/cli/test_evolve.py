import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError, UserError
from evolcoder.evolve.row_files import write_rows_whole
from evolcoder.instructions import read_instructions
from evolcoder.records import Instruction, Lineage


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [
        Instruction("aaa1", "Sort a list.", "[2, 1]", "sorted(x)", Lineage("aaa1")),
        Instruction(
            "bbb2", "Sort a list of dates.", "", "use key", Lineage("aaa1", "aaa1", 1, "complexity", "m")
        ),
        Instruction("ccc3", "Parse a date.", "", "strptime", Lineage("ccc3")),
    ]
    write_rows_whole(tmp_path / "dataset.jsonl", rows)
    return tmp_path / "dataset.jsonl"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_stats_count_rows_by_round_method_and_teacher(dataset: Path) -> None:
    stats = json.loads(run("data", "stats", str(dataset), "--json"))
    assert (stats["rows"], stats["trees"], stats["rounds"]) == (3, 2, {"0": 2, "1": 1})
    assert stats["methods"] == {"seed": 2, "complexity": 1}
    assert "rows by method" in run("data", "stats", str(dataset))


def test_a_tree_is_shown_from_any_of_its_rows(dataset: Path) -> None:
    shown = run("data", "tree", str(dataset), "bbb")
    assert shown.index("aaa1") < shown.index("bbb2")
    assert "ccc3" not in shown
    with pytest.raises(UserError, match="no row's id begins with 'zzz'"):
        CliRunner().invoke(cli, ["data", "tree", str(dataset), "zzz"], catch_exceptions=False)


def test_samples_are_the_same_for_the_same_seed(dataset: Path) -> None:
    assert run("data", "samples", str(dataset), "-n", "2") == run("data", "samples", str(dataset), "-n", "2")


def test_exports_are_what_other_tools_read(dataset: Path, tmp_path: Path) -> None:
    run("data", "export", str(dataset), "--to", "alpaca", "--out", str(tmp_path / "a.json"))
    first = json.loads((tmp_path / "a.json").read_text())[0]
    assert first == {"instruction": "Sort a list.", "input": "[2, 1]", "output": "sorted(x)"}
    run("data", "export", str(dataset), "--to", "chat", "--out", str(tmp_path / "c.jsonl"))
    chat = json.loads((tmp_path / "c.jsonl").read_text().splitlines()[0])["messages"]
    assert chat[0] == {"role": "user", "content": "Sort a list.\n[2, 1]"}


def test_the_hub_folder_has_a_card_and_rows_that_read_back_whole(dataset: Path, tmp_path: Path) -> None:
    run(
        "data",
        "export",
        str(dataset),
        "--to",
        "hub",
        "--out",
        str(tmp_path / "hub"),
        "--licence",
        "cc-by-nc-4.0",
    )
    assert read_instructions(tmp_path / "hub/data/train.parquet") == read_instructions(dataset)
    card = (tmp_path / "hub/README.md").read_text()
    assert card.startswith("---\nlicense: other\n"), "the licence of the teacher 'm' is not known"
    assert "No commercial use: the licence of the seeds" in card
    assert "| complexity | 1 |" in card
    assert "not checked" in card


def test_mistakes_in_options_and_seeds_end_before_anything_is_asked(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"instruction": "ok"}\n{"instruction": \n{"prompt_": 1}\n')
    out = ["--teacher", "openai:x", "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match=r"line 2.*"):
        CliRunner().invoke(cli, ["evolve", "--seeds", str(seeds), *out], catch_exceptions=False)
    for wrong, said in (("misdirection=2", "misdirection"), ("misdirect=x", "a number is expected")):
        with pytest.raises(UserError, match=said):
            arguments = ["evolve", "--seeds", "shipped", "--weight", wrong, *out]
            CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
