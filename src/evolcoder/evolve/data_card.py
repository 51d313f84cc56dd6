"""The data set's card: what is in it, how it was made, what was dropped and why, and under which terms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.evolve.data_stats import DataStats
from evolcoder.licences import Link, model_link, restrictions, resulting_licence, seed_link
from evolcoder.runs import write_json_whole

MADE_FROM = "made_from.json"
"""What `evolve` notes beside its rows: {seeds, decontaminated}."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says beside counts."""

    name: str
    seeds: Link
    """The seed set with its licence; evolved rows derive from it."""
    summaries: tuple[Path, ...] = ()
    """`summary.json` of each round."""
    eliminated_files: tuple[Path, ...] = ()
    decontaminated: tuple[str, ...] = ()
    """Benchmarks that the rows were checked against."""


def note_what_it_is_made_from(folder: Path, seeds: str, benchmarks: Sequence[str]) -> None:
    """Leave in a folder of evolved rows what their card must say and the rows do not."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_whole(folder / MADE_FROM, {"seeds": seeds, "decontaminated": list(benchmarks)})


def facts_beside(
    data: Path, name: str, seeds: str | None, licence: str | None, checked: Sequence[str]
) -> CardFacts:
    """Return what the folder of a data set knows of it; what is said by the caller counts more."""
    noted: dict[str, Any] = {}
    folder = data if data.is_dir() else data.parent
    if (folder / MADE_FROM).exists():
        noted = json.loads((folder / MADE_FROM).read_text(encoding="utf-8"))
    known = seed_link(seeds or noted.get("seeds") or "not said")
    rounds = sorted(folder.glob("round-*"), key=lambda path: (len(path.name), path.name))
    return CardFacts(
        name,
        Link("seeds", known.name, licence or known.licence),
        tuple(path for r in rounds if (path := r / "summary.json").exists()),
        tuple(path for r in rounds if (path := r / "eliminated.jsonl").exists()),
        tuple(checked) or tuple(noted.get("decontaminated", ())),
    )


def data_card(facts: CardFacts, stats: DataStats) -> str:
    """Return the card in the hub's form: YAML head, then Markdown."""
    rounds = [json.loads(path.read_text(encoding="utf-8")) for path in facts.summaries]
    teachers = [name for name in stats.teachers if name != "none"]
    chain = [facts.seeds, *(model_link("teacher", name) for name in teachers)]
    size = next((text for limit, text in _SIZES if stats.rows < limit), "n>1T")
    lines = [
        "---",
        f"license: {resulting_licence(chain)}",
        "task_categories: [text-generation]",
        "tags: [code, instruction-tuning, evol-instruct, synthetic]",
        f"size_categories: [{size}]",
        "configs:",
        "- config_name: default",
        "  data_files: data/train.parquet",
        "---",
        f"# {facts.name}",
        "",
        *(f"> **{sentence}**\n" for sentence in restrictions(chain)),
        f"{stats.rows} coding instructions with responses, of {stats.trees} seeds, made by",
        f"Code Evol-Instruct (WizardCoder, arXiv 2306.08568) with evolcoder {__version__}.",
        "",
        *_table("Round", "Rows", stats.rounds),
        *_table("Method", "Rows", stats.methods),
        *_table("Teacher", "Rows", stats.teachers),
        *_table("Verdict of the answer", "Rows", stats.verdicts),
        *_eliminated(rounds),
        "## Columns",
        "",
        "`instruction`, `input`, `response`; lineage: `id`, `seed_id`, `parent_id`, `round`, `method`,",
        "`teacher`; `requests`, `prompt_tokens`, `completion_tokens`, `cost_usd`;",
        "where answers were verified also `language`, `verdict`, `verdict_detail`, `repairs`, `tests`.",
        "",
        "## Terms",
        "",
        f"- Seeds: {facts.seeds.name}, licence {_licence(facts.seeds)}. Evolved rows derive from them.",
        *(
            f"- Teacher: {link.name}, licence {_licence(link)}. Its terms may bind what is trained on its "
            "answers too."
            for link in chain[1:]
        ),
        "- Contamination: "
        + (
            f"evolved rows were checked against {', '.join(facts.decontaminated)}; copies were dropped"
            f" ({sum(r['eliminated'].get('contaminated', 0) for r in rounds)} rows). A copy may still hide."
            if facts.decontaminated
            else "not checked. Run `evolcoder decontaminate` before you train and report scores."
        ),
        "",
    ]
    return "\n".join(lines)


def _licence(link: Link) -> str:
    why = link.note.rstrip(".")
    return link.licence or (f"not known ({why})" if why else "not known")


def _eliminated(rounds: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table of what each round asked for, kept, and dropped by reason."""
    if not rounds:
        return []
    reasons: Counter[str] = Counter()
    for summary in rounds:
        reasons.update(summary["eliminated"])
    lines = [("instructions evolved", [r["asked"] for r in rounds]), ("kept", [r["kept"] for r in rounds])]
    lines += [
        (f"eliminated: {reason}", [r["eliminated"].get(reason, 0) for r in rounds])
        for reason, _ in reasons.most_common()
    ]
    verdicts = dict.fromkeys(verdict for r in rounds for verdict in r.get("verdicts", {}))
    lines += [
        (f"answer verified: {verdict}", [r.get("verdicts", {}).get(verdict, 0) for r in rounds])
        for verdict in verdicts
    ]
    head = "| | " + " | ".join(f"Round {r['round']}" for r in rounds) + " |"
    rows = [f"| {what} | " + " | ".join(map(str, counts)) + " |" for what, counts in lines]
    return [head, "|---|" + "---|" * len(rounds), *rows, ""]


_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def _table(what: str, count: str, counts: dict[int, int] | dict[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {n} |" for name, n in counts.items()]
    return [f"| {what} | {count} |", "|---|---|", *rows, ""]
