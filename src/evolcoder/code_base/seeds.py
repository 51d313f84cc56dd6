"""Seed instructions from snippets of a code base, after OSS-Instruct (arXiv 2312.02120) and SelfCodeAlign.

For each snippet the teacher names the concepts, writes a task about them, answers it, and writes tests for
the answer, which run in the sandbox: four requests, each in the journal. The instruction takes the way of an
evolved one (`evolve/rounds.py`): the same rules, de-duplication and verification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evolcoder.code_base.choice import CodeCounts, HeldOut, problem_texts_of
from evolcoder.code_base.snippets import Snippet
from evolcoder.evolve.contamination_report import ContaminationScreen
from evolcoder.evolve.duplicates import DuplicateIndex
from evolcoder.evolve.evolve_one import CountedTeacher, WrittenInstruction, read_instruction
from evolcoder.evolve.methods import Method, MethodSet
from evolcoder.evolve.rounds import RoundSummary, evolve_round
from evolcoder.evolve.row_files import write_rows_whole
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import instruction_from_row
from evolcoder.models.endpoint.pricing import Price
from evolcoder.models.protocol import LanguageModel, Message
from evolcoder.progress import Progress
from evolcoder.records import Instruction, Lineage
from evolcoder.runs import check_claimed, read_jsonl, write_json_whole

METHOD = "from-code"
"""The method that the lineage of these seeds names."""
REQUESTS_A_SEED = 4
"""Concepts, instruction, answer, tests; further ones repair an answer."""

CONCEPTS_REQUEST = """\
Here is a piece of {language} code from a larger project.

```{language}
{question}
```

Name the programming concepts that it shows: techniques, data structures, algorithms, parts of the standard \
library. At most six, each in a few words, separated by commas, on one line. Do not name the project or what \
is defined in the code."""

INSTRUCTION_REQUEST = """\
Here is a piece of {language} code, and the programming concepts that it shows.

```{language}
{question}
```

Concepts: {concepts}

Write a new programming task in {language} about some of these concepts, in the spirit of the code. The task \
is for somebody who never sees the code, so say all that is needed: what to write, its name, what it takes, \
what it returns, one example, and what happens in the special cases. Give no solution. Reply with the task \
alone."""


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A snippet in Python, and what a good teacher makes of it."""

    code: str
    concepts: str
    task: str
    sign: str
    """Words of the task by which a copy of it is known."""


WORKED_EXAMPLES = (
    WorkedExample(
        '''\
def merge_settings(*layers):
    """Return one dict of several, the later ones win; None removes a key."""
    merged = {}
    for layer in layers:
        merged.update(layer)
    return {key: value for key, value in merged.items() if value is not None}''',
        "dictionary merging, variable arguments, dictionary comprehension, filtering",
        "Write a Python function apply_changes(stock, *changes). The dictionary stock maps the names of "
        "goods to how many there are; each of the changes maps names to how many came in, or went out if "
        "negative. Return a new dictionary with all changes added up, without goods of which none are "
        "left. Raise ValueError where a number falls below zero. apply_changes({'tea': 3}, {'tea': -3, "
        "'salt': 2}) returns {'salt': 2}.",
        "goods of which none are left",
    ),
    WorkedExample(
        '''\
class Window:
    """Holds the last few values and tells their mean."""

    def __init__(self, size):
        self.values = deque(maxlen=size)

    def add(self, value):
        self.values.append(value)
        return sum(self.values) / len(self.values)''',
        "classes, bounded queues, running mean, state",
        "Write a Python function smoothed(values, size), which returns a list as long as values: at each "
        "place the largest of the last size values up to there. Where fewer came so far, those count. A "
        "size below 1 raises ValueError. smoothed([2, 1, 4, 3], 2) returns [2, 2, 4, 4].",
        "the largest of the last size values",
    ),
)

METHODS = MethodSet(
    METHOD,
    INSTRUCTION_REQUEST,
    (Method(METHOD, "Write a new programming task in {language} about some of these concepts."),),
    leaks=(
        *("never sees the code", "in the spirit of the code", "new programming task"),
        *(example.sign for example in WORKED_EXAMPLES),
    ),
)
_CONCEPTS_CHARACTERS = 400
CHARACTERS_A_TOKEN = 4
_CONCEPTS_TOKENS, _INSTRUCTION_TOKENS, _ANSWER_TOKENS, TESTS_TOKENS = 40, 200, 400, 250
"""Of replies, where nothing was asked yet."""


