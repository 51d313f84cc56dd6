"""A model as a GGUF file for llama.cpp and Ollama, with an Ollama Modelfile beside it.

llama.cpp's own converter does the work where it is installed (`convert_hf_to_gguf.py` on the PATH). Without
it, the architectures that are Llama but for names and biases are written here: the same tensors under GGUF's
names, the tokenizer with its merges, the chat template. The file is read back, and its tokenizer must give
the same tokens. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from evolcoder.errors import DataError, MissingExtraError, ModelError
from evolcoder.instruction_prompt import instruction_prompt
from evolcoder.models.local.attention_reach import attention_windows
from evolcoder.models.local.decoding import end_tokens
from evolcoder.models.local.weights import load_tokenizer, load_weights, position_factors, quiet_library
from evolcoder.output_files import begins_with, output_file
from evolcoder.runs import write_text_whole
from evolcoder.train.chat_templates import published_template
from evolcoder.train.tokenization import opening_tokens

Quantization = Literal["none", "q8_0", "q4_k_m"]
# transformers' model types and GGUF's architectures.
_OWN_NAMES = {name: name for name in ("qwen2", "qwen3", "starcoder2")}
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", **_OWN_NAMES}
_ACTIVATIONS = {"starcoder2": ("gelu_pytorch_tanh", "gelu_new")}
"""What GGUF's architectures compute with, where it is not silu: the file has no word for it."""
_PROBES = (
    "def add(a, b):\n    return a + b  # 1234 + 56.7",
    "It's 2,048 lines; <tag> «Größe» \t\t\n\n  done.",
    "class A:\r\n    x = {'k': [1, 22, 333]}\n",
)


def export_gguf(model: str, out: Path, quantize: Quantization = "none", overwrite: bool = False) -> Path:
    """Write `model` as the GGUF file `out` (fp16, or quantized) and a Modelfile beside it; return `out`.

    Raises DataError where another kind of file, or another model's Modelfile, stands there, ModelError for an
    architecture or a tokenizer that needs llama.cpp's converter, and for q4_k_m without its llama-quantize.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("writing GGUF", "local") from error
    if quantize == "q4_k_m" and shutil.which("llama-quantize") is None:
        raise ModelError("q4_k_m needs llama.cpp's llama-quantize on the PATH; q8_0 does not")
    if out.resolve() == Path(model).resolve():
        raise DataError(f"{out}: another file is expected for the model as GGUF; nothing was changed")
    modelfile_path, begin = out.with_name("Modelfile"), f"FROM ./{out.name}\n".encode()
    with (
        output_file(out, begins_with(b"GGUF"), overwrite=overwrite),
        output_file(modelfile_path, begins_with(begin), overwrite=overwrite),
    ):
        _export(gguf, model, out, quantize)
    return out


def _export(gguf: Any, model: str, out: Path, quantize: Quantization) -> None:
    weights, tokenizer = load_weights(model, "fp32")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial.gguf")
    try:
        converter = shutil.which("convert_hf_to_gguf.py")
        if converter is not None:
            _by_converter(converter, weights, tokenizer, partial, quantize)
        else:
            _write(gguf, weights, tokenizer, partial, quantize == "q8_0", out.stem)
        if quantize == "q4_k_m":
            _quantize(partial)
        _check_tokenizer(tokenizer, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    write_text_whole(out.with_name("Modelfile"), modelfile(out.name, weights, tokenizer))


def modelfile(file: str, model: Any, tokenizer: Any) -> str:
    """Return an Ollama Modelfile: the prompt that the model was trained on, and what ends an answer."""
    stops = sorted(tokenizer.convert_ids_to_tokens(sorted(end_tokens(model, tokenizer))))
    published = published_template("wizardcoder", tokenizer.decode(opening_tokens(tokenizer)))
    template = ""
    if tokenizer.chat_template == published:
        before, _, after = instruction_prompt("\0").partition("\0")
        prompt = f"{before}{{{{ if .System }}}}{{{{ .System }}}}\n\n{{{{ end }}}}{{{{ .Prompt }}}}{after}"
        template = f'TEMPLATE """{prompt}{{{{ .Response }}}}"""\n'
        stops.append("### Instruction:")
    elif tokenizer.chat_template and "<|im_start|>" in tokenizer.chat_template:
        template = (
            'TEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}'
            '<|im_start|>assistant\n"""\n'
        )
    stop_lines = "".join(f'PARAMETER stop "{stop}"\n' for stop in stops)
    return f"FROM ./{file}\n{template}PARAMETER temperature 0\n{stop_lines}"


def _by_converter(converter: str, model: Any, tokenizer: Any, out: Path, quantize: Quantization) -> None:
    """Have llama.cpp's converter write the file from a plain folder."""
    with tempfile.TemporaryDirectory(prefix="evolcoder-") as folder, quiet_library():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        kind = "q8_0" if quantize == "q8_0" else "f16"
        command = [sys.executable, converter, folder, "--outfile", str(out), "--outtype", kind]
        _run(converter, command, out)


def _quantize(file: Path) -> None:
    quantized = file.with_name(f"{file.name}.q4")
    try:
        _run("llama-quantize", ["llama-quantize", str(file), str(quantized), "Q4_K_M"], quantized)
        quantized.replace(file)
    finally:
        quantized.unlink(missing_ok=True)


