"""Fine-tune on the machines of a Ray cluster with Ray Train: one process a GPU, FSDP2 across all of them.

    pip install 'evolcoder[train,ray]' 'ray[train]'
    python examples/train_on_ray.py --address auto --workers 8 --base Qwen/Qwen2.5-Coder-1.5B \
        --data /shared/dataset.jsonl --recipe qwen2.5-coder-1.5b --out /shared/model

--data and --out must lie on a file system that all machines see. A lost worker begins all of them again, at
most --failures times, and training goes on from its last step checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def main() -> None:
    """Start the workers and print what rank 0 gave."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--address", default="auto", help='of the cluster; "local" begins one here')
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--cpu", action="store_true", help="one process a CPU core instead of a GPU (gloo)")
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--recipe",
        type=Path,
        help="a file, or a name of `evolcoder recipe list`; TrainSettings' defaults if absent",
    )
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--failures", type=int, default=3)
    options = parser.parse_args()
    ray.init(address=options.address)
    trainer = TorchTrainer(
        train_here,
        train_loop_config={
            "base": options.base,
            "data": str(options.data.resolve()),
            "settings": settings_from(options.recipe, options.settings),
            "out": str(options.out.resolve()),
        },
        scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=not options.cpu),
        run_config=RunConfig(
            name=options.out.name,
            storage_path=str(options.out.resolve().parent / "ray"),
            failure_config=FailureConfig(max_failures=options.failures),
        ),
    )
    print(trainer.fit())


def settings_from(recipe: Path | None, pairs: list[str]) -> dict[str, Any]:
    """Return training settings by name: a recipe's, then KEY=VALUE pairs with the value in YAML."""
    import yaml

    from evolcoder.shipped_recipes import TRAIN, recipe_file

    found: dict[str, Any] = {}
    if recipe is not None:
        found |= yaml.safe_load(recipe_file(recipe, TRAIN).read_text())["train"]
    for pair in pairs:
        key, _, value = pair.partition("=")
        found[key] = yaml.safe_load(value)
    return found


def train_here(job: dict[str, Any]) -> None:
    """Train in one of the workers; Ray Train has joined them (RANK, WORLD_SIZE, the process group)."""
    from evolcoder.instructions import read_instructions
    from evolcoder.train import TrainSettings, train

    result = train(
        job["base"], read_instructions(job["data"]), TrainSettings(**job["settings"]), Path(job["out"])
    )
    print(f"{len(result.losses)} steps, the last loss {result.losses[-1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
