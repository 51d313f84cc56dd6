"""The result of a finished run: `result.json`, and the link to the best checkpoint."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from evolcoder import __version__
from evolcoder.domains import load_domain
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.comparison import compare
from evolcoder.evaluate.overlap import benchmarks_overlap, score_notices
from evolcoder.loop.wizardcoder import LoopResult
from evolcoder.recipe import Recipe
from evolcoder.records import round_folder

_OF_A_ROUND = ("round", "value", "low", "high", "rows", "n_problems")
_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy")


def result_of(recipe: Recipe, found: LoopResult, command_line: str) -> dict[str, Any]:
    """Return what `result.json` holds; nothing in it depends on the clock or on interrupts."""
    best, deciding = found.best, load_benchmark(recipe.stop.benchmark)
    result: dict[str, Any] = {
        "name": recipe.name,
        "evolcoder": __version__,
        "benchmark": recipe.stop.benchmark,
        "rounds": [{name: getattr(score, name) for name in _OF_A_ROUND} for score in found.history],
        "problems": best.n_problems if best else 0,
        "problems_in_all": len(deciding.problems),
        "best_round": best.round if best else None,
        "best_model": None,
        "stop": {"rule": recipe.stop.rule, "reason": found.decisions[-1].reason},
        "decisions": [asdict(decision) for decision in found.decisions],
        "command": command_line,
        "card": asdict(load_domain(recipe.domain).card(recipe.evolve)),
        "environment": environment(),
    }
    if isinstance(deciding, JudgedBenchmark) and recipe.evaluate.judge is not None:
        result["measure"] = recipe.evaluate.judge.measure
    if best is not None and best.round and found.history[0].passed:
        change = compare(found.history[0].passed, best.passed, best.families)
        parts = {name: getattr(change, name) for name in ("difference", "low", "high", "p_value")}
        result["against_base"] = {"gained": len(change.only_b), "lost": len(change.only_a), **parts}
    if best is not None:
        folder = f"{round_folder(best.round)}/checkpoint"
        result["best_model"] = folder if best.round else recipe.base.model
    if recipe.stop.keep == "last":
        result["keep"] = "last"
    if notice := notice_of(recipe):
        result["notice"] = notice
    return result


def notice_of(recipe: Recipe) -> str:
    """Return what must be said of the scores that a recipe gives; "" where nothing is."""
    stop, reported = recipe.stop, recipe.evaluate.benchmarks
    rule = stop.rule if stop.keep == "best" else None
    return score_notices(stop.benchmark, reported, rule, recipe.base.released, benchmarks_overlap)


def environment() -> dict[str, str]:
    """Return the machine and the versions that a run's figures hang on."""
    found = {
        "evolcoder": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores for this process",
    }
    with suppress(ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found["memory"] = f"{memory / 2**30:.0f} GiB"
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    torch = sys.modules.get("torch")  # where a stage has loaded it
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return found


def point_to_best(run: Path, best: int | None) -> None:
    """Make `RUN/best` a link to the best checkpoint; no link where the base model was best or none is."""
    link = run / "best"
    link.unlink(missing_ok=True)
    if best:
        link.symlink_to(Path(round_folder(best)) / "checkpoint")


def _processor() -> str:
    """Return the processor's name as Linux tells it; the machine type elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
