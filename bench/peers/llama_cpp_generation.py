"""Seconds and texts of llama.cpp's server (the package xllamacpp) on given prompts.

    /tmp/llama/bin/python bench/peers/llama_cpp_generation.py MODEL.gguf requests.json --slots 32

requests.json as for vllm_generation.py. Each slot has a client that asks again as soon as it is answered.
Prints one line of JSON. Loading is left out of the times.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp  # type: ignore[import-not-found]
from cpu_time import cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--slots", type=int, default=32)
    options = parser.parse_args()
    asked = json.loads(options.requests.read_text())
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.n_parallel = options.slots
    params.n_ctx = asked["context_tokens"] * options.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    params.cont_batching = True
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def answer(prompt: str, max_tokens: int = asked["max_tokens"]) -> str:
        told: dict[str, Any] = server.handle_completions(
            {
                "prompt": prompt,
                "n_predict": max_tokens,
                "temperature": asked["temperature"],
                "top_p": asked["top_p"],
                "stop": asked["stop"],
                "cache_prompt": True,
            }
        )
        text: str = told["content"] if "content" in told else told["choices"][0]["text"]
        return text

    answer(asked["prompts"][0], 3)
    wall, cpu = time.perf_counter(), cpu_seconds()
    with ThreadPoolExecutor(options.slots) as clients:
        texts = list(clients.map(answer, [p for p in asked["prompts"] for _ in range(asked["n"])]))
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    print(json.dumps({"texts": texts, "wall_s": wall, "cpu_s": cpu}))


main()
