import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from teacher_server import question_in, teacher_server

from evolcoder.cli import cli
from evolcoder.errors import BudgetExhaustedError, JournalError, ModelError, UserError
from evolcoder.models.journal.journal import Journal

SORRY = "I'm sorry, but as an AI language model I cannot help with that."
LEAK = "#Rewritten Prompt#: given prompt "
SUBJECTS_TEXT = "invoices parcels galaxies recipes tickets melodies glaciers tariffs beehives archives"
SUBJECTS = SUBJECTS_TEXT.split()


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    with path.open("w") as file:
        for i, subject in enumerate(SUBJECTS):
            row = {"instruction": f"Write a program number {i} that sorts {subject} by their age."}
            if i % 2:
                row["input"] = f"first line about {subject}\nrows = [{i}, 7]"
            file.write(json.dumps(row) + "\n")
    return path


def evolve(seeds: Path, out: Path, *arguments: str) -> dict[str, Any]:
    command = ["evolve", "--seeds", str(seeds), "--out", str(out), "--json", *arguments]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


def planted_kind(kind: str, text: str) -> str:
    """A fault by subject: some fall on instructions, some on answers."""
    faults = {
        ("evolve", "invoices"): "sorry",
        ("answer", "parcels"): "sorry",
        ("evolve", "galaxies"): "leak",
        ("answer", "recipes"): "leak",
        ("evolve", "tickets"): "same",
        ("evolve", "melodies"): "same",  # the last line of a question with an input
        ("answer", "glaciers"): "same",
        ("evolve", "tariffs"): "empty",
        ("answer", "beehives"): "empty",
    }
    return next((fault for (k, subject), fault in faults.items() if k == kind and subject in text), "")


def plant(kind: str, text: str) -> str | None:
    fault = planted_kind(kind, text)
    same = question_in(text).splitlines()[-1] if kind == "evolve" else f"user:{text}"
    return {"sorry": SORRY, "leak": LEAK + text[:40], "same": same, "empty": ""}.get(fault)


def test_exactly_what_is_planted_is_eliminated_and_by_the_right_rule(seeds: Path, tmp_path: Path) -> None:
    with teacher_server(plant) as teacher:
        told = evolve(seeds, tmp_path / "out", "--teacher", f"openai:m@{teacher.url}")
        planted = Counter(planted_kind(kind, text) for _, kind, text in teacher.asked)
    assert told["rounds"][0]["eliminated"] == {
        "refused": planted["sorry"],
        "leaked prompt": planted["leak"],
        "unchanged": planted["same"],
        "empty": planted["empty"],
    }
    assert told["rounds"][0]["kept"] == 1


def test_teachers_are_named_one_by_one_or_with_commas_and_rows_say_who_made_them(
    seeds: Path, tmp_path: Path
) -> None:
    made = []
    with teacher_server() as one, teacher_server() as other:
        names = [f"3*openai:a@{one.url}", f"openai:b@{other.url}"]
        evolve(seeds, tmp_path / "x", "--teacher", names[0], "--teacher", names[1])
        evolve(seeds, tmp_path / "y", "--teacher", ",".join(names))
        assert {model for model, _, _ in one.asked} == {"a"}
        assert {model for model, _, _ in other.asked} == {"b"}
    for name in ("x", "y"):
        made.append((tmp_path / name / "round-1/evolved.jsonl").read_text())
    assert made[0] == made[1]
    teachers = {json.loads(line)["teacher"] for line in made[0].splitlines()}
    assert teachers <= {"a", "b", "a+b", "b+a"}
    assert len(teachers) > 1


