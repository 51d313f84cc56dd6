"""How values become text in the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from evolcoder.progress import duration
from evolcoder.report.table import percent, round_name


def template(name: str) -> jinja2.Template:
    """Return a template of this package, with everything it prints escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evolcoder.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "p_value": p_value,
        "round_name": round_name,
    }
    return environment.get_template(name)


def p_value(p: float) -> str:
    """Return a p value as it is written: "p = 0.38", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted keys and printable values, in order."""
    flat = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat += flat_settings(value, f"{name}.")
        else:
            flat.append((name, "–" if value is None else str(value)))
    return flat
