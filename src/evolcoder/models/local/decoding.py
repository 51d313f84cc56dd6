"""Write many answers side by side: a lean decode loop over any transformers causal language model.

Prompts are computed one at a time, without padding. They are taken by length, then by their tokens, and what
one shares with the one before it (a system prompt, worked examples, all of it for samples of one problem) is
computed once. Rows then advance together, one token each a step; a row that ends frees its slot
at once for the next one waiting. A model that does not fit this loop (other state than keys and values,
masks of its own), which a probe on its own weights tells, is run by transformers' `generate`, row by row.
Not covered: encoder-decoders.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers

from evolcoder.errors import ModelError
from evolcoder.heap import heap_kept
from evolcoder.models.local.attention_reach import (
    LONGEST_PROBE,
    attention_windows,
    declared_reach,
    length_scaling,
)
from evolcoder.models.local.cores import dealt, groups_of, on_cores, taken, threads_worth
from evolcoder.models.local.fast_forms import use_fast_forms
from evolcoder.models.local.generate_check import FAILS, check_generate, told_of
from evolcoder.models.local.kv_cache import CACHE, KVSlots, rows_that_fit
from evolcoder.models.local.llama_layers import rows_alone
from evolcoder.models.local.packed_weights import pack_linear_layers
from evolcoder.models.local.token_sampling import UniformStream, choose_tokens, log_probabilities
from evolcoder.models.protocol import FinishReason

_WORTH_SHARING = 16
"""Shared tokens below which a prompt is computed whole: a mask costs more than a few tokens."""
_TELL_EVERY_S = 0.05
"""The reader is told this often: making text of all tokens so far at each one would add up."""
_SAME = {torch.float32: 1e-3}
_SAME_LOW = 0.1
"""Relative difference of a step's logits that rounding may make, in fp32 and in shorter formats; a token
that sees a wrong one differs by far more."""
_LIKELY_ANSWER = 128
"""Tokens of an answer that room is made for at the beginning."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One answer to write."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    noise_key: int = 0
    """Names the stream of random numbers of a sampled answer."""
    abandoned: Callable[[], bool] = field(default=lambda: False, compare=False)
    """True once nobody waits for the answer any more."""
    hear: Callable[[str], None] | None = field(default=None, compare=False)
    """Is told the answer so far, a few times a second, while it is written."""
    keep_log_probabilities: bool = False
    """Return the log-probability of every token as well."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One answer written."""

    text: str
    token_ids: tuple[int, ...]
    """What the model wrote, without the end token."""
    finish_reason: FinishReason
    end_token: int | None = None
    """The token that ended it; None where something else did."""
    log_probabilities: tuple[float, ...] = ()
    """Of each token, the end token's last, at the temperature of sampling, in nats; where asked for."""


class Cancelled(Exception):  # noqa: N818 - an event, not an error
    """Decoding was asked to stop in the middle."""


@dataclass(slots=True)
class _Row:
    """An answer under way."""

    index: int
    job: DecodeJob
    stream: UniformStream
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    told: float = 0.0
    """When its reader was told last."""

    @property
    def cached(self) -> int:
        """Tokens whose keys and values are in the slot: all but the newest, which is the next input."""
        return len(self.job.prompt_ids) + len(self.tokens) - 1


def _order(job: DecodeJob, place: int) -> tuple[int, tuple[int, ...], int, int]:
    """Sort by length, the longest first: attention reads every row up to the longest one's end.

    Threads that share what is left end together where what comes last is short.
    """
    return -len(job.prompt_ids), job.prompt_ids, job.noise_key, place


def _columns(jobs: Sequence[DecodeJob]) -> int:
    """Return how many tokens the longest of some rows is likely to have: most answers are short."""
    return max((len(job.prompt_ids) + min(job.max_new_tokens, _LIKELY_ANSWER) for job in jobs), default=1)


@dataclass(frozen=True, slots=True)
class _Prefilled:
    """A prompt that has been computed."""

    prompt_ids: tuple[int, ...]
    logits_BV: torch.Tensor


