"""Learning from execution beside TRL, and the judge's rate.

    python bench/reinforce.py parity --trl-python /tmp/trl/bin/python
    python bench/reinforce.py steps --trl-python /tmp/trl/bin/python
    python bench/reinforce.py judge

parity: loss and gradient of one batch of answers, for each loss by name, and DPO's, in fp32: this project's
packed micro-batches against TRL's GRPOTrainer and DPOTrainer (bench/peers/trl_policy_loss.py).
steps: seconds of a step of GRPO on the embedded model, in fp32, beside TRL's (bench/peers/trl_grpo_steps.py),
by turns; the same prompts, group size and length, rewards that cost nothing.
judge: programs a second through `evolcoder judge --serve` from 8 clients, at full isolation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from evolcoder.instruction_prompt import instruction_prompt

GROUP, TASKS = 4, 3
CLIENTS, PROGRAMS, BATCH = 8, 4000, 50
STEPS, TURNS = 2, 3


def parity(trl_python: str) -> int:
    """Print the relative differences to TRL of each case; return 1 where one is over 1e-5."""
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from evolcoder.models.local.weights import load_tokenizer
    from evolcoder.reinforce.grpo import batch_of
    from evolcoder.reinforce.policy import Policy, documents_of, train_settings
    from evolcoder.reinforce.policy_loss import PolicyStats, advantages, preference_objective
    from evolcoder.reinforce.reward import Reward
    from evolcoder.reinforce.sampler import Rollout
    from evolcoder.reinforce.settings import PolicyLoss, ReinforceSettings
    from evolcoder.train.processes import Processes
    from evolcoder.train.step import prepare

    losses: tuple[PolicyLoss, ...] = ("grpo", "dr_grpo", "dapo")
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    tokenizer = load_tokenizer("embedded")
    end = tokenizer.eos_token_id
    assert isinstance(end, int)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    prompts = {f"t{i}": tuple(int(t) for t in random.integers(0, 256, 12 + 5 * i)) for i in range(TASKS)}
    groups = [
        [
            Rollout(
                name,
                tokens := tuple(int(t) for t in random.integers(0, 256, random.integers(3, 30))),
                tuple([-1.0] * len(tokens)),
                bool(random.integers(0, 5) == 0),
                "",
                Reward(float(random.integers(0, 2)) + 0.01 * k, 0.0, None, False, ""),
            )
            for k in range(GROUP)
        ]
        for name in prompts
    ]
    flat = [rollout for group in groups for rollout in group]

    def fresh(settings: ReinforceSettings) -> tuple[Any, Policy]:
        model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        data = documents_of([list(p) for p in prompts.values()], [list(range(20))] * TASKS, end)
        alone = Processes(0, 1, torch.device("cpu"))
        prepared = prepare(model, data, train_settings(settings, 256), alone, pad=end)
        return model, Policy(prepared, model, None, prompts, settings.temperature)

    cases: list[dict[str, Any]] = []
    ours: dict[str, tuple[float, dict[str, torch.Tensor]]] = {}
    temperature, kl, beta = 0.9, 0.04, 0.1
    for loss in losses:
        for later in (False, True):
            settings = ReinforceSettings(
                loss=loss, temperature=temperature, kl=kl if later else 0.0, max_tokens=32
            )
            model, policy = fresh(settings)
            batch = batch_of(groups, prompts, settings, end)
            old = reference = None
            if later:
                now = policy.log_probabilities(batch.data, range(len(flat)))
                old = {
                    i: v + torch.from_numpy(0.3 * random.standard_normal(len(v))).float()
                    for i, v in now.items()
                }
                reference = {i: v - 0.1 for i, v in now.items()}
            objectives = batch.objectives(settings, PolicyStats(), torch.device("cpu"), old, reference)
            value = 0.0
            for some in (batch.documents[::2], batch.documents[1::2]):
                part = policy.prepared.loss(
                    policy.prepared.batch(tuple(some), batch.data), objectives(tuple(some)), temperature
                )
                part.backward()
                value += float(part.detach())
            name = f"{loss}{'-second-update' if later else ''}"
            ours[name] = value, gradients_of(model)
            low, high = settings.clip_range
            cases.append({
                "name": name, "loss": loss, "low": 1 - low, "high": high - 1, "kl": settings.kl,
                "advantages": [a for g in groups for a in advantages([r.reward.value for r in g], loss)],
                "old": None if old is None else [old[i].tolist() for i in range(len(flat))],
                "reference": None if reference is None else [reference[i].tolist() for i in range(len(flat))],
            })  # fmt: skip
    settings = ReinforceSettings(method="dpo", beta=beta)
    model, policy = fresh(settings)
    by_pair = [prompts[flat[i].task_id] for i in range(len(flat))]
    data = documents_of(by_pair, [r.tokens for r in flat], end)
    sums = policy.log_probabilities(data, range(len(flat)))
    known = [float(sums[i].sum()) + 0.5 * ((i * 7) % 5 - 2) for i in range(len(flat))]
    lengths = [len(r.tokens) for r in flat]
    objective = preference_objective(lengths, known, beta, len(flat) // 2, [])
    loss_value = policy.prepared.loss(policy.prepared.batch(tuple(range(len(flat))), data), objective)
    loss_value.backward()
    ours["dpo"] = float(loss_value.detach()), gradients_of(model)
    cases.append({"name": "dpo", "loss": "dpo", "beta": beta, "reference": known})
    told = {
        "model": str(folder / "model"), "prompts": [list(p) for p in by_pair],
        "answers": [list(r.tokens) for r in flat], "counts": [int(not r.truncated) for r in flat],
        "group": GROUP, "end": end, "max_tokens": 32, "temperature": temperature, "cases": cases,
    }  # fmt: skip
    (folder / "batch.json").write_text(json.dumps(told))
    peer = Path(__file__).with_name("peers") / "trl_policy_loss.py"
    done = subprocess.run(
        [trl_python, str(peer), str(folder / "batch.json")], check=True, text=True, stdout=subprocess.PIPE
    )
    worst = 0.0
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        found = json.loads(line)
        value, gradients = ours[found["name"]]
        theirs = load_file(folder / f"{found['name']}.safetensors")
        apart = sum(float((gradients[k] - theirs[k]).square().sum()) for k in theirs) ** 0.5
        norm = sum(float(v.square().sum()) for v in theirs.values()) ** 0.5
        difference = abs(value - found["loss"])
        worst = max(worst, difference, apart / norm)
        print(f"{found['name']:24} loss {value:.7f}, TRL {found['loss']:.7f}, apart {difference:.1e}; "
              f"gradient apart {apart / norm:.1e} of its norm")  # fmt: skip
    print(f"largest difference {worst:.1e}; the bar is 1e-5")
    return int(worst > 1e-5)


def steps(trl_python: str) -> int:
    """Print the median seconds of a step, ours and TRL's, over three turns."""
    from statistics import median

    from evolcoder.models.local.weights import load_weights
    from evolcoder.reinforce.tasks import read_tasks

    folder = Path(tempfile.mkdtemp())
    model, tokenizer = load_weights("embedded", "fp32")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    tasks = read_tasks("benchmark:mbpp:train")[:40]
    (folder / "prompts.json").write_text(json.dumps([instruction_prompt(t.instruction) for t in tasks]))
    sizes = [f"--steps={STEPS + 1}", "--group=8", "--tasks=4", "--max-tokens=64"]
    peer = Path(__file__).with_name("peers") / "trl_grpo_steps.py"
    theirs: list[float] = []
    ours: list[float] = []
    for turn in range(TURNS):
        done = subprocess.run(
            [trl_python, str(peer), str(folder / "model"), str(folder / "prompts.json"), *sizes],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        theirs += json.loads(done.stdout.strip().splitlines()[-1])
        ours += our_steps(folder / "model", tasks, folder / f"out-{turn}")
        print(
            f"turn {turn + 1}: TRL {median(theirs):.1f} s a step, evolcoder {median(ours):.1f} s", flush=True
        )
    print(f"{median(theirs) / median(ours):.2f} times TRL's rate of steps")
    return 0


def our_steps(model: Path, tasks: Any, out: Path) -> list[float]:
    """Return the seconds of each step but the first."""
    from evolcoder.execution.local import THIS_MACHINE
    from evolcoder.progress import SilentProgress
    from evolcoder.reinforce.answers import RunUnderWay
    from evolcoder.reinforce.grpo import grpo
    from evolcoder.reinforce.reward import Reward
    from evolcoder.reinforce.settings import ReinforceSettings
    from evolcoder.train.processes import join_processes

    class Lengths:
        """A reward that costs nothing."""

        def rewards(self, answers: Any) -> list[Reward]:
            return [Reward(len(a.text) % 7 / 7, 0.0, None, False, "") for _, a in answers]

    settings = ReinforceSettings(
        steps=STEPS + 1, tasks_per_step=4, max_tokens=64, refill=0, mask_truncated=False
    )
    free: Any = Lengths()
    alone = SilentProgress(), join_processes(), THIS_MACHINE
    result = grpo(RunUnderWay(str(model), settings, out, "bench", free, *alone), tasks, [])
    facts = json.loads((result.folder / "training.json").read_text())
    return [record["seconds"] for record in facts["reinforce"]["curve"]][1:]


def gradients_of(model: Any) -> dict[str, Any]:
    """Return a model's gradients by name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def judge(trusted: bool) -> int:
    """Print the programs a second that 8 clients get judged."""
    command = [sys.executable, "-m", "evolcoder", "judge", "--serve", "--port", "0"]
    server = subprocess.Popen(
        [*command, *(["--trusted-tests"] if trusted else [])], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    door = json.loads(server.stdout.readline())

    def ask(number: int) -> int:
        items = [
            {
                "program": f"def f(n):\n    # {number} {i}\n    return n * n + {i % 2}",
                "tests": "assert f(2) == 4\nassert f(3) == 9",
                "entry_point": "f",
            }
            for i in range(BATCH)
        ]
        request = Request(
            f"{door['url']}/v1/judge",
            json.dumps({"items": items}).encode(),
            {"Authorization": f"Bearer {door['token']}"},
        )
        with urlopen(request) as response:
            return sum(json.loads(line)["passed"] for line in response)

    ask(-1)
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        passed = sum(clients.map(ask, range(PROGRAMS // BATCH)))
    seconds = time.monotonic() - begun
    server.terminate()
    server.wait()
    kind = "trusted" if trusted else "tests apart"
    print(
        f"{kind}: {PROGRAMS} programs from {CLIENTS} clients in {seconds:.1f} s, {PROGRAMS / seconds:.0f} a "
        f"second, {passed} passed of {PROGRAMS // 2} right ones, {door['workers']} workers"
    )
    return int(passed != PROGRAMS // 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("parity", "steps", "judge"))
    parser.add_argument("--trl-python", default="/tmp/trl/bin/python")
    parser.add_argument("--trusted-tests", action="store_true")
    options = parser.parse_args()
    if options.what == "judge":
        sys.exit(judge(options.trusted_tests))
    sys.exit((parity if options.what == "parity" else steps)(options.trl_python))


if __name__ == "__main__":
    main()
