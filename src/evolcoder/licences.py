"""Licences of what data and models are made of, as far as they are known, and what follows from them.

This is a record of facts, not legal advice. What is not known is called not known, never assumed free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EMBEDDED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The model that the name "embedded" stands for."""
UNKNOWN_LICENCE = "NOASSERTION"
"""SPDX's word for a licence that nobody states."""
_BY_DEMANDS = (
    *("cc0-1.0", "mit", "bsd-3-clause", "apache-2.0", "odc-by", "cc-by-4.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
)
"""Hub identifiers, each asking at least as much of a user as the one before it."""
_NON_COMMERCIAL = re.compile(r"(^|-)nc(-|$)")
# Model families by a part of their name, as their cards stated at the time of writing; the first counts.
_MODEL_LICENCES = {
    "smollm2-": "apache-2.0",
    "qwen2.5-coder-3b": "qwen-research",
    "qwen2.5-coder-": "apache-2.0",
    "bigcode/starcoder": "bigcode-openrail-m",
    "codellama": "llama2",
    "deepseek-coder-": "deepseek",
}
_VENDORS = {"gpt-": "OpenAI", "claude": "Anthropic", "gemini": "Google"}
_VENDOR_NOTE = (
    "its provider's terms ({vendor}) forbade at the time of writing to train competing models on its "
    "answers; read the present ones."
)
# Seed sets by a part of their name. Code Alpaca: DATA_LICENSE of its repository (the card of the hub's copy
# says cc-by-4.0; the stricter one counts). evol-teacher: LICENSE of its repository. Others: their cards on
# the hub, 2023 to 2025.
_SEED_LICENCES = {
    "code_alpaca": "cc-by-nc-4.0",
    "codealpaca-20k": "cc-by-nc-4.0",
    "converted_alpaca_2k": "apache-2.0",
    "evol-codealpaca-2k": "apache-2.0",
    "evol-codealpaca-v1": "apache-2.0",
    "evol-instruct-code-80k": "cc-by-nc-sa-4.0",
    "magicoder-oss-instruct-75k": "mit",
    "magicoder-evol-instruct-110k": "apache-2.0",
    "self-oss-instruct-sc2-exec-filter-50k": "odc-by",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that a data set or a model was made from."""

    role: str
    """"seeds", "teacher" or "base model"."""
    name: str
    licence: str
    """Hub identifier in lower case; "" where it is not known."""
    note: str = ""


def hub_licence(spdx: str) -> str:
    """Return the hub identifier of a licence that a row names in SPDX's words; "" where nobody says."""
    return "" if spdx == UNKNOWN_LICENCE else spdx.lower()


def resulting_licence(chain: Sequence[Link]) -> str:
    """Return the hub identifier of the most demanding licence; "other" where one is not known or special."""
    if not all(link.licence in _BY_DEMANDS for link in chain):
        return "other"
    return max((link.licence for link in chain), key=_BY_DEMANDS.index, default="other")


def restrictions(chain: Sequence[Link]) -> list[str]:
    """Return, one sentence each, the uses that a link of the chain forbids or leaves open."""
    found = []
    for link in chain:
        named = f"{link.role} ({link.name})"
        if _NON_COMMERCIAL.search(link.licence):
            found.append(f"No commercial use: the licence of the {named} is {link.licence}.")
        elif not link.licence:
            reason = link.note or "look it up before you share what was made from it."
            found.append(f"The licence of the {named} is not known here: {reason}")
        elif link.licence not in _BY_DEMANDS:
            found.append(f"The {named} has terms of its own ({link.licence}); they apply here.")
    return found


def model_name(model: str) -> str:
    """Return the name a reader can look up: the hub name behind "embedded", the last part of a path."""
    if model == "embedded":
        return EMBEDDED_MODEL
    path = Path(model)
    return path.name if path.is_absolute() or path.suffix == ".gguf" or model.startswith(".") else model


def model_link(role: str, model: str) -> Link:
    """Return the link of a MODEL: a known family's licence, or what a local model's own card states."""
    name = model_name(model.removeprefix("openai:"))
    licence = _of_part(_MODEL_LICENCES, name)
    if not licence and (vendor := _of_part(_VENDORS, name)):
        return Link(role, name, "", _VENDOR_NOTE.format(vendor=vendor))
    if not licence and model.startswith("openai:"):
        note = "its provider's terms say what its answers may be used for, such as training other models."
        return Link(role, name, "", note)
    if name.endswith(".gguf"):
        return Link(role, name, licence, "as its file name tells")
    return Link(role, name, licence or _stated_in_card(Path(model) / "README.md"))


def seed_link(source: str) -> Link:
    """Return the link of a seed set by its name: a file, a hub name, or one of the package ("shipped...")."""
    if source.partition(":")[0] == "shipped":
        return Link("seeds", "evolcoder's own seeds", "apache-2.0")
    return Link("seeds", model_name(source), _of_part(_SEED_LICENCES, source))


def _of_part(known: Mapping[str, str], name: str) -> str:
    """Return the value of the first key that is a part of a name, in any case; "" where none is."""
    return next((value for part, value in known.items() if part in name.lower()), "")


def _stated_in_card(card: Path) -> str:
    """Return the `license` that the front matter of a local model's card states; "" without one."""
    import yaml

    if not card.is_file():
        return ""
    match = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return ""
    return str(header.get("license") or "").lower() if isinstance(header, dict) else ""
