"""A model in this process: requests from many tasks are answered together, in waves.

Arithmetic can depend on which requests share a batch. A run that was killed and continued gives the same
bytes as one that was not, because
1. a wave is chosen only when every task that could still send a request has sent it (`_quiet`);
2. the choice is a pure function of the set of waiting requests (`next_wave`);
3. all replies of a wave are given in one tick of the event loop, so the journal commits them together.
Within a wave a waiting row takes the slot of a finished one. Torch runs in a thread of its own; the event
loop, and with it Ctrl-C and the scoring of answers, is not blocked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evolcoder.errors import ModelError, RequestFailedError
from evolcoder.models.local.engine import TransformersEngine, open_answering_engine, weights_identity
from evolcoder.models.local.replicas import (
    Answers,
    ReplicaProcesses,
    Replicas,
    ReplicaWork,
    answers_on,
    visible_gpus,
)
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, LanguageModel, Request
from evolcoder.models.streaming import StreamPart, heard_parts

if TYPE_CHECKING:
    from evolcoder.models.local.vllm_engine import VllmEngine

_QUIET_TICKS = 20
"""Ticks of the event loop without a new request after which nobody is about to ask. A row that was just
answered asks again within a few."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A request and the task that waits for its answer."""

    request: Request
    key: str
    reply: asyncio.Future[Completion]
    hear: Callable[[str], None] | None = None
    """Is told the answer so far, in the model's thread."""


