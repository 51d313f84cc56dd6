"""The cards that the Hugging Face hub shows: one for the best model of a run, one for its data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.errors import DataError
from evolcoder.report.licences import Link, licence_chain, restrictions, resulting_licence
from evolcoder.report.rows import numbered_rows
from evolcoder.report.run_folder import Round, Run, read_run, rounds_of_result
from evolcoder.report.scores import BenchmarkScores, benchmark_scores
from evolcoder.report.table import percent
from evolcoder.runs import write_text_whole

_HUB_DATASETS = {"humaneval": "openai_humaneval", "mbpp": "google-research-datasets/mbpp"}
"""The hub's data set behind a benchmark, for `model-index`."""
_TAGS = ["code", "evol-instruct", "evolcoder"]
_COLUMNS = {
    "instruction": "what is asked",
    "input": "further context, often empty",
    "response": "the answer",
    "seed_id, parent_id, round, method, teacher": "where the row comes from",
}


def write_cards(folder: Path) -> list[Path]:
    """Write `cards/dataset/README.md` and, where a round was trained and kept, `cards/model/README.md`.

    Returns their paths. Raises DataError where the folder is no finished run.
    """
    run = read_run(folder)
    if not run.result:
        raise DataError(f"{folder}: the run is not finished (result.json is expected in it)")
    written = [folder / "cards" / "dataset" / "README.md"]
    write_text_whole(written[0], dataset_card(run))
    if run.result.get("best_round"):
        written.append(folder / "cards" / "model" / "README.md")
        write_text_whole(written[1], model_card(run))
    return written


def model_card(run: Run) -> str:
    """Return the card of the best round's model: `model-index`, licence chain, scores, how it was made."""
    chain = licence_chain(run)
    rounds = rounds_of_result(run)
    benchmarks = benchmark_scores(run, rounds)
    best = int(run.result["best_round"])
    base = next(link for link in chain if link.role == "base model")
    header: dict[str, Any] = {
        "license": resulting_licence(chain),
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": _TAGS,
    }
    if base.name.count("/") == 1:
        header |= {"base_model": base.name, "base_model_relation": "finetune"}
    results = [_index_entry(view, best) for view in benchmarks if _point(view, best)]
    if results:
        header["model-index"] = [{"name": run.name, "results": results}]
    lines = [
        f"# {run.name}",
        "",
        *_restriction_lines(chain),
        f"`{base.name}`, fine-tuned on coding instructions that {best} round{'s' if best > 1 else ''} of "
        "Code Evol-Instruct (WizardCoder, arXiv 2306.08568) made from seeds. "
        f"Made with evolcoder {__version__}.",
        "",
        "## Scores",
        "",
        "| benchmark | base pass@1 | this model | 95% interval | problems |",
        "|---|---|---|---|---|",
        *(_score_row(view, best) for view in benchmarks if _point(view, best)),
        "",
        *(f"{sentence}\n" for sentence in _honest_sentences(run, benchmarks)),
        "## Data",
        "",
        *_data_lines(rounds[: best + 1]),
        "",
        *_chain_lines(chain),
        "",
        "## Limits",
        "",
        "The model writes code that may be wrong or unsafe: run it in a sandbox, and read it first. Its "
        "training data was written by another model and was not checked by people.",
    ]
    return _with_header(header, lines)


def dataset_card(run: Run) -> str:
    """Return the card of the merged data set of the best round (of the last one where the base was best)."""
    chain = [link for link in licence_chain(run) if link.role != "base model"]
    rounds = rounds_of_result(run)
    best = int(run.result.get("best_round") or rounds[-1].number)
    rows = _count_rows(run, rounds[: best + 1])
    header = {
        "license": resulting_licence(chain),
        "language": ["en"],
        "pretty_name": f"{run.name} instructions",
        "task_categories": ["text-generation"],
        "tags": [*_TAGS, "synthetic"],
        "size_categories": [_size_category(rows)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "dataset.jsonl"}]}],
    }
    teacher = next(link for link in chain if link.role == "teacher")
    lines = [
        f"# {run.name} instructions",
        "",
        *_restriction_lines(chain),
        f"{rows:,} coding instructions with answers: seeds, and what {best} round{'s' if best > 1 else ''} "
        f"of Code Evol-Instruct made of them. Teacher: `{teacher.name}`. Made with evolcoder {__version__}.",
        "",
        "| column | holds |",
        "|---|---|",
        *(f"| {name} | {holds} |" for name, holds in _COLUMNS.items()),
        "",
        "## How it was made",
        "",
        *_data_lines(rounds[: best + 1]),
        "",
        *_chain_lines(chain),
        "",
        "## Limits",
        "",
        "The evolved rows are a model's text: questions may be unclear and answers wrong. "
        + _contamination_sentence(run, rounds),
    ]
    return _with_header(header, lines)


