"""Expected values and reference times of EvalPlus problems: what the canonical solution gives, computed once.

Computing all of HumanEval+ takes 20 to 100 s of CPU, so results are kept in the cache folder by the content
of what was run. The canonical solution runs in the sandbox like any program.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evolcoder.cache import kept_database
from evolcoder.errors import OutsideError
from evolcoder.evaluate.benchmarks.benchmark import JobRunner, preimport_for
from evolcoder.evaluate.benchmarks.described_values import WRAPPER_NAME, described_program, rebuilt_call
from evolcoder.runs import content_hash
from evolcoder.sandbox import codec
from evolcoder.sandbox.protocol import BatchJob, CallValue, Limits, Outcome

# Mbpp/599's canonical solution alone wants over 30 s.
_LIMITS = Limits(cpu_s=300.0, wall_s=1200.0, memory_bytes=4 << 30, output_bytes=64 << 20)
_VERSION = 2
_VALUES_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Reference:
    """One test suite of one problem, as the canonical solution answers it."""

    program: str
    entry_point: str
    inputs: tuple[tuple[Any, ...], ...]
    key: str
    """Content key, without the inputs' text: the data file's version names them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Expected values, and the CPU seconds each took."""

    values: tuple[Any, ...]
    seconds: tuple[float, ...]
    compact: bool = False
    """True where long values crossed as digests or compressed, because all together are too large."""


@lru_cache(maxsize=4096)  # asked for several times a sample
def truth_key(title: str, task_id: str, suite: str, program: str) -> str:
    """Return the key of a reference; data files are checked by sha256, so their title names the inputs."""
    return content_hash(_VERSION, title, task_id, suite, program, platform.python_version())


class TruthStore:
    """Truths by content key, in memory and in a SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises OutsideError where it cannot be used."""
        self._memory: dict[str, Truth] = {}
        table = "CREATE TABLE IF NOT EXISTS truths (key TEXT PRIMARY KEY, truth BLOB)"
        self._db = kept_database(path, "the ground-truth cache cannot be used ({error})", table)

    def get(self, key: str) -> Truth | None:
        """Return the truth of this key if it is known."""
        if key not in self._memory:
            row = self._db.execute("SELECT truth FROM truths WHERE key = ?", (key,)).fetchone()
            if row is not None:
                kept = codec.decode(zlib.decompress(row[0]), codec.Memory(_VALUES_BYTES))
                self._memory[key] = _truth(*kept)
        return self._memory.get(key)

    def compute(self, references: Iterable[Reference], sandbox: JobRunner) -> None:
        """Run what canonical solutions are not known yet; raises OutsideError that names one that fails."""
        waiting = [(reference, "plain") for reference in references if self.get(reference.key) is None]
        while waiting:
            again: list[tuple[Reference, str]] = []
            for (reference, form), outcome in sandbox.run_many((one, _job(*one)) for one in waiting):
                values = outcome.values
                if len(values) == len(reference.inputs) and all(v.ok for v in values):
                    kept = form, [v.value for v in values], tuple(v.cpu_s for v in values)
                    self._memory[reference.key] = _truth(*kept)
                    data = zlib.compress(codec.encode(kept, _VALUES_BYTES), 1)
                    self._db.execute("INSERT OR REPLACE INTO truths VALUES (?, ?)", (reference.key, data))
                elif form == "plain" and _is_large(outcome):
                    again.append((reference, "compact"))
                else:
                    wrong = next((v.error for v in values if not v.ok), "")
                    wrong = wrong or outcome.verdict.detail or outcome.verdict.reason
                    raise OutsideError(
                        f"the canonical solution of {reference.entry_point} gave {len(values)} of "
                        f"{len(reference.inputs)} expected values ({wrong[:200]}); the sandbox or its limits "
                        "are at fault"
                    )
            waiting = again


def _is_large(outcome: Outcome) -> bool:
    """Tell whether all values together were too large: HumanEval/15 and Mbpp/411 answer with 100 MB."""
    errors = [outcome.verdict.detail, *(value.error for value in outcome.values)]
    return any("more than" in error or "no value" in error for error in errors)


def _job(reference: Reference, form: str) -> BatchJob:
    """Return the job that brings values as they are ("plain"), or long strings and lists made short."""
    program, name = reference.program, reference.entry_point
    if form != "plain":
        program, name = described_program(program, name, compact=True), WRAPPER_NAME
    return BatchJob(
        program=program,
        entry_point=name,
        inputs=reference.inputs,
        limits=_LIMITS,
        values_bytes=codec.MAX_BYTES if form == "plain" else _VALUES_BYTES,
        preimport=preimport_for(program),
    )


def _truth(form: str, answers: Sequence[Any], seconds: tuple[float, ...]) -> Truth:
    if form != "plain":
        answers = [rebuilt_call(CallValue(True, answer))[0].value for answer in answers]
    return Truth(tuple(answers), seconds, form == "compact")
