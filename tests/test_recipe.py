"""A recipe is checked as a whole before anything starts, and every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from evolcoder.errors import RecipeError
from evolcoder.loop.recipe_stages import RecipeStages
from evolcoder.recipe import load_recipe, plain_data, recipe_from_data, recipe_schema, recipe_yaml
from evolcoder.shipped_recipes import RUN, shipped_names, shipped_recipe

RECIPES = sorted(shipped_recipe(name, RUN) for name in shipped_names(RUN))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_survives_being_written_out(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe_from_data(yaml.safe_load(recipe_yaml(recipe)), "again") == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epoch: 2}", "train.epoch: unknown key (did you mean 'epochs'?)"),
        ("evolv: {}", "evolv: unknown key (did you mean 'evolve'?)"),
        ("rounds: {max_rounds: many}", "rounds.max_rounds: Input should be a valid integer"),
        ("rounds: {max_rounds: 0}", "max_rounds must be at least 1, found 0"),
        ("train: {learning_rate: -1}", "learning_rate must be above 0, found -1"),
        ("train: 5", "train: a mapping of keys is expected, found 5"),
        ("evaluate: {benchmarks: mbpp}", "evaluate.benchmarks: a list, [a, b], is expected, found"),
        ("stop: {rule: sometimes}", "stop: rule 'sometimes': decline, paper-v1"),
        ("- a list", "a mapping of sections is expected, found list"),
        ("a: [", "not YAML"),
        ("", "a mapping of sections is expected, found NoneType"),
    ],
)
def test_a_broken_recipe_gets_one_message_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_all_mistakes_of_a_kind_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("train: {epoch: 2}\nrouns: {}\n")
    with pytest.raises(RecipeError, match=r"train\.epoch.*rouns"):
        load_recipe(path)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: no such file"):
        load_recipe(Path("nowhere.yaml"))


def test_set_changes_one_setting_and_is_checked_like_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("train: {epochs: 2}\n")
    assert load_recipe(path, ["train.epochs=5", "rounds.max_rounds=1"]).train.epochs == 5
    assert load_recipe(path).name == "r"
    with pytest.raises(RecipeError, match=r"train\.epoch: unknown key"):
        load_recipe(path, ["train.epoch=5"])
    with pytest.raises(RecipeError, match=r"section\.key=value is expected"):
        load_recipe(path, ["train.epochs"])


def test_the_schema_describes_every_key_and_forbids_others() -> None:
    schema = recipe_schema()
    parts = [schema, *(part for part in schema["$defs"].values() if part["type"] == "object")]
    undescribed = [
        f"{part['title']}.{key}"
        for part in parts
        for key, value in part["properties"].items()
        if "description" not in value
    ]
    assert undescribed == []
    assert all(part["additionalProperties"] is False for part in parts)
    json.dumps(schema)


def test_the_resolved_recipe_writes_out_every_default(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\n")
    data = plain_data(load_recipe(path))
    assert data["train"]["learning_rate"] == 2e-5
    assert data["stop"]["rule"] == "decline"
    assert data["stop"]["benchmark"] == "mbpp-400"


@pytest.mark.parametrize("section", ["evolve", "train"])
def test_a_seed_that_would_have_no_effect_is_refused(tmp_path: Path, section: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"{section}: {{seed: 3}}\n")
    with pytest.raises(RecipeError, match=rf"{section}\.seed has no effect"):
        load_recipe(path)


def test_a_bare_name_means_the_shipped_recipe_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("quickstart")) == load_recipe(Path("recipes/quickstart.yaml"))
    Path("quickstart").write_text("name: mine\n")
    assert load_recipe(Path("quickstart")).name == "mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("quickstrat", "quickstrat: no such file, and no recipe of that name is shipped (did you mean"),
        ("starcoder-15b", "math-quickstart, own-code, paper, quickstart, small-teacher"),
        ("quickstart.yaml", "quickstart.yaml: no such file"),
        ("mine/quickstart", "mine/quickstart: no such file"),
        ("recipes/../recipe.py", "recipes/../recipe.py: no such file"),
    ],
)
def test_a_recipe_that_is_neither_a_file_nor_shipped_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as raised:
        load_recipe(Path(given))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "/etc/x", "a/b", "..", ".", "", "a\\b", "a\x1b]0;t\x07", "x" * 201, "a\0"]
)
def test_a_name_that_is_no_name_of_one_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="a name for one folder under runs/ is expected"):
        recipe_from_data({"name": name}, "r.yaml")
    assert recipe_from_data({"name": "größe 2..3 (x)"}, "r.yaml").name == "größe 2..3 (x)"


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("{}", ["seed=1", "train.epochs=x"], "--set train.epochs: train.epochs: Input should be a valid"),
        ("{}", ["train.epoch=1", "seed=1"], "--set train.epoch: train.epoch: unknown key"),
        ("{}", ["evolve.temperature=-1"], "--set evolve.temperature: evolve: temperature must be"),
        ("{}", ["domain=nix", "seed=1"], "--set domain: domain 'nix': code"),
        ("{}", ["train.x=1", "train.x=1"], "--set train.x, --set train.x: train.x: unknown key"),
        ("{}", ["train.x=1", "train.y=1"], "--set train.x, --set train.y: train.x: unknown key"),
        (
            "{}",
            ["train.prompt_style=chat", "seed=1"],
            "--set train.prompt_style: evaluate.settings.style",
        ),
        ("train: {x: 1}", ["seed=1"], "FILE: train.x: unknown key"),
        ("train: {x: 1}", ["seed=1", "train.y=1"], "FILE, --set train.y: train.x: unknown key"),
        ("{}", ["seed"], "--set seed: section.key=value is expected"),
    ],
)
def test_a_fault_of_set_is_told_of_set_and_one_of_the_file_of_the_file(
    tmp_path: Path, text: str, given: list[str], said: str
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path, given)
    assert str(raised.value).replace(str(path), "FILE").startswith(said)


def test_a_recipe_that_measures_in_another_style_than_it_trains_is_refused() -> None:
    chat = {"prompt_style": "chat"}
    with pytest.raises(RecipeError, match="style wizardcoder differs from"):
        recipe_from_data({"name": "x", "train": chat}, "r.yaml")
    recipe_from_data({"name": "x", "train": chat, "evaluate": {"settings": {"style": "chat"}}}, "r.yaml")


def test_methods_and_phases_of_ones_own_are_read_and_their_keys_checked(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "evolve:\n"
        "  template: 'Schwerer: {question}'\n"
        "  custom_methods:\n"
        "    kurz: Mach es kurz.\n"
        "    rand: {sentence: Randfall., shots: [{question: Addiere., evolved: 'Addiere, auch NaN.'}]}\n"
        "  phases: {answer: {reasoning_effort: high, system: Sei knapp.}}\n"
    )
    evolve = load_recipe(path).evolve
    assert evolve.phases["answer"].reasoning_effort == "high"
    assert [m.name for m in evolve.method_set().methods][-2:] == ["kurz", "rand"]
    assert evolve.method_set().methods[-1].shots[0].evolved == "Addiere, auch NaN."
    with pytest.raises(RecipeError, match=r"evolve\.phases\.answer\.sytem: unknown key.*'system'"):
        load_recipe(path, ["evolve.phases.answer.sytem=x"])
    with pytest.raises(RecipeError, match="'model' is evolcoder's to set"):  # its price would not be counted
        load_recipe(path, ["evolve.phases.answer.extra_body={model: dear}"])


def test_a_recipe_names_the_columns_of_its_seeds(tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text("Aufgabe,Code\nAddiere.,x = 1\n")
    seeds = {"source": str(tmp_path / "tasks.csv"), "columns": {"instruction": "Aufgabe", "response": "Code"}}
    recipe = recipe_from_data({"name": "x", "seeds": seeds}, "r.yaml")
    (seed,) = RecipeStages(recipe, tmp_path / "run").chosen_seeds
    assert (seed.instruction, seed.response) == ("Addiere.", "x = 1")
    with pytest.raises(RecipeError, match=r"seeds.*'Aufgabe' is none of instruction, input"):
        recipe_from_data({"name": "x", "seeds": {"columns": {"Aufgabe": "instruction"}}}, "r.yaml")
