"""What an installed wheel must do outside a checkout; run by the Python that it is installed in.

python .ci/try_wheel.py        # works in an empty temporary folder, with a teacher on loopback
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cli"))

from teacher_server import teacher_server


def evolcoder(folder: Path, *arguments: str) -> str:
    """Run the installed command in `folder` and return what it printed; raises where it fails."""
    environment = {**os.environ, "EVOLCODER_CACHE": str(folder / "cache"), "OPENAI_API_KEY": "none"}
    command = [str(Path(sys.executable).parent / "evolcoder"), *arguments]
    print("$ evolcoder", *arguments, flush=True)
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


def main() -> None:
    """Plan, score and evolve."""
    with tempfile.TemporaryDirectory() as name, teacher_server(lambda kind, text: None) as teacher:
        folder = Path(name)
        assert "evaluate round 2" in evolcoder(folder, "run", "quickstart", "--plan")
        assert "starcoder-15b" in evolcoder(folder, "recipe", "list")
        rows = [
            {"task_id": "HumanEval/23", "completion": "    return len(string)\n"},
            {"task_id": "HumanEval/53", "completion": "    return x - y\n"},
        ]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        scored = json.loads(evolcoder(folder, "score", "samples.jsonl", "-b", "humaneval", "--json"))
        assert scored["passed"] == {"HumanEval/23": [True], "HumanEval/53": [False]}, scored["passed"]
        evolve = ["evolve", "--seeds", "shipped", "--limit", "8", "--out", "evolved", "--json"]
        evolcoder(folder, *evolve, "--teacher", "openai:teacher", "--base-url", teacher.url)
        kept = (folder / "evolved" / "round-1" / "evolved.jsonl").read_text().splitlines()
        assert len(kept) == 8, kept


if __name__ == "__main__":
    main()
