"""The published figures are those of their sources, each with the decoding that it was measured with."""

from __future__ import annotations

from evolcoder.evaluate.published import (
    TABLES,
    decoding_kind,
    published_benchmarks,
    published_for,
    published_sources,
    published_table,
)

# Typed from the tables of the papers, the README and the model cards, not from published.toml.
HUMANEVAL_GREEDY = """
WizardCoder-33B-V1.1 79.9 73.2 78.9 66.9; WizardCoder-Python-34B-V1.0 73.2 64.6 73.2 59.9
WizardCoder-15B-V1.0 59.8 52.4 - -; WizardCoder-Python-13B-V1.0 64.0 - - -
WizardCoder-Python-7B-V1.0 55.5 - - -; WizardCoder-3B-V1.0 34.8 - - -; WizardCoder-1B-V1.0 23.8 - - -
DeepSeek-Coder-33B-instruct 78.7 72.6 78.7 66.7; GPT-4-Turbo (Nov 2023) 85.4 81.7 83.0 70.7
GPT-4 (May 2023) 88.4 76.8 - -; GPT-3.5-Turbo (Nov 2023) 72.6 65.9 81.7 69.4; Gemini Pro 63.4 55.5 72.9 57.9
"""
SAMPLED = """
WizardCoder-Python-34B-V1.0 71.5 61.2; WizardCoder-15B-V1.0 57.3 51.8; CodeGen-16B-Multi 18.3 20.9
CodeGeeX 22.9 24.4; LLaMA-33B 21.7 30.2; LLaMA-65B 23.7 37.7; PaLM-540B 26.2 36.8; PaLM-Coder-540B 36.0 47.0
PaLM 2-S 37.6 50.0; CodeGen-16B-Mono 29.3 35.3; code-cushman-001 33.5 45.9; StarCoder-15B 33.6 43.6
InstructCodeT5+ 35.0 -; WizardLM-30B 37.8 -
"""
REPORTED = "GPT-4 67.0; GPT-3.5 48.1; GPT-4 (2023-03-15) 67.0; ChatGPT-3.5 72.5; Claude 2 71.2"
FIGURE_1 = """
GPT4 85.4 78.0; GPT3.5 68.9 60.4; WizardCoder-15B-V1.0 59.8 52.4; Claude-Plus 53.0 40.9; Claude 47.6 39.0
Bard 44.5 36.6; StarCoder-GPTeacher 34.1 30.5; Instruct-Codegen 32.3 27.4; StarCoder-Plus 23.8 19.5
Guanaco 23.2 21.3; Falcon 18.9 15.9
"""
WIZARDMATH = """
WizardMath-70B-V1.0 81.6 22.7; WizardMath-13B-V1.0 63.9 14.0; WizardMath-7B-V1.0 54.9 10.7
WizardMath-7B-V1.1 83.2 33.0; Mistral-7B 37.8 9.1; Llama-2-7B 12.3 2.8; RFT-7B 50.3 -; MetaMath-7B 66.5 19.8
"""
WIZARDLM = """
WizardLM-70B-V1.0 7.78 92.91 77.6 50.6; WizardLM-13B-V1.2 7.06 89.17 55.3 36.6
WizardLM-13B-V1.1 6.76 86.32 - 25.0; WizardLM-30B-V1.0 7.01 - - 37.8; WizardLM-13B-V1.0 6.35 75.31 - 24.0
WizardLM-7B-V1.0 - - - 19.1
"""

Figure = tuple[str, str, float]


def typed(rows: str, *benchmarks: str) -> set[Figure]:
    found: set[Figure] = set()
    for row in rows.replace("\n", ";").split(";"):
        *name, values = row.rsplit(maxsplit=len(benchmarks))[:1], row.split()[-len(benchmarks) :]
        if row.strip():
            model = str(name[0][0]).strip()
            found |= {(model, b, float(v)) for b, v in zip(benchmarks, values, strict=True) if v != "-"}
    return found


def stored(table: str, kind: str | None = None) -> set[Figure]:
    figures = published_table(table)
    return {(f.model, f.benchmark, f.value) for f in figures if kind in (None, decoding_kind(f.decoding))}


def test_every_value_of_the_tables_and_of_figure_1_is_there_and_no_other() -> None:
    assert stored("wizardcoder", "greedy") == typed(
        HUMANEVAL_GREEDY, "humaneval", "humaneval+", "mbpp", "mbpp+"
    )
    assert stored("wizardcoder", "sampled") == typed(SAMPLED, "humaneval", "mbpp")
    assert stored("wizardcoder", "not said") == typed(REPORTED, "humaneval")
    assert stored("figure-1") == typed(FIGURE_1, "humaneval", "humaneval+")
    assert stored("wizardmath") == typed(WIZARDMATH, "gsm8k", "math")
    assert stored("wizardlm") == typed(WIZARDLM, "mt-bench", "alpacaeval", "gsm8k", "humaneval")
    assert all(published_table(name) for name in TABLES)


def test_the_15b_models_table_was_drawn_with_twenty_samples() -> None:
    of_it = [f for f in published_table("wizardcoder") if f.model == "WizardCoder-15B-V1.0"]
    assert {(f.benchmark, f.value): f.decoding for f in of_it if f.decoding != "greedy"} == {
        ("humaneval", 57.3): "n=20",
        ("mbpp", 51.8): "n=20",
    }


def test_each_figure_has_a_source_and_stands_once_beside_a_measurement() -> None:
    letters = published_sources()
    for benchmark in published_benchmarks():
        figures = published_for(benchmark)
        assert {f.source for f in figures} <= set(letters)
        keys = [(f.model, f.value, f.decoding) for f in figures]
        assert len(keys) == len(set(keys))
        assert [f.value for f in figures] == sorted((f.value for f in figures), reverse=True)
    fifteen = [f for f in published_for("humaneval+ v0.1.10") if f.model == "WizardCoder-15B-V1.0"]
    assert [(f.value, f.source) for f in fifteen] == [(52.4, "R")]
    assert published_for("multipl-e:java 2024-07")[0].value == 35.77
    assert published_for("no-such-benchmark") == []
