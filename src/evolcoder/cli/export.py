"""`evolcoder export`: a model as a GGUF file, for llama.cpp and Ollama."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from evolcoder.cli.options import overwrite_option


@click.command()
@click.argument("model")
@click.option("--to", type=click.Choice(["gguf"]), default="gguf", help="Format.")
@click.option(
    "--quantize",
    type=click.Choice(["none", "q8_0", "q4_k_m"]),
    default="none",
    help="none: fp16; q4_k_m needs llama.cpp's llama-quantize.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: gguf/NAME.gguf]")
@overwrite_option
def command(
    model: str, to: str, quantize: Literal["none", "q8_0", "q4_k_m"], out: Path | None, overwrite: bool
) -> None:
    """Write MODEL as a GGUF file and an Ollama Modelfile beside it.

    \b
    Example:
      evolcoder export model --to gguf --quantize q8_0 --out model-q8/model.gguf
      ollama create mine -f model-q8/Modelfile
    """
    from evolcoder.train.gguf_export import export_gguf

    folder = Path(model)
    out = out or (Path("gguf") / f"{folder.name or 'model'}.gguf")
    file = export_gguf(model, out, quantize, overwrite)
    click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB; {file.with_name('Modelfile')}")
