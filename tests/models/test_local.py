"""Generation in this process: the same tokens whatever the batch, and the same waves after a kill."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from byte_llama import END, save_tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.errors import ModelError
from evolcoder.models.journal.journal import Journal, JournaledModel
from evolcoder.models.local.engine import TransformersEngine, weights_identity
from evolcoder.models.local.kv_cache import KVSlots
from evolcoder.models.local.local_model import LocalModel, Waiting, next_wave
from evolcoder.models.local.packed_weights import pack_linear_layers
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import load_weights
from evolcoder.models.protocol import Completion, Message, Request, Sampling

torch.set_num_threads(1)  # threads cost more than they give for a model of this size

WORDS = ("def", "class", "return", "while", "for", "in", "print", "x", "y", "0", "12", "+", "(", ")", "\n")


def prompt(number: int) -> str:
    rng = random.Random(number)
    return "solve this: " + " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=8))


def plain_generate(engine: TransformersEngine, text: str, max_tokens: int) -> str:
    """One prompt at a time through transformers' own loop."""
    ids = torch.tensor([engine.tokenizer(text).input_ids])
    out = engine.model.generate(ids, max_new_tokens=max_tokens, do_sample=False)[0, ids.shape[1] :].tolist()
    return engine.tokenizer.decode([t for t in out if t != END], skip_special_tokens=True)


def test_greedy_output_is_that_of_plain_generate_whatever_the_batch(
    folder: Path, engine: TransformersEngine
) -> None:
    requests = [Request(prompt(i), Sampling(max_tokens=10 + 5 * (i % 5))) for i in range(12)]
    expected = [plain_generate(engine, r.prompt, r.sampling.max_tokens) for r in requests]
    for batch_size in (1, 3, 16):
        other = TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=batch_size))
        assert [c.text for c in other.answer(requests)] == expected
    assert len({len(text) for text in expected}) > 5, "answers of uneven length are the point"


def test_rows_whose_keys_and_values_would_not_fit_into_a_quarter_of_the_memory_wait(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(prompt(i), Sampling(max_tokens=12)) for i in range(8)]
    expected, longest = engine.answer(requests), 12 + max(len(prompt(i)) for i in range(8))
    config, side_by_side = engine.model.config, []
    bytes_a_row = 2 * 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * longest
    for rows in (0, 3):
        memory = {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": rows * bytes_a_row}
        monkeypatch.setattr("os.sysconf", memory.__getitem__)
        steps: list[int] = []
        found = engine.answer(requests, on_step=lambda tokens, ended, steps=steps: steps.append(tokens))
        assert [x.text for x in found] == [x.text for x in expected]
        side_by_side.append(max(steps))
    assert side_by_side == [1, 3]


def test_weights_laid_out_once_by_onednn_give_the_same_numbers_to_the_bit(folder: Path) -> None:
    plain, tokenizer = load_weights(str(folder), "bf16")
    packed: Any = load_weights(str(folder), "bf16")[0]
    undo = pack_linear_layers(packed, by_onednn_alone=True)
    for words in (1, 4, 30):
        ids = torch.tensor([tokenizer("word " * words).input_ids])
        with torch.inference_mode():
            assert torch.equal(packed(ids).logits, plain(ids).logits)
    undo()
    for weight, own in zip(packed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(weight, own)


def test_a_sampled_answer_does_not_depend_on_its_neighbours(engine: TransformersEngine) -> None:
    sampling = Sampling(temperature=0.8, top_p=0.9, max_tokens=25, seed=3)
    requests = [Request(prompt(i), sampling, index) for i in range(4) for index in range(3)]
    together = [c.text for c in engine.answer(requests)]
    assert together == [engine.answer([request])[0].text for request in requests]
    assert together == [c.text for c in reversed(engine.answer(requests[::-1]))]
    assert len(set(together)) == len(together), "samples of one prompt differ"


def test_another_seed_gives_other_samples(engine: TransformersEngine) -> None:
    texts = {
        engine.answer([Request("x", Sampling(temperature=1.0, max_tokens=20, seed=seed))])[0].text
        for seed in range(4)
    }
    assert len(texts) == 4


def test_a_prompt_is_computed_once_for_all_its_samples(folder: Path) -> None:
    engine = TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=4))
    text = "a prompt that is asked twenty times"
    sampling = Sampling(temperature=1.0, max_tokens=5)
    engine.answer([Request(text, sampling, index) for index in range(20)])
    assert engine.decoder.prompt_tokens_computed == len(text)


