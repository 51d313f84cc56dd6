"""The live view of a run: checked every two seconds, sent again only when it changed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from evolcoder.app.live_run import live_html
from evolcoder.app.run_view import RunView
from evolcoder.app.widgets import html_view

EVERY_S = 2.0


def live_tab(view: RunView, page: gr.Blocks) -> None:
    """Build the tab inside the present block; `page` fills it when it loads."""
    shown = html_view(elem_id="live")
    before = gr.State("")

    def look(last: str) -> tuple[Any, Any]:
        html = str(live_html(view.folder, view.scores))
        return (gr.skip(), gr.skip()) if html == last else (html, html)

    page.load(look, before, [shown, before], show_progress="hidden")
    gr.Timer(EVERY_S).tick(look, before, [shown, before], show_progress="hidden", queue=False)
