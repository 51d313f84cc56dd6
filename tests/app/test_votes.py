"""A blind review: fair schedules, votes that survive, and results that read them right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolcoder.app.study import (
    BLOCK,
    CRITERIA,
    Choice,
    Contestant,
    Criterion,
    Study,
    make_study,
    read_study,
    schedule,
    studies_in,
    write_study,
)
from evolcoder.app.votes import (
    VOTES_NAME,
    Vote,
    append_vote,
    earlier_position,
    position_of,
    read_votes,
    results_of,
)
from evolcoder.errors import DataError, UserError

TASKS = {f"T/{n}": f"do {n}" for n in range(40)}


def contestant(name: str, tasks: int = 40) -> Contestant:
    return Contestant(name, {f"T/{n}": f"{name} did {n}" for n in range(tasks)})


def study_of(*names: str, tasks: int = 24, seed: int = 0) -> Study:
    return make_study("a review", TASKS, [contestant(name) for name in names], tasks, seed)


def vote_for(study: Study, reviewer: str, at: int, criterion: Criterion, winner: str | None) -> Vote:
    shown = next(shown for shown in schedule(study, reviewer) if shown.item.number == at)
    choice: Choice = "tie" if winner is None else "a" if shown.models[0] == winner else "b"
    return Vote(reviewer, at, criterion, choice, *shown.models, shown.item.task)


@given(st.text(min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=40)
def test_a_reviewer_sees_every_pair_once_with_sides_even(reviewer: str, tasks: int, seed: int) -> None:
    study = study_of("base", "round 1", "round 2", tasks=tasks, seed=seed)
    order = schedule(study, reviewer)
    assert sorted(shown.item.number for shown in order) == list(range(3 * tasks))
    assert order == schedule(study, reviewer)
    for pair in {shown.item.models for shown in order}:
        sides = Counter(shown.swapped for shown in order if shown.item.models == pair)
        assert abs(sides[True] - sides[False]) <= 1
    for shown in order:
        assert shown.answers == tuple(f"{name} did {shown.item.task[2:]}" for name in shown.models)


def test_reviewers_go_through_the_same_blocks_in_orders_of_their_own() -> None:
    study = study_of("base", "round 1", tasks=30)
    ann, bob = ([s.item.number for s in schedule(study, name)] for name in ("ann", "bob"))
    assert ann != bob
    for start in range(0, 30, BLOCK):
        assert set(ann[start : start + BLOCK]) == set(bob[start : start + BLOCK])
    swapped = [s.swapped for s in sorted(schedule(study, "ann"), key=lambda s: s.item.number)]
    assert swapped != [s.swapped for s in sorted(schedule(study, "bob"), key=lambda s: s.item.number)]


def test_equal_answers_are_passed_over_and_what_cannot_be_compared_is_told() -> None:
    a = Contestant("a", {"T/1": "same", "T/2": "one", "T/3": "x"})
    b = Contestant("b", {"T/1": " same\n", "T/2": "two"})
    assert [item.task for item in make_study("x", TASKS, [a, b], 10).items] == ["T/2"]
    with pytest.raises(UserError, match="two models or more"):
        make_study("x", TASKS, [a], 10)
    with pytest.raises(UserError, match="each once"):
        make_study("x", TASKS, [a, a], 10)
    with pytest.raises(UserError, match="no task with different answers"):
        make_study("x", TASKS, [a, Contestant("c", {"T/1": "same"})], 10)


def test_a_study_is_written_whole_and_read_back(tmp_path: Path) -> None:
    study = study_of("base", "round 1", tasks=5)
    folder = write_study(study, tmp_path)
    assert read_study(folder) == study
    assert write_study(study, tmp_path) == folder
    other = write_study(study_of("base", "round 1", tasks=5, seed=1), tmp_path)
    assert set(studies_in(tmp_path).values()) == {folder, other}
    (folder / "study.json").write_text('{"format": 1, "items": [{}]}')
    with pytest.raises(DataError, match=r"study\.json: not a review study"):
        read_study(folder)
    with pytest.raises(DataError, match=r"no review study there \(study\.json is missing\)$"):
        read_study(tmp_path / "none")


def test_a_reviewer_goes_on_where_the_last_vote_was(tmp_path: Path) -> None:
    study = study_of("base", "round 1", tasks=3)
    order = schedule(study, "ann")
    for index, shown in enumerate(order):
        for criterion in CRITERIA:
            at = position_of(study, read_votes(tmp_path).votes, "ann")
            assert (at.index, at.criterion, at.shown, at.done) == (index, criterion, shown, index)
            append_vote(tmp_path, vote_for(study, "ann", shown.item.number, criterion, "base"))
    at = position_of(study, read_votes(tmp_path).votes, "ann")
    assert at.shown is None and (at.done, at.total) == (3, 3)
    assert position_of(study, read_votes(tmp_path).votes, "bob").index == 0


def test_one_step_back_and_a_vote_changed_counts_once(tmp_path: Path) -> None:
    study = study_of("base", "round 1", tasks=2)
    first = schedule(study, "ann")[0].item.number
    assert earlier_position(study, position_of(study, (), "ann"), "ann") is None
    append_vote(tmp_path, vote_for(study, "ann", first, "correctness", "base"))
    append_vote(tmp_path, vote_for(study, "ann", first, "readability", "base"))
    now = position_of(study, read_votes(tmp_path).votes, "ann")
    before = earlier_position(study, now, "ann")
    assert before is not None and (before.index, before.criterion) == (0, "readability")
    again = earlier_position(study, before, "ann")
    assert again is not None and again.criterion == "correctness"
    append_vote(tmp_path, vote_for(study, "ann", first, "readability", "round 1"))
    votes = read_votes(tmp_path).votes
    assert len(votes) == 2 and len((tmp_path / VOTES_NAME).read_bytes().splitlines()) == 3
    rates = {c.criterion: c.rate.rate for c in results_of(study, votes).comparisons}
    assert rates == {"correctness": 1.0, "readability": 0.0}


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    study = study_of("base", "round 1", tasks=4)
    append_vote(tmp_path, vote_for(study, "ann", 0, "correctness", "base"))
    path = tmp_path / VOTES_NAME
    path.write_bytes(path.read_bytes() + b'{"reviewer": "ann", "item": 1, "crit')
    append_vote(tmp_path, vote_for(study, "ann", 2, "correctness", None))
    path.write_bytes(path.read_bytes() + b"[1]\n\n" + '{"item": "é'.encode()[:-1] + b"\n")
    found = read_votes(tmp_path)
    assert [vote.item for vote in found.votes] == [0, 2] and found.unreadable == 3


def test_votes_of_many_at_once_all_arrive(tmp_path: Path) -> None:
    study = study_of("base", "round 1", tasks=20)
    votes = [
        vote_for(study, f"r{r}", item, criterion, None)
        for r in range(8)
        for item in range(20)
        for criterion in CRITERIA
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda vote: append_vote(tmp_path, vote), votes))
    found = read_votes(tmp_path)
    assert found.unreadable == 0 and set(found.votes) == set(votes)


def test_a_killed_writer_loses_no_vote_that_was_shown_as_cast(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from evolcoder.app.votes import Vote, append_vote\n"
        "for n in range(10**6):\n"
        "    append_vote(Path(sys.argv[1]), Vote('ann', n, 'correctness', 'a', 'x', 'y', 'T'))\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(30):
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    told = [last, *map(int, writer.stdout.read().split())]
    writer.wait()
    found = {vote.item for vote in read_votes(tmp_path).votes}
    assert found >= set(range(told[-1] + 1))


def test_results_do_not_depend_on_the_sides(tmp_path: Path) -> None:
    study = study_of("base", "round 1", "round 2", tasks=10)
    votes = [
        vote_for(study, reviewer, item.number, criterion, max(item.models))
        for reviewer in ("ann", "bob", "cat")
        for item in study.items
        for criterion in CRITERIA
    ]
    results = results_of(study, votes)
    assert results.reviewers == {"ann": 60, "bob": 60, "cat": 60}
    assert {(c.model, c.against): c.rate.rate for c in results.comparisons} == {
        ("base", "round 1"): 0.0,
        ("base", "round 2"): 0.0,
        ("round 1", "round 2"): 0.0,
    }
    assert all(c.rate.tasks == 10 and c.rate.losses == 30 for c in results.comparisons)
    # Everybody says "the second one": full agreement, for which chance-corrected measures are not defined.
    assert [(a.same, a.alpha, a.shared_items) for a in results.agreements] == [(1.0, None, 30)] * 2


def test_agreement_sees_a_reviewer_who_always_presses_the_same_key() -> None:
    study = study_of("base", "round 1", tasks=30)
    votes = []
    for shown in schedule(study, "ann"):
        winner = "base" if shown.item.number % 2 else "round 1"
        votes += [vote_for(study, name, shown.item.number, "correctness", winner) for name in ("ann", "bob")]
    for shown in schedule(study, "lazy"):
        votes.append(Vote("lazy", shown.item.number, "correctness", "a", *shown.models, shown.item.task))
    agreement = results_of(study, votes).agreements[0]
    kappas = {(one, other): kappa for one, other, _, kappa in agreement.pairs}
    assert kappas["ann", "bob"] == 1
    assert abs(kappas["ann", "lazy"] or 0) < 0.5
    assert agreement.fleiss is not None and agreement.fleiss < 1


def test_votes_of_another_study_do_not_count() -> None:
    study = study_of("base", "round 1", tasks=2)
    stray = [
        Vote("ann", 99, "correctness", "a", "base", "round 1", "T/1"),
        Vote("ann", 0, "correctness", "a", "base", "elsewhere", "T/1"),
    ]
    assert results_of(study, stray).comparisons == () and not results_of(study, stray).reviewers


def test_what_is_on_disk_is_plain_json_a_line(tmp_path: Path) -> None:
    begun = time.time()
    append_vote(
        tmp_path, Vote("ann \ud800 é", 1, "readability", "tie", "m", "n", "T/1", 2.5, "2026-01-01T00:00:00")
    )
    row = json.loads((tmp_path / VOTES_NAME).read_text(encoding="utf-8"))
    assert row["reviewer"] == "ann ? é" and row["choice"] == "tie" and row["seconds"] == 2.5
    assert (tmp_path / VOTES_NAME).stat().st_mtime >= begun - 1
