"""`evolcoder leaderboard`: many evaluations and the published figures in one table and one chart."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.pass_at_k import scores_of
from evolcoder.report.leaderboard import as_markdown, as_text, chosen_benchmark, for_chart, gather
from evolcoder.report.leaderboard_chart import write_chart
from evolcoder.runs import write_json_whole


def evaluation(folder: Path, model: str, benchmark: str, passed: int, of: int = 164, **named: str) -> Path:
    """Write what `evaluate` leaves of an evaluation; `named` are further settings."""
    settings = {"model": model, "style": "chat", "decoding": "greedy", "problems": f"{of} of {of}", **named}
    verdicts = {f"task/{number}": [number < passed] for number in range(of)}
    scores = scores_of(verdicts, (1,), benchmark, settings)
    fields = ("benchmark", "k", "value", "low", "high", "n_problems", "n_samples", "settings")
    write_json_whole(
        folder / "scores.json",
        {"scores": [{name: getattr(score, name) for name in fields} for score in scores]},
    )
    return folder


def test_measured_scores_stand_among_the_published_ones_of_their_benchmarks(tmp_path: Path) -> None:
    evaluation(tmp_path / "a/humaneval", "tuned", "humaneval", 98)
    evaluation(tmp_path / "a/java", "tuned", "multipl-e:java 2024-07", 79, of=158)
    entries = gather([tmp_path / "a"])
    measured = [entry for entry in entries if entry.measured]
    assert [(e.model, e.family, round(e.percent, 1)) for e in measured] == [
        ("tuned", "humaneval", 59.8),
        ("tuned", "multipl-e:java", 50.0),
    ]
    assert measured[0].low is not None
    assert (round(measured[0].low, 1), round(measured[0].high or 0, 1)) == (52.1, 67.0)
    for kind in ("greedy", "sampled", "not said"):
        percents = [entry.percent for entry in entries if (entry.family, entry.kind) == ("humaneval", kind)]
        assert len(percents) > 3 and percents == sorted(percents, reverse=True)
    assert {e.model for e in entries if e.family == "multipl-e:java"} >= {"WizardCoder-15B-V1.0"}
    assert not any(e.family == "mbpp" for e in entries)
    text = as_text(entries)
    assert "(WizardCoder-15B-V1.0)" in text
    assert "[R] README of WizardCoder" in text
    assert (
        "| **tuned** | humaneval | 1 | 59.8 | 52.1 – 67.0 | 164 | greedy | chat | measured |"
        in as_markdown(entries)
    )


@pytest.mark.parametrize(
    ("benchmark", "of", "cells"),
    [
        ("humaneval", 164, "humaneval | 1 | 50.0"),
        ("math500", 500, "math500 |  | 50.0"),
        ("mt-bench", 80, "mt-bench |  | 50.00"),
        ("sums", 10, "sums | 1 | 50.0"),
    ],
)
def test_each_benchmark_says_what_its_scores_are(tmp_path: Path, benchmark: str, of: int, cells: str) -> None:
    evaluation(tmp_path / "a", "tuned", benchmark, of // 2, of=of)
    assert f"| **tuned** | {cells} |" in as_markdown(gather([tmp_path], with_published=False))


def test_rounds_are_named_by_their_run_and_equal_models_by_what_differs(tmp_path: Path) -> None:
    evaluation(tmp_path / "run/round-0/evaluation/humaneval", "embedded", "humaneval", 1)
    evaluation(tmp_path / "run/round-10/evaluation/humaneval", "/x/run/round-10/model", "humaneval", 3)
    evaluation(tmp_path / "b/humaneval", "tuned", "humaneval", 5)
    evaluation(tmp_path / "c/humaneval", "tuned", "humaneval", 6, style="completion")
    evaluation(tmp_path / "d/humaneval", "/home/me/models/mine", "humaneval", 7)
    folders = [tmp_path / name for name in ("run", "b", "c", "d")]
    names = {entry.model for entry in gather(folders, with_published=False)}
    assert names == {"run base", "run round 10", "tuned, chat", "tuned, completion", "models/mine"}


def test_what_score_prints_as_json_is_taken_too(tmp_path: Path) -> None:
    evaluation(tmp_path, "", "humaneval", 98)
    file = (tmp_path / "scores.json").rename(tmp_path / "wizardcoder-15b.json")
    assert [(e.model, e.source) for e in gather([file], with_published=False)] == [
        ("wizardcoder-15b", str(file))
    ]


def test_a_subset_is_marked_everywhere(tmp_path: Path) -> None:
    folder = evaluation(
        tmp_path / "humaneval", "m", "humaneval", 4, of=40, problems="40 of 164, evenly spaced"
    )
    entries = gather([folder], with_published=False)
    text = as_text(entries)
    assert "10.0*" in text
    assert "40 of 164" in text
    assert "not comparable" in text


def test_a_subset_that_older_results_name_by_its_missing_problems_is_marked_too(tmp_path: Path) -> None:
    score = {"benchmark": "humaneval", "k": 1, "value": 1.0, "low": 0.3, "high": 1.0, "n_problems": 2}
    result = {"scores": [{**score, "n_samples": 2}], "missing": [f"HumanEval/{n}" for n in range(2, 164)]}
    for told in (result, {"scores": result["scores"]}):
        (tmp_path / "my model.json").write_text(json.dumps(told))
        [entry] = gather([tmp_path / "my model.json"], with_published=False)
        assert entry.subset == "2 of 164"
    assert "100.0*" in as_text([entry]) and "not comparable" in as_text([entry])


def test_greedy_scores_and_means_over_samples_stand_apart(tmp_path: Path) -> None:
    greedy = evaluation(tmp_path / "a", "mine, greedy", "humaneval", 98)
    sampled = evaluation(tmp_path / "b", "mine, sampled", "humaneval", 98, decoding="n=20 T=0.2 top_p=0.95")
    lines = as_text(gather([greedy, sampled])).splitlines()
    at = {heading: lines.index(f"humaneval, {heading}:") for heading in ("greedy", "mean over samples")}

    def line_of(name: str) -> int:
        return next(number for number, line in enumerate(lines) if line.startswith(name))

    assert at["greedy"] < line_of("mine, greedy") < at["mean over samples"] < line_of("mine, sampled")
    assert at["mean over samples"] < line_of("(PaLM 2-S)")
    markdown = as_markdown(gather([greedy, sampled]))
    assert "**humaneval, greedy**" in markdown and "**humaneval, mean over samples**" in markdown


def test_without_a_measurement_the_tables_of_the_family_are_shown() -> None:
    def shown(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["leaderboard", *arguments], catch_exceptions=False).output

    tables = shown()
    for row in (
        "(WizardCoder-33B-V1.1) 79.9 73.2 78.9 66.9 greedy [R]",
        "(WizardCoder-15B-V1.0) 57.3 51.8 n=20 [P]",
        "(WizardMath-70B-V1.0) 81.6 22.7 greedy [M]",
        "(WizardLM-70B-V1.0) 7.78 92.91 77.6 50.6 not said [L]",
    ):
        assert row in [" ".join(line.split()) for line in tables.splitlines()]
    assert "(WizardCoder-15B-V1.0)" in shown("-b", "multipl-e:java")
    assert {row["benchmark"] for row in json.loads(shown("-b", "humaneval+", "--json"))} == {"humaneval+"}
    assert "no score measured" in shown("-b", "ds1000")
    with pytest.raises(UserError, match="did you mean 'humaneval'"):
        shown("-b", "humanevil")
    with pytest.raises(UserError, match="nothing to show: --no-published leaves what was measured"):
        shown("--no-published")


def texts_of(svg: Path) -> list[str | None]:
    return [part.text for part in ElementTree.fromstring(svg.read_text()).iter() if part.tag.endswith("text")]


def test_figure_1_has_both_benchmarks_side_by_side_and_greedy_answers_only(tmp_path: Path) -> None:
    board = tmp_path / "board"
    evaluation(board / "humaneval", "mine", "humaneval", 90)
    evaluation(board / "plus", "mine", "humaneval+ v0.1.10", 80)
    evaluation(board / "sampled", "drawn", "humaneval", 98, decoding="n=20 T=0.2 top_p=0.95")
    arguments = ["leaderboard", "--table", "figure-1", "--chart"]
    for width in ("860", "360"):
        file = tmp_path / f"{width}.svg"
        drawn = [*arguments, str(file), "--width", width, str(board)]
        CliRunner().invoke(cli, drawn, catch_exceptions=False)
        texts = texts_of(file)
        names = [
            text for text in texts if text in ("GPT4", "WizardCoder-15B-V1.0", "mine", "Falcon", "drawn")
        ]
        assert names == ["GPT4", "WizardCoder-15B-V1.0", "mine", "Falcon"]
        for value in ("85.4", "78.0", "59.8", "52.4", "54.9", "48.8", "18.9", "15.9"):
            assert value in texts
        assert "prefers-color-scheme:dark" in file.read_text()
    plain = tmp_path / "plain.svg"
    CliRunner().invoke(cli, [*arguments, str(plain)], catch_exceptions=False)
    assert len([text for text in texts_of(plain) if text and re.fullmatch(r"\d+\.\d", text)]) == 22


def test_the_chart_shows_each_published_model_once_with_the_decoding_that_fits(tmp_path: Path) -> None:
    sampled = evaluation(tmp_path / "x", "m", "humaneval", 98, decoding="n=20 T=0.2 top_p=0.95 seed=0")
    shown = for_chart(gather([sampled]), "humaneval")
    fifteen = [entry for entry in shown if entry.model == "WizardCoder-15B-V1.0"]
    assert [entry.percent for entry in fifteen] == [57.3]
    write_chart(tmp_path / "x.svg", shown, "humaneval")
    assert "GPT4 †" in texts_of(tmp_path / "x.svg") and "PaLM 2-S" in texts_of(tmp_path / "x.svg")
    greedy = evaluation(tmp_path / "y", "m", "humaneval", 98)
    shown = for_chart(gather([greedy]), "humaneval")
    assert [e.percent for e in shown if e.model == "WizardCoder-15B-V1.0"] == [59.8]


def test_the_command_writes_every_form(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "scores/humaneval", "<b>&mine", "humaneval", 98)
    files = {name: tmp_path / f"board.{name}" for name in ("svg", "png", "csv", "md")}
    arguments = [
        "leaderboard",
        str(folder.parent),
        "--chart",
        str(files["svg"]),
        "--chart",
        str(files["png"]),
    ]
    arguments += ["--csv", str(files["csv"]), "--markdown", str(files["md"]), "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    rows = json.loads(result.output)
    with files["csv"].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["model"] for row in table] == [row["model"] for row in rows]
    assert next(row for row in table if row["measured"] == "True")["percent"].startswith("59.75")
    svg = ElementTree.fromstring(files["svg"].read_text())
    texts = [element.text for element in svg.iter() if element.tag.endswith("text")]
    assert "<b>&mine" in texts
    assert "59.8" in texts
    from PIL import Image

    with Image.open(files["png"]) as image:
        assert image.format == "PNG"
        assert image.width == 1720
        assert len(image.getcolors(1 << 20) or ()) > 3
    assert "WizardCoder-15B-V1.0" in files["md"].read_text()


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        gather([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"no scores\.json"):
        gather([tmp_path])
    (tmp_path / "scores.json").write_text('{"scores": [{"benchmark": 3}]}')
    with pytest.raises(DataError, match=r"scores\.json: not the scores"):
        gather([tmp_path])
    evaluation(tmp_path, "m", "humaneval", 3)
    assert chosen_benchmark(gather([tmp_path], benchmarks=["mbpp"]), "mbpp") == "mbpp"
    with pytest.raises(UserError, match=r"'mbpp' has no score here"):
        chosen_benchmark(gather([tmp_path]), "mbpp")
