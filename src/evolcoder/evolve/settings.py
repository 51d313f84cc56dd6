"""How instructions are evolved. Nothing heavy is imported here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from evolcoder.errors import check_least
from evolcoder.evolve.methods import CustomMethod, MethodSet, check_template, method_set
from evolcoder.models.endpoint.settings import check_extra_body


@dataclass(frozen=True, slots=True)
class AskSettings:
    """How one kind of request is asked; what is absent is as in the rest of the settings."""

    system: str = ""
    """System prompt."""
    temperature: float | None = None
    """0 is greedy; absent: 0 for the judge and the scores, else that of the round."""
    top_p: float | None = None
    """Absent: that of the round."""
    max_tokens: int | None = None
    """Most tokens of the reply, the thinking included; absent: 16 for the judge, else as for the round."""
    reasoning_effort: str | None = None
    """How much a reasoning model behind an endpoint shall think: minimal, low, medium, high, none."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request to an endpoint, chat_template_kwargs for one."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers, and fields not to be set; raises ValueError that names the field."""
        _check_sampling(self.temperature, self.top_p)
        check_least(self, 1, "max_tokens")
        check_extra_body(self.extra_body)

    @property
    def further_fields(self) -> str:
        """Further fields of the request as JSON; "" where there are none."""
        effort = {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        fields = {**self.extra_body, **effort}
        return json.dumps(fields, sort_keys=True) if fields else ""


Phase = Literal["evolve", "answer", "judge", "tests", "score"]
"""What the teacher is asked for."""


@dataclass(frozen=True, slots=True)
class EvolveSettings:
    """One round of evolution; the defaults are the published method for a strong teacher."""

    methods: str = "code"
    """Method set: "code" (WizardCoder's five), "wizardlm-paper" (or "general"), "wizardlm-repository",
    another domain's by its name, or a Python file whose `load()` returns a `MethodSet` or a `Domain`. A
    recipe takes its domain's."""
    weights: dict[str, float] = field(default_factory=dict)
    """Chance of each method relative to the others, by name; the set's own where absent, 0 leaves one out."""
    custom_methods: dict[str, str | CustomMethod] = field(default_factory=dict)
    """Further methods, name: the sentence that stands for {method} in the template; or sentence, template and
    shots of its own."""
    template: str | None = None
    """Template of one's own instead of the set's, in any language, with {method} and {question}."""
    leaks: tuple[str, ...] = ()
    """Words of that template that an evolved instruction must not hold (rule 4)."""
    shots: int = 0
    """Worked examples of the same method shown as earlier turns; 0 for a strong teacher, 2 for a small "
    "one."""
    judge: bool = False
    """Ask the teacher whether the evolved instruction equals its parent, and drop it if so (rule 1)."""
    temperature: float = 1.0
    """Of the teacher, for evolving and answering (WizardLM 4.2)."""
    top_p: float = 0.9
    """Of the teacher, for evolving and answering (WizardLM 4.2)."""
    phases: dict[Phase, AskSettings] = field(default_factory=dict)
    """Settings of one kind of request alone: evolve, answer, judge, tests, score."""
    max_tokens: int = 2048
    """Most tokens of an answer (WizardLM 4.2)."""
    instruction_max_tokens: int = 2048
    """Most tokens of an evolved instruction; one that is cut there is eliminated."""
    keep_truncated: bool = False
    """Keep answers that were cut at `max_tokens`; else they are eliminated."""
    near_duplicates: float | None = 0.9
    """Drop an evolved instruction this similar (Jaccard of word triples) to a row of another seed's tree;
    absent: only exact copies are dropped."""
    verify: str = "off"
    """How the domain verifies answers. Code: "syntax" drops answers whose code does not parse; "tests" also
    runs Python answers with tests that the teacher writes, in the sandbox."""
    scores: dict[str, float] = field(default_factory=dict)
    """Scores of the domain that the teacher gives each row, by name, each with the least that a row must have
    to stay; 0 keeps all rows. A score is a column of its row."""
    answers: int = 1
    """Answers to each evolved instruction, each a row; copies and those that `verify` fails are dropped. All
    are run with the same tests, and none is repaired where there are several."""
    keep_answers: Literal["all", "shortest"] = "all"
    """Which of the answers that pass stay."""
    repairs: int = 1
    """How often the error of a failed answer goes back to the teacher before the row is dropped."""
    verify_cpu_s: float = 5.0
    """CPU seconds that an answer may take with its tests."""
    seed: int = 0
    """Every random choice follows from it."""
    rows_in_flight: int = 2048
    """Rows under way at once; the endpoint's own limit decides how many requests are."""

    def __post_init__(self) -> None:
        self.method_set()
        check_template(self.template)
        for name in ("shots", "repairs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, found {getattr(self, name)}")
        check_least(self, 1, "max_tokens", "instruction_max_tokens", "rows_in_flight", "answers")
        _check_sampling(self.temperature, self.top_p)
        for name, least in self.scores.items():
            if not 0 <= least <= 1:
                raise ValueError(f"scores: {name} must be between 0 and 1, found {least}")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise ValueError(f"near_duplicates must be above 0 and at most 1, found {self.near_duplicates}")

    def method_set(self) -> MethodSet:
        """Return the methods that instructions are evolved by."""
        return method_set(self.methods, self.custom_methods, self.weights, self.template, self.leaks)


def _check_sampling(temperature: float | None, top_p: float | None) -> None:
    if temperature is not None and not 0 <= temperature <= 2:
        raise ValueError(f"temperature must be between 0 and 2, found {temperature}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, found {top_p}")
