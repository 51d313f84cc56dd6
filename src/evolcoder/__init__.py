"""evolcoder: from seed instructions to a measured code model.

The functions and classes of `__all__` are loaded when they are first used, so that `import evolcoder` stays
light. `__init__.pyi` names them for type checkers.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.3.0"

__all__ = [
    "EndpointSettings",
    "EvaluationSettings",
    "EvolcoderError",
    "EvolveSettings",
    "Instruction",
    "JudgeSettings",
    "Lineage",
    "LocalSettings",
    "ReinforceSettings",
    "TrainSettings",
    "__version__",
    "compare_samples",
    "evaluate_judged",
    "evaluate_model",
    "evolve_instructions",
    "judge",
    "read_instructions",
    "read_tasks",
    "reinforce_model",
    "run_recipe",
    "score_samples",
    "train_model",
    "write_instructions",
]

_MODULES = {
    "EndpointSettings": "models.endpoint.settings",
    "EvaluationSettings": "evaluate.settings",
    "EvolcoderError": "errors",
    "EvolveSettings": "evolve.settings",
    "Instruction": "records",
    "JudgeSettings": "evaluate.model_judge.settings",
    "Lineage": "records",
    "LocalSettings": "models.local.settings",
    "ReinforceSettings": "reinforce.settings",
    "TrainSettings": "train.settings",
    "judge": "reinforce.judge",
    "read_instructions": "instructions",
    "read_tasks": "reinforce.tasks",
    "write_instructions": "instructions",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562); a name without a module of its own is a function of `api`."""
    if name not in __all__:
        raise AttributeError(f"module 'evolcoder' has no attribute {name!r}")
    return getattr(importlib.import_module(f"evolcoder.{_MODULES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
