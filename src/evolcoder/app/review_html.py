"""The pages of a blind review as HTML: the pair of answers, and the results."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from evolcoder.app.agreement import agreement_in_words
from evolcoder.app.shown_text import answer, code, notice, shown, table
from evolcoder.app.study import Study
from evolcoder.app.votes import VOTES_NAME, Agreement, PairedWins, Position, Results
from evolcoder.report.table import p_value

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
        parts.append(
            Markup(
                '<p class="soft small">Win rate: a win as 1, a tie as 1/2, first averaged over the reviewers '
                "of a task. The interval takes every task as one trial, which is on the careful side.</p>"
            )
        )
        parts.append(Markup("<h3>Agreement between reviewers</h3>") + _agreements(results.agreements))
    parts.append(
        Markup('<p class="soft small">Every vote is a line of {}.</p>').format(shown(folder / VOTES_NAME))
    )
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
        "criterion",
        "tasks in common",
        "same vote, %",
        "Krippendorff's alpha",
        "in words",
        "Fleiss' kappa",
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
