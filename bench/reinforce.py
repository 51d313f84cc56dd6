"""Learning from execution beside TRL, and the judge's rate.

    python bench/reinforce.py parity --trl-python /tmp/trl/bin/python
    python bench/reinforce.py judge

parity: loss and gradient of one batch of answers, for each loss by name, and DPO's, in fp32: this project's
packed micro-batches against TRL's GRPOTrainer and DPOTrainer (bench/peers/trl_policy_loss.py).
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

GROUP, TASKS = 4, 3
CLIENTS, PROGRAMS, BATCH = 8, 4000, 50


def parity(trl_python: str) -> int:
    """Print the relative differences to TRL of each case; return 1 where one is over 1e-5."""
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from evolcoder.reinforce.grpo import batch_of
    from evolcoder.reinforce.policy import Policy, documents_of, train_settings
    from evolcoder.reinforce.policy_loss import PolicyStats, advantages, preference_objective
    from evolcoder.reinforce.reward import Reward
    from evolcoder.reinforce.sampling import Rollout
    from evolcoder.reinforce.settings import PolicyLoss, ReinforceSettings
    from evolcoder.train.processes import Processes
    from evolcoder.train.step import prepare

    losses: tuple[PolicyLoss, ...] = ("grpo", "dr_grpo", "dapo")
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=256, eos_token_id=257, pad_token_id=257, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
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
        data = documents_of([list(p) for p in prompts.values()], [list(range(20))] * TASKS, 257)
        alone = Processes(0, 1, torch.device("cpu"))
        prepared = prepare(model, data, train_settings(settings, 256), alone, pad=257)
        return model, Policy(prepared, None, prompts, settings.temperature)

    cases: list[dict[str, Any]] = []
    ours: dict[str, tuple[float, dict[str, torch.Tensor]]] = {}
    temperature, kl, beta = 0.9, 0.04, 0.1
    for loss in losses:
        for later in (False, True):
            settings = ReinforceSettings(
                loss=loss, temperature=temperature, kl=kl if later else 0.0, max_tokens=32
            )
            model, policy = fresh(settings)
            batch = batch_of(groups, prompts, settings, 257)
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
    data = documents_of(by_pair, [r.tokens for r in flat], 257)
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
        "group": GROUP, "max_tokens": 32, "temperature": temperature, "cases": cases,
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


def gradients_of(model: Any) -> dict[str, Any]:
    """Return a model's gradients by name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def byte_tokenizer() -> Any:
    """Return a tokenizer of one token a byte, and three special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")


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
    parser.add_argument("what", choices=("parity", "judge"))
    parser.add_argument("--trl-python", default="/tmp/trl/bin/python")
    parser.add_argument("--trusted-tests", action="store_true")
    options = parser.parse_args()
    sys.exit(parity(options.trl_python) if options.what == "parity" else judge(options.trusted_tests))


if __name__ == "__main__":
    main()
