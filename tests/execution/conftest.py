"""A real Ray cluster of three nodes on this machine, one core each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolcoder.execution.engine import Engine
from evolcoder.execution.opening import open_engine


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Three nodes; the first is the head. A test that takes one away must add one again."""
    pytest.importorskip("ray", reason="needs pip install 'evolcoder[ray]'")
    # Workers import the tests' own work by name.
    folders = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=NODE)
    for _ in range(2):
        found.add_node(wait=False, **NODE)
    found.wait_for_nodes()
    yield found
    found.shutdown()


NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}


@pytest.fixture
def ray_engine(cluster: Any) -> Iterator[Engine]:
    with open_engine(f"ray:{cluster.address}") as engine:
        yield engine
