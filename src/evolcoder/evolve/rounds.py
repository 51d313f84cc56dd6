"""Rounds of evolution (WizardCoder 3.2): each evolves the instructions of the round before.

A round asks the teacher for every parent at once, writes what it kept and what it dropped in the order of the
parents, and keeps nothing in memory but what is in flight. It has no state of its own: asked again, the
journal answers, so a killed round that runs again writes the same bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from evolcoder.evolve.answering import Answering, AnswerVerifier
from evolcoder.evolve.contamination_report import ContaminationScreen
from evolcoder.evolve.duplicates import DuplicateIndex, Text, sketch_work
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.evolve_one import EvolvedRow, RowUsage, WriteInstruction, evolve_row
from evolcoder.evolve.merging import merged_rows, pool_after
from evolcoder.evolve.methods import MethodSet
from evolcoder.evolve.output_folder import remove_later_rounds
from evolcoder.evolve.row_files import RowWriter, try_to_write, write_rows_whole, write_when_there_is_room
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.evolve.verification import PROGRAMS
from evolcoder.execution.bounded import map_bounded
from evolcoder.execution.engine import Engine
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.models.protocol import Completion, LanguageModel, Watchable
from evolcoder.models.stats import stats_of
from evolcoder.parquet_files import write_parquet
from evolcoder.progress import Bar, Progress
from evolcoder.records import Instruction, ProblemText, round_folder
from evolcoder.runs import write_json_whole, writing_whole

_ROWS_A_BATCH = 64


@dataclass(slots=True)
class RoundSummary:
    """What one round came to; the same bytes on a run and on its continuation."""

    round: int
    asked: int = 0
    """Parents that were evolved."""
    kept: int = 0
    """Rows kept; with several answers to an instruction, each is one."""
    eliminated: dict[str, int] = field(default_factory=dict)
    """Rows dropped, by reason."""
    methods: dict[str, int] = field(default_factory=dict)
    """Rows kept, by method."""
    tokens: dict[str, int] = field(default_factory=lambda: {"prompt": 0, "completion": 0})
    """Of all requests, those for dropped rows included."""
    requests: int = 0
    usd: float | None = None
    """Money for all requests; None where no price is known."""
    repeated_parents: int = 0
    """Parents with the id of an earlier one, passed over."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """Answers that were verified, dropped ones included, by what became of them; "repaired" ones and those
    that failed in spite of it were asked for again."""
    preambles: int = 0
    """Instructions that a teacher's words around them were cut off from."""


async def evolve_dataset(
    seeds: Collection[Instruction],
    model: LanguageModel,
    settings: EvolveSettings,
    rounds: int,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    problems: Sequence[ProblemText] = (),
    engine: Engine = THIS_MACHINE,
    answering: Answering = PROGRAMS,
) -> list[RoundSummary]:
    """Evolve `rounds` rounds (see `evolve_rounds`); merge seeds and rounds into `out/dataset.jsonl`.

    Later rounds of an earlier call are removed. Raises DataError, at first, for seeds that cannot be merged.
    """
    try_to_write(out / "dataset.jsonl", seeds)
    numbers = range(1, rounds + 1)
    summaries = await evolve_rounds(
        seeds,
        model,
        settings,
        numbers,
        out,
        progress,
        limit=limit,
        problems=problems,
        engine=engine,
        answering=answering,
    )
    folders = [out / round_folder(number) for number in numbers]
    dataset = out / "dataset.jsonl"
    await write_when_there_is_room(dataset, lambda: write_rows_whole(dataset, merged_rows(seeds, folders)))
    remove_later_rounds(out, rounds)
    return summaries


async def evolve_rounds(
    seeds: Collection[Instruction],
    model: LanguageModel,
    settings: EvolveSettings,
    numbers: range,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    problems: Sequence[ProblemText] = (),
    engine: Engine = THIS_MACHINE,
    answering: Answering = PROGRAMS,
) -> list[RoundSummary]:
    """Evolve the rounds `numbers`, each into its folder under `out`; the rounds before must lie there.

    A round evolves what became of the seeds, or of `limit` of them, in the rounds before (`pool_after`). Rows
    that repeat an earlier one, or copy one of `problems`, are eliminated. Raises EndpointError,
    BudgetExhaustedError, after which the same call continues; ValueError for an unknown verifier or score.
    """
    answering.check(settings)
    summaries: list[RoundSummary] = []
    finishing: list[asyncio.Task[None]] = []
    folders = [out / round_folder(number) for number in range(1, numbers.start)]
    with ExitStack() as held:
        screen = None
        if problems:
            screen = ContaminationScreen(problems, seeds, engine, answering.compared)
            held.callback(screen.close)
        sketches = held.enter_context(engine.open(sketch_work(settings.near_duplicates is not None)))
        index = DuplicateIndex(settings.near_duplicates, sketches)
        index.add_all(map(_text, merged_rows(seeds, folders)))
        try:
            for number in numbers:
                folder = out / round_folder(number)
                summary = await evolve_round(
                    pool_after(seeds, folders, limit=limit, seed=settings.seed),
                    model,
                    settings,
                    number,
                    folder,
                    progress,
                    index=index,
                    screen=screen,
                    total=min(len(seeds), limit or len(seeds)),
                    usd_before=sum(earlier.usd or 0.0 for earlier in summaries),
                    rounds_after=numbers.stop - 1 - number,
                    engine=engine,
                    answering=answering,
                )
                folders.append(folder)
                summaries.append(summary)
                # The next round need not wait for this one's Parquet file.
                finishing.append(asyncio.create_task(_finish(folder, summary)))
        finally:
            finished = await asyncio.gather(*finishing, return_exceptions=True)
    for error in finished:
        if error is not None:
            raise error
    return summaries


