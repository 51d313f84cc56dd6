"""A judge beside the people of a blind review, by `evolcoder agreement`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from evolcoder.app.study import CRITERIA, Choice, Contestant, make_study, write_study
from evolcoder.app.votes import Vote, append_vote
from evolcoder.cli import cli
from evolcoder.errors import DataError, UserError

MODELS = Path(__file__).parents[1] / "evaluate" / "scripted_models.py"


def test_the_judge_is_set_beside_the_people_vote_by_vote(tmp_path: Path) -> None:
    prompts = {f"T/{n}": f"do {n}" for n in range(8)}
    good = Contestant("base", {task: f"good answer to {task}" for task in prompts})
    bad = Contestant("tuned", {task: f"poor answer to {task}" for task in prompts})
    study = make_study("base vs tuned", prompts, [good, bad], 8)
    folder = write_study(study, tmp_path)
    command = ["agreement", str(folder), "--judge", f"{MODELS}:prefers-good", "--out", str(tmp_path / "out")]
    nobody = CliRunner().invoke(cli, command)
    assert isinstance(nobody.exception, DataError) and "nobody has voted" in str(nobody.exception)

    def vote(reviewer: str, item: int, choice: Choice, swapped: bool) -> None:
        models = ("tuned", "base") if swapped else ("base", "tuned")
        for criterion in CRITERIA:
            append_vote(folder, Vote(reviewer, item, criterion, choice, *models, study.items[item].task))

    # Ada prefers the good answer in all 8, on whichever side; Ben in 4, is undecided in 2, errs in 2.
    for item in range(8):
        vote("Ada", item, "b" if item % 2 else "a", swapped=bool(item % 2))
    for item, choice in enumerate(("a", "a", "a", "a", "tie", "tie", "b", "b")):
        vote("Ben", item, choice, swapped=False)

    planned = CliRunner().invoke(cli, [*command, "--dry-run"])
    assert "8 pairs of answers, 16 requests" in planned.stdout
    done = CliRunner().invoke(cli, [*command, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [agreement["criterion"] for agreement in found] == list(CRITERIA)
    for agreement in found:
        assert (agreement["votes"], agreement["same"]) == (16, 12 / 16)
        assert (agreement["votes_without_ties"], agreement["same_without_ties"]) == (14, 12 / 14)
        assert agreement["people_same"] == 4 / 8
    kept = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert kept["agreement"] == found
    other = [*command[:3], f"{MODELS}:prefers-first", *command[4:]]
    refused = CliRunner().invoke(cli, other)
    assert isinstance(refused.exception, UserError) and "--overwrite" in str(refused.exception)
    assert json.loads((tmp_path / "out" / "agreement.json").read_text()) == kept
    assert CliRunner().invoke(cli, [*other, "--overwrite"]).exit_code == 0
