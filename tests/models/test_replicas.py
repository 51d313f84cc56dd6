"""What a local model does with copies of its weights elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

from byte_llama import save_tiny_model

from evolcoder.errors import RequestFailedError
from evolcoder.models.local.local_model import LocalModel
from evolcoder.models.local.replicas import Answers, ReplicaWork, Tag, Wave
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Request


class Deadly:
    """Replicas that a prompt named "poison" kills each time, until its wave is set aside."""

    workers = 2

    def __init__(self, work: ReplicaWork) -> None:
        self._work = work

    def run_many(self, tagged: Iterable[tuple[Tag, Wave]], /) -> Iterator[tuple[Tag, Answers]]:
        for tag, wave in tagged:
            if any(request.prompt == "poison" for request in wave):
                yield tag, self._work.set_aside(wave, "its worker died 3 times: killed")
            else:
                yield tag, [Completion(f"to {request.prompt}", "stop", 1, 1) for request in wave]


def test_a_request_that_kills_its_replica_fails_alone_with_the_reason(tmp_path: Path) -> None:
    async def ask() -> list[Completion | BaseException]:
        model = LocalModel(str(save_tiny_model(tmp_path / "model")), LocalSettings(batch_size=2, wave_size=3))
        model.write_on(Deadly(model.replica_work()))
        try:
            asked = [Request(prompt) for prompt in ("a", "b", "poison", "c", "d")]
            return await asyncio.gather(*map(model.complete, asked), return_exceptions=True)
        finally:
            await model.close()

    answers = asyncio.run(ask())
    failed = answers.pop(2)
    assert isinstance(failed, RequestFailedError)
    assert "its worker died 3 times" in str(failed)
    assert [a.text if isinstance(a, Completion) else a for a in answers] == ["to a", "to b", "to c", "to d"]
