"""evolcoder: from seed instructions to a measured code model.

The functions and classes of `__all__` are loaded when they are first used, so that `import evolcoder` stays
light. `__init__.pyi` names them for type checkers.
"""

from __future__ import annotations

import importlib

__version__ = "0.3.0"

_NAMES = {
    "api": "compare_samples evaluate_judged evaluate_model evolve_instructions reinforce_model run_recipe "
    "score_samples train_model",
    "errors": "EvolcoderError",
    "evaluate.model_judge.settings": "JudgeSettings",
    "evaluate.settings": "EvaluationSettings",
    "evolve.settings": "EvolveSettings",
    "instructions": "read_instructions write_instructions",
    "models.endpoint.settings": "EndpointSettings",
    "models.local.settings": "LocalSettings",
    "records": "Instruction Lineage",
    "reinforce.judge": "judge",
    "reinforce.settings": "ReinforceSettings",
    "reinforce.tasks": "read_tasks",
    "train.settings": "TrainSettings",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'evolcoder' has no attribute {name!r}")
    return getattr(importlib.import_module(f"evolcoder.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
