"""The cards that the hub shows: what they claim, and what they must say first."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from evolcoder.domains import load_domain
from evolcoder.errors import DataError
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.licences import Link, restrictions, resulting_licence
from evolcoder.report.cards import licence_chain, write_cards
from evolcoder.report.publishing import what_to_publish
from evolcoder.report.run_folder import read_run
from evolcoder.runs import write_json_whole

from .conftest import RunBuilder

FREE = Link("seeds", "own", "apache-2.0")


def header_and_text(card: Path) -> tuple[dict[str, Any], str]:
    _, front, text = card.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def set_recipe(run: Path, old: str, new: str) -> Path:
    recipe = run / "recipe.yaml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    return run


def test_the_model_card_carries_the_score_of_the_best_round(build_run: RunBuilder) -> None:
    run = build_run(problems=164, passed=(20, 30, 41, 35))
    header, text = header_and_text(write_cards(run)[1])
    assert header["license"] == "apache-2.0"
    assert header["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"] == {"type": "openai_humaneval", "name": "humaneval"}
    assert result["metrics"][0] == {"type": "pass@1", "name": "pass@1", "value": 25.0, "verified": False}
    assert "| humaneval | 12.2 | 25.0 |" in text
    assert "not a clean test score" in text


def test_a_score_on_a_subset_never_stands_as_a_score_on_the_whole(build_run: RunBuilder) -> None:
    header, text = header_and_text(write_cards(build_run(problems=40))[1])
    assert header["model-index"][0]["results"][0]["dataset"]["name"] == "humaneval (40 problems, a subset)"
    assert "A subset: 40 of the 164 problems" in text


def test_the_data_card_counts_the_rows_of_the_best_round(build_run: RunBuilder) -> None:
    header, text = header_and_text(write_cards(build_run())[0])
    assert "190 coding instructions" in text
    assert header["size_categories"] == ["n<1K"]
    assert header["configs"][0]["data_files"][0]["path"] == "dataset.jsonl"
    assert "Nothing in this run's folder says that it was checked" in text


def test_cards_have_the_words_of_the_run_s_domain_and_of_its_methods(build_run: RunBuilder) -> None:
    run = build_run()
    (header, model), (_, rows) = (header_and_text(card) for card in reversed(write_cards(run)))
    assert header["tags"] == ["code", "evol-instruct", "evolcoder"]
    assert all("Code Evol-Instruct (WizardCoder" in text for text in (model, rows))
    result = json.loads((run / "result.json").read_text())
    for name, methods, tags, said in (
        ("math", "math", ["math"], "mathematical problems .*Math Evol-Instruct .after WizardMath"),
        ("general", "wizardlm-repository", [], "instructions .*Evol-Instruct .WizardLM"),
        ("code", "general", ["code"], "coding instructions .* Evol-Instruct .WizardLM"),
    ):
        card = load_domain(name).card(EvolveSettings(methods=methods))
        write_json_whole(run / "result.json", {**result, "card": asdict(card)})
        for header, text in map(header_and_text, write_cards(run)):
            assert header["tags"][: len(tags)] == tags and ("code" in header["tags"]) == (name == "code")
            assert re.search(said, text) and ("coding" in text) == (name == "code")


def test_a_run_of_a_version_that_noted_no_domain_says_nothing_of_one(build_run: RunBuilder) -> None:
    run = build_run()
    result = json.loads((run / "result.json").read_text())
    write_json_whole(run / "result.json", {name: value for name, value in result.items() if name != "card"})
    header, text = header_and_text(write_cards(run)[1])
    assert header["tags"] == ["evol-instruct", "evolcoder"]
    assert "fine-tuned on instructions that 2 rounds of Evol-Instruct made from seeds" in text


def test_a_score_s_measure_stands_beside_it(build_run: RunBuilder) -> None:
    run = build_run(problems=164, passed=(20, 30, 41, 35))
    for scores in run.glob("round-*/evaluation/*/scores.json"):
        scores.write_text(scores.read_text().replace('"settings": {', '"settings": {"measure": "win rate", '))
    text = header_and_text(write_cards(run)[1])[1]
    assert "| 164 | win rate |" in text and "pass@1" not in text


def test_a_base_model_that_stayed_best_gets_no_model_card(build_run: RunBuilder) -> None:
    assert [path.parent.name for path in write_cards(build_run(passed=(9, 3, 4, 2)))] == ["dataset"]


def test_a_card_that_somebody_edited_is_replaced_only_when_told_and_published_as_it_is(
    build_run: RunBuilder,
) -> None:
    run = build_run()
    card = write_cards(run)[0]
    assert write_cards(run)[0] == card  # nobody changed it
    card.write_text(edited := f"{card.read_text()}\nWhat only I know.\n")
    with pytest.raises(DataError, match="--overwrite is expected, nothing was changed"):
        write_cards(run)
    (run / "round-2" / "dataset.jsonl").write_text('{"instruction": "x"}\n')
    [shown] = what_to_publish(run, None, "me/d")
    assert card.read_text() == edited and shown.what.endswith("its card as it was edited")
    write_cards(run, changed="replace")
    assert "What only I know" not in card.read_text()
    [shown] = what_to_publish(run, None, "me/d")
    assert "edited" not in shown.what


def test_an_unfinished_run_has_no_cards(build_run: RunBuilder) -> None:
    with pytest.raises(DataError, match=r"result\.json is expected"):
        write_cards(build_run(finished=False))


def test_seeds_that_forbid_commercial_use_are_said_at_the_top(build_run: RunBuilder) -> None:
    run = build_run()
    seeds = run / "seeds.jsonl"
    rows = [json.loads(line) for line in seeds.read_text().splitlines()]
    rows[5]["license"] = "CC-BY-NC-4.0"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for card in write_cards(run):
        header, text = header_and_text(card)
        assert header["license"] == "cc-by-nc-4.0"
        first = text.strip().splitlines()[2]
        assert first.startswith("> **No commercial use: the licence of the seeds")


def test_a_teacher_behind_an_api_leaves_the_licence_open(build_run: RunBuilder) -> None:
    run = set_recipe(build_run(), "teacher: {model: embedded", "teacher: {model: 'openai:gpt-4o'")
    header, text = header_and_text(write_cards(run)[0])
    assert header["license"] == "other"
    assert "The licence of the teacher (gpt-4o) is not known here: its provider's terms" in text


def test_a_local_base_models_own_card_is_believed(build_run: RunBuilder, tmp_path: Path) -> None:
    model = tmp_path / "my-base"
    model.mkdir()
    (model / "README.md").write_text("---\nlicense: MIT\n---\n# My base\n")
    run = set_recipe(build_run(), "base: {model: embedded}", f"base: {{model: '{model}'}}")
    assert licence_chain(read_run(run))[-1] == Link("base model", "my-base", "mit")


@pytest.mark.parametrize(
    ("file", "licence"),
    [
        ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "apache-2.0"),
        ("Qwen2.5-Coder-3B-Q8_0.gguf", "qwen-research"),
        ("something-else.gguf", ""),
    ],
)
def test_a_gguf_file_is_known_by_the_model_it_is_named_after(
    build_run: RunBuilder, file: str, licence: str
) -> None:
    run = set_recipe(build_run(), "teacher: {model: embedded", f"teacher: {{model: 'models/{file}'")
    teacher = licence_chain(read_run(run))[1]
    assert (teacher.name, teacher.licence) == (file, licence)


@pytest.mark.parametrize(
    ("licences", "result"),
    [
        (["mit", "apache-2.0"], "apache-2.0"),
        (["apache-2.0", "cc-by-nc-4.0", "cc-by-4.0"], "cc-by-nc-4.0"),
        (["apache-2.0", "llama2"], "other"),
        (["apache-2.0", ""], "other"),
    ],
)
def test_the_most_demanding_licence_wins_and_the_unknown_is_never_free(
    licences: list[str], result: str
) -> None:
    chain = [Link("seeds", name, name) for name in licences]
    assert resulting_licence(chain) == result


def test_free_links_restrict_nothing() -> None:
    assert restrictions([FREE]) == []
