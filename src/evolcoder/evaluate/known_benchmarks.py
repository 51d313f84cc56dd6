"""The benchmarks of this package as a list: how large, whose, how judged, what is missing on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import benchmark_names
from evolcoder.evaluate.benchmarks.benchmark import NamedSet
from evolcoder.evaluate.benchmarks.data_files import on_this_machine


@dataclass(frozen=True, slots=True)
class KnownBenchmark:
    """One name that `--benchmark` takes."""

    name: str
    problems: int
    """0 where that is not known before they are read."""
    licence: str
    """Of its data; "" where it is not known."""
    tier: str
    """How its programs are judged; "" where it is not known."""
    data: tuple[str, ...]
    """Where its data comes from: an address each, or a path under EVOLCODER_DATA that nobody offers;
    () where it comes with this package."""
    dated: bool
    """Whether it takes a window of dates."""
    missing: tuple[str, ...]
    """What this machine lacks, with what gets it; () where it can be measured at once."""


def known_benchmarks(part: str = "") -> list[KnownBenchmark]:
    """Return the benchmarks whose name holds `part`; compilers are looked for, data is not read."""
    return [
        KnownBenchmark(
            name=name,
            problems=named.size,
            licence=named.licence,
            tier=named.tier,
            data=tuple(file.url or file.path for file in named.files),
            dated=named.dated,
            missing=tuple(_missing(named)),
        )
        for name, named in benchmark_names().items()
        if part in name
    ]


def _missing(named: NamedSet) -> list[str]:
    found = [
        f"data: downloaded at its first use from {urlsplit(file.url).hostname}"
        if file.url
        else f"data: {file.path} in EVOLCODER_DATA, which nobody offers"
        for file in named.files
        if not on_this_machine(file)
    ]
    if named.ready is not None:
        try:
            named.ready()
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))
