import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.teacher_server import TeacherServer
from tests.code_base.conftest import ANSWER, evolcoder, rows_of

from evolcoder.cli import cli
from evolcoder.errors import BudgetExhaustedError, DataError, UserError


def seeds_from(shop: Path, teacher: TeacherServer, out: Path, *arguments: object) -> dict:
    model = f"openai:m@{teacher.url}"
    return evolcoder("seeds", "from-code", shop, "--teacher", model, "--out", out, *arguments)


def test_a_seed_is_asked_for_in_four_requests_and_says_where_it_comes_from(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    told = seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--held-out", 0, "--limit", 2)
    rows = rows_of(tmp_path / "seeds.jsonl")
    assert len(rows) == told["seeds"]["kept"] == 2
    assert len(teacher.asked) == told["seeds"]["requests"] == 8
    for row in rows:
        assert row["instruction"].startswith("Write doubled(x)") and row["response"] == ANSWER
        assert row["verdict"] in ("passed", "parses", "untested")
        assert (row["seed_id"], row["parent_id"], row["round"]) == (row["id"], None, 0)
        assert (row["method"], row["teacher"]) == ("from-code", "m")
        first, last = map(int, row["lines"].split("-"))
        code = (shop / row["file"]).read_text().splitlines()[first - 1 : last]
        assert any(code[0] in text and code[-1] in text for _, _, text in teacher.asked)
        assert (row["repository"], row["license"], row["commit"]) == ("shop", "MIT", "")


def test_what_may_not_be_learnt_from_is_left_out_by_rule_and_counted(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    told = seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--held-out", 0, "--per-file", 9)
    assert told["code"]["files_left_out"] == {
        "another language": 3,
        "vendored": 1,
        "tests": 1,
        "generated": 2,
        "minified": 2,
        "licence GPL-3.0-or-later": 2,
    }
    # The near copy of a file repeats it function by function.
    assert told["code"]["left_out"]["duplicate"] == told["code"]["snippets"] - 1
    assert {row["file"] for row in rows_of(tmp_path / "seeds.jsonl")} <= {"copy_of_prices.py", "lib.rs"}


def test_languages_and_licences_are_chosen_by_name(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    told = seeds_from(shop, teacher, tmp_path / "a.jsonl", "--languages", "rust")
    assert told["code"]["files"] == told["code"]["snippets"] == 1
    told = seeds_from(shop, teacher, tmp_path / "b.jsonl", "--licence", "GPL-3.0-or-later", "--limit", 1)
    assert told["code"]["files"] == 5
    with pytest.raises(UserError, match="did you mean 'python'"):
        seeds_from(shop, teacher, tmp_path / "c.jsonl", "--languages", "pyton")


def test_a_snippet_is_sent_with_what_it_calls(shop: Path, teacher: TeacherServer, tmp_path: Path) -> None:
    seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--held-out", 0, "--per-file", 9)
    basket = next(text for _, _, text in teacher.asked if "class Basket" in text)
    assert "def total_of(lines):" in basket and "def discount" not in basket


def test_a_dry_run_shows_every_text_and_its_price_and_sends_nothing(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    price = ("--price", 1, 2, "--limit", 3)
    dry = seeds_from(shop, teacher, tmp_path / "seeds.jsonl", *price, "--dry-run")
    assert teacher.asked == [] and list(tmp_path.iterdir()) == [shop]
    seeds_from(shop, teacher, tmp_path / "seeds.jsonl", *price)
    asked = {text for _, _, text in teacher.asked}
    assert {item["text"] for item in dry["sent"]} <= asked
    assert dry["estimate"]["requests"] == 12
    tokens = dry["estimate"]["prompt_tokens"], dry["estimate"]["completion_tokens"]
    assert dry["estimate"]["usd"] == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6, abs=1e-4)


def test_a_stopped_command_goes_on_and_pays_for_nothing_twice(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    out = tmp_path / "seeds.jsonl"
    with pytest.raises(BudgetExhaustedError):
        seeds_from(shop, teacher, out, "--max-requests", 5)
    assert not out.exists()
    seeds_from(shop, teacher, out)
    asked = [text for _, _, text in teacher.asked]
    assert len(asked) == len(set(asked)) > 5
    first = out.read_bytes()
    seeds_from(shop, teacher, out)
    assert out.read_bytes() == first and len(teacher.asked) == len(asked)


def test_a_repository_of_git_is_cloned_and_its_commit_is_in_every_row(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=n@example.com")
        done = subprocess.run(["git", *who, *words], cwd=shop, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (shop / ".gitignore").write_text("lib.rs\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    told = evolcoder(
        *("seeds", "from-code", f"file://{shop}", "--teacher", f"openai:m@{teacher.url}"),
        *("--out", tmp_path / "seeds.jsonl", "--limit", 2),
    )
    assert told["seeds"]["asked"] == 2
    rows = rows_of(tmp_path / "seeds.jsonl")
    assert {(row["repository"], row["commit"]) for row in rows} == {("shop", git("rev-parse", "HEAD"))}
    assert "lib.rs" not in {row["file"] for row in rows}
    with pytest.raises(UserError, match="cannot clone") as raised:
        address = "https://me:hunter2@127.0.0.1:9/a.git"
        evolcoder("seeds", "from-code", address, "--teacher", "openai:m", "--out", tmp_path / "b.jsonl")
    assert "hunter2" not in str(raised.value)


def test_evolved_rows_lead_back_to_the_file_and_the_data_card_names_source_and_licence(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--limit", 2)
    model = f"openai:m@{teacher.url}"
    evolcoder(
        "evolve", "--seeds", tmp_path / "seeds.jsonl", "--teacher", model, "--out", tmp_path / "evolved"
    )
    data = tmp_path / "evolved" / "dataset.jsonl"
    seed = rows_of(data)[0]
    tree = CliRunner().invoke(cli, ["data", "tree", str(data), seed["id"]], catch_exceptions=False).output
    assert f"shop/{seed['file']}:{seed['lines']} (MIT)" in tree
    export = ["data", "export", str(data), "--to", "hub", "--out", str(tmp_path / "hub")]
    assert CliRunner().invoke(cli, export, catch_exceptions=False).exit_code == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "| shop | 2 |" in card and "licence mit" in card.lower()


def test_the_summary_beside_the_seeds_is_what_the_command_told(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    told = seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--limit", 1)
    del told["out"]
    assert json.loads((tmp_path / "seeds.summary.json").read_text()) == told


def test_worked_examples_are_shown_to_a_teacher_that_needs_them(
    shop: Path, teacher: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    answer = teacher.answer

    def counting(body: dict[str, Any]) -> str:
        turns.append(len(body["messages"]))
        return answer(body)

    monkeypatch.setattr(teacher, "answer", counting)
    seeds_from(shop, teacher, tmp_path / "a.jsonl", "--limit", 1, "--verify", "off", "--shots", 2)
    assert turns == [1, 5, 1]


def test_a_teacher_that_repeats_the_request_writes_no_seed(
    shop: Path, teacher: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = teacher.answer

    def repeating(body: dict[str, Any]) -> str:
        said = answer(body)
        return "Write a new programming task about rounding." if said.startswith("Write doubled") else said

    monkeypatch.setattr(teacher, "answer", repeating)
    told = seeds_from(shop, teacher, tmp_path / "a.jsonl", "--limit", 2)["seeds"]
    assert (told["kept"], told["eliminated"], told["requests"]) == (0, {"leaked prompt": 2}, 4)


def test_a_file_of_the_users_own_is_never_written_over(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    out = tmp_path / "seeds.jsonl"
    out.write_text('{"instruction": "by hand"}\n')
    with pytest.raises(DataError, match="evolcoder did not write it"):
        seeds_from(shop, teacher, out, "--limit", 1)
    assert out.read_text() == '{"instruction": "by hand"}\n' and not teacher.asked


def test_nothing_is_read_where_git_cannot_say_what_it_ignores(
    shop: Path, teacher: TeacherServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))  # no git here
    with pytest.raises(UserError, match="does not say which files it ignores"):
        seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--dry-run")
    (shop / ".git").rmdir()
    assert seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--dry-run")["sent"]


def test_a_repositorys_own_filters_are_not_started(
    shop: Path, teacher: TeacherServer, tmp_path: Path
) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=n@example.com")
        subprocess.run(["git", *who, *words], cwd=shop, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (shop / ".gitattributes").write_text("*.py filter=own\n")
    git("config", "filter.own.clean", f"touch {tmp_path / 'started'}; cat")
    os.utime(shop / "prices.py", (1, 1))  # git looks into a file again whose time has changed
    told = seeds_from(shop, teacher, tmp_path / "seeds.jsonl", "--limit", 1, "--dry-run")
    assert not (tmp_path / "started").exists()
    assert told["sent"][0]["commit"].endswith("+changes")
