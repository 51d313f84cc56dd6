"""Blind review: two answers to a task, models hidden; votes by keyboard; win rates and agreement.

The answers are of the rounds of a run, or of files of answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evolcoder.app.known_runs import RunView
from evolcoder.app.run_problems import RunProblems, benchmarks_of, known_benchmark
from evolcoder.app.study import (
    CHOICES,
    CRITERIA,
    Contestant,
    Study,
    make_study,
    read_study,
    schedule,
    studies_in,
    write_study,
)
from evolcoder.app.votes import (
    VOTES_NAME,
    Agreement,
    PairedWins,
    Position,
    Results,
    Vote,
    agreement_in_words,
    append_vote,
    earlier_position,
    position_of,
    read_votes,
    results_of,
)
from evolcoder.app.widgets import AppOptions, Place, answer, code, notice, render, shown, table
from evolcoder.errors import DataError, UserError
from evolcoder.evaluate.sample_files import response_of
from evolcoder.evaluate.sample_rows import TEXT_FIELDS
from evolcoder.report.table import p_value, round_name
from evolcoder.row_forms import INSTRUCTION_FIELDS
from evolcoder.runs import content_hash, read_jsonl

FILES = "files"
"""Name of the source that is the files of answers, beside the run's benchmarks."""


def study_of_rounds(problems: RunProblems, rounds: Sequence[int], tasks: int) -> Study:
    """Return a study of the first samples in several rounds; raises UserError with nothing to compare."""
    prompts = {task: problems.prompt(task) or task for task in problems.task_ids()}
    contestants = []
    for number in rounds:
        answers = {}
        for task in prompts:
            samples, _ = problems.samples(task, number, 0, 1)
            if samples:
                answers[task] = samples[0].raw
        contestants.append(Contestant(round_name(number), answers))
    names = " vs ".join(round_name(number) for number in rounds)
    return make_study(f"{names} on {problems.benchmark}", prompts, contestants, tasks)


def study_of_files(files: Mapping[str, Path], names: Sequence[str], tasks: int) -> Study:
    """Return a study of the answers in each model's file; raises UserError for none to compare, DataError."""
    prompts: dict[str, str] = {}
    contestants = []
    for name in names:
        rows = read_answers(files[name])
        prompts |= {task: prompt for task, (prompt, _) in rows.items()}
        contestants.append(Contestant(name, {task: answer for task, (_, answer) in rows.items()}))
    return make_study(" vs ".join(names), prompts, contestants, tasks)


def named_files(pairs: Sequence[str]) -> dict[str, Path]:
    """Return the files of "NAME=FILE" pairs; raises UserError for one that is none or used twice."""
    files: dict[str, Path] = {}
    for pair in pairs:
        name, mark, path = pair.partition("=")
        if not mark or not name.strip() or not path:
            raise UserError(f"--answers {pair!r}: NAME=FILE is expected")
        if name.strip() in files:
            raise UserError(f"--answers: the name {name.strip()!r} is used twice")
        if not Path(path).is_file():
            raise UserError(f"--answers {pair!r}: no such file: {path}")
        files[name.strip()] = Path(path)
    return files


def read_answers(path: Path) -> dict[str, tuple[str, str]]:
    """Return (prompt, first answer) by task of a file of `generate` or of samples; raises DataError."""
    found: dict[str, tuple[str, str]] = {}
    prompts: dict[str, str] | None = None
    for number, row in read_jsonl(path):
        field = next((name for name in TEXT_FIELDS if isinstance(row.get(name), str)), None)
        if field is None:
            raise DataError(
                f"{path}: line {number}: no answer in it: one of {', '.join(TEXT_FIELDS)} is expected, "
                f"found {', '.join(map(str, row))[:200] or 'no fields'}"
            )
        asked = next((str(row[name]) for name in INSTRUCTION_FIELDS if isinstance(row.get(name), str)), "")
        if "task_id" in row:
            if prompts is None:
                prompts = _benchmark_prompts()
            task = str(row["task_id"])
            asked = prompts.get(task) or asked or task
        elif asked:
            task = f"instruction {content_hash(asked)[:8]}"
        else:
            why = "neither a task_id nor an instruction says what was asked"
            raise DataError(f"{path}: line {number}: {why}")
        found.setdefault(task, (asked, response_of(str(row[field]))))
    if not found:
        raise DataError(f"{path}: no answers")
    return found


def _benchmark_prompts() -> dict[str, str]:
    return {
        task: problem.prompt
        for name in ("mbpp-all", "mbpp+", "humaneval")
        if (benchmark := known_benchmark(name)) is not None
        for task, problem in benchmark.by_task.items()
    }


_TASKS, _MOST_TASKS = 20, 1000
"""Of a new review: unless told, and at most."""
_LONGEST_S = 86_400.0
"""Most seconds that a vote is said to have taken."""


def review_page(view: RunView | None, options: AppOptions, place: Place) -> Markup:
    """Return where reviews begin, one pair of answers, or the results. Raises DataError for a broken file."""
    known = studies_in(options.reviews)
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


def _sources(view: RunView | None, options: AppOptions) -> list[str]:
    return [*(benchmarks_of(view.run()) if view else []), *([FILES] if len(options.answers) > 1 else [])]


def _models(view: RunView | None, options: AppOptions, source: str) -> list[tuple[str, str, bool]]:
    """Return the models to compare: value, name, and whether it is proposed: the first and the last."""
    if source == FILES:
        pairs = [(name, name) for name in options.answers]
    else:
        assert view is not None
        pairs = [(str(n), round_name(n)) for n in view.problems(source).rounds]
    proposed = {value for value, _ in (*pairs[:1], *pairs[1:][-1:])}
    return [(value, name, value in proposed) for value, name in pairs]


