"""A user's own domain with a benchmark of its own, by the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evolcoder.cli import cli
from evolcoder.errors import SandboxError

HERE = Path(__file__).parent
DOMAIN, BENCHMARK = str(HERE / "regex_domain.py"), str(HERE / "regex_benchmark.py")
MODEL = """
from evolcoder.models.protocol import Completion, LanguageModel


class Model(LanguageModel):
    name = "patterns"

    def __init__(self, name):
        pass

    async def complete(self, request):
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        if text.startswith("Make this pattern task harder."):
            return Completion(text.rpartition("\\n")[2] + " Only at a line's end.", "stop", 1, 1)
        return Completion("```\\n(word\\n```" if "word" in text else "```\\n[0-9]+\\n```", "stop", 1, 1)

    async def close(self):
        pass


def load():
    return Model
"""


def said(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, arguments)
    if isinstance(done.exception, SandboxError):
        pytest.skip(f"needs a sandbox: {done.exception}")
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_it_evolves_is_measured_and_planned(tmp_path: Path, benchmark_data: Path) -> None:
    model, seeds, out = tmp_path / "model.py", tmp_path / "seeds.jsonl", tmp_path / "evolved"
    model.write_text(MODEL)
    texts = ("Match digits.", "Match a word.")
    seeds.write_text("".join(json.dumps({"instruction": t, "response": "x"}) + "\n" for t in texts))
    evolve = ("evolve", "--domain", DOMAIN, "--seeds", str(seeds), "--teacher", str(model), "--rounds", "1")
    said(*evolve, "--verify", "compiles", "--out", str(out))
    said("evaluate", "-m", str(model), "-b", BENCHMARK, "--style", "chat", "--out", str(tmp_path / "scores"))
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"{{name: own, domain: {DOMAIN}, evaluate: {{benchmarks: [{BENCHMARK}]}}}}")
    plan = said("run", str(recipe), "--plan", "--dir", str(tmp_path / "run")).output

    (kept,) = map(json.loads, (out / "round-1" / "evolved.jsonl").read_text().splitlines())
    assert (kept["instruction"], kept["verdict"]) == ("Match digits. Only at a line's end.", "compiles")
    (dropped,) = map(json.loads, (out / "round-1" / "eliminated.jsonl").read_text().splitlines())
    assert "unterminated subpattern" in dropped["detail"]
    (scores,) = (tmp_path / "scores").glob("*/scores.json")
    assert json.loads(scores.read_text())["scores"][0]["value"] == 0.5
    said("data", "export", str(out / "dataset.jsonl"), "--to", "hub", "--out", str(tmp_path / "hub"))
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "tags: [evol-instruct, evolcoder, instruction-tuning, synthetic]" in card
    assert "Evol-Instruct (methods: regex) with evolcoder" in card and "coding" not in card
    assert f"on {BENCHMARK}" in plan or "regex_benchmark.py" in plan
