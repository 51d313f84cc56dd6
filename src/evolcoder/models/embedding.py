"""Texts as unit vectors: by a model in this process, or by an OpenAI-compatible server's `/embeddings`.

In this process the vector is the mean of the last hidden states over the text's tokens, as sentence encoders
are read; a chat model read so tells texts apart too, but less well. Texts are cut at 512 tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp

from evolcoder.errors import EndpointError
from evolcoder.models.endpoint.address import (
    Connection,
    address_of,
    connection_to,
    masked,
    open_session,
    read_body,
    shown_url,
    words_of,
)
from evolcoder.models.endpoint.chat_format import error_message, parsed
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.weights import load_encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Makes of texts one unit vector each, in their order."""

_TEXTS_A_REQUEST = 64
_TEXTS_A_BATCH = 16
_MOST_TOKENS = 512
_MOST_CHARACTERS = 8000
"""Servers refuse what is longer than their model takes; this stays below 8,192 tokens."""
_TOO_LARGE = 1e15
"""Beyond this the squares overflow float32; no model's vectors come near."""
_ATTEMPTS = 4
_AT_ONCE = 8


def open_embedder(ref: str, base_url: str | None = None) -> Embed:
    """Return the embedder of a MODEL: "openai:NAME" of a server, else a folder, a GGUF file or a hub name.

    Raises ModelError where `ref` names nothing that loads; the returned function raises EndpointError where
    the server gives no vectors.
    """
    if ref.startswith("openai:"):
        connection = connection_to(base_url or "https://api.openai.com/v1", EndpointSettings())
        return lambda texts: asyncio.run(_ask_for_all(connection, ref.removeprefix("openai:"), texts))
    return _local(ref)


def _local(ref: str) -> Embed:
    import numpy as np
    import torch

    model, tokenizer = load_encoder(ref)
    tokenizer.padding_side = "right"  # on the left it would shift positions

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors: list[NDArray[np.float32]] = []
        with torch.inference_mode():
            for start in range(0, len(texts), _TEXTS_A_BATCH):
                batch = tokenizer(
                    [text or " " for text in texts[start : start + _TEXTS_A_BATCH]],
                    padding=True,
                    truncation=True,
                    max_length=_MOST_TOKENS,
                    return_tensors="pt",
                )
                states_BTD = model(**batch, output_hidden_states=True).hidden_states[-1].float()
                mask_BT1 = batch["attention_mask"].unsqueeze(-1).float()
                mean_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
                vectors.append(mean_BD.numpy())
        return _unit(np.concatenate(vectors) if vectors else np.empty((0, 1), dtype=np.float32))

    return embed


async def _ask_for_all(connection: Connection, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    import numpy as np

    at_once = asyncio.Semaphore(_AT_ONCE)
    address = str(address_of(connection.base_url, "/embeddings"))
    async with open_session(connection, EndpointSettings()) as session:

        async def ask(part: Sequence[str]) -> list[list[float]]:
            async with at_once:
                return await _ask(session, address, name, connection.key, part)

        parts = [texts[start : start + _TEXTS_A_REQUEST] for start in range(0, len(texts), _TEXTS_A_REQUEST)]
        answers = await asyncio.gather(*(ask(part) for part in parts))
    vectors = [vector for answer in answers for vector in answer]
    if len(widths := {len(vector) for vector in vectors}) > 1:
        raise EndpointError(f"{shown_url(address)} gave vectors of different lengths: {sorted(widths)}")
    return _unit(np.array(vectors, dtype=np.float32).reshape(len(texts), -1))


async def _ask(
    session: aiohttp.ClientSession, url: str, name: str, key: str | None, texts: Sequence[str]
) -> list[list[float]]:
    """Ask for the vectors of some texts; refusals and broken answers are asked for again."""
    body = {
        "model": name,
        "input": [text[:_MOST_CHARACTERS] or " " for text in texts],
        "encoding_format": "float",
    }
    timeout = aiohttp.ClientTimeout(total=EndpointSettings().timeout_s)
    said = ""
    for attempt in range(_ATTEMPTS):
        try:
            async with session.post(url, json=body, allow_redirects=False, timeout=timeout) as response:
                data = await read_body(response)
                if response.status == 200:
                    vectors = _vectors(parsed(data), len(texts))
                    if vectors is not None:
                        return vectors
                    said = f"no {len(texts)} vectors in its answer"
                else:
                    said = f"HTTP {response.status}: {error_message(data)}"
                    if response.status in (400, 401, 403, 404):
                        break
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            said = words_of(error)
        if attempt + 1 < _ATTEMPTS:
            await asyncio.sleep(0.5 * 2**attempt)
    raise EndpointError(f"{shown_url(url)} gave no embeddings by {name!r}: {masked(said, key, url)}")


def _vectors(answer: Any, count: int) -> list[list[float]] | None:
    """Return the vectors of an answer in the order of the texts; None where it is none."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = [[float(number) for number in row["embedding"]] for row in rows]
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    if not all(abs(number) < _TOO_LARGE for vector in vectors for number in vector):  # nor NaN
        return None
    widths = {len(vector) for vector in vectors}
    return vectors if len(vectors) == count and len(widths) == 1 and widths != {0} else None


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
