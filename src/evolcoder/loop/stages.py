"""The stages of a run: what each is made from, whether it is done, and why it must be done again.

A stage that is finished leaves a marker in `RUN/stages/` with the settings and the content hashes of the
files that went into it. It is done again when one differs, when a product is gone, or when it is named.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evolcoder.errors import UserError, nearest, shortened
from evolcoder.progress import Progress, StageLine, StageState, StageWatcher
from evolcoder.runs import OUTPUT_MARK, check_output_folder, content_hash, write_json_whole

_CLOCK_S = 1.0
"""How often the time of a stage under way is written down, in seconds."""
State = Literal["done", "to do", "again", "perhaps again", "skipped"]
""""perhaps again": an earlier stage is done again, and may come out as it was."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much work a stage is, to tell how long it will take from how long such work took."""

    kind: str
    """"evolve", "train", "evaluate" ..."""
    of: str
    """What the speed depends on beside the amount: the model."""
    units: float
    """Rows, or samples."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One piece of a run that is done whole."""

    id: str
    """By which it is named: "train:2", "evaluate:2:humaneval"."""
    title: str
    settings: Mapping[str, Any]
    """The settings that its products follow from, by dotted key."""
    inputs: Mapping[str, Callable[[], str]]
    """What else they follow from: name -> function that returns its content hash."""
    after: tuple[str, ...]
    """Ids of the stages whose products it reads."""
    products: tuple[Path, ...]
    pace: Pace | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of settings that a marker does not know, because it was left by an earlier version."""

    def named(self, name: str) -> bool:
        """Whether `name` is this stage's id or the beginning of it: "train" names every training."""
        return self.id == name or self.id.startswith(f"{name}:")


