import html
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evolve.contamination import find_contamination

from evolcoder.evolve.contamination_report import (
    ContaminationScreen,
    decontaminate,
    measures_of,
    write_contamination_report,
)
from evolcoder.evolve.elimination import Elimination
from evolcoder.evolve.evolve_one import EvolvedRow, RowUsage
from evolcoder.evolve.row_files import RowFile
from evolcoder.execution.local import LocalEngine
from evolcoder.progress import SilentProgress
from evolcoder.records import Instruction, Lineage, ProblemText

PROBLEM = ProblemText(
    "bench",
    "Bench/1",
    '''def tallest_stack(boxes, limit):
    """Given boxes as (width, height), stack them so that each is strictly narrower than the one below.
    Return the greatest height that stays within the limit, or zero when no box fits.
    >>> tallest_stack([(3, 4), (2, 5)], 9)
    9
    """
''',
    """\
    best = 0
    boxes = sorted(boxes, reverse=True)
    heights = {0: limit + 1}
    for width, height in boxes:
        for total, last in list(heights.items()):
            if width < last and total + height <= limit:
                heights[total + height] = max(width, heights.get(total + height, 0))
                best = max(best, total + height)
    return best
""",
)
COPY = """\
def pile(things, cap):
    top = 1
    things = sorted(things, reverse=True)
    seen = {1: cap + 2}
    for a, b in things:
        for s, t in list(seen.items()):
            if a < t and s + b <= cap:
                seen[s + b] = max(a, seen.get(s + b, 1))
                top = max(top, s + b)
    return top
"""


def row(id_: str, instruction: str, response: str) -> Instruction:
    return Instruction(id_, instruction, "", response, Lineage(id_))


CLEAN = [
    row(
        f"c{i}",
        f"Write a function that adds {i} to each item.",
        f"def f(x):\n    return [a + {i} for a in x]",
    )
    for i in range(50)
]


def test_renamed_identifiers_and_changed_numbers_do_not_hide_a_copied_solution() -> None:
    (hit,) = find_contamination([*CLEAN, row("bad", "How would you pile these things?", COPY)], [PROBLEM])
    assert (hit.row_id, hit.task_id) == ("bad", "Bench/1")
    assert hit.code_share > 0.7


def test_a_copied_text_is_found_though_its_first_sentence_is_reworded_and_its_code_is_new() -> None:
    text = (
        "We have crates, each a pair. Stack them so that each is strictly narrower than the one below. "
        "Return the greatest height that stays within the limit, or zero when no box fits."
    )
    (hit,) = find_contamination([*CLEAN, row("bad", text, "Use recursion.")], [PROBLEM])
    assert (hit.row_id, hit.how) == ("bad", "text")


