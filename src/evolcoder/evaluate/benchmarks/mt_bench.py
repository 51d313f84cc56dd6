"""MT-Bench: 80 questions of two turns in eight categories (arXiv 2306.05685; lm-sys/FastChat, llm_judge).

Answers are drawn at the published temperature of each category, or greedily under the preset "greedy". The
judge sees GPT-4's reference answers to mathematics, reasoning and coding, as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, NamedSet
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.settings import Decoding
from evolcoder.evaluate.styles import of_preset
from evolcoder.records import Problem

_ADDRESS = "https://raw.githubusercontent.com/lm-sys/FastChat/main/fastchat/llm_judge/data/mt_bench/"
QUESTIONS = DataFile(
    "mt-bench/question.jsonl",
    "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
    f"{_ADDRESS}question.jsonl",
)
REFERENCES = DataFile(
    "mt-bench/reference-gpt-4.jsonl",
    "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
    f"{_ADDRESS}reference_answer/gpt-4.jsonl",
)
NAMES = {
    "mt-bench": NamedSet(
        "mt-bench",
        81,
        160,
        size=80,
        hub_dataset="HuggingFaceH4/mt_bench_prompts",
        licence="Apache-2.0",
        measure="points",
        places=2,
        files=(QUESTIONS, REFERENCES),
    )
}
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""By category (FastChat, llm_judge/common.py); the others are answered greedily."""
COMPARED_WITH_REFERENCE = ("math", "reasoning", "coding")
"""Categories whose judge sees a reference answer (FastChat, NEED_REF_CATS)."""
DECODING = Decoding(max_tokens=1024)


@dataclass(frozen=True)
class MtBench(JudgedBenchmark):
    """MT-Bench."""

    decoding: Decoding = DECODING

    def temperature(self, problem: Problem, preset: str) -> float:
        """Return that of the question's category; raises UserError for an unknown preset."""
        (category,) = self.groups(problem)
        return of_preset(preset, {"published": TEMPERATURES, "greedy": {}}).get(category, 0.0)


def load(name: str) -> Benchmark:
    """Return MT-Bench; raises DataError where its data is missing."""
    answered = rows_of(REFERENCES, f"{name} reference")
    references = {row["question_id"]: row["choices"][0]["turns"] for row in answered}
    return MtBench(name, "", tuple(_problem(row, references) for row in rows_of(QUESTIONS, name)))


def _problem(row: dict[str, Any], references: dict[int, list[str]]) -> Problem:
    compared = row["category"] in COMPARED_WITH_REFERENCE
    return Problem(
        *(f"MT-Bench/{row['question_id']}", "mt-bench", row["turns"][0], "", ""),
        extra={
            "turns": row["turns"],
            "references": references.get(row["question_id"], []) if compared else [],
            "groups": (row["category"],),
        },
    )
