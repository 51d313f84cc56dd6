"""Loads an environment's libraries once, in the fork server, so that no program pays for them.

Some write as they load (matplotlib keeps a list of fonts, beside a folder for settings). They get a private
/tmp for that, which is gone before the first program.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys

_DETACH = 2
_NOSUID_NODEV = 6


def load(site: str, modules: str, namespaces: bool) -> None:
    """Import `modules` (separated by commas) from the folders `site`; raises ImportError for one missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if namespaces:
        options = b"size=64m,mode=0700"
        if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_long(_NOSUID_NODEV), options) != 0:
            raise OSError(ctypes.get_errno(), "mount /tmp")
    folders = [folder for folder in site.split(os.pathsep) if folder]
    sys.path.extend(folders)
    for name in modules.split(","):
        importlib.import_module(name)
    for folder in folders:  # the server adds them itself
        sys.path.remove(folder)
    if namespaces and libc.umount2(b"/tmp", _DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount /tmp")
