"""Programs of any language: files are written, then each step is executed in order until one fails.

The process that starts the steps is the first of its namespace: it takes in orphans, cannot be killed from
inside, and cannot be looked into, so that its word about an exit code is worth something.
"""

from __future__ import annotations

import ctypes
import marshal
import math
import os
import resource
import signal
from typing import Any

from evolcoder.sandbox.inside import wire
from evolcoder.sandbox.inside.programs import end, say

_PR_SET_DUMPABLE = 4


def run_steps() -> None:
    """Run a job of files and steps, and report how each step ended."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # exec makes the steps dumpable again
    payload: dict[str, Any] = marshal.loads(wire.read_all(wire.PAYLOAD_FD))
    os.close(wire.PAYLOAD_FD)
    os.set_inheritable(wire.CHANNEL_FD, False)
    try:
        _write_files(payload["files"])
    except OSError as error:
        end(wire.NOT_STARTED, str(error))
    environment = {**os.environ, **payload["environment"]}
    steps, step_cpu_s = payload["steps"], payload["step_cpu_s"]
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for index, command in enumerate(steps):
        stdin = 0 if index == len(steps) - 1 else null
        try:
            pid = os.posix_spawnp(
                command[0],
                command,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0)] if stdin else [],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these
            )
        except FileNotFoundError:
            end(wire.NO_COMMAND, command[0])
        except OSError as error:
            end(wire.NOT_STARTED, f"{command[0]}: {error}")
        if step_cpu_s is not None:
            _limit_cpu(pid, step_cpu_s[index])
        ended = -1
        while ended != pid:  # orphans end here too
            ended, status = os.waitpid(-1, 0)
        say(wire.STEP_ENDED, status)
        if status:
            break
    os._exit(0)


def _write_files(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = os.path.join(os.getcwd(), name)  # the private /tmp, or a folder of the container's own
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def _limit_cpu(pid: int, cpu_s: float) -> None:
    """Bound one step; its children inherit the bound, each for itself."""
    soft = math.ceil(cpu_s)
    try:
        resource.prlimit(pid, resource.RLIMIT_CPU, (soft, soft + 1))
    except (ProcessLookupError, ValueError):  # it has ended, or the whole job's bound is tighter
        pass
