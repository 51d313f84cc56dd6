"""The data set in the formats that others read: alpaca JSON, chat messages, a folder ready for the hub.

Its card says what is in it, how it was made, what was dropped and why, and under which terms.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.evolve.data_stats import DataStats, stats_of_rows
from evolcoder.evolve.evolve_one import question_of
from evolcoder.evolve.output_folder import note_in
from evolcoder.evolve.row_files import RowFile
from evolcoder.instructions import write_instructions
from evolcoder.licences import Link, hub_licence, model_link, restrictions, resulting_licence, seed_link
from evolcoder.model_cards import ANY_FIELD, CardWords, size_category
from evolcoder.records import Instruction
from evolcoder.runs import making_folder_whole, open_writer, write_jsonl_whole, writing_whole

HUB_EXPORT = "hub export"
"""The kind of output, in the mark of its folder."""


def write_alpaca(path: Path, rows: Iterable[Instruction]) -> int:
    """Write a JSON list of {instruction, input, output} (gzip for a .gz name), whole; return the count."""
    count = 0
    with writing_whole(path) as partial, open_writer(path.name)(partial) as f:
        f.write(b"[")
        for row in rows:
            f.write(b",\n" if count else b"\n")
            f.write(json.dumps(_alpaca_row(row), ensure_ascii=False).encode("utf-8", "replace"))
            count += 1
        f.write(b"\n]\n")
    return count


def _alpaca_row(row: Instruction) -> dict[str, Any]:
    """Return {instruction, input, output}; a chat of several turns has the earlier ones in `history`."""
    chat = row.extra.get("messages") or []
    system = chat[0]["content"] if chat and chat[0]["role"] == "system" else ""
    texts = [message["content"] for message in chat[bool(system) :]]
    if not system and len(texts) <= 2:
        return {"instruction": row.instruction, "input": row.input, "output": row.response}
    pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    item: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    return {**item, "system": system, "history": pairs[:-1]}


def write_chat(path: Path, rows: Iterable[Instruction]) -> int:
    """Write JSONL of {id, messages}, as trainers of chat models read it; return the count."""
    return write_jsonl_whole(path, map(chat_row, rows))


def chat_row(row: Instruction) -> dict[str, Any]:
    """Return one row as a conversation, with its id; of two turns where it is no chat itself."""
    return {
        "id": row.id,
        "messages": row.extra.get("messages")
        or [{"role": "user", "content": question_of(row)}, {"role": "assistant", "content": row.response}],
    }


def write_hub_folder(path: Path, rows: Iterable[Instruction], facts: CardFacts) -> int:
    """Write a folder that `push_to_hub` or `hf upload` takes, whole or not at all; return the row count."""
    with making_folder_whole(path, HUB_EXPORT) as folder:
        train = folder / "data" / "train.parquet"
        count = write_instructions(train, rows)
        stats = stats_of_rows(RowFile(train))
        if facts.eliminated_files:
            with (folder / "eliminated.jsonl").open("wb") as out:
                for file in facts.eliminated_files:
                    with file.open("rb") as f:
                        shutil.copyfileobj(f, out)
        (folder / "README.md").write_text(data_card(facts, stats), encoding="utf-8")
    return count


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says beside counts."""

    name: str
    seeds: Link
    """The seed set with its licence; evolved rows derive from it."""
    words: CardWords = ANY_FIELD
    summaries: tuple[Path, ...] = ()
    """`summary.json` of each round."""
    eliminated_files: tuple[Path, ...] = ()
    decontaminated: tuple[str, ...] = ()
    """Benchmarks that the rows were checked against."""


def facts_beside(
    data: Path, name: str, seeds: str | None, licence: str | None, checked: Sequence[str]
) -> CardFacts:
    """Return what the folder of a data set knows of it; what is said by the caller counts more."""
    folder = data if data.is_dir() else data.parent
    noted = note_in(folder)
    known = seed_link(seeds or noted.get("seeds") or "not said")
    rounds = sorted(folder.glob("round-*"), key=lambda path: (len(path.name), path.name))
    return CardFacts(
        name,
        Link("seeds", known.name, licence or known.licence),
        CardWords.noted(noted.get("card")),
        tuple(path for r in rounds if (path := r / "summary.json").exists()),
        tuple(path for r in rounds if (path := r / "eliminated.jsonl").exists()),
        tuple(checked) or tuple(noted.get("decontaminated", ())),
    )


_BINDS = {
    "seeds": "Evolved rows derive from them.",
    "teacher": "Its terms may bind what is trained on its answers too.",
}


def data_card(facts: CardFacts, stats: DataStats) -> str:
    """Return the card in the hub's form: YAML head, then Markdown."""
    rounds = [json.loads(path.read_text(encoding="utf-8")) for path in facts.summaries]
    teachers = [name for name in stats.teachers if name != "none"]
    chain = [*_seed_links(facts.seeds, stats), *(model_link("teacher", name) for name in teachers)]
    lines = [
        "---",
        f"license: {resulting_licence(chain)}",
        "task_categories: [text-generation]",
        f"tags: [{', '.join(facts.words.all_tags('instruction-tuning', 'synthetic'))}]",
        f"size_categories: [{size_category(stats.rows)}]",
        "configs:",
        "- config_name: default",
        "  data_files: data/train.parquet",
        "---",
        f"# {facts.name}",
        "",
        *(f"> **{sentence}**\n" for sentence in restrictions(chain)),
        f"{stats.rows} {facts.words.rows} with responses, of {stats.trees} seeds, made by",
        f"{facts.words.method} with evolcoder {__version__}.",
        "",
        *_table("Round", "Rows", stats.rounds),
        *_table("Method", "Rows", stats.methods),
        *_table("Teacher", "Rows", stats.teachers),
        *_table("Verdict of the answer", "Rows", stats.verdicts),
        *_table("Code that seeds were made of", "Seeds", stats.sources),
        *_table("Licence of that code", "Seeds", stats.licences),
        *_eliminated(rounds),
        "## Columns",
        "",
        "`instruction`, `input`, `response`; lineage: `id`, `seed_id`, `parent_id`, `round`, `method`,",
        "`teacher`; `requests`, `prompt_tokens`, `completion_tokens`, `cost_usd`;",
        "where answers were verified also `verdict` and what else was found, where rows were scored each",
        "score under its name.",
        "",
        "## Terms",
        "",
        *(
            f"- {link.role.title()}: {link.name}, licence {_licence(link)}. {_BINDS[link.role]}"
            for link in chain
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


def _seed_links(seeds: Link, stats: DataStats) -> list[Link]:
    """Return a link for each licence that seeds name, else the seed set's own."""
    links = [Link("seeds", seeds.name, hub_licence(name)) for name in stats.licences]
    return links or [seeds]


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


def _table(what: str, count: str, counts: dict[int, int] | dict[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {n} |" for name, n in counts.items()]
    return [f"| {what} | {count} |", "|---|---|", *rows, ""]
