"""DS-1000: 1000 data science problems (Lai et al. 2022, arXiv 2211.11501), judged as its authors do.

A problem's own test code puts the solution into its context, executes both and compares objects that live
(frames, tensors, figures), so program and tests run in one process: the tier is "in-process", contained but
not proof against forging. They run in an environment of their own, which `evolcoder setup ds1000` builds.

`ds1000` asks with completion prompts, `ds1000:insertion` with the insertion prompts of the original format
(845 problems; Matplotlib has none).
"""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.resources
import re
import textwrap
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet, PromptForm
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.environments import (
    BenchmarkInEnvironment,
    EnvironmentSpec,
    fetch,
    find_environment,
)
from evolcoder.evaluate.settings import Decoding
from evolcoder.evaluate.styles import Asked, of_preset
from evolcoder.extraction import Extraction, up_to_first
from evolcoder.extraction.code_blocks import (
    CodeBlock,
    block_of,
    code_blocks,
    language_blocks,
    some_blocks,
    without_thinking,
)
from evolcoder.extraction.definitions import defining_block
from evolcoder.extraction.grammar import parse_python
from evolcoder.extraction.python_program import without_special_tokens
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.sandbox.protocol import Job, Limits, Outcome

DATA = DataFile(
    "ds1000/ds1000.jsonl.gz",
    "26a492838b05f9d030b2f08a5715c6bafecafb601c157da912bf417fd8b0d363",
    "https://raw.githubusercontent.com/xlang-ai/DS-1000/main/data/ds1000.jsonl.gz",
)
INSERTION_DATA = DataFile(
    "ds1000/completion_and_insertion_prompts.jsonl.gz",
    "d249e45f856218f7396ba4005912e8fa36538de7940ad2468854a9f870218478",
    "",
)
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
    """Get the five data sets that 15 problems would fetch; return the names of those still missing.

    They come from their publishers where those can be reached when the environment is built; two are in
    packages of the lock file too.
    """
    folder = packages / DATA_FOLDER
    seaborn, sklearn = folder / "seaborn", folder / "sklearn"
    for part in (seaborn, sklearn):
        part.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in SEABORN if not (seaborn / f"{name}.csv").exists()]
    fetch(python, _FETCH, str(folder), *wanted)
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

_SET = NamedSet(
    "ds1000",
    size=1000,
    licence="CC-BY-SA-4.0",
    tier="in-process",
    files=(DATA,),
    ready=partial(find_environment, ENVIRONMENT),
)
NAMES = {"ds1000": _SET, "ds1000:insertion": replace(_SET, size=845, files=(DATA, INSERTION_DATA))}
_TASK_ID = re.compile(r"(?:ds-?1000[/_-])?(\d{1,4})", re.IGNORECASE)


