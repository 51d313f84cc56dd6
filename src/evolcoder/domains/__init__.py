"""Domains by name: what is evolved, answered, measured and rewarded in one field.

A new one is one file here with a function `load`, named in `_FILES`; a user's own is a file anywhere.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from evolcoder.domains.domain import Domain
from evolcoder.errors import UserError, nearest
from evolcoder.own_files import is_own, load_own_file

__all__ = ["DEFAULT_DOMAIN", "DOMAIN_NAMES", "Domain", "load_domain"]

DEFAULT_DOMAIN = "code"
_FILES = {"code": "code", "math": "mathematics", "general": "general"}
"""The module of each domain, by name."""
DOMAIN_NAMES = tuple(_FILES)


def load_domain(name: str) -> Domain:
    """Return a domain by name, or what `load()` of a user's file returns; raises UserError."""
    if is_own(name):
        found, own = load_own_file(Path(name))
        if not isinstance(found, Domain):
            raise UserError(f"{name}: a function load() that returns a Domain is expected")
        return replace(found, own=own)
    if name not in _FILES:
        known = ", ".join(DOMAIN_NAMES)
        raise UserError(f"domain {name!r}{nearest(name, DOMAIN_NAMES)}: {known} or a file.py is expected")
    return _shipped(name)


@lru_cache(maxsize=len(_FILES))
def _shipped(name: str) -> Domain:
    domain: Domain = importlib.import_module(f"{__name__}.{_FILES[name]}").load()
    return domain
