"""Blind review: two answers to a task, models hidden; votes by keyboard; win rates and agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder.app.review_html import question_html, results_html, task_html
from evolcoder.app.review_sources import FILES, study_of_files, study_of_rounds
from evolcoder.app.run_problems import benchmarks_of
from evolcoder.app.run_view import RunView
from evolcoder.app.study import CHOICES, CRITERIA, Study, read_study, schedule, studies_in, write_study
from evolcoder.app.votes import (
    Position,
    Vote,
    append_vote,
    earlier_position,
    position_of,
    read_votes,
    results_of,
)
from evolcoder.app.widgets import Place, render
from evolcoder.errors import UserError
from evolcoder.report.table import round_name

_TASKS, _MOST_TASKS = 20, 1000
"""Of a new review: unless told, and at most."""
_LONGEST_S = 86_400.0
"""Most seconds that a vote is said to have taken."""


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What can be reviewed, and where studies and votes are kept."""

    files: Mapping[str, Path]
    """Files of answers, by the model's name."""
    folder: Path


def review_page(view: RunView | None, options: ReviewOptions, place: Place) -> Markup:
    """Return where reviews begin, one pair of answers, or the results. Raises DataError for a broken file."""
    known = studies_in(options.folder)
    chosen = place["study"] if place["study"] in known else next(iter(known), "")
    reviewer = _reviewer(place["name"])
    if chosen and place["results"]:
        study, votes = read_study(known[chosen]), read_votes(known[chosen])
        results = results_html(study, results_of(study, votes.votes), votes.unreadable, known[chosen])
        return render("results.html.j2", results=results, back=place.href(results=None))
    if chosen and reviewer and place["study"]:
        return _vote_page(read_study(known[chosen]), known[chosen], reviewer, place)
    return render(
        "review.html.j2",
        place=place,
        studies=list(known),
        study=chosen,
        ready=len(read_study(known[chosen]).items) if chosen and place["ready"] else 0,
        results=place.href(study=chosen, results=1) if chosen else "",
        sources=[(name, _models(view, options, name)) for name in _sources(view, options)],
        tasks=_TASKS,
        most_tasks=_MOST_TASKS,
    )


def _reviewer(name: str) -> str:
    return " ".join(name.split())[:80]


def _vote_page(study: Study, folder: Path, reviewer: str, place: Place) -> Markup:
    at = _position(study, folder, reviewer, place)
    before = earlier_position(study, at, reviewer)
    return render(
        "vote.html.j2",
        question=question_html(at, reviewer),
        task=task_html(at),
        at=at,
        values={"study": folder.name, "name": reviewer, "run": place["run"]},
        undo=place.href(item=before.index, criterion=before.criterion) if before else "",
        leave=place.part("review", study=folder.name),
        results=place.part("review", study=folder.name, results=1),
    )


def _position(study: Study, folder: Path, reviewer: str, place: Place) -> Position:
    """Return where the reviewer goes on, or the earlier vote that the address names."""
    at = position_of(study, read_votes(folder).votes, reviewer)
    order, index = schedule(study, reviewer), place.number("item")
    criterion = next((known for known in CRITERIA if known == place["criterion"]), None)
    if index is None or index >= len(order) or criterion is None:
        return at
    return Position(index, order[index], criterion, at.done, at.total)


def _sources(view: RunView | None, options: ReviewOptions) -> list[str]:
    return [*(benchmarks_of(view.run()) if view else []), *([FILES] if len(options.files) > 1 else [])]


def _models(view: RunView | None, options: ReviewOptions, source: str) -> list[tuple[str, str, bool]]:
    """Return the models to compare: value, name, and whether it is proposed: the first and the last."""
    if source == FILES:
        pairs = [(name, name) for name in options.files]
    else:
        assert view is not None
        pairs = [(str(n), round_name(n)) for n in view.problems(source).rounds]
    proposed = {value for value, _ in (*pairs[:1], *pairs[1:][-1:])}
    return [(value, name, value in proposed) for value, name in pairs]


def set_up(view: RunView | None, options: ReviewOptions, asked: Mapping[str, Any]) -> str:
    """Write the review that the page asks for and return where it begins.

    Raises UserError where there is nothing to compare, ValueError for a number that is none.
    """
    source, place = str(asked.get("source")), Place({"run": str(asked.get("run") or "")})
    if source not in _sources(view, options):
        raise UserError("There are no answers to compare yet.")
    chosen = asked.get(f"models-{source}") or []
    chosen = [chosen] if isinstance(chosen, str) else chosen
    tasks = min(max(int(asked["tasks"]), 1), _MOST_TASKS)
    if source == FILES:
        study = study_of_files(options.files, [name for name in options.files if name in chosen], tasks)
    else:
        assert view is not None
        study = study_of_rounds(view.problems(source), sorted(map(int, chosen)), tasks)
    made = write_study(study, options.folder)
    return place.part("review", study=made.name, ready=1)


def cast(options: ReviewOptions, asked: Mapping[str, Any]) -> str:
    """Keep a vote and return where the reviewer goes on. Raises UserError for what is no vote on a study."""
    folder = studies_in(options.folder).get(str(asked.get("study")))
    reviewer = _reviewer(str(asked.get("name")))
    criterion = next((known for known in CRITERIA if known == asked.get("criterion")), None)
    choice = next((known for known in CHOICES if known == asked.get("choice")), None)
    if folder is None or not reviewer or criterion is None or choice is None:
        raise UserError("this is no vote on a review that is here")
    order, item = schedule(read_study(folder), reviewer), str(asked.get("item"))
    seen = next((shown for shown in order if str(shown.item.number) == item), None)
    if seen is None:
        raise UserError("the review has no such task")
    vote = Vote(
        reviewer=reviewer,
        item=seen.item.number,
        criterion=criterion,
        choice=choice,
        model_a=seen.models[0],
        model_b=seen.models[1],
        task=seen.item.task,
        seconds=round(min(max(float(asked.get("seconds") or 0), 0.0), _LONGEST_S), 1),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    append_vote(folder, vote)
    return Place({"run": str(asked.get("run") or "")}).part("review", study=folder.name, name=reviewer)
