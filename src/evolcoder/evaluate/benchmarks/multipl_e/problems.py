"""MultiPL-E as a benchmark: from a problem and a completion to a program, a job, and what its end means.

A program is prompt + completion, cut at the language's stop tokens, + newline + tests. Program and tests are
one process, as the tests are code of the language: contained, but a program that means to can forge a pass.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from evolcoder.evaluate.benchmarks.benchmark import Benchmark, JobRunner, NamedSet, PromptForm, SampleRows
from evolcoder.evaluate.benchmarks.data_files import DataFile, rows_of
from evolcoder.evaluate.benchmarks.multipl_e import answers, files
from evolcoder.evaluate.benchmarks.multipl_e.languages import LANGUAGES, Language
from evolcoder.evaluate.benchmarks.multipl_e.prepared import INSIDE, prepared_folder
from evolcoder.evaluate.benchmarks.multipl_e.toolchains import Found, needed
from evolcoder.evaluate.settings import Decoding, Style
from evolcoder.evaluate.styles import Asked, check_style
from evolcoder.extraction import Extraction, up_to_first
from evolcoder.extraction.code_blocks import without_thinking
from evolcoder.models.protocol import Message
from evolcoder.records import Problem, Reason, Sample, Verdict
from evolcoder.runs import content_hash
from evolcoder.sandbox.protocol import ExecJob, Job, Limits, Outcome
from evolcoder.sandbox.reasons import last_lines

_HUMANEVAL = NamedSet("humaneval", 0, 163)
SOURCES = {"": _HUMANEVAL, "humaneval-": _HUMANEVAL, "mbpp-": NamedSet("mbpp", 1, 974)}


def _named(of: str, language: Language) -> NamedSet:
    published = f"{of or 'humaneval-'}{language.key}"
    return replace(
        SOURCES[of],
        size=_FILES[published][0],
        licence="BSD-3, not for training",
        tier="stdio",
        files=(data_file(published),),
        ready=partial(needed, tuple(language.tools.values()), language.name),
    )


VERSION = "2024-07"
"""The release of July 2024: number of problems and sha256 of their JSON lines, by set."""
_HUB = "https://huggingface.co/datasets/nuprl/MultiPL-E/resolve/main/{name}/test-00000-of-00001.parquet"

_FILES = {
    "humaneval-cpp": (161, "4910aa71c605754136ec9c95efcf458704967d21b3d09ed2a141eaca5a1903a2"),
    "humaneval-cs": (158, "b79d1a41ab8c704c330856e25eb6148fc9f48d81e35269fc36f754026ca85289"),
    "humaneval-go": (154, "41f2ce7f82f1a2e5a2b1753cd1a18e26cf216c6c45423f5da3e3351a1894e3f4"),
    "humaneval-java": (158, "a38a4fab2136b0b7d03236f2c423d2182b2d4a182edd0fa9639305c3afb733a5"),
    "humaneval-jl": (159, "d1de7724977d2139320de25950dd45fc9009783903f29c6eefb4cc7d6e585cf5"),
    "humaneval-js": (161, "47536b7f7a0221586cdecc16c900ff8e7ba7dd60cc4bab3bddbbc4e866e0cef8"),
    "humaneval-lua": (161, "0b0e7af680169025594aeed41c6d9bb24237a1b23257329cb4b36890c23633a5"),
    "humaneval-php": (161, "588a969eb171a380c4ef4e2dcf461fc2617648bc85c25b2ff497b341c5cc6d86"),
    "humaneval-py": (161, "8cfc1695e3127f05252489af987628f103355bd6eb51e81cfde545ed390522ae"),
    "humaneval-r": (161, "ae66d068faff39358e6f0825c59e86285bc458037b805f9673222ad21a6309cf"),
    "humaneval-rb": (161, "20dbc5f06d5b422a44a7ef590d6c37304e31ab3d351414dbeaa8663af9aae475"),
    "humaneval-rs": (156, "3e528744b7b6dcbc8054b489f3928b88901386911ba9bcf908b4f2b53c5bcc87"),
    "humaneval-scala": (160, "66811b1fd41cdef76105350d4e374475aa899a063ddcd50223a8ecffb26b2c39"),
    "humaneval-sh": (158, "f4a6fc2f6ecf8489bab32584aeeb8a05158bddd51518929fc7fe0010a95210a0"),
    "humaneval-swift": (158, "4de14494655de7d4bf294a5902fe8088839fd2011bde392470ae1ab642b79f8b"),
    "humaneval-ts": (159, "dac2c1577ad99503d0c2e1d91ffcc386711ade271462934b604f08b01f7ad0fa"),
    "mbpp-cpp": (398, "cf7859bfa4202c9e158afa5969768274152180c5c53648c3625681567c116706"),
    "mbpp-cs": (387, "06b54f3b18593f7d8c027aeff1ce5f74e2e3c58f45e1386c3a4bad77742d7614"),
    "mbpp-go": (375, "d4e30501b46525ac11ad16fe926619056a103732207be51acc31a22a42e53411"),
    "mbpp-java": (387, "3a963fb383e888da42453a00e5e018ab4ac8746811a553ee396560b2ff0bd7f0"),
    "mbpp-jl": (391, "9ce3027c315341fe3adc93169199ca95c8143b74919067ac76df658f527e90ee"),
    "mbpp-js": (399, "9bb4dd80a3091fb7b79a76f046c36504b64b3e148c17f63e53a02789238b80b2"),
    "mbpp-lua": (399, "80e74d60bd13f6099e27d388a439221fca69978da92b7b9d31b79692b23d1e7f"),
    "mbpp-php": (399, "fcd75493638224d591b8b41d30328220cb84d42ddc74be1b883a35346a7f98c6"),
    "mbpp-py": (399, "3cbc00f5ed5612ba015ec8b526fe4073e4891839329094912e79e73ec160f1ae"),
    "mbpp-r": (397, "99ee33bf4d4c4d4f6238f9a57c8824161684dbb0ff3dfcadbd7722f092cfe250"),
    "mbpp-rb": (399, "ed95ccea16e6d66a94c34510896bf7b5a2f2d3d59890c29e6c13745dd0279146"),
    "mbpp-rs": (354, "79d6d045885289afda0ba7d7f19faa997aa7e37e9f80932ecbcbe470f3af3a25"),
    "mbpp-scala": (397, "8f143c5513e80e1cbcd6a8e709976e9000f9b91ec1070fca40c16db0b00fb041"),
    "mbpp-sh": (389, "9a71c37fc15b330db1e24b85f401c642217ae6e2f53115e42800350bddad45f6"),
    "mbpp-swift": (398, "544646e137406eaaed92d105b28cd652831db1f51124109296e02290fcc99449"),
    "mbpp-ts": (391, "d45ebbcc05d361e86fec4d3a965f9ecdf6f77f684cc05454f82e66a1730ea256"),
}


def data_file(name: str) -> DataFile:
    """Return where a set is, by its published name like "humaneval-java"."""
    path = f"multipl-e/{name}.jsonl.gz"
    return DataFile(path, _FILES[name][1], _HUB.format(name=name))


NAMES = {f"multipl-e:{of}{key}": _named(of, LANGUAGES[key]) for of in SOURCES for key in LANGUAGES}
DECODING = Decoding(n=50, temperature=0.2, top_p=0.95, max_tokens=1024)
"""The paper's: WizardCoder, section 4.2; MultiPL-E itself takes 1024 new tokens at most."""
_MEMORY = 4 << 30
_LIMITS = {"processes": 256, "disk_bytes": 256 << 20, "output_bytes": 8 << 20}
"""A virtual machine with its compilers and collectors has some thirty threads."""
_SLACK_S = 10.0