def _run(name: str, command: list[str], out: Path) -> None:
    """Run a program of llama.cpp's that writes `out`; raises ModelError with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not out.exists():
        lines = done.stderr.strip().splitlines()
        raise ModelError(f"{name} failed: {lines[-1][:300] if lines else 'it said nothing'}")


def _write(gguf: Any, model: Any, tokenizer: Any, out: Path, eight_bit: bool, name: str) -> None:
    config = model.config
    architecture = _ARCHITECTURES.get(config.model_type)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    scaling = rope.get("rope_type", "default")
    window = min((w for w in attention_windows(config).values() if w), default=config.max_position_embeddings)
    activation, known = getattr(config, "hidden_act", ""), _ACTIVATIONS.get(config.model_type, ("silu",))
    for told, right in (
        (f"{config.model_type}: this architecture", architecture is not None),
        (f"its scaling of positions ({scaling})", scaling in ("default", "linear", "llama3")),
        (f"its window of attention ({window})", window >= config.max_position_embeddings),
        (f"its activation ({activation})", activation in known),
    ):
        if not right:
            raise ModelError(
                f"{told} is written by llama.cpp's converter only: put convert_hf_to_gguf.py on the PATH "
                f"(without it: {', '.join(_ARCHITECTURES)} without windows)"
            )
    assert architecture is not None
    writer = gguf.GGUFWriter(out, architecture)
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if eight_bit else gguf.LlamaFileType.MOSTLY_F16)
    _write_tokenizer(gguf, writer, model, tokenizer)
    _write_tensors(gguf, writer, architecture, model, eight_bit)
    if scaling == "llama3":
        writer.add_tensor("rope_freqs.weight", position_factors(config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(gguf: Any, writer: Any, model: Any, tokenizer: Any) -> None:
    config = model.config
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    if core["model"]["type"] != "BPE" or core["model"].get("byte_fallback"):
        raise ModelError(
            f"{type(tokenizer).__name__}: only byte-level BPE is written here; for SentencePiece put "
            "llama.cpp's convert_hf_to_gguf.py on the PATH"
        )
    by_id = {id_: token for token, id_ in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    types = []
    for id_ in range(config.vocab_size):
        kind = gguf.TokenType.NORMAL if id_ in by_id else gguf.TokenType.UNUSED
        if id_ in added:
            kind = gguf.TokenType.CONTROL if added[id_].special else gguf.TokenType.USER_DEFINED
        types.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split_name(core.get("pre_tokenizer")))
    writer.add_token_list([by_id.get(id_, f"[UNUSED{id_}]") for id_ in range(config.vocab_size)])
    writer.add_token_types(types)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in core["model"]["merges"]]
    writer.add_token_merges(merges)
    # GGUF holds one end token, and beside it the end of a turn and of a message.
    ends = [*sorted(end_tokens(model, tokenizer) - {tokenizer.eos_token_id}), None, None]
    named: dict[str, int | None] = {"eot": ends[0], "eom": ends[1]}
    named |= {kind: getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad", "unk")}
    for kind, token in named.items():
        if token is not None:
            getattr(writer, f"add_{kind}_token_id")(token)
    writer.add_add_bos_token(bool(opening_tokens(tokenizer)))
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _split_name(pre_tokenizer: Any) -> str:
    """Return GGUF's name of the way in which text is split before the merges."""
    text = repr(pre_tokenizer)
    if "一-龥" in text or "\\u4e00-\\u9fa5" in text:
        return "deepseek-coder"
    if "'Digits'" in text:
        return "smollm"
    if "{1,3}" in text:
        return "llama-bpe"
    return "qwen2" if "(?i:" in text else "gpt-2"


def _write_tensors(gguf: Any, writer: Any, architecture: str, model: Any, eight_bit: bool) -> None:
    import numpy as np

    config = model.config
    kind = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    tied = config.tie_word_embeddings
    eight = gguf.GGMLQuantizationType.Q8_0
    for name, parameter in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ModelError(f"{config.model_type}: GGUF has no name for the tensor {name}")
        values = parameter.detach().float().cpu().numpy()
        if architecture == "llama" and ".q_proj." in name:
            values = _interleaved(values, config.num_attention_heads)
        if architecture == "llama" and ".k_proj." in name:
            values = _interleaved(values, config.num_key_value_heads)
        if values.ndim < 2:
            writer.add_tensor(target, values)
        elif eight_bit and values.shape[-1] % 32 == 0:
            writer.add_tensor(target, gguf.quants.quantize(values, eight), raw_dtype=eight)
        else:
            writer.add_tensor(target, values.astype(np.float16))


def _interleaved(values: Any, n_heads: int) -> Any:
    """Return the rows of a query or key matrix in ggml's order: the two halves of a rotation side by side."""
    half = values.shape[0] // n_heads // 2
    return values.reshape(n_heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _check_tokenizer(tokenizer: Any, file: Path) -> None:
    """Raise ModelError where the tokenizer that is read back from the file gives other tokens."""
    again = load_tokenizer(str(file))
    for text in _PROBES:
        ours, theirs = (t(text, add_special_tokens=False).input_ids for t in (tokenizer, again))
        if ours != theirs:
            raise ModelError(
                f"the tokenizer read back from GGUF splits {text!r} otherwise: its way of splitting has no "
                "name here; llama.cpp's convert_hf_to_gguf.py on the PATH may know it"
            )
