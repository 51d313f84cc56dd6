"""Learning from execution: its curves, and the answers of each step with what they earned."""

from __future__ import annotations

from markupsafe import Markup

from evolcoder.app.known_runs import RunView
from evolcoder.app.widgets import Place, answer, empty, render, tag
from evolcoder.report.reinforce_section import Learning, answers_of, figures, learnings, sampled_steps
from evolcoder.report.templating import template


def reinforce_page(view: RunView, place: Place) -> Markup:
    """Return the part of the page on reinforcement. Raises DataError for a broken file."""
    found = learnings(view.run())
    if not found:
        return empty(
            "No model of this run learnt from execution: its recipe has no section `reinforce`, or the stage "
            "has not begun."
        )
    learning = next((one for one in found if one.label == place["model"]), found[-1])
    steps = sampled_steps(learning)
    chosen = place.number("step")
    step = chosen if chosen in steps else next(reversed(steps), 0)
    curves = template("reinforce.html.j2").render(learning=learning, figures=figures(learning))
    return render(
        "reinforce.html.j2",
        place=place,
        models=[one.label for one in found],
        model=learning.label,
        curves=Markup(curves),
        steps=[(str(number), f"step {number}") for number in steps],
        step=str(step),
        answers=_answers(learning, step),
    )


def _answers(learning: Learning, step: int) -> list[tuple[str, Markup, Markup]]:
    path = sampled_steps(learning).get(step)
    return [
        (
            found.task_id,
            tag(f"{found.reward:.2f}", "good" if found.reason == "passed" else "plain")
            + tag(found.reason or "no verdict", "good" if found.reason == "passed" else "bad"),
            answer(found.text),
        )
        for found in (answers_of(path) if path else [])
    ]
