"""`evolcoder leaderboard`: many evaluations and the published figures in one table and one chart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from evolcoder.cli import cli
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.pass_at_k import scores_of
from evolcoder.report.leaderboard import as_markdown, as_text, chosen_benchmark, for_chart, gather
from evolcoder.runs import write_json_whole


def evaluation(folder: Path, model: str, benchmark: str, passed: int, of: int = 164, **named: str) -> Path:
    """Write what `evaluate` leaves of an evaluation; `named` are further settings."""
    settings = {
        "model": model,
        "style": "chat",
        "decoding": "greedy",
        "problems": f"{of} of {of}",
        **named,
    }
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
    percents = [entry.percent for entry in entries if entry.family == "humaneval"]
    assert percents == sorted(percents, reverse=True)
    assert {e.model for e in entries if e.family == "multipl-e:java"} >= {"WizardCoder-15B-V1.0"}
    assert not any(e.family == "mbpp" for e in entries)
    text = as_text(entries)
    assert "(WizardCoder-15B-V1.0)" in text
    assert "[R] README of WizardCoder" in text
    assert (
        "| **tuned** | humaneval | 1 | 59.8 | 52.1 – 67.0 | 164 | greedy | chat | measured |"
        in as_markdown(entries)
    )


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


def test_the_chart_shows_each_published_model_once_with_the_decoding_that_fits(tmp_path: Path) -> None:
    sampled = evaluation(tmp_path / "x", "m", "humaneval", 98, decoding="n=20 T=0.2 top_p=0.95 seed=0")
    shown = for_chart(gather([sampled]), "humaneval")
    fifteen = [entry for entry in shown if entry.model == "WizardCoder-15B-V1.0"]
    assert [entry.percent for entry in fifteen] == [57.3]
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
    with pytest.raises(UserError, match=r"'mbpp' has no score here"):
        chosen_benchmark(gather([tmp_path]), "mbpp")
