"""Cards as the Hugging Face hub reads them: front matter with `model-index`, and the text below it.

The card inside every checkpoint and the card of a run's best model are both made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evolcoder.licences import Link, restrictions, resulting_licence

_TAGS = ("evol-instruct", "evolcoder")
_ROWS_LIMITS = (
    "Rows that another model evolved or answered are that model's text and were not checked by people."
)


@dataclass(frozen=True, slots=True)
class CardWords:
    """What cards say of a field of instructions, noted with what was made; the defaults hold for any."""

    rows: str = "instructions"
    """What a data set holds: "coding instructions"."""
    method: str = "Evol-Instruct"
    """How they were evolved, and whose method it is."""
    tags: tuple[str, ...] = ()
    """The field as the hub tags it, before the tags of every card."""
    limits: str = "The model's answers may be wrong; a program among them, unsafe: run it in a sandbox."

    @classmethod
    def noted(cls, data: Any) -> CardWords:
        """Return the words that a file notes, the default of each that it lacks."""
        found = data if isinstance(data, Mapping) else {}
        texts = {name: str(found[name]) for name in ("rows", "method", "limits") if name in found}
        return cls(**texts, tags=tuple(map(str, found.get("tags") or ())))

    def all_tags(self, *more: str) -> list[str]:
        """Return the tags of a card."""
        return [*self.tags, *_TAGS, *more]


ANY_FIELD = CardWords()


@dataclass(frozen=True, slots=True)
class CardScore:
    """A model's score on one benchmark; shares of 1."""

    benchmark: str
    dataset: str
    """The hub's data set behind the benchmark, for `model-index`; its name where the hub has none."""
    value: float
    low: float
    high: float
    n_problems: int
    subset: bool
    """Whether the problems are only a part of the benchmark; said wherever the score stands."""
    base: float | None = None
    """The base model's score, where it was measured."""
    measure: str = "pass@1"
    """What the value is; what a judge's verdicts come to is no pass@1."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model's card says."""

    name: str
    summary: str
    """The opening sentences."""
    chain: tuple[Link, ...]
    """What the model was made from; one link has the role "base model"."""
    words: CardWords = ANY_FIELD
    training: Mapping[str, Any] = field(default_factory=dict)
    """The checkpoint's `training.json`."""
    data: tuple[str, ...] = ()
    """Markdown lines on the data."""
    scores: tuple[CardScore, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences below the scores: what part of a benchmark, how the model was chosen."""


def model_card_text(card: ModelCard) -> str:
    """Return the whole card."""
    base = next(link for link in card.chain if link.role == "base model")
    header: dict[str, Any] = {
        "license": resulting_licence(card.chain),
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": card.words.all_tags(),
    }
    if base.name.count("/") == 1:
        header |= {"base_model": base.name, "base_model_relation": "finetune"}
    if card.scores:
        header["model-index"] = [{"name": card.name, "results": [_index_entry(s) for s in card.scores]}]
    lines = [f"# {card.name}", "", *restriction_lines(card.chain), card.summary, ""]
    if card.scores:
        lines += ["## Scores", "", "| benchmark | base | this model | 95% interval | problems | measure |"]
        lines += ["|---|---|---|---|---|---|", *map(_score_row, card.scores), ""]
    lines += [f"{sentence}\n" for sentence in card.notes]
    if card.training:
        lines += ["## Training", "", "| setting | value |", "|---|---|", *_training_rows(card.training), ""]
    lines += ["## Data", "", *card.data, "", *chain_lines(card.chain), ""]
    lines += ["## Limits", "", f"{card.words.limits} {_ROWS_LIMITS}"]
    return with_header(header, lines)


def with_header(header: Mapping[str, Any], lines: Sequence[str]) -> str:
    """Return a card: its front matter, then the lines."""
    import yaml

    front = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def restriction_lines(chain: Sequence[Link]) -> list[str]:
    """Return what a reader must know before any use, as a quotation; nothing where all is permissive."""
    found = restrictions(chain)
    return [*(f"> **{sentence}**\n>" for sentence in found), ""] if found else []


def chain_lines(chain: Sequence[Link]) -> list[str]:
    """Return the table of what something was made from."""
    rows = [
        f"| {link.role} | {link.name} | {link.licence or 'not known'} | {link.note if link.licence else ''} |"
        for link in chain
    ]
    return ["## Licences", "", "| made from | name | licence | |", "|---|---|---|---|", *rows]


def size_category(rows: int) -> str:
    """Return the hub's bucket for a number of rows."""
    if rows < 1000:
        return "n<1K"
    for low, high, limit in (("1K", "10K", 1e4), ("10K", "100K", 1e5), ("100K", "1M", 1e6)):
        if rows < limit:
            return f"{low}<n<{high}"
    return "1M<n<10M"


def _index_entry(score: CardScore) -> dict[str, Any]:
    """One result of `model-index`; the hub shows it without the card, so its name tells of a subset."""
    part = f" ({score.n_problems} problems, a subset)" if score.subset else ""
    value = round(100 * score.value, 2)
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {"type": score.dataset, "name": score.benchmark + part},
        "metrics": [{"type": score.measure, "name": score.measure, "value": value, "verified": False}],
    }


