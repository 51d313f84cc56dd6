"""Options of commands that ask models behind endpoints for very many answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from evolcoder.models.endpoint.settings import EndpointSettings


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --base-url, --concurrency, --rpm, --tpm, --timeout, --price, --batch and --endpoint."""
    for option in reversed(
        (
            click.option(
                "--base-url",
                multiple=True,
                metavar="[WEIGHT*]URL",
                help="Server of openai:NAME; several that serve the same model.",
            ),
            click.option(
                "--concurrency",
                type=click.IntRange(min=1),
                default=EndpointSettings().concurrency,
                show_default=True,
                help="At most; how many the endpoint bears is found.",
            ),
            click.option("--rpm", type=float, help="Requests a minute that the endpoint allows."),
            click.option("--tpm", type=float, help="Tokens a minute that the endpoint allows."),
            click.option(
                "--timeout",
                "timeout_s",
                type=float,
                default=600.0,
                show_default=True,
                help="Seconds a request.",
            ),
            click.option(
                "--price",
                nargs=2,
                type=float,
                metavar="IN OUT",
                help="US dollars a million prompt and answer tokens; looked up for known vendors.",
            ),
            click.option(
                "--batch", is_flag=True, help="Ask by the OpenAI Batch API: half the price, slower."
            ),
            click.option(
                "--endpoint",
                "endpoint_pairs",
                multiple=True,
                metavar="KEY=VALUE",
                help="Any further setting of the endpoint, e.g. hedge_share=0.05.",
            ),
        )
    ):
        command = option(command)
    return command


def endpoint_settings(options: Mapping[str, Any]) -> EndpointSettings:
    """Return the settings that these options say.

    Raises UserError that names the option or key, what was found and what is expected.
    """
    from dataclasses import fields

    import yaml
    from pydantic import TypeAdapter, ValidationError

    from evolcoder.errors import UserError, nearest

    values: dict[str, Any] = {
        name: options[name] for name in ("concurrency", "rpm", "tpm", "timeout_s", "batch")
    }
    if options["price"]:
        values["usd_per_million_input"], values["usd_per_million_output"] = options["price"]
    known = [field.name for field in fields(EndpointSettings)]
    for pair in options["endpoint_pairs"]:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--endpoint {pair}: KEY=VALUE is expected")
        if key not in known:
            raise UserError(
                f"--endpoint {pair}: unknown key{nearest(key, known)}; the keys are {', '.join(known)}"
            )
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--endpoint {pair}: the value is not YAML") from error
    try:
        return TypeAdapter(EndpointSettings).validate_python(values)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        key = ".".join(map(str, found["loc"]))
        message = found["msg"].removeprefix("Value error, ")
        raise UserError(f"endpoint: {key + ': ' if key else ''}{message}") from error