@dataclass(frozen=True, slots=True)
class Choice:
    """Stages that the user named."""

    redo: tuple[str, ...] = ()
    """To be done again although nothing has changed."""
    skip: tuple[str, ...] = ()
    """To be left as they stand; what needs a product that is not there is skipped too."""

    def check(self, stages: Sequence[Stage]) -> None:
        """Raise UserError for a name that names no stage."""
        for option, names in (("--redo", self.redo), ("--skip", self.skip)):
            for name in names:
                if not any(stage.named(name) for stage in stages):
                    ids = [stage.id for stage in stages]
                    kinds = list(dict.fromkeys(id_.split(":")[0] for id_ in ids))
                    raise UserError(
                        f"{option} {name}: no such stage{nearest(name, [*ids, *kinds])}; "
                        f"the stages are {', '.join(ids)}"
                    )


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage as a run would meet it now."""

    stage: Stage
    state: State
    why: str
    """What has changed, or what it waits for; "" for a stage that is done."""
    seconds: float | None
    """What it took; None where it was never done."""


@dataclass(slots=True)
class Stages:
    """Does stages once, and remembers what each was made from in `RUN/stages/`."""

    run: Path
    progress: Progress
    choice: Choice = field(default_factory=Choice)
    estimate: Callable[[], Mapping[str, float]] = dict
    expected: Mapping[str, float] = field(default_factory=dict)
    """Seconds that stages not done are expected to take, by id."""
    lines: dict[str, StageLine] = field(default_factory=dict)
    """What is shown of each stage, by title."""
    met: list[str] = field(default_factory=list)
    """Ids of the stages met so far, in order."""
    _missing: set[str] = field(default_factory=set)
    _ids: dict[str, str] = field(default_factory=dict)
    """Ids of the stages that were planned, by title."""

    @contextmanager
    def doing(self, stage: Stage) -> Iterator[bool]:
        """Yield whether a stage is to be done now, in the block; at the end of the block it is done.

        One that is done stays as it is; one that is skipped, or needs what is not there, is left out. Where
        the block raises, the stage is not done.
        """
        self.met.append(stage.id)
        if self._is_skipped(stage):
            yield False
            return
        redo = any(map(stage.named, self.choice.redo))
        marker = self.marker(stage.id)
        key, inputs = _key(stage)
        clock_path, sitting = marker.with_suffix(".clock"), f"{key}-redo" if redo else key
        # A stage that was killed while it was done again goes on; one that was finished begins anew.
        afresh = redo and (marker.exists() or _earlier_seconds(clock_path, sitting) is None)
        unmarked = []
        if marker.exists():
            found = json.loads(marker.read_text())
            differences = _differences(stage, found, inputs)
            if not redo and not differences:
                self._show(stage, "kept", found["seconds"])
                yield False
                return
            why = "named by --redo" if redo else "; ".join(differences)
            self.progress.note(f"{stage.title}: done again ({why})")
            marker.unlink()
            # Version 0.1.0 left no mark in the folders that it made; the marker says whose they are.
            unmarked = [p for p in stage.products if p.is_dir() and not (p / OUTPUT_MARK).exists()]
        for product in stage.products if afresh else unmarked:
            _remove(product)
        self._show(stage, "running", self.expected.get(stage.id))
        with _clock(clock_path, sitting) as seconds:
            yield True
        took = round(seconds(), 1)
        told = {"id": stage.id, "name": stage.title, "key": key, "seconds": took}
        told |= {"settings": dict(stage.settings), "inputs": inputs}
        write_json_whole(marker, {**told, "pace": astuple(stage.pace) if stage.pace else None})
        clock_path.unlink(missing_ok=True)
        self._show(stage, "done", took)
        self._expect_anew()

    def lacks(self, stage: Stage) -> bool:
        """Whether a stage that was met was left out, so that its products are not there."""
        return stage.id in self._missing

    def plan(self, stages: Sequence[Stage]) -> list[PlannedStage]:
        """Say how each of `stages`, in order, stands, without doing anything."""
        self.choice.check(stages)
        planned: dict[str, PlannedStage] = {}
        for stage in stages:
            planned[stage.id] = self._planned(stage, planned)
        return list(planned.values())

    def expect(self, planned: Sequence[PlannedStage], estimate: Callable[[], Mapping[str, float]]) -> None:
        """Take over a plan; `estimate` returns the seconds that stages to do will take, by id.

        It is asked again after every stage that ends.
        """
        self.estimate = estimate
        self._ids = {item.stage.title: item.stage.id for item in planned}
        self.announce(self._ids)
        self._expect_anew()

    def announce(self, titles: Iterable[str]) -> None:
        """Take over the titles of the stages that will come, for the watcher."""
        self.lines.update({title: StageLine(title, "waiting", None) for title in titles})

    def end(self) -> None:
        """Tell the watcher that no stage follows."""
        if isinstance(self.progress, StageWatcher):
            self.progress.stages(())

    def seconds_of(self, id_: str) -> float:
        """Return what a stage took, over all sittings; 0 where it is not done."""
        marker = self.marker(id_)
        return float(json.loads(marker.read_text())["seconds"]) if marker.exists() else 0.0

    def marker(self, id_: str) -> Path:
        """Return the file that says that a stage is done."""
        return self.run / "stages" / (re.sub(r"[^\w.+-]", "-", id_) + ".json")

    def write_times(self) -> None:
        """Write `stages.json`: the run's stages in order, with the seconds each took when it was done."""
        markers = [json.loads(self.marker(id_).read_text()) for id_ in self.met if self.marker(id_).exists()]
        stages = [{"name": marker["name"], "seconds": marker["seconds"]} for marker in markers]
        write_json_whole(self.run / "stages.json", stages)

    def _planned(self, stage: Stage, before: Mapping[str, PlannedStage]) -> PlannedStage:
        marker = self.marker(stage.id)
        found = json.loads(marker.read_text()) if marker.exists() else None
        seconds = float(found["seconds"]) if found else None
        there = all(product.exists() for product in stage.products)
        if any(map(stage.named, self.choice.skip)):
            return PlannedStage(stage, "skipped", "taken as it stands" if there else "nothing there", seconds)
        parents = [before[id_] for id_ in stage.after if id_ in before]
        if lacking := [p.stage.id for p in parents if p.state == "skipped" and p.why != "taken as it stands"]:
            return PlannedStage(stage, "skipped", f"it needs {', '.join(lacking)}", seconds)
        if found is None:
            return PlannedStage(stage, "to do", "", None)
        if any(map(stage.named, self.choice.redo)):
            return PlannedStage(stage, "again", "named by --redo", seconds)
        if changed := _setting_differences(stage, found) + _lost(stage):
            return PlannedStage(stage, "again", "; ".join(changed), seconds)
        if waiting := [p.stage.title for p in parents if p.state not in ("done", "skipped")]:
            return PlannedStage(
                stage, "perhaps again", f"if {' or '.join(waiting)} comes out otherwise", seconds
            )
        if differences := _differences(stage, found, _key(stage)[1]):
            return PlannedStage(stage, "again", "; ".join(differences), seconds)
        return PlannedStage(stage, "done", "", seconds)

    def _expect_anew(self) -> None:
        self.expected = self.estimate()
        for title, line in self.lines.items():
            if line.state == "waiting":
                self.lines[title] = replace(line, seconds=self.expected.get(self._ids.get(title, "")))

    def _is_skipped(self, stage: Stage) -> bool:
        """Whether the user named a stage to be left as it stands, or it needs what is not there."""
        there = False
        if any(map(stage.named, self.choice.skip)):
            there = all(product.exists() for product in stage.products)
            how = "taken as it stands" if there else "skipped"
        elif lacking := [id_ for id_ in stage.after if id_ in self._missing]:
            how = f"skipped, it needs {', '.join(lacking)}"
        else:
            return False
        self.progress.note(f"{stage.title}: {how}")
        self._show(stage, "skipped", None)
        if not there:
            self._missing.add(stage.id)
        return True

    def _show(self, stage: Stage, state: StageState, seconds: float | None) -> None:
        self.lines[stage.title] = StageLine(stage.title, state, seconds)
        if isinstance(self.progress, StageWatcher):
            self.progress.stages(list(self.lines.values()))
        elif state in ("running", "kept"):
            self.progress.note(stage.title + (": done before" if state == "kept" else ""))


