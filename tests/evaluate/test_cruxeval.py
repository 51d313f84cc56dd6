"""CRUXEval: what is asked, which prediction is found in an answer, and which ones are right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evolcoder.errors import DataError
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark, problem_texts
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.extraction import Extraction
from evolcoder.records import Sample, Verdict
from evolcoder.sandbox import Sandbox

NAMES = ["cruxeval:output", "cruxeval:output-cot", "cruxeval:input", "cruxeval:input-cot"]


pytestmark = pytest.mark.usefixtures("benchmark_data")


def verdicts(benchmark: Benchmark, predictions: list[tuple[str, str]]) -> list[Verdict]:
    """Judge (task id, prediction) pairs."""
    samples = [Sample(task_id, i, "", text, whole=True) for i, (task_id, text) in enumerate(predictions)]
    settings = ScoringSettings(timeout_s=0.5)
    with Sandbox(workers=2) as sandbox:
        judged = judge_samples(samples, benchmark, settings=settings, sandbox=sandbox)
        return [judgement.verdict for judgement in judged]


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_shows_the_function_and_what_is_given_and_hides_what_is_asked(name: str) -> None:
    benchmark = load_benchmark(name)
    problem = benchmark.by_task["sample_3"]
    asked = benchmark.ask(problem, "completion")
    assert asked.stop == ("[/ANSWER]",)
    given, hidden = ("input", "output") if "output" in name else ("output", "input")
    ending = "[THOUGHT]\n" if name.endswith("cot") else "[ANSWER]\n"
    shown = (
        f"f({problem.extra['input']}) == ??" if given == "input" else f"f(??) == {problem.extra['output']}"
    )
    assert str(asked.prompt).endswith(f"[PYTHON]\n{problem.prompt}\nassert {shown}\n[/PYTHON]\n{ending}")
    assert problem.extra[hidden] not in str(asked.prompt).rpartition("[PYTHON]")[2].replace(
        problem.prompt, ""
    )
    assert benchmark.decoding.n == 10 and benchmark.decoding.temperature == 0.2


@pytest.mark.parametrize("name", ["cruxeval:output", "cruxeval:input"])
def test_reference_answers_are_right_and_those_of_the_next_problem_are_not(name: str) -> None:
    benchmark = load_benchmark(name)
    assert len(benchmark.problems) == 800
    some = benchmark.problems[::20]
    answers = {
        p.task_id: benchmark.sample(p, 0, f"assert {p.tests}\n[/ANSWER]", "auto").program for p in some
    }
    assert answers == {p.task_id: p.canonical_solution for p in some}
    assert all(verdict.passed for verdict in verdicts(benchmark, list(answers.items())))
    shifted = zip(answers, [*list(answers.values())[1:], answers[some[0].task_id]], strict=True)
    assert sum(verdict.passed for verdict in verdicts(benchmark, list(shifted))) <= 2


@pytest.mark.parametrize(
    ("name", "raw", "found"),
    [
        ("cruxeval:output", "assert f('a') == 'b'\n", "'b'"),
        ("cruxeval:output", "assert f('a') == 'b==c'\n[/ANSWER]\nmore == text", "'b==c'"),
        ("cruxeval:output", "[1, 2]", "[1, 2]"),
        ("cruxeval:output", "<think>f == 1</think>[ANSWER]assert f(1) == {3: 4}[/ANSWER]", "{3: 4}"),
        ("cruxeval:output-cot", "It doubles.\n[/THOUGHT]\n[ANSWER]\nassert f(2) == 4\n[/ANSWER]", "4"),
        ("cruxeval:output-cot", "It doubles, so\nassert f(2) == 4", "4"),
        ("cruxeval:input", "assert f('a == b', 1) == True\n[/ANSWER]", "f('a == b', 1)"),
        ("cruxeval:input", "f([2])", "f([2])"),
        ("cruxeval:input-cot", "Backwards.\n[ANSWER]assert f(x=3) == 9[/ANSWER]", "f(x=3)"),
    ],
)
def test_the_prediction_is_found_as_published(name: str, raw: str, found: str) -> None:
    benchmark = load_benchmark(name)
    extractions: tuple[Extraction, ...] = ("auto", "wizardcoder", "none")  # the defaults of the three styles
    for how in extractions:
        assert benchmark.sample(benchmark.problems[0], 0, raw, how).program == found


def test_what_is_no_prediction_is_not_right() -> None:
    output, given = load_benchmark("cruxeval:output"), load_benchmark("cruxeval:input")
    problem = output.by_task["sample_0"]
    call, value = f"f({problem.extra['input']})", problem.extra["output"]
    tries = [call, f"0 or {value}", f"{value} if f else 0", f"{value} == {value}", "", f"{value}; 1", "1 / 0"]
    assert not any(v.passed for v in verdicts(output, [("sample_0", text) for text in tries]))
    tries = [value, f"{value} if 1 else {call}", f"(lambda *a: {value})(f(1))", "f()", f"{call} or 1"]
    assert not any(v.passed for v in verdicts(given, [("sample_0", text) for text in tries]))
    accepted = [(value, output), (f"{value}, 'as the loop counts'", output), (call, given)]
    assert all(verdicts(benchmark, [("sample_0", text)])[0].passed for text, benchmark in accepted)


def test_no_prediction_reaches_the_function_or_changes_it() -> None:
    output, given = load_benchmark("cruxeval:output"), load_benchmark("cruxeval:input")
    problem = output.by_task["sample_0"]
    arguments, value = problem.extra["input"], problem.extra["output"]
    always = f"(lambda *a: {value})"
    tries = [
        f"globals()['f']({arguments})",
        f"eval('{'f'}'+'({arguments})')",
        f"[g for n, g in globals().items() if len(n) == 1][0]({arguments})",
        f"__import__('gc').get_referrers(globals()) and [o for o in __import__('gc').get_objects() "
        f"if getattr(o, '__name__', '') == 'f'][0]({arguments})",
        f"type('E', (), {{'__eq__': {always}}})()",
    ]
    assert not any(v.passed for v in verdicts(output, [("sample_0", text) for text in tries]))
    tries = [
        f"f(setattr(f, '__code__', {always}.__code__) or 1)",
        f"f(globals().update(f={always}) or 1)",
        f"{always}(f)",
        f"(f and {always})()",
        f"(lambda *a: {value} if f else 0)()",
        f"f(type('E', (), {{'__iter__': lambda s: iter(()), 'count': {always}}})())",
        f"f.__class__(({always}).__code__, {{}})()",
    ]
    assert not any(v.passed for v in verdicts(given, [("sample_0", text) for text in tries]))
    # A problem whose own input is a function cannot be judged apart from it, and says so.
    names = ["sample_0", "sample_344"]
    tried = verdicts(given, [(name, given.by_task[name].canonical_solution) for name in names])
    assert [(v.passed, v.tier) for v in tried] == [(True, "rpc"), (True, "in-process")]


def test_a_long_sum_and_an_expression_over_several_lines_are_judged() -> None:
    benchmark = load_benchmark("cruxeval:output")
    value = benchmark.by_task["sample_0"].extra["output"]
    tries = ["+".join(["1"] * 400), f"({value}  # as the loop counts\n)", f"(\n{value}\n or 1)"]
    found = verdicts(benchmark, [("sample_0", text) for text in tries])
    assert [verdict.passed for verdict in found] == [False, True, True]


def test_the_authors_file_of_predictions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "generations.json"
    path.write_text(json.dumps({"sample_1": ["f(1)", "f(2)"], "sample_799": ["f('a')"]}))
    samples = list(read_samples(path, load_benchmark("cruxeval:input")))
    assert [(s.task_id, s.index, s.program) for s in samples] == [
        ("sample_1", 0, "f(1)"),
        ("sample_1", 1, "f(2)"),
        ("sample_799", 0, "f('a')"),
    ]
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"generations\.json: number 1: a JSON object is expected"):
        list(read_samples(path, load_benchmark("cruxeval:input")))


def test_an_assertion_in_any_sample_file_is_read_by_the_published_rule(tmp_path: Path) -> None:
    benchmark = load_benchmark("cruxeval:output")
    problem = benchmark.problems[0]
    path = tmp_path / "samples.jsonl"
    said = f"assert {problem.tests}\n[/ANSWER]"
    path.write_text(json.dumps({"task_id": problem.task_id, "completion": said}) + "\n")
    (sample,) = read_samples(path, benchmark)
    assert sample.program.strip() == problem.canonical_solution


def test_training_data_must_copy_each_problem_once_at_most() -> None:
    texts = problem_texts(NAMES)
    assert len(texts) == 800
    assert {text.benchmark for text in texts} == {"cruxeval"}
