"""The problems of a run's benchmarks: every sample, its verdict, and its diff between two rounds."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from evolcoder.app.run_problems import (
    CHANGES,
    ProblemFilter,
    ProblemLine,
    RunProblems,
    ShownSample,
    benchmarks_of,
)
from evolcoder.app.run_view import RunView
from evolcoder.app.shown_text import answer, code, line_diff, shown, tag
from evolcoder.app.widgets import (
    choices_with_any,
    error_html,
    html_view,
    pager,
    pager_text,
    pick_button,
    picked,
)
from evolcoder.errors import DataError
from evolcoder.report.table import round_name

PAGE_PROBLEMS = 40
PAGE_SAMPLES = 5
_EMPTY = Markup('<p class="soft">Choose a problem to see its samples and how they changed.</p>')


def problems_tab(view: RunView, page: gr.Blocks) -> None:
    """Build the tab inside the present block; `page` fills it when it loads."""
    with gr.Row(elem_classes=["filters"]):
        benchmark = gr.Dropdown([], label="Benchmark")
        text = gr.Textbox(label="Search", placeholder="words or an id", max_lines=1)
        before = gr.Dropdown([], label="From")
        after = gr.Dropdown([], label="To")
        change = gr.Dropdown([(name, name) for name in CHANGES], value="any", label="Change")
        reason = gr.Dropdown([("all", "")], value="", label="A verdict is")
    at, task, sample = gr.State(0), gr.State(""), gr.State(0)
    with gr.Row(elem_classes=["split"]):
        with gr.Column(scale=4, min_width=320):
            lines = html_view(elem_id="problem-rows", picks=True)
            back, on = pager("problem")
        with gr.Column(scale=8, min_width=320):
            detail = html_view(_EMPTY, elem_id="problem-detail")
            fewer, more = pager("sample", "← Samples", "Samples →")
    filters = [benchmark, text, before, after, change, reason]

    def show(number: int, name: str | None, *values: Any) -> tuple[str, int]:
        if not name:
            return str(Markup('<p class="soft">No samples yet.</p>')), 0
        try:
            problems = view.problems(name)
        except DataError as error:
            return error_html(error), 0
        words, first, last, change_, reason_ = values
        wanted = ProblemFilter(words or "", change_ or "any", reason_ or "", _number(first), _number(last))
        found = problems.find(wanted)
        number = max(0, min(number, (len(found) - 1) // PAGE_PROBLEMS))
        return str(lines_html(found, number, problems.rounds)), number

    def load() -> Any:
        names = benchmarks_of(view.run())
        return gr.Dropdown([(name, name) for name in names], value=names[0] if names else None)

    def of_benchmark(name: str | None) -> tuple[Any, Any, Any]:
        try:
            problems = view.problems(name) if name else None
        except DataError:
            problems = None
        rounds = [(round_name(n), str(n)) for n in problems.rounds] if problems else []
        reasons = [
            (f"{reason} ({n:,})", reason) for reason, n in (problems.reasons if problems else {}).items()
        ]
        return (
            gr.Dropdown(rounds, value=rounds[0][1] if rounds else None),
            gr.Dropdown(rounds, value=rounds[-1][1] if rounds else None),
            gr.Dropdown(choices_with_any(reasons, "all"), value=""),
        )

    def read(name: str, task_id: str, first: int, step: int, a: str, b: str) -> tuple[str, int]:
        if not name or not task_id:
            return str(_EMPTY), 0
        try:
            problems = view.problems(name)
            first = first + step * PAGE_SAMPLES
            most = max(problems.samples(task_id, n, 0, 1)[1] for n in problems.rounds)
            first = max(0, min(first, (most - 1) // PAGE_SAMPLES * PAGE_SAMPLES))
            return str(problem_html(problems, task_id, _number(a), _number(b), first)), first
        except (DataError, ValueError) as error:
            return error_html(error), 0

    def choose(name: str, a: str, b: str, event: gr.EventData) -> tuple[str, str, int]:
        task_id = picked(event)
        return task_id, *read(name, task_id, 0, 0, a, b)

    looked_at = [benchmark, task, sample]
    page.load(load, None, benchmark, show_progress="hidden")
    benchmark.change(of_benchmark, benchmark, [before, after, reason], show_progress="hidden").then(
        lambda *values: show(0, *values), filters, [lines, at]
    )
    text.submit(lambda *values: show(0, *values), filters, [lines, at])
    for widget in (before, after, change, reason):
        widget.input(lambda *values: show(0, *values), filters, [lines, at])
    for widget in (before, after):
        widget.input(
            lambda name, task, first, a, b: read(name, task, first, 0, a, b),
            [*looked_at, before, after],
            [detail, sample],
        )
    back.click(lambda at, *values: show(at - 1, *values), [at, *filters], [lines, at])
    on.click(lambda at, *values: show(at + 1, *values), [at, *filters], [lines, at])
    for button, step in ((fewer, -1), (more, 1)):
        button.click(
            lambda name, task, first, a, b, step=step: read(name, task, first, step, a, b),
            [*looked_at, before, after],
            [detail, sample],
        )
    lines.click(choose, [benchmark, before, after], [task, detail, sample]).then(None, js=_SCROLL_TO_DETAIL)


_SCROLL_TO_DETAIL = """() => {
  const detail = document.getElementById('problem-detail');
  if (detail && window.innerWidth < 900) detail.scrollIntoView({block: 'start'});
}"""


def _number(value: Any) -> int | None:
    return int(value) if value not in (None, "") else None


def lines_html(found: list[ProblemLine], number: int, rounds: list[int]) -> Markup:
    """Return one page of problems as buttons, each with what passed in every round."""
    first = number * PAGE_PROBLEMS
    now = found[first : first + PAGE_PROBLEMS]
    head = pager_text(first, len(now), len(found), "problems")
    key = Markup('<p class="soft small">Marks from left to right: {}.</p>').format(
        ", ".join(round_name(n) for n in rounds)
    )
    buttons = [
        pick_button(
            line.task_id,
            Markup('<span class="marks">{}</span><span><b>{}</b> {}</span>').format(
                Markup("").join(_mark(line, n) for n in rounds),
                shown(line.task_id, 60),
                shown(line.title, 60),
            ),
            "problem",
        )
        for line in now
    ]
    return head + key + Markup('<div class="list">{}</div>').format(Markup("").join(buttons))


def _mark(line: ProblemLine, number: int) -> Markup:
    passed, n = line.shares.get(number, (0, 0))
    if not n:
        kind, text = "none", "·"
    elif n == 1:
        kind, text = ("good", "✓") if passed else ("bad", "✗")
    else:
        kind, text = "good" if passed == n else "some" if passed else "bad", f"{passed}/{n}"
    title = f"{round_name(number)}: {passed} of {n} passed" if n else f"{round_name(number)}: not measured"
    return Markup('<span class="mark {}" title="{}">{}</span>').format(kind, title, text)


def problem_html(
    problems: RunProblems, task_id: str, before: int | None, after: int | None, first: int
) -> Markup:
    """Return a problem with its samples in two rounds, side by side, and the diff of each pair."""
    parts = [Markup("<h3>{}</h3>").format(shown(task_id, 100))]
    if prompt := problems.prompt(task_id):
        parts.append(code(prompt))
    rounds = problems.rounds
    a = rounds[0] if before is None else before
    b = rounds[-1] if after is None else after
    old, n_old = problems.samples(task_id, a, first, PAGE_SAMPLES)
    new, n_new = problems.samples(task_id, b, first, PAGE_SAMPLES)
    if a != b:
        parts.append(_diffs(old, new, a, b))
    for number, samples, n in dict.fromkeys([(a, tuple(old), n_old), (b, tuple(new), n_new)]):
        counted = f"{round_name(number)}: {n:,} sample{'s' if n != 1 else ''}"
        parts.append(Markup("<h3>{}</h3>").format(counted) + Markup("").join(map(_sample, samples)))
    return Markup('<div class="detail">{}</div>').format(Markup("").join(parts))


def _diffs(old: list[ShownSample], new: list[ShownSample], a: int, b: int) -> Markup:
    by_index = {sample.index: sample for sample in old}
    pairs = [(by_index[sample.index], sample) for sample in new if sample.index in by_index]
    blocks = [
        Markup("<p>sample {}: {} → {}</p>{}").format(
            after.index, _verdict(before), _verdict(after), line_diff(before.program, after.program)
        )
        for before, after in pairs
    ]
    if not blocks:
        return Markup("")
    head = Markup("<h3>From {} to {}</h3>").format(round_name(a), round_name(b))
    return head + Markup("").join(blocks)


def _verdict(sample: ShownSample) -> Markup:
    if sample.passed is None:
        return tag("no verdict")
    return tag(sample.reason or ("passed" if sample.passed else "failed"), "good" if sample.passed else "bad")


def _sample(sample: ShownSample) -> Markup:
    detail = Markup('<p class="small soft">{}</p>').format(shown(sample.detail, 600)) if sample.detail else ""
    whole = Markup("<details><summary>what the model wrote</summary>{}</details>").format(answer(sample.raw))
    return Markup('<div class="sample"><p>sample {} {}</p>{}{}{}</div>').format(
        sample.index,
        _verdict(sample),
        detail,
        code(sample.program),
        whole if sample.raw != sample.program else "",
    )