def _key(stage: Stage) -> tuple[str, dict[str, str]]:
    inputs = {name: hash_() for name, hash_ in stage.inputs.items()}
    return content_hash(stage.id, stage.settings, inputs), inputs


def _differences(stage: Stage, found: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """Return, in words, what changed since a stage left its marker; nothing where the stage is done."""
    old = found.get("inputs") or {}
    changed = [name for name in dict.fromkeys([*old, *inputs]) if old.get(name) != inputs.get(name)]
    return _setting_differences(stage, found) + [f"{name} changed" for name in changed] + _lost(stage)


def _lost(stage: Stage) -> list[str]:
    return [] if all(product.exists() for product in stage.products) else ["its product is gone"]


def _setting_differences(stage: Stage, found: Mapping[str, Any]) -> list[str]:
    new = json.loads(json.dumps(dict(stage.settings)))
    old = {**{key: value for key, value in stage.defaults.items() if key in new}, **(found["settings"] or {})}
    changed = [key for key, value in new.items() if old.get(key) != value]
    return [f"{key}: {_told(old.get(key))} → {_told(new[key])}" for key in changed]


def _told(value: Any) -> str:
    return "absent" if value is None else shortened(str(value), 40)


def _remove(product: Path) -> None:
    if product.is_dir():
        with suppress(FileNotFoundError):  # what somebody laid among an output's files stays
            kind = json.loads((product / OUTPUT_MARK).read_bytes())["kind"]
            check_output_folder(product, kind)
        shutil.rmtree(product)
    else:
        product.unlink(missing_ok=True)


@contextmanager
def _clock(path: Path, key: str) -> Iterator[Callable[[], float]]:
    """Measure a block over all its sittings: what killed ones took stands in the file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start, ended = time.monotonic() - (_earlier_seconds(path, key) or 0.0), threading.Event()

    def seconds() -> float:
        return time.monotonic() - start

    def write() -> None:
        with suppress(OSError):  # a full disk: it costs a measured time, no stage
            path.write_text(f"{key} {seconds():.1f}")

    def keep() -> None:
        while not ended.wait(_CLOCK_S):
            write()

    thread = threading.Thread(target=keep, name="clock", daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        ended.set()
        thread.join()
        write()


def _earlier_seconds(path: Path, key: str) -> float | None:
    """Return what earlier sittings took; None for a file that is missing, cut short or of another stage."""
    try:
        of, seconds = path.read_text().split()
        return float(seconds) if of == key else None
    except (OSError, ValueError):
        return None
