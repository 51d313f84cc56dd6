import pytest

from evolcoder.evolve.elimination import instruction_elimination
from evolcoder.evolve.methods import (
    CODE_SENTENCES,
    METHOD_SETS,
    CustomMethod,
    Shot,
    choose_method,
    equality_messages,
    evolution_messages,
    method_set,
)
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.evolve.wizardlm_prompts import INPUT_FORMATS


def test_the_code_prompt_is_the_papers_word_for_word() -> None:
    methods = METHOD_SETS["code"]
    method = next(m for m in methods.methods if m.name == "misdirect")
    (turn,) = evolution_messages(methods, method, "Sort {x}.")
    assert turn.role == "user"
    assert turn.content.rstrip() == (
        "Please increase the difficulty of the given programming test question a bit.\n\n"
        "You can increase the difficulty using, but not limited to, the following methods:\n"
        "Provide a piece of erroneous code as a reference to increase misdirection.\n\n"
        "Sort {x}."
    )


def test_the_code_set_has_the_papers_five_methods() -> None:
    sentences = [m.sentence for m in METHOD_SETS["code"].methods]
    assert sentences == [
        "Add new constraints and requirements to the original problem, "
        "adding approximately 10 additional words.",
        "Replace a commonly used requirement in the programming task "
        "with a less common and more specific one.",
        "If the original problem can be solved with only a few logical steps, "
        "please add more reasoning steps.",
        "Provide a piece of erroneous code as a reference to increase misdirection.",
        "Propose higher time or space complexity requirements, but please refrain from doing so frequently.",
    ]


def test_wizardlms_two_wordings_stand_under_their_names_and_say_the_same_in_other_words() -> None:
    paper, repository = METHOD_SETS["wizardlm-paper"], METHOD_SETS["wizardlm-repository"]
    assert METHOD_SETS["general"].methods == paper.methods
    in_depth = ["constraints", "deepening", "concretizing", "reasoning"]
    assert [m.name for m in repository.methods] == [*in_depth, "breadth"]
    assert [m.name for m in paper.methods if not m.name.startswith("complicate-")] == [*in_depth, "breadth"]
    for methods, given in ((paper, "#Given Prompt#"), (repository, "#The Given Prompt#")):
        (turn,) = evolution_messages(methods, methods.methods[0], "Sort {x}.")
        assert f"Please add one more constraints/requirements into {given}" in turn.content
        assert turn.content.endswith(f"\n{given}:\nSort {{x}}.\n#Rewritten Prompt#:\n")
        (broad,) = evolution_messages(methods, methods.methods[-1], "Sort {x}.")
        assert broad.content.endswith("\n#Given Prompt#:\nSort {x}.\n#Created Prompt#:\n")
    assert all(len(m.shots) == 2 for m in repository.methods)
    assert "LENGTH and difficulty level" in str(paper.methods[-1].template)
    assert "LENGTH and complexity" in str(repository.methods[-1].template)


def test_complicated_input_has_a_prompt_with_worked_examples_for_each_of_six_formats() -> None:
    methods = METHOD_SETS["wizardlm-paper"]
    complicated = [m for m in methods.methods if m.name.startswith("complicate-")]
    assert sum(m.weight for m in complicated) == pytest.approx(1)
    for method, named in zip(complicated, INPUT_FORMATS.values(), strict=True):
        (turn,) = evolution_messages(methods, method, "Plan {my} day.")
        assert f"You must add [{named}] format text as input data in [Rewritten Prompt]" in turn.content
        *examples, asked = turn.content.split("\n####\n")
        assert len(examples) == 2
        assert asked.startswith("The Given Prompt:\nPlan {my} day.\n")
        copied = examples[0].rpartition("as input):\n")[2]
        found = instruction_elimination("Plan {my} day.", copied, method, methods)
        assert found is not None and found.reason == "leaked prompt"


def test_each_code_method_has_worked_examples_and_shots_come_as_earlier_turns_of_the_same_method() -> None:
    methods = METHOD_SETS["code"]
    for method in methods.methods:
        assert len(method.shots) >= 2
        turns = evolution_messages(methods, method, "A question.", shots=2)
        assert [t.role for t in turns] == ["user", "assistant", "user", "assistant", "user"]
        assert all(method.sentence in turn.content for turn in turns if turn.role == "user")
        assert "A question." in turns[-1].content


