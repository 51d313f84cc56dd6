"""The reward inside the trainers that it is written for, where they are installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolcoder.reinforce.adapters import ExecutionReward

TESTS = "assert f(2) == 4\nassert f(3) == 9"
RIGHT, WRONG = "```python\ndef f(n): return n * n\n```", "```python\ndef f(n): return 2 * n\n```"


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"needs {package}: pip install {package}")


@pytest.fixture
def reward() -> Iterator[ExecutionReward]:
    with ExecutionReward(workers=1) as opened:
        yield opened


@needs("trl")
def test_trl_learns_by_it(reward: ExecutionReward, tmp_path: Path) -> None:
    datasets, trl = (pytest.importorskip(name) for name in ("datasets", "trl"))
    from tests.train.tiny import save_tiny

    given: list[list[float]] = []

    def counted(completions: list[Any], **columns: Any) -> list[float]:
        given.append(reward(completions, **columns))
        return given[-1]

    rows = [{"prompt": f"f squares, {i}", "tests": TESTS, "entry_point": "f"} for i in range(4)]
    told = {
        "per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8, "max_steps": 2,
        "logging_steps": 1, "report_to": "none", "use_cpu": True, "save_strategy": "no", "bf16": False,
    }  # fmt: skip
    trainer = trl.GRPOTrainer(
        save_tiny(tmp_path / "tiny"),
        reward_funcs=[reward, counted],
        train_dataset=datasets.Dataset.from_list(rows),
        args=trl.GRPOConfig(str(tmp_path / "out"), **told),
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "rewards/execution_reward/mean" in row]
    assert len(logged) == 2 and given == [[0.0] * 4] * 2, "a tiny model's bytes are no program"


@needs("verl")
def test_verl_scores_by_it(tmp_path: Path) -> None:
    omegaconf, torch = (pytest.importorskip(name) for name in ("omegaconf", "torch"))
    from tests.train.tiny import byte_tokenizer
    from verl import DataProto  # type: ignore[import-not-found]
    from verl.trainer.ppo.reward import load_reward_manager  # type: ignore[import-not-found]

    file = tmp_path / "reward.py"
    file.write_text(
        "from evolcoder.reinforce.adapters import ExecutionReward\n"
        "compute_score = ExecutionReward(workers=1).compute_score\n"
    )
    config = omegaconf.OmegaConf.create(
        {
            "reward": {
                "custom_reward_function": {"path": str(file), "name": "compute_score"},
                "reward_manager": {"source": "register", "name": "naive"},
            },
            "data": {"reward_fn_key": "data_source"},
        }
    )
    tokenizer = byte_tokenizer()

    async def scores() -> list[float]:
        manager = load_reward_manager(config, tokenizer)
        found = []
        for answer in (RIGHT, WRONG):
            tokens = torch.tensor([tokenizer(answer)["input_ids"]])
            truth = {"tests": TESTS, "entry_point": "f"}
            data = DataProto.from_dict(
                {"responses": tokens, "attention_mask": torch.ones_like(tokens)},
                non_tensors={
                    "data_source": ["own"],
                    "reward_model": [{"ground_truth": json.dumps(truth)}],
                    "extra_info": [{}],
                },
            )
            found.append((await manager.run_single(data))["reward_score"])
        return found

    assert asyncio.run(scores()) == [1.0, 0.0]


@needs("verifiers")
def test_verifiers_scores_tasks_by_it(reward: ExecutionReward) -> None:
    vf: Any = pytest.importorskip("verifiers.v1", reason="tasks: pip install -U verifiers")
    from verifiers.v1.graph import MessageNode  # type: ignore[import-not-found]

    class Data(vf.TaskData):  # type: ignore[misc]
        tests: str
        entry_point: str

    class CodeTask(vf.Task):  # type: ignore[misc]
        @vf.reward  # type: ignore[untyped-decorator]
        async def passes(self, trace: Any) -> float:
            return await reward.verifiers_reward(trace.last_reply, self.data.model_dump())

    async def score(answer: str) -> float:
        task = CodeTask(Data(prompt="f squares", tests=TESTS, entry_point="f"))
        node = MessageNode(message=vf.AssistantMessage(content=answer), sampled=True)
        trace = vf.Trace.model_construct(nodes=[node], rewards={}, metrics={})
        await task.score(trace)
        return float(trace.reward)

    assert [asyncio.run(score(answer)) for answer in (RIGHT, WRONG)] == [1.0, 0.0]
