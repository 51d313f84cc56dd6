"""How values become text in the templates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from evolcoder.progress import duration
from evolcoder.report.table import p_value, percent, round_name


@cache
def template(name: str, package: str = "evolcoder.report") -> jinja2.Template:
    """Return a template of a package, with everything it prints escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
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
