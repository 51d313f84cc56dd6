"""Tokens a second of generation on this machine: the seeds' loop, transformers' padded batches, evolcoder.

    python bench/generate.py                      (about 5 minutes on two quiet cores)
    python bench/generate.py --workloads 164x1 --tokens 64 --sample 32

`164x1`: one greedy answer to each HumanEval problem. `20x20`: 20 samples at T=0.2 of 20 problems. Prompts are
continued until a stop string or --tokens, so answers are of uneven length. evolcoder runs the whole workload;
the two baselines run a stated sample of it, evenly spaced over the prompts' lengths, which are what decides
their speed. All run in one process with the same weights; the clock leaves loading out. Tokens are counted
alike: those of the text that is kept. CPU seconds stand beside wall seconds because cores are often shared:
compare the ratios.
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
from evolcoder.evaluate.sampling import subset
from evolcoder.models.local.decoding import before_stop
from evolcoder.models.local.engine import AnsweringEngine, TransformersEngine, open_answering_engine
from evolcoder.models.local.settings import Dtype, LocalSettings
from evolcoder.models.protocol import Request, Sampling

PADDED_BATCH = 32
Loop = Callable[[Sequence[Request]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="embedded", help="vllm:FOLDER runs vLLM alone, without baselines")
    parser.add_argument("--workloads", default="164x1,20x20")
    parser.add_argument("--tokens", type=int, default=128, help="most new tokens an answer")
    parser.add_argument("--batch-size", type=int, default=LocalSettings().batch_size, help="evolcoder's")
    parser.add_argument("--sample", type=int, default=64, help="requests of the padded baseline")
    parser.add_argument("--one-at-a-time", type=int, default=8, help="requests of the seeds' loop")
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16"])
    options = parser.parse_args()
    dtype: Dtype = options.dtype
    engine = open_answering_engine(options.model, LocalSettings(dtype=dtype, batch_size=options.batch_size))
    for name in options.workloads.split(","):
        problems, _, n = name.partition("x")
        workload(engine, name, requests_of(int(problems), int(n), options.tokens), options)


def workload(
    engine: AnsweringEngine, name: str, requests: list[Request], options: argparse.Namespace
) -> None:
    """Run one workload and print a line a loop, and the ratios."""
    tokenizer: Any = vars(engine)["tokenizer"]

    def row(loop_name: str, loop: Loop, asked_of: Sequence[Request]) -> dict[str, Any]:
        measured = {"workload": name, "loop": loop_name, **timed(loop, asked_of, tokenizer)}
        print(json.dumps(measured), flush=True)
        return measured

    before = engine.decoder.prompt_tokens_computed if isinstance(engine, TransformersEngine) else 0
    ours = row("evolcoder", lambda r: [c.text for c in engine.answer(list(r))], requests)
    if not isinstance(engine, TransformersEngine):
        return
    distinct = {r.prompt: len(tokenizer(r.prompt).input_ids) for r in requests}
    warming_up = distinct[requests[0].prompt]
    computed = engine.decoder.prompt_tokens_computed - before - warming_up
    padded_row = row(
        "transformers, padded", lambda r: padded(engine, r, PADDED_BATCH), spread(requests, options.sample)
    )
    single = row("one at a time", lambda r: padded(engine, r, 1), spread(requests, options.one_at_a_time))
    ratios = {
        f"over {other['loop']}": {
            clock: round(ours[f"tokens_per_{clock}"] / other[f"tokens_per_{clock}"], 2)
            for clock in ("wall_s", "2_cpu_s")
        }
        for other in (padded_row, single)
    }
    print(
        json.dumps(
            {
                "workload": name,
                **ratios,
                "tokens_of_all_prompts": sum(distinct.values()),
                "prompt_tokens_computed": computed,
            }
        ),
        flush=True,
    )


def requests_of(problems: int, n: int, tokens: int) -> list[Request]:
    """Return the requests of one workload: `n` answers to so many HumanEval problems."""
    made = []
    humaneval = load_benchmark("humaneval")
    for problem in subset(humaneval.problems, problems):
        question = humaneval.ask(problem, "completion")
        greedy = Sampling(max_tokens=tokens, stop=question.stop)
        sampling = greedy if n == 1 else replace(greedy, temperature=0.2, top_p=0.95)
        made += [Request(question.prompt, sampling, index) for index in range(n)]
    return made


def spread(requests: Sequence[Request], count: int) -> list[Request]:
    """Return `count` requests, evenly spaced over the lengths of their prompts."""
    ordered = sorted(requests, key=lambda r: len(r.prompt))
    count = min(count, len(ordered))
    return [ordered[i * len(ordered) // count + len(ordered) // (2 * count)] for i in range(count)]


def timed(loop: Loop, requests: Sequence[Request], tokenizer: Any) -> dict[str, Any]:
    """Run one loop; return its useful tokens and times."""
    short = replace(requests[0].sampling, max_tokens=3)
    loop([replace(requests[0], sampling=short)])  # the first call makes kernels and allocates
    wall, cpu = time.perf_counter(), time.process_time()
    texts = loop(requests)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    lengths = sorted(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    tokens = sum(lengths)
    return {
        "requests": len(requests),
        "tokens": tokens,
        "shortest_median_longest": [lengths[0], lengths[len(lengths) // 2], lengths[-1]],
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "tokens_per_wall_s": round(tokens / wall, 1),
        "tokens_per_2_cpu_s": round(2 * tokens / cpu, 1) if cpu > 0.2 * wall else None,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


@torch.inference_mode()
def padded(engine: TransformersEngine, requests: Sequence[Request], batch_size: int) -> list[str]:
    """Left-padded batches, by length, through transformers' `generate`; 1 is the published scripts' way.

    What follows a stop string or the end token is cut: it is padding or thrown away.
    """
    tokenizer, model = engine.tokenizer, engine.model
    tokenizer.padding_side = "left"
    ordered = sorted(requests, key=lambda r: len(r.prompt))
    texts = []
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
            texts.append(before_stop(tokenizer.decode(row, skip_special_tokens=True), sampling.stop))
    return texts


if __name__ == "__main__":
    main()
