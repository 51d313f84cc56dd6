import asyncio
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from byte_llama import save_tiny_model
from scripted_server import Answer, Script, bad, serving

from evolcoder.errors import EndpointError, ModelError
from evolcoder.models.embedding import open_embedder

TEXTS = [f"text {i} " * (i % 7) for i in range(150)]


def vectors_of(body: dict[str, list[str]], n: int) -> Answer:
    """Answer with [length, 1] for each text, the last one first, as the protocol allows."""
    rows = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
    return web.json_response({"data": rows[::-1]})


def asked(script: Script, texts: list[str]) -> tuple[np.ndarray, list[dict[str, list[str]]]]:
    async def go() -> tuple[np.ndarray, list[dict[str, list[str]]]]:
        async with serving(script) as server:
            embed = open_embedder("openai:small", server.url)
            return await asyncio.to_thread(embed, texts), server.bodies

    return asyncio.run(go())


def test_a_servers_vectors_come_in_the_order_of_the_texts_and_of_length_one() -> None:
    vectors, bodies = asked(vectors_of, TEXTS)
    assert vectors.shape == (150, 2)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [len(text) or 1 for text in TEXTS])
    assert sorted(len(body["input"]) for body in bodies) == [22, 64, 64]


def test_a_refusal_and_a_broken_answer_are_asked_for_again() -> None:
    failures = iter([bad(429), web.json_response({"data": []})])
    vectors, bodies = asked(lambda body, n: next(failures, None) or vectors_of(body, n), TEXTS[:2])
    assert len(vectors) == 2
    assert len(bodies) == 3


def test_a_server_without_embeddings_is_named_with_what_it_said() -> None:
    with pytest.raises(
        EndpointError, match=r"/v1/embeddings gave no embeddings by 'small': HTTP 404: no such"
    ):
        asked(lambda body, n: bad(404, "no such model"), TEXTS[:2])


def test_a_model_in_this_process_gives_the_same_vector_alone_and_in_a_batch(tmp_path: Path) -> None:
    embed = open_embedder(str(save_tiny_model(tmp_path / "tiny")))
    together = embed(["sort a list", "a much longer text about trees", "sort a list"])
    assert together.shape == (3, 32)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(embed(["sort a list"])[0], together[0], atol=1e-4)
    assert np.allclose(together[0], together[2], atol=1e-5)
    assert together[0] @ together[1] < 0.999


def test_a_model_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        open_embedder(str(tmp_path / "nothing"))
