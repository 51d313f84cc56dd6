"""MultiPL-E: programs of other languages are assembled, read and judged as its own evaluators do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.known import FOLDER, Known, known_programs

from evolcoder.errors import DataError, UserError
from evolcoder.evaluate import benchmarks
from evolcoder.evaluate.benchmarks import Benchmark, load_benchmark
from evolcoder.evaluate.benchmarks.multipl_e import prepared
from evolcoder.evaluate.benchmarks.multipl_e.languages import LANGUAGES
from evolcoder.evaluate.benchmarks.multipl_e.toolchains import Found, MissingToolchainError, find_tool
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.scoring import ScoringSettings, judge_samples
from evolcoder.records import Sample, Verdict
from evolcoder.sandbox import Sandbox, probe
from evolcoder.sandbox.protocol import ExecJob, Limits

SLOW = {"cpp": 3, "cs": 3, "go": 5, "java": 7, "r": 3, "rs": 3, "scala": 22, "swift": 11, "ts": 11, "jl": 7}
"""Of the programs of these languages every Nth is judged here; `bench/multipl_e.py --known` judges all."""

CHAT = dict(
    section.split("\n", 1)
    for section in (FOLDER / "chat_answers.txt").read_text().removeprefix("== ").split("\n== ")
)
"""Right answers of a chat model to HumanEval_53_add, with what such answers have around the function."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if probe().level == "none":
        pytest.skip(f"this machine cannot contain programs: {probe().reason}")
    with Sandbox(workers=2) as opened:
        yield opened


pytestmark = pytest.mark.usefixtures("benchmark_data")


def ready(language: str) -> Benchmark:
    """Return a language's benchmark; skips with the installing command where a tool is missing."""
    benchmark = load_benchmark(f"multipl-e:{language}")
    try:
        benchmark.check_ready()
    except MissingToolchainError as error:
        pytest.skip(str(error))
    return benchmark


def samples_of(benchmark: Benchmark, known: list[Known]) -> list[Sample]:
    """Return known programs as a model's completions."""
    found = [benchmark.find(each.number) for each in known]
    return [
        Sample(problem.task_id, index, each.completion, each.completion)
        for index, (problem, each) in enumerate(zip(found, known, strict=True))
        if problem is not None
    ]


def verdicts_of(benchmark: Benchmark, samples: list[Sample], sandbox: Sandbox) -> list[Verdict]:
    settings = ScoringSettings(timeout_s=2)
    return [j.verdict for j in judge_samples(samples, benchmark, settings=settings, sandbox=sandbox)]


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_right_programs_pass_and_wrong_ones_fail_for_the_right_reason(
    language: str, sandbox: Sandbox
) -> None:
    benchmark = ready(language)
    known = known_programs(language)
    assert len([each for each in known if each.reason == "passed"]) == 20
    chosen = known[:: SLOW.get(language, 1)]
    if language in ("cpp", "java") and "timeout" not in {each.reason for each in chosen}:
        chosen += [each for each in known if each.reason == "timeout"]
    verdicts = verdicts_of(benchmark, samples_of(benchmark, chosen), sandbox)
    told = [
        f"{each.number}: {verdict.reason} ({verdict.detail}), {each.reason} is right:\n{each.completion}"
        for each, verdict in zip(chosen, verdicts, strict=True)
        if verdict.reason != each.reason
    ]
    assert not told, "\n".join(told)


def test_a_program_is_prompt_completion_up_to_a_stop_token_and_tests() -> None:
    java = load_benchmark("multipl-e:java")
    problem = java.by_task["HumanEval_53_add"]
    completion = "        return x + y;\n    }\n    static void more() {}\n}"
    program = java.program(problem, Sample(problem.task_id, 0, completion, completion))
    assert program == f"{problem.prompt}        return x + y;\n{problem.tests}"


