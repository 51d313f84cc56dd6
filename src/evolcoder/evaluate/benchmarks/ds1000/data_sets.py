"""Data sets that 15 problems of DS-1000 fetch from the network, gathered when the environment is built.

From their publishers where those can be reached; two of the five come with packages of the lock file too.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import subprocess
from pathlib import Path

SEABORN = ("tips", "penguins", "planets", "exercise")
HOUSING = "california_housing"

_FETCH = """
import socket, sys
socket.setdefaulttimeout(20)
folder, names = sys.argv[1], sys.argv[2:]
import seaborn
from sklearn.datasets import fetch_california_housing
for name in names:
    try:
        seaborn.load_dataset(name, data_home=folder + "/seaborn")
    except Exception:
        pass
try:
    fetch_california_housing(data_home=folder + "/sklearn")
except Exception:
    pass
"""


def gather(python: Path, folder: Path) -> list[str]:
    """Fill `folder` as seaborn and scikit-learn expect it; return the names of those still missing."""
    seaborn, sklearn = folder / "seaborn", folder / "sklearn"
    for part in (seaborn, sklearn):
        part.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in SEABORN if not (seaborn / f"{name}.csv").exists()]
    command = [str(python), "-c", _FETCH, str(folder), *wanted]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # what is missing is told
        subprocess.run(command, capture_output=True, timeout=300, check=False)
    _take_from_packages(folder.parent, seaborn)
    missing = [name for name in SEABORN if not (seaborn / f"{name}.csv").exists()]
    return missing if any(sklearn.iterdir()) else [*missing, HOUSING]


def _take_from_packages(packages: Path, seaborn: Path) -> None:
    tips = packages / "plotly" / "package_data" / "datasets" / "tips.csv.gz"
    if tips.exists() and not (seaborn / "tips.csv").exists():
        (seaborn / "tips.csv").write_bytes(gzip.decompress(tips.read_bytes()))
    penguins = packages / "palmerpenguins" / "data" / "penguins.csv"
    if penguins.exists() and not (seaborn / "penguins.csv").exists():
        with penguins.open(newline="") as source, (seaborn / "penguins.csv").open("w", newline="") as target:
            header, *rows = csv.reader(source)
            writer = csv.writer(target)
            writer.writerow(header[:-1])
            writer.writerows(map(_as_seaborn_has_it, rows))


def _as_seaborn_has_it(row: list[str]) -> list[str]:
    """Return a penguin without its year, its sex in capitals, what is unknown empty."""
    *measures, sex, _year = ("" if cell == "NA" else cell for cell in row)
    return [*measures, sex.upper()]