async def evolve_round(
    parents: Iterable[Instruction],
    model: LanguageModel,
    settings: EvolveSettings,
    round_number: int,
    out: Path,
    progress: Progress,
    *,
    index: DuplicateIndex,
    screen: ContaminationScreen | None,
    total: int | None,
    usd_before: float = 0.0,
    rounds_after: int = 0,
    engine: Engine = THIS_MACHINE,
    answering: Answering = PROGRAMS,
    methods: MethodSet | None = None,
    write: WriteInstruction | None = None,
) -> RoundSummary:
    """Evolve each parent once; write the rows kept and dropped into the folder `out`, as JSONL.

    Rows are compared with those in `index`, in order, and added to it; `screen` may eliminate more. `total`,
    `usd_before` and `rounds_after` are for the bar. `methods` and `write` make instructions in another way.
    """
    summary = RoundSummary(round_number)
    methods = methods or settings.method_set()
    live = LiveCounts(model, total, usd_before, rounds_after)
    verifier: AnswerVerifier | None = None
    if settings.verify != "off":
        in_process = stats_of(getattr(model, "inner", model)) is None
        verifier = answering.verifiers[settings.verify](settings, in_process, engine)

    async def evolve(parent: Instruction) -> EvolvedRow:
        candidate = await evolve_row(
            parent, model, methods, settings, round_number, verifier, live.add_reply, answering, write
        )
        live.add_row()
        return candidate

    title = f"evolve round {round_number}" if write is None else methods.name
    (out / "summary.json").unlink(missing_ok=True)
    with ExitStack() as files, progress.bar(title, total) as bar:
        if verifier is not None:
            files.enter_context(verifier)
        kept, dropped = (
            files.enter_context(RowWriter(files.enter_context(writing_whole(out / name)), out / name))
            for name in ("evolved.jsonl", "eliminated.jsonl")
        )
        telling = asyncio.create_task(_update_bar(bar, live, summary))
        files.callback(telling.cancel)
        candidates = map_bounded(evolve, _each_once(parents, summary), settings.rows_in_flight)
        async with aclosing(candidates):
            async for batch in _in_batches(candidates):
                batch = _without_duplicates(batch, index)
                if screen is not None:
                    batch = screen(batch)
                for candidate in batch:
                    count(summary, candidate)
                    if candidate.elimination is None:
                        for row in (candidate.row, *candidate.more):
                            kept.hold(row)
                    else:
                        dropped.hold(candidate.row, **candidate.elimination._asdict())
                await kept.written()
                await dropped.written()
        await kept.written(whole=True)
        await dropped.written(whole=True)
        bar.advance(live.newly_finished(), **live.facts(summary.kept, summary.eliminated))
    return summary


async def _update_bar(bar: Bar, live: LiveCounts, summary: RoundSummary) -> None:
    while True:
        await asyncio.sleep(0.5)
        bar.advance(live.newly_finished(), **live.facts(summary.kept, summary.eliminated))


async def _finish(out: Path, summary: RoundSummary) -> None:
    """Write the round's Parquet file, and last its summary."""
    facts = asdict(summary)
    if not summary.preambles:
        del facts["preambles"]

    def write() -> None:
        write_parquet(out / "evolved.jsonl", out / "evolved.parquet")
        write_json_whole(out / "summary.json", facts)

    await write_when_there_is_room(out / "evolved.parquet", write)


def count(summary: RoundSummary, candidate: EvolvedRow) -> None:
    """Add one row to a summary."""
    summary.asked += 1
    summary.requests += candidate.usage.requests
    summary.tokens["prompt"] += candidate.usage.prompt_tokens
    summary.tokens["completion"] += candidate.usage.completion_tokens
    if candidate.usage.cost_usd is not None:
        summary.usd = (summary.usd or 0.0) + candidate.usage.cost_usd
    summary.preambles += candidate.preamble_cut
    rows = (candidate.row, *candidate.more)
    for row in rows:
        if verdict := str(row.extra.get("verdict") or ""):
            summary.verdicts[verdict] = summary.verdicts.get(verdict, 0) + 1
    if candidate.elimination is None:
        summary.kept += len(rows)
        method = str(candidate.row.lineage.method)
        summary.methods[method] = summary.methods.get(method, 0) + len(rows)
    else:
        reason = candidate.elimination.reason
        summary.eliminated[reason] = summary.eliminated.get(reason, 0) + 1


