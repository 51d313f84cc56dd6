"""From a problem to a prompt, and from a model's answers to files of samples, verdicts and scores."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from tests.models.scripted_server import bad, good, serving, text_of

from evolcoder.cli import cli
from evolcoder.errors import EndpointError, UserError
from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.benchmarks.evalplus import MbppPlus
from evolcoder.evaluate.benchmarks.humaneval import HumanEval
from evolcoder.evaluate.benchmarks.mbpp import Mbpp
from evolcoder.evaluate.evaluation import EvaluationResult, evaluate_model
from evolcoder.evaluate.published import published_benchmarks, published_for
from evolcoder.evaluate.sample_files import read_samples
from evolcoder.evaluate.sampling import subset
from evolcoder.evaluate.settings import EvaluationSettings, trained_style
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.models.opening import open_model
from evolcoder.models.protocol import Completion, Request
from evolcoder.records import Problem
from evolcoder.report.run_folder import read_run
from evolcoder.report.scores import benchmark_scores


class Scripted:
    """A model whose answers a function of the prompt's text gives."""

    name = "scripted"

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self._answer = answer
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        await asyncio.sleep(0)
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1].content
        answer = self._answer(text, request.index)
        return Completion(answer, "stop", len(text), len(answer))

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLCODER_CACHE", str(tmp_path / "cache"))


def evaluate(model: Scripted, settings: EvaluationSettings, out: Path) -> EvaluationResult:
    return asyncio.run(evaluate_model(model, "humaneval", settings, out))


def canonical(text: str) -> str:
    """Answer a chat prompt with the benchmark's own solution."""
    problem = next(p for p in load_benchmark("humaneval").problems if p.prompt.strip() in text)
    return f"Here it is:\n\n```python\n{problem.prompt}{problem.canonical_solution}```\nDone."


def cleaned_up(text: str) -> str:
    """What decoding with transformers' clean-up, on by default then, made of a text in the published file."""
    for mark in (" .", " ?", " !", " ,"):
        text = text.replace(mark, mark[1:])
    text = text.replace(" ' ", "'")
    for ending in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(" " + ending, ending)
    return text


def test_the_wizardcoder_prompt_is_that_of_the_published_file_for_every_problem(data_folder: Path) -> None:
    with gzip.open(data_folder / "wizardcoder" / "15b-humaneval-greedy.jsonl.gz", "rt") as file:
        published = {row["task_id"]: row["all_code"] for row in map(json.loads, file)}
    for problem in load_benchmark("humaneval").problems:
        prompt = load_benchmark("humaneval").ask(problem, "wizardcoder").prompt
        assert isinstance(prompt, str)
        assert "    " not in prompt, "the scripts send a tab for four spaces"
        shown = published[problem.task_id].split("### Response:")[0] + "### Response:"
        assert cleaned_up(prompt.replace("\t", "    ")) == shown


def test_the_mbpp_plus_prompt_is_that_of_the_published_file(data_folder: Path) -> None:
    with gzip.open(data_folder / "wizardcoder" / "mbppplus-prompts.json.gz", "rt") as file:
        published = json.load(file)
    with gzip.open(data_folder / "mbppplus" / "v0.1.0-MbppPlus.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == len(published) == 399
    different = []
    for row in rows:
        problem = Problem(row["task_id"], "mbpp+", row["prompt"], row["entry_point"], "")
        prompt = str(MbppPlus("mbpp+", "", (problem,)).ask(problem, "wizardcoder").prompt)
        middle = f"\n\n\n### Instruction:\n{published[row['task_id']]}\n\n### Response:".replace("    ", "\t")
        if not prompt.endswith(middle):
            different.append(row["task_id"])
    assert different == []


def test_presets_differ_in_the_gap_before_the_instruction() -> None:
    problem = Problem("HumanEval/0", "humaneval", "def f():\n    pass\n", "f", "")
    benchmark = HumanEval("humaneval", "", (problem,))
    gaps = {
        preset: str(benchmark.ask(problem, "wizardcoder", preset).prompt).split("request.")[1].split("###")[0]
        for preset in ("published", "script", "33b")
    }
    assert gaps == {"published": "\n\n", "script": "\n\n\n", "33b": "\n\n    \n"}


def test_mbpp_493_shows_its_call_instead_of_its_tests() -> None:
    tests = ["assert calculate_polygons(1,1, 4, 4, 3)==[]"]
    problem = Problem("MBPP/493", "mbpp", "Polygons.", "calculate_polygons", "", extra={"test_list": tests})
    prompt = str(Mbpp("mbpp", "", (problem,)).ask(problem, "wizardcoder").prompt)
    assert "Test examples:\ncalculate_polygons(startx, starty, endx, endy, radius)\n\n###" in prompt
    assert "Create a Python script for this problem:\n\nPolygons." in prompt


@pytest.mark.parametrize(("style", "preset"), [("wizard", "published"), ("wizardcoder", "publised")])
def test_an_unknown_style_or_preset_is_named_with_the_nearest(style: str, preset: str) -> None:
    problem = Problem("HumanEval/0", "humaneval", "def f():\n", "f", "")
    with pytest.raises(UserError, match="did you mean"):
        HumanEval("humaneval", "", (problem,)).ask(problem, style, preset)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1, 7, 40, 163, 164, 1000, None])