@dataclass(frozen=True)
class Ds1000(BenchmarkInEnvironment):
    """DS-1000 with one kind of prompt; the tests are the same."""

    origin_set = "ds1000"
    spec = ENVIRONMENT
    oracles: tuple[str, ...] = ("ds-1000",)
    default_timeout_s: float = 60.0
    """CPU seconds; the authors' harness gives 120 of wall time, the slowest reference solution needs 10."""
    default_memory_bytes: int = 6 << 30
    """Address space, of which the libraries take 2 GiB."""
    decoding: Decoding = Decoding(n=40, temperature=0.2, top_p=0.5, max_tokens=1024)  # noqa: RUF009
    prompt_form: PromptForm = "code"

    def find(self, task_id: str | int) -> Problem | None:
        """Return the problem of an id: "DS-1000/17", "ds1000_17", "17" or 17."""
        match = _TASK_ID.fullmatch(str(task_id))
        return self.by_task.get(f"DS-1000/{int(match[1])}") if match else None

    def groups(self, problem: Problem) -> tuple[str, ...]:
        """Return the problem's library and how it was made from its origin."""
        return problem.extra["library"], problem.extra["perturbation"]

    def family(self, problem: Problem) -> str:
        """Return the problem's origin: its perturbations are no further problems."""
        return f"{problem.extra['library']} {problem.extra['origin']}"

    def instruction(self, problem: Problem) -> str:
        """Return the published prompt."""
        return problem.prompt

    def question(self, problem: Problem) -> str:
        """Ask a chat model for what comes next, or for what stands in the gap."""
        where = f"what stands for {_GAP}" if _GAP in problem.prompt else "what comes next"
        return (
            f"Below is a question with the beginning of its answer. Write only {where}: Python code that "
            "keeps the given variable names and indentation and does not repeat what is there already, in "
            f"one Python code block.\n\n{problem.prompt}"
        )

    def continued(self, problem: Problem, preset: str) -> Asked:
        """Have the prompt continued, or its gap filled in the format of a preset; raises UserError."""
        if _GAP not in problem.prompt:
            return Asked(problem.prompt, STOPS)
        first, last, middle = of_preset(preset, INFILLING)
        before, _, after = problem.prompt.partition(_GAP)
        return Asked(f"{first}{before}{last}{after}{middle}", STOPS)

    def sample_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Read the authors' answer files too, whose `code` is the solution."""
        return {"completion": row["code"], **row} if "code" in row else row

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Return the solution in an answer; every extraction but "none" follows the authors' marks."""
        solution = raw if how == "none" else solution_of(raw, problem.tests, how)
        return Sample(problem.task_id, index, raw, solution, whole=True)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return the solution: what the problem's own tests take."""
        return sample.program

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Every solution is tried: alone it may be the indented body of a function."""
        return None

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the test code followed by its call with the solution as text."""
        calls = ["test_execution(code)"]
        if "def test_string(" in problem.tests:
            calls.append("test_string(code)")
        source = "\n".join([problem.tests, f"code = {program!r}", *calls, ""])
        return self.in_one_process(source, limits)

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Passing means that the tests ran to their end."""
        verdict = outcome.verdict
        if verdict.reason == "failed" and re.match(r"(Syntax|Indentation|Tab)Error\b", verdict.detail):
            return replace(verdict, reason="syntax error")
        return verdict


def load(name: str) -> Benchmark:
    """Return `ds1000` or `ds1000:insertion`; raises DataError where its data is missing."""
    problems = tuple(_problem(row) for row in rows_of(DATA, "ds1000"))
    if name == "ds1000:insertion":
        rows = rows_of(INSERTION_DATA, name)
        with_gap = {row["problem_id"]: row["insertion_prompt"] or "" for row in rows}
        problems = tuple(
            replace(problem, prompt=prompt)
            for problem in problems
            if "[insert]" in (prompt := with_gap.get(problem.extra["problem_id"], ""))
        )
    return Ds1000(name, "", problems)


def _problem(row: dict[str, Any]) -> Problem:
    metadata = row["metadata"]
    return Problem(
        task_id=f"DS-1000/{metadata['problem_id']}",
        benchmark="ds1000",
        prompt=row["prompt"],
        entry_point="",
        tests=row["code_context"],
        canonical_solution=row["reference_code"],
        extra={
            "problem_id": metadata["problem_id"],
            "library": metadata["library"],
            "perturbation": metadata["perturbation_type"],
            "origin": metadata["perturbation_origin_id"],
        },
    )


INFILLING: dict[str, tuple[str, str, str]] = {
    # Marks before what comes first, before what comes last, and before what is to be written.
    "published": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "deepseek": ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "codellama": ("<PRE> ", " <SUF>", " <MID>"),
}
"""Infilling formats by preset; "published" is StarCoder's, the base of the 15B model."""

_GAP = "[insert]"
STOPS = ("</code>", "# SOLUTION END", "\nEND SOLUTION")
"""Where a continued prompt ends; not at "### END SOLUTION", after which the function it stands in returns."""

_NO_PROGRAM = ("text", "txt", "plaintext", "output", "console", "bash", "sh", "shell")
"""Labels of blocks that show what a program prints, or how to install it."""
_BODY = re.compile(r"^def[ \t]+(\w+)\(.*\)[^\n]*:[ \t]*\n\[insert\]", re.MULTILINE)
_CONTEXT = re.compile(r'exec_context = r"""(.*?)\[insert\](.*?)"""', re.DOTALL)
_HEADER_END = re.compile(r":[ \t]*(?:#.*)?$")


