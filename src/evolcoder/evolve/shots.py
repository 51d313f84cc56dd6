"""Worked examples of each code method, shown as earlier turns to teachers that need them.

Written for evolcoder. A model of 0.1 to 0.5 billion parameters does not follow the bare template; with two of
these before its question it follows it about half the time. None is near a HumanEval or MBPP problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shot:
    """A question and what a good teacher makes of it."""

    question: str
    """An instruction."""
    evolved: str
    """The instruction made harder."""


CODE_SHOTS: Mapping[str, tuple[Shot, ...]] = {
    "add-constraints": (
        Shot(
            "Write a Python function that reads a CSV file of orders and returns the total amount.",
            "Write a Python function that reads a CSV file of orders and returns the total amount per "
            "customer, skipping rows with a missing or negative price.",
        ),
        Shot(
            "Write a SQL query that lists all products of the category 'garden'.",
            "Write a SQL query that lists all products of the category 'garden' that were sold at least five "
            "times in 2023, sorted by revenue in descending order.",
        ),
        Shot(
            "Write a shell script that deletes the log files in a folder.",
            "Write a shell script that deletes the log files in a folder that are older than 14 days, but "
            "keeps the three newest and prints the space it freed.",
        ),
    ),
    "rare-requirement": (
        Shot(
            "Write a Python function that sorts a list of file names alphabetically.",
            "Write a Python function that sorts a list of file names in natural order, so that 'photo2.jpg' "
            "comes before 'photo10.jpg' and upper and lower case are treated alike.",
        ),
        Shot(
            "Write a JavaScript function that formats a number of seconds as text.",
            "Write a JavaScript function that formats a number of seconds as an ISO 8601 duration such as "
            "'PT1H2M5S', leaving out the parts that are zero.",
        ),
        Shot(
            "Write a Go program that prints the current date.",
            "Write a Go program that prints the current date as the ISO week number and weekday, for example "
            "'2024-W07-3', in the time zone given as the first argument.",
        ),
    ),
    "more-reasoning": (
        Shot(
            "Write a Python function that computes the average of the temperatures in a list.",
            "Write a Python function that takes a list of (hour, temperature) readings of one day with some "
            "hours missing. First fill each gap by linear interpolation between its neighbours, then "
            "compute the average for day and night separately, and finally return the larger of the two "
            "differences from the average of the whole day.",
        ),
        Shot(
            "Write a SQL query that counts the orders of each customer.",
            "Write a SQL query that counts the orders of each customer for each month, then compares each "
            "month with the customer's previous month, and returns only the customers whose count fell for "
            "three months in a row.",
        ),
        Shot(
            "Write a Rust function that adds up the prices in a shopping cart.",
            "Write a Rust function that adds up the prices in a shopping cart, where every third item of "
            "the same product is free, a voucher takes 10% off what remains, and shipping costs 4.90 unless "
            "the result is at least 50. Return the total in cents and the list of discounts that applied.",
        ),
    ),
    "misdirect": (
        Shot(
            "Write a Python function that removes the comments from a line of configuration text.",
            "Write a Python function that removes the comments from a line of configuration text. A '#' "
            "inside quotes does not start a comment. Here is an attempt that contains an error; do not rely "
            "on it:\n\ndef strip_comment(line):\n    return line.split('#')[0]",
        ),
        Shot(
            "Write a JavaScript function that copies a nested settings object.",
            "Write a JavaScript function that makes a deep copy of a nested settings object that may hold "
            "arrays and dates. A colleague proposes this code, which is wrong; find out why before you "
            "write yours:\n\nfunction copy(settings) {\n  return Object.assign({}, settings);\n}",
        ),
        Shot(
            "Write a C++ function that finds the largest value in a vector.",
            "Write a C++ function that finds the largest value in a vector, which may be empty or hold only "
            "negative numbers. The following reference is faulty:\n\n"
            "int largest(std::vector<int> v) {\n  int best = 0;\n  for (int i = 0; i <= v.size(); i++)\n"
            "    if (v[i] > best) best = v[i];\n  return best;\n}",
        ),
    ),
    "complexity": (
        Shot(
            "Write a Python function that tells which user ids occur in both of two lists.",
            "Write a Python function that tells which user ids occur in both of two lists that are sorted "
            "already. It must run in O(n + m) time and use O(1) memory beyond the result.",
        ),
        Shot(
            "Write a JavaScript class that keeps the highest of the latest scores.",
            "Write a JavaScript class that keeps the highest of the latest k scores of an endless stream. "
            "Adding a score and asking for the highest must both take O(1) amortized time.",
        ),
        Shot(
            "Write a Go function that counts the distinct words of a text file.",
            "Write a Go function that counts the distinct words of a text file of 50 GB, reading it once as "
            "a stream, with at most 64 MB of memory and a relative error below 2%.",
        ),
    ),
}
