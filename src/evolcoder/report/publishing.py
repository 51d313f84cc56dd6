"""What of a run goes to the Hugging Face hub: the best model and its data set, each with its card.

Shown before anything is pushed: what licences forbid, the repositories, every file with its size. Nothing of
the run's journal, recipe or samples is pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evolcoder.errors import DataError, EndpointError, MissingExtraError, UserError
from evolcoder.licences import Link, restrictions, resulting_licence
from evolcoder.output_files import is_changed
from evolcoder.records import SEEDS_ROUND, round_folder
from evolcoder.report.cards import licence_chain, write_cards
from evolcoder.report.run_folder import data_round, read_run
from evolcoder.report.table import round_name

_NOT_PUSHED = {"README.md", "training.json", "tensorboard"}
"""Of a checkpoint: its own card, which the run's replaces, and what only this project reads."""


@dataclass(frozen=True, slots=True)
class PushedFile:
    """A file as it lies here and as it is called there."""

    path: Path
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the hub and what goes into it."""

    kind: Literal["model", "dataset"]
    name: str
    """owner/name."""
    what: str
    files: tuple[PushedFile, ...]
    chain: tuple[Link, ...]
    """What it was made from."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def licence(self) -> str:
        """Hub identifier that the card states."""
        return resulting_licence(self.chain)

    @property
    def restrictions(self) -> list[str]:
        """The uses that a licence of the chain forbids or leaves open, a sentence each."""
        return restrictions(self.chain)


def what_to_publish(folder: Path, model: str | None, dataset: str | None) -> list[Repository]:
    """Write the cards of a run and return what would be pushed to the repositories named (None: not that).

    Raises DataError for an unfinished run, UserError for no owner/name, or where the base model stayed best.
    """
    for name in (model, dataset):
        if name is not None and (name.count("/") != 1 or not all(name.split("/"))):
            raise UserError(f"repository {name!r}: owner/name is expected")
    run = read_run(folder)
    cards = {path.parent.name: path for path in write_cards(folder, changed="keep")}
    chain = licence_chain(run)
    best = run.result.get("best_round")
    found = []
    if model is not None:
        if not best or "model" not in cards:
            raise UserError(f"{folder}: no round did better than the base model: no model to publish")
        checkpoint = folder / round_folder(int(best)) / "checkpoint"
        if not (checkpoint / "config.json").exists():
            raise DataError(f"{checkpoint}: no such checkpoint; the command that made the run makes it again")
        files = [_file(path, path.relative_to(checkpoint)) for path in sorted(checkpoint.rglob("*"))]
        files = [file for file in files if file.path.is_file() and file.name.split("/")[0] not in _NOT_PUSHED]
        card = _file(cards["model"], Path("README.md"))
        what = f"the checkpoint of {round_name(best)}, the best by the run's rule{_edited(cards['model'])}"
        found.append(Repository("model", model, what, (card, *files), chain))
    if dataset is not None:
        number = data_round(run)
        merged = folder / round_folder(number) / "dataset.jsonl"
        rows = folder / "seeds.jsonl" if number == SEEDS_ROUND else merged
        if not rows.exists():
            raise DataError(f"{rows}: no such file; the command that made the run makes it again")
        parts = (_file(cards["dataset"], Path("README.md")), _file(rows, Path("dataset.jsonl")))
        what = f"seeds and rounds up to {round_name(number)}{_edited(cards['dataset'])}"
        links = tuple(link for link in chain if link.role != "base model")
        found.append(Repository("dataset", dataset, what, parts, links))
    return found


def _edited(card: Path) -> str:
    """Say of a card that it is not as it would be written now."""
    return "; its card as it was edited" if is_changed(card) else ""


def push(
    repositories: Sequence[Repository],
    *,
    private: bool,
    endpoint: str | None = None,
    token: str | None = None,
) -> list[str]:
    """Push each repository in one commit, made if need be; return their addresses.

    The token is the one of `hf auth login` or HF_TOKEN where absent. Raises MissingExtraError without
    huggingface_hub, EndpointError where the hub refuses or cannot be reached.
    """
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
    except ImportError as error:
        raise MissingExtraError("publishing to the Hugging Face hub", "hub") from error
    hub = HfApi(endpoint=endpoint, token=token, library_name="evolcoder")
    addresses = []
    for repository in repositories:
        operations: list[Any] = [CommitOperationAdd(file.name, str(file.path)) for file in repository.files]
        try:
            made = hub.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
            told = f"{repository.what}, made with evolcoder"
            hub.create_commit(made.repo_id, operations, commit_message=told, repo_type=repository.kind)
        # The library raises its own errors, those of its HTTP client, and plain OSError and ValueError.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise EndpointError(
                f"{repository.kind} {repository.name}: the hub did not take it ({type(error).__name__}: "
                f"{reason}); what was pushed before stands, and the same command pushes the rest"
            ) from error
        addresses.append(str(made))
    return addresses


def publishing_text(repositories: Sequence[Repository]) -> str:
    """Return what would be pushed, for a person: what licences forbid first."""
    forbidden = dict.fromkeys(line for repository in repositories for line in repository.restrictions)
    lines = [f"! {line}" for line in forbidden] + ([""] if forbidden else [])
    for repository in repositories:
        lines += [
            f"{repository.kind} {repository.name}: {repository.what}",
            f"  licence in the card: {repository.licence}",
            *(f"    {x.role}: {x.name}, {x.licence or 'licence not known'}" for x in repository.chain),
            f"  {len(repository.files)} files, {_size(repository.bytes)}",
            *(f"    {_size(file.bytes):>9}  {file.name}" for file in repository.files),
            "",
        ]
    return "\n".join(lines).rstrip()


def _file(path: Path, name: Path) -> PushedFile:
    return PushedFile(path, name.as_posix(), path.stat().st_size)


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    for unit, limit in (("kB", 1e6), ("MB", 1e9)):
        if size < limit:
            return f"{size / (limit / 1e3):.1f} {unit}"
    return f"{size / 1e9:.1f} GB"
