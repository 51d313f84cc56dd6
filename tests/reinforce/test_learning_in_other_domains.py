"""`evolcoder reinforce --domain` from tasks to a model: mathematics, and a user's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.reinforce.conftest import taught

from evolcoder.cli import cli
from evolcoder.domains import load_domain
from evolcoder.errors import SandboxError, UserError
from evolcoder.instructions import instruction_from_row
from evolcoder.progress import SilentProgress
from evolcoder.reinforce.run import check_factors

REGEX = str(Path(__file__).parents[1] / "domains" / "regex_domain.py")


@pytest.mark.parametrize(
    ("domain", "reply", "columns"),
    [
        ("math", "The answer is: N", {"answer": "3"}),
        (REGEX, "N", {"matches": ["3"], "rejects": ["1", "2", "4"]}),
    ],
    ids=["math", "own"],
)
def test_a_model_learns_from_its_domains_verdicts(
    domain: str,
    reply: str,
    columns: dict[str, Any],
    tmp_path: Path,
    benchmark_data: Path,
) -> None:
    if domain == "math":
        pytest.importorskip("math_verify", reason="pip install 'evolcoder[math]'")
    model = taught(tmp_path, reply)
    rows = [{"id": f"t{n}", "instruction": f"f gives {n}", **columns} for n in (1, 2, 3, 4)]
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["reinforce", "--domain", domain, "--model", model, "--tasks", str(tasks)]
    settings = ("tasks_per_step=4", "max_tokens=24", "eval_every=12", "learning_rate=0.003")
    sets = [part for setting in settings for part in ("--set", setting)]
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, [*command, *sets, "--steps", "12", "--group-size", "8", "--out", str(out)])
    if isinstance(done.exception, SandboxError):
        pytest.skip(f"needs a sandbox: {done.exception}")

    assert done.exit_code == 0, (done.output, done.exception)
    facts = json.loads((out / "training.json").read_text())["reinforce"]
    assert (out / "model.safetensors").exists()
    passed = [step["passed"] for step in facts["curve"]]
    assert 0 < passed[0] < 0.9  # some of it to learn, whatever the machine's arithmetic draws
    assert sum(passed[-2:]) > sum(passed[:2])


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_factor_that_no_task_has_is_told_before_anything_is_sampled(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"instruction": f"f gives {n}", "answer": "3"} for n in (1, 2)]
    rows[0]["process_reward"] = 0.5
    tasks = [load_domain("math").tasks.of_row(instruction_from_row(row)) for row in rows]
    found = [task for task in tasks if task is not None]
    notes = Notes()
    with pytest.raises(UserError, match=r"'proces_reward' \(did you mean 'process_reward'\?\)"):
        check_factors(found, ["proces_reward"], notes)
    check_factors(found, ["process_reward"], notes)
    assert notes.said == ["1 of 2 tasks have no process_reward: it counts as 1 there"]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["reinforce", "--domain", "math", "--model", "embedded", "--tasks", str(path)]
    sets = ["--set", "reward.factors=[nothing]", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*command, *sets])
    assert isinstance(done.exception, UserError) and "reward.factors" in str(done.exception)
