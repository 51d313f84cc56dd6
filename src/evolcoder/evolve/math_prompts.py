"""The words of Math Evol-Instruct: upward and downward evolution (WizardMath, arXiv 2308.09583, 2.1).

The paper published neither code nor data; what each method does is the paper's, the wording is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolcoder.evolve.shots import Shot

UPWARD_TEMPLATE = """\
Rewrite the math problem at the end into a somewhat harder one. {method}
The rewritten problem is complete in itself and has exactly one final answer. Reply with it alone, \
without its solution.

{question}
"""

DOWNWARD_TEMPLATE = """\
Write a math problem that is easier than the one at the end. {method}
The easier problem is complete in itself and has exactly one final answer. Reply with it alone, without its \
solution.

{question}
"""

UPWARD_SENTENCES = {
    "constraints": "Add one more constraint or requirement.",
    "deepening": "Ask for more: let the question go deeper or wider into the same subject.",
    "concretizing": "Replace a general notion by a more specific one, with numbers of its own.",
    "reasoning": "Change it so that its solution takes one or two more steps.",
}
DOWNWARD_SENTENCES = {
    "easier": "Keep the subject, and lower the difficulty: fewer steps, fewer conditions, smaller numbers.",
    "easier-topic": "Choose another subject than the given one.",
}

LEAKS = ("math problem at the end", "complete in itself", "exactly one final answer", "rewritten problem")
"""Words of these prompts that no evolved instruction may hold (elimination rule 4)."""

_PENS = "A box holds 6 pens. How many pens are in 4 boxes?"
_BUS = "A bus drives 180 km in 3 hours. How fast is it on average?"

MATH_SHOTS: Mapping[str, tuple[Shot, ...]] = {
    "constraints": (
        Shot(
            _PENS,
            "A box holds 6 pens, and 2 of the pens in every box are dry. How many pens in 4 boxes write?",
        ),
        Shot(
            _BUS,
            "A bus drives 180 km in 3 hours, 30 minutes of which it stands still. How fast is it on "
            "average while it moves?",
        ),
    ),
    "deepening": (
        Shot(
            _PENS,
            "A box holds 6 pens. A shop fills 4 boxes on the first day and twice as many on each day after. "
            "How many pens has it packed after 3 days?",
        ),
        Shot(
            _BUS,
            "A bus drives 180 km in 3 hours. It drives back 20 km/h slower. How fast is it on average "
            "over both ways?",
        ),
    ),
    "concretizing": (
        Shot(
            _PENS,
            "A stationer sells blue pens in boxes of 6 and red pens in boxes of 10. How many pens are in 4 "
            "boxes of blue and 3 boxes of red pens?",
        ),
        Shot(
            _BUS,
            "The night bus from Lyon to Turin leaves at 22:15 and arrives at 03:45 after 330 km. How "
            "fast is it on average in km/h?",
        ),
    ),
    "reasoning": (
        Shot(
            _PENS,
            "A box holds 6 pens. A class of 27 needs one pen for each child and 3 more in reserve. How many "
            "boxes must be bought, and how many pens are then left over beyond the reserve?",
        ),
        Shot(
            _BUS,
            "A bus drives 180 km in 3 hours and then 100 km in 2 hours. By how many km/h was its first "
            "part faster than its average over the whole way?",
        ),
    ),
    "easier": (
        Shot(_PENS, "A box holds 6 pens. How many pens are in 2 boxes?"),
        Shot(_BUS, "A bus drives 60 km in 1 hour. How far does it drive in 2 hours at the same speed?"),
    ),
    "easier-topic": (
        Shot(_PENS, "Mia is 8 years old and her brother is 3 years younger. How old is her brother?"),
        Shot(_BUS, "A loaf of bread costs 3 euros. How much do 2 loaves cost?"),
    ),
}
"""Worked examples for small teachers, written for evolcoder."""
