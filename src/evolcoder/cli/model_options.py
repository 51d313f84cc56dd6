"""Options that every command with a model takes, whether it is local or behind an endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from evolcoder.cli.options import together
from evolcoder.errors import UserError
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.session import ModelChoice

model_options = together(
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
        help="At most; how many the endpoint bears is found.",
    ),
    click.option("--rpm", type=float, help="Requests a minute that the endpoint allows."),
    click.option("--tpm", type=float, help="Tokens a minute that the endpoint allows."),
    click.option(
        "--price",
        nargs=2,
        type=float,
        metavar="IN OUT",
        help="US dollars a million prompt and answer tokens; looked up for known vendors.",
    ),
    click.option("--batch", is_flag=True, help="Ask by the OpenAI Batch API: half the price, slower."),
    click.option("--reasoning-effort", metavar="EFFORT", help="Of a reasoning model: low, medium, high."),
    click.option("--extra-body", metavar="JSON", help="Further fields of each request, one object."),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="NAME=VARIABLE",
        help="A further header; its value stands in the environment variable.",
    ),
    click.option(
        "--endpoint",
        "endpoint_pairs",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any further setting of the endpoint, e.g. hedge_share=0.05.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(min=1), default=LocalSettings().batch_size, help="Local models."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        help="Number format of a local model.",
    ),
    click.option(
        "--replicas",
        type=click.IntRange(min=0),
        default=1,
        help="Copies of a local model, a GPU each, that write at once; 0: one for each GPU.",
    ),
)
"""Add options for an endpoint (--base-url ... --endpoint) and for a local model (--batch-size ...)."""


def model_choice(model: str, options: Mapping[str, Any], timeout_s: float | None = None) -> ModelChoice:
    """Return the model that these options say; `timeout_s` is that of one request.

    Raises UserError that names the option or key, what was found and what is expected.
    """
    local = LocalSettings(**{name: options[name] for name in ("dtype", "batch_size", "replicas")})
    return ModelChoice(model, options["base_url"] or None, _endpoint_settings(options, timeout_s), local)


def _endpoint_settings(options: Mapping[str, Any], timeout_s: float | None) -> EndpointSettings:
    import yaml

    from evolcoder.recipe import section_from_data

    values: dict[str, Any] = {name: options[name] for name in ("concurrency", "rpm", "tpm", "batch")}
    if timeout_s is not None:
        values["timeout_s"] = timeout_s
    if options["price"]:
        values["usd_per_million_input"], values["usd_per_million_output"] = options["price"]
    if options["reasoning_effort"]:
        values["reasoning_effort"] = options["reasoning_effort"]
    if text := options["extra_body"]:
        try:
            values["extra_body"] = json.loads(text)
        except ValueError as error:
            raise UserError(f"--extra-body {text}: a JSON object is expected ({error})") from error
    if options["headers"]:
        pairs = (named_value("--header", text, "NAME=VARIABLE") for text in options["headers"])
        values["headers"] = dict(pairs)
    for pair in options["endpoint_pairs"]:
        key, text = named_value("--endpoint", pair, "KEY=VALUE")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--endpoint {pair}: the value is not YAML") from error
    return section_from_data(EndpointSettings, values, "endpoint")


def named_value(option: str, text: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Return the parts of an option's value of this form; raises UserError for one without "="."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{option} {text}: {form} is expected")
    return key.strip(), value.strip()
