"""The Python API: one function for each thing that the command line does; `import evolcoder` gives them all.

Every function is synchronous, takes paths as text or `Path`, and may be called where an event loop runs
already, as in a notebook. Heavy packages are imported on the first call that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolcoder.domains import DEFAULT_DOMAIN, load_domain
from evolcoder.errors import UserError
from evolcoder.evaluate.benchmarks import load_benchmark, problem_texts
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.settings import EvaluationSettings
from evolcoder.evolve.settings import EvolveSettings
from evolcoder.execution.event_loop import run_async
from evolcoder.execution.local import THIS_MACHINE
from evolcoder.instructions import read_instructions, with_ids_apart
from evolcoder.models.endpoint.settings import EndpointSettings
from evolcoder.models.local.settings import LocalSettings
from evolcoder.models.session import ModelChoice, model_session
from evolcoder.progress import Progress, SilentProgress
from evolcoder.records import Instruction
from evolcoder.reinforce.settings import ReinforceSettings
from evolcoder.train.settings import TrainSettings

if TYPE_CHECKING:
    from evolcoder.evaluate.comparison import Comparison
    from evolcoder.evaluate.evaluation import EvaluationResult
    from evolcoder.evaluate.model_judge.judged_evaluation import JudgedResult
    from evolcoder.evaluate.score_file import FileScore
    from evolcoder.evolve.rounds import RoundSummary
    from evolcoder.extraction.code_blocks import Extraction
    from evolcoder.reinforce.tasks import Task
    from evolcoder.train.result import TrainResult


def evolve_instructions(
    seeds: str | Path | Sequence[Instruction],
    teacher: str,
    out: str | Path,
    *,
    rounds: int = 1,
    limit: int | None = None,
    settings: EvolveSettings | None = None,
    base_url: str | Sequence[str] | None = None,
    endpoint: EndpointSettings | None = None,
    local: LocalSettings | None = None,
    max_usd: float | None = None,
    max_requests: int | None = None,
    decontaminate: Sequence[str] = (),
    domain: str = "code",
    progress: Progress | None = None,
) -> list[RoundSummary]:
    """Evolve seed instructions into harder ones with a teacher model, and have it answer them.

    Args:
        seeds: "shipped", a file (docs/formats.md), a Hugging Face data set, or rows.
        teacher: A MODEL, as on the command line: "embedded", a folder, "openai:NAME".
        out: Folder for `round-R/`, `dataset.jsonl` (seeds and all rounds) and the journal.
        rounds: How often the instructions are evolved, each round from the one before.
        limit: Evolve this many of the seeds; all are in the data set.
        settings: Methods, sampling, elimination; the published ones where absent. Methods that are the
            default are the domain's.
        base_url: Address of the OpenAI-compatible server, or several that serve one model.
        endpoint: Limits, retries and prices of a teacher behind an API.
        local: Batch size and number format of a teacher in this process.
        max_usd: Stop before more than this is spent, in US dollars.
        max_requests: Stop after this many requests.
        decontaminate: Benchmarks whose copies are dropped.
        domain: The field that instructions are of: "code", or another of docs/domains.md.
        progress: Who watches; nobody where absent.

    Returns:
        What each round came to. The same call continues a stopped one and asks for nothing twice.

    Raises:
        DataError: The seeds cannot be read.
        ModelError: The teacher is no model, or a key or price is missing.
        EndpointError: The server cannot be reached; every answer so far is kept.
        BudgetExhaustedError: The budget is spent; every answer so far is kept.
    """
    from evolcoder.evolve.output_folder import take_folder
    from evolcoder.evolve.rounds import evolve_dataset

    folder = Path(out)
    rows = _rows(seeds)
    of = load_domain(domain)
    problems = problem_texts(decontaminate)
    settings = settings or EvolveSettings()
    if settings.methods == DEFAULT_DOMAIN:
        settings = replace(settings, methods=of.methods_name)
    try:
        of.answering.check(settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    choice = _choice(teacher, base_url, endpoint, local)
    source = str(seeds) if isinstance(seeds, (str, Path)) else "rows given in Python"
    take_folder(folder, source, rows, choice, settings, decontaminate, domain, of.card(settings))

    async def work() -> list[RoundSummary]:
        async with model_session(
            choice, folder / "journal.sqlite", THIS_MACHINE, max_usd=max_usd, max_requests=max_requests
        ) as model:
            return await evolve_dataset(
                rows,
                model,
                settings,
                rounds,
                folder,
                progress or SilentProgress(),
                limit=limit,
                problems=problems,
                answering=of.answering,
            )

    return run_async(work())


def train_model(
    base: str,
    data: str | Path | Sequence[Instruction],
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    held_out: str | Path | Sequence[Instruction] = (),
    progress: Progress | None = None,
) -> TrainResult:
    """Fine-tune a base model on instructions, with the loss on the responses only.

    Args:
        base: "embedded", a folder, a GGUF file, or a Hugging Face name.
        data: A file, a Hugging Face data set, or rows.
        out: Folder for the finished model, in Hugging Face's format.
        settings: Epochs, batch size, learning rate and the rest; the published ones where absent.
        held_out: Rows that the loss is measured on besides.
        progress: Who watches; nobody where absent.

    Returns:
        Where the model is and what its losses were. A stopped training goes on from its last checkpoint when
        it is called again; a finished one is returned as it is.

    Raises:
        MissingExtraError: The packages of `evolcoder[train]` are not installed.
        DataError: The data cannot be read.
        ModelError: The base is no model.
        TrainingError: A check of the training failed, or the loss is not a number.
    """
    from evolcoder.train import train

    return train(base, _rows(data), settings or TrainSettings(), Path(out), progress, _rows(held_out))


def evaluate_model(
    model: str,
    benchmark: str,
    out: str | Path,
    *,
    settings: EvaluationSettings | None = None,
    base_url: str | Sequence[str] | None = None,
    endpoint: EndpointSettings | None = None,
    local: LocalSettings | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> EvaluationResult:
    """Sample a model on a benchmark, judge its programs in the sandbox, and sum up.

    Args:
        model: A MODEL, as on the command line.
        benchmark: Its name, or a file of your own that ends in ".py".
        out: Folder for samples, verdicts, scores and the journal.
        settings: Prompt style, decoding, extraction, limits; one greedy sample a problem where absent.
        base_url: Address of the OpenAI-compatible server.
        endpoint: Limits, retries and prices of a model behind an API.
        local: Batch size and number format of a model in this process.
        progress: Who watches; nobody where absent.
        overwrite: Whether scores of another model, or by other settings, in `out` may be written over.

    Returns:
        pass@k with its interval, and the verdicts by problem.

    Raises:
        UserError: The benchmark, style or oracle is not known, or `out` holds other scores.
        ModelError: The model cannot be opened.
        SandboxError: This machine cannot run programs safely.
    """
    from evolcoder.evaluate import evaluation

    folder = Path(out)

    async def work() -> EvaluationResult:
        choice = _choice(model, base_url, endpoint, local)
        async with model_session(choice, folder / "journal.sqlite", THIS_MACHINE) as opened:
            return await evaluation.evaluate_model(
                opened, benchmark, settings or EvaluationSettings(), folder, progress, overwrite=overwrite
            )

    return run_async(work())


def evaluate_judged(
    model: str,
    benchmark: str,
    judge: JudgeSettings,
    out: str | Path,
    *,
    settings: EvaluationSettings | None = None,
    base_url: str | Sequence[str] | None = None,
    endpoint: EndpointSettings | None = None,
    local: LocalSettings | None = None,
    max_usd: float | None = None,
    max_requests: int | None = None,
    progress: Progress | None = None,
) -> JudgedResult:
    """Have a model answer instructions and another one judge the answers.

    Args:
        model: A MODEL, as on the command line.
        benchmark: "wizardlm", "mt-bench", or a file of instructions (docs/judged.md).
        judge: The MODEL that judges, and what the answers are set beside.
        out: Folder for answers, verdicts, scores and the journal.
        settings: Prompt style, decoding, limits; the model's chat template and greedy where absent.
        base_url: Address of the OpenAI-compatible server of the model.
        endpoint: Limits, retries and prices of a model behind an API; the judge has its own.
        local: Batch size and number format of a model in this process.
        max_usd: Stop before more is spent, over all sittings in `out`.
        max_requests: Stop after this many requests, over all sittings in `out`.
        progress: Who watches; nobody where absent.

    Returns:
        Ratings or win rates with their intervals, in all and by part.

    Raises:
        UserError: The benchmark is not one that a model judges, or the style has no place here.
        DataError: A file of answers cannot be read, or none of the judge's verdicts can.
        ModelError: A model cannot be opened.
        BudgetExhaustedError: A limit is reached; what was answered is kept.
    """
    from evolcoder.evaluate.model_judge import judged_evaluation

    folder = Path(out)
    context = judged_evaluation.EvaluationContext(
        folder / "journal.sqlite", THIS_MACHINE, progress or SilentProgress(), max_usd, max_requests
    )
    choice = _choice(model, base_url, endpoint, local)
    how = settings or EvaluationSettings(style="chat")
    return run_async(judged_evaluation.evaluate_judged(choice, benchmark, how, judge, folder, context))


def score_samples(
    samples: str | Path,
    benchmark: str,
    *,
    extract: Extraction | None = None,
    oracle: str | None = None,
    ks: Sequence[int] = (1, 10, 100),
    workers: int | None = None,
    use_cache: bool = True,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> FileScore:
    """Judge a file of samples, of any tool, against a benchmark, in the sandbox.

    Args:
        samples: A JSONL file (compressed or not), or a folder of them.
        benchmark: Its name, or a file of your own that ends in ".py".
        extract: How the program is found in a model's text: "none", "wizardcoder", "fence" ("first"),
            "last" or "auto"; where absent, "auto" for chat answers, else "none".
        oracle: How values are compared; the benchmark's own where absent.
        ks: pass@k for each of these, where there are samples enough.
        workers: Programs judged at once; one a core where absent.
        use_cache: Take verdicts that are known from the cache, and put new ones there.
        out: File for the verdicts, as JSONL.
        progress: Who watches; nobody where absent.

    Returns:
        pass@k with its interval, and the verdicts by problem.

    Raises:
        DataError: The file cannot be read, or has bad rows.
        UserError: The benchmark or the oracle is not known.
        SandboxError: This machine cannot run programs safely.
    """
    from evolcoder.evaluate.score_file import ScoreRequest, score_file
    from evolcoder.evaluate.scoring import ScoringSettings

    request = ScoreRequest(
        Path(samples),
        extract,
        settings=ScoringSettings(oracle=oracle),
        ks=ks,
        workers=workers,
        use_cache=use_cache,
        out=None if out is None else Path(out),
    )
    return score_file(request, load_benchmark(benchmark), progress or SilentProgress())


def compare_samples(
    a: str | Path,
    b: str | Path,
    benchmark: str | None = None,
    *,
    extract: Extraction | None = None,
    oracle: str | None = None,
    workers: int | None = None,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two files problem by problem, with an exact paired test.

    Args:
        a: A file of verdicts (`score_samples(..., out=FILE)`), or of samples.
        b: The other one.
        benchmark: What samples are judged on; not needed for verdicts.
        extract: As for `score_samples`, for files of samples.
        oracle: As for `score_samples`.
        workers: As for `score_samples`.
        use_cache: As for `score_samples`.
        progress: Who watches; nobody where absent.

    Returns:
        Both pass rates on the problems that both files have, their difference and its interval, and which
        problems only one of them passes.

    Raises:
        DataError: A file cannot be read.
        UserError: A file of samples without a benchmark, or no problem in common.
    """
    from evolcoder.evaluate.comparison import compare, with_ids_of
    from evolcoder.evaluate.verdict_files import carried_suites, read_verdicts

    judged_by = None if benchmark is None else load_benchmark(benchmark)

    def verdicts(path: Path) -> tuple[Mapping[str, Sequence[float]], str]:
        carried = read_verdicts(path, judged_by)
        if carried is not None:
            suites = carried_suites(path, judged_by)
            return carried, "verdicts that the file carries" + (f", of the {suites} tests" if suites else "")
        if benchmark is None or judged_by is None:
            raise UserError(f"{path}: a sample file, not verdicts; --benchmark NAME is needed to judge it")
        scored = score_samples(
            path,
            benchmark,
            extract=extract,
            oracle=oracle,
            ks=(1,),
            workers=workers,
            use_cache=use_cache,
            progress=progress,
        )
        named = scored.scores[0].settings
        how = f"oracle {named['oracle']}, extract {named['extract']}"
        return scored.passed, f"judged by {judged_by.title}, {how}"

    (of_a, said_a), (of_b, said_b) = verdicts(Path(a)), verdicts(Path(b))
    comparison = compare(of_a, with_ids_of(of_a, of_b), judged_by.families if judged_by else None)
    if comparison.n_problems == 0:
        raise UserError(f"{a} and {b} have no problem in common")
    total = None if judged_by is None else len(judged_by.problems)
    subset_of = total if total is not None and comparison.n_problems < total else None
    return replace(comparison, verdicts_a=said_a, verdicts_b=said_b, subset_of=subset_of)