DISGUISES: dict[str, Callable[[str], str]] = {
    "HTML": lambda text: html.escape(html.escape(text)),
    "Cyrillic letters": lambda text: text.translate(
        str.maketrans("aeocpx", "\u0430\u0435\u043e\u0441\u0440\u0445")
    ),
    "Greek letters": lambda text: text.translate(str.maketrans("aou", "\u03b1\u03bf\u03c5")),
    "wide letters": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "mathematical letters": lambda text: "".join(
        chr(0x1D3B9 + ord(c)) if "a" <= c <= "z" else c for c in text
    ),
    "accents": lambda text: "".join(f"{c}\u0301" if c in "aeiou" else c for c in text),
    "signs without width": lambda text: "\u200b".join(text),
    "soft hyphens": lambda text: "\u00ad".join(text),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_letters_of_another_form_hide_no_copy(disguise: str) -> None:
    hide = DISGUISES[disguise]
    rows = [
        *CLEAN,
        row("text", hide(PROBLEM.text), "x"),
        row("code", "How would you pile these?", hide(COPY)),
    ]
    assert {hit.row_id for hit in find_contamination(rows, [PROBLEM])} == {"text", "code"}


def test_rows_that_share_common_phrases_only_are_clean() -> None:
    near = row("near", "Return the greatest height of a stack of boxes.", "def f(b):\n    return max(b)")
    assert find_contamination([*CLEAN, near], [PROBLEM]) == []


def test_the_report_shows_each_hit_beside_its_problem_and_clean_rows_are_written(tmp_path) -> None:
    rows = [*CLEAN, row("bad", "How would you pile these things?", COPY)]
    result = decontaminate(rows, [PROBLEM], tmp_path / "clean.jsonl", SilentProgress())
    write_contamination_report(tmp_path / "hits.md", result)
    assert (result.rows, result.kept) == (51, 50)
    assert len((tmp_path / "clean.jsonl").read_text().splitlines()) == 50
    report = (tmp_path / "hits.md").read_text()
    assert "def pile" in report
    assert "def tallest_stack" in report


def test_evolved_copies_are_eliminated_as_they_come() -> None:
    screen = ContaminationScreen([PROBLEM], CLEAN)
    bad = EvolvedRow(row("bad", "Pile things.", COPY), None, RowUsage())
    good = EvolvedRow(CLEAN[0], None, RowUsage())
    dropped = EvolvedRow(row("x", "", COPY), Elimination("empty", ""), RowUsage())
    reasons = [fate.elimination and fate.elimination.reason for fate in screen([bad, good, dropped])]
    assert reasons == ["contaminated", None, "empty"]


def test_a_row_in_other_words_is_found_by_its_embedding_when_asked_for(tmp_path) -> None:
    def embed(texts):
        """Two directions: about stacks, or not."""
        about = [any(word in text.lower() for word in ("stack", "pile")) for text in texts]
        return np.array([[1.0, 0.0] if yes else [0.0, 1.0] for yes in about], dtype=np.float32)

    rows = [*CLEAN, row("bad", "How high a pile can one build?", "No idea.")]
    assert decontaminate(rows, [PROBLEM], None, SilentProgress()).hits == ()
    result = decontaminate(rows, [PROBLEM], tmp_path / "clean.jsonl", SilentProgress(), embed=embed)
    (hit,) = result.hits
    assert (hit.row_id, hit.how, hit.similarity) == ("bad", "embedding", 1.0)
    write_contamination_report(tmp_path / "hits.md", result)
    assert "similarity 1.00" in (tmp_path / "hits.md").read_text()
    assert result.kept == 50


def test_a_problem_found_both_ways_is_one_hit() -> None:
    def embed(texts):
        return np.ones((len(texts), 1), dtype=np.float32)

    result = decontaminate([row("bad", "Pile", COPY)], [PROBLEM], None, SilentProgress(), embed=embed)
    assert [hit.how for hit in result.hits] == ["code"]


def test_examples_with_other_values_and_lengths_give_a_copy_away() -> None:
    text = (
        "Crates come as pairs; how tall can a pile get, or zero when no box fits?\n"
        ">>> pile([(7, 1), (8, 8), (9, 3)], 40)\n12\n"
    )
    (hit,) = find_contamination([*CLEAN, row("bad", text, "")], [PROBLEM])
    assert hit.how == "examples"
    assert find_contamination([*CLEAN, row("ok", ">>> pile([(7, 1)], 40)\n12", "")], [PROBLEM]) == []


def test_a_row_that_kills_its_workers_is_dropped_with_its_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    class Cluster(LocalEngine):
        """Gives up the row c7 wherever it is sent."""

        @contextmanager
        def open(self, work: Any, workers: int | None = None) -> Iterator[Any]:
            with super().open(work, workers) as pool:
                run_many = pool.run_many

                def giving_up(tagged: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
                    for tag, item in tagged:
                        if any(row.id == "c7" for row in (item if isinstance(item, list) else [item])):
                            yield tag, work.set_aside(item, "its worker died 3 times: killed")
                        else:
                            yield from run_many([(tag, item)])

                pool.map = lambda items: (result for _, result in giving_up(enumerate(items)))
                pool.run_many = giving_up
                yield pool

    out = tmp_path / "clean.jsonl"
    rows = [*CLEAN, row("bad", "How would you pile these things?", COPY)]
    result = decontaminate(rows, [PROBLEM], out, SilentProgress(), Cluster())
    assert [(hit.row_id, hit.how) for hit in result.hits] == [("c7", "set aside"), ("bad", "code")]
    assert [row.id for row in RowFile(out)] == [row.id for row in CLEAN if row.id != "c7"]
    assert "its worker died 3 times" in measures_of(result.hits[0])


def test_a_block_of_rows_that_kills_its_workers_is_still_looked_for_as_exact_copies() -> None:
    from evolcoder.evolve.duplicates import DuplicateIndex, Text, sketch_work

    class GivingUp:
        def map(self, blocks: Iterable[Any]) -> Iterator[Any]:
            work = sketch_work(near=True)
            for block in blocks:
                given_up = any("deadly" in text.text for text in block)
                yield work.set_aside(block, "killed") if given_up else work.make()(block)

    long = "Write a function that sorts the words of each line of a text and joins them with commas again"
    index = DuplicateIndex(0.9, GivingUp())
    first = [Text(long, "a"), Text(f"{long} deadly", "b")]
    assert index.add_new(first[:1]) == [None]
    assert index.add_new(first[1:]) == [None]  # as near to the first as can be, but no copy
    (again,) = index.add_new([Text(f"{long} deadly", "c")])
    assert again is not None
    assert (again.row, again.similarity) == (1, 1.0)
