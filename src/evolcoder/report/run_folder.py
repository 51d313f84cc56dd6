"""What a run folder holds, read into a few typed values; whatever is not there yet is absent, not an error.

Only small files are read whole. The rows of the data sets are streamed (`rows.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeGuard

from evolcoder.errors import DataError
from evolcoder.evaluate.overlap import score_notices
from evolcoder.records import REINFORCED_ROUND, round_folder, round_of_folder, round_order


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one checkpoint did on one benchmark."""

    benchmark: str
    """Name with its data version, as the score names it; the folder's name where there is no score."""
    scores: tuple[Mapping[str, Any], ...]
    """One mapping a k, with the fields of `records.Score`."""
    problems: Mapping[str, Sequence[bool]]
    """Verdicts of the samples of each problem."""
    reasons: Mapping[str, int]
    """How often each reason ended a program."""
    families: Mapping[str, str] = field(default_factory=dict)
    """Of the problems that have kin (perturbations of one problem, say), by problem."""

    @property
    def pass_at_1(self) -> Mapping[str, Any] | None:
        """The score with k=1, if there is one."""
        return next((score for score in self.scores if score.get("k") == 1), None)


@dataclass(frozen=True, slots=True)
class Training:
    """What fine-tuning left in `training.json`."""

    losses: tuple[tuple[float, float], ...]
    """(step, loss), in order."""
    held_out: tuple[tuple[float, float], ...]
    """(steps done, loss on rows held out of training), in order; empty where none were."""
    facts: Mapping[str, Any]
    """Every plain number or text beside the losses: steps, tokens, seconds ..."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a run; round 0 is the base model, SEEDS_ROUND the model of the seeds alone,
    REINFORCED_ROUND the kept one after learning from execution."""

    number: int
    folder: Path
    summary: Mapping[str, Any]
    """asked, kept, eliminated, methods, tokens, usd; empty before the round is evolved. Of REINFORCED_ROUND:
    started_from, the round that it learnt on from."""
    training: Training | None
    evaluations: Mapping[str, Evaluation]
    """By the name of the benchmark's folder."""

    @property
    def evolved(self) -> Path | None:
        """The rows that the round made, if it is that far."""
        path = self.folder / "evolved.jsonl"
        return path if path.exists() else None

    @property
    def eliminated(self) -> Path | None:
        """The rows that the round dropped, if it is that far."""
        path = self.folder / "eliminated.jsonl"
        return path if path.exists() else None


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage took."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder, as far as it has got."""

    folder: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    result: Mapping[str, Any]
    """`result.json`; empty while the run is under way."""
    stages: tuple[StageTime, ...]
    rounds: tuple[Round, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions that the run recorded."""
    seeds_summary: Mapping[str, Any] = field(default_factory=dict)
    """asked, kept, eliminated, screened_against; empty where the seeds were not looked at."""

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's."""
        return str(self.recipe.get("name") or self.folder.resolve().name)

    @property
    def notice(self) -> str:
        """What must be said of the scores: that a test chose the round, or problems older than the model."""
        if self.result:
            return str(self.result.get("notice") or "")
        stop, measured = self.recipe.get("stop"), self.recipe.get("evaluate")
        if not isinstance(stop, Mapping) or not isinstance(measured, Mapping) or not stop.get("benchmark"):
            return ""
        reported = [str(name) for name in measured.get("benchmarks") or ()]
        base = self.recipe.get("base")
        released = base.get("released") if isinstance(base, Mapping) else None
        day = date.fromisoformat(released) if isinstance(released, str) else None
        rule = None if stop.get("keep") == "last" else str(stop.get("rule"))
        return score_notices(str(stop["benchmark"]), reported, rule, day)

    @property
    def seeds(self) -> Path | None:
        """The seed instructions as used, if they are there."""
        path = self.folder / "seeds.jsonl"
        return path if path.exists() else None


def read_run(folder: Path) -> Run:
    """Read what `folder` holds of a run; the model of `evolcoder reinforce` alone is one without rounds.

    Raises DataError where the folder is missing or cannot be read, holds no part of a run, or has a file that
    is not what its name says.
    """
    try:
        return _read_run(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}: cannot be read ({error})") from error


def learns_alone(folder: Path) -> bool:
    """Return whether a folder is what `evolcoder reinforce --out` makes, or will have made."""
    if folder.with_name(f"{folder.name}.rollouts").is_dir():
        return True
    return (folder / "training.json").is_file() and "reinforce" in read_object(folder / "training.json")


def _read_run(folder: Path) -> Run:
    if learns_alone(folder):
        return Run(folder, {}, "", {}, (), (), _environment(folder, {}))
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder")
    found = (round_of_folder(path.name) for path in folder.iterdir() if path.is_dir())
    numbers = sorted((number for number in found if number is not None), key=round_order)
    recipe_path = folder / "recipe.yaml"
    if not numbers and not recipe_path.exists():
        raise DataError(
            f"{folder}: not a run folder (recipe.yaml or round-0 is expected in it), nor a model that learnt "
            "from execution"
        )
    result = read_object(folder / "result.json")
    recipe_text = recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else ""
    return Run(
        folder=folder,
        recipe=_parse_recipe(recipe_path, recipe_text),
        recipe_text=recipe_text,
        result=result,
        stages=_read_stages(folder),
        rounds=tuple(_read_round(folder / round_folder(number), number) for number in numbers),
        environment=_environment(folder, result),
        seeds_summary=read_object(folder / "seeds.json"),
    )


def rounds_of_result(run: Run) -> list[Round]:
    """Return the rounds that belong to the result; all of them while there is none.

    A folder may hold later rounds of an earlier, longer run of another recipe.
    """
    counted = {entry.get("round") for entry in run.result.get("rounds") or []}
    return [round_ for round_ in run.rounds if not counted or round_.number in counted]


def fine_tuned_round(run: Run) -> int:
    """Return the round whose fine-tuning is in the kept model; 0 where none is, or none is kept."""
    best = run.result.get("best_round")
    if best == REINFORCED_ROUND:
        best = run.rounds[-1].summary.get("started_from")
    return int(best or 0)


def data_round(run: Run) -> int:
    """Return the round whose data set made the kept model; the last one where none was fine-tuned."""
    evolved = [round_.number for round_ in rounds_of_result(run) if round_.number != REINFORCED_ROUND]
    return fine_tuned_round(run) or evolved[-1]


def _read_round(folder: Path, number: int) -> Round:
    training = read_object(folder / "checkpoint" / "training.json")
    scores = sorted(folder.glob("evaluation/*/scores.json"))
    return Round(
        number=number,
        folder=folder,
        summary=read_object(folder / "summary.json"),
        training=_training(training) if training else None,
        evaluations={path.parent.name: _read_evaluation(path) for path in scores},
    )


def _read_evaluation(path: Path) -> Evaluation:
    data = read_object(path)
    scores = tuple(score for score in data.get("scores") or [] if isinstance(score, Mapping))
    named = next((score["benchmark"] for score in scores if score.get("benchmark")), path.parent.name)
    return Evaluation(
        benchmark=str(named),
        scores=scores,
        problems=data.get("problems") or {},
        reasons=data.get("reasons") or {},
        families=data.get("families") or {},
    )


def _training(data: Mapping[str, Any]) -> Training:
    """Losses stand in `steps` as records, or in `losses` as records or plain numbers from step 1."""
    listed = data["steps"] if isinstance(data.get("steps"), list) else data.get("losses") or []
    held_out = data["evaluations"] if isinstance(data.get("evaluations"), list) else []
    facts = {key: value for key, value in data.items() if _is_number(value) or isinstance(value, str)}
    return Training(_points(listed), _points(held_out), facts)


def _points(listed: Sequence[Any]) -> tuple[tuple[float, float], ...]:
    points = []
    for number, point in enumerate(listed, 1):
        step, loss = (point.get("step"), point.get("loss")) if isinstance(point, Mapping) else (number, point)
        if _is_number(step) and _is_number(loss):
            points.append((float(step), float(loss)))
    return tuple(points)


def _read_stages(run: Path) -> tuple[StageTime, ...]:
    """Read `stages.json`, or while the run is under way what `stages/` holds of the finished ones."""
    listed = run / "stages.json"
    if listed.exists():
        entries = _read_json(listed)
    else:
        markers = (run / "stages").glob("*.json")
        entries = [_read_json(path) for path in sorted(markers, key=lambda path: path.stat().st_mtime_ns)]
    return tuple(
        StageTime(str(entry.get("name") or "?"), float(entry["seconds"]))
        for entry in entries
        if isinstance(entry, Mapping) and _is_number(entry.get("seconds"))
    )


def _environment(folder: Path, result: Mapping[str, Any]) -> dict[str, str]:
    recorded = result.get("environment") or read_object(folder / "environment.json")
    return {str(key): str(value) for key, value in recorded.items()}


def _parse_recipe(path: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return data if isinstance(data, dict) else {}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; {} where there is no file."""
    if not path.exists():
        return {}
    data = _read_json(path)
    if not isinstance(data, dict):
        raise DataError(f"{path}: a JSON object is expected, found {type(data).__name__}")
    return data


def read_list(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects in a file's list; [] where there is no file."""
    data = _read_json(path) if path.exists() else []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
