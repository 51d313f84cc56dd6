"""The loop of WizardCoder: evolve, merge, fine-tune, measure, stop by rule, keep the best.

`run.py` has `run_recipe`, which runs a recipe, and `plan_recipe`, which says what it would do. The order of
steps is in `wizardcoder.py`, the stopping rules in `stopping.py`, what is already done in `stages.py`.
"""

from evolcoder.loop.run import RunPlan, check_before_start, plan_recipe, run_recipe, shell_line

__all__ = ["RunPlan", "check_before_start", "plan_recipe", "run_recipe", "shell_line"]
