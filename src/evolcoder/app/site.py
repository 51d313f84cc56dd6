"""The app as a web page on this machine: its parts, and a server that nothing leaves.

Every part is a page that the server makes from the address (`?tab=problems&id=HumanEval/30`), so a link, a
reload and the way back show what was there. `static/app.js` fetches such pages and puts their content in
place; only who has the printed address is served (see `access.py`).
"""

from __future__ import annotations

import asyncio
import errno
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web
from markupsafe import Markup

from evolcoder.app.access import access, add_headers
from evolcoder.app.chat_page import chat_answers, chat_page
from evolcoder.app.compare_page import compare_page
from evolcoder.app.data_page import data_page
from evolcoder.app.known_runs import KnownRuns, RunView
from evolcoder.app.live_run import live_html, live_run
from evolcoder.app.open_models import OpenModels
from evolcoder.app.problems_page import problems_page
from evolcoder.app.reinforce_page import reinforce_page
from evolcoder.app.review_page import cast, review_page, set_up
from evolcoder.app.start_page import Launched, continued, launch_of, plan_html, plan_of, start_page
from evolcoder.app.widgets import AppOptions, Place, empty, notice, render
from evolcoder.errors import EvolcoderError, OutsideError, UserError
from evolcoder.report.run_folder import learns_alone

_MOST_BODY = 4 << 20
"""Bytes of a request: a long conversation."""
_STATIC = {
    "app.css": ("evolcoder.app", "static/app.css", "text/css"),
    "app.js": ("evolcoder.app", "static/app.js", "text/javascript"),
    "report.css": ("evolcoder.report", "templates/report.css", "text/css"),
}
_OF_A_RUN = {"data": data_page, "problems": problems_page}
_PARTS = ("start", "run", "data", "problems", "compare", "reinforce", "chat", "review")