def test_a_broken_c_sharp_header_is_mended_unless_the_completion_brings_its_own() -> None:
    benchmark = load_benchmark("multipl-e:cs")
    problem = benchmark.by_task["HumanEval_53_add"]
    assert problem.prompt.endswith("    // (12L)\n    public static long Add(long x, long y) {\n")
    plain = benchmark.program(problem, Sample(problem.task_id, 0, "", "        return x + y;\n"))
    assert "\n    public static long Add(long x, long y) {\n        return" in plain
    own = "    public static long Add(long x, long y) {\n        return x + y;\n"
    whole = benchmark.program(problem, Sample(problem.task_id, 0, "", own))
    assert whole.count("\n    public static long Add(") == 1
    assert "\n    //     public static long Add(" in whole


def test_problems_are_found_as_files_spell_them() -> None:
    benchmark = load_benchmark("multipl-e:mbpp-rs")
    assert benchmark.title == "multipl-e:mbpp-rs 2024-07"
    first = benchmark.problems[0]
    number = first.task_id.split("_")[1]
    for spelled in (first.task_id, f"mbpp_{number}", f"mbpp/{number}", number, int(number)):
        assert benchmark.find(spelled) is first
    assert benchmark.find(f"HumanEval_{number}") is None
    assert load_benchmark("multipl-e:humaneval-rs").title == load_benchmark("multipl-e:rs").title


def test_a_missing_compiler_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    find_tool.cache_clear()
    benchmarks._published.cache_clear()
    try:
        with pytest.raises(UserError, match=r"Rust programs need rustc, cc.*: apt install rustc && apt"):
            load_benchmark("multipl-e:rs").check_ready()
    finally:
        find_tool.cache_clear()
        benchmarks._published.cache_clear()


def test_an_unknown_language_is_told_and_where_the_known_ones_are() -> None:
    with pytest.raises(UserError, match=r"'multipl-e:cobol' is not known.*`evolcoder benchmarks` lists"):
        load_benchmark("multipl-e:cobol")


@pytest.mark.parametrize("key", list(LANGUAGES))
def test_steps_before_the_last_are_those_that_compile(key: str) -> None:
    language = LANGUAGES[key]
    tools = {part: Found(part, f"/usr/bin/{part}", f"/usr/bin/{part}", (), "") for part in language.tools}
    for folder in ("", prepared.INSIDE):
        commands = language.commands(tools, folder, "")
        assert len(commands) == language.compile_steps + 1
        assert all("/" in command[0] or command[0] == "mkdir" for command in commands)
        assert not any("{" in word for command in commands for word in command)


# -- files ------------------------------------------------------------------------------------------------


def multipl_e_object(completions: list[str]) -> dict[str, Any]:
    """Return what MultiPL-E writes of one problem."""
    problem = load_benchmark("multipl-e:js").by_task["HumanEval_53_add"]
    return {
        "name": problem.task_id,
        "language": "js",
        "prompt": problem.prompt,
        "tests": problem.tests,
        "stop_tokens": problem.extra["stop_tokens"],
        "completions": completions,
    }


def results_object(completions: list[str], statuses: list[str]) -> dict[str, Any]:
    """Return what its evaluator makes of that."""
    value = multipl_e_object(completions)
    value["results"] = [
        {"program": f"{value['prompt']}{c}\n{value['tests']}", "status": s, "exit_code": int(s != "OK")}
        for c, s in zip(value.pop("completions"), statuses, strict=True)
    ]
    return value


RIGHT, WRONG = "  return x + y;\n}", "  return x - y;\n}"


def write(path: Path, value: object) -> Path:
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)
    return path


def programs_in(path: Path) -> list[str]:
    benchmark = load_benchmark("multipl-e:js")
    return [
        benchmark.program(benchmark.by_task[sample.task_id], sample)
        for sample in read_samples(path, benchmark)
    ]


