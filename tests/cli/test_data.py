"""`evolcoder data`: what a data set holds, and its ways out."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError
from evolcoder.evolve.row_files import write_rows_whole
from evolcoder.instructions import read_instructions
from evolcoder.records import Instruction, Lineage
from evolcoder.runs import making_folder_whole

SEED = Instruction("aaa1", "Sort a list.", "[2, 1]", "sorted(x)", Lineage("aaa1"))
EVOLVED = Instruction(
    "bbb2",
    "Sort a list of dates.",
    "",
    "use key",
    Lineage("aaa1", "aaa1", 1, "complexity", "SmolLM2-135M-Instruct@1f"),
    {"requests": 3, "prompt_tokens": 40, "completion_tokens": 60, "cost_usd": 0.5, "verdict": "passed"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `evolve` leaves."""
    out = tmp_path / "evolved"
    (out / "round-1").mkdir(parents=True)
    write_rows_whole(out / "dataset.jsonl", [SEED, EVOLVED])
    summary = {"round": 1, "asked": 4, "kept": 1, "eliminated": {"contaminated": 2, "unchanged": 1}}
    (out / "round-1/summary.json").write_text(json.dumps(summary))
    (out / "round-1/eliminated.jsonl").write_text('{"reason": "unchanged"}\n')
    made_from = {"seeds": "code_alpaca_20k.json", "decontaminated": ["humaneval"]}
    (out / "made_from.json").write_text(json.dumps(made_from))
    return out


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["data", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def card_of(folder: Path, out: Path, *options: str) -> tuple[dict[str, object], str]:
    run("export", str(folder / "dataset.jsonl"), "--to", "hub", "--out", str(out), *options)
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_stats_add_up_tokens_money_and_verdicts(folder: Path) -> None:
    shown = run("stats", str(folder / "dataset.jsonl"))
    assert "2 rows of 1 seeds" in shown
    assert "100 tokens, 0.5000 US dollars" in shown
    assert "passed" in shown


def test_parquet_keeps_the_whole_lineage_and_the_verdict(folder: Path, tmp_path: Path) -> None:
    run("export", str(folder / "dataset.jsonl"), "--to", "parquet", "--out", str(tmp_path / "d.parquet"))
    seed, evolved = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert (seed["id"], seed["verdict"], seed["cost_usd"]) == ("aaa1", None, None)
    lineage = ("seed_id", "parent_id", "round", "method", "completion_tokens", "cost_usd", "verdict")
    assert [evolved[name] for name in lineage] == ["aaa1", "aaa1", 1, "complexity", 60, 0.5, "passed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.parquet", "evolved"]


def test_the_card_says_what_the_rows_are_made_from_without_being_told(folder: Path, tmp_path: Path) -> None:
    header, text = card_of(folder, tmp_path / "hub")
    assert header["license"] == "cc-by-nc-4.0"
    assert "No commercial use: the licence of the seeds (code_alpaca_20k.json)" in text
    assert "| eliminated: contaminated | 2 |" in text
    assert "checked against humaneval; copies were dropped (2 rows)" in text
    assert "licence apache-2.0. Its terms may bind" in text
    assert (tmp_path / "hub/eliminated.jsonl").read_text() == '{"reason": "unchanged"}\n'


def test_what_the_caller_says_counts_more(folder: Path, tmp_path: Path) -> None:
    options = ("--seeds", "mine", "--licence", "mit", "--checked", "mbpp")
    header, text = card_of(folder, tmp_path / "hub", *options)
    assert header["license"] == "apache-2.0", "of the teacher, which asks for more than mit"
    assert "Seeds: mine, licence mit" in text
    assert "checked against mbpp" in text


def test_a_teacher_behind_an_api_is_named_with_its_vendors_terms(tmp_path: Path) -> None:
    row = Instruction("c", "Sort.", "", "x", Lineage("a", "a", 1, "complexity", "gpt-4.1-mini"))
    write_rows_whole(tmp_path / "dataset.jsonl", [row])
    header, text = card_of(tmp_path, tmp_path / "hub")
    assert header["license"] == "other"
    assert "OpenAI" in text
    assert "not checked" in text


def test_an_export_leaves_a_folder_alone_that_it_did_not_write(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "notes").mkdir(parents=True)
    (precious / "notes/thesis.txt").write_text("thesis")
    data = str(folder / "dataset.jsonl")
    for out in (precious, folder):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        result = CliRunner().invoke(cli, ["data", "export", data, "--to", "hub", "--out", str(out)])
        assert isinstance(result.exception, DataError)
        assert str(out) in str(result.exception)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_export_replaces_its_own_and_nothing_that_came_beside_it(folder: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    card_of(folder, hub)
    card_of(folder, hub)
    (hub / ".git").mkdir()
    (hub / ".git/HEAD").write_text("ref")
    arguments = ["data", "export", str(folder / "dataset.jsonl"), "--to", "hub", "--out", str(hub)]
    assert isinstance(CliRunner().invoke(cli, arguments).exception, DataError)
    assert (hub / ".git/HEAD").read_text() == "ref"


def test_another_kind_of_output_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    with making_folder_whole(tmp_path / "model", "trained model") as model:
        (model / "weights").write_text("numbers")
    out = tmp_path / "model"
    arguments = ["data", "export", str(folder / "dataset.jsonl"), "--to", "hub", "--out", str(out)]
    assert isinstance(CliRunner().invoke(cli, arguments).exception, DataError)
    assert (tmp_path / "model/weights").read_text() == "numbers"


def test_files_of_a_folder_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    with making_folder_whole(tmp_path / "model", "trained model") as model:
        (model / "weights").touch(mode=0o600)
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "model/weights").stat().st_mode == plain.stat().st_mode


def test_the_folder_of_a_run_is_its_data_set(folder: Path, tmp_path: Path) -> None:
    run("export", str(folder), "--to", "hub", "--out", str(tmp_path / "hub"))
    assert "code_alpaca_20k" in (tmp_path / "hub/README.md").read_text()
    assert len(read_instructions(tmp_path / "hub")) == len(read_instructions(folder)) == 2


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Add."},
    {"role": "assistant", "content": "a + b"},
    {"role": "user", "content": "Now floats."},
    {"role": "assistant", "content": "math.fsum"},
]


