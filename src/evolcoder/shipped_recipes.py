"""The recipes inside the package: a bare name such as `quickstart` stands for one of them."""

from __future__ import annotations

from pathlib import Path

from evolcoder.errors import RecipeError, nearest

RUN = ""
TRAIN = "train"
DEEPSPEED = "deepspeed"
_FOLDER = Path(__file__).resolve().parent / "recipes"
_ENDINGS = {RUN: ".yaml", TRAIN: ".yaml", DEEPSPEED: ".json"}


def shipped_names(kind: str) -> list[str]:
    """Return the names of the shipped recipes of one kind (RUN, TRAIN or DEEPSPEED), sorted."""
    return sorted(path.stem for path in (_FOLDER / kind).glob(f"*{_ENDINGS[kind]}"))


def shipped_recipe(name: str, kind: str) -> Path:
    """Return the file of a shipped recipe; raises RecipeError that lists the names for an unknown one."""
    names = shipped_names(kind)
    if name not in names:
        raise RecipeError(
            f"{name}: no such file, and no recipe of that name is shipped{nearest(name, names)}; "
            f"the names are {', '.join(names)}"
        )
    return _FOLDER / kind / f"{name}{_ENDINGS[kind]}"


def recipe_file(given: Path, kind: str) -> Path:
    """Return the file that a recipe argument means: a file as it is, a bare name as the shipped recipe.

    A file that is there wins over a name. A path below `recipes/` that is not there means the shipped file,
    so that the commands of older reports still work. Raises RecipeError for a name that is neither.
    """
    if given.is_file():
        return given
    inside = given.parts[:1] == ("recipes",) and ".." not in given.parts
    if inside and (shipped := _FOLDER.joinpath(*given.parts[1:])).is_file():
        return shipped
    if given.suffix in (".yaml", ".yml", ".json") or len(given.parts) != 1:
        return given
    return shipped_recipe(str(given), kind)
