"""Published figures of the method's family and its peers, to be shown beside a measurement.

They stand in `published.toml`. A figure is comparable only where prompt, decoding and data version agree, so
each carries its source and how its answers were drawn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from evolcoder.evaluate.benchmarks import named_set
from evolcoder.evaluate.benchmarks.benchmark import NamedSet

DecodingKind = Literal["greedy", "sampled", "not said"]
"""Only scores of one kind compare: a mean over samples is another measure than one greedy answer."""

TABLES = ("wizardcoder", "wizardmath", "wizardlm", "figure-1")
"""The tables of the method's family and the paper's Figure 1, by name."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure."""

    model: str
    benchmark: str
    """Without a data version: "humaneval", "humaneval+", "mbpp", "mbpp+", "multipl-e:java"."""
    value: float
    """In percent; points of 10 on mt-bench."""
    decoding: str
    """"greedy", "n=20", "n=200", "n=20 or 200" where the source does not say which, or "not said"."""
    source: str
    """The letter of its source."""
    table: str


def published_sources() -> dict[str, str]:
    """Return what the letters of the sources mean."""
    return {str(letter): str(source) for letter, source in _data()["sources"].items()}


def published_benchmarks() -> tuple[str, ...]:
    """Return the benchmarks that have a figure."""
    return tuple(dict.fromkeys(figure.benchmark for figure in _figures()))


def known_set(benchmark: str) -> NamedSet:
    """Return what is known of a benchmark by its name, also of one that has only published figures."""
    told = _data()["benchmarks"].get(benchmark)
    return named_set(benchmark) if told is None else NamedSet(benchmark, **told)


def published_for(benchmark: str) -> list[Published]:
    """Return the figures of a benchmark (any data version), best first; one that two sources have, once."""
    name = benchmark.split("@")[0].split(" ")[0]
    once = {(f.model, f.value, f.decoding): f for f in reversed(_figures()) if f.benchmark == name}
    return sorted(once.values(), key=lambda figure: (-figure.value, figure.model))


def published_table(name: str) -> list[Published]:
    """Return the figures of one of `TABLES`, in the order of the source."""
    return [figure for figure in _figures() if figure.table == name]


def decoding_kind(decoding: str) -> DecodingKind:
    """Return what kind of decoding a description names: "greedy", "n=20 T=0.2" is sampled."""
    return "greedy" if decoding == "greedy" else "sampled" if decoding.startswith("n=") else "not said"


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _figures() -> tuple[Published, ...]:
    return tuple(
        Published(model, benchmark, float(value), table["decoding"], table["source"], table["name"])
        for table in _data()["tables"]
        for model, *values in table["rows"]
        for benchmark, value in zip(table["benchmarks"], values, strict=True)
        if value != "-"
    )
