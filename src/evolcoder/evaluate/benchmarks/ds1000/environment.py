"""The environment that DS-1000 is judged in: packages of a lock file, and five data sets.

15 problems fetch the data sets from the network, so they are gathered when the environment is built: from
their publishers where those can be reached; two come with packages of the lock file too.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib.resources
import subprocess
from pathlib import Path

from evolcoder.evaluate.environments import EnvironmentSpec

DATA_FOLDER = "ds1000_data"
"""Beside the packages: data sets that libraries would fetch, which no program can."""
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


def gather(python: Path, packages: Path) -> list[str]:
    """Get the data sets, as seaborn and scikit-learn expect them; return the names of those still missing."""
    folder = packages / DATA_FOLDER
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


_LIBRARIES = """
numpy pandas scipy scipy.integrate scipy.interpolate scipy.ndimage scipy.optimize scipy.signal scipy.sparse
scipy.spatial scipy.stats sklearn sklearn.cluster sklearn.datasets sklearn.decomposition sklearn.ensemble
sklearn.feature_extraction.text sklearn.impute sklearn.linear_model sklearn.model_selection sklearn.neighbors
sklearn.pipeline sklearn.preprocessing sklearn.svm sklearn.tree matplotlib.pyplot seaborn PIL.Image torch
statsmodels.api xgboost lightgbm nltk gensim yaml tensorflow
"""
ENVIRONMENT = EnvironmentSpec(
    name="ds1000",
    lock=importlib.resources.files(__package__) / "ds1000-lock.txt",
    python="3.11",  # the newest that pandas 1.5 runs under
    preimport=tuple(_LIBRARIES.split()),
    gather=gather,
    variables=(
        ("MPLBACKEND", "Agg"),
        ("SEABORN_DATA", f"{{packages}}/{DATA_FOLDER}/seaborn"),
        ("SCIKIT_LEARN_DATA", f"{{packages}}/{DATA_FOLDER}/sklearn"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),  # rounding then does not depend on the processor
        ("TF_NUM_INTEROP_THREADS", "1"),
        ("TF_NUM_INTRAOP_THREADS", "1"),
    ),
)
"""About 3 GB."""