class LocalModel(LanguageModel):
    """Implements `LanguageModel` with transformers in this process; the weights load at the first request.

    `settled` is awaited before work is chosen: it returns once every reply given so far has been recorded
    and passed on (a journal's `flushed`). Raises ModelError where `ref` names nothing that loads.
    """

    def __init__(
        self,
        ref: str,
        settings: LocalSettings | None = None,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._ref = ref
        self._settings = settings or LocalSettings()
        self._settled = settled
        self._name = weights_identity(ref)
        self._waiting: list[Waiting] = []
        self._arrivals = 0
        self._dispatcher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")
        self._stop = threading.Event()
        self._engine: TransformersEngine | VllmEngine | None = None
        self._watcher: Callable[[int, int], None] | None = None
        self._replicas: Replicas | None = None
        self._waves_at_once = 1
        self._processes: ReplicaProcesses | None = None
        self.tokens_written = 0
        """Tokens generated so far, for measurements."""

    @property
    def name(self) -> str:
        """The identity of the weights: "embedded", or the name with a content hash."""
        return self._name

    async def complete(self, request: Request) -> Completion:
        """Answer one request together with whatever else waits."""
        return await self._ask(request, None)

    def stream(self, request: Request) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer as it is written, together with whatever else waits; closing it stops it."""
        return heard_parts(lambda hear: self._ask(request, hear))

    async def _ask(self, request: Request, hear: Callable[[str], None] | None) -> Completion:
        if self._stop.is_set():
            raise ModelError(f"{self._ref}: asked after it was closed")
        loop = asyncio.get_running_loop()
        waiting = Waiting(request, request.key(self._name), loop.create_future(), hear)
        self._waiting.append(waiting)
        self._arrivals += 1
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = loop.create_task(self._answer_all())
        return await waiting.reply

    async def close(self) -> None:
        """Stop what is being written and let go of the weights."""
        self._stop.set()
        if self._dispatcher is not None and not self._dispatcher.done():
            self._dispatcher.cancel()
            await asyncio.gather(self._dispatcher, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()
        self._engine = None

    async def _answer_all(self) -> None:
        """Answer wave after wave until nobody waits."""
        loop = asyncio.get_running_loop()
        wave: list[Waiting] = []
        try:
            if self._settings.replicas != 1 and self._replicas is None:
                await loop.run_in_executor(self._thread, self._start_replicas)
            while await self._quiet():
                waves = self._next_waves()
                wave = [waiting for one in waves for waiting in one]
                answers = await loop.run_in_executor(self._thread, self._write, waves, loop)
                for waiting, answer in zip(wave, answers, strict=True):
                    if isinstance(answer, RequestFailedError):
                        _fail([waiting], answer)
                    elif not waiting.reply.done():
                        waiting.reply.set_result(answer)
        except asyncio.CancelledError:
            self._stop.set()
            for waiting in (*wave, *self._waiting):
                waiting.reply.cancel()
            raise
        except Exception as error:
            _fail([*wave, *self._waiting], error)
            self._waiting = []

    def _next_waves(self) -> list[list[Waiting]]:
        """Take the next wave from what waits; with replicas one for each, all answered before the next."""
        waves = []
        for _ in range(self._waves_at_once):
            if wave := next_wave(self._waiting, self._settings):
                taken = set(map(id, wave))
                self._waiting = [w for w in self._waiting if id(w) not in taken]
                waves.append(wave)
        return waves

    async def _quiet(self) -> bool:
        """Wait until no further request is about to arrive; return whether any waits."""
        while True:
            seen = self._arrivals
            # Those just answered hand their replies to the journal; when it has told them that they are
            # durable, they ask their next question, or end.
            await _ticks()
            if self._settled is not None:
                await self._settled()
                await _ticks()
            if self._arrivals == seen:
                self._waiting = [w for w in self._waiting if not w.reply.done()]
                return bool(self._waiting)

    def watch(self, watcher: Callable[[int, int], None] | None) -> None:
        """Tell `watcher`, on the event loop, tokens and answers of each step; they come at the wave's end."""
        self._watcher = watcher

    def replica_work(self) -> ReplicaWork:
        """Return what an engine's pool needs to hold copies of these weights."""
        return ReplicaWork(self._ref, self._name, self._settings)

    def write_on(self, replicas: Replicas | None) -> None:
        """Have answers written by copies of the weights elsewhere, as many waves at once as there are.

        Their number is taken now: bytes after a kill are the same for the same number (see the module).
        """
        self._replicas = replicas
        self._waves_at_once = 1 if replicas is None else replicas.workers

    def _start_replicas(self) -> None:
        """Load as many copies of the weights as the settings say, in processes of their own."""
        replicas = self._settings.replicas or max(1, len(visible_gpus()))
        if replicas > 1:
            self._processes = ReplicaProcesses(self.replica_work(), replicas)
            self.write_on(self._processes)

    def _write(self, waves: list[list[Waiting]], loop: asyncio.AbstractEventLoop) -> Answers:
        """Generate the answers of all waves, here or on replicas; runs in the model's thread."""

        def tell(tokens: int, ended: int) -> None:
            if self._watcher is not None and not self._stop.is_set():
                loop.call_soon_threadsafe(self._watcher, tokens, ended)

        if self._replicas is None and self._engine is None:
            self._engine = open_answering_engine(self._ref, self._settings)
        answers: Answers
        if self._replicas is not None:
            answered = answers_on(self._replicas, [[w.request for w in wave] for wave in waves])
            answers = [answer for wave in answered for answer in wave]
        else:
            assert self._engine is not None
            wave = [waiting for one in waves for waiting in one]
            answers = self._engine.answer(
                [w.request for w in wave],
                [w.reply.cancelled for w in wave],
                self._stop.is_set,
                tell,
                [w.hear for w in wave],
            )
        tokens = sum(answer.completion_tokens for answer in answers if isinstance(answer, Completion))
        self.tokens_written += tokens
        if self._replicas is not None:
            tell(tokens, len(answers))
        return answers


def _fail(waiting: Iterable[Waiting], error: Exception) -> None:
    for w in waiting:
        if not w.reply.done():
            w.reply.set_exception(error)


async def _ticks() -> None:
    for _ in range(_QUIET_TICKS):
        await asyncio.sleep(0)


def next_wave(waiting: Sequence[Waiting], settings: LocalSettings) -> list[Waiting]:
    """Choose the requests to run together: the shortest prompts, and samples of one prompt with each other.

    A pure function of the set of requests; their order of arrival does not matter. A quarter of what waits:
    large waves waste little on their last rows, small ones let replies out early.
    """
    size = min(settings.wave_size, max(2 * settings.batch_size, len(waiting) // 4))

    def order(w: Waiting) -> tuple[int, str, int, str]:
        prompt = w.request.prompt
        text = prompt if isinstance(prompt, str) else "\0".join(m.role + "\0" + m.content for m in prompt)
        return len(text), text, w.request.index, w.key

    return sorted(waiting, key=order)[:size]
