"""The benchmarks of this package as a list: how large, whose, how judged, what is missing on this machine."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import benchmark_names
from evolcoder.evaluate.benchmarks.benchmark import NamedSet
from evolcoder.evaluate.benchmarks.data_files import on_this_machine


def known_benchmarks(part: str = "") -> list[dict[str, Any]]:
    """Return what is known of the benchmarks whose name holds `part`; compilers are looked for, no data read.

    `problems` is 0, `licence` and `tier` are "" where they are not known. `data` are addresses, or paths of
    EVOLCODER_DATA that nobody offers; () where it comes with this package. `dated` is whether the name takes
    a window of dates, `missing` what this machine lacks, with what gets it.
    """
    return [
        {
            "name": name,
            "problems": named.size,
            "licence": named.licence,
            "tier": named.tier,
            "data": tuple(file.url or file.path for file in named.files),
            "dated": named.dated,
            "missing": tuple(_missing(named)),
        }
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
