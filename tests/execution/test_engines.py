"""What both engines promise, and what the names of engines mean."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.execution.works import Counted, length

from evolcoder.cli import cli
from evolcoder.errors import MissingExtraError, OutsideError, UserError
from evolcoder.execution.engine import Engine
from evolcoder.execution.functions import FunctionWork
from evolcoder.execution.local import LocalEngine
from evolcoder.execution.opening import check_engine, open_engine


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "local":
        yield LocalEngine()
    else:
        yield request.getfixturevalue("ray_engine")


def test_every_item_gets_its_result_once_and_map_keeps_the_order(engine: Engine) -> None:
    with engine.open(Counted(), workers=2) as pool:
        found = sorted(pool.run_many((f"tag {i}", i) for i in range(500)))
        assert found == sorted((f"tag {i}", 2 * i) for i in range(500))
        assert list(pool.map(range(500))) == [2 * i for i in range(500)]
        assert pool.label == "worker of Counted"


def test_items_are_taken_as_they_are_needed(engine: Engine) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(1_000_000):
            taken += 1
            yield i

    with engine.open(Counted(sleep_s=0.001)) as pool:
        results = pool.map(items())
        for _ in range(20):
            next(results)
        assert taken < 50_000


def test_one_item_at_a_time_may_be_asked_for_by_many_tasks(engine: Engine) -> None:
    async def ask_all() -> list[int]:
        return await asyncio.gather(*(pool.one(i) for i in range(60)))

    with engine.open(Counted()) as pool:
        assert asyncio.run(ask_all()) == [2 * i for i in range(60)]


def test_what_the_work_raises_is_raised_where_results_are_waited_for(engine: Engine) -> None:
    with pytest.raises(ArithmeticError, match="item 7"), engine.open(Counted(wrong=(7,))) as pool:
        list(pool.run_many((i, i) for i in range(50)))


def test_work_that_no_worker_can_open_is_an_error_at_once(engine: Engine) -> None:
    with pytest.raises(ValueError, match="cannot get ready"), engine.open(Counted(opens=False)):
        pass


def test_a_function_is_work(engine: Engine) -> None:
    with engine.open(FunctionWork(length)) as pool:
        assert list(pool.map(["a", "bbb", ""])) == [1, 3, 0]


@pytest.mark.parametrize(
    "name", ["local", "ray", "ray:auto", "ray:head:6379", "ray:10.0.0.1:6379", "ray://h:10001"]
)
def test_known_engines(name: str) -> None:
    check_engine(name)


@pytest.mark.parametrize("name", ["", "rey", "ray:", "ray:head", "ray:head:port", "local:3", "dask"])
def test_another_engine_is_a_mistake_of_the_user(name: str) -> None:
    with pytest.raises(UserError, match="ray:HOST:PORT"):
        check_engine(name)


def test_the_command_line_refuses_another_engine_before_it_reads_anything() -> None:
    done = CliRunner().invoke(cli, ["score", "nowhere.jsonl", "-b", "humaneval", "--engine", "rai"])
    assert done.exit_code == 2
    assert "engine 'rai' (did you mean 'ray'?)" in done.output


def test_an_address_where_no_cluster_answers_is_told_in_one_line() -> None:
    pytest.importorskip("ray")
    done = CliRunner().invoke(cli, ["score", "x", "-b", "humaneval", "--engine", "ray:127.0.0.1:1"])
    assert isinstance(done.exception, OutsideError)
    assert str(done.exception).startswith("no Ray cluster answers at 127.0.0.1:1 (")
    assert "\n" not in str(done.exception)


def test_ray_is_not_imported_unless_asked_for_and_a_missing_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')\n")
    code = (
        "import sys\n"
        "from evolcoder.errors import MissingExtraError\n"
        "from evolcoder.execution.opening import open_engine\n"
        "import evolcoder.evaluate.score_file, evolcoder.evaluate.evaluation, evolcoder.evolve.rounds\n"
        "import evolcoder.execution.ray.engine, evolcoder.execution.ray.pool, evolcoder.loop\n"
        "with open_engine('local'): assert 'ray' not in sys.modules\n"
        "try: open_engine('ray')\n"
        "except MissingExtraError as error: print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert done.stdout == (
        "--engine ray needs packages that are not installed: pip install 'evolcoder[ray]'\n"
    ), done.stderr
    assert issubclass(MissingExtraError, UserError)
    assert not issubclass(OutsideError, UserError)
    assert isinstance(open_engine("local"), Engine)
