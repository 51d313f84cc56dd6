"""How far a judge agrees with the people of a blind review: it judges the same pairs of answers.

As in MT-Bench (arXiv 2306.05685, section 4.2), the agreement is the chance that the judge and a person who
voted on the same pair say the same, once with ties and once where neither says tie; how often two people say
the same stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolcoder.app.study import CRITERIA, Criterion, Study
from evolcoder.app.votes import Vote, cohen_kappa, results_of, vote_worth
from evolcoder.evaluate.benchmarks.judged import JudgedBenchmark
from evolcoder.evaluate.model_judge.dialogues import Dialogue
from evolcoder.evaluate.model_judge.settings import JudgeSettings
from evolcoder.evaluate.model_judge.verdicts import JudgedTurn, judged_turns
from evolcoder.models.protocol import LanguageModel
from evolcoder.progress import Bar
from evolcoder.records import Problem


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """A judge beside the people of a review, on one criterion."""

    criterion: Criterion
    votes: int
    """Votes on pairs that the judge gave a readable verdict on."""
    same: float | None
    """Share of them that say what the judge says, a tie included; None without a vote."""
    votes_without_ties: int
    """Votes where neither the person nor the judge says tie."""
    same_without_ties: float | None
    kappa: float | None
    """Cohen's, of judge and people over all votes; None where it is not defined."""
    people_same: float | None
    """Share of pairs of people's votes on one pair of answers that are the same; None without such a pair."""


async def judged_study(
    study: Study, judge: LanguageModel, settings: JudgeSettings, bar: Bar
) -> dict[int, JudgedTurn]:
    """Have the judge compare each item's answers in both orders; by item, a win is one of its first model."""
    problems = tuple(
        Problem(str(item.number), "review", item.prompt, entry_point="", tests="") for item in study.items
    )
    pairs = list(zip(problems, study.items, strict=True))
    firsts = [Dialogue(problem, 0, (item.answers[0],)) for problem, item in pairs]
    others = {problem.task_id: Dialogue(problem, 0, (item.answers[1],)) for problem, item in pairs}
    benchmark = JudgedBenchmark("review", "", problems)
    turns = await judged_turns(judge, benchmark, firsts, others, settings, bar)
    return {int(turn.task_id): turn for turn in turns}


def judge_agreement(
    study: Study, votes: Sequence[Vote], judged: Mapping[int, JudgedTurn]
) -> list[JudgeAgreement]:
    """Return how far the judge's verdicts and people's votes agree, by criterion."""
    people = {agreement.criterion: agreement for agreement in results_of(study, votes).agreements}
    first_models = {item.number: item.models[0] for item in study.items}
    found = []
    for criterion in CRITERIA:
        pairs = [
            (vote_worth(vote, first_models[vote.item]), worth)
            for vote in votes
            if vote.criterion == criterion
            and vote.item in first_models
            and (turn := judged.get(vote.item)) is not None
            and (worth := turn.worth) is not None
        ]
        decided = [(person, judge) for person, judge in pairs if 0.5 not in (person, judge)]
        found.append(
            JudgeAgreement(
                criterion=criterion,
                votes=len(pairs),
                same=_share_same(pairs),
                votes_without_ties=len(decided),
                same_without_ties=_share_same(decided),
                kappa=cohen_kappa((f"{person:g}", f"{judge:g}") for person, judge in pairs),
                people_same=people[criterion].same,
            )
        )
    return found


def _share_same(pairs: Sequence[tuple[float, float]]) -> float | None:
    return sum(person == judge for person, judge in pairs) / len(pairs) if pairs else None
