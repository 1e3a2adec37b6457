"""The server: pages of windows, and decisions that come back."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response

from moola.drawing.numbers import figure
from moola.drawing.theme import CHOOSABLE_STYLESHEET
from moola.errors import MoolaError
from moola.review.decisions import LONGEST_NOTE, Decision, Undo
from moola.review.facts import WindowFacts, choices_of, href, window_facts
from moola.review.queue import MODEL_FILTERS, ModelFilter, QueueFilter
from moola.review.session import ReviewSession

_TYPES = {"review.css": "text/css", "review.js": "text/javascript"}


def create_app(session: ReviewSession) -> FastAPI:
    """The pages of a session, without the gate before them (`moola.review.security.Gate`).

    Everything runs in the one thread of the event loop, as a session wants it: an answer takes milliseconds.
    """
    app = FastAPI(title="moola review", docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(session)

    @app.get("/")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.page(_filter(request), request.query_params.get("window")))

    @app.get("/fragment")
    async def fragment(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.fragment(_filter(request), request.query_params.get("window")))

    @app.get("/news")
    async def news(request: Request, since: int) -> dict[str, Any]:
        session.refresh()
        return pages.news(_filter(request), since)

    @app.post("/decisions")
    async def decide(request: Request, decision: Decision, since: int) -> dict[str, Any]:
        event = session.decide(decision)
        return {**pages.news(_filter(request), since), "decision": event.decision, "label": event.label}

    @app.post("/undo")
    async def undo(request: Request, wish: Undo, since: int) -> dict[str, Any]:
        event = session.undo(wish.event_id)
        return {**pages.news(_filter(request), since), "undone": None if event is None else event.window_id}

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return _static(name)

    @app.exception_handler(MoolaError)
    async def told(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, MoolaError)
        return _refused(error.what, error.why, error.way_out)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        why = "\n".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return _refused("this is no decision", why, "load the page again")

    return app


class Pages:
    """Templates, filled.

    Args:
        session: whose questions they answer.
    """

    def __init__(self, session: ReviewSession) -> None:
        self.session = session
        environment = jinja2.Environment(
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=jinja2.PackageLoader("moola.review", "pages"),
        )
        environment.filters |= {"figure": figure}
        self._page = environment.get_template("page.html.j2")
        self._window = environment.get_template("window.html.j2")
        self._end = environment.get_template("end.html.j2")

    def page(self, wanted: QueueFilter, window_id: str | None) -> str:
        """The whole page, with its first window inside."""
        material = self.session.material
        return self._page.render(
            name=material.name,
            annotator=self.session.journal.annotator,
            session=self.session.name,
            choices=choices_of(material.classes),
            priorities=self._priorities(),
            wanted=wanted,
            torn=self.session.journal.torn,
            longest_note=LONGEST_NOTE,
            content=self.fragment(wanted, window_id),
        )

    def fragment(self, wanted: QueueFilter, window_id: str | None) -> str:
        """One window; without an id the one to go on with; a few words where there is none."""
        self.session.refresh()
        position = self.session.first(wanted) if window_id is None else self.session.position(window_id)
        if position is not None:
            return self.window(window_facts(self.session, position, wanted))
        if window_id is not None:
            raise HTTPException(404, f"{window_id} is not in the queue")
        progress = self.session.progress(wanted)
        again = href(self.session.row(0).window_id, QueueFilter()) if len(self.session.material.queue) else "/"
        return self._end.render(progress=progress, revision=self.session.journal.revision, again=again)

    def window(self, facts: WindowFacts) -> str:
        """The fragment of a window."""
        return self._window.render(facts=facts, row=facts.row)

    def news(self, wanted: QueueFilter, since: int) -> dict[str, Any]:
        """What changed after a revision of the log, and how far one is."""
        journal, progress = self.session.journal, self.session.progress(wanted)
        return {
            "revision": journal.revision,
            "changed": sorted(journal.changed_since(since)),
            "decided": progress.decided,
            "total": progress.total,
            "pace": None if progress.pace is None else round(progress.pace, 1),
        }

    def _priorities(self) -> list[int]:
        return sorted(self.session.material.queue.table["priority"].unique().to_list(), reverse=True)


def _filter(request: Request) -> QueueFilter:
    """The filter of a URL; what makes no sense there filters nothing."""
    query = request.query_params
    models: Any = query.get("models", "")
    kept: ModelFilter = models if models in MODEL_FILTERS else ""
    priority = query.get("priority", "")
    wanted = int(priority) if priority.isascii() and priority.isdecimal() else 0
    return QueueFilter(query.get("label", ""), min(wanted, 3), kept, query.get("undecided") == "1")


def _static(name: str) -> Response:
    if name == "theme.css":
        return Response(CHOOSABLE_STYLESHEET, media_type="text/css")
    if name not in _TYPES:
        raise HTTPException(404)
    content = resources.files("moola.review").joinpath("static", name).read_bytes()
    return Response(content, media_type=_TYPES[name])


def _refused(what: str, why: str, way_out: str) -> JSONResponse:
    return JSONResponse({"what": what, "why": why, "way_out": way_out}, status_code=422)
