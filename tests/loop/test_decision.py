"""What a run finds out before it starts, and what it points at when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolcoder.errors import RecipeError, UserError
from evolcoder.loop import check_before_start
from evolcoder.loop.results import point_to_best
from evolcoder.recipe import recipe_from_data


def test_the_link_follows_the_best_round(tmp_path: Path) -> None:
    for best in (1, 2):
        (tmp_path / f"round-{best}" / "checkpoint").mkdir(parents=True)
        point_to_best(tmp_path, best)
        assert (tmp_path / "best").resolve() == (tmp_path / f"round-{best}" / "checkpoint").resolve()
    for none in (0, None):
        point_to_best(tmp_path, none)
        assert not (tmp_path / "best").is_symlink()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"seeds": {"source": "gone.jsonl"}}, r"gone\.jsonl: no such file"),
        ({"stop": {"benchmark": "humanevil", "select_on_test": True}}, r"did you mean 'humaneval'"),
        ({"evaluate": {"settings": {"oracle": "delphi"}}}, r"oracle 'delphi'"),
        ({"base": {"model": "openai:gpt-4o"}}, r"base\.model: weights to fine-tune are expected"),
        ({"teacher": {"model": "./gone.gguf"}}, r"gone\.gguf: no such file"),
    ],
)
def test_what_would_fail_later_fails_at_once(data: dict[str, object], said: str) -> None:
    asked = {"name": "t", "stop": {"rule": "paper-v1"}, **data}
    with pytest.raises((UserError, RecipeError), match=said):
        check_before_start(recipe_from_data(asked, "test"))
