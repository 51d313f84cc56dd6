"""The cards that the hub shows, of a run's best model and of its data set, and the licences behind them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import named_set
from evolcoder.instructions import SHIPPED_SEEDS
from evolcoder.licences import Link, hub_licence, model_link, resulting_licence, seed_link
from evolcoder.model_cards import (
    CardScore,
    CardWords,
    ModelCard,
    chain_lines,
    model_card_text,
    restriction_lines,
    size_category,
    with_header,
)
from evolcoder.output_files import begins_with, is_changed, output_file
from evolcoder.records import REINFORCED_ROUND
from evolcoder.report.charts import ScorePoint
from evolcoder.report.rows import numbered_rows
from evolcoder.report.run_folder import Round, Run, data_round, fine_tuned_round, read_run, rounds_of_result
from evolcoder.report.scores import BenchmarkScores, benchmark_scores
from evolcoder.runs import write_text_whole

_COLUMNS = {
    "instruction": "what is asked",
    "input": "further context, often empty",
    "response": "the answer",
    "seed_id, parent_id, round, method, teacher": "where the row comes from",
}


def write_cards(folder: Path, *, changed: Literal["replace", "refuse", "keep"] = "refuse") -> list[Path]:
    """Write the cards of a run's data set and, where a round was kept, of its model; return their paths.

    `changed`: what comes of a card edited since. Raises DataError where the folder is no finished run.
    """
    run = read_run(folder)
    if not run.result:
        raise DataError(f"{folder}: the run is not finished (result.json is expected in it)")
    cards = {"dataset": dataset_card} | ({"model": model_card} if run.result.get("best_round") else {})
    paths = {name: folder / "cards" / name / "README.md" for name in cards}
    for name, path in paths.items():
        if changed == "keep" and is_changed(path):
            continue
        with output_file(path, begins_with(b"---"), overwrite=changed == "replace"):
            write_text_whole(path, cards[name](run))
    return list(paths.values())


def model_card(run: Run) -> str:
    """Return the card of the best round's model: `model-index`, licence chain, scores, how it was made."""
    chain = licence_chain(run)
    rounds = rounds_of_result(run)
    benchmarks = benchmark_scores(run, rounds)
    best, trained = int(run.result["best_round"]), fine_tuned_round(run)
    base = next(link for link in chain if link.role == "base model")
    words = CardWords.noted(run.result.get("card"))
    made = f"fine-tuned on {words.rows} that {_rounds(trained)} of {words.method} made from seeds"
    steps = [made] if trained else []
    learning = run.recipe.get("reinforce")
    if best == REINFORCED_ROUND or (learning and learning.get("when", "each_round") == "each_round"):
        steps.append("trained on whether its own programs pass tests")
    summary = f"`{base.name}`, {', then '.join(steps)}. Made with evolcoder {__version__}."
    subsets = [f"{view.name}: {view.subset}" for view in benchmarks if view.subset]
    return model_card_text(
        ModelCard(
            name=run.name,
            summary=summary,
            chain=chain,
            words=words,
            training=_training_facts(rounds, best),
            data=tuple(_data_lines(rounds, trained)),
            scores=tuple(
                _card_score(view, point)
                for view in benchmarks
                for point in view.points
                if point.round == best
            ),
            notes=(*subsets, *([run.notice] if run.notice else [])),
        )
    )


def licence_chain(run: Run) -> tuple[Link, ...]:
    """Return what the run's data and models were made from, seeds first, then teacher and base model."""
    return (*_seed_links(run), _model_link("teacher", run), _model_link("base model", run))


def _seed_links(run: Run) -> list[Link]:
    """One link for each licence that the seeds' rows name."""
    seeds = run.recipe.get("seeds")
    source = str(seeds.get("source", SHIPPED_SEEDS)) if isinstance(seeds, Mapping) else SHIPPED_SEEDS
    known = seed_link(source)
    rows = numbered_rows(run.seeds) if run.seeds else ()
    counts = Counter(hub_licence(str(row.get("license") or "")) for _, row in rows)
    return [
        Link("seeds", known.name, licence or known.licence, f"{count:,} rows")
        for licence, count in counts.most_common()
    ] or [known]


