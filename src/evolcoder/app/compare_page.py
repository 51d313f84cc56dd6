"""Two runs, or two models of one run, problem by problem: what one won and lost against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evolcoder.app.known_runs import KnownRuns
from evolcoder.app.problems_page import problem_html
from evolcoder.app.widgets import Place, empty, pick_link, render, shown
from evolcoder.errors import DataError
from evolcoder.evaluate.comparison import compare
from evolcoder.report.run_folder import Evaluation, read_run
from evolcoder.report.scores import measured_unlike
from evolcoder.report.table import round_name

_MOST_RUNS = 12
_MOST_LISTED = 400


@dataclass(frozen=True, slots=True)
class Model:
    """One measured model of one run."""

    run: str
    round: int
    evaluations: Mapping[str, Evaluation]

    @property
    def key(self) -> str:
        """How an address names it."""
        return f"{self.run}:{self.round}"

    @property
    def name(self) -> str:
        """How the page names it."""
        return f"{self.run}, {round_name(self.round)}"


def compare_page(runs: KnownRuns, place: Place) -> Markup:
    """Return the part of the page that sets two models side by side."""
    models = _measured(runs, place)
    if len(models) < 2:
        return empty("Nothing to compare yet: two measured models are needed, of one run or of two.")
    by_key = {model.key: model for model in models}
    own = [model for model in models if model.run == place["run"]] or models
    a = by_key.get(place["a"], own[0])
    b = by_key.get(place["b"]) or next((m for m in reversed(own) if m is not a), models[-1])
    shared = [name for name in a.evaluations if name in b.evaluations]
    benchmark = place["benchmark"] if place["benchmark"] in shared else next(iter(shared), "")
    options = [(model.key, model.name) for model in models]
    filters = [("b", "This model", options, b.key), ("a", "against", options, a.key)]
    if not benchmark:
        found: Markup = empty("The two were measured on no benchmark in common.")
        return render("compare.html.j2", place=place, filters=filters, found=found, detail="", back="")
    filters.append(("benchmark", "Benchmark", [(name, name) for name in shared], benchmark))
    here = Place({**place.query, "a": a.key, "b": b.key, "benchmark": benchmark})
    found, first = _found(a, b, benchmark, here)
    task = place["id"] or first
    detail = empty("Every problem ended alike.")
    if task:
        sides = [(runs.view(model.run).problems(benchmark), model.round) for model in (a, b)]
        detail = problem_html(sides[0], sides[1], task, here, (a.name, b.name))
    back = here.href(id=None, samples=None)
    return render("compare.html.j2", place=place, filters=filters, found=found, detail=detail, back=back)


def _measured(runs: KnownRuns, place: Place) -> list[Model]:
    """Return every measured model of the run looked at and of the newest others; broken runs are left out."""
    names = [place["run"], *(place[side].rpartition(":")[0] for side in ("a", "b")), *runs.names()]
    models = []
    for name in list(dict.fromkeys(filter(None, names)))[:_MOST_RUNS]:
        folder = runs.path(name)
        try:
            rounds = read_run(folder).rounds if folder else ()
        except DataError:
            continue
        models += [Model(name, r.number, r.evaluations) for r in rounds if r.evaluations]
    return models


def _found(a: Model, b: Model, benchmark: str, place: Place) -> tuple[Markup, str]:
    """Return the result with the problems won and lost as links, and the first of them."""
    old, new = a.evaluations[benchmark], b.evaluations[benchmark]
    result = compare(old.problems, new.problems, new.families)
    settings = [(e.pass_at_1 or {}).get("settings") or {} for e in (old, new)]
    chosen = place["id"] or next(iter([*result.only_b, *result.only_a]), "")
    html = render(
        "compared.html.j2",
        a=a.name,
        b=b.name,
        result=result,
        measure=settings[1].get("measure", "pass@1"),
        unlike="; ".join(measured_unlike(*settings)),
        won=_links(result.only_b, place, chosen),
        lost=_links(result.only_a, place, chosen),
    )
    return html, chosen


def _links(tasks: Sequence[str], place: Place, chosen: str) -> Markup:
    links = [
        pick_link(place.href(id=task, samples=None), shown(task, 80), "problem", chosen=task == chosen)
        for task in tasks[:_MOST_LISTED]
    ]
    return Markup('<div class="list">{}</div>').format(Markup("").join(links))