def set_up(view: RunView | None, options: AppOptions, asked: Mapping[str, Any]) -> str:
    """Write the review asked for, return where it begins; raises UserError, ValueError for a bad number."""
    source, place = str(asked.get("source")), Place({"run": str(asked.get("run") or "")})
    if source not in _sources(view, options):
        raise UserError("There are no answers to compare yet.")
    chosen = asked.get(f"models-{source}") or []
    chosen = [chosen] if isinstance(chosen, str) else chosen
    tasks = min(max(int(asked["tasks"]), 1), _MOST_TASKS)
    if source == FILES:
        study = study_of_files(options.answers, [name for name in options.answers if name in chosen], tasks)
    else:
        assert view is not None
        study = study_of_rounds(view.problems(source), sorted(map(int, chosen)), tasks)
    made = write_study(study, options.reviews)
    return place.part("review", study=made.name, ready=1)


def cast(options: AppOptions, asked: Mapping[str, Any]) -> str:
    """Keep a vote and return where the reviewer goes on. Raises UserError for what is no vote on a study."""
    folder = studies_in(options.reviews).get(str(asked.get("study")))
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


_QUESTIONS = {
    "correctness": "Which answer does what the task asks?",
    "readability": "Which answer is easier to read and to maintain?",
}


def question_html(at: Position, reviewer: str) -> Markup:
    """Return how far the reviewer is and what is asked now; it stays in sight while the answers scroll."""
    share = 100 * at.done / at.total if at.total else 100
    if at.shown is None:
        return Markup(
            '<div class="asked"><h2>All {} tasks are judged. Thank you, {}.</h2>'
            '<p class="soft">Every vote is kept.</p></div>'
        ).format(at.total, shown(reviewer, 80))
    return Markup(
        '<div class="asked"><p class="soft small">{}: task {} of {}</p>'
        '<progress aria-label="tasks judged" max="100" value="{}"></progress>'
        '<h2 data-criterion="{}">{}</h2></div>'
    ).format(
        shown(reviewer, 80), at.index + 1, at.total, f"{share:.0f}", at.criterion, _QUESTIONS[at.criterion]
    )


def task_html(at: Position) -> Markup:
    """Return the task and the two answers; nothing in it tells which model wrote which."""
    if at.shown is None:
        return Markup("")
    first, second = at.shown.answers
    return Markup(
        '<details class="task" open><summary>The task</summary>{}</details>'
        '<div class="answers"><section><h3>Answer A</h3>{}</section>'
        "<section><h3>Answer B</h3>{}</section></div>"
    ).format(code(at.shown.item.prompt), answer(first), answer(second))


def results_html(study: Study, results: Results, unreadable: int, folder: Path) -> Markup:
    """Return win rates and agreement."""
    parts = [Markup("<h3>{}</h3>").format(shown(study.title, 200))]
    if unreadable:
        parts.append(notice(f"{unreadable} lines of {VOTES_NAME} could not be read and are left out."))
    if not results.comparisons:
        parts.append(Markup('<p class="soft">No votes yet.</p>'))
    else:
        voters = ", ".join(f"{name} ({n:,})" for name, n in results.reviewers.items())
        parts.append(Markup("<p>Votes by {}.</p>").format(shown(voters, 2000)))
        head = (
            *("criterion", "model", "against", "better", "tie", "worse", "tasks"),
            *("win rate, %", "95%", "sign test"),
        )
        parts.append(table(head, map(_comparison, results.comparisons)))
        told = (
            "Win rate: a win as 1, a tie as 1/2, first averaged over the reviewers of a task. The interval "
            "takes every task as one trial, which is on the careful side."
        )
        parts.append(Markup('<p class="soft small">{}</p>').format(told))
        parts.append(Markup("<h3>Agreement between reviewers</h3>") + _agreements(results.agreements))
    kept = shown(folder / VOTES_NAME)
    parts.append(Markup('<p class="soft small">Every vote is a line of {}.</p>').format(kept))
    return Markup('<div class="results">{}</div>').format(Markup("").join(parts))


def _comparison(found: PairedWins) -> tuple[object, ...]:
    rate = found.rate
    return (
        found.criterion,
        found.model,
        found.against,
        f"{rate.wins:,}",
        f"{rate.ties:,}",
        f"{rate.losses:,}",
        f"{rate.tasks:,}",
        f"{100 * rate.rate:.1f}",
        f"{100 * rate.low:.1f} – {100 * rate.high:.1f}",
        p_value(rate.p),
    )


def _agreements(agreements: tuple[Agreement, ...]) -> Markup:
    if not any(found.shared_items for found in agreements):
        return Markup('<p class="soft">No two reviewers have judged the same task yet.</p>')
    head = (
        *("criterion", "tasks in common", "same vote, %"),
        *("Krippendorff's alpha", "in words", "Fleiss' kappa"),
    )
    rows = [
        (
            found.criterion,
            f"{found.shared_items:,}",
            "–" if found.same is None else f"{100 * found.same:.1f}",
            _number(found.alpha),
            agreement_in_words(found.alpha),
            _number(found.fleiss),
        )
        for found in agreements
    ]
    pairs = [
        (found.criterion, one, other, f"{n:,}", _number(kappa))
        for found in agreements
        for one, other, n, kappa in found.pairs
    ]
    by_pair = table(("criterion", "reviewer", "and", "tasks in common", "Cohen's kappa"), pairs)
    return table(head, rows) + by_pair


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