@pytest.mark.parametrize("form", ["alpaca", "chat", "parquet", "hub", "alpaca.gz", "chat.gz"])
def test_every_export_is_read_back_with_its_chats(form: str, tmp_path: Path) -> None:
    source, out = tmp_path / "chats.jsonl", tmp_path / f"out.{form}"
    form = form.removesuffix(".gz")
    rows = [{"id": "c", "messages": CHAT}, {"id": "d", "instruction": "Sort.", "output": "sorted(x)"}]
    rows.append({"id": "e", "messages": CHAT[:3]})
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("export", str(source), "--to", form, "--out", str(out))
    chat, plain, short = read_instructions(out)
    assert short.extra == {"messages": CHAT[:3]}
    assert chat.extra == {"messages": CHAT}
    assert (chat.instruction, chat.response) == ("Add.", "math.fsum")
    assert (plain.instruction, plain.response) == ("Sort.", "sorted(x)")
    assert json.loads(run("stats", str(out), "--json"))["rows"] == 3


def test_any_columns_are_named_by_an_option(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Aufgabe,Code\nAdd.,a + b\n")
    columns = ("--columns", "instruction=Aufgabe,response=Code")
    assert "1 rows of 1 seeds, 0 without a response" in run("stats", str(tmp_path / "a.csv"), *columns)
    (row,) = run("samples", str(tmp_path / "a.csv"), "--json", *columns).splitlines()
    assert (json.loads(row)["instruction"], json.loads(row)["response"]) == ("Add.", "a + b")
    wrong = CliRunner().invoke(cli, ["data", "stats", str(tmp_path / "a.csv"), "--columns", "task=Aufgabe"])
    assert wrong.exit_code == 2 and "NAME of instruction, input, response" in wrong.output


@pytest.mark.parametrize("form", ["alpaca", "chat", "parquet"])
def test_an_export_replaces_an_earlier_one_and_nothing_else(form: str, folder: Path, tmp_path: Path) -> None:
    data, out, thesis = folder / "dataset.jsonl", tmp_path / "out.json", tmp_path / "thesis.txt"
    thesis.write_text("Chapter one.\n")
    before = data.read_bytes()
    for _ in range(2):
        run("export", str(data), "--to", form, "--out", str(out))
    for place, said in ((data, "the data itself"), (thesis, "of another kind"), (folder, "found a folder")):
        with pytest.raises(DataError, match=f"{said}.*nothing was changed"):
            run("export", str(data), "--to", form, "--out", str(place))
    assert (data.read_bytes(), thesis.read_text()) == (before, "Chapter one.\n")
