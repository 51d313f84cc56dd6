"""Weights, tokenizer and decode loop in one object: requests in, completions out. Blocking."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolcoder.errors import ModelError, require_packages
from evolcoder.models.local.identity import content_identity
from evolcoder.models.local.prompt_tokens import noise_key, prompt_tokens
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import EMBEDDED, load_weights, locate_weights
from evolcoder.models.protocol import Completion, Request

if TYPE_CHECKING:
    from evolcoder.models.local.decoding import Decoder
    from evolcoder.models.local.vllm_engine import VllmEngine

VLLM_PREFIX = "vllm:"
"""Before a folder or hub name: vLLM writes the answers, in this process, instead of transformers."""


def open_answering_engine(ref: str, settings: LocalSettings) -> TransformersEngine | VllmEngine:
    """Load the weights that `ref` names, into vLLM where it says so; raises ModelError, MissingExtraError."""
    if ref.startswith(VLLM_PREFIX):
        from evolcoder.models.local.vllm_engine import VllmEngine

        return VllmEngine(ref.removeprefix(VLLM_PREFIX), settings)
    if settings.tensor_parallel > 1:
        raise ModelError(
            f"{ref}: tensor_parallel {settings.tensor_parallel} needs vLLM: name it {VLLM_PREFIX}{ref}"
        )
    return TransformersEngine(ref, settings)


def weights_identity(ref: str) -> str:
    """Return the name under which replies of these weights are kept; raises ModelError for an unknown `ref`.

    A folder or file is named by the content of its weights, so that a checkpoint trained anew under the
    same path is not answered from an old journal.
    """
    if ref.startswith(VLLM_PREFIX):
        return VLLM_PREFIX + weights_identity(ref.removeprefix(VLLM_PREFIX))
    location = locate_weights(ref)
    if ref == EMBEDDED or isinstance(location, str):
        return ref
    return f"{location.absolute().name}@{content_identity(ref)[:16]}"


class TransformersEngine:
    """Weights, tokenizer and decode loop: requests in, completions out. Blocking."""

    def __init__(self, ref: str, settings: LocalSettings) -> None:
        # OpenMP threads that spin steal the cores from the sandbox that judges meanwhile.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        require_packages("a model in this process", "local", "torch", "transformers")
        import torch

        from evolcoder.models.local.decoding import Decoder

        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        weights: tuple[Any, Any] = load_weights(ref, number_format(settings.dtype, device))
        self.model, self.tokenizer = weights
        if device != "cpu":
            self.model.to(device)
        self._ref = ref
        self.decoder: Decoder = Decoder(
            self.model, self.tokenizer, settings.batch_size, for_answers_alone=True
        )
        text = self.model.config.get_text_config(decoder=True)
        trained_for = getattr(text, "max_position_embeddings", None) or 1 << 30
        self.context_tokens = min(settings.context_tokens or trained_for, trained_for)

    def answer(
        self,
        requests: list[Request],
        abandoned: list[Callable[[], bool]] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda tokens, ended: None,
        hear: Sequence[Callable[[str], None] | None] = (),
    ) -> list[Completion]:
        """Answer requests together; a prompt that leaves no room in the context gets an empty answer.

        `abandoned` and `hear`, where given, have one entry a request.
        """
        from evolcoder.models.local.decoding import DecodeJob

        begun = time.monotonic()
        prompts = prompt_tokens(self.tokenizer, requests, self._ref)
        self._check_embedded(prompts)
        jobs: dict[int, DecodeJob] = {}
        for i, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            sampling, room = request.sampling, self.context_tokens - len(prompt)
            if room > 0:
                jobs[i] = DecodeJob(
                    prompt_ids=prompt,
                    max_new_tokens=min(sampling.max_tokens, room),
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    stop=sampling.stop,
                    noise_key=noise_key(request),
                    abandoned=abandoned[i] if abandoned else lambda: False,
                    hear=hear[i] if hear else None,
                )
        decoded = self.decoder.decode(list(jobs.values()), cancelled, on_step)
        seconds = time.monotonic() - begun
        completions = [Completion("", "length", len(prompt), 0, seconds=seconds) for prompt in prompts]
        for i, answer in zip(jobs, decoded, strict=True):
            completions[i] = Completion(
                answer.text, answer.finish_reason, len(prompts[i]), len(answer.token_ids), seconds=seconds
            )
        return completions

    def _check_embedded(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Raise ModelError for a token that the model has no embedding for."""
        embedded = int(self.model.get_input_embeddings().weight.shape[0])
        largest = max((max(prompt) for prompt in prompts), default=0)
        if largest >= embedded:
            name = self.tokenizer.convert_ids_to_tokens(largest)
            raise ModelError(
                f"{self._ref}: a prompt holds the token {name!r} ({largest}), the model has embeddings for "
                f"{embedded:,}: its tokenizer is of another model, or tokens were added to it alone"
            )


def number_format(name: str, device: str) -> str:
    """Return the number format that `name` means on a device: "auto" is bf16 where that is fast."""
    if name != "auto":
        return name
    return "bf16" if device != "cpu" or cpu_multiplies_bf16() else "fp32"


def cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has instructions for bfloat16 products (Linux; elsewhere False)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))
