"""Training curves for TensorBoard, Weights & Biases and trackio."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from evolcoder.progress import Progress
from evolcoder.train.settings import TrainSettings


class Tracker(Protocol):
    """One place that curves go to."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve."""
        ...

    def close(self) -> None:
        """Write what is still in memory."""
        ...


class _TensorBoard:
    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Points after the resumed step are of the killed process; they are hidden.
        self._writer: Any = SummaryWriter(str(folder), purge_step=first_step + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _RunModule:
    """wandb and trackio share one interface: init, log, finish."""

    def __init__(self, module: Any, run: str, config: Mapping[str, Any]) -> None:
        self._module = module
        module.init(project="evolcoder", name=run, config=dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        self._module.finish()


def open_trackers(
    settings: TrainSettings,
    folder: Path,
    run: str,
    config: Mapping[str, Any],
    first_step: int,
    progress: Progress,
) -> list[Tracker]:
    """Open every tracker that the settings name; one that is not installed is said and done without."""
    trackers: list[Tracker] = []
    for name in settings.tracking:
        try:
            if name == "tensorboard":
                trackers.append(_TensorBoard(folder / "tensorboard", first_step))
            else:
                trackers.append(_RunModule(importlib.import_module(name), run, config))
        except ImportError:
            progress.note(f"{name} is not installed, so it shows no curves: pip install {name}")
    return trackers
