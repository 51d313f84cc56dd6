"""The browser that looks at the app."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from .browsing import PATIENCE_MS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs: pip install 'evolcoder[dev]'")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        # Names are looked up nowhere, so that a request that got out would be seen here and fail there.
        options = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()