@dataclass(frozen=True)
class MultiplE(Benchmark):
    """One language of MultiPL-E."""

    oracles: tuple[str, ...] = ("multipl-e",)
    default_memory_bytes: int = _MEMORY
    decoding: Decoding = DECODING
    prompt_form: PromptForm = "code"
    language: Language = LANGUAGES["js"]

    @property
    def highlighted(self) -> str:
        """Its own language."""
        return self.language.label

    @cached_property
    def _tools(self) -> dict[str, Found]:
        language = self.language
        return dict(zip(language.tools, needed(tuple(language.tools.values()), language.name), strict=True))

    def origin(self, problem: Problem) -> str:
        """Return which problem of HumanEval or MBPP this one translates."""
        source, number, *_ = problem.task_id.split("_")
        return f"{source.lower()} {number}"

    def ask(self, problem: Problem, style: Style, preset: str = "published") -> Asked:
        """Have the prompt continued, as the paper does with WizardCoder too, or ask for it in a chat."""
        check_style(style)
        if style == "chat":
            return Asked((Message("user", self.question(problem)),))
        return Asked(problem.prompt.strip(), tuple(problem.extra["stop_tokens"]))

    def question(self, problem: Problem) -> str:
        """Ask a chat model for the whole function."""
        name, label = self.language.name, self.language.label
        return (
            f"Complete this {name} function. Answer with the whole function and what it needs, imports "
            f"included, in one {name} code block, without a main function, tests or examples.\n\n"
            f"```{label}\n{problem.prompt.strip()}\n```"
        )

    def check_ready(self) -> None:
        """Raise MissingToolchainError where a compiler or runtime is not on this machine."""
        _ = self._tools

    def further_settings(self) -> dict[str, str]:
        """Name the compiler or interpreter, whose version may move a verdict."""
        return {"toolchain": "; ".join(tool.label for tool in self._tools.values() if tool.version)}

    def prepare(self, task_ids: Iterable[str], sandbox: JobRunner, suites: Sequence[str] = ()) -> None:
        """Make what the language's compiler can be given ready-made, the first time it is used."""
        _ = self._folder

    @cached_property
    def _folder(self) -> tuple[tuple[str, str], ...]:
        folder = prepared_folder(self.language.key, self._tools)
        return ((str(folder), INSIDE),) if folder is not None else ()

    def sample_rows(self, path: Path) -> list[SampleRows] | None:
        """Read MultiPL-E's files a problem, and JSON lines with its fields."""
        found = files.own_files(path, self.problems, self.find)
        rows = ((file, files.multipl_e_rows(file, self.problems, self.find)) for file in found)
        return [(file, self._known(of_file)) for file, of_file in rows] or None

    def _known(self, rows: Iterator[tuple[int, files.Row]]) -> Iterator[tuple[int, files.Row]]:
        """Take in problems of other releases where a row has whole programs, which need no data of ours."""
        for number, row in rows:
            name = row.get("task_id")
            if isinstance(name, str) and "solution" in row and self.find(name) is None:
                self.by_task[name] = _problem_of_row(name, row, self.language)
            yield number, row

    def own_verdicts(self, path: Path) -> dict[str, list[bool]]:
        """Return `status` of each result, where the files have it."""
        return files.own_verdicts(path, self.find)

    def verdict_at_once(self, problem: Problem, program: str, oracle: str, suite: str) -> Verdict | None:
        """Return None: what does not parse, the language's own compiler finds."""
        return None

    def sample(self, problem: Problem, index: int, raw: str, how: Extraction) -> Sample:
        """Continue the prompt (`none`, and `wizardcoder`: the paper's way), or take a block of an answer."""
        if how in ("none", "wizardcoder"):
            return Sample(problem.task_id, index, raw, up_to_first(raw, problem.extra["stop_tokens"]))
        text, whole = answers.program_of(problem, self.language, without_thinking(raw), how)
        if not whole:
            text = up_to_first(text, problem.extra["stop_tokens"])
        return Sample(problem.task_id, index, raw, text, whole)

    def program(self, problem: Problem, sample: Sample) -> str:
        """Return prompt, completion and tests as one program; of a function alone, preamble, it and tests."""
        if sample.whole and self.language.test_mark in sample.program:
            return sample.program
        if sample.whole:
            text, whole = answers.program_of(problem, self.language, sample.program, "auto")
            if whole:
                return text
            sample = replace(sample, program=text, whole=False)
        # Some files repeat the prompt before its continuation.
        _, _, continued = sample.program.lstrip().partition(problem.prompt.strip())
        text = continued if sample.program.lstrip().startswith(problem.prompt.strip()) else sample.program
        completion = up_to_first(text, problem.extra["stop_tokens"])
        return f"{_prompt(problem, completion)}{completion}\n{problem.tests}"

    def tests_key(self, problem: Problem, oracle: str, suite: str) -> str:
        """The tests are in the program; what else decides is the language and its tools' versions."""
        versions = [(part, tool.name, tool.version) for part, tool in self._tools.items()]
        return content_hash(oracle, suite, self.language.key, self.language.last_word, versions)

    def job(self, problem: Problem, program: str, limits: Limits, oracle: str, suite: str = "base") -> Job:
        """Return the job that compiles and runs a program, each with CPU time of its own."""
        language = self.language
        run_s = limits.cpu_s
        prepared = INSIDE if self._folder else ""
        compiling = language.compile_steps
        cpu_s = run_s + (language.compile_s if compiling else 0.0)
        file = language.file or f"tmp.{language.key}"
        shown = dict.fromkeys(pair for tool in self._tools.values() for pair in tool.folders)
        return ExecJob(
            files={file: _with_last_word(program, language, problem).encode("utf-8", "replace")},
            steps=language.commands(self._tools, prepared, program),
            limits=replace(limits, cpu_s=cpu_s, wall_s=cpu_s + _SLACK_S, **_LIMITS),
            environment={
                name: value.format(prepared=prepared or "/tmp/cache")
                for name, value in language.environment.items()
            },
            address_space_limit=False,
            folders=(*shown, *self._folder),
            step_cpu_s=(*(language.compile_s,) * compiling, run_s) if compiling else None,
        )

    def judge(self, problem: Problem, outcome: Outcome, oracle: str, suite: str = "base") -> Verdict:
        """Return MultiPL-E's verdict: OK is a pass, SyntaxError a program that does not compile."""
        verdict = replace(outcome.verdict, tier="in-process")
        if verdict.reason in ("timeout", "memory", "forbidden", "unsupported", "infrastructure"):
            return verdict
        if outcome.exit_code == 128 + signal.SIGXCPU:  # as a shell script tells of its program's (scala)
            return replace(verdict, passed=False, reason="timeout", detail="used up its CPU time")
        if not self.language.passed(outcome):
            reason: Reason = "syntax error" if self._is_compile_error(outcome) else "failed"
            return replace(verdict, passed=False, reason=reason, detail=told(outcome))
        if self.language.last_word and _last_word(problem).encode() not in outcome.stdout:
            return replace(verdict, passed=False, reason="exited", detail="it ended before its tests did")
        return replace(verdict, passed=True, reason="passed", detail="")

    def _is_compile_error(self, outcome: Outcome) -> bool:
        if self.language.compile_steps:
            return outcome.failed_step is not None and outcome.failed_step < self.language.compile_steps
        text = outcome.stderr + outcome.stdout
        return any(mark in text for mark in self.language.syntax_marks)


