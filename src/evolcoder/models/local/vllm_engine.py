"""vLLM in this process, for machines where it is installed: the same requests, prompts and tokens, its speed.

It batches by itself and keeps prompts it has computed, so samples of one prompt share it. A sample's seed
follows from prompt, seed and index, so that a rerun gives the same samples up to the rounding of the
arithmetic, which hangs on who shares a batch; vLLM's batch-invariant mode (VLLM_BATCH_INVARIANT=1) removes
that on GPUs that have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evolcoder.errors import MissingExtraError, ModelError
from evolcoder.models.local.prompt_tokens import noise_key, prompt_tokens
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import DTYPES, load_tokenizer, locate_weights
from evolcoder.models.protocol import Completion, Request


class VllmEngine:
    """Weights in vLLM. Raises MissingExtraError without vLLM, ModelError where `ref` does not load."""

    def __init__(self, ref: str, settings: LocalSettings) -> None:
        location = locate_weights(ref)
        if isinstance(location, Path) and location.is_file():
            raise ModelError(
                f"vllm:{ref}: a model folder or a Hugging Face name is expected, found a GGUF file"
            )
        try:
            import vllm
        except ImportError as error:
            raise MissingExtraError("vLLM in this process", "vllm") from error
        dtype = DTYPES.get(settings.dtype, "auto")
        try:
            self._llm: Any = vllm.LLM(
                model=str(location),
                dtype=dtype,
                max_model_len=settings.context_tokens,
                tensor_parallel_size=settings.tensor_parallel,
                enable_prefix_caching=True,
                disable_log_stats=True,
                seed=0,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"vllm:{ref}: cannot be loaded ({type(error).__name__}: {reason})") from error
        self._ref = ref
        self._sampling: Any = vllm.SamplingParams
        self._asked = 0
        self.tokenizer = load_tokenizer(ref)
        self.context_tokens = int(self._llm.llm_engine.model_config.max_model_len)

    def answer(
        self,
        requests: list[Request],
        abandoned: list[Callable[[], bool]] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_step: Callable[[int, int], None] = lambda tokens, ended: None,
        hear: Sequence[Callable[[str], None] | None] = (),
    ) -> list[Completion]:
        """Answer requests together; a prompt that leaves no room in the context gets an empty answer.

        Raises Cancelled once `cancelled` says so; what nobody waits for any more is written all the same.
        """
        from evolcoder.models.local.decoding import Cancelled

        begun = time.monotonic()
        prompts = prompt_tokens(self.tokenizer, requests, self._ref)
        engine = self._llm.llm_engine
        places: dict[str, int] = {}
        for place, (request, prompt_ids) in enumerate(zip(requests, prompts, strict=True)):
            room = self.context_tokens - len(prompt_ids)
            if room > 0:
                self._asked += 1
                name = f"evolcoder-{self._asked}"
                sampling = request.sampling
                parameters = self._sampling(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=min(sampling.max_tokens, room),
                    stop=list(sampling.stop) or None,
                    seed=noise_key(request) & 0x7FFF_FFFF if sampling.temperature > 0 else None,
                    spaces_between_special_tokens=False,
                )
                engine.add_request(name, {"prompt_token_ids": list(prompt_ids)}, parameters)
                places[name] = place
        completions: dict[int, Completion] = {}
        while engine.has_unfinished_requests():
            if cancelled():
                engine.abort_request([name for name, place in places.items() if place not in completions])
                raise Cancelled
            for output in engine.step():
                at = places.get(output.request_id)
                if at is None:
                    continue
                written = output.outputs[0]
                if hear and (listener := hear[at]) is not None:
                    listener(written.text)
                if output.finished:
                    completions[at] = Completion(
                        written.text,
                        "length" if written.finish_reason == "length" else "stop",
                        len(prompts[at]),
                        len(written.token_ids),
                        seconds=time.monotonic() - begun,
                    )
                    on_step(len(written.token_ids), 1)
        return [
            completions.get(place, Completion("", "length", len(prompt_ids), 0))
            for place, prompt_ids in enumerate(prompts)
        ]
