"""Evolve seeds with distilabel at its defaults, in its venv, for bench/evolve.py.

Usage: distilabel_peer.py SEEDS.jsonl BASE_URL FOLDER ROUNDS TEMPLATES.json
Its EvolInstruct task with the given templates ("<PROMPT>" where the instruction goes), all evolutions kept
and answered; batch size, concurrency and client are what distilabel chooses. Prints a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    seeds, base_url, folder, rounds, templates = sys.argv[1:6]
    pipeline_class: Any = importlib.import_module("distilabel.pipeline").Pipeline
    llms: Any = importlib.import_module("distilabel.models")
    steps: Any = importlib.import_module("distilabel.steps")
    tasks: Any = importlib.import_module("distilabel.steps.tasks")
    rows = []
    for line in Path(seeds).read_text().splitlines():
        row = json.loads(line)
        question = f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]
        rows.append({"instruction": question})
    with pipeline_class(name="evolve", cache_dir=folder) as pipeline:
        load = steps.LoadDataFromDicts(data=rows)
        evolve = tasks.EvolInstruct(
            llm=llms.OpenAILLM(model="fake", base_url=base_url, api_key="none"),
            num_evolutions=int(rounds),
            store_evolutions=True,
            generate_answers=True,
            mutation_templates=json.loads(Path(templates).read_text()),
        )
        load >> evolve
    made = pipeline.run(use_cache=False)["default"]["train"]
    answers = [answer for row in made["answers"] for answer in (row or [])]
    print(json.dumps({"rounds": [], "rows": len(answers), "empty": sum(not answer for answer in answers)}))


if __name__ == "__main__":
    main()
