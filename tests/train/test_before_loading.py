"""What can be known to go wrong is said before any weight is loaded, by the plan and by the training."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.train.test_training import SETTINGS
from tests.train.tiny import byte_tokenizer, rows, save_tiny

from evolcoder.cli.train import training_from
from evolcoder.errors import DataError, EvolcoderError, RecipeError, TrainingError
from evolcoder.instructions import write_instructions
from evolcoder.models.local.engine import TransformersEngine
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.local.weights import load_weights
from evolcoder.models.protocol import Request
from evolcoder.progress import SilentProgress
from evolcoder.train import TrainSettings, train
from evolcoder.train.export import check_place
from evolcoder.train.plan import plan_text, plan_training


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> Any:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("evolcoder.train.trainer.load_weights", load)


def says(base: str, settings: TrainSettings, tmp_path: Path) -> str:
    """Return the one message that plan and training end with."""
    write_instructions(tmp_path / "rows.jsonl", rows())
    values = {"epochs": settings.epochs, "max_steps": settings.max_steps, "max_length": settings.max_length}
    planned = training_from({}, base, (str(tmp_path / "rows.jsonl"),), values)
    messages = []
    for run in (
        lambda: plan_training(planned, gpus=1, gpu_gb=80),
        lambda: train(base, rows(), settings, tmp_path / "out"),
    ):
        with pytest.raises(EvolcoderError) as raised:
            run()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert not list(tmp_path.glob("out*"))
    return messages[0]


def test_rows_longer_than_learned_positions(no_weights: None, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "gpt_bigcode", n_positions=128)
    message = says(base, replace(SETTINGS, max_length=512), tmp_path)
    assert "gpt_bigcode has 128 positions: max_length: 128 cuts them" in message.replace(
        "cuts it", "cuts them"
    )


def test_rows_longer_than_rotary_positions_are_noted(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", max_position_embeddings=128)
    write_instructions(tmp_path / "rows.jsonl", rows())
    plan = plan_training(training_from({}, base, (str(tmp_path / "rows.jsonl"),), {}), gpus=1, gpu_gb=80)
    assert any("the model was trained for 128" in note for note in plan.notes)


def test_tokens_without_an_embedding(no_weights: None, tmp_path: Path) -> None:
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    base = save_tiny(tmp_path / "base", vocab_size=200, **ids)
    assert "the model has embeddings for 200" in says(base, SETTINGS, tmp_path)
    with pytest.raises(EvolcoderError, match=r"a prompt holds the token .* embeddings for 200"):
        TransformersEngine(base, LocalSettings(dtype="fp32")).answer(
            [Request("Grüße ÿ\N{LATIN SMALL LETTER O}")]
        )


def test_no_step_to_take(no_weights: None, tiny: str, tmp_path: Path) -> None:
    message = says(tiny, replace(SETTINGS, max_steps=None, epochs=0.01), tmp_path)
    assert message.startswith("no step to take: epochs 0.01 of 12 rows is less than one row")


def test_a_warm_up_that_is_shortened_is_said_and_no_step_learns_nothing(tiny: str, tmp_path: Path) -> None:
    lines: list[str] = []
    settings = replace(SETTINGS, warmup_steps=30, max_steps=4)
    result = train(tiny, rows(), settings, tmp_path / "out", Noted(lines))
    assert "warm-up: 2 of 4 steps; warmup_steps 30 is more than half" in lines
    steps = json.loads((result.folder / "training.json").read_text())["steps"]
    assert [step["learning_rate"] for step in steps][:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])


class Noted:
    """Progress that keeps the notes."""

    def __init__(self, lines: list[str]) -> None:
        self.note = lines.append

    def bar(self, *arguments: Any, **options: Any) -> Any:
        from evolcoder.progress import SilentProgress

        return SilentProgress().bar(*arguments, **options)


def test_a_folder_that_cannot_be_the_output(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    for out, message in ((Path(), "holds 'notes.txt'"), (base, "holds 'chat_template.jinja'")):
        with pytest.raises(EvolcoderError, match=message):
            check_place(out, str(base), {}, overwrite=False)
        with pytest.raises(EvolcoderError, match=message):
            train(str(base), rows(), SETTINGS, out)


def test_a_base_is_not_written_over_through_a_link(tiny: str, tmp_path: Path) -> None:
    out = train(tiny, rows(), replace(SETTINGS, max_steps=1), tmp_path / "model").folder
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(EvolcoderError, match="model: holds the base; another folder is expected"):
        train(str(tmp_path / "link"), rows(), SETTINGS, out)


def test_a_tokenizer_without_end_or_padding_token(no_weights: None, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    shutil.rmtree(base)
    save_tiny(tmp_path / "base")
    tokenizer.save_pretrained(base)
    assert "no end-of-sequence token" in says(base, SETTINGS, tmp_path)


def test_the_plan_prints_the_hyperparameters_and_counts_tied_embeddings_once(tmp_path: Path) -> None:
    write_instructions(tmp_path / "rows.jsonl", rows())
    plans = [
        plan_training(
            training_from({}, save_tiny(tmp_path / name, tie_word_embeddings=tied), (), {"layers": 1}),
            gpus=1,
            gpu_gb=80,
        )
        for name, tied in (("tied", True), ("untied", False))
    ]
    assert plans[1].parameters - plans[0].parameters == 259 * 32
    assert plans[0].trainable == plans[1].trainable
    text = plan_text(plans[0])
    assert "hyperparameters: epochs 3, max_steps none, batch_size 512" in text
    assert "rows: packed, once its weights have shown" in text


def test_a_gguf_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    from evolcoder.models.local.weights import locate_weights

    try:
        whole = Path(locate_weights("embedded"))
    except EvolcoderError:
        pytest.skip("the embedded model is not installed")
    with whole.open("rb") as f:
        for size in (2_000, 3_000_000):
            f.seek(0)
            path = tmp_path / f"cut{size}.GGUF"
            path.write_bytes(f.read(size))
            with pytest.raises(EvolcoderError, match=r"cut\d+\.GGUF") as raised:
                load_weights(str(path))
            assert "\n" not in str(raised.value)


def change(base: str, **values: Any) -> None:
    """Change keys of a base's config.json."""
    path = Path(base) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights_of(base: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(Path(base) / "model.safetensors")


def write_weights(base: str, weights: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    save_file(weights, Path(base) / "model.safetensors", {"format": "pt"})


def sharded(base: str) -> list[Path]:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="20KB")
    (Path(base) / "model.safetensors").unlink(missing_ok=True)
    return sorted(Path(base).glob("model-*.safetensors"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
FILES: dict[str, tuple[Any, str]] = {
    "shard missing": (lambda base: sharded(base)[1].unlink(), "1 of . files of weights are missing"),
    "shard cut": (lambda base: cut(sharded(base)[1]), "by its header; copy or download it again"),
    "index broken": (
        lambda base: (sharded(base), (Path(base) / "model.safetensors.index.json").write_text("[]")),
        "a list of shards",
    ),
    "cut": (lambda base: cut(Path(base) / "model.safetensors"), "by its header"),
    "empty": (
        lambda base: (Path(base) / "model.safetensors").write_bytes(b""),
        "cut short inside its header",
    ),
    "pointer": (lambda base: (Path(base) / "model.safetensors").write_text(POINTER), "git lfs pull"),
    "none": (lambda base: (Path(base) / "model.safetensors").unlink(), "no weights: model.safetensors"),
    "not json": (lambda base: (Path(base) / "config.json").write_text("{"), "not a valid JSON file"),
    "unknown type": (lambda base: change(base, model_type="frobnicate"), "`frobnicate`"),
    "own code": (
        lambda base: change(base, model_type="x", auto_map={"AutoConfig": "x.Config"}),
        r"Python code of its own \(auto_map",
    ),
    "unknown number format": (lambda base: change(base, dtype="float7"), "float7"),
    "quantized": (
        lambda base: change(base, quantization_config={"quant_method": "gptq", "bits": 4}),
        r"weights are quantized \(gptq\)",
    ),
}


@pytest.mark.parametrize(("breaks", "message"), FILES.values(), ids=FILES)
def test_a_base_that_cannot_be_one_is_told_before_its_weights(
    breaks: Any, message: str, no_weights: None, tmp_path: Path
) -> None:
    base = save_tiny(tmp_path / "base")
    breaks(base)
    said = says(base, SETTINGS, tmp_path)
    assert re.search(message, said) and "\n" not in said


def test_a_class_that_is_no_causal_model_is_told_before_its_weights(no_weights: None, tmp_path: Path) -> None:
    sizes = {"vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    for config, message in (
        (transformers.BertConfig(**sizes), "BertLMHeadModel: is_decoder is false"),
        (transformers.T5Config(), "t5: transformers has no causal language model of this kind"),
    ):
        config.save_pretrained(tmp_path / "base")
        byte_tokenizer().save_pretrained(tmp_path / "base")
        assert message in says(str(tmp_path / "base"), SETTINGS, tmp_path)


def test_a_decoder_whose_configuration_does_not_say_so_is_trained(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.GPTNeoXConfig(vocab_size=259, max_position_embeddings=512, **sizes)
    assert config.is_decoder is False  # as of Pythia and every other GPT-NeoX
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    assert train(str(tmp_path / "base"), rows(), replace(SETTINGS, max_steps=1), tmp_path / "out").losses


def test_layers_and_adapters_that_cannot_be_are_told_before_weights(no_weights: None, tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "base")
    data = tmp_path / "rows.jsonl"
    write_instructions(data, rows())
    for settings in ({"layers": 4}, {"eval_rows": 12}):
        planned = training_from({}, tiny, (str(data),), settings)
        for run in (
            lambda planned=planned: plan_training(planned, gpus=1, gpu_gb=80),
            lambda planned=planned: train(tiny, rows(), planned.train, tmp_path / "out"),
        ):
            with pytest.raises(EvolcoderError, match=r"layers: the model has 3|eval_rows: 12 of 12 rows"):
                run()


IMPOSSIBLE: list[dict[str, Any]] = [
    {"seed": -1},
    {"seed": 1 << 40},
    {"learning_rate": float("inf")},
    {"learning_rate": 0.0},
    {"epochs": float("inf")},
    {"weight_decay": -0.1},
    {"weight_decay": float("nan")},
    {"max_grad_norm": float("nan")},
    {"lora_alpha": 8},
]


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=lambda values: "-".join(map(str, values)))
def test_settings_out_of_bounds_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(values))):
        training_from({}, "embedded", (), values)


def test_weights_that_are_not_all_the_model_s_are_not_filled_in_at_random(tmp_path: Path) -> None:
    whole = weights_of(save_tiny(tmp_path / "base", tie_word_embeddings=False))
    up = "model.layers.1.mlp.up_proj.weight"
    for weights, message in (
        ({k: v for k, v in whole.items() if k != up}, f"its weights lack {up} that LlamaForCausalLM has"),
        ({k: v for k, v in whole.items() if k != "lm_head.weight"}, "its weights lack lm_head.weight that"),
        ({**whole, up: whole[up][:7].clone()}, rf"{up} has the shape \(7, 32\), \(64, 32\) by the config"),
    ):
        write_weights(str(tmp_path / "base"), weights)
        with pytest.raises(EvolcoderError, match=message):
            load_weights(str(tmp_path / "base"))
    whole["model.embed_tokens.weight"][250] = math.nan  # a row that no token of the data takes
    write_weights(str(tmp_path / "base"), whole)
    with pytest.raises(TrainingError, match=r"embed_tokens.weight holds values that are no numbers"):
        train(str(tmp_path / "base"), rows(), SETTINGS, tmp_path / "out")


def test_a_model_whose_tokens_see_later_ones_is_not_trained(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama import modeling_llama

    real = modeling_llama.LlamaModel.forward

    def forward(self: Any, *arguments: Any, **options: Any) -> Any:
        out = real(self, *arguments, **options)
        out.last_hidden_state = out.last_hidden_state + out.last_hidden_state.mean(dim=1, keepdim=True)
        return out

    monkeypatch.setattr(modeling_llama.LlamaModel, "forward", forward)
    with pytest.raises(TrainingError, match="LlamaForCausalLM: tokens see those after them"):
        train(tiny, rows(), SETTINGS, tmp_path / "out")


def test_a_head_apart_from_the_embedding_is_kept_whatever_the_configuration_says(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", tie_word_embeddings=False)
    change(base, tie_word_embeddings=True)
    settings = replace(SETTINGS, max_steps=1, learning_rate=1e-12)
    result = train(base, rows(), settings, tmp_path / "out")
    ids = torch.arange(50)[None]
    with torch.no_grad():
        theirs, ours = (load_weights(m)[0](ids).logits for m in (base, str(result.folder)))
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_a_template_that_refuses_a_row_is_one_line(tmp_path: Path, no_weights: None) -> None:
    base = Path(save_tiny(tmp_path / "base"))
    chat = replace(SETTINGS, prompt_style="chat")
    for template, message in (
        ("{{ raise_exception('no such role') }}", "does not take a chat of user, assistant (no such role)"),
        ("{% for m in messages %}", "does not take a chat of user, assistant (Unexpected end of template"),
        ("{% for i in range(99999999) %}{% endfor %}", "of user, assistant (Range too big"),
        ("{{ 1 // 0 }}", "of user, assistant (integer division or modulo by zero)"),
    ):
        (base / "chat_template.jinja").write_text(template)
        with pytest.raises(DataError, match=re.escape(message)):
            train(str(base), rows(), chat, tmp_path / "out")


def test_half_a_character_is_trained_as_the_engine_reads_it(tiny: str, tmp_path: Path) -> None:
    data = [
        replace(row, instruction=row.instruction + "\ud83d", response=row.response + "\ud83d")
        for row in rows()
    ]
    asked = [replace(row, instruction=row.instruction + "?", response=row.response + "?") for row in rows()]
    settings = replace(SETTINGS, max_steps=1)
    halves, whole = (train(tiny, one, settings, tmp_path / str(k)) for k, one in enumerate((data, asked)))
    assert halves.losses == whole.losses


def test_the_end_of_a_chat_is_found_where_the_tokenizer_names_none(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base")
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    for file in Path(base).glob("*token*"):
        file.unlink()
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    tokenizer.save_pretrained(base)
    result = train(base, rows(), replace(SETTINGS, max_steps=1, prompt_style="chat"), tmp_path / "out")
    generation = json.loads((result.folder / "generation_config.json").read_text())
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in [generation["eos_token_id"]]


def test_a_second_training_of_one_output_is_refused_while_the_first_is_at_work(
    tiny: str, tmp_path: Path
) -> None:
    class Second(SilentProgress):
        said = ""

        def note(self, line: str) -> None:
            if "proof 3" in line:
                with pytest.raises(DataError) as raised:
                    train(tiny, rows(), replace(SETTINGS, seed=9), tmp_path / "out")
                self.said = str(raised.value)

    first = Second()
    train(tiny, rows(), replace(SETTINGS, max_steps=1), tmp_path / "out", first)
    assert f"another training is at work on this output (process {os.getpid()})" in first.said
    assert not (tmp_path / "out.steps").exists()


def test_an_architecture_that_no_proof_holds_for_is_refused_with_the_cause(tmp_path: Path) -> None:
    config = transformers.ReformerConfig(is_decoder=True, vocab_size=259)
    config.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    assert "reformer is not trained: its attention hashes at random" in says(
        str(tmp_path / "base"), SETTINGS, tmp_path
    )
