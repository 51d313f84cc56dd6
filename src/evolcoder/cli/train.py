"""`evolcoder train`: fine-tune a base model on instructions, or say what that would take."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolcoder.cli.options import columns_option, overwrite_option
from evolcoder.errors import RecipeError

if TYPE_CHECKING:
    from evolcoder.train.settings import TrainingJob

_SETTINGS = (
    *("epochs", "max_steps", "batch_size", "max_length", "learning_rate", "lora", "deepspeed"),
    "eval_rows",
)
"""Options that are settings under the same name."""


@click.command()
@click.option(
    "--base", help="The model to fine-tune: embedded, a folder, a GGUF file, or a Hugging Face name."
)
@click.option(
    "--data",
    multiple=True,
    metavar="FILE...",
    help="Rows: a file of any form (docs/formats.md) or a hub name; several may follow.",
)
@columns_option
@click.option(
    "--eval-data", multiple=True, metavar="FILE", help="Rows to measure the held-out loss on; repeatable."
)
@click.option(
    "--eval-rows", type=int, metavar="N", help="Hold N rows of the data out and measure the loss on them."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the finished model.")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="Base, data and settings from this file, or name of recipe list.",
)
@click.option("--epochs", type=float, help="Passes over the data.  [default: 3]")
@click.option("--max-steps", type=int, help="Train exactly this many steps instead.")
@click.option("--batch-size", type=int, help="Sequences per step, over all devices.  [default: 512]")
@click.option("--max-length", type=int, help="Most tokens of a sequence.  [default: 2048]")
@click.option("--learning-rate", type=float, help="Highest learning rate.  [default: 2e-5]")
@click.option("--lora", type=int, metavar="RANK", help="Train LoRA adapters of this rank.")
@click.option(
    "--deepspeed",
    metavar="FILE",
    help="Train by this DeepSpeed configuration (JSON) or name of recipe list, not FSDP2.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting, see docs/training.md."
)
@overwrite_option
@click.option("--plan", is_flag=True, help="Train nothing; say memory, steps and days.")
@click.option("--gpus", type=click.IntRange(min=1), default=8, help="For --plan: how many.")
@click.option(
    "--gpu-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=80.0,
    help="For --plan: memory of each, in GB.",
)
@click.argument("more_data", nargs=-1, metavar="")  # the further files of --data A B C
@click.option(
    "--rows", type=click.IntRange(min=1), help="For --plan: rows, where no data is given.  [default: 78000]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    data: tuple[str, ...], more_data: tuple[str, ...], out: Path | None, recipe: Path | None, **options: Any
) -> None:
    """Fine-tune a base model on instructions, loss on the responses only.

    A killed training goes on where its last checkpoint stands when the same command is given again. On
    several GPUs: torchrun --nproc-per-node 8 -m evolcoder train ...

    \b
    Example:
      evolcoder train --base embedded --data seeds.jsonl evolved.jsonl --out model --epochs 1 --batch-size 16
      evolcoder train --recipe starcoder-15b --plan --gpus 8 --gpu-gb 80
    """

    given = {name: value for name in _SETTINGS if (value := options[name]) is not None}
    if more_data and not data:
        raise click.UsageError(f"unexpected {more_data[0]!r}: data files follow --data")
    files = (*data, *more_data)
    said = read_train_recipe(recipe) if recipe else {}
    beside = (options["overrides"], options["eval_data"], options["columns"])
    planned = training_from(said, options["base"], files, given, *beside)
    if not planned.base:
        raise RecipeError("nothing to fine-tune: --base MODEL or --recipe FILE is expected")
    as_json = options["as_json"]
    if options["plan"]:
        from evolcoder.train.plan import plan_text, plan_training

        if out is not None:
            from evolcoder.train.export import check_place

            check_place(out, planned.base, {}, overwrite=True)
        estimate = plan_training(planned, **{name: options[name] for name in ("gpus", "gpu_gb", "rows")})
        click.echo(json.dumps(dataclasses.asdict(estimate), indent=2) if as_json else plan_text(estimate))
        return
    if not planned.data or out is None:
        raise RecipeError("--data FILE and --out DIR are expected (or --plan)")
    from evolcoder.cli.progress_view import progress_view
    from evolcoder.instructions import read_instructions
    from evolcoder.train import train

    instructions = [row for source in planned.data for row in read_instructions(source, planned.columns)]
    held_out = [row for source in planned.eval_data for row in read_instructions(source, planned.columns)]
    given_to = (planned.base, instructions, planned.train, out, progress_view(), held_out)
    result = train(*given_to, overwrite=options["overwrite"])
    from evolcoder.train.processes import leave_processes

    leave_processes()
    if os.environ.get("RANK", "0") != "0":
        return  # one of torchrun's processes speaks for all
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(result), "folder": str(result.folder)}))
    else:
        click.echo(
            f"{result.folder}: {len(result.losses)} steps, "
            f"loss {result.losses[0]:.3f} to {result.losses[-1]:.3f}, {result.tokens:,} tokens "
            f"in {result.seconds:.0f} s ({result.padding_share:.1%} padding)"
        )
        if result.held_out_losses:
            (_, before), (_, after) = result.held_out_losses[0], result.held_out_losses[-1]
            click.echo(f"held-out loss {before:.3f} to {after:.3f}")


def read_train_recipe(path: Path) -> dict[str, Any]:
    """Read a training recipe, a file or a shipped one's name; raises RecipeError naming every bad key."""
    import yaml

    from evolcoder.recipe import section_from_data
    from evolcoder.shipped_recipes import TRAIN, recipe_file
    from evolcoder.train.settings import TrainingJob

    path = recipe_file(path, TRAIN)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: not YAML text ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a mapping is expected, found {type(data).__name__}")
    data = {key: value for key, value in data.items() if value is not None}
    for key in data.keys() & {"data", "eval_data"}:  # one name or a list of names
        data[key] = [data[key]] if isinstance(data[key], str) else data[key]
    section_from_data(TrainingJob, data, str(path))
    data.setdefault("name", path.stem)
    return data


def training_from(
    recipe: Mapping[str, Any],
    base: str | None,
    data: Sequence[str],
    given: Mapping[str, Any],
    overrides: Sequence[str] = (),
    eval_data: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> TrainingJob:
    """Put a recipe and what was given beside it together; what was given wins.

    Raises RecipeError for an unknown or impossible setting.
    """
    from evolcoder.recipe import section_from_data, with_overrides
    from evolcoder.train.settings import TrainingJob, TrainSettings

    changed = [override.removeprefix("train.") for override in overrides]
    values = with_overrides({**(recipe.get("train") or {}), **given}, changed)
    another = base is not None and base != recipe.get("base")
    return TrainingJob(
        base=base or recipe.get("base", ""),
        data=tuple(data or recipe.get("data", ())),
        train=section_from_data(TrainSettings, values, "train"),
        name=recipe.get("name") or base or "",
        architecture={} if another else recipe.get("architecture") or {},
        eval_data=tuple(eval_data or recipe.get("eval_data", ())),
        columns=dict(columns or recipe.get("columns") or {}),
    )