def test_every_form_of_file_gives_the_same_programs(tmp_path: Path) -> None:
    benchmark = load_benchmark("multipl-e:js")
    problem = benchmark.by_task["HumanEval_53_add"]
    expected = [f"{problem.prompt}{c}\n{problem.tests}" for c in (RIGHT, WRONG)]
    results = results_object([RIGHT, WRONG], ["OK", "Exception"])
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder / "HumanEval_53_add.results.json.gz", results)
    write(folder / "HumanEval_53_add.json.gz", multipl_e_object([RIGHT, WRONG]))
    generations: list[list[str]] = [
        [problem.prompt + RIGHT, problem.prompt + WRONG] if p is problem else [] for p in benchmark.problems
    ]
    lines = tmp_path / "lines.jsonl"
    lines.write_text(
        json.dumps({"name": problem.task_id, "completion": RIGHT})
        + "\n"
        + json.dumps({"task_id": "HumanEval/53", "program": expected[1]})
        + "\n"
    )
    deepseek = tmp_path / "deepseek.jsonl"
    deepseek.write_text(
        "".join(
            json.dumps({"task_id": problem.task_id, "generation": problem.prompt + c, "passed": c == RIGHT})
            + "\n"
            for c in (RIGHT, WRONG)
        )
    )
    assert benchmark.own_verdicts(deepseek) == {problem.task_id: [True, False]}
    repeated = tmp_path / "repeated.jsonl"
    repeated.write_text(
        "".join(
            json.dumps({"name": problem.task_id, "completion": f"{problem.prompt.strip()}{end}{c}"}) + "\n"
            for end, c in (("\n", RIGHT), ("\n", WRONG))
        )
    )
    assert [text.replace("{\n\n", "{\n") for text in programs_in(repeated)] == expected
    yaml_file = tmp_path / "HumanEval_53_add.results.yaml"
    yaml_file.write_text(json.dumps(results))
    for path in (
        folder,
        write(tmp_path / "one.results.json", results),
        write(tmp_path / "one.json", multipl_e_object([RIGHT, WRONG])),
        write(tmp_path / "all.json", [multipl_e_object([RIGHT, WRONG])]),
        write(tmp_path / "generations.json", generations),
        lines,
        deepseek,
        yaml_file,
    ):
        assert programs_in(path) == expected, path.name


def test_whole_programs_of_another_release_are_read(tmp_path: Path) -> None:
    value = results_object([RIGHT], ["OK"]) | {"name": "HumanEval_999_of_another_release"}
    path = write(tmp_path / "x.results.json", value)
    assert programs_in(path) == [value["results"][0]["program"]]
    path = write(tmp_path / "y.json", {"name": "HumanEval_998_none", "completions": [RIGHT]})
    with pytest.raises(DataError, match="HumanEval_998_none"):
        programs_in(path)


def test_a_solution_without_tests_gets_them() -> None:
    for key, solution in (
        ("js", "function add(x, y) { return 1; }"),
        ("java", CHAT["java"].split("\n", 1)[1]),
    ):
        benchmark = load_benchmark(f"multipl-e:{key}")
        problem = benchmark.by_task["HumanEval_53_add"]
        program = benchmark.program(problem, Sample(problem.task_id, 0, solution, solution, whole=True))
        assert problem.tests.strip() in program
        assert benchmark.program(problem, Sample(problem.task_id, 0, "", program, whole=True)) == program


def test_verdicts_in_a_file_are_read_too(tmp_path: Path) -> None:
    path = write(tmp_path / "x.results.json", results_object([RIGHT, WRONG], ["OK", "Timeout"]))
    assert load_benchmark("multipl-e:js").own_verdicts(path) == {"HumanEval_53_add": [True, False]}
    bare = write(tmp_path / "y.json", multipl_e_object([RIGHT]))
    assert load_benchmark("multipl-e:js").own_verdicts(bare) == {}