class SeedFiles:
    """Where seeds, dropped rows with the reasons, counts, and the journal of the replies are written."""

    def __init__(self, seeds: Path) -> None:
        self.seeds = seeds
        self.eliminated = seeds.with_name(f"{seeds.stem}.eliminated.jsonl")
        self.summary = seeds.with_name(f"{seeds.stem}.summary.json")
        self.journal = seeds.with_name(f"{seeds.name}.journal.sqlite")

    def check(self) -> None:
        """Raise DataError where a file of them stands that was not made here: no journal is there."""
        check_claimed(self.journal, (self.eliminated, self.summary))


async def seeds_from_snippets(
    snippets: Sequence[Snippet],
    held_out: Sequence[HeldOut],
    counts: CodeCounts,
    model: LanguageModel,
    settings: EvolveSettings,
    files: SeedFiles,
    progress: Progress,
    engine: Engine = THIS_MACHINE,
) -> RoundSummary:
    """Have a teacher make seeds of snippets, none like `held_out`; write them, what was dropped, the counts.

    Raises what `evolve_rounds` raises; the same call continues.
    """
    languages = {snippet.id: snippet.file.language for snippet in snippets}
    sources = {snippet.id: snippet.source for snippet in snippets}

    async def write(
        teacher: CountedTeacher, question: str, method: Method, methods: MethodSet
    ) -> WrittenInstruction:
        language = languages[teacher.row_id]
        asked = Message("user", _filled(CONCEPTS_REQUEST, language, question))
        concepts = " ".join((await teacher.ask("evolve", (asked,))).text.split())[:_CONCEPTS_CHARACTERS]
        turns: list[Message] = []
        for shown in WORKED_EXAMPLES[: settings.shots]:
            filled = _filled(methods.template, "python", shown.code, shown.concepts)
            turns += [Message("user", filled), Message("assistant", shown.task)]
        turns.append(Message("user", _filled(methods.template, language, question, concepts)))
        return read_instruction(await teacher.ask("evolve", tuple(turns)), question, method, methods)

    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory(prefix="evolcoder-seeds-")))
        screen = None
        if held_out:
            screen = ContaminationScreen(problem_texts_of(held_out), (), engine)
            held.callback(screen.close)
        summary = await evolve_round(
            (Instruction(s.id, s.shown, "", "", Lineage(s.id)) for s in snippets),
            model,
            settings,
            0,
            folder,
            progress,
            index=DuplicateIndex(settings.near_duplicates),
            screen=screen,
            total=len(snippets),
            engine=engine,
            methods=METHODS,
            write=write,
        )
        write_rows_whole(files.eliminated, _as_seeds(folder / "eliminated.jsonl", sources))
        write_rows_whole(files.seeds, _as_seeds(folder / "evolved.jsonl", sources))
    write_json_whole(files.summary, {"code": counts.plain(), "seeds": asdict(summary)})
    return summary


def expected_summary(snippets: Sequence[Snippet], tests: bool, price: Price | None) -> RoundSummary:
    """Return what making seeds of snippets would come to, by what their texts and such replies are long."""
    n, requests = len(snippets), REQUESTS_A_SEED if tests else REQUESTS_A_SEED - 1
    prompts = sum(2 * (len(first_request(snippet)) // CHARACTERS_A_TOKEN) for snippet in snippets)
    summary = RoundSummary(0, asked=n, kept=n, requests=n * requests)
    again = _INSTRUCTION_TOKENS + tests * (_INSTRUCTION_TOKENS + _ANSWER_TOKENS)
    written = _CONCEPTS_TOKENS + _INSTRUCTION_TOKENS + _ANSWER_TOKENS + tests * TESTS_TOKENS
    summary.tokens = {"prompt": prompts + n * again, "completion": n * written}
    if price is not None:
        summary.usd = price(summary.tokens["prompt"], summary.tokens["completion"])
    return summary


def first_request(snippet: Snippet) -> str:
    """Return the first text that is sent for a snippet; the next holds the same code and the concepts."""
    return _filled(CONCEPTS_REQUEST, snippet.file.language, snippet.shown)


def _filled(template: str, language: str, question: str, concepts: str = "") -> str:
    filled = template.replace("{language}", language).replace("{concepts}", concepts)
    return filled.replace("{question}", question)  # last: code may hold such braces


def _as_seeds(path: Path, sources: Mapping[str, dict[str, Any]]) -> Iterator[Instruction]:
    """Yield rows as seeds: roots of trees, with where their snippets are from."""
    for _, plain in read_jsonl(path):
        row = instruction_from_row(plain)
        source = sources[str(row.lineage.parent_id)]
        lineage = Lineage(row.id, None, 0, METHOD, row.lineage.teacher)
        yield replace(row, lineage=lineage, extra={**source, **row.extra})
