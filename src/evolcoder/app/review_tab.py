"""Blind review: two answers to a task, models hidden; votes by keyboard; win rates and agreement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr

from evolcoder.app.review_html import question_html, results_html, task_html
from evolcoder.app.review_sources import FILES, study_of_files, study_of_rounds
from evolcoder.app.run_problems import benchmarks_of
from evolcoder.app.run_view import RunView
from evolcoder.app.study import Choice, Study, read_study, studies_in, write_study
from evolcoder.app.votes import (
    Position,
    Vote,
    append_vote,
    earlier_position,
    position_of,
    read_votes,
    results_of,
)
from evolcoder.app.widgets import error_html, html_view
from evolcoder.errors import EvolcoderError
from evolcoder.report.table import round_name

_TASKS = 20
"""Of a new review, unless told."""


@dataclass(frozen=True, slots=True)
class ReviewSession:
    """One reviewer before one study, in one browser tab."""

    study: Study
    folder: Path
    reviewer: str
    at: Position
    since: float
    """When the answers were shown, on the monotonic clock."""


def review_tab(view: RunView | None, files: Mapping[str, Path], folder: Path, page: gr.Blocks) -> None:
    """Build the tab inside the present block. Studies and votes are kept under `folder`."""
    sitting: Any = gr.State(None)
    kept = gr.Textbox(visible="hidden", show_label=False, elem_id="review-kept")
    with gr.Column(elem_id="review-begin") as begin:
        with gr.Row(elem_classes=["filters"]):
            reviewer = gr.Textbox(label="Your name", info="you go on where you were", elem_id="review-name")
            study = gr.Dropdown([], label="Review", info="kept ones first", elem_id="review-study")
        go = gr.Button("Begin, or go on", variant="primary", elem_id="review-go")
        with gr.Accordion("Set up a new review", open=False, elem_id="review-new"):
            with gr.Row(elem_classes=["filters"]):
                source = gr.Dropdown([], label="Answers from", elem_id="review-source")
                tasks = gr.Number(
                    _TASKS, label="Tasks", minimum=1, maximum=1000, precision=0, elem_id="review-tasks"
                )
            models = gr.CheckboxGroup(
                [], label="Models to compare: every pair of them", elem_id="review-models"
            )
            make = gr.Button(f"Set it up with at most {_TASKS} tasks", elem_id="review-make")
        said = html_view(elem_id="review-said")
    with gr.Column(visible=False, elem_id="review-desk") as desk:
        ask = html_view(elem_id="review-question")
        with gr.Row(elem_classes=["votes"]):
            vote_a = gr.Button("A is better (1)", elem_id="vote-a")
            vote_tie = gr.Button("Tie (2)", elem_id="vote-tie")
            vote_b = gr.Button("B is better (3)", elem_id="vote-b")
        task = html_view(elem_id="review-task")
        with gr.Row(elem_classes=["actions"]):
            undo = gr.Button("Back one vote (U)", size="sm", elem_id="vote-undo")
            leave = gr.Button("Leave; nothing is lost", size="sm", elem_id="review-leave")
    with gr.Accordion("Results (they name the models)", open=False, elem_id="review-results"):
        reveal = gr.Button("Show or renew the results", size="sm", elem_id="review-reveal")
        results = html_view(elem_id="results")

    def sources() -> list[str]:
        return [*(benchmarks_of(view.run()) if view else []), *([FILES] if len(files) > 1 else [])]

    def load() -> tuple[Any, Any]:
        names, known = sources(), list(studies_in(folder))
        return (
            gr.Dropdown(known, value=known[0] if known else None),
            gr.Dropdown(names, value=names[0] if names else None),
        )

    def of_source(name: str | None) -> Any:
        if name == FILES:
            return gr.CheckboxGroup(list(files), value=list(files)[:2])
        rounds = view.problems(name).rounds if view and name else []
        labels = [(round_name(n), str(n)) for n in rounds]
        return gr.CheckboxGroup(labels, value=[value for _, value in (*labels[:1], *labels[1:][-1:])])

    def set_up(name: str | None, chosen: list[str], n: float) -> tuple[Any, str]:
        try:
            if name == FILES:
                new = study_of_files(files, [label for label in files if label in chosen], int(n))
            elif view and name:
                new = study_of_rounds(view.problems(name), sorted(int(number) for number in chosen), int(n))
            else:
                return gr.skip(), error_html(ValueError("There are no answers to compare yet."))
            made = write_study(new, folder)
        except (EvolcoderError, OSError, ValueError) as error:
            return gr.skip(), error_html(error)
        ready = f'<p class="notice">Ready: {len(new.items)} pairs of answers. Give your name and begin.</p>'
        return gr.Dropdown(list(studies_in(folder)), value=made.name), ready

    def open_session(name: str | None, chosen: str | None) -> ReviewSession | str:
        """Return the reviewer before the study, or what is missing."""
        name = " ".join((name or "").split())[:80]
        known = studies_in(folder)
        where = known.get(chosen or next(iter(known), ""))
        if not name:
            return "Give your name first."
        if where is None:
            return "Set up a review first, then choose it."
        loaded = read_study(where)
        at = position_of(loaded, read_votes(where).votes, name)
        return ReviewSession(loaded, where, name, at, time.monotonic())

    def start(name: str | None, chosen: str | None) -> tuple[Any, ...]:
        try:
            session = open_session(name, chosen)
        except EvolcoderError as error:
            session = str(error)
        if isinstance(session, str):
            return (None, *_away(), error_html(ValueError(session)), gr.skip())
        return (*_shown_session(session), "", json.dumps([session.reviewer, session.folder.name]))

    def resume(stored: str | None) -> tuple[Any, ...]:
        """After a reload: sit down again where the browser remembers to have been."""
        try:
            name, chosen = map(str, json.loads(stored or "[]"))
        except ValueError:
            return (gr.skip(),) * 9
        if chosen not in studies_in(folder):
            return (gr.skip(),) * 9
        return (*start(name, chosen)[:-1], name, chosen)

    def cast(choice: Choice) -> Callable[[ReviewSession | None], tuple[Any, ...]]:
        def vote(session: ReviewSession | None) -> tuple[Any, ...]:
            if session is None or session.at.shown is None:
                return (gr.skip(),) * 6
            shown = session.at.shown
            append_vote(
                session.folder,
                Vote(
                    reviewer=session.reviewer,
                    item=shown.item.number,
                    criterion=session.at.criterion,
                    choice=choice,
                    model_a=shown.models[0],
                    model_b=shown.models[1],
                    task=shown.item.task,
                    seconds=round(time.monotonic() - session.since, 1),
                    time=datetime.now(UTC).isoformat(timespec="seconds"),
                ),
            )
            at = position_of(session.study, read_votes(session.folder).votes, session.reviewer)
            return _shown_session(_moved(session, at))

        return vote

    def go_back(session: ReviewSession | None) -> tuple[Any, ...]:
        before = earlier_position(session.study, session.at, session.reviewer) if session else None
        return _shown_session(_moved(session, before)) if session and before else (gr.skip(),) * 6

    def get_up() -> tuple[Any, ...]:
        return None, *_away(), ""

    def count(chosen: str | None) -> str:
        where = studies_in(folder).get(chosen or "")
        if where is None:
            return error_html(ValueError("No review is chosen."))
        try:
            loaded, votes = read_study(where), read_votes(where)
        except EvolcoderError as error:
            return error_html(error)
        return str(results_html(loaded, results_of(loaded, votes.votes), votes.unreadable, where))

    desk_view = [sitting, begin, desk, ask, task, results]
    page.load(load, None, [study, source], show_progress="hidden").then(
        None, None, kept, js=_REMEMBERED, show_progress="hidden"
    ).then(resume, kept, [*desk_view, said, reviewer, study], show_progress="hidden")
    source.change(of_source, source, models, show_progress="hidden")
    tasks.change(None, tasks, make, js=_NAMED_WITH_TASKS, show_progress="hidden")
    make.click(set_up, [source, models, tasks], [study, said])
    go.click(start, [reviewer, study], [*desk_view, said, kept]).then(None, kept, None, js=_REMEMBER)
    for button, choice in ((vote_a, "a"), (vote_tie, "tie"), (vote_b, "b")):
        button.click(cast(choice), sitting, desk_view, show_progress="hidden")  # type: ignore[arg-type]
    undo.click(go_back, sitting, desk_view, show_progress="hidden")
    leave.click(get_up, None, [*desk_view, kept], show_progress="hidden").then(None, kept, None, js=_REMEMBER)
    reveal.click(count, study, results)


# The button says what it will take: the page knows a number a moment after it was typed.
_NAMED_WITH_TASKS = "n => `Set it up with at most ${n} tasks`"
# Who sits at this browser before which study; the votes themselves are on the disk.
_REMEMBER = "value => { if (value !== null) localStorage.setItem('evolcoder-review', value); }"
_REMEMBERED = "() => localStorage.getItem('evolcoder-review') || ''"


def _away() -> tuple[Any, ...]:
    """Show where reviews begin."""
    return gr.Column(visible=True), gr.Column(visible=False), "", "", gr.skip()


def _shown_session(session: ReviewSession) -> tuple[Any, ...]:
    """Show the desk; results that stand open from before would give the models away."""
    return (
        session,
        gr.Column(visible=False),
        gr.Column(visible=True),
        str(question_html(session.at, session.reviewer)),
        str(task_html(session.at)),
        "",
    )


def _moved(session: ReviewSession, at: Position) -> ReviewSession:
    same_item = at.shown is not None and session.at.shown is not None and at.index == session.at.index
    since = session.since if same_item else time.monotonic()
    return ReviewSession(session.study, session.folder, session.reviewer, at, since)
