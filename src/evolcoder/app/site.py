"""The app as a web page on this machine: its parts, its style, and a server that nothing leaves.

Gradio's analytics, version check, fonts from elsewhere and API pages are off; a content security policy
keeps the browser from asking any other host, whatever a model wrote; only who has the printed address is
served (see `access.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

# Read when Gradio is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
from markupsafe import Markup
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evolcoder.app.access import Access, is_loopback, new_token
from evolcoder.app.chat_tab import chat_tab
from evolcoder.app.chatting import ChatOptions
from evolcoder.app.data_tab import data_tab
from evolcoder.app.live_tab import live_tab
from evolcoder.app.open_models import OpenModels
from evolcoder.app.problems_tab import problems_tab
from evolcoder.app.review_tab import review_tab
from evolcoder.app.run_view import RunView
from evolcoder.app.shown_text import shown
from evolcoder.app.widgets import html_view
from evolcoder.errors import OutsideError

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    # Gradio's page is made of inline scripts, and compiles the little ones that its widgets are given.
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What the app shows and where."""

    run: Path | None = None
    models: Sequence[str] = ()
    """MODEL strings to chat with beside the run's checkpoints."""
    base_url: str = ""
    """Address of the endpoint for openai: models."""
    answers: Mapping[str, Path] = field(default_factory=dict)
    """Files of answers for a blind review, by the model's name."""
    reviews: Path = Path("reviews")
    """Folder of studies and votes."""
    host: str = "127.0.0.1"
    port: int = 7860
    models_kept: int = 2
    """Most models in memory at once."""

    @property
    def local_only(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def build(options: AppOptions) -> gr.Blocks:
    """Return the app; raises DataError where `options.run` is no run folder."""
    view = RunView(options.run) if options.run else None
    models = OpenModels(options.models_kept)
    chat = ChatOptions(options.models, options.base_url, any_model=options.local_only)
    page = gr.Blocks(title="evolcoder", analytics_enabled=False, fill_width=True)
    with page:
        html_view(_head(options.run))
        tabs: list[tuple[str, Any]] = [("Chat", lambda: chat_tab(view, models, chat, page))]
        if view is not None:
            tabs = [
                ("Run", lambda: live_tab(view, page)),
                *tabs,
                ("Data", lambda: data_tab(view, page)),
                ("Problems", lambda: problems_tab(view, page)),
            ]
        tabs.append(("Review", lambda: review_tab(view, options.answers, options.reviews, page)))
        with gr.Tabs(elem_id="parts"):
            for name, fill in tabs:
                with gr.Tab(name, id=name.lower()):
                    fill()
    page.queue(default_concurrency_limit=8, max_size=64)
    return page


def _head(run: Path | None) -> Markup:
    where = Markup('<span class="soft small">{}</span>').format(shown(run, 300)) if run else Markup("")
    return Markup('<h1 class="name">evolcoder {}</h1>').format(where)


def serve(options: AppOptions, *, wait: bool = True) -> tuple[gr.Blocks, str]:
    """Serve the app and return it with its address, which holds its token; with `wait`, until Ctrl-C.

    Raises OutsideError where the port is taken, DataError where `options.run` is no run folder.
    """
    page = build(options)
    own = resources.files("evolcoder.app")
    token = new_token()
    access = Middleware(Access, token=token, local_only=options.local_only)
    middleware = [Middleware(NothingElsewhere), access]
    try:
        _, address, _ = page.launch(
            server_name=options.host,
            server_port=options.port or _free_port(options.host),
            root_path=f"/{token}",
            theme=_theme(),
            css=own.joinpath("style.css").read_text(encoding="utf-8"),
            head=f"<script>{own.joinpath('page.js').read_text(encoding='utf-8')}</script>",
            footer_links=[],
            app_kwargs={"middleware": middleware, "docs_url": None, "redoc_url": None, "openapi_url": None},
            max_file_size=1,
            ssr_mode=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            enable_monitoring=False,
            state_session_capacity=200,
            # Without the look at its own page that gives up after three seconds, however busy the machine is:
            # that the server answers, Gradio has seen before, with all the time it takes.
            _frontend=False,
        )
    except OSError as error:
        told = " ".join(str(error).split())[:200]
        why = "the port is taken" if "empty port" in told else told
        raise OutsideError(
            f"{options.host}:{options.port} cannot be served on: {why}; name another port with --port, "
            "or 0 for any free one"
        ) from error
    if wait:
        page.block_thread()
    return page, f"{address.rstrip('/')}/?token={token}"


def _free_port(host: str) -> int:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host.strip("[]"), 0))
        return int(probe.getsockname()[1])


def _theme() -> gr.themes.Base:
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
    return gr.themes.Default(
        primary_hue="blue", neutral_hue="stone", font=fonts, font_mono=mono, radius_size="md"
    )


class NothingElsewhere:
    """ASGI middleware that adds the content security policy and its kin to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, with_policy)