def test_what_prompts_begin_with_alike_is_computed_once(folder: Path) -> None:
    engine = TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=4))
    shared = "worked examples that every request carries at its beginning; " * 4
    engine.answer([Request(shared + word, Sampling(max_tokens=2)) for word in ("ab", "cd", "ef")])
    assert engine.decoder.prompt_tokens_computed == len(shared) + 3 * 2


def test_keys_and_values_are_free_as_soon_as_their_answers_are_written() -> None:
    gc.disable()
    try:
        slots = KVSlots(2)
        layers = slots.layers(2, 1, 16, torch.zeros(1))
        kept = weakref.ref(layers[0].keys)
        del slots, layers
        assert kept() is None, "half a gigabyte a wave would wait for the garbage collector"
    finally:
        gc.enable()


def test_room_for_the_longest_row_is_made_once() -> None:
    slots = KVSlots(1, 130)
    [layer] = slots.layers(1, 1, 16, torch.zeros(1))
    before = layer.keys
    slots.begin_step([129], None)
    assert layer.keys is before, "a step would copy the keys and values of all rows"


def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(engine: TransformersEngine) -> None:
    whole = engine.answer([Request(prompt(1), Sampling(max_tokens=60))])[0]
    stop = next(whole.text[i : i + 2] for i in range(5, 50) if whole.text[i : i + 2].isascii())
    [cut] = engine.answer([Request(prompt(1), Sampling(max_tokens=60, stop=(stop, "never there")))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens < whole.completion_tokens


def test_a_prompt_longer_than_the_context_gets_an_empty_answer(engine: TransformersEngine) -> None:
    fits, too_long = engine.answer([Request("x" * 510, Sampling()), Request("x" * 600, Sampling())])
    assert fits.completion_tokens <= 2
    assert (too_long.text, too_long.finish_reason) == ("", "length")


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\0", "é" * 40])
def test_any_text_can_be_a_prompt(engine: TransformersEngine, text: str) -> None:
    assert engine.answer([Request(text, Sampling(max_tokens=3))])[0].completion_tokens <= 3


def test_a_model_without_a_chat_template_says_so(tmp_path: Path) -> None:
    base = TransformersEngine(
        str(save_tiny_model(tmp_path / "base", chat=False)), LocalSettings(dtype="fp32")
    )
    assert base.answer([Request("raw", Sampling(max_tokens=2))])[0].prompt_tokens == 3
    with pytest.raises(ModelError, match="no chat template"):
        base.answer([Request((Message("user", "hello"),))])


def architecture(name: str) -> tuple[type, object]:
    import transformers as tr

    ends = {"vocab_size": 258, "eos_token_id": END, "bos_token_id": END + 1, "initializer_range": 0.3}
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        **ends,
    }
    window = {"sliding_window": 12}
    if name == "starcoder":
        return tr.GPTBigCodeForCausalLM, tr.GPTBigCodeConfig(n_embd=32, n_layer=2, n_head=4, **ends)
    if name == "starcoder2, sliding window":
        return tr.Starcoder2ForCausalLM, tr.Starcoder2Config(**window, **small)
    config = tr.Qwen2Config(use_sliding_window=True, max_window_layers=2, **window, **small)
    return tr.Qwen2ForCausalLM, config


@pytest.mark.parametrize("name", ["starcoder", "starcoder2, sliding window", "qwen2, some layers sliding"])
def test_other_architectures_give_what_plain_generate_gives(name: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    model_of, config = architecture(name)
    torch.manual_seed(1)
    model_of(config).save_pretrained(folder)
    engine = TransformersEngine(str(folder), LocalSettings(dtype="fp32", batch_size=3))
    requests = [
        Request("common beginning: " + f"abc({i}) " * (i + 1), Sampling(max_tokens=24)) for i in range(5)
    ]
    expected = [plain_generate(engine, r.prompt, 24) for r in requests]
    assert [c.text for c in engine.answer(requests)] == expected
    assert len(set(expected)) > 1


def test_an_architecture_that_generate_cannot_write_with_is_refused_with_the_cause(tmp_path: Path) -> None:
    import transformers as tr

    folder = save_tiny_model(tmp_path / "model")
    config = tr.xLSTMConfig(vocab_size=258, hidden_size=32, num_hidden_layers=2, num_blocks=2, num_heads=2)
    tr.xLSTMForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="xLSTMForCausalLM cannot answer"):
        TransformersEngine(str(folder), LocalSettings(dtype="fp32"))


def test_a_checkpoint_trained_anew_under_the_same_path_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = weights_identity(str(save_tiny_model(tmp_path / "model", seed=1)))
    assert weights_identity(str(tmp_path / "model")) == first
    monkeypatch.chdir(tmp_path / "model")
    assert weights_identity(".") == first, "however the folder is spelled"
    assert weights_identity(str(save_tiny_model(tmp_path / "model", seed=2))) != first


@settings(deadline=None)
@given(st.permutations(range(30)), st.integers(1, 8))
def test_a_wave_is_a_function_of_the_set_of_requests(order: list[int], batch_size: int) -> None:
    loop = asyncio.new_event_loop()
    try:
        waiting = []
        for i in order:
            request = Request(prompt(i % 10), Sampling(seed=i))
            waiting.append(Waiting(request, request.key("m"), loop.create_future()))
    finally:
        loop.close()
    limits = LocalSettings(batch_size=batch_size, wave_size=10)
    chosen = [w.key for w in next_wave(waiting, limits)]
    assert chosen == [w.key for w in next_wave(sorted(waiting, key=lambda w: w.key), limits)]


class StoppedError(Exception):
    pass


def answer_all(folder: Path, journal_path: Path, stop_after: int | None = None) -> list[Completion]:
    """Twelve tasks that each ask three times, as rows of a stage do; optionally ended after some replies."""

    async def run() -> list[Completion]:
        done: list[Completion] = []
        async with Journal(journal_path) as journal:
            local = LocalSettings(dtype="fp32", batch_size=2, wave_size=4)
            model = JournaledModel(LocalModel(str(folder), local, journal.flushed), journal)

            async def row(i: int) -> None:
                text = prompt(i)
                for turn in range(3):
                    sampling = Sampling(temperature=0.7, max_tokens=4 + i, seed=turn)
                    completion = await model.complete(Request(text, sampling))
                    done.append(completion)
                    text += completion.text
                    if stop_after is not None and len(done) >= stop_after:
                        raise StoppedError

            tasks = [asyncio.create_task(row(i)) for i in range(12)]
            try:
                await asyncio.gather(*tasks)
            except StoppedError:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                await model.close()
        return done

    return asyncio.run(run())


def test_a_stopped_run_continues_with_the_same_waves_and_writes_nothing_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waves: list[list[str]] = []
    real = TransformersEngine.answer

    def recording(self: TransformersEngine, requests: list[Request], *rest: object) -> list[Completion]:
        waves.append(sorted(request.key("") for request in requests))
        return real(self, requests, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TransformersEngine, "answer", recording)
    whole = answer_all(folder, tmp_path / "whole.sqlite")
    expected, waves = waves, []
    answer_all(folder, tmp_path / "stopped.sqlite", stop_after=9)
    assert 0 < len(waves) < len(expected)
    written = len(waves)
    continued = answer_all(folder, tmp_path / "stopped.sqlite")
    assert sorted(c.text for c in continued) == sorted(c.text for c in whole)
    # The waves of the two sittings are those of the one, but for the one that the stop cut off.
    assert waves[:written] == expected[:written]
    assert [wave for wave in waves[written:] if wave not in waves[:written]] == expected[written:]
    repeated = [wave for wave in waves[written:] if wave in waves[:written]]
    assert len(repeated) <= 1


def test_an_error_of_the_engine_reaches_every_task_that_waits(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", chat=False)

    async def run() -> list[object]:
        model = LocalModel(str(folder), LocalSettings(dtype="fp32"))
        chats = [model.complete(Request((Message("user", str(i)),))) for i in range(3)]
        outcome = await asyncio.gather(*chats, return_exceptions=True)
        # The model still serves what it can.
        outcome.append(await model.complete(Request("raw", Sampling(max_tokens=1))))
        await model.close()
        return list(outcome)

    *errors, last = asyncio.run(run())
    assert all(isinstance(error, ModelError) for error in errors)
    assert isinstance(last, Completion)