def test_a_subset_is_evenly_spaced_and_always_the_same(limit: int | None) -> None:
    problems = load_benchmark("humaneval").problems
    chosen = subset(problems, limit)
    assert chosen == subset(problems, limit)
    places = [problems.index(p) for p in chosen]
    assert len(places) == len(set(places)) == min(limit or 164, 164)
    gaps = {b - a for a, b in itertools.pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_canonical_answers_pass_and_the_files_say_so(tmp_path: Path) -> None:
    settings = EvaluationSettings(style="chat", limit=10)
    result = evaluate(Scripted(lambda text, _: canonical(text)), settings, tmp_path / "out")
    assert result.scores[0].value == 1.0
    assert result.scores[0].settings["problems"] == "10 of 164, evenly spaced"
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    verdicts = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [s["task_id"] for s in samples] == [v["task_id"] for v in verdicts]
    assert set(scores["problems"]) == {s["task_id"] for s in samples}
    assert all(v["passed"] for v in verdicts)
    assert samples[0]["all_code"].startswith("Here it is:")
    assert scores["reasons"] == {"passed": 10}


IN_FAMILIES = """
from evolcoder.evaluate.benchmarks.assertions import AssertionBenchmark
from evolcoder.records import Problem

class InFamilies(AssertionBenchmark):
    def family(self, problem):
        return problem.task_id.partition(".")[0]

def load():
    return InFamilies("kin", "v1", tuple(
        Problem(f"Kin/{n}.{form}", "kin", "def f():\\n", "f", f"assert f() == {n}", f"    return {n}\\n")
        for n in range(3) for form in range(2)
    ))
"""


def test_scores_name_the_families_of_problems_over_which_differences_are_tested(tmp_path: Path) -> None:
    path, outs = tmp_path / "kin.py", [tmp_path / f"run/round-{n}/evaluation/kin" for n in (0, 1)]
    path.write_text(IN_FAMILIES)
    for out, number in zip(outs, (0, 1), strict=True):
        model = Scripted(lambda text, _, n=number: f"```python\ndef f():\n    return {n}\n```")
        result = asyncio.run(evaluate_model(model, str(path), EvaluationSettings(style="chat"), out))
        assert (result.n_problems, result.n_families, result.scores[0].value) == (6, 3, pytest.approx(1 / 3))
    assert json.loads((outs[0] / "scores.json").read_text())["families"]["Kin/2.1"] == "Kin/2"
    run = read_run(tmp_path / "run")
    (shown,) = benchmark_scores(run, run.rounds)
    (found,) = (change.compared for change in shown.changes)
    assert (len(found.only_a), len(found.only_b), found.p_value) == (2, 2, 1.0)
    assert found.low < -0.6  # over three families; over six problems -0.53


def test_samples_of_a_problem_are_asked_apart_and_counted_together(tmp_path: Path) -> None:
    settings = EvaluationSettings(style="chat", limit=4, n=10, temperature=0.2, top_p=0.95)
    model = Scripted(lambda text, index: canonical(text) if index < 5 else "no idea")
    result = evaluate(model, settings, tmp_path / "out")
    assert len({request.key("m") for request in model.asked}) == 40
    assert [(score.k, score.value) for score in result.scores] == [(1, 0.5), (10, 1.0)]
    assert all(passed == [True] * 5 + [False] * 5 for passed in result.passed.values())


STRANGE = {
    "nothing": "",
    "spaces": " \n\t ",
    "endless text": "so it goes on and on " * 20_000,
    "ten thousand fences": "```python\n" * 10_000,
    "another language": "```rust\nfn main() { loop {} }\n```",
    "unclosed thinking": "<think>" + "hmm " * 1000,
    "thinking with code": "<think>```python\nraise SystemExit\n```</think>",
    "fence that never closes": "```python\ndef f(:\n",
    "surrogate": "```python\nx = '\ud800'\n```",
    "nul": "```python\n\0\n```",
}


def test_strange_answers_are_scored_and_crash_nothing(tmp_path: Path) -> None:
    texts = list(STRANGE.values())
    settings = EvaluationSettings(style="chat", limit=1, n=len(texts), temperature=1.0)
    result = evaluate(Scripted(lambda _, index: texts[index]), settings, tmp_path / "out")
    assert result.scores[0].value == 0.0
    assert sum(result.reasons.values()) == len(texts)
    assert len((tmp_path / "out" / "samples.jsonl").read_text().splitlines()) == len(texts)


def test_a_second_evaluation_asks_nothing_again_and_writes_the_same_bytes(tmp_path: Path) -> None:
    settings = EvaluationSettings(style="wizardcoder", limit=5)
    models = [Scripted(lambda text, _: f"\tx = {len(text)}") for _ in range(2)]

    async def run(model: Scripted, out: Path) -> None:
        async with Journal(tmp_path / "journal.sqlite") as journal:
            await evaluate_model(JournaledModel(model, journal), "humaneval", settings, out)

    for number, model in enumerate(models):
        asyncio.run(run(model, tmp_path / str(number)))
    assert (len(models[0].asked), len(models[1].asked)) == (5, 0)
    for name in ("samples.jsonl", "verdicts.jsonl", "scores.json"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    sample = json.loads((tmp_path / "0" / "samples.jsonl").read_text().splitlines()[0])
    assert sample["all_code"].split("### Response:")[1].startswith("    x = "), "a tab is four spaces again"


def test_a_failing_model_ends_the_evaluation_with_its_error(tmp_path: Path) -> None:
    def fail(text: str, index: int) -> str:
        raise UserError("the model is gone")

    with pytest.raises(UserError, match="the model is gone"):
        evaluate(Scripted(fail), EvaluationSettings(style="chat", limit=3), tmp_path / "out")
    assert not (tmp_path / "out" / "scores.json").exists()


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": 2}, {"temperature": -1}, {"top_p": 0}, {"limit": 0}, {"max_tokens": 0}]
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvaluationSettings(**wrong)  # type: ignore[arg-type]


def test_published_figures_are_found_whatever_the_data_version() -> None:
    assert published_for("humaneval+ v0.1.10") == published_for("humaneval+")
    assert [p.value for p in published_for("multipl-e:java 2024-07")][:1] == [35.77]
    assert {p.split(":")[0] for p in published_benchmarks()} >= {
        "humaneval", "humaneval+", "mbpp", "mbpp+", "multipl-e"
    }  # fmt: skip
    assert 59.8 in {
        p.value
        for p in published_for("humaneval")
        if p.model == "WizardCoder-15B-V1.0" and p.decoding == "greedy"
    }


def reply(message: dict[str, object], finish: str | None = "stop") -> web.Response:
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return web.json_response({"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 9}})


FAULTS: dict[str, Callable[[], web.Response]] = {
    "length": lambda: reply({"content": None, "reasoning_content": "on and on"}, "length"),
    "content_filter": lambda: reply({"content": ""}, "content_filter"),
    "tool": lambda: reply({"content": None, "tool_calls": [{"id": "x"}]}, "tool_calls"),
    "no choice": lambda: web.json_response(
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}
    ),
    "context": lambda: bad(400, "This model's maximum context length is 2048 tokens."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_problem_without_an_answer_is_a_failed_sample_with_its_reason(tmp_path: Path, fault: str) -> None:
    settings = EvaluationSettings(style="chat", limit=4, workers=1)
    first = load_benchmark("humaneval").problems[0].prompt.strip()

    def answer(body: dict[str, object], n: int) -> web.Response:
        text = text_of(body)
        return FAULTS[fault]() if first in text else good(canonical(text))

    async def main() -> tuple[EvaluationResult, int, int]:
        async with serving(answer) as server:
            sent = []
            for _ in range(2):
                async with Journal(tmp_path / "j.sqlite") as journal:
                    model = open_model("openai:m", base_url=server.url, journal=journal)
                    result = await evaluate_model(model, "humaneval", settings, tmp_path / "out")
                    await model.close()
                sent.append(len(server.bodies))
            return result, sent[0], sent[1]

    result, sent, sent_in_all = asyncio.run(main())
    assert [passed for (passed,) in result.passed.values()] == [False, True, True, True]
    assert result.reasons == {"passed": 3, "no answer": 1}
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert rows[0]["completion"] is None and rows[0]["absent"]
    again = list(read_samples(tmp_path / "out" / "samples.jsonl", load_benchmark("humaneval")))
    assert again[0].absent and not again[1].absent
    assert sent_in_all == sent


class _ChatOnly(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("/chat/completions")
        assert "temperature" not in body
        answer: dict[str, object] = {"error": {"message": "Not Found"}}
        if chat:
            message = {"role": "assistant", "content": canonical(body["messages"][-1]["content"])}
            answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        data = json.dumps(answer).encode()
        self.send_response(200 if chat else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def test_auto_finds_out_that_a_server_only_chats_and_a_named_style_is_told_of_it(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ChatOnly)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    asked = ["evaluate", "-m", "openai:m", "--base-url", url, "-b", "humaneval", "--limit", "2"]
    asked += ["--workers", "1", "--omit", "temperature", "--json", "--out", str(tmp_path / "out")]
    try:
        found = CliRunner().invoke(cli, asked)
        assert found.exit_code == 0, found.output
        score = json.loads(found.stdout)["humaneval"]["scores"][0]
        assert (score["value"], score["settings"]["style"]) == (1.0, "chat")
        told = CliRunner().invoke(cli, [*asked, "--style", "wizardcoder", "--overwrite"])
    finally:
        server.shutdown()
    assert isinstance(told.exception, EndpointError) and "--style chat" in str(told.exception)


def test_a_checkpoint_is_asked_in_the_style_that_it_was_trained_in(tmp_path: Path) -> None:
    assert trained_style(str(tmp_path)) is None
    for style in ("chat", "wizardcoder"):
        (tmp_path / "training.json").write_text(json.dumps({"settings": {"prompt_style": style}}))
        assert trained_style(str(tmp_path)) == style


def test_scores_are_replaced_by_those_of_more_problems_alone(tmp_path: Path, benchmark_data: Path) -> None:
    model = f"{Path(__file__).with_name('scripted_models.py')}:answers-good"
    asked = ["evaluate", "-m", model, "-b", "humaneval", "--style", "chat", "--out", str(tmp_path)]
    scores = tmp_path / "humaneval" / "scores.json"

    def measured(limit: int, *more: str) -> str:
        done = CliRunner().invoke(cli, [*asked, "--workers", "1", "--limit", str(limit), *more])
        if isinstance(done.exception, UserError):
            return str(done.exception)
        assert done.exit_code == 0, done.output
        return str(json.loads(scores.read_text())["settings"]["problems"])

    assert measured(4) == "4 of 164, evenly spaced"
    before = scores.read_bytes()
    for limit, without in ((2, 2), (5, 3)):
        told = measured(limit)
        assert f"{without} of the 4 problems there are left out now" in told
        assert "--overwrite" in told and scores.read_bytes() == before
    assert measured(8) == "8 of 164, evenly spaced"
    assert measured(8) == "8 of 164, evenly spaced"
    assert measured(4, "--overwrite") == "4 of 164, evenly spaced"
    assert scores.read_bytes() == before
