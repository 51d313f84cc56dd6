"""Tokens a second of generation on this machine: the seeds' loop, transformers' padded batches, evolcoder.

    python bench/generate.py [--model embedded] [--tokens 64] [--problems 32] [--what greedy,samples,stops]

`greedy`: one greedy answer a HumanEval problem. `samples`: 20 samples of 20 problems (fewer with --problems).
`stops`: as greedy, with the stop strings of continued functions, so that answers are of uneven length. All
run the same prompts in the same process with the same weights; the clock leaves loading out. CPU seconds are
shown beside wall seconds because cores are often shared: compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.prompts import asked
from evolcoder.evaluate.sampling import subset
from evolcoder.models.decoding import before_stop
from evolcoder.models.local_engine import Engine
from evolcoder.models.local_settings import LocalSettings
from evolcoder.models.protocol import Request, Sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--tokens", type=int, default=64, help="most new tokens an answer")
    parser.add_argument("--problems", type=int, default=32, help="HumanEval problems, evenly spaced")
    parser.add_argument("--n", type=int, default=20, help="samples a problem, for `samples`")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--one-at-a-time", type=int, default=8, help="requests that the seeds' loop runs")
    parser.add_argument("--what", default="greedy,samples,stops")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    engine = Engine(options.model, LocalSettings(dtype=options.dtype, batch_size=options.batch_size))
    for what in options.what.split(","):
        requests = requests_of(what, options)
        few = spread(requests, options.one_at_a_time)
        loops: list[tuple[str, Sequence[Request], Callable[[Sequence[Request]], int]]] = [
            ("one at a time (the published scripts)", few, lambda r: one_at_a_time(engine, r)),
            ("transformers, padded batches", requests, lambda r: padded(engine, r, options.batch_size)),
            ("evolcoder", requests, lambda r: sum(c.completion_tokens for c in engine.answer(list(r)))),
        ]
        for name, asked_of, loop in loops:
            print(json.dumps({"what": what, "loop": name, **timed(loop, asked_of)}), flush=True)


def requests_of(what: str, options: argparse.Namespace) -> list[Request]:
    """Return the requests of one workload."""
    problems = subset(load_benchmark("humaneval").problems, options.problems)
    made = []
    for problem in problems:
        question = asked(problem, "completion")
        stop = question.stop if what == "stops" else ()
        if what == "samples":
            sampling = Sampling(temperature=0.2, top_p=0.95, max_tokens=options.tokens)
            made += [Request(question.prompt, sampling, index) for index in range(options.n)]
        else:
            made.append(Request(question.prompt, Sampling(max_tokens=options.tokens, stop=stop)))
    return made


def spread(requests: Sequence[Request], count: int) -> list[Request]:
    """Return about `count` requests, evenly spaced."""
    return list(requests[:: max(1, len(requests) // count)])[:count]


def timed(loop: Callable[[Sequence[Request]], int], requests: Sequence[Request]) -> dict[str, Any]:
    """Run one loop; return its tokens and times."""
    short = replace(requests[0].sampling, max_tokens=3)
    loop([replace(requests[0], sampling=short)])  # the first call makes kernels and allocates
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = loop(requests)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "requests": len(requests),
        "tokens": tokens,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "tokens_per_wall_s": round(tokens / wall, 1),
        "tokens_per_2_cpu_s": round(2 * tokens / cpu, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


@torch.inference_mode()
def one_at_a_time(engine: Engine, requests: Sequence[Request]) -> int:
    """The published scripts' way: one prompt, one `generate`."""
    return padded(engine, requests, 1)


@torch.inference_mode()
def padded(engine: Engine, requests: Sequence[Request], batch_size: int) -> int:
    """Left-padded batches, sorted by length, through transformers' `generate`; returns the useful tokens.

    What follows a stop string or the end token is not counted: it is padding or thrown away.
    """
    tokenizer, model = engine.tokenizer, engine.model
    tokenizer.padding_side = "left"
    ordered = sorted(requests, key=lambda r: len(r.prompt))
    useful = 0
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        inputs = tokenizer([r.prompt for r in batch], return_tensors="pt", padding=True)
        sampling = batch[0].sampling
        sampled: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            sampled = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.stop:
            sampled |= {"stop_strings": list(sampling.stop), "tokenizer": tokenizer}
        out = model.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=sampling.max_tokens,
            **sampled,
        )
        for row in out[:, inputs.input_ids.shape[1] :].tolist():
            text = tokenizer.decode(row, skip_special_tokens=True)
            kept = before_stop(text, sampling.stop)
            useful += len(tokenizer(kept, add_special_tokens=False).input_ids)
    return useful


if __name__ == "__main__":
    main()
