"""Published figures of the method and its peers, as data, to be shown beside a measurement.

Sources: [P] WizardCoder, arXiv 2306.08568 (v2); [R] the README of WizardCoder in nlpxucan/WizardLM; [Q] the
Qwen2.5-Coder technical report, arXiv 2409.12186; [B] the BigCode models leaderboard
(bigcode-evaluation-harness, MultiPL-E's prompts continued, n=50, T=0.2, top_p 0.95: as the paper measures). A
figure is comparable only where prompt, decoding and data version agree, which is why each carries them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One published pass@1."""

    model: str
    benchmark: str
    """Without a data version: "humaneval", "humaneval+", "mbpp", "mbpp+", "multipl-e:java"."""
    percent: float
    decoding: str
    """"greedy", "n=20", "n=200", or "n=20 or 200" where the source does not say which."""
    source: str


def _row(model: str, decoding: str, source: str, **percents: float) -> list[Published]:
    names = {"humaneval_plus": "humaneval+", "mbpp_plus": "mbpp+"}
    return [Published(model, names.get(b, b), p, decoding, source) for b, p in percents.items()]


_GREEDY_README = [
    ("WizardCoder-33B-V1.1", 79.9, 73.2, 78.9, 66.9),
    ("WizardCoder-Python-34B-V1.0", 73.2, 64.6, 73.2, 59.9),
    ("WizardCoder-15B-V1.0", 59.8, 52.4, None, None),
    ("DeepSeek-Coder-33B-instruct", 78.7, 72.6, 78.7, 66.7),
    ("GPT-4-Turbo (Nov 2023)", 85.4, 81.7, 83.0, 70.7),
    ("GPT-4 (May 2023)", 88.4, 76.8, None, None),
    ("GPT-3.5-Turbo (Nov 2023)", 72.6, 65.9, 81.7, 69.4),
    ("Gemini Pro", 63.4, 55.5, 72.9, 57.9),
]
_SAMPLED_PAPER = [
    ("CodeGen-16B-Multi", 18.3, 20.9),
    ("CodeGeeX", 22.9, 24.4),
    ("LLaMA-33B", 21.7, 30.2),
    ("LLaMA-65B", 23.7, 37.7),
    ("PaLM-540B", 26.2, 36.8),
    ("PaLM-Coder-540B", 36.0, 47.0),
    ("PaLM 2-S", 37.6, 50.0),
    ("CodeGen-16B-Mono", 29.3, 35.3),
    ("code-cushman-001", 33.5, 45.9),
    ("StarCoder-15B", 33.6, 43.6),
    ("InstructCodeT5+", 35.0, None),
    ("WizardLM-30B", 37.8, None),
]


_BIGCODE_LANGUAGES = ("java", "js", "cpp", "php", "jl", "lua", "r", "rs", "swift")
_BIGCODE = [
    ("WizardCoder-15B-V1.0", 35.77, 41.91, 38.95, 39.34, 33.98, 27.85, 22.53, 33.74, 27.06),
    ("OctoCoder-15B", 26.03, 32.8, 29.32, 26.76, 24.5, 22.56, 14.39, 24.26, 18.24),
    ("StarCoder-15B", 30.22, 30.79, 31.55, 26.08, 23.02, 23.89, 15.5, 21.84, 22.74),
    ("StarCoderBase-15B", 28.53, 31.7, 30.56, 26.75, 21.09, 26.61, 10.18, 24.46, 16.74),
    ("CodeGeeX2-6B", 23.46, 29.9, 28.45, 25.27, 20.93, 15.94, 14.58, 20.45, 22.06),
    ("StarCoderBase-7B", 24.44, 27.35, 23.3, 22.12, 21.77, 23.35, 14.51, 22.6, 15.1),
]


def _all() -> tuple[Published, ...]:
    rows: list[Published] = []
    for model, he, he_plus, mbpp, mbpp_plus in _GREEDY_README:
        values = {"humaneval": he, "humaneval_plus": he_plus, "mbpp": mbpp, "mbpp_plus": mbpp_plus}
        rows += _row(model, "greedy", "R", **{b: v for b, v in values.items() if v is not None})
    for model, he, he_mbpp in _SAMPLED_PAPER:
        values = {"humaneval": he, "mbpp": he_mbpp}
        rows += _row(model, "n=20 or 200", "P", **{b: v for b, v in values.items() if v is not None})
    rows += _row("WizardCoder-Python-34B-V1.0", "n=200", "R", humaneval=71.5, mbpp=61.2)
    rows += _row("WizardCoder-15B-V1.0", "n=20", "P", humaneval=57.3)
    rows += _row("WizardCoder-15B-V1.0", "n=200", "P", mbpp=51.8)
    rows += _row("WizardCoder-Python-13B-V1.0", "greedy", "R", humaneval=64.0)
    rows += _row("WizardCoder-Python-7B-V1.0", "greedy", "R", humaneval=55.5)
    rows += _row("WizardCoder-3B-V1.0", "greedy", "R", humaneval=34.8)
    rows += _row("WizardCoder-1B-V1.0", "greedy", "R", humaneval=23.8)
    rows += _row("GPT-4", "as reported by its makers", "P", humaneval=67.0)
    rows += _row("GPT-3.5", "as reported by its makers", "P", humaneval=48.1)
    rows += _row("Claude-Plus", "greedy", "P", humaneval=53.0)
    rows += _row("Bard", "greedy", "P", humaneval=44.5)
    for model, *percents in _BIGCODE:
        by_language = zip(_BIGCODE_LANGUAGES, percents, strict=True)
        rows += _row(model, "n=50", "B", **{f"multipl-e:{key}": percent for key, percent in by_language})
    rows += _row("Qwen2.5-Coder-0.5B-Instruct", "greedy", "Q", humaneval=61.6, humaneval_plus=57.3)
    return tuple(rows)


PUBLISHED: tuple[Published, ...] = _all()
"""Every published figure, in the order of the sources' tables."""


def published_for(benchmark: str) -> list[Published]:
    """Return the figures of a benchmark (any data version), best first."""
    name = benchmark.split("@")[0].split(" ")[0]
    return sorted((p for p in PUBLISHED if p.benchmark == name), key=lambda p: (-p.percent, p.model))
