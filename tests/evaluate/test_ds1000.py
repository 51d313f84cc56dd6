"""DS-1000: what is asked, what is made of an answer, and how solutions are judged in their environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import Benchmark, environment_spec, load_benchmark
from evolcoder.evaluate.benchmarks.ds1000.problems import ENVIRONMENT, solution_of
from evolcoder.evaluate.benchmarks.environments import build_environment, find_environment
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import Judgement, ScoringSettings, judge_samples
from evolcoder.evaluate.tally import Tally
from evolcoder.extraction import Extraction
from evolcoder.progress import SilentProgress
from evolcoder.records import Problem, Sample, Verdict
from evolcoder.sandbox import Sandbox

BODY_TESTS = 'exec_context = r"""\ndef f(df, n=3):\n[insert]\nresult = f(df)\n"""'
PLAIN_TESTS = 'exec_context = r"""\ndf = test_input\n[insert]\n"""'


@pytest.fixture
def ds1000(benchmark_data: Path) -> Benchmark:
    return load_benchmark("ds1000")


def test_problems_know_their_library_and_perturbation(ds1000: Benchmark) -> None:
    counts: dict[str, int] = {}
    for problem in ds1000.problems:
        for group in ds1000.groups(problem):
            counts[group] = counts.get(group, 0) + 1
    assert len(ds1000.problems) == 1000
    assert [counts[name] for name in ("Pandas", "Numpy", "Matplotlib", "Sklearn")] == [291, 220, 155, 115]
    assert [counts[name] for name in ("Scipy", "Pytorch", "Tensorflow")] == [106, 68, 45]
    assert [counts[n] for n in ("Origin", "Semantic", "Difficult-Rewrite", "Surface")] == [452, 234, 162, 152]


@pytest.mark.parametrize("spelt", [17, "17", "DS-1000/17", "ds1000/17", "ds1000_17", "DS1000-17"])
def test_a_problem_is_found_however_its_id_is_spelt(ds1000: Benchmark, spelt: str | int) -> None:
    found = ds1000.find(spelt)
    assert found is not None
    assert found.task_id == "DS-1000/17"


def test_ids_of_no_problem_are_not_found(ds1000: Benchmark) -> None:
    assert [ds1000.find(spelt) for spelt in ("1000", "HumanEval/17", "", "DS-1000/x")] == [None] * 4


def test_it_is_sampled_as_the_paper_says(ds1000: Benchmark) -> None:
    decoding = ds1000.decoding
    assert (decoding.n, decoding.temperature, decoding.top_p, decoding.max_tokens) == (40, 0.2, 0.5, 1024)


def test_a_base_model_continues_the_published_prompt(ds1000: Benchmark) -> None:
    problem = ds1000.problems[0]
    ask = ds1000.ask(problem, "completion")
    assert ask.prompt == problem.prompt
    assert "</code>" in ask.stop
    assert "# SOLUTION END" in ask.stop


def test_insertion_asks_with_what_follows_the_gap(ds1000: Benchmark) -> None:
    insertion = load_benchmark("ds1000:insertion")
    assert len(insertion.problems) == 845
    problem = insertion.problems[0]
    for preset, begins, ends in (
        ("published", "<fim_prefix>Problem:", "<fim_middle>"),
        ("qwen", "<|fim_prefix|>Problem:", "<|fim_middle|>"),
        ("codellama", "<PRE> Problem:", " <MID>"),
    ):
        prompt = insertion.ask(problem, "completion", preset).prompt
        assert isinstance(prompt, str)
        assert prompt.startswith(begins)
        assert prompt.rstrip("\n").endswith(ends)
        assert "[insert]" not in prompt
        assert "print(result)" in prompt
    with pytest.raises(UserError, match=r"preset 'starcode' is not known \(did you mean 'starcoder'\?\)"):
        insertion.ask(problem, "completion", "starcode")


@pytest.mark.parametrize("style", ["chat", "wizardcoder"])
def test_every_style_asks_about_every_problem(ds1000: Benchmark, style: str) -> None:
    for benchmark in (ds1000, load_benchmark("ds1000:insertion")):
        assert all(benchmark.ask(p, style).prompt for p in benchmark.problems)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "solution"),
    [
        ("result = df\n</code>\nEND SOLUTION\n", "result = df\n"),
        ("result = df\n# SOLUTION END\nplt.show()", "result = df\n"),
        ("result = df\n```\nThis is it.", "result = df\n"),
        ("Here it is:\n```python\nresult = df\n```\nand\n```python\nprint(df)\n```", "result = df\n"),
        (
            "```python\nresult = 1\n```\nWrong:\n```\nresult = df\n```\n```python\nprint(result)\n```",
            "result = df\n",
        ),
        ("```python\nprint(result)\n```\nafter\n```py3\nresult = df\n```", "result = df\n"),
        ("Here it is:\n<code>\nresult = df\n</code> Good luck", "\nresult = df\n"),
        ("<code>\n```python\nresult = df\n```\n</code>", "result = df\n"),
        ("<think>\n```python\nresult = 1\n```\n</think>\nresult = df", "\nresult = df"),
        ("result = df\nEND SOLUTION\n<code>\nresult = 1\n</code>", "result = df"),
        ("```python\nresult = df\n```\nIt prints:\n```text\nresult = 3\n```", "result = df\n"),
        ("```bash\npip install pandas\n```\nThen:\n```python\ndf.plot()\n```", "df.plot()\n"),
        ("```python\nimport pandas\n```\nThen:\n```python\ndf.plot()\n```", "df.plot()\n"),
        ("result = df\r\n", "result = df\n"),
        ("result = df<|endoftext|>", "result = df\n"),
        ("\ufeff```python\nresult = df\n```</s>", "result = df\n"),
        ("", ""),
    ],
)
def test_the_solution_is_found_in_an_answer(raw: str, solution: str) -> None:
    assert solution_of(raw, PLAIN_TESTS) == solution


@pytest.mark.parametrize(
    ("context", "change"),
    [
        ("df = test_input\n[insert]\nresult = df\n", "df['a'] = 1"),
        ("df = test_input\n[insert]\nresult = df\n", "df.drop(columns=['a'], inplace=True)"),
        ("df = test_input\n[insert]\nresult = df\n", "df.loc[df['a'].isin([1]), 'b'] *= 10"),
        ("x = test_input\n[insert]\nresult = smooth(x)\n", "def smooth(x):\n    return x"),
    ],
)
def test_the_block_that_changes_what_the_tests_look_at_is_the_solution(context: str, change: str) -> None:
    blocks = "```python\nimport pandas as pd\nx = 1\n```\n{}\n```python\nprint(x)\n```"
    raw = blocks.replace("{}", f"So:\n```python\n{change}\n```")
    assert solution_of(raw, f'exec_context = r"""\n{context}"""').rstrip("\n") == change


@pytest.mark.parametrize(("how", "solution"), [("first", "1"), ("fence", "1"), ("auto", "2"), ("last", "3")])
def test_a_block_is_taken_by_its_place_where_the_user_says_so(how: Extraction, solution: str) -> None:
    raw = "```python\nresult = 1\n```\n```python\nresult = 2\n```\n```python\nprint(3)\n```\n"
    assert solution in solution_of(raw, PLAIN_TESTS, how)


@pytest.mark.parametrize(
    ("raw", "solution"),
    [
        ("    return df\n", "    return df\n"),
        ("return df\n", "    return df\n"),
        ("# so:\n    return df\n", "# so:\n    return df\n"),
        ("    ### END SOLUTION\n    return df\n", "    ### END SOLUTION\n    return df\n"),
        ("```python\ndef f(df, n=3):\n    return df\n\nprint(f(df))\n```", "    return df\n"),
        (
            "```python\nf(1)\n```\n```\ndef f(df, n=3):\n    return df\n```\n```python\nf(2)\n```",
            "    return df\n",
        ),
        (
            "```python\ndef f(df):\n    pass\n```\nso\n```python\ndef f(df):\n    return df\n```",
            "    return df\n",
        ),
        ("```python\nimport pandas\n```\n```python\nx = df\nreturn x\n```", "    x = df\n    return x\n"),
        ("import math\ndef f(\n    df,\n    n=3,\n):\n    return df", "    import math\n    return df"),
    ],
)
def test_a_body_is_given_where_the_tests_want_one(raw: str, solution: str) -> None:
    assert solution_of(raw, BODY_TESTS).rstrip("\n") == solution.rstrip("\n")


_PARTS = st.one_of(
    st.text(), st.sampled_from(["```", "~~~", "\n", "<code>", "</code>", "def f(", "):", "    "])
)


def test_every_reference_solution_is_found_in_an_answer_with_it(ds1000: Benchmark) -> None:
    for problem in ds1000.problems:
        solution = problem.canonical_solution.rstrip("\n")
        for around in ("{}\n</code>\nEND SOLUTION\n", "Sure:\n```python\n{}\n```\nThis does it."):
            found = solution_of(around.replace("{}", solution), problem.tests)
            assert found.rstrip("\n") == solution, problem.task_id


@given(st.lists(_PARTS).map("".join))
def test_any_answer_gives_some_solution(raw: str) -> None:
    for tests in (PLAIN_TESTS, BODY_TESTS):
        assert isinstance(solution_of(raw, tests), str)


def test_without_its_environment_the_command_that_builds_it_is_told(
    ds1000: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not built: evolcoder setup ds1000"):
        find_environment(ENVIRONMENT)


@pytest.mark.parametrize("name", ["thesis.tex", "pyvenv.cfg"])
def test_nothing_is_installed_into_a_folder_of_somebody_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("x")
    with pytest.raises(UserError, match="no environment that evolcoder made"):
        build_environment(ENVIRONMENT, tmp_path / "mine", None, SilentProgress())
    with pytest.raises(UserError, match=r"nothing to set up for 'ds100' \(did you mean 'ds1000'\?\)"):
        environment_spec("ds100")


def test_the_authors_own_answer_files_are_read(ds1000: Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": 3, "code": "result = df\n</code>", "metadata": {}}) + "\n")
    (sample,) = read_samples(path, ds1000, "auto")
    assert (sample.task_id, sample.program) == ("DS-1000/3", "result = df\n")


@pytest.fixture(scope="module")
def environment() -> None:
    """Skip unless the environment was built."""
    try:
        find_environment(ENVIRONMENT)
    except UserError as error:
        pytest.skip(f"needs the environment of DS-1000: evolcoder setup ds1000 ({error})")


@pytest.mark.usefixtures("environment")
def test_solutions_are_judged_right(ds1000: Benchmark) -> None:
    first: dict[str, Problem] = {}
    for problem in ds1000.problems:
        first.setdefault(problem.extra["library"], problem)
    samples = [Sample(p.task_id, 0, "", p.canonical_solution) for p in first.values()]
    pandas = first["Pandas"].task_id
    attempts = {
        "result = None": "failed",
        "result = (": "syntax error",
        "1 / 0": "failed",
        "import os; os._exit(0)": "exited",
        "raise SystemExit(0)": "exited",
        "import ctypes; ctypes.string_at(0)": "crashed",
        "while True: pass": "timeout",
        "open('/etc/evolcoder', 'w')": "forbidden",
        "result = b'\\x00" * 3 + "'": "syntax error",
        "\ud800": "failed",
    }
    samples += [Sample(pandas, i + 1, "", code) for i, code in enumerate(attempts)]
    settings = ScoringSettings(timeout_s=8.0)
    with Sandbox(workers=1) as sandbox:
        verdicts = [j.verdict for j in judge_samples(samples, ds1000, settings=settings, sandbox=sandbox)]
    right, wrong = verdicts[: len(first)], verdicts[len(first) :]
    assert {
        p.extra["library"]: v.detail for p, v in zip(first.values(), right, strict=True)
    } == dict.fromkeys(first, "")
    assert {v.tier for v in verdicts} == {"in-process"}
    found = dict(zip(attempts, (v.reason for v in wrong), strict=True))
    found["\ud800"] = "failed" if found["\ud800"] in ("failed", "syntax error") else found["\ud800"]
    assert found == attempts


def test_each_library_and_perturbation_has_its_score(ds1000: Benchmark) -> None:
    tally = Tally(ds1000)
    for problem in ds1000.problems:
        right = problem.extra["library"] == "Numpy"
        verdict = Verdict(right, "passed" if right else "failed")
        tally.add(Judgement(Sample(problem.task_id, 0, "", ""), verdict))
    by_name = {score.benchmark: score for score in tally.scores((1,), {})}
    assert len(by_name) == 12
    assert by_name["ds1000 (Numpy)"].value == 1.0
    assert by_name["ds1000 (Pandas)"].value == 0.0
    assert by_name["ds1000 (Origin)"].n_problems == 452
