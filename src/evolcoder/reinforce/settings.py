"""How a model learns from the verdicts on its own answers. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from evolcoder.errors import check_above_zero
from evolcoder.extraction import Extraction
from evolcoder.train.settings import Precision, PromptStyle

WITHOUT_EFFECT = ("save_every", "keep", "eval_every", "eval_samples")
"""Settings that change no weight."""
PolicyLoss = Literal["grpo", "dr_grpo", "dapo"]


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What an answer earns."""

    score: Literal["all", "share"] = "all"
    """"all": 1 where every rewarded test passes, else 0; "share": the share of them that passes."""
    factors: tuple[str, ...] = ()
    """Scores of the task's row, by name, that multiply what its answers earn (WizardMath's rewards); 1 where
    a row has none."""
    format: float = 0.0
    """Added where the answer has the domain's form: for code, its program in one closed code block."""
    extract: Extraction | None = None
    """How an answer's program is found; where absent as `evaluate` finds it: by the prompt's style."""
    length_buffer: int = 0
    """The last tokens before `max_tokens` cost up to 1, rising linearly (DAPO's punishment); 0: nothing."""
    cpu_s: float = 3.0
    """CPU seconds of one test; the time that a crowded machine takes is not counted."""
    memory_bytes: int = 1 << 30
    """Memory of a program and all it starts."""

    def __post_init__(self) -> None:
        if self.length_buffer < 0 or self.cpu_s <= 0 or self.memory_bytes <= 0:
            raise ValueError("length_buffer must be at least 0, cpu_s and memory_bytes above 0")


@dataclass(frozen=True, slots=True)
class ReinforceSettings:
    """Learning from execution: GRPO (arXiv 2402.03300), rejection sampling (2308.01825), DPO (2305.18290)."""

    method: Literal["grpo", "rft", "dpo"] = "grpo"
    """"grpo": policy gradient on groups of answers; "rft": fine-tune on the answers that pass, and repeat;
    "dpo": prefer an answer that passes over one that fails."""
    steps: int = 100
    """Steps of grpo: batches of answers that are sampled, judged and learnt from."""
    rounds: int = 1
    """Rounds of rft: sampling from the model so far, then fine-tuning the first one on all that passed."""
    tasks_per_step: int = 8
    """Tasks of a step of grpo; pairs of a step of dpo."""
    group_size: int = 8
    """Answers sampled to a task."""
    loss: PolicyLoss = "dapo"
    """"grpo": mean over each answer, then over answers; "dr_grpo" (arXiv 2503.20783): no division by the
    deviation or an answer's length; "dapo" (2503.14476): mean over all tokens, the wider upper clip."""
    clip: float = 0.2
    """The ratio of new to old probability counts down to 1 - clip."""
    clip_high: float | None = None
    """And up to 1 + clip_high; where absent 0.28 for dapo, else `clip`."""
    kl: float = 0.0
    """Weight of the divergence from the first model (k3 estimator); 0 needs no reference model."""
    updates: int = 1
    """Optimizer steps on each batch of answers; the ratio is 1 in the first."""
    mask_truncated: bool = True
    """Answers cut at max_tokens teach nothing, but count in their group's mean."""
    refill: int = 3
    """How often further tasks are sampled in place of those whose answers all earn the same."""
    temperature: float = 1.0
    """Of sampling, and of the probabilities that are learnt."""
    max_tokens: int = 512
    """Most new tokens in an answer."""
    learning_rate: float = 1e-6
    """Constant, after `warmup_steps`."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    epochs: float = 1.0
    """Passes over the pairs (dpo) or over the answers that passed (rft)."""
    beta: float = 0.1
    """DPO: how far the model may move from the first one."""
    answers_kept: int = 4
    """RFT: most distinct right answers to a task; DPO: most pairs of one."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 never does."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, on matrices only."""
    dtype: Precision = "fp32"
    """Number format of the computation; master weights and optimizer are fp32."""
    lora: int | None = None
    """Rank of LoRA adapters; full fine-tuning where absent."""
    prompt_style: PromptStyle = "wizardcoder"
    """The published prompt, or the model's own chat template."""
    sample_batch: int = 64
    """Answers written side by side."""
    eval_every: int = 10
    """Steps between measurements on the held-out tasks; they are also measured before and after."""
    eval_samples: int = 1
    """Answers to each held-out task: one is greedy, several are drawn at temperature 0.2."""
    save_every: int = 10
    """Steps between checkpoints that a stopped run goes on from."""
    keep: int = 2
    """Checkpoints kept."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    """What an answer earns."""
    seed: int = 0
    """Order of the tasks and every random choice."""

    def __post_init__(self) -> None:
        check_above_zero(
            self,
            *("steps", "rounds", "tasks_per_step", "updates", "temperature", "max_tokens", "learning_rate"),
            *("epochs", "beta", "answers_kept", "sample_batch", "eval_every", "eval_samples", "save_every"),
            *("keep", "clip"),
        )
        if self.group_size < 2:
            raise ValueError(f"group_size must be at least 2 (answers are compared), found {self.group_size}")
        if min(self.kl, self.refill, self.warmup_steps, self.weight_decay, self.max_grad_norm) < 0:
            raise ValueError("kl, refill, warmup_steps, weight_decay, max_grad_norm: at least 0 is expected")

    @property
    def extraction(self) -> Extraction:
        """How a program is found; else a model learns to write what `evaluate` does not take for one."""
        from evolcoder.evaluate.styles import default_extraction

        return self.reward.extract or default_extraction(self.prompt_style)

    @property
    def clip_range(self) -> tuple[float, float]:
        """Least and greatest ratio that counts."""
        high = self.clip_high if self.clip_high is not None else 0.28 if self.loss == "dapo" else self.clip
        return 1.0 - self.clip, 1.0 + high
