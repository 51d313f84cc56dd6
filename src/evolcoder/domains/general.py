"""The domain of WizardLM: instructions of any kind, whose answers no program verifies and a model judges."""

from __future__ import annotations

from evolcoder.domains.domain import Domain
from evolcoder.evolve.answering import Answering
from evolcoder.evolve.methods import METHOD_SETS


def load() -> Domain:
    """Return the domain `general`; its test set decides, and MT-Bench is reported."""
    return Domain(
        "general", METHOD_SETS["general"], Answering(), ("mt-bench",), "wizardlm", ("mt-bench", "wizardlm")
    )