@pytest.mark.parametrize("text", ["", "{", "3", '"x"', "[[1]]", '{"name": "HumanEval_53_add"}', "\x1f\x8b"])
def test_a_file_that_is_none_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as told:
        programs_in(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


# -- answers of chat models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", CHAT)
def test_a_chat_answer_becomes_a_program_that_passes(answer: str, sandbox: Sandbox) -> None:
    benchmark = ready(answer.split(" ")[0])
    problem = benchmark.by_task["HumanEval_53_add"]
    sample = benchmark.sample(problem, 0, CHAT[answer], "auto")
    verdict = verdicts_of(benchmark, [sample], sandbox)[0]
    assert verdict.passed, f"{verdict.reason}: {verdict.detail}\n{benchmark.program(problem, sample)}"


def test_a_type_of_the_prompt_may_be_repeated(sandbox: Sandbox) -> None:
    benchmark = ready("cpp")
    problem = benchmark.by_task["HumanEval_103_rounded_avg"]
    body = (
        "if (n > m) return -1;\n    long mean = lrint((n + m) / 2.0);\n    std::string s;\n"
        "    for (; mean; mean /= 2) s = char('0' + mean % 2) + s;\n"
        '    return Union_std_string_long("0b" + s);\n}'
    )
    raw = f"```cpp\n{problem.prompt}    {body}\n```"
    verdict = verdicts_of(benchmark, [benchmark.sample(problem, 0, raw, "auto")], sandbox)[0]
    assert "redefinition" not in verdict.detail
    assert verdict.passed, verdict.detail


def test_a_module_of_tests_is_no_part_of_a_rust_program() -> None:
    benchmark = load_benchmark("multipl-e:rs")
    problem = benchmark.by_task["HumanEval_53_add"]
    tests = "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn it() { panic!() }\n}\n"
    raw = f"```rust\nuse std::fmt;\nfn add(x: isize, y: isize) -> isize {{\n    x + y\n}}\n{tests}```"
    program = benchmark.program(problem, benchmark.sample(problem, 0, raw, "auto"))
    assert "super" not in program
    assert "use std::fmt;" in program


JAVASCRIPT = "function add(x, y) {\n  return x < y ? x + y : y + x;\n}\n"


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({"code": JAVASCRIPT}),
        "```js\n" + JAVASCRIPT.replace("<", "&lt;") + "```\n",
        f"```js\n\u200b{JAVASCRIPT}```\n",
        f"<answer>\n{JAVASCRIPT}</answer>",
        f"```js\n{JAVASCRIPT}```\n### Instruction:\nSubtract.\n### Response:\n"
        "```js\nfunction add(x, y) {\n  return x - y;\n}\n```\n",
    ],
    ids=["JSON", "entities", "invisible", "tag", "another turn"],
)
def test_answers_of_other_forms_are_read_as_in_python(raw: str) -> None:
    benchmark = load_benchmark("multipl-e:js")
    problem = benchmark.by_task["HumanEval_53_add"]
    program = benchmark.program(problem, benchmark.sample(problem, 0, raw, "auto"))
    assert program.strip().startswith(JAVASCRIPT.strip())
    assert program.count("function add") == 1


def test_prose_around_a_bare_program_is_no_part_of_it() -> None:
    benchmark = load_benchmark("multipl-e:py")
    problem = benchmark.by_task["HumanEval_53_add"]
    raw = "\ufeffHere is the solution:\n\ndef add(x, y):\n    return x + y\n\nIt runs in O(1).\n"
    program = benchmark.program(problem, benchmark.sample(problem, 0, raw, "auto"))
    assert "return x + y" in program
    assert not any(text in program for text in ("Here", "O(1)", "\ufeff"))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   \n",
        "I cannot.",
        "```\n```",
        "```java\n```" * 5000,
        "<think>never ends",
        "}" * 3000,
        "{" * 3000,
    ],
)
@pytest.mark.parametrize("language", ["java", "js", "go", "sh"])
@pytest.mark.parametrize("how", ["none", "auto", "fence", "wizardcoder"])
def test_an_answer_without_a_program_is_no_error(raw: str, language: str, how: Any) -> None:
    benchmark = load_benchmark(f"multipl-e:{language}")
    problem = benchmark.by_task["HumanEval_53_add"]
    assert benchmark.program(problem, benchmark.sample(problem, 0, raw, how))


def test_a_model_is_asked_to_continue_or_to_answer_in_a_block() -> None:
    benchmark = load_benchmark("multipl-e:rs")
    problem = benchmark.by_task["HumanEval_53_add"]
    for style in ("completion", "wizardcoder"):
        ask = benchmark.ask(problem, style)
        assert (ask.prompt, ask.stop) == (problem.prompt.strip(), ("\n}",))
    chat = benchmark.ask(problem, "chat")
    assert "Complete this Rust function" in str(chat.prompt)


# -- what is prepared once ---------------------------------------------------------------------------------


