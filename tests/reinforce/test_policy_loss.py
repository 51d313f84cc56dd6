"""Advantages, losses and gradients are those of the papers, whatever goes through the model together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.tiny import byte_tokenizer, rows, tiny_model

from evolcoder.reinforce.grpo import batch_of
from evolcoder.reinforce.policy import Policy, documents_of, train_settings
from evolcoder.reinforce.policy_loss import PolicyStats, advantages, preference_objective
from evolcoder.reinforce.reward import Reward
from evolcoder.reinforce.sampler import Rollout
from evolcoder.reinforce.settings import PolicyLoss, ReinforceSettings
from evolcoder.train.processes import Processes
from evolcoder.train.step import prepare
from evolcoder.train.tokenization import tokenize

ALONE = Processes(0, 1, torch.device("cpu"))
LOSSES: tuple[PolicyLoss, ...] = ("grpo", "dr_grpo", "dapo")


def policy_of(model: Any, settings: ReinforceSettings) -> Policy:
    data = tokenize(rows(6), byte_tokenizer(), "wizardcoder", 1024)
    prepared = prepare(model, data, train_settings(settings, 1024), ALONE, pad=257)
    return Policy(
        prepared,
        model,
        byte_tokenizer(),
        {f"t{i}": tuple(range(65, 75 + i)) for i in range(3)},
        settings.temperature,
    )


def groups(seed: int = 0) -> list[list[Rollout]]:
    random = np.random.default_rng(seed)
    made = []
    for task in range(3):
        group = []
        for _ in range(4):
            tokens = tuple(int(t) for t in random.integers(0, 256, random.integers(2, 9)))
            reward = Reward(float(random.integers(0, 2)) + 0.1 * len(tokens), 0, None, False, "")
            logps = tuple(float(x) for x in -random.random(len(tokens)) * 3)
            group.append(Rollout(f"t{task}", tokens, logps, bool(random.integers(0, 4) == 0), "", reward))
        made.append(group)
    return made


def reference_loss(
    model: Any,
    policy: Policy,
    made: list[list[Rollout]],
    settings: ReinforceSettings,
    old: Any,
    reference: Any,
) -> torch.Tensor:
    """The loss written out answer by answer (GRPO eq. 3, Dr. GRPO eq. 3, DAPO eq. 8), unpacked."""
    low, high = settings.clip_range
    total, n = torch.zeros(()), sum(map(len, made))
    counted = [not (r.truncated and settings.mask_truncated) for g in made for r in g]
    tokens = sum(len(r.tokens) for r, c in zip((r for g in made for r in g), counted, strict=True) if c)
    for number, rollout in enumerate(r for g in made for r in g):
        group = made[number // 4]
        values = torch.tensor([r.reward.value for r in group])
        advantage = values[number % 4] - values.mean()
        if settings.loss != "dr_grpo":
            advantage = advantage / (values.std() + 1e-4)
        prompt = policy.prompts[rollout.task_id]
        ids = torch.tensor([[*prompt, *rollout.tokens]])
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / settings.temperature
        logp = logits.log_softmax(-1).gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]
        before = logp.detach() if old is None else old[number]
        ratio = torch.exp(logp - before)
        loss = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        if reference is not None:
            apart = reference[number] - logp
            loss = loss + settings.kl * (apart.exp() - apart - 1)
        if not counted[number]:
            continue
        if settings.loss == "grpo":
            total = total + loss.mean() / n
        elif settings.loss == "dr_grpo":
            total = total + loss.sum() / (n * settings.max_tokens)
        else:
            total = total + loss.sum() / tokens
    return total


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("later", [False, True])
def test_packed_loss_and_gradients_are_those_of_each_answer_alone(loss: PolicyLoss, later: bool) -> None:
    settings = ReinforceSettings(loss=loss, max_tokens=16, temperature=0.8, kl=0.05 if later else 0.0)
    plain, model = tiny_model().eval(), tiny_model()
    policy = policy_of(model, settings)
    made = groups()
    batch = batch_of(made, policy.prompts, settings, 257)
    old = reference = None
    if later:
        old = {
            i: logp + 0.3 * torch.randn(len(logp))
            for i, logp in policy.log_probabilities(batch.data, range(12)).items()
        }
        reference = {i: logp + 0.1 for i, logp in old.items()}
    expected = reference_loss(plain, policy, made, settings, old, reference)
    expected.backward()
    objectives = batch.objectives(settings, PolicyStats(), torch.device("cpu"), old, reference)
    inputs = [tuple(batch.documents[:5]), tuple(batch.documents[5:])]
    total = torch.zeros(())
    for documents in inputs:
        part = policy.prepared.loss(policy.prepared.batch(documents, batch.data), objectives(documents), 0.8)
        part.backward()
        total += part.detach()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_advantages_are_those_of_the_papers() -> None:
    rewards = [1.0, 0.0, 0.0, 1.0, 1.0]
    values = torch.tensor(rewards)
    normalised = ((values - values.mean()) / (values.std() + 1e-4)).tolist()
    assert advantages(rewards, "grpo") == pytest.approx(normalised)
    assert advantages(rewards, "dapo") == pytest.approx(normalised)
    assert advantages(rewards, "dr_grpo") == pytest.approx((values - values.mean()).tolist())


def test_answers_that_are_cut_teach_nothing_but_count_in_their_group() -> None:
    settings = ReinforceSettings()
    policy = policy_of(tiny_model(), settings)
    made = groups(3)
    cut = {i for i, r in enumerate(r for g in made for r in g) if r.truncated}
    assert cut
    batch = batch_of(made, policy.prompts, settings, 257)
    assert cut.isdisjoint(batch.documents)
    assert all(batch.weights[i] == 0.0 for i in cut)


def test_the_loss_of_preference_is_minus_log_sigmoid_of_the_margin() -> None:
    settings = ReinforceSettings(method="dpo")
    model = tiny_model()
    policy = policy_of(model, settings)
    prompts = [list(range(65, 80))] * 4
    answers = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [10, 257]]
    data = documents_of(prompts, answers, 257)
    sums = [float(policy.log_probabilities(data, range(4))[i].sum()) for i in range(4)]
    reference = [s + d for s, d in zip(sums, (0.5, -0.2, 0.1, 0.3), strict=True)]
    margins: list[float] = []
    objective = preference_objective([3, 2, 4, 2], reference, 0.1, 2, margins)
    loss = policy.prepared.loss(policy.prepared.batch((0, 1, 2, 3), data), objective)
    expected = [0.1 * (-0.5 - 0.2), 0.1 * (-0.1 + 0.3)]
    assert margins == pytest.approx(expected, abs=1e-5)
    assert loss.item() == pytest.approx(sum(math.log1p(math.exp(-m)) for m in expected) / 2, abs=1e-5)
