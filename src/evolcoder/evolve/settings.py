"""How instructions are evolved. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from evolcoder.evolve.methods import method_set


@dataclass(frozen=True, slots=True)
class EvolveSettings:
    """One round of evolution; the defaults are the published method for a strong teacher."""

    methods: str = "code"
    """Method set: "code" (WizardCoder's five), "general" (WizardLM's six), or a Python file whose `load()`
    returns a `MethodSet`."""
    weights: dict[str, float] = field(default_factory=dict)
    """Chance of each method relative to the others, by name; 1 where absent, 0 leaves a method out."""
    custom_methods: dict[str, str] = field(default_factory=dict)
    """Further methods, name: the sentence that stands for {method} in the template."""
    shots: int = 0
    """Worked examples of the same method shown as earlier turns; 0 for a strong teacher, 2 for a small "
    "one."""
    judge: bool = False
    """Ask the teacher whether the evolved instruction equals its parent, and drop it if so (rule 1)."""
    temperature: float = 1.0
    """Of the teacher, for evolving and answering (WizardLM 4.2)."""
    top_p: float = 0.9
    """Of the teacher, for evolving and answering (WizardLM 4.2)."""
    max_tokens: int = 2048
    """Most tokens of an answer (WizardLM 4.2)."""
    instruction_max_tokens: int = 2048
    """Most tokens of an evolved instruction; one that is cut there is eliminated."""
    keep_truncated: bool = False
    """Keep answers that were cut at `max_tokens`; else they are eliminated."""
    near_duplicates: float | None = 0.9
    """Drop an evolved instruction this similar (Jaccard of word triples) to a row of another seed's tree;
    absent: only exact copies are dropped."""
    verify: Literal["off", "syntax", "tests"] = "off"
    """"syntax": drop answers whose code does not parse; "tests": also run Python answers with tests that the
    teacher writes, in the sandbox."""
    repairs: int = 1
    """How often the error of a failed answer goes back to the teacher before the row is dropped."""
    verify_cpu_s: float = 5.0
    """CPU seconds that an answer may take with its tests."""
    seed: int = 0
    """Every random choice follows from it."""
    rows_in_flight: int = 2048
    """Rows under way at once; the endpoint's own limit decides how many requests are."""

    def __post_init__(self) -> None:
        method_set(self.methods, self.custom_methods, self.weights)
        for name in ("shots", "repairs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, found {getattr(self, name)}")
        for name in ("max_tokens", "instruction_max_tokens", "rows_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be between 0 and 2, found {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, found {self.top_p}")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise ValueError(f"near_duplicates must be above 0 and at most 1, found {self.near_duplicates}")
