"""`evolcoder evaluate`: sample a model on benchmarks and score it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from evolcoder.cli.model_options import model_choice, model_options
from evolcoder.cli.options import (
    benchmark_within,
    engine_option,
    overwrite_option,
    spend_options,
    spending,
    together,
    window_options,
)
from evolcoder.cli.progress_view import progress_view
from evolcoder.errors import UserError
from evolcoder.models.session import model_session
from evolcoder.runs import check_claimed

if TYPE_CHECKING:
    from evolcoder.evaluate.benchmarks import Benchmark
    from evolcoder.evaluate.evaluation import EvaluationResult
    from evolcoder.evaluate.model_judge.judged_evaluation import JudgedResult
    from evolcoder.evaluate.model_judge.judging_cost import JudgedEstimate, Part
    from evolcoder.evaluate.model_judge.settings import JudgeSettings
    from evolcoder.evaluate.settings import Decoding, EvaluationSettings
    from evolcoder.execution.engine import Engine
    from evolcoder.models.session import ModelChoice
    from evolcoder.progress import Progress

_SETTINGS = ("extract", "seed", "limit", "oracle", "timeout_s", "workers")
"""Options that are settings under the same name."""
_SHOWN_PARTS = 60
"""Parts of a judged benchmark that the table shows, at most."""
_BESIDE = 3
"""Published figures shown above and below a measured one."""


_judge_options = together(
    click.option("--judge", help="MODEL that judges answers, where no program does (wizardlm, mt-bench)."),
    click.option(
        "--against",
        default="",
        show_default=False,
        help="Answers to set beside: a file, an evaluation's folder, or a MODEL. Without: 1 to 10.",
    ),
    click.option(
        "--judge-shots", type=click.IntRange(0, 2), default=0, help="Worked examples for a small judge."
    ),
    spend_options,
    click.option("--dry-run", is_flag=True, help="Judge a sample of 20 and say what the whole would take."),
)
"""Add the options of a judged evaluation."""


@click.command()
@click.option(
    "--model", "-m", required=True, help="embedded, a folder, a GGUF file, a hub name, openai:NAME."
)
@click.option(
    "--benchmark",
    "-b",
    "benchmarks",
    required=True,
    help="One or more, separated by commas: humaneval,mbpp+,ds1000, with --judge wizardlm,mt-bench,my.jsonl; "
    "evolcoder benchmarks lists them.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for samples and scores.")
@click.option(
    "--style",
    type=click.Choice(["auto", "wizardcoder", "wizardlm-7b", "wizardlm-13b", "chat", "completion"]),
    default="auto",
    help="How problems are asked; auto: as a checkpoint was trained, else wizardcoder, or chat where an "
    "endpoint takes nothing else.",
)
@click.option(
    "--preset",
    default="published",
    help="Prompt details of the wizardcoder style (published, script, 33b; gsm8k, math: direct); infilling "
    "format of ds1000:insertion in completion style (starcoder, qwen, deepseek, codellama); mt-bench's "
    "temperatures (published, greedy).",
)
@click.option(
    "--extract",
    type=click.Choice(["wizardcoder", "fence", "first", "last", "auto", "none"]),
    help="How the program is found; by the style where absent.",
)
@click.option("--greedy", is_flag=True, help="One greedy sample a problem (the default of most benchmarks).")
@click.option(
    "--n", type=click.IntRange(min=1), help="Samples a problem  [default: the benchmark's, else 1, else 20]."
)
@click.option("--temperature", type=click.FloatRange(min=0), help="The method samples at 0.2.")
@click.option(
    "--top-p", type=click.FloatRange(min=0, min_open=True, max=1), help="The method samples at 0.95."
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="Of an answer  [default: 2048; ds1000 1024].")
@click.option("--seed", type=int, default=0, help="Of the samples.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many problems, evenly spaced.")
@click.option("--oracle", help="How values are compared; the benchmark's own where absent.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="CPU s a program.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Programs judged at once; all cores where absent."
)
@click.option(
    "--omit", multiple=True, metavar="FIELD", help="Leave out temperature, top_p, seed or stop (repeat it)."
)
@overwrite_option
@_judge_options
@window_options
@model_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def command(model: str, benchmarks: str, out: Path, style: str, greedy: bool, **options: Any) -> None:
    """Sample a model on benchmarks, judge its programs in the sandbox, and show pass@k.

    With --judge MODEL, a model judges answers to instructions: 1 to 10, or --against others in both orders
    (docs/judged.md). The same command continues where it was stopped: answers are kept in OUT/journal.sqlite.

    \b
    Example:
      evolcoder evaluate --model embedded --benchmark humaneval --limit 40 --style chat --out runs/smollm2
      evolcoder evaluate -m openai:NAME --base-url http://localhost:8000/v1 -b humaneval,mbpp+ --out runs/x
      evolcoder evaluate -m CHECKPOINT -b humaneval --n 20 --temperature 0.2 --top-p 0.95 --out runs/y
      evolcoder evaluate -m CHECKPOINT -b wizardlm --judge openai:NAME --against OTHER --dry-run --out runs/z
    """
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
    from evolcoder.evaluate.overlap import folder_clash
    from evolcoder.evaluate.settings import EvaluationSettings, Style, trained_style
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine

    overwrite, temperature = options["overwrite"], options["temperature"]
    if greedy and ((options["n"] or 1) > 1 or temperature):
        raise UserError("--greedy gives one sample at temperature 0; leave out --n and --temperature")

    def settings_for(benchmark: Benchmark) -> EvaluationSettings:
        asked = (0.0 if greedy else temperature, options["n"], options["top_p"], options["max_tokens"])
        decoding = _decoding(benchmark.decoding, *asked)
        judged = isinstance(benchmark, JudgedBenchmark)
        usual: Style = "chat" if judged else "wizardcoder"
        return EvaluationSettings(
            style=trained_style(model) or usual if style == "auto" else cast(Style, style),
            preset="greedy" if judged and (greedy or temperature == 0) else options["preset"],
            **asdict(decoding),
            **{name: options[name] for name in _SETTINGS},
        )

    if options["omit"]:
        options["endpoint_pairs"] = (*options["endpoint_pairs"], f"omit=[{','.join(options['omit'])}]")
    choice = model_choice(model, options)
    given = [name.strip() for name in benchmarks.split(",") if name.strip()]
    names = [benchmark_within(name, options["first_day"], options["last_day"]) for name in given]
    if not names:
        raise UserError("--benchmark: a name is expected; `evolcoder benchmarks` lists them")
    if clash := folder_clash(names):
        raise UserError(clash)
    try:
        plan = {name: settings_for(load_benchmark(name)) for name in names}
    except ValueError as error:
        raise UserError(str(error)) from error
    if options["judge"]:
        of_programs = ("extract", "oracle", "timeout_s", "workers")
        if unused := [name for name in of_programs if options[name] is not None]:
            raise UserError(
                f"--{unused[0].removesuffix('_s')} is for programs that are run; with --judge none is"
            )
        _evaluate_with_judge(choice, plan, options, out)
        return
    of_judge = ("against", "judge_shots", "dry_run")
    if unused := [name for name in of_judge if options[name]]:
        raise UserError(f"--{unused[0].replace('_', '-')} goes with --judge MODEL")
    with open_engine(options["engine"]) as where:
        how = (progress_view(), where, spending(options), overwrite, style == "auto")
        results = run_async(_evaluate_all(choice, plan, out, *how))
    click.echo(_results_json(results) if options["as_json"] else _as_table(results, model))


def _decoding(
    default: Decoding, temperature: float | None, n: int | None, top_p: float | None, max_tokens: int | None
) -> Decoding:
    """Return how samples are drawn: as the benchmark says where nothing is said, else as the method does."""
    from evolcoder.evaluate.settings import Decoding

    if temperature == 0:
        base = replace(Decoding(), max_tokens=default.max_tokens)
    elif default.n == 1 and ((n or 1) > 1 or temperature):
        base = Decoding(n=20, temperature=0.2, top_p=0.95, max_tokens=default.max_tokens)
    else:
        base = default
    sampled = base.temperature > 0
    return Decoding(
        n=base.n if n is None else n,
        temperature=base.temperature if temperature is None else temperature,
        top_p=top_p if sampled and top_p is not None else base.top_p,
        max_tokens=base.max_tokens if max_tokens is None else max_tokens,
    )


async def _evaluate_all(
    choice: ModelChoice,
    plan: Mapping[str, EvaluationSettings],
    out: Path,
    progress: Progress,
    engine: Engine,
    limits: Mapping[str, Any],
    overwrite: bool,
    any_style: bool,
) -> dict[str, EvaluationResult]:
    """Evaluate on each benchmark; with `any_style`, by chat where the endpoint takes no raw prompts."""
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.evaluate.evaluation import evaluate_model
    from evolcoder.evaluate.overlap import evaluation_folder, output_files
    from evolcoder.evaluate.sampling import ChatOnlyError
    from evolcoder.evaluate.settings import trained_style

    check_claimed(out / "journal.sqlite", output_files(out, plan))
    for name, settings in plan.items():
        benchmark = load_benchmark(name)
        benchmark.check_ready()
        benchmark.checked_oracle(settings.oracle)
    results = {}
    try:
        async with model_session(choice, out / "journal.sqlite", engine, **limits) as model:
            for name, settings in plan.items():
                folder = out / evaluation_folder(name)
                results[name] = await evaluate_model(
                    *(model, name, settings, folder, progress, engine),
                    overwrite=overwrite,
                    any_style=any_style and trained_style(choice.model) is None,
                )
    except ChatOnlyError as error:
        if not any_style:
            raise
        progress.note(f"{choice.model}: its endpoint takes no raw prompts ({error}); asked with --style chat")
        chat = {name: replace(settings, style="chat") for name, settings in plan.items()}
        return await _evaluate_all(choice, chat, out, progress, engine, limits, overwrite, any_style=False)
    return results


def _as_table(results: dict[str, EvaluationResult], model: str) -> str:
    from evolcoder.evaluate.t_test import smallest_difference

    lines: list[str] = []
    for result in results.values():
        first = result.scores[0]
        problems = first.settings["problems"]
        measured, _, in_all = problems.partition(",")[0].partition(" of ")
        mark = "*" if measured != in_all else ""
        for score in result.scores:
            lines.append(
                f"{model}  {score.benchmark}  pass@{score.k} {100 * score.value:.1f}{mark}"
                f"   95% [{100 * score.low:.1f}, {100 * score.high:.1f}]"
                f"   {score.n_problems} problems, {score.n_samples} samples"
            )
        lines += _beside_published(first.benchmark, first.settings["decoding"], 100 * first.value, mark)
        if mark:
            lines.append(f"  * a subset ({problems}): not comparable with published scores")
        least = smallest_difference(first.value, result.n_families, first.n_samples // first.n_problems)
        lines += [
            f"  sees:      {100 * least:.1f} points between two models at the least (80% of cases, 5% level)",
            *_last_lines(result),
            "",
        ]
    return "\n".join(lines).rstrip()


def _judge_settings(choice: ModelChoice, options: Mapping[str, Any]) -> JudgeSettings:
    """Return the judge that the options say, which is reached as the model is.

    Raises UserError for an address without a model behind an endpoint.
    """
    from evolcoder.evaluate.model_judge.settings import JudgeSettings
    from evolcoder.models.opening import REMOTE_PREFIX, is_remote

    judge, against = options["judge"], options["against"]
    if choice.base_url and not any(map(is_remote, (choice.model, judge, against))):
        raise UserError(f"--base-url goes with a model {REMOTE_PREFIX}NAME, found {choice.model!r}")
    reached = (choice.base_url, choice.endpoint, choice.local)
    return JudgeSettings(judge, *reached, against, options["judge_shots"])


def _evaluate_with_judge(
    choice: ModelChoice, plan: Mapping[str, EvaluationSettings], options: Mapping[str, Any], out: Path
) -> None:
    """Evaluate on benchmarks that a model judges, or say what that would take, and print it."""
    from evolcoder.evaluate.model_judge import judged_evaluation as judged
    from evolcoder.evaluate.model_judge.judging_cost import estimate_judged
    from evolcoder.evaluate.overlap import evaluation_folder, output_files
    from evolcoder.execution.event_loop import run_async
    from evolcoder.execution.opening import open_engine

    for name in plan:
        judged.judged_benchmark(name)
    judge = _judge_settings(choice, options)
    check_claimed(out / "journal.sqlite", output_files(out, plan))
    out.mkdir(parents=True, exist_ok=True)
    as_json, overwrite = options["as_json"], options["overwrite"]
    with open_engine(options["engine"]) as where:
        journal, limits = out / "journal.sqlite", spending(options)
        folders = {name: out / evaluation_folder(name) for name in plan}
        context = judged.EvaluationContext(journal, where, progress_view(), **limits, overwrite=overwrite)

        async def estimates() -> dict[str, JudgedEstimate]:
            return {name: await estimate_judged(choice, name, s, judge, context) for name, s in plan.items()}

        async def results() -> dict[str, JudgedResult]:
            return {
                name: await judged.evaluate_judged(choice, name, s, judge, folders[name], context)
                for name, s in plan.items()
            }

        if options["dry_run"]:
            told = run_async(estimates())
            data = {name: {**asdict(found), "usd": found.usd} for name, found in told.items()}
            click.echo(json.dumps(data, indent=2) if as_json else _estimate_text(told))
        else:
            found = run_async(results())
            texts = (_result_text(result, choice.model) for result in found.values())
            click.echo(_results_json(found) if as_json else "\n\n".join(texts))


def _estimate_text(estimates: Mapping[str, JudgedEstimate]) -> str:
    """Return what judged evaluations would take, as lines for the terminal."""
    lines = []
    for found in estimates.values():
        money = "no price known" if found.usd is None else f"{found.usd:.4f} US dollars"
        lines.append(
            f"{found.benchmark}: {found.problems} problems, from a sample of {found.sample}: {money}"
        )
        parts = {"answers": found.model, "answers beside": found.other, "judge": found.judge}
        lines += [_part_text(name, part) for name, part in parts.items() if part is not None]
    return "\n".join(lines)


def _part_text(name: str, part: Part) -> str:
    money = "" if part.usd is None else f", {part.usd:.4f} US dollars"
    return (
        f"  {name}: {part.requests} requests, {part.prompt_tokens} + {part.completion_tokens} tokens{money}"
    )


def _result_text(result: JudgedResult, model: str) -> str:
    from evolcoder.evaluate.model_judge.settings import RATING
    from evolcoder.evaluate.published import published_for

    first = result.scores[0]
    problems = first.settings["problems"]
    mark = "*" if problems.split(" of ")[0] != problems.split(" of ")[-1] else ""
    lines = [f"{model}  judged by {first.settings['judge']}"]
    if other := first.settings.get("against"):
        lines[0] += f" against {other}"
    for score in result.scores[:_SHOWN_PARTS]:
        scale, unit = (10, "of 10") if score.settings["measure"] == RATING else (100, "% won")
        value, low, high = (scale * number for number in (score.value, score.low, score.high))
        lines.append(
            f"  {score.benchmark:<44} {value:6.2f}{mark} {unit}   95% [{low:.2f}, {high:.2f}]"
            f"   {score.n_problems} problems"
            + ("   won {} tied {} lost {}".format(*won) if (won := result.wins.get(score.benchmark)) else "")
        )
    if (left := len(result.scores) - _SHOWN_PARTS) > 0:
        lines.append(f"  and {left} parts more in scores.json")
    if not other and published_for(first.benchmark):
        lines += _beside_published(first.benchmark, first.settings["decoding"], 10 * first.value, mark)
    if mark:
        lines.append(f"  * a subset ({problems}): not comparable with published scores")
    at = result.positions
    if other:
        lines.append(
            f"  by place: the first answer chosen {at.first} times, the second {at.second}, neither "
            f"{at.neither}, unreadable {at.unreadable}; {at.disagreeing} pairs of orders disagree"
        )
    return "\n".join([*lines, *_last_lines(result)])


def _last_lines(result: EvaluationResult | JudgedResult) -> list[str]:
    """Return the lines that every result ends with: its verdicts, its settings, its time."""
    told = ", ".join(f"{reason} {count}" for reason, count in result.reasons.items())
    settings = result.scores[0].settings
    named = ", ".join(f"{name} {value}" for name, value in settings.items() if name != "model")
    return [f"  verdicts: {told}", f"  settings: {named}", f"  {result.seconds:.0f} s"]


def _results_json(results: Mapping[str, EvaluationResult | JudgedResult]) -> str:
    """Return evaluations as JSON: of a judged one also what was won, and by which place."""
    found = {name: asdict(result) for name, result in results.items()}
    parts = ("scores", "reasons", "wins", "positions")
    told = {
        name: {part: data[part] for part in parts if part in data} | {"seconds": round(data["seconds"], 1)}
        for name, data in found.items()
    }
    return json.dumps(told, indent=2)


def _beside_published(benchmark: str, decoding: str, percent: float, mark: str) -> list[str]:
    """Return lines of the published figures nearest to a measured one, best first.

    Those that were drawn otherwise (one greedy answer, or a mean over samples) stand apart, marked.
    """
    from evolcoder.evaluate.published import decoding_kind, published_for

    kind = decoding_kind(decoding)
    figures = published_for(benchmark)
    above = [p for p in figures if p.value > percent][-_BESIDE:]
    below = [p for p in figures if p.value <= percent][:_BESIDE]
    lines = [f"  measured   {percent:5.1f}{mark or ' '} <- this"]
    told = [
        f"  published  {p.value:5.1f}{' ' if decoding_kind(p.decoding) == kind else '†'} "
        f"{p.model} ({p.decoding})"
        for p in [*above, *below]
    ]
    lines = [*told[: len(above)], *lines, *told[len(above) :]]
    if any("†" in line for line in told):
        lines.append(f"  † not {kind}: does not compare")
    return lines