def _last_word(problem: Problem) -> str:
    return content_hash("the tests came to their end", problem.task_id)[:16]


def _with_last_word(program: str, language: Language, problem: Problem) -> str:
    """Return the program with a statement after its last assertion whose output marks a pass."""
    if not language.last_word:
        return program
    at = len(program)
    for _ in range(language.braces):
        at = max(0, program.rfind("}", 0, at))
    return f"{program[:at]}\n{language.last_word.format(word=_last_word(problem))}\n{program[at:]}"


def load(name: str) -> Benchmark:
    """Return a language of MultiPL-E: "multipl-e:java" (HumanEval) or "multipl-e:mbpp-java"."""
    published = name.removeprefix("multipl-e:")
    if "-" not in published:
        published = f"humaneval-{published}"
    language = LANGUAGES[published.split("-")[1]]
    rows = rows_of(data_file(published), name)
    problems = tuple(_problem(row, language) for row in rows)
    title = name.replace("multipl-e:humaneval-", "multipl-e:")
    return MultiplE(title, VERSION, problems, default_timeout_s=language.run_s, language=language)


def told(outcome: Outcome) -> str:
    """Return the line of what a program wrote that says most of why it failed."""
    both = (*last_lines(outcome.stderr), *last_lines(outcome.stdout))
    lines = [line.strip() for line in both if line.strip()]
    telling = (line for line in lines if _TELLING.search(line))
    return next(telling, lines[-1] if lines else outcome.verdict.detail)[:500]