def test_no_program_can_change_what_is_prepared_for_the_next(sandbox: Sandbox) -> None:
    benchmark = ready("cpp")
    problem = benchmark.by_task["HumanEval_53_add"]
    benchmark.prepare((), sandbox)
    job = benchmark.job(problem, "", Limits(cpu_s=5), "multipl-e")
    assert isinstance(job, ExecJob)
    assert job.folders
    spoil = f"rm -rf {prepared.INSIDE}/* ; echo '#error spoilt' > {prepared.INSIDE}/all.h"
    ended = sandbox.run(ExecJob({}, (("sh", "-c", spoil),), folders=job.folders, address_space_limit=False))
    assert not ended.verdict.passed
    assert b"Read-only file system" in ended.stderr
    right = [each for each in known_programs("cpp") if each.reason == "passed"][:1]
    assert verdicts_of(benchmark, samples_of(benchmark, right), sandbox)[0].passed


def test_what_is_prepared_does_not_change_a_verdict(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready("cpp")
    monkeypatch.setattr(prepared, "_MAKERS", {})
    benchmarks._published.cache_clear()
    benchmark = load_benchmark("multipl-e:cpp")
    few = known_programs("cpp")[::9]
    verdicts = verdicts_of(benchmark, samples_of(benchmark, few), sandbox)
    benchmarks._published.cache_clear()
    assert [verdict.reason for verdict in verdicts] == [each.reason for each in few]


def test_nothing_that_a_program_starts_outlives_it(sandbox: Sandbox) -> None:
    import psutil

    benchmark = ready("sh")
    problem = benchmark.by_task["HumanEval_53_add"]
    lasting = "    setsid sleep 4321 >/dev/null 2>&1 &\n    (nohup sleep 4321 >/dev/null 2>&1 &)\n"
    samples = [
        Sample(problem.task_id, index, "", f"{lasting}    echo $(($1 + $2)) # {index}\n")
        for index in range(4)
    ]
    assert all(verdict.passed for verdict in verdicts_of(benchmark, samples, sandbox))
    running = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert running
    assert not [command for command in running if "4321" in command]


def test_a_verdict_says_that_program_and_tests_were_together(sandbox: Sandbox) -> None:
    benchmark = ready("sh")
    right = [each for each in known_programs("sh") if each.reason == "passed"][:1]
    assert verdicts_of(benchmark, samples_of(benchmark, right), sandbox)[0].tier == "in-process"


EARLY_ENDS = {
    "cpp": "    std::exit(0);\n}\n",
    "java": "        System.exit(0); throw new RuntimeException();\n    }\n",
    "js": "    process.exit(0);\n}\n",
    "py": "    import os; os._exit(0)\n",
    "rs": "    std::process::exit(0)\n}\n",
    "ts": "    (globalThis as any).process.exit(0);\n    return 0;\n}\n",
}


@pytest.mark.parametrize("language", EARLY_ENDS)
def test_a_program_that_ends_before_its_tests_does_not_pass(language: str, sandbox: Sandbox) -> None:
    benchmark = ready(language)
    known = [Known(53, EARLY_ENDS[language], "exited")]
    (verdict,) = verdicts_of(benchmark, samples_of(benchmark, known), sandbox)
    assert (verdict.passed, verdict.reason) == (False, "exited"), verdict


def test_folders_of_a_job_are_found_without_protection_too(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("shown")
    job = ExecJob(
        {"mine": b"and mine"},
        (("cat", f"{prepared.INSIDE}/word", "mine"),),
        folders=((str(tmp_path), prepared.INSIDE),),
    )
    with Sandbox(workers=1, unsafe=True) as pool:
        assert pool.run(job).stdout == b"shownand mine"


def test_a_step_that_compiles_takes_nothing_from_the_run(sandbox: Sandbox) -> None:
    burn = "end=$((SECONDS + 60)); while ((SECONDS < end)); do :; done"
    job = ExecJob({}, (("true",), ("bash", "-c", burn)), limits=Limits(cpu_s=30), step_cpu_s=(20.0, 1.0))
    ended = sandbox.run(job)
    assert (ended.verdict.reason, ended.failed_step) == ("timeout", 1)
    assert ended.verdict.detail == "used up its CPU time"  # its own; the whole job has 30 s
