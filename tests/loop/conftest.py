"""A whole loop on a tiny model, and a listener that keeps what it is told."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.models.byte_llama import save_tiny_model
from tests.models.scripted_server import Server, good, serving, text_of

from evolcoder.progress import SilentProgress, StageLine
from evolcoder.recipe import Recipe, recipe_from_data


class Notes(SilentProgress):
    """Keeps what is said, and the stages as they were last shown."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[StageLine] = []

    def note(self, line: str) -> None:
        self.said.append(line)

    def stages(self, lines: Any) -> None:
        self.shown = list(lines) or self.shown


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """Recipes of a whole loop on a tiny model, which teaches itself."""
    model = str(save_tiny_model(tmp_path_factory.mktemp("model"), max_position_embeddings=4096))

    def recipe(**changes: Any) -> Recipe:
        data: dict[str, Any] = {
            "name": "small",
            "seeds": {"source": "shipped", "limit": 12},
            "teacher": {"model": model, "local": {"dtype": "fp32"}},
            "base": {"model": model},
            "rounds": {"max_rounds": 1, "rows_per_round": 4, "train_seeds": False},
            "evolve": {"max_tokens": 24, "instruction_max_tokens": 24, "keep_truncated": True},
            "train": {
                "max_steps": 2,
                "batch_size": 4,
                "max_length": 512,
                "dtype": "fp32",
                "tracking": [],
                "prompt_style": "chat",
            },
            "evaluate": {
                "settings": {"style": "chat", "limit": 2, "max_tokens": 8},
                "local": {"dtype": "fp32"},
            },
            "stop": {"rule": "paper-v1"},
        }
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value}
        return recipe_from_data(data, "test")

    return recipe


@contextmanager
def teacher(answer: Callable[[str], str]) -> Iterator[Server]:
    """Serve a teacher in a thread of its own."""
    loop, started, servers = asyncio.new_event_loop(), threading.Event(), []
    stop: asyncio.Event | None = None

    async def serve() -> None:
        nonlocal stop
        stop = asyncio.Event()
        async with serving(lambda body, n: good(answer(text_of(body)))) as server:
            servers.append(server)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(20)
    try:
        yield servers[0]
    finally:
        assert stop is not None
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def new_task(text: str) -> str:
    number = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return f"Write a Python function that returns item {number} of a list that is {number} long."


def taught_by(small: Callable[..., Recipe], server: Server, more: Any = None, **sections: Any) -> Recipe:
    """The small recipe with a teacher at the server, for up to three rounds."""
    return small(
        teacher={"model": "openai:t", "base_url": server.url, "local": {}},
        stop={"rule": "max_rounds", "benchmark": "humaneval", "select_on_test": True},
        **{"rounds": {"max_rounds": 3}, **(more or {}), **sections},
    )
