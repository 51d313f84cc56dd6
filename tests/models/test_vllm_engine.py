"""What vLLM is asked, and what is made of its answers; a stand-in takes the place of vLLM."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from byte_llama import save_tiny_model

from evolcoder.errors import MissingExtraError, ModelError
from evolcoder.models.local.decoding import Cancelled
from evolcoder.models.local.engine import open_answering_engine, weights_identity
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.protocol import Completion, Request, Sampling


@dataclass
class Written:
    text: str
    token_ids: list[int]
    finish_reason: str


@dataclass
class Output:
    request_id: str
    outputs: list[Written]
    finished: bool = True


@dataclass
class StandIn:
    """Answers each request in turn, a step each, with the parameters it was asked with."""

    asked: list[tuple[str, list[int], dict[str, Any]]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    model_config: Any = field(default_factory=lambda: types.SimpleNamespace(max_model_len=64))

    def add_request(self, name: str, prompt: dict[str, Any], parameters: dict[str, Any]) -> None:
        self.waiting.append(len(self.asked))
        self.asked.append((name, prompt["prompt_token_ids"], parameters))

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names
        self.waiting.clear()

    def step(self) -> list[Output]:
        at = self.waiting.pop()  # the last first: answers come in no order
        name, prompt, parameters = self.asked[at]
        reason = "length" if parameters["max_tokens"] < 5 else "stop"
        return [Output(name, [Written(f"answer of {len(prompt)}", [1, 2, 3], reason)])]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    stand_in = StandIn()
    module = types.ModuleType("vllm")
    module.LLM = lambda **_: types.SimpleNamespace(llm_engine=stand_in)  # type: ignore[attr-defined]
    module.SamplingParams = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return stand_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def ask(folder: Path, requests: list[Request], **how: Any) -> list[Completion]:
    return open_answering_engine(f"vllm:{folder}", LocalSettings()).answer(requests, **how)


def test_answers_come_back_in_the_order_of_the_requests(vllm: StandIn, folder: Path) -> None:
    requests = [Request("x" * n, Sampling(max_tokens=4 + n)) for n in (3, 1, 2)]
    completions = ask(folder, requests)
    sizes = [len(prompt) for _, prompt, _ in vllm.asked]
    assert [c.text for c in completions] == [f"answer of {size}" for size in sizes]
    assert [c.finish_reason for c in completions] == ["stop"] * 3
    assert [(c.prompt_tokens, c.completion_tokens) for c in completions] == [(size, 3) for size in sizes]


def test_samples_have_seeds_of_their_own_that_a_rerun_repeats(vllm: StandIn, folder: Path) -> None:
    sampling = Sampling(temperature=0.2, top_p=0.95, max_tokens=8, stop=("\ndef",), seed=7)
    requests = [Request("x", sampling, index) for index in range(3)]
    ask(folder, requests)
    ask(folder, requests)
    seeds = [parameters["seed"] for _, _, parameters in vllm.asked]
    assert seeds[:3] == seeds[3:]
    assert len(set(seeds)) == 3
    assert all(parameters["stop"] == ["\ndef"] for _, _, parameters in vllm.asked)
    assert {(p["temperature"], p["top_p"]) for _, _, p in vllm.asked} == {(0.2, 0.95)}


def test_an_answer_has_the_room_that_its_prompt_leaves(vllm: StandIn, folder: Path) -> None:
    completions = ask(folder, [Request("x" * 60, Sampling(max_tokens=100)), Request("x" * 300, Sampling())])
    assert [parameters["max_tokens"] for _, _, parameters in vllm.asked] == [64 - len(vllm.asked[0][1])]
    assert (completions[1].text, completions[1].finish_reason) == ("", "length")


def test_what_is_cancelled_is_taken_back(vllm: StandIn, folder: Path) -> None:
    with pytest.raises(Cancelled):
        ask(folder, [Request("x"), Request("y")], cancelled=lambda: True)
    assert len(vllm.aborted) == 2


def test_answers_of_vllm_have_a_name_of_their_own(folder: Path) -> None:
    assert weights_identity(f"vllm:{folder}") == f"vllm:{weights_identity(str(folder))}"


def test_without_vllm_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"evolcoder\[vllm\]"):
        ask(folder, [])


def test_a_gguf_file_is_refused(vllm: StandIn, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="found a GGUF file"):
        ask(tmp_path / "m.gguf", [])