def _each_once(parents: Iterable[Instruction], summary: RoundSummary) -> Iterator[Instruction]:
    """Yield parents, passing over those whose id came before."""
    met: set[int] = set()
    for parent in parents:
        number = hash(parent.id)
        if number in met:
            summary.repeated_parents += 1
            continue
        met.add(number)
        yield parent


async def _in_batches(candidates: AsyncIterator[EvolvedRow]) -> AsyncIterator[Sequence[EvolvedRow]]:
    """Yield rows in order, some at a time: looking for duplicates costs less so."""
    batch: list[EvolvedRow] = []
    async for candidate in candidates:
        batch.append(candidate)
        if len(batch) == _ROWS_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _without_duplicates(batch: Sequence[EvolvedRow], index: DuplicateIndex) -> list[EvolvedRow]:
    """Eliminate rows that repeat an earlier one; this happens in order, so it is the same on every run."""
    looked_at = [candidate for candidate in batch if candidate.elimination is None]
    repeats = iter(index.add_new([_text(candidate.row) for candidate in looked_at]))
    compared: list[EvolvedRow] = []
    for candidate in batch:
        repeated = next(repeats) if candidate.elimination is None else None
        if repeated is not None:
            how = "an exact copy" if repeated.similarity == 1 else f"{repeated.similarity:.0%} the same"
            dropped = Elimination("duplicate", f"{how} as an earlier row")
            candidate = replace(candidate, elimination=dropped, more=())
        compared.append(candidate)
    return compared


def _text(row: Instruction) -> Text:
    return Text(f"{row.instruction}\n{row.input}" if row.input else row.instruction, row.lineage.seed_id)


_WINDOW_S = 10.0
"""Requests a second are those of this long a time."""


class LiveCounts:
    """Counts of one round; rows count as soon as they are finished, written in order or not."""

    def __init__(self, model: LanguageModel, rows: int | None, usd_before: float, rounds_after: int) -> None:
        """Begin to count; `rows` is how many this round has, `usd_before` what earlier rounds cost."""
        self._stats = stats_of(model)
        self._rows = rows
        self._usd_before, self._rounds_after = usd_before, rounds_after
        self._finished = self._told = 0
        self._usage = RowUsage()
        self._written = self._from_journal = 0
        inner = getattr(model, "inner", model)
        if isinstance(inner, Watchable):  # its replies come a wave at a time, minutes apart
            inner.watch(self._add_written)
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), self._answers())])

    def add_reply(self, completion: Completion) -> None:
        """Count a reply as it comes."""
        self._usage.add(completion)
        if completion.cached:
            self._from_journal += completion.completion_tokens

    def _add_written(self, tokens: int, ended: int) -> None:
        """Count tokens of answers that a model in this process is writing."""
        self._written += tokens

    def add_row(self) -> None:
        """Count a finished row."""
        self._finished += 1

    def newly_finished(self) -> int:
        """Return how many rows were finished since this was last asked."""
        new, self._told = self._finished - self._told, self._finished
        return new

    def facts(self, kept: int, eliminated: Mapping[str, int]) -> dict[str, str | float]:
        """Return what the bar shows."""
        shown: dict[str, str | float] = {"requests/s": round(self._per_second(), 1)}
        if self._stats is not None:
            shown["in flight"] = self._stats.in_flight
        answers = max(self._usage.completion_tokens, self._from_journal + self._written)
        shown["tokens"] = self._usage.prompt_tokens + answers
        if self._usage.cost_usd is not None:
            shown["usd"] = self._money(self._usage.cost_usd)
        shown["kept"] = kept
        if eliminated:
            shown["eliminated"] = by_number(eliminated)
        if self._stats is not None and self._stats.retries:
            shown["asked again"] = by_number(self._stats.retries)
        if self._stats is not None and self._stats.left_out:
            shown["refused and left out"] = ", ".join(self._stats.left_out)
        if self._stats is not None and (wait_s := self._stats.resumes_at - time.monotonic()) > 1:
            shown["waits as told"] = f"{wait_s:.0f} s"
        return shown

    def _answers(self) -> int:
        return self._usage.requests if self._stats is None else self._stats.answered + self._stats.hits

    def _per_second(self) -> float:
        now, answers = time.monotonic(), self._answers()
        self._seen.append((now, answers))
        while len(self._seen) > 2 and self._seen[1][0] < now - _WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return (answers - before) / max(now - then, 0.001)

    def _money(self, usd: float) -> str:
        """Return the money so far and what the last round's end is expected to have cost."""
        so_far = f"{self._usd_before + usd:.4f}"
        if self._rows is None or self._finished == 0:
            return so_far
        rows = self._rows * (1 + self._rounds_after)
        return f"{so_far} of about {self._usd_before + usd / self._finished * rows:.4f}"


def by_number(counts: Mapping[str, int]) -> str:
    """Return "12 refused, 3 empty" of counts, the largest first."""
    return ", ".join(f"{n} {name}" for name, n in Counter(counts).most_common())
