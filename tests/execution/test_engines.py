"""What both engines promise, and what the names of engines mean."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.execution.works import Counted, length

from evolcoder.cli import cli
from evolcoder.errors import MissingExtraError, OutsideError, UserError
from evolcoder.execution.engine import Engine, FunctionWork
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


OWN_CLUSTER = """
import os
from evolcoder.execution.opening import open_engine
import ray
with open_engine("ray"):
    from ray._raylet import AuthenticationMode, get_authentication_mode
    asks = get_authentication_mode() == AuthenticationMode.TOKEN
    print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], asks, flush=True)
    input()
print(os.listdir(os.environ["RAY_TMPDIR"]))
"""


def listeners(folder: str) -> set[str]:
    """Return the addresses, as hex, that the processes listen on whose environment names the folder."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"RAY_TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                inodes |= {str(fd.readlink()) for fd in (process / "fd").iterdir()}
    rows = [
        row.split()
        for name in ("tcp", "tcp6")
        for row in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def test_a_cluster_begun_here_is_of_this_machine_alone_and_asks_for_its_token(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it: no long path
    environment = {**os.environ, "RAY_ADDRESS": "", "HOME": str(tmp_path), "RAY_TMPDIR": folder}
    own = subprocess.Popen(
        [sys.executable, "-c", OWN_CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert own.stdout is not None and own.stdin is not None
        address, token, asks = own.stdout.readline().split()
        loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
        heard = listeners(folder)
        assert address.startswith("127.0.0.1:") and heard and heard <= loopback
        assert len(token) == 64 and not (tmp_path / ".ray").exists()
        assert asks == "True"
        own.stdin.write("end\n")
        own.stdin.flush()
        assert own.stdout.read().strip() == "[]"
    finally:
        own.stdin.close()
        own.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_that_another_user_noted_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **how: pytest.fail(f"joined {how}"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(OutsideError, match="no Ray cluster answers at this machine"):
        open_engine("ray:auto")
    note = tmp_path / "ray" / "ray_current_cluster"
    note.parent.mkdir()
    (tmp_path / "elsewhere").write_text("127.0.0.1:6379")
    note.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError, match="no Ray cluster answers at this machine"):
        open_engine("ray:auto")
    note.unlink()
    note.write_text("127.0.0.1:6379")
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(OutsideError, match="another user's"):
        open_engine("ray:auto")


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
