"""The closed loop of WizardCoder: evolve, merge, fine-tune, measure, stop by rule, keep the best.

`run_recipe` does it, `plan_recipe` says what it would do. The order of a round is in `rounds.py`, the
stopping rules in `stopping.py`, what is already done in `stages.py`.
"""

from evolcoder.loop.run import RunPlan, check_before_start, plan_recipe, run_recipe

__all__ = ["RunPlan", "check_before_start", "plan_recipe", "run_recipe"]