class Site:
    """What answers the page's requests. Raises DataError where the run of the options is no run folder."""

    def __init__(self, options: AppOptions) -> None:
        self._options, self.local_only = options, options.local_only
        # Off loopback the address opens the run that was named, no other, and starts nothing.
        self._runs = KnownRuns(options.run, options.runs if options.local_only else None)
        self._launched = Launched()
        self._models = OpenModels(options.models_kept)

    def application(self, token: str) -> web.Application:
        """Return the server's application."""
        app = web.Application(middlewares=[access(token, self.local_only)], client_max_size=_MOST_BODY)
        app.on_response_prepare.append(add_headers)
        app.on_cleanup.append(self._close)
        app.add_routes(
            [
                web.get("/{token}/", self._page),
                web.get("/{token}/live", self._live),
                web.post("/{token}/chat", self._answers),
                web.post("/{token}/do/{action}", self._do),
                *(web.get(f"/{{token}}/{name}", _static(*where)) for name, where in _STATIC.items()),
            ]
        )
        return app

    async def _close(self, _: web.Application) -> None:
        await self._models.close()

    async def _page(self, request: web.Request) -> web.Response:
        html = await asyncio.to_thread(self._html, dict(request.query))
        return web.Response(text=html, content_type="text/html")

    def _html(self, query: dict[str, str]) -> str:
        names = self._runs.names()
        query["run"] = query.get("run") or self._runs.first or next(iter(names), "")
        parts = [name for name in _PARTS if self.local_only or name != "start"]
        first = "run" if query["run"] else parts[0] if self.local_only else "chat"
        query["tab"] = query["tab"] if query.get("tab") in parts else first
        place = Place(query)
        try:
            content = self._part(place)
        except (EvolcoderError, OSError) as error:
            content = notice(error, "bad")
        return str(
            render(
                "page.html.j2",
                tab=place["tab"],
                title=place["tab"].title(),
                tabs=[(name, name.title(), place.part(name)) for name in parts],
                runs=names,
                run=place["run"],
                chosen=bool(place["id"]),
                content=content,
            )
        )

    def _part(self, place: Place) -> Markup:
        tab, view = place["tab"], self._view(place["run"])
        if tab == "start":
            return start_page(self._options.runs, place)
        if tab == "chat":
            return chat_page(view.run() if view else None, self._options)
        if tab == "review":
            return review_page(view, self._options, place)
        if view is None and (folder := self._runs.path(place["run"])) and self._launched.running(folder):
            return self._run(folder, None)  # it has not written its recipe yet
        if view is None:
            return empty("No run yet. " + ("Start one." if self.local_only else ""))
        if tab == "compare":
            return compare_page(self._runs, place)
        if tab == "reinforce" or (tab == "run" and learns_alone(view.folder)):
            return reinforce_page(view, place)
        return _OF_A_RUN[tab](view, place) if tab in _OF_A_RUN else self._run(view.folder, view)

    def _view(self, name: str) -> RunView | None:
        """Return the run of this name; None where there is none yet. Raises DataError for a broken one."""
        folder = self._runs.path(name) if name else None
        if folder is None or not (learns_alone(folder) or (folder.is_dir() and any(folder.iterdir()))):
            return None
        return self._runs.view(name)

    def _run(self, folder: Path, view: RunView | None) -> Markup:
        return render(
            "run.html.j2",
            name=folder.resolve().name,
            control=self._control(folder, view),
            live=self._live_html(folder, view),
        )

    def _control(self, folder: Path, view: RunView | None) -> str:
        """Return what can be done with a run now: "stop", "continue", or ""."""
        if self._launched.running(folder):
            return "stop"
        stopped = view is not None and live_run(folder, view.scores).state == "stopped"
        return "continue" if self.local_only and stopped else ""

    def _live_html(self, folder: Path, view: RunView | None) -> Markup:
        failed = self._launched.failure(folder)
        told = notice(f"It failed: {failed}", "bad") if failed else Markup("")
        live = empty("Starting …") if view is None else live_html(folder, view.scores)
        # A process ends a moment after its run says so: the page looks at both.
        control = Markup('<span hidden data-control="{}"></span>').format(self._control(folder, view))
        return told + live + control

    async def _live(self, request: web.Request) -> web.Response:
        """Answer with the run as it stands; the page asks again and again."""

        def look() -> str:
            folder = self._runs.path(request.query.get("run", ""))
            try:
                view = self._view(request.query.get("run", ""))
                return str(self._live_html(folder, view)) if folder else ""
            except (EvolcoderError, OSError) as error:
                return str(notice(error, "bad"))

        return web.Response(text=await asyncio.to_thread(look), content_type="text/html")

    async def _answers(self, request: web.Request) -> web.StreamResponse:
        """Stream a conversation, a line of JSON each time that it has grown."""
        asked = await _told(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            view = await asyncio.to_thread(self._view, str(asked.get("run") or ""))
            run = view.run() if view else None
            async with aclosing(chat_answers(asked, run, self._models, self._options)) as states:
                async for state in states:
                    await response.write(json.dumps(state).encode() + b"\n")
        except (EvolcoderError, ValueError, KeyError, TypeError) as error:
            await response.write(json.dumps({"error": str(error) or "not a question"}).encode() + b"\n")
        return response

    async def _do(self, request: web.Request) -> web.Response:
        """Do what a form of the page asks: answer with where to go, or with what to say beside the form."""
        asked = await _told(request)
        actions: dict[str, Callable[[Mapping[str, Any]], dict[str, str]]] = {
            "vote": lambda form: {"href": cast(self._options, form)},
            "review": lambda form: {
                "href": set_up(self._view(str(form.get("run") or "")), self._options, form)
            },
        }
        if self.local_only:
            actions |= {"plan": self._plan, "start": self._start, "continue": self._go_on, "stop": self._stop}
        action = actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        try:
            answer = await asyncio.to_thread(action, asked)
        except (EvolcoderError, OSError, ValueError, KeyError) as error:
            answer = {"said": str(notice(error, "bad"))}
        return web.json_response(answer)

    def _plan(self, form: Mapping[str, Any]) -> dict[str, str]:
        launch = launch_of(form, self._options.runs)
        return {"result": str(plan_html(launch, plan_of(launch)))}

    def _start(self, form: Mapping[str, Any]) -> dict[str, str]:
        launch = launch_of(form, self._options.runs)
        self._launched.start(launch)
        return {"href": Place({"run": launch.folder.name}).part("run")}

    def _go_on(self, form: Mapping[str, Any]) -> dict[str, str]:
        self._launched.start(continued(self._folder_of(form)))
        return {"href": Place({"run": str(form["run"])}).part("run")}

    def _stop(self, form: Mapping[str, Any]) -> dict[str, str]:
        self._launched.stop(self._folder_of(form))
        return {"said": str(notice("It stops at the next safe point; what is finished stays."))}

    def _folder_of(self, form: Mapping[str, Any]) -> Path:
        folder = self._runs.path(str(form["run"]))
        if folder is None:
            raise UserError(f"{form['run']}: no such run")
        return folder


async def _told(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request: a plain form of another page cannot send one."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        told = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest from error
    if not isinstance(told, dict):
        raise web.HTTPBadRequest
    return told


def _static(package: str, path: str, content_type: str) -> Callable[[web.Request], Any]:
    text = resources.files(package).joinpath(path).read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type)

    return answer


class Served:
    """The app while it is served, by a thread of its own."""

    def __init__(self, options: AppOptions) -> None:
        self._site, self._options, self._token = Site(options), options, secrets.token_urlsafe(24)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        started: Future[str] = Future()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve(started)])
        self._thread.daemon = True
        self._thread.start()
        self.address = started.result()
        """With its token."""

    async def _serve(self, started: Future[str]) -> None:
        options = self._options
        runner = web.AppRunner(
            self._site.application(self._token), handler_cancellation=True, access_log=None
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, options.host.strip("[]"), options.port, shutdown_timeout=1).start()
            host = f"[{options.host.strip('[]')}]" if ":" in options.host else options.host
            started.set_result(f"http://{host}:{runner.addresses[0][1]}/?token={self._token}")
            await self._end.wait()
        except Exception as error:
            started.set_exception(error)
        finally:
            await runner.cleanup()

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self._thread.join()
        self.close()

    def close(self) -> None:
        """End it; runs that were started from it go on."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()


def serve(options: AppOptions) -> Served:
    """Serve the app; raises OutsideError where the port is taken, DataError where the run is none."""
    try:
        return Served(options)
    except OSError as error:
        why = "the port is taken" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
        raise OutsideError(
            f"{options.host}:{options.port} cannot be served on: {why}; name another port with --port, or 0 "
            "for any free one"
        ) from error