_TELLING = re.compile(r"error|exception|assert|panic|fatal|FAIL|expected", re.IGNORECASE)
_BROKEN_HEADER = re.compile(r"^    //(     (?:public|private) static [^\n]*\{\n)\Z", re.MULTILINE)


def _problem(row: dict[str, Any], language: Language) -> Problem:
    published = row["prompt"]
    # In the C# files of this release the function's header is part of the comment above it, so that no
    # continuation of the prompt compiles. It is made a header again.
    prompt = _BROKEN_HEADER.sub(lambda match: match[1][1:], published) if language.key == "cs" else published
    return Problem(
        task_id=row["name"],
        benchmark=f"multipl-e:{language.key}",
        prompt=prompt,
        entry_point=answers.entry_point(prompt),
        tests=row["tests"],
        extra={"stop_tokens": list(row["stop_tokens"]), "published_prompt": published},
    )


def _problem_of_row(name: str, row: files.Row, language: Language) -> Problem:
    prompt = str(row.get("prompt") or "")
    extra = {"stop_tokens": [], "published_prompt": prompt}
    tests = str(row.get("tests") or "")
    return Problem(name, f"multipl-e:{language.key}", prompt, answers.entry_point(prompt), tests, extra=extra)


def _prompt(problem: Problem, completion: str) -> str:
    """Return the prompt before a completion: C#'s as published if the completion has the header itself."""
    published = str(problem.extra["published_prompt"])
    if problem.prompt == published:
        return published
    header = re.search(rf"\bstatic\b[^\n]*\b{re.escape(problem.entry_point)}\s*\(", completion)
    return published if header else problem.prompt