def run_recipe(
    recipe: str | Path,
    folder: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a whole recipe, or continue it: evolve, fine-tune, measure, until the score stops rising.

    Args:
        recipe: A recipe's file, or the name of a shipped one ("quickstart").
        folder: The run's folder; `runs/NAME` where absent.
        overrides: Changed settings, as "section.key=value".
        progress: Who watches; nobody where absent.

    Returns:
        What the run's `result.json` holds: scores by round, the best round, why it stopped.

    Raises:
        RecipeError: The recipe is missing or has mistakes; all of them are named.
        UserError: Another process works on the same folder.
        EvolcoderError: A stage failed; what is finished is kept, and the same call continues.
    """
    from evolcoder import loop
    from evolcoder.recipe import load_recipe

    checked = load_recipe(Path(recipe), overrides)
    run = Path("runs") / checked.name if folder is None else Path(folder)
    line = loop.shell_line("run", recipe, {"--set": overrides}, run)
    return loop.run_recipe(checked, run, progress or SilentProgress(), line)


def reinforce_model(
    model: str,
    tasks: str | Path | Sequence[Task],
    out: str | Path,
    *,
    settings: ReinforceSettings | None = None,
    held_out: str | Path | Sequence[Task] = (),
    decontaminate: Sequence[str] | None = None,
    domain: str = "code",
    progress: Progress | None = None,
) -> TrainResult:
    """Train a model on whether its own programs work: the sandbox is the reward.

    Args:
        model: A MODEL in this process: "embedded", a folder, a GGUF file, a Hugging Face name.
        tasks: A file of instructions with tests, "benchmark:mbpp:train", or tasks.
        out: Folder for the finished model.
        settings: Method (grpo, rft, dpo), loss, group size, reward.
        held_out: Tasks that are only measured, before, meanwhile and after.
        decontaminate: Benchmarks whose copies among the tasks are left out; the domain's where absent (for
            code "humaneval" and "mbpp:test").
        domain: The field that tasks are of: "code", or another of docs/domains.md.
        progress: Is told what is done.

    Returns:
        The folder, and the loss of each step; the curves stand in the folder's `training.json`.

    Raises:
        EvolcoderError: No task can be used, the machine cannot run programs safely, the loss is no number.
    """
    from evolcoder.reinforce.run import reinforce
    from evolcoder.reinforce.tasks import read_tasks

    of = load_domain(domain)
    chosen = read_tasks(tasks, forms=of.tasks, progress=progress) if isinstance(tasks, (str, Path)) else tasks
    measured = read_tasks(held_out, forms=of.tasks) if isinstance(held_out, (str, Path)) else held_out
    return reinforce(
        model,
        chosen,
        settings or ReinforceSettings(),
        Path(out),
        held_out=measured,
        decontaminate=of.reported if decontaminate is None else decontaminate,
        compared=of.answering.compared,
        progress=progress,
    )


def _choice(
    model: str,
    base_url: str | Sequence[str] | None,
    endpoint: EndpointSettings | None,
    local: LocalSettings | None,
) -> ModelChoice:
    urls = base_url if base_url is None or isinstance(base_url, str) else tuple(base_url)
    return ModelChoice(model, urls, endpoint or EndpointSettings(), local or LocalSettings())


def _rows(source: str | Path | Sequence[Instruction]) -> Sequence[Instruction]:
    """Return rows as they are, or read them from where `source` says."""
    return read_instructions(source) if isinstance(source, (str, Path)) else list(with_ids_apart(source))
