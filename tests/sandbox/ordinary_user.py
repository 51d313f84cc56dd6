"""Runs a command as an ordinary user from a test that runs as root."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys

UNUSED_UID = 65534


@functools.cache
def prefix() -> tuple[str, ...] | None:
    """Command line that turns root into an ordinary user; () for one already; None where it cannot be done.

    A Python below root's own folder is out of that user's reach: a private mount namespace shows it to them.
    """
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return None
    drop = f'exec setpriv --reuid {UNUSED_UID} --regid {UNUSED_UID} --clear-groups env HOME=/tmp "$@"'
    python = os.path.realpath(sys.base_prefix)
    home = "/" + python.split("/")[1]
    quoted, quoted_home = shlex.quote(python), shlex.quote(home)
    show = (
        f"view=$(mktemp -d) && mount --bind {quoted} $view && mount -t tmpfs -o mode=755 tmpfs {quoted_home} "
        f"&& mkdir -p {quoted} && mount --bind $view {quoted} && umount $view && rmdir $view && {drop}"
    )
    for script in (drop, show):
        line = ("unshare", "-m", "sh", "-c", script, "sh")
        tried = subprocess.run(
            [*line, sys.executable, "-c", "import evolcoder"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return line
    return None