def solution_of(raw: str, tests: str, how: Extraction = "auto") -> str:
    """Return the solution in an answer: within `<code>` tags or a fence, up to the end mark.

    Of several blocks it is the last that sets or changes what the tests look at, defines the function that
    they call, or returns as its body does; the first that does more than import where none does. With
    `first`, `fence` or `last` as `how` it is the one of that place. Where the tests want the body of a
    function, a whole function gives its body, and a body without indentation is indented.
    Never raises.
    """
    text = without_thinking(raw).replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    text = without_special_tokens(text)
    _, tag, tagged = text.partition("<code>")
    if tag and not any(mark in text[: text.index("<code>")] for mark in STOPS):
        text = tagged
    text = up_to_first(text, STOPS)
    if "```" in text or "~~~" in text:
        blocks = code_blocks(text)
        # An answer that goes on in the prompt's block closes a fence which it did not open.
        text = _chosen(blocks, tests, how) if blocks and _opens_a_block(text) else text.split("```")[0]
        text = up_to_first(text.replace("<code>", ""), STOPS)
    match = _BODY.search(tests)
    return _as_body(text, match[1]) if match else text


def _chosen(blocks: list[CodeBlock], tests: str, how: Extraction) -> str:
    if how in ("first", "fence", "last"):
        return block_of(blocks, "python", how) or ""
    some = some_blocks([block for block in blocks if block.language not in _NO_PROGRAM])
    if body := _BODY.search(tests):
        found = defining_block(some, "", body[1], "python")
        found = found or next((code for code, _ in reversed(some) if _is_body(code)), None)
    else:
        sets = _sets(tests)
        sound = (code for code, _ in reversed(some) if parse_python(code) is not None)
        found = next((code for code in sound if sets.search(code)), None)
    likely = [block.code for block in language_blocks(blocks, "python")]
    return found or next((code for code in likely if not _only_imports(code)), likely[0])


def _is_body(code: str) -> bool:
    """Whether code returns outside of a function: it is the body that is asked for."""
    inside = f"def f():\n{textwrap.indent(textwrap.dedent(code), ' ')}"
    return "return" in code and parse_python(code) is None and parse_python(inside) is not None


def _only_imports(code: str) -> bool:
    tree = parse_python(code)
    return tree is not None and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body)


@lru_cache(maxsize=2048)
def _sets(tests: str) -> re.Pattern[str]:
    """A pattern for code that sets a name which the tests read after the solution, or changes a given one."""
    context = _CONTEXT.search(tests)
    before, after = (parse_python(part) for part in context.groups()) if context else (None, None)
    read, bound = _names(after)
    _, given = _names(before)
    new = read - bound - given
    known = set() if new else read & given
    names = "|".join(map(re.escape, sorted(new or known))) or "result"
    # A given name may also be changed in place: df.drop(columns="a", inplace=True).
    set_new = rf"[^\n=#(]*\b(?:{names})\b[^\n=(]*=(?!=)|(?:def|class)[ \t]+(?:{names})\b"
    changed = rf"[ \t]*(?:{names})\b[^\n]*?(?<![=!<>])=(?!=)"
    return re.compile(f"^(?:{changed if known else set_new})", re.MULTILINE)


def _names(tree: ast.Module | None) -> tuple[set[str], set[str]]:
    names = [node for node in (ast.walk(tree) if tree else ()) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return read, {node.id for node in names} - read


def _opens_a_block(text: str) -> bool:
    """Whether the first fence opens a block: it has a label, or another one closes it."""
    fences = re.findall(r"^[ \t]*(?:```+|~~~+)[ \t]*(\S*)", text, re.MULTILINE)
    return bool(fences) and (bool(fences[0]) or len(fences) > 1)


def _as_body(code: str, name: str) -> str:
    lines = code.split("\n")
    header = re.compile(rf"def[ \t]+{re.escape(name)}\b")
    start = next((i for i, line in enumerate(lines) if header.match(line)), None)
    if start is not None:
        header_end = (i for i in range(start, len(lines)) if _HEADER_END.search(lines[i]))
        first = next(header_end, len(lines) - 1) + 1
        body = takewhile(lambda line: not line.strip() or line[0].isspace(), lines[first:])
        return "\n".join([*_indented(lines[:start]), *body])
    written = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    return "\n".join(_indented(lines)) if written and not written[0].isspace() else code


def _indented(lines: list[str]) -> list[str]:
    return textwrap.indent("\n".join(lines), "    ").split("\n") if lines else []
