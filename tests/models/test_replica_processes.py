"""Copies of a model's weights in several processes write what one writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from byte_llama import save_tiny_model

from evolcoder.errors import ModelError, OutsideError
from evolcoder.models.local.local_model import LocalModel
from evolcoder.models.local.replicas import ReplicaProcesses, ReplicaWork
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Request, Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def answers(folder: Path, replicas: int) -> list[str]:
    async def ask() -> list[str]:
        settings = LocalSettings(dtype="fp32", batch_size=2, wave_size=4, replicas=replicas)
        model = LocalModel(str(folder), settings)
        requests = [Request(f"print({i})", Sampling(max_tokens=6 + i % 5)) for i in range(12)]
        try:
            return [c.text for c in await asyncio.gather(*map(model.complete, requests))]
        finally:
            await model.close()

    return asyncio.run(ask())


def test_two_replicas_write_what_one_model_writes(folder: Path) -> None:
    assert answers(folder, 2) == answers(folder, 1)


def test_a_replica_that_dies_is_told_with_what_is_safe(folder: Path) -> None:
    model = LocalModel(str(folder), LocalSettings(dtype="fp32"))
    replicas = ReplicaProcesses(model.replica_work(), 1)
    try:
        replicas._processes[0].kill()
        with pytest.raises(OutsideError, match=r"replica 0 ended with code -9 .* the same command continues"):
            list(replicas.run_many([(0, [Request("x", Sampling(max_tokens=2))])]))
    finally:
        replicas.close()


def test_weights_that_changed_under_the_same_path_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="a worker has"):
        ReplicaProcesses(ReplicaWork(str(folder), "model@elsewhere", LocalSettings(dtype="fp32")), 1)