def test_methods_are_chosen_about_equally_often_and_follow_from_seed_row_and_round_alone() -> None:
    methods = METHOD_SETS["code"]
    chosen = [choose_method(methods, 7, f"row{i}", 1).name for i in range(5000)]
    assert chosen == [choose_method(methods, 7, f"row{i}", 1).name for i in range(5000)]
    assert chosen != [choose_method(methods, 8, f"row{i}", 1).name for i in range(5000)]
    assert chosen != [choose_method(methods, 7, f"row{i}", 2).name for i in range(5000)]
    # 1000 each expected; 200 away would be seven standard deviations.
    assert all(800 < chosen.count(m.name) < 1200 for m in methods.methods)


def test_weights_change_the_odds_and_zero_leaves_a_method_out() -> None:
    methods = method_set("code", {}, {"complexity": 0, "misdirect": 3})
    chosen = [choose_method(methods, 0, f"row{i}", 1).name for i in range(6000)]
    assert "complexity" not in chosen
    assert 2700 < chosen.count("misdirect") < 3300


def test_a_custom_method_is_one_line_in_the_settings() -> None:
    settings = EvolveSettings(custom_methods={"port": "Ask for a port to Zig."}, weights={"port": 2})
    methods = method_set(settings.methods, settings.custom_methods, settings.weights)
    port = methods.methods[-1]
    assert "Ask for a port to Zig." in evolution_messages(methods, port, "Q")[0].content


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"methods": "codes"}, "one of code, general"),
        ({"weights": {"misdirection": 1}}, "misdirection"),
        ({"weights": {"misdirect": -1}}, "0 or more"),
        ({"custom_methods": {"x": " "}}, "no sentence"),
        ({"temperature": 3}, "between 0 and 2"),
        ({"shots": -1}, "0 or more"),
        ({"near_duplicates": 2}, "at most 1"),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EvolveSettings(**wrong)


def test_the_judge_sees_both_instructions_whatever_they_hold() -> None:
    (turn,) = equality_messages("first with {second} in it", "the other")
    assert "first with {second} in it" in turn.content
    assert "The Second Prompt: the other" in turn.content


def test_a_method_left_out_changes_only_the_rows_that_had_it() -> None:
    whole = method_set("code", {}, {})
    without = method_set("code", {}, {"misdirect": 0})
    pairs = [
        (choose_method(whole, 3, f"row{i}", 1).name, choose_method(without, 3, f"row{i}", 1).name)
        for i in range(2000)
    ]
    assert all(before == after for before, after in pairs if before != "misdirect")
    assert len({after for before, after in pairs if before == "misdirect"}) == 4


def test_a_template_shots_and_leak_words_of_ones_own_in_any_language() -> None:
    settings = EvolveSettings(
        template="Mach diese Aufgabe schwerer: {method}\n\n{question}",
        leaks=("mach diese aufgabe schwerer",),
        custom_methods={
            "randfall": CustomMethod(
                "Verlange einen Randfall.", shots=(Shot("Addiere.", "Addiere, auch NaN."),)
            ),
            "frei": CustomMethod(template="Nur so: {question}"),
        },
        weights=dict.fromkeys(CODE_SENTENCES, 0.0),
    )
    methods = settings.method_set()
    by_name = {m.name: m for m in methods.methods}
    first, example, asked = evolution_messages(methods, by_name["randfall"], "Sortiere.", shots=2)
    assert first.content == "Mach diese Aufgabe schwerer: Verlange einen Randfall.\n\nAddiere."
    assert (example.role, example.content) == ("assistant", "Addiere, auch NaN.")
    assert asked.content.endswith("Sortiere.")
    (only,) = evolution_messages(methods, by_name["frei"], "Sortiere.", shots=2)
    assert only.content == "Nur so: Sortiere."
    found = instruction_elimination(
        "Sortiere.", "Mach diese Aufgabe schwerer: sortiere Listen.", by_name["frei"], methods
    )
    assert found is not None and found.reason == "leaked prompt"
    for wrong in (
        {"template": "no place"},
        {"custom_methods": {"x": CustomMethod("s")}, "template": "{method}"},
    ):
        with pytest.raises(ValueError, match="question"):
            EvolveSettings(**wrong)