def _score_row(score: CardScore) -> str:
    base = "–" if score.base is None else f"{100 * score.base:.1f}"
    interval = f"{100 * score.low:.1f} to {100 * score.high:.1f}"
    told = (score.benchmark, base, f"{100 * score.value:.1f}", interval, score.n_problems, score.measure)
    return f"| {' | '.join(map(str, told))} |"


def _training_rows(facts: Mapping[str, Any]) -> list[str]:
    """Return the rows of the training table for whatever `training.json` holds."""
    settings, losses = facts.get("settings") or {}, facts.get("losses") or []
    learning = (facts.get("reinforce") or {}).get("settings")
    if learning and learning["method"] == "rft":  # what came last is a fine-tuning, told as one
        learning = None
    rows: list[tuple[str, Any]] = [("tasks" if learning else "rows", _counted(facts.get("rows")))]
    rows.append(("steps", len(losses) or None))
    if learning:
        rows += [
            ("method", f"GRPO, loss {learning['loss']}" if learning["method"] == "grpo" else "DPO"),
            ("answers to a task", f"{learning['group_size']:,}"),
            ("learning rate", f"{learning['learning_rate']:g}"),
            ("number format", learning["dtype"]),
            ("prompt", learning["prompt_style"]),
        ]
    elif settings:
        tokens = settings["batch_tokens"]
        method = f"LoRA, rank {settings['lora']}" if settings["lora"] else "full fine-tuning"
        if settings.get("layers"):
            method = f"the last {settings['layers']} layers"
        rows += [
            ("batch", f"{tokens:,} tokens" if tokens else f"{settings['batch_size']:,} sequences"),
            ("learning rate", f"{settings['learning_rate']:g}, {settings['schedule']}"),
            ("warm-up", f"{settings['warmup_steps']} steps"),
            ("longest sequence", f"{settings['max_length']:,} tokens"),
            ("number format", settings["dtype"]),
            ("method", method + (", 4-bit base" if settings["quantize"] == "4bit" else "")),
            ("prompt, also the tokenizer's chat template", settings["prompt_style"]),
        ]
    rows.append(("tokens", _counted(facts.get("tokens"))))
    if losses:
        rows.append(("loss, first and last step", f"{losses[0]:.3f}, {losses[-1]:.3f}"))
    if evaluations := facts.get("evaluations"):
        before, after = evaluations[0]["loss"], evaluations[-1]["loss"]
        rows.append(("held-out loss, before and after", f"{before:.3f}, {after:.3f}"))
    return [f"| {name} | {value} |" for name, value in rows if value is not None]


def _counted(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None
