"""The card of a model, as the hub reads it."""

from __future__ import annotations

from typing import Any

import yaml

from evolcoder.licences import Link, model_link
from evolcoder.model_cards import CardScore, ModelCard, model_card_text, size_category

BASE = model_link("base model", "embedded")
SCORE = CardScore("humaneval v0.1.10", "openai_humaneval", 0.25, 0.18, 0.33, 164, subset=False, base=0.05)


def header_and_text(card: ModelCard) -> tuple[dict[str, Any], str]:
    _, front, text = model_card_text(card).split("---\n", 2)
    return yaml.safe_load(front), text


def test_scores_stand_in_the_model_index_under_the_hub_s_name_of_the_benchmark() -> None:
    header, text = header_and_text(ModelCard("m", "A model.", (BASE,), scores=(SCORE,)))
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"] == {"type": "openai_humaneval", "name": "humaneval v0.1.10"}
    assert result["metrics"][0]["value"] == 25.0
    assert "| humaneval v0.1.10 | 5.0 | 25.0 | 18.0 to 33.0 | 164 |" in text
    assert (header["license"], header["base_model"]) == ("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_a_subset_is_said_where_the_score_stands() -> None:
    part = CardScore("humaneval", "humaneval", 0.25, 0.1, 0.4, 32, subset=True)
    header, _ = header_and_text(ModelCard("m", "A model.", (BASE,), scores=(part,)))
    assert header["model-index"][0]["results"][0]["dataset"]["name"] == "humaneval (32 problems, a subset)"


def test_without_scores_there_is_no_model_index_and_a_bad_licence_comes_first() -> None:
    chain = (Link("data", "20,022 rows", "cc-by-nc-4.0"), BASE)
    header, text = header_and_text(ModelCard("m", "A model.", chain, training={"losses": [2.0, 1.0]}))
    assert "model-index" not in header and header["license"] == "cc-by-nc-4.0"
    assert text.index("No commercial use") < text.index("A model.")
    assert "| loss, first and last step | 2.000, 1.000 |" in text


def test_the_hub_s_buckets_of_sizes() -> None:
    sizes = (999, 1000, 99_999, 100_000, 1_000_000)
    assert [*map(size_category, sizes)] == ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"]
