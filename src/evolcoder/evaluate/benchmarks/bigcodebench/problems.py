"""BigCodeBench: 1,140 tasks with many library calls (Zhuo et al. 2024, arXiv 2406.15877).

A task's unittest classes look at live objects (frames, plots) and patch what the program calls, so program
and tests run in one process, as in the authors' harness: the tier is "in-process", contained but not proof
against forging. They run in an environment of their own, which `evolcoder setup bigcodebench` builds.

`bigcodebench` asks with the function's beginning and docstring (Complete), `bigcodebench:instruct` in words
(Instruct); `bigcodebench:hard` and `bigcodebench:hard-instruct` are the 148 tasks of BigCodeBench-Hard. The
data is the release of the authors' annotation repository; with `@v0.1.4` behind the name it is that of their
leaderboard, of which no checksum is known here, so that its own stands in the version.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_and_digest
from evolcoder.evaluate.benchmarks.environments import (
    BenchmarkInEnvironment,
    EnvironmentSpec,
    fetch,
    find_environment,
)
from evolcoder.evaluate.settings import Decoding
from evolcoder.evaluate.styles import Asked
from evolcoder.records import Problem, Sample
from evolcoder.sandbox.protocol import Job, Limits

DATA = {
    "annotation": DataFile(
        "bigcodebench/BigCodeBench.jsonl.gz",
        "c31f7f526ff135fec2624f0b4cb4355a6787b82211231041e6f67a11ea32870c",
        "https://raw.githubusercontent.com/bigcode-project/bigcodebench-annotation/main/data/"
        "BigCodeBench.jsonl.gz",
    ),
    "v0.1.4": DataFile(
        "bigcodebench/BigCodeBench-v0.1.4.jsonl.gz",
        "",
        "https://huggingface.co/datasets/bigcode/bigcodebench/resolve/main/data/v0.1.4-00000-of-00001.parquet",
    ),
}
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
    """Get the data of nltk that 17 tasks would fetch; return the names of what is still missing."""
    folder = packages / DATA_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if wanted := _missing(folder):
        fetch(python, _FETCH, str(folder), *wanted)
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

HARD = frozenset(map(int, (importlib.resources.files(__package__) / "hard.txt").read_text().split()))
"""BigCodeBench-Hard by number: tasks like questions on Stack Overflow, with over two libraries, a solution of
more than 426 characters, and a solve rate below one half."""
_SPLITS = ("", ":instruct", ":hard", ":hard-instruct")
NAMES = {
    f"bigcodebench{split}{at}": NamedSet(
        "bigcodebench",
        0,
        1139,
        size=len(HARD) if "hard" in split else 1140,
        hub_dataset="bigcode/bigcodebench-hard" if "hard" in split else "bigcode/bigcodebench",
        licence="Apache-2.0",
        tier="in-process",
        files=(DATA[release],),
        ready=partial(find_environment, ENVIRONMENT),
    )
    for at, release in (("", "annotation"), ("@v0.1.4", "v0.1.4"))
    for split in _SPLITS
}
ASK = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code "
    "block:"
)
"""Before the task, in the authors' prompts for chat models."""
STOPS = (
    *("\nif __name__", "\ndef main(", "\nprint("),
    *("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
)
"""Where the authors end a continued function."""

_RUN = """
import os, sys, types, unittest
module = types.ModuleType("__test__")
module.__dict__.update(__file__="__test__.py", sys=sys, os=os, environ=os.environ)
exec(compile(SOURCE, "__test__.py", "exec"), module.__dict__)
sys.modules["__test__"] = module
result = unittest.TestResult()
unittest.defaultTestLoader.loadTestsFromTestCase(module.TestCases).run(result)
for test, trace in result.failures + result.errors:
    lines = trace.rpartition("\\n  File ")[2].splitlines()[1:]
    said = " ".join(line.strip() for line in lines if line[:4] != "    " and line.strip(" *"))
    raise AssertionError(f"{test.id().rpartition('.')[2]}: {said}")
"""
"""Program and tests in a module `__test__`, as in the authors' harness: tests patch names in it."""


@dataclass(frozen=True)
class BigCodeBench(BenchmarkInEnvironment):
    """BigCodeBench, whole or hard, with one kind of prompt; the tests are the same."""

    origin_set = "bigcodebench"
    spec = ENVIRONMENT
    oracles: tuple[str, ...] = ("bigcodebench",)
    default_timeout_s: float = 60.0
    """CPU seconds; the authors' harness gives 240 of wall time."""
    default_memory_bytes: int = 8 << 30
    """Address space, of which the libraries take 2 GiB."""
    decoding: Decoding = Decoding(max_tokens=1280)  # noqa: RUF009

    def text(self, problem: Problem) -> str:
        """Return the function's beginning with its docstring."""
        return str(problem.extra["complete"])

    def instruction(self, problem: Problem) -> str:
        """Return the published question for chat models."""
        asked = problem.prompt.strip()
        return f"{ASK}\n```\n{asked}\n```\n" if self.prompt_form == "function" else f"{ASK}\n{asked}\n"

    def question(self, problem: Problem) -> str:
        """Return the published question."""
        return self.instruction(problem)

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have a base model go on after the docstring; raises UserError for Instruct, which is for chat."""
        if self.prompt_form == "prose":
            raise UserError(f"{self.name} asks in words: --style chat or wizardcoder is expected")
        return Asked(problem.prompt, STOPS)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the program, after the task's imports where it leaves them out: the authors' calibration."""
        if sample.whole or self.prompt_form == "prose":
            return f"{problem.extra['stub']}\n    pass\n{sample.program}"
        return problem.prompt + sample.program

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return a job that executes program and tests as one module and then runs the tests."""
        source = f"{program}\n{problem.tests}"
        return self.in_one_process(f"SOURCE = {source!r}\n{_RUN}", limits)


def load(name: str) -> Benchmark:
    """Return BigCodeBench or a part of it by its name; raises DataError where its data is missing."""
    name, _, release = name.partition("@")
    release = release or "annotation"
    split = name.partition(":")[2]
    rows, digest = rows_and_digest(DATA[release], name)
    form: PromptForm = "prose" if split.endswith("instruct") else "function"
    problems = [_problem(row, form) for row in rows]
    if split.startswith("hard"):
        problems = [p for p in problems if int(p.task_id.rpartition("/")[2]) in HARD]
    version = release if DATA[release].sha256 else f"{release} {digest[:8]}"
    return BigCodeBench(name, version, tuple(problems), prompt_form=form)


def _problem(row: dict[str, Any], form: PromptForm) -> Problem:
    complete = row["complete_prompt"] if "complete_prompt" in row else row["prompt"]
    instruct = row["instruct_prompt"] if "instruct_prompt" in row else row["instruction"]
    return Problem(
        task_id=row["task_id"],
        benchmark="bigcodebench",
        prompt=complete if form == "function" else instruct,
        entry_point=row["entry_point"],
        tests=row["test"],
        canonical_solution=row["canonical_solution"],
        extra={
            "complete": complete,
            "stub": row["code_prompt"] if "code_prompt" in row else row["prompt_wo_doc"],
        },
    )