def test_what_a_dry_run_asked_is_not_asked_again(seeds: Path, tmp_path: Path) -> None:
    with teacher_server() as teacher:
        arguments = ["--teacher", f"openai:m@{teacher.url}", "--price", "1", "2"]
        estimate = evolve(seeds, tmp_path / "out", *arguments, "--dry-run", "--rpm", "6000")
        told = evolve(seeds, tmp_path / "out", *arguments)
        asked = [text for _, _, text in teacher.asked]
    assert len(asked) == len(set(asked)) == 20
    assert estimate["requests"] == told["rounds"][0]["requests"] == 20
    assert estimate["usd"] == pytest.approx(told["rounds"][0]["usd"], abs=1e-4)


def test_a_limit_on_requests_stops_and_a_higher_one_goes_on(seeds: Path, tmp_path: Path) -> None:
    with teacher_server() as teacher:
        arguments = ["--teacher", f"openai:m@{teacher.url}"]
        with pytest.raises(BudgetExhaustedError, match="7 requests sent"):
            evolve(seeds, tmp_path / "out", *arguments, "--max-requests", "7")
        assert len(teacher.asked) == 7
        evolve(seeds, tmp_path / "out", *arguments, "--max-requests", "20")
        assert len(teacher.asked) == 20


def test_mistakes_in_endpoint_options_are_named(seeds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for wrong, said in (
        ("hedgeshare=1", "did you mean 'hedge_share'"),
        ("hedge_share=x", "hedge_share"),
        ("rpm", "KEY=VALUE is expected"),
    ):
        with pytest.raises(UserError, match=said):
            evolve(seeds, out, "--teacher", "openai:m@http://127.0.0.1:9/v1", "--endpoint", wrong)
    with pytest.raises(ModelError, match="NO_SUCH_KEY"):
        evolve(seeds, out, "--teacher", "openai:m@http://127.0.0.1:9/v1#NO_SUCH_KEY")


def test_seeds_with_one_id_are_all_evolved_from_columns_of_any_name(tmp_path: Path) -> None:
    tasks = [f"Write a program number {i} that sorts {subject}." for i, subject in enumerate(SUBJECTS[:4])]
    lines = ["id,Aufgabe", *(f"math,{task}" for task in tasks)]
    (tmp_path / "seeds.csv").write_text("\n".join(lines) + "\n")
    with teacher_server() as teacher:
        columns = ("--columns", "instruction=Aufgabe")
        told = evolve(
            tmp_path / "seeds.csv", tmp_path / "out", "--teacher", f"openai:m@{teacher.url}", *columns
        )
    (summary,) = told["rounds"]
    assert (summary["asked"], summary["kept"], summary["repeated_parents"]) == (4, 4, 0)


def files_of(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and "journal" not in file.name)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_folder_of_other_seeds_or_settings_or_of_somebody_else_is_left_as_it_is(
    seeds: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other.jsonl"
    other.write_text(json.dumps({"instruction": "Write a program that sorts nothing."}) + "\n")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "dataset.jsonl").write_text("a user's own\n")
    with teacher_server() as teacher:
        one, two = ("--teacher", f"openai:m@{teacher.url}"), ("--teacher", f"openai:n@{teacher.url}")
        evolve(seeds, out, *one)
        for source, arguments, said in (
            (other, one, r"made with seeds .*seeds\.jsonl as it was; now .*other"),
            (seeds, two, r'teacher "openai:m"; now teacher "openai:n"'),
            (seeds, (*one, "--temperature", "0.5"), r"temperature 1\.0; now"),
            (seeds, (*one, "--reasoning-effort", "low"), "reasoning_effort absent"),
        ):
            before, asked = files_of(out), len(teacher.asked)
            with pytest.raises(UserError, match=said):
                evolve(source, out, *arguments)
            assert (files_of(out), len(teacher.asked)) == (before, asked)
        for more in ((), ("--dry-run",)):
            with pytest.raises(UserError, match=r"holds 'dataset\.jsonl'"):
                evolve(seeds, precious, *one, *more)
        assert files_of(precious) == {"dataset.jsonl": b"a user's own\n"}


def test_told_to_overwrite_a_folder_takes_other_seeds_and_keeps_what_is_no_output(
    seeds: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other.jsonl"
    other.write_text(json.dumps({"instruction": "Write a program that sorts nothing."}) + "\n")
    with teacher_server() as teacher:
        one = ("--teacher", f"openai:m@{teacher.url}")
        evolve(seeds, out, *one, "--rounds", "2")
        (out / "thesis.txt").write_text("mine")
        asked = len(teacher.asked)
        assert evolve(other, out, *one, "--overwrite")["rounds"][0]["asked"] == 1
        assert len(teacher.asked) == asked + 2
        assert len((out / "dataset.jsonl").read_text().splitlines()) == 2
        assert not (out / "round-2").exists()
        assert (out / "thesis.txt").read_text() == "mine"
        evolve(other, out, *one)  # it is the folder of the others now
        evolve(seeds, out, *one, "--rounds", "2", "--overwrite")
        assert len(teacher.asked) == asked + 2


@pytest.mark.parametrize(("command", "max_usd"), [("generate", "0.01"), ("evaluate", "0.02")])
def test_a_limit_on_money_holds_for_every_command_that_asks_a_model(
    command: str, max_usd: str, seeds: Path, tmp_path: Path
) -> None:
    arguments = {
        "generate": ("--input", seeds, "--output", tmp_path / "out.jsonl", "--style", "chat"),
        "evaluate": ("-b", "humaneval", "--limit", "20", "--style", "chat", "--out", tmp_path / "out"),
    }[command]
    with teacher_server() as teacher:
        model = ("-m", f"openai:m@{teacher.url}", "--max-tokens", "50", "--concurrency", "2")
        said = [command, *model, *map(str, arguments), "--price", "10", "100", "--max-usd", max_usd]
        stopped = CliRunner().invoke(cli, said)
        assert isinstance(stopped.exception, BudgetExhaustedError)
        assert 0 < len(teacher.asked) < 10


def test_a_mistake_in_the_first_command_does_not_bind_the_folder(seeds: Path, tmp_path: Path) -> None:
    with teacher_server() as teacher:
        with pytest.raises(ModelError):
            evolve(seeds, tmp_path / "out", "--teacher", f"openai:mm@{teacher.url}#NO_SUCH_KEY")
        assert evolve(seeds, tmp_path / "out", "--teacher", f"openai:m@{teacher.url}")["rounds"][0]["kept"]


def test_fewer_rounds_leave_no_round_of_before_in_the_folder_or_the_card(seeds: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with teacher_server() as teacher:
        evolve(seeds, out, "--teacher", f"openai:m@{teacher.url}", "--rounds", "2")
        asked = len(teacher.asked)
        evolve(seeds, out, "--teacher", f"openai:m@{teacher.url}", "--rounds", "1", "--limit", "5")
        export = ["data", "export", str(out / "dataset.jsonl"), "--to", "hub", "--out", str(tmp_path / "hub")]
        assert CliRunner().invoke(cli, export, catch_exceptions=False).exit_code == 0
        assert "| | Round 1 |\n" in (tmp_path / "hub/README.md").read_text()
        assert not (out / "round-2").exists()
        evolve(seeds, out, "--teacher", f"openai:m@{teacher.url}", "--rounds", "2")
        assert len(teacher.asked) == asked


def test_what_a_folder_says_of_itself_stays_while_another_process_is_at_work_in_it(
    seeds: Path, tmp_path: Path
) -> None:
    with teacher_server() as teacher:
        arguments = ["--teacher", f"openai:m@{teacher.url}"]
        evolve(seeds, tmp_path / "out", *arguments)
        noted = (tmp_path / "out" / "made_from.json").read_bytes()
        journal = Journal(tmp_path / "out" / "journal.sqlite")  # as another process holds it
        with pytest.raises(JournalError, match="another evolcoder"):
            evolve(seeds, tmp_path / "out", *arguments, "--overwrite", "--temperature", "0.3")
        journal.close_now()
    assert (tmp_path / "out" / "made_from.json").read_bytes() == noted
