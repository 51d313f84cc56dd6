"""The environment that BigCodeBench is judged in: packages of a lock file, and the language data of nltk.

17 tasks need data that nltk fetches from the network, so it is gathered when the environment is built, where
its publisher can be reached.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import subprocess
from pathlib import Path

from evolcoder.evaluate.environments import EnvironmentSpec

DATA_FOLDER = "bigcodebench_data"
"""Beside the packages: data that libraries would fetch, which no program can."""
NLTK_DATA = {
    "stopwords": "corpora/stopwords.zip",
    "punkt": "tokenizers/punkt.zip",
    "words": "corpora/words.zip",
    "brown": "corpora/brown.zip",
    "averaged_perceptron_tagger": "taggers/averaged_perceptron_tagger.zip",
}

_FETCH = """
import socket, sys
socket.setdefaulttimeout(20)
import nltk
for name in sys.argv[2:]:
    nltk.download(name, download_dir=sys.argv[1], quiet=True)
"""


def gather(python: Path, packages: Path) -> list[str]:
    """Get the data of nltk; return the names of what is still missing."""
    folder = packages / DATA_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if wanted := _missing(folder):
        command = [str(python), "-c", _FETCH, str(folder), *wanted]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # what is missing is told
            subprocess.run(command, capture_output=True, timeout=300, check=False)
    return [f"nltk {name}" for name in _missing(folder)]


def _missing(folder: Path) -> list[str]:
    return [name for name, path in NLTK_DATA.items() if not (folder / path).exists()]


_LIBRARIES = """
unittest.mock numpy pandas matplotlib.pyplot seaborn scipy.fft scipy.integrate scipy.optimize scipy.signal
scipy.spatial scipy.stats sklearn.cluster sklearn.datasets sklearn.decomposition sklearn.ensemble
sklearn.feature_extraction.text sklearn.linear_model sklearn.metrics sklearn.model_selection
sklearn.preprocessing nltk requests bs4 PIL.Image pytz dateutil.parser
"""
ENVIRONMENT = EnvironmentSpec(
    name="bigcodebench",
    lock=importlib.resources.files(__package__) / "bigcodebench-lock.txt",
    python="3.11",  # the oldest that the sandbox runs, the newest that tensorflow 2.12 runs under
    preimport=tuple(_LIBRARIES.split()),
    gather=gather,
    variables=(
        ("PATH", "{base}/bin:/usr/bin:/bin"),  # three tasks start `python`
        ("MPLBACKEND", "Agg"),
        ("NLTK_DATA", f"{{packages}}/{DATA_FOLDER}"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),  # rounding then does not depend on the processor
    ),
)
"""About 2.7 GB. What few problems use (tensorflow, cv2, librosa) is not imported beforehand."""
