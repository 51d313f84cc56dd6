"""What a domain is: all that evolution, measuring and learning must know of a field of instructions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evolcoder.evolve.answering import Answering
from evolcoder.evolve.methods import MethodSet
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.model_cards import ANY_FIELD, CardWords
from evolcoder.own_files import OwnFile

if TYPE_CHECKING:  # a run that only evolves loads nothing of learning
    from evolcoder.reinforce.tasks import TaskForms


@dataclass(frozen=True, slots=True)
class Domain:
    """A field that instructions are of; its benchmarks own their prompts, answer formats and oracles."""

    name: str
    methods: MethodSet
    """How its instructions are evolved, and the words of its prompts that none may hold (`leaks`)."""
    answering: Answering
    """How they are answered: the chat that asks, verifiers, scores, what decontamination compares."""
    benchmarks: tuple[str, ...]
    """What a checkpoint is measured on where a recipe does not say."""
    stop_benchmark: str
    """Which benchmark decides when the rounds end where a recipe does not say; none of `benchmarks`."""
    reported: tuple[str, ...]
    """The benchmarks that its models are known by; tasks that a model learns from copy none of them."""
    tasks: TaskForms | None = None
    """What a model learns from by `reinforce`; None for programs, whose tests are the reward."""
    words: CardWords = ANY_FIELD
    """What the cards of its data and models say; how its rows were evolved follows from the method set."""
    own: OwnFile | None = None
    """The user's file that it comes from; None for one of this package."""

    @property
    def methods_name(self) -> str:
        """What the setting `evolve.methods` is in this domain: the set's name, or the user's file."""
        return self.methods.name if self.own is None else str(self.own.path)

    def card(self, settings: EvolveSettings) -> CardWords:
        """Return what cards say of data that is evolved with these settings."""
        chosen = settings.method_set()
        return replace(self.words, method=chosen.origin or f"Evol-Instruct (methods: {chosen.name})")
