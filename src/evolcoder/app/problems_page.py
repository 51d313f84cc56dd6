"""The problems of a run's benchmarks: every sample, its verdict, and its diff between two rounds."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from evolcoder.app.known_runs import RunView
from evolcoder.app.run_problems import (
    CHANGES,
    Change,
    ProblemFilter,
    ProblemLine,
    RunProblems,
    ShownSample,
    benchmarks_of,
)
from evolcoder.app.widgets import (
    Place,
    answer,
    empty,
    line_diff,
    pages,
    pick_link,
    render,
    shown,
    tag,
    text_html,
)
from evolcoder.report.table import round_name

PAGE_PROBLEMS = 40
PAGE_SAMPLES = 5


def problems_page(view: RunView, place: Place) -> Markup:
    """Return the part of the page that shows a run's problems. Raises DataError for a broken file."""
    names = benchmarks_of(view.run())
    if not names:
        return empty("No samples yet: the base model has not been measured.")
    benchmark = place["benchmark"] if place["benchmark"] in names else names[0]
    problems = view.problems(benchmark)
    before, after = _round(problems, place, "from", 0), _round(problems, place, "to", -1)
    change: Change = next((known for known in CHANGES if known == place["change"]), "any")
    found = problems.find(ProblemFilter(place["text"], change, place["reason"], before, after))
    task = place["id"] or _first_that_changed(problems, found, before, after)
    size = PAGE_PROBLEMS
    at = place.number("page")
    if at is None:  # the page that the chosen problem stands on
        at = next((i for i, line in enumerate(found) if line.task_id == task), 0) // size
    at = max(0, min(at, (len(found) - 1) // size))
    rounds = [(str(n), round_name(n)) for n in problems.rounds]
    reasons = [(reason, f"{reason} ({n:,})") for reason, n in problems.reasons.items()]
    filters = [
        *([("benchmark", "Benchmark", [(name, name) for name in names], benchmark)] if names[1:] else []),
        ("from", "From", rounds, str(before)),
        ("to", "To", rounds, str(after)),
        ("change", "Change", [("" if name == "any" else name, name) for name in CHANGES], place["change"]),
        ("reason", "A verdict is", [("", "all"), *reasons], place["reason"]),
    ]
    detail = empty("No problem of this id." if place["id"] else "No problem to show.")
    if task in problems:
        detail = problem_html((problems, before), (problems, after), task, place)
    lines = lines_html(found[at * size : (at + 1) * size], problems.rounds, place, task)
    return render(
        "split.html.j2",
        name="problem",
        what="problems",
        detail_label="The chosen problem",
        hint="words or an id",
        place=place,
        filters=filters,
        list=pages(place, at * size, min(size, len(found) - at * size), len(found), size, "problems") + lines,
        detail=detail,
        back=place.href(id=None, samples=None),
    )


def _round(problems: RunProblems, place: Place, name: str, default: int) -> int:
    number = place.number(name)
    return number if number in problems.rounds else problems.rounds[default]


def _first_that_changed(problems: RunProblems, found: Sequence[ProblemLine], before: int, after: int) -> str:
    """Return the problem that is shown before one is chosen."""
    lines = problems.find(ProblemFilter(change="changed", before=before, after=after))
    changed, tasks = {line.task_id for line in lines}, [line.task_id for line in found]
    return next((task for task in tasks if task in changed), tasks[0] if tasks else "")


def lines_html(now: Sequence[ProblemLine], rounds: Sequence[int], place: Place, chosen: str = "") -> Markup:
    """Return problems as links, each with what passed in every round."""
    key = Markup('<p class="soft small">Marks from left to right: {}.</p>').format(
        ", ".join(round_name(n) for n in rounds)
    )
    links = [
        pick_link(
            place.href(id=line.task_id, samples=None),
            Markup('<span class="marks">{}</span><span><b>{}</b> {}</span>').format(
                Markup("").join(_mark(line, n) for n in rounds),
                shown(line.task_id, 60),
                shown(line.title, 60),
            ),
            "problem",
            chosen=line.task_id == chosen,
        )
        for line in now
    ]
    return (key if now else Markup("")) + Markup('<div class="list">{}</div>').format(Markup("").join(links))


def _mark(line: ProblemLine, number: int) -> Markup:
    passed, n = line.shares.get(number, (0, 0))
    if not n:
        kind, text = "none", "·"
    elif n == 1 and passed in (0, 1):
        kind, text = ("good", "✓") if passed else ("bad", "✗")
    else:
        kind, text = "good" if passed == n else "some" if passed else "bad", f"{round(passed, 2):g}/{n}"
    said = f"{round(passed, 2):g} of {n} passed" if n else "not measured"
    title = f"{round_name(number)}: {said}"
    return Markup('<span class="mark {}" title="{}">{}</span>').format(kind, title, text)


Side = tuple[RunProblems, int]
"""A round of a run's benchmark."""


def problem_html(
    before: Side, after: Side, task_id: str, place: Place, names: tuple[str, str] | None = None
) -> Markup:
    """Return a problem, its samples on two sides (rounds of a run, or `names` of two), and their diffs."""
    a, b = names or (round_name(before[1]), round_name(after[1]))
    parts = [Markup("<h2>{}</h2>").format(shown(task_id, 100))]
    language = before[0].language
    if prompt := before[0].prompt(task_id) or after[0].prompt(task_id):
        parts.append(text_html(prompt, language))
    first = place.number("samples") or 0
    old, n_old = before[0].samples(task_id, before[1], first, PAGE_SAMPLES)
    new, n_new = after[0].samples(task_id, after[1], first, PAGE_SAMPLES)
    most = max(n_old, n_new)
    if most > PAGE_SAMPLES:
        turned = render(
            "pages.html.j2",
            text=f"samples {first + 1}–{min(first + PAGE_SAMPLES, most)} of {most:,}",
            back=place.href(id=task_id, samples=max(0, first - PAGE_SAMPLES) or None) if first else "",
            on=place.href(id=task_id, samples=first + PAGE_SAMPLES) if first + PAGE_SAMPLES < most else "",
        )
        parts.append(turned)
    if before != after:
        parts.append(_diffs(old, new, a, b, language))
    sides = [(a, old, n_old), (b, new, n_new)]
    for name, samples, n in sides if before != after else sides[:1]:
        counted = f"{name}: {n:,} sample{'s' if n != 1 else ''}"
        parts.append(Markup("<h3>{}</h3>").format(shown(counted, 200)))
        parts += [_sample(sample, language) for sample in samples]
    return Markup('<div class="detail">{}</div>').format(Markup("").join(parts))


def _diffs(old: list[ShownSample], new: list[ShownSample], a: str, b: str, language: str | None) -> Markup:
    by_index = {sample.index: sample for sample in old}
    pairs = [(by_index[sample.index], sample) for sample in new if sample.index in by_index]
    blocks = [
        Markup("<p>sample {}: {} → {}</p>{}").format(
            after.index, _verdict(before), _verdict(after), line_diff(before.program, after.program, language)
        )
        for before, after in pairs
    ]
    if not blocks:
        return Markup("")
    return Markup("<h3>From {} to {}</h3>").format(shown(a, 100), shown(b, 100)) + Markup("").join(blocks)


def _verdict(sample: ShownSample) -> Markup:
    if sample.worth is None:
        return tag(sample.reason or "no verdict")
    kind = {0.0: "bad", 1.0: "good"}.get(sample.worth, "")
    return tag(sample.reason or ("passed" if sample.worth else "failed"), kind)


def _sample(sample: ShownSample, language: str | None) -> Markup:
    detail = Markup('<p class="small soft">{}</p>').format(shown(sample.detail, 600)) if sample.detail else ""
    whole = Markup("<details><summary>what the model wrote</summary>{}</details>").format(answer(sample.raw))
    return Markup('<div class="sample"><p>sample {} {}</p>{}{}{}</div>').format(
        sample.index,
        _verdict(sample),
        detail,
        text_html(sample.program, language),
        whole if sample.raw != sample.program else "",
    )