def _model_link(role: str, run: Run) -> Link:
    section = run.recipe.get("teacher" if role == "teacher" else "base")
    named = section if isinstance(section, Mapping) else {}
    return model_link(role, str(named.get("model", "embedded")))


def _rounds(best: int) -> str:
    return f"{max(0, best) or 'no'} round{'' if best == 1 else 's'}"


def dataset_card(run: Run) -> str:
    """Return the card of the merged data set of the best round (of the last one where the base was best)."""
    chain = [link for link in licence_chain(run) if link.role != "base model"]
    rounds = rounds_of_result(run)
    best = data_round(run)
    rows = sum(1 for _ in numbered_rows(run.seeds)) if run.seeds else 0
    rows += sum(int(round_.summary.get("kept") or 0) for round_ in rounds if round_.number <= best)
    words = CardWords.noted(run.result.get("card"))
    header = {
        "license": resulting_licence(chain),
        "language": ["en"],
        "pretty_name": f"{run.name} instructions",
        "task_categories": ["text-generation"],
        "tags": words.all_tags("synthetic"),
        "size_categories": [size_category(rows)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "dataset.jsonl"}]}],
    }
    teacher = next(link for link in chain if link.role == "teacher")
    lines = [
        f"# {run.name} instructions",
        "",
        *restriction_lines(chain),
        f"{rows:,} {words.rows} with answers: seeds, and what {_rounds(best)} of {words.method} made "
        f"of them. Teacher: `{teacher.name}`. Made with evolcoder {__version__}.",
        "",
        "| column | holds |",
        "|---|---|",
        *(f"| {name} | {holds} |" for name, holds in _COLUMNS.items()),
        "",
        "## How it was made",
        "",
        *_data_lines(rounds, best),
        "",
        *chain_lines(chain),
        "",
        "## Limits",
        "",
        "The evolved rows are a model's text: questions may be unclear and answers wrong. "
        + _contamination_sentence(run, rounds),
    ]
    return with_header(header, lines)


def _card_score(view: BenchmarkScores, point: ScorePoint) -> CardScore:
    name = view.name.split(" ")[0]
    return CardScore(
        benchmark=view.name,
        dataset=named_set(name).hub_dataset or name,
        value=point.value,
        low=point.low,
        high=point.high,
        n_problems=view.n_problems,
        measure=view.measure,
        subset=bool(view.subset),
        base=view.base.value if view.base else None,
    )


def _training_facts(rounds: Sequence[Round], best: int) -> dict[str, Any]:
    """Return the best round's `training.json`; nothing where it is gone."""
    folder = next((round_.folder for round_ in rounds if round_.number == best), None)
    try:
        facts = json.loads((folder / "checkpoint" / "training.json").read_text("utf-8")) if folder else {}
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _data_lines(rounds: Sequence[Round], last: int) -> list[str]:
    """What each round up to `last` asked, kept and eliminated."""
    lines = ["| round | evolved | kept | eliminated |", "|---|---|---|---|"]
    for round_ in rounds:
        if 0 < round_.number <= last and round_.summary:
            reasons = Counter(round_.summary.get("eliminated") or {}).most_common()
            told = ", ".join(f"{count:,} {reason}" for reason, count in reasons) or "none"
            asked, kept = round_.summary.get("asked", 0), round_.summary.get("kept", 0)
            lines.append(f"| {round_.number} | {asked:,} | {kept:,} | {told} |")
    return lines


def _contamination_sentence(run: Run, rounds: Sequence[Round]) -> str:
    summaries = [run.seeds_summary, *(round_.summary for round_ in rounds)]
    found = sum(int((summary.get("eliminated") or {}).get("contaminated") or 0) for summary in summaries)
    against = ", ".join(map(str, run.seeds_summary.get("screened_against") or []))
    if against:
        return f"Copies of problems of {against} were looked for: {found:,} rows were found and left out."
    if found:
        return f"{found:,} rows that copy benchmark problems were found and left out."
    return "Nothing in this run's folder says that it was checked for copies of benchmark problems."
