"""GSM8K: 1,319 word problems of grade school mathematics (Cobbe et al. 2021, arXiv 2110.14168).

`gsm8k` is the test split, `gsm8k:train` the 7,473 problems to learn from. The oracle "wizardmath" takes the
first number of the answer, rounded to a whole one.
"""

from __future__ import annotations

import re
from dataclasses import replace

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.final_answers import FinalAnswers
from evolcoder.extraction.final_answers import ANSWER_WORDS, first_number
from evolcoder.records import Problem

_PUBLISHED = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"
DATA = {
    "gsm8k": DataFile(
        "gsm8k/test.jsonl.gz",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        _PUBLISHED + "test.jsonl",
    ),
    "gsm8k:train": DataFile(
        "gsm8k/train.jsonl.gz",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        _PUBLISHED + "train.jsonl",
    ),
}
_SET = NamedSet("gsm8k", hub_dataset="openai/gsm8k", licence="MIT", tier="text", measure="accuracy")
NAMES = {
    name: replace(_SET, source=name, size=size, files=(DATA[name],))
    for name, size in (("gsm8k", 1319), ("gsm8k:train", 7473))
}
_CALCULATION = re.compile(r"<<[^<>]*>>")


def load(name: str) -> Benchmark:
    """Return `gsm8k` or `gsm8k:train`; raises DataError where its data is missing."""
    problems = tuple(_problem(number, row, name) for number, row in enumerate(rows_of(DATA[name], name)))
    return FinalAnswers(name, "", problems, same=_same_whole_number)


def step_by_step(answer: str) -> tuple[str, str]:
    """Return (solution that ends with "The answer is: N", N) of an answer as the data set has it."""
    steps, _, final = answer.partition("####")
    number = final.strip().replace(",", "")
    return f"{_CALCULATION.sub('', steps).strip()}\n{ANSWER_WORDS}{number}", number


def _same_whole_number(expected: str, said: str) -> bool:
    number = first_number(said)
    return number is not None and round(number) == int(expected)


def _problem(number: int, row: dict[str, str], name: str) -> Problem:
    solution, expected = step_by_step(row["answer"])
    id_ = f"GSM8K/{number}" if name == "gsm8k" else f"GSM8K-train/{number}"
    return Problem(id_, name, row["question"], "", expected, solution)
