"""The folder that `evolve` writes into: a new one, or one of the same seeds and settings, which goes on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolcoder.errors import DataError
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.model_cards import CardWords
from evolcoder.models.journal.database import lock_for_writing
from evolcoder.models.journal.totals import read_totals
from evolcoder.models.session import ModelChoice
from evolcoder.own_files import is_own, load_own_file
from evolcoder.records import Instruction, round_folder
from evolcoder.runs import check_parents, content_hash, write_json_whole

MADE_FROM = "made_from.json"
"""What `evolve` notes beside its rows, and what shows that a folder is its own."""
_JOURNAL = "journal.sqlite"
_BEFORE_THE_NOTE = re.compile(r"\.?journal\.sqlite.*|dry-run|\.made_from\.json\..*")
"""What a dry run leaves, or a kill before the note stands."""
_ROUND_FILES = ("summary.json", "eliminated.jsonl", "evolved.parquet", "evolved.jsonl")


def check_folder(folder: Path) -> None:
    """Raise DataError where a folder holds what `evolve` did not write, or cannot be made."""
    check_parents(folder / MADE_FROM)
    if folder.is_dir() and not (folder / MADE_FROM).is_file():
        for file in sorted(folder.iterdir()):
            if not _BEFORE_THE_NOTE.fullmatch(file.name):
                raise DataError(
                    f"{folder}: holds {file.name!r}, and no {MADE_FROM} that shows it as a folder of "
                    "`evolcoder evolve`; an empty or new folder is expected, nothing was changed"
                )


def take_folder(
    folder: Path,
    seeds: str,
    rows: Iterable[Instruction],
    teacher: ModelChoice,
    settings: EvolveSettings,
    benchmarks: Sequence[str],
    domain: str,
    card: CardWords,
    *,
    overwrite: bool = False,
) -> None:
    """Note in a folder what its rows are made from; its card says so, and only the same may go on in it.

    `seeds` names `rows`, `card` is what a card says of them. How many rounds and how many of the seeds may
    change, and all while there is no reply. Raises DataError where the folder holds what `evolve` did not
    write and, without `overwrite`, what it made from other seeds or with other settings; JournalError where
    another process is at work in it.
    """
    check_folder(folder)
    texts = ""
    for row in rows:  # one by one: a pool of any size takes no memory
        texts = content_hash(texts, row.id, row.instruction, row.input, row.response)
    made_with = {
        "teacher": re.sub(r"@http[^,]*|#[^,]*", "", teacher.model),
        **teacher.endpoint.further_fields,
        **asdict(settings),
        "methods": _with_content(settings.methods),
        "domain": _with_content(domain),
        "decontaminate": list(benchmarks),
    }
    del made_with["rows_in_flight"]
    noted = json.loads(json.dumps({"seeds": seeds, "seeds_hash": texts, "made_with": made_with}))
    differences = _differences(note_in(folder), noted)
    if differences and not overwrite and _has_replies(folder):
        raise DataError(
            f"{folder}: was made with {', '.join(f'{name} {there}' for name, there, _ in differences)}; now "
            f"{', '.join(f'{name} {here}' for name, _, here in differences)}; another folder or "
            "--overwrite is expected, nothing was changed"
        )
    folder.mkdir(parents=True, exist_ok=True)
    noted |= {"decontaminated": list(benchmarks), "card": asdict(card)}
    lock = lock_for_writing(folder / _JOURNAL)  # who is at work there makes his rows from what he noted
    try:
        write_json_whole(folder / MADE_FROM, noted)
    finally:
        os.close(lock)


def remove_later_rounds(out: Path, rounds: int) -> None:
    """Remove what an earlier command wrote of rounds after the last; the journal still has their replies."""
    number = rounds + 1
    while (folder := out / round_folder(number)).is_dir():
        for name in _ROUND_FILES:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else lies there
            folder.rmdir()
        number += 1


def _with_content(name: str) -> str:
    """Return a name; of a user's own file with its content's hash."""
    return f"{name} ({load_own_file(Path(name))[1].hash})" if is_own(name) else name


def _has_replies(folder: Path) -> bool:
    journal = folder / _JOURNAL
    return journal.exists() and read_totals(journal).replies > 0


def note_in(folder: Path) -> dict[str, Any]:
    """Return what `evolve` noted in a folder; {} where it noted nothing."""
    try:
        noted = json.loads((folder / MADE_FROM).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{folder / MADE_FROM}: not JSON ({error})") from error
    return noted if isinstance(noted, dict) else {}


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, there, here) of what differs; nothing where the folder does not say."""
    found = []
    if before.get("seeds_hash", now["seeds_hash"]) != now["seeds_hash"]:
        found.append(("seeds", f"{before.get('seeds')} as it was", str(now["seeds"])))
    there, here = before.get("made_with") or now["made_with"], now["made_with"]
    for name in sorted({*there, *here}):
        if there.get(name) != here.get(name):
            found.append((name, _shown(there.get(name)), _shown(here.get(name))))
    return found


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)[:120]