def _with_header(header: Mapping[str, Any], lines: Sequence[str]) -> str:
    import yaml

    front = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def _point(view: BenchmarkScores, number: int) -> Any:
    return next((point for point in view.points if point.round == number), None)


def _index_entry(view: BenchmarkScores, best: int) -> dict[str, Any]:
    """One result of `model-index`, as the hub reads it; its name says where it is of a subset.

    The hub shows the entry without the card's text, so that a note below would not be seen.
    """
    name = view.folder.split("+")[0].split("-")[0]
    value = round(100 * _point(view, best).value, 2)
    part = f" ({view.n_problems} problems, a subset)" if view.subset else ""
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {"type": _HUB_DATASETS.get(name, name), "name": view.name + part},
        "metrics": [{"type": "pass@1", "name": "pass@1", "value": value, "verified": False}],
    }


def _score_row(view: BenchmarkScores, best: int) -> str:
    point, base = _point(view, best), view.base
    return (
        f"| {view.name} | {percent(base.value) if base else '–'} | {percent(point.value)} | "
        f"{percent(point.low)} to {percent(point.high)} | {view.n_problems} |"
    )


def _honest_sentences(run: Run, benchmarks: Sequence[BenchmarkScores]) -> list[str]:
    sentences = [f"{view.name}: {view.subset}" for view in benchmarks if view.subset]
    return sentences + ([str(run.result["notice"])] if run.result.get("notice") else [])


def _restriction_lines(chain: Sequence[Link]) -> list[str]:
    """What a reader must know before any use, as a quotation at the top; nothing where all is permissive."""
    found = restrictions(chain)
    return [*(f"> **{sentence}**\n>" for sentence in found), ""] if found else []


def _chain_lines(chain: Sequence[Link]) -> list[str]:
    rows = [
        f"| {link.role} | {link.name} | {link.licence or 'not known'} | {link.note if link.licence else ''} |"
        for link in chain
    ]
    return ["## Licences", "", "| made from | name | licence | |", "|---|---|---|---|", *rows]


def _data_lines(rounds: Sequence[Round]) -> list[str]:
    """What each round asked, kept and eliminated."""
    lines = ["| round | evolved | kept | eliminated |", "|---|---|---|---|"]
    for round_ in rounds:
        if round_.number > 0 and round_.summary:
            reasons = Counter(round_.summary.get("eliminated") or {}).most_common()
            told = ", ".join(f"{count:,} {reason}" for reason, count in reasons) or "none"
            asked, kept = round_.summary.get("asked", 0), round_.summary.get("kept", 0)
            lines.append(f"| {round_.number} | {asked:,} | {kept:,} | {told} |")
    return lines


def _count_rows(run: Run, rounds: Sequence[Round]) -> int:
    seeds = sum(1 for _ in numbered_rows(run.seeds)) if run.seeds else 0
    return seeds + sum(int(round_.summary.get("kept") or 0) for round_ in rounds)


def _size_category(rows: int) -> str:
    """The hub's bucket for a number of rows."""
    if rows < 1000:
        return "n<1K"
    for low, high, limit in (("1K", "10K", 1e4), ("10K", "100K", 1e5), ("100K", "1M", 1e6)):
        if rows < limit:
            return f"{low}<n<{high}"
    return "1M<n<10M"


def _contamination_sentence(run: Run, rounds: Sequence[Round]) -> str:
    summaries = [run.seeds_summary, *(round_.summary for round_ in rounds)]
    found = sum(int((summary.get("eliminated") or {}).get("contaminated") or 0) for summary in summaries)
    against = ", ".join(map(str, run.seeds_summary.get("screened_against") or []))
    if against:
        return f"Copies of problems of {against} were looked for: {found:,} rows were found and left out."
    if found:
        return f"{found:,} rows that copy benchmark problems were found and left out."
    return "Nothing in this run's folder says that it was checked for copies of benchmark problems."