class Decoder:
    """Decodes with one model; not safe to call from two threads at once."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_size: int,
        further_ends: Iterable[int] = (),
        for_answers_alone: bool = False,
    ) -> None:
        """With `for_answers_alone` weights are laid out anew: the model can be neither trained nor saved."""
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._end_tokens = end_tokens(model, tokenizer) | frozenset(further_ends)
        self._one_at_a_time = threading.Lock()
        """Held by the thread that counts and tells."""
        self._windows: dict[str, int | None] = {"full_attention": None}
        self._bytes_a_token = 0
        """Of the keys and values that are kept of each token of a row."""
        self._rows_alone = False
        """Whether no row's numbers depend, to the bit, on its neighbours or on what it shares with others."""
        self.prompt_tokens_computed = 0
        """Prompt tokens run through the model so far; samples of one prompt count it once."""
        self.falls_back = self._quicken(for_answers_alone)
        """Why `generate` writes the answers, one by one; None where they are written together."""
        self.attention: str = model.config._attn_implementation
        """How the model attends while it writes, as transformers names it."""
        self.prompt_tokens_computed = 0
        if self.falls_back is not None:
            check_generate(model, tokenizer, self.falls_back)
            _log.warning(
                "%s: answers are written one by one, by transformers' generate (%s)",
                type(model).__name__,
                self.falls_back,
            )

    @torch.inference_mode()
    def decode(
        self,
        jobs: Sequence[DecodeJob],
        cancelled: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda tokens, ended: None,
    ) -> list[Decoded]:
        """Write the answers to `jobs` and return them in the order given.

        `on_step` hears how many tokens each step gave and how many answers it ended. Raises Cancelled once
        `cancelled` says so. What is computed depends on the set of jobs alone, not on their order.
        """
        scaled = length_scaling(self._model.config)
        longest = max((len(job.prompt_ids) + job.max_new_tokens for job in jobs), default=0)
        if self.falls_back is not None or (scaled is not None and longest > scaled[1]):
            return self._generate_all(jobs, cancelled, on_step)
        answers: list[Decoded | None] = [None] * len(jobs)
        order = sorted(range(len(jobs)), key=lambda i: _order(jobs[i], i))
        fit = rows_that_fit(self._bytes_a_token, longest, self._model.device)
        rows = min(self._batch_size, len(jobs), fit)
        threads = threads_worth(rows, self._model.device.type)
        prompts, costs = [job.prompt_ids for job in jobs], [job.max_new_tokens for job in jobs]
        groups = groups_of(prompts, costs, order, threads)
        if self._rows_alone:  # who writes a row makes no difference: threads end at the same time
            together = deque(groups)
            each = [taken(together) for _ in range(min(threads, len(groups)))]
        else:
            each = [iter(share) for share in dealt(groups, costs, threads)]
        with heap_kept() as after_step:

            def tell(tokens: int, ended: int) -> None:
                with self._one_at_a_time:
                    on_step(tokens, ended)
                    after_step()

            @torch.inference_mode()
            def write(share: Iterator[int], stopped: Callable[[], bool]) -> None:
                slots = KVSlots(-(-rows // len(each)), _columns(jobs))
                self._decode_together(jobs, share, answers, slots, stopped, tell)

            on_cores(write, each, cancelled)
        return [answer for answer in answers if answer is not None]

    def _decode_together(
        self,
        jobs: Sequence[DecodeJob],
        share: Iterator[int],
        answers: list[Decoded | None],
        slots: KVSlots,
        cancelled: Callable[[], bool],
        on_step: Callable[[int, int], None],
    ) -> None:
        """Write the answers to the jobs that `share` names into `answers`, one side by side in each slot."""
        active: list[_Row] = []
        prefilled: _Prefilled | None = None
        while True:
            if cancelled():
                raise Cancelled
            while len(active) < slots.rows and (index := next(share, None)) is not None:
                row = _Row(index, jobs[index], UniformStream(jobs[index].noise_key))
                if row.job.abandoned():
                    answers[index] = Decoded("", (), "length")
                    continue
                if prefilled is None or prefilled.prompt_ids != row.job.prompt_ids:
                    if cancelled():
                        raise Cancelled
                    prefilled = self._prefill(slots, row.job.prompt_ids, prefilled)
                self._choose(prefilled.logits_BV, [row])
                answers[row.index] = self._finished(row)
                if answers[row.index] is None:
                    slots.load(len(active), len(row.job.prompt_ids))
                    active.append(row)
            if not active:
                return
            n_rows = len(active)
            self._choose(self._step(slots, active), active)
            for at in reversed(range(len(active))):
                answer = self._finished(active[at])
                if answer is not None:
                    answers[active[at].index] = answer
                    last = active.pop()
                    if at < len(active):
                        slots.move(len(active), at, last.cached)
                        active[at] = last
            self._tell_readers(active)
            on_step(n_rows, n_rows - len(active))

    def _generate_all(
        self, jobs: Sequence[DecodeJob], cancelled: Callable[[], bool], on_step: Callable[[int, int], None]
    ) -> list[Decoded]:
        """Write the answers one after another by transformers' own loop, tokens chosen as here."""
        answers = []
        for index, job in enumerate(jobs):
            row = _Row(index, job, UniformStream(job.noise_key))
            answer = Decoded("", (), "length") if job.abandoned() else self._generate(row, cancelled, on_step)
            answers.append(answer)
        return answers

    def _generate(
        self, row: _Row, cancelled: Callable[[], bool], on_step: Callable[[int, int], None]
    ) -> Decoded:
        def choose(ids: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
            if cancelled():
                raise Cancelled
            self._choose(logits_NV, [row])
            only_NV = torch.full_like(logits_NV, float("-inf"))
            only_NV[:, row.tokens[-1]] = 0.0
            return only_NV

        def ended(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            done = self._finished(row) is not None
            self._tell_readers([row])
            on_step(1, int(done))
            return torch.tensor([done], device=ids.device)

        ids_BT = torch.tensor([row.job.prompt_ids], device=self._model.device)
        self.prompt_tokens_computed += len(row.job.prompt_ids)
        config = transformers.GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=row.job.max_new_tokens, do_sample=False, pad_token_id=self._tokenizer.pad_token_id
        )
        self._model.generate(
            ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            generation_config=config,
            logits_processor=[choose],
            stopping_criteria=[ended],
        )
        answer = self._finished(row)
        assert answer is not None
        return answer

    def _quicken(self, for_answers_alone: bool) -> str | None:
        """Use the faster forms of the model's parts; return why rows cannot be written together, or None.

        They are compared with the model before anything of it is replaced.
        """
        try:
            self._windows = attention_windows(self._model.config)
            rows, plain = self._probe()
        except ModelError as error:
            why: str | None = str(error)
        except FAILS as error:
            why = told_of(error)
        else:
            undo = use_fast_forms(self._model, for_answers_alone)
            why = self._why_not_together(rows, plain)
            if why is None:
                self._rows_alone = rows_alone(self._model)
                return None
            undo()
            why = self._why_not_together(rows, plain)
        if for_answers_alone:
            pack_linear_layers(self._model, by_onednn_alone=True)  # the same to the bit
        return why

    @torch.inference_mode()
    def _probe(self) -> tuple[list[_Row], list[torch.Tensor]]:
        """Return rows, and the logits of two tokens of each by a plain forward pass over its whole text.

        The second prompt begins as the first does, so that taking over what they share is compared too.
        """
        reach = max((w for w in self._windows.values() if w is not None and w < LONGEST_PROBE), default=0)
        reach = max(reach, declared_reach(self._model.config))
        vocabulary = int(self._model.get_input_embeddings().weight.shape[0])
        text = [(37 * i * i + 11 * i + 5) % vocabulary for i in range(reach + 50)]
        prompts = [tuple(text[: reach + 20]), tuple(text[: reach + 18] + text[-7:]), tuple(text[30:37])]
        rows, plain = [], []
        for i, prompt in enumerate(prompts):
            rows.append(_Row(i, DecodeJob(prompt, 3), UniformStream(0), [text[i], text[3], text[4]]))
            whole = torch.tensor([[*prompt, text[i], text[3]]], device=self._model.device)
            plain.append(self._model(input_ids=whole, use_cache=False).logits[0, -2:].float())
        return rows, plain

    @torch.inference_mode()
    def _why_not_together(self, probe: Sequence[_Row], plain: Sequence[torch.Tensor]) -> str | None:
        """Write two tokens of each row together; return how that differs from `plain`, or None."""
        try:
            slots, prefilled, got = KVSlots(len(probe)), None, []
            for row in probe:
                prefilled = self._prefill(slots, row.job.prompt_ids, prefilled)
                slots.load(row.index, len(row.job.prompt_ids))
            for n in (1, 2):
                rows = [replace(row, tokens=row.tokens[:n]) for row in probe]
                got.append(self._step(slots, rows).float())
            for row, plain_NV in zip(probe, plain, strict=True):
                ours_NV = torch.stack([step_NV[row.index] for step_NV in got])
                worst = float(((ours_NV - plain_NV).norm(dim=-1) / plain_NV.norm(dim=-1)).max())
                if not worst <= _SAME.get(self._model.dtype, _SAME_LOW):
                    return f"written together, rows differ from the plain model by {worst:.1%}"
            self._bytes_a_token = slots.bytes_a_token
        except FAILS as error:
            return told_of(error)
        return None

    def _prefill(self, slots: KVSlots, prompt_ids: tuple[int, ...], before: _Prefilled | None) -> _Prefilled:
        """Run one prompt through the model; leave its keys and values in the slots.

        What it shares with the prompt computed before is there.
        """
        known = 0
        if before is not None:
            known = min(common_length(before.prompt_ids, prompt_ids), len(prompt_ids) - 1)
        if known < _WORTH_SHARING:
            known = 0
        slots.begin_prompt(known, len(prompt_ids))
        ids_BT = torch.tensor([prompt_ids[known:]], device=self._model.device)
        logits_BV = self._model(
            input_ids=ids_BT, use_cache=True, logits_to_keep=1, **{CACHE: slots.cache}
        ).logits[:, -1]
        with self._one_at_a_time:
            self.prompt_tokens_computed += len(prompt_ids) - known
        return _Prefilled(prompt_ids, logits_BV)

    def _step(self, slots: KVSlots, active: Sequence[_Row]) -> torch.Tensor:
        """Run the newest token of every row through the model; return the logits, N x V."""
        lengths = [row.cached for row in active]
        device = self._model.device
        mask: Any = slots.begin_step(lengths, next(iter(self._windows.values())))
        if len(self._windows) > 1:
            mask = {kind: slots.mask(window, mask.dtype) for kind, window in self._windows.items()}
        logits_N1V: torch.Tensor = self._model(
            input_ids=torch.tensor([[row.tokens[-1]] for row in active], device=device),
            position_ids=torch.tensor(lengths, device=device).unsqueeze(1),
            attention_mask=mask,
            use_cache=True,
            **{CACHE: slots.cache},
        ).logits
        return logits_N1V[:, -1]

    def _choose(self, logits_NV: torch.Tensor, rows: Sequence[_Row]) -> None:
        """Append each row's next token."""
        tokens = choose_tokens(
            logits_NV,
            [row.job.temperature for row in rows],
            [row.job.top_p for row in rows],
            [row.stream for row in rows],
        )
        for row, token in zip(rows, tokens, strict=True):
            row.tokens.append(token)
        kept = [i for i, row in enumerate(rows) if row.job.keep_log_probabilities]
        if kept:
            heat = [rows[i].job.temperature or 1.0 for i in kept]
            found = log_probabilities(logits_NV, kept, [tokens[i] for i in kept], heat)
            for i, logp in zip(kept, found, strict=True):
                rows[i].log_probabilities.append(logp)

    def _tell_readers(self, rows: Sequence[_Row]) -> None:
        """Tell the text so far to the reader; half a character at its end is kept back."""
        now = time.monotonic()
        for row in rows:
            if row.job.hear is not None and now - row.told >= _TELL_EVERY_S:
                row.told = now
                row.job.hear(
                    before_stop(self._text(row.tokens), row.job.stop).rstrip("\N{REPLACEMENT CHARACTER}")
                )

    def _finished(self, row: _Row) -> Decoded | None:
        """Return the row's answer if its newest token ends it."""
        if row.tokens[-1] in self._end_tokens:
            return self._answer(row, row.tokens[:-1], "stop")
        if row.job.stop and self._stop_in_tail(row):
            return self._answer(row, row.tokens, "stop")
        if len(row.tokens) >= row.job.max_new_tokens or row.job.abandoned():
            return self._answer(row, row.tokens, "length")
        return None

    def _stop_in_tail(self, row: _Row) -> bool:
        """Say whether a stop string ends in the newest token.

        A token is at least one byte, so as many tokens as the longest stop string has bytes hold it.
        """
        longest = max(len(stop.encode()) for stop in row.job.stop)
        tail = self._text(row.tokens[-(longest + 3) :])
        if not any(stop in tail for stop in row.job.stop):
            return False
        # The tail may have begun inside a character; the whole answer decides.
        text = self._text(row.tokens)
        return any(stop in text for stop in row.job.stop)

    def _answer(self, row: _Row, tokens: Sequence[int], finish: FinishReason) -> Decoded:
        text = self._text(tokens)
        end = row.tokens[-1] if len(tokens) < len(row.tokens) else None
        kept = tuple(row.log_probabilities)
        return Decoded(before_stop(text, row.job.stop), tuple(tokens), finish, end, kept)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two prompts begin with alike."""
    for at, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return at
    return min(len(a), len(b))


def before_stop(text: str, stops: Iterable[str]) -> str:
    """Return `text` up to the first of the stop strings in it."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's, else the tokenizer's."""
    named = getattr(model.generation_config, "eos_token_id", None)
    if named is None:
        named = tokenizer.eos_token_id
    if named is None:
        return frozenset()
    return frozenset(named) if isinstance(named, (list, tuple)) else frozenset([named])
