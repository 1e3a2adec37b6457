"""The server: pages of windows, and decisions that come back."""

from __future__ import annotations

from typing import Any

import jinja2
import polars as pl
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response

from moola.drawing.numbers import figure
from moola.drawing.theme import CHOOSABLE_STYLESHEET
from moola.errors import MoolaError, StorageError
from moola.review.decisions import LONGEST_NOTE, AnotherReviewError, ChangedError, Decision, Undo
from moola.review.facts import WindowFacts, window_facts
from moola.review.nearby import choices_of, similar
from moola.review.queue import MODEL_FILTERS, ModelFilter, QueueFilter
from moola.review.session import ReviewSession
from moola.web.static_files import static_file

_STATUS = {AnotherReviewError: 409, ChangedError: 412, StorageError: 503}
"""Answers to what is refused; 422 to all else. The page forgets a decision that was refused by 422, and no other."""
_TYPES = {"review.css": "text/css", "review.js": "text/javascript"}


def create_app(session: ReviewSession) -> FastAPI:
    """The pages of a session, without the gate before them (`moola.web.security.Gate`).

    Everything runs in the one thread of the event loop, as a session wants it: an answer takes milliseconds.
    """
    app = FastAPI(title="moola review", docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(session)
    own = [Depends(pages.check_own)]

    @app.get("/")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.page(_filter(request), request.query_params.get("window")))

    @app.get("/fragment", dependencies=own)
    async def fragment(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.fragment(_filter(request), request.query_params.get("window")))

    @app.get("/similar", dependencies=own)
    async def more_like(request: Request, window: str) -> HTMLResponse:
        return HTMLResponse(pages.similar(_filter(request), window))

    @app.get("/news", dependencies=own)
    async def news(request: Request, since: int) -> dict[str, Any]:
        session.refresh()
        return pages.news(_filter(request), since)

    @app.post("/decisions", dependencies=own)
    async def decide(request: Request, decision: Decision, since: int) -> dict[str, Any]:
        session.decide(decision)
        return pages.news(_filter(request), since)

    @app.post("/undo", dependencies=own)
    async def undo(request: Request, wish: Undo, since: int) -> dict[str, Any]:
        event = session.undo(wish.event_id)
        return {**pages.news(_filter(request), since), "undone": None if event is None else event.window_id}

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return static_file("moola.review", name, _TYPES, CHOOSABLE_STYLESHEET)

    @app.exception_handler(OSError)
    @app.exception_handler(MoolaError)
    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: Exception) -> Response:
        told = _told(error)
        status = next((status for kind, status in _STATUS.items() if isinstance(told, kind)), 422)
        if request.url.path == "/":
            return HTMLResponse(pages.broken(told), status)
        return JSONResponse({"what": told.what, "why": told.why, "way_out": told.way_out}, status)

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
        self._similar = environment.get_template("similar.html.j2")
        self._broken = environment.get_template("broken.html.j2")

    async def check_own(self, request: Request) -> None:
        """Let only pages of this very review go on: an old tab may be open on what another run showed.

        Raises:
            AnotherReviewError: the page is of another run, batch, log or annotator.
        """
        if request.query_params.get("session") != self.session.name:
            raise AnotherReviewError(
                f"{self.session.material.name} is reviewed here now, by {self.session.journal.annotator}",
                "this page is of another review",
                "load the page to go on here",
            )

    def page(self, wanted: QueueFilter, window_id: str | None) -> str:
        """The whole page, with its first window inside; that to go on with where there is no window of this id."""
        material = self.session.material
        told = ""
        if window_id is not None and self.session.position(window_id) is None:
            told, window_id = f"{window_id} is not in this queue", None
        return self._page.render(
            name=material.name,
            annotator=self.session.journal.annotator,
            session=self.session.name,
            command=self.session.command,
            run_id=material.run_id,
            similar=material.embedded is not None,
            told=told,
            choices=choices_of(material.classes),
            batch=material.batch,
            filters=self._filters(),
            wanted=wanted,
            lost=self.session.journal.lost,
            torn=self.session.journal.torn,
            longest_note=LONGEST_NOTE,
            content=self.fragment(wanted, window_id),
        )

    def fragment(self, wanted: QueueFilter, window_id: str | None) -> str:
        """One window; without an id the one to go on with; a few words where all are decided.

        Raises:
            ChangedError: the window is not in the queue.
        """
        self.session.refresh()
        position = self.session.first(wanted) if window_id is None else self._position(window_id)
        return self._at_end(wanted) if position is None else self.window(window_facts(self.session, position, wanted))

    def _at_end(self, wanted: QueueFilter) -> str:
        """What stands where no window is left to decide, and where to go from there."""
        session = self.session
        ends, everything = session.ends(wanted), session.progress(QueueFilter())
        return self._end.render(
            progress=session.progress(wanted),
            revision=session.journal.revision,
            first="" if ends is None else session.row(ends[0]).window_id,
            last="" if ends is None else session.row(ends[1]).window_id,
            n_left=everything.total - everything.decided,
            n_blind=session.n_still_blind if wanted.tells_opinions else 0,
            export=session.export_command,
        )

    def window(self, facts: WindowFacts) -> str:
        """The fragment of a window."""
        return self._window.render(facts=facts, row=facts.row, similar=self.session.material.embedded is not None)

    def similar(self, wanted: QueueFilter, window_id: str) -> str:
        """The windows that are most like one.

        Raises:
            ChangedError: the window is not in the queue.
        """
        self.session.refresh()
        return self._similar.render(found=similar(self.session, self._position(window_id), wanted))

    def broken(self, error: MoolaError) -> str:
        """Why there is no page."""
        return self._broken.render(error=error)

    def news(self, wanted: QueueFilter, since: int) -> dict[str, Any]:
        """What changed after a revision of the log, and how far one is."""
        journal, progress = self.session.journal, self.session.progress(wanted)
        return {
            "revision": journal.revision,
            "changed": sorted(journal.changed_since(since)),
            "decided": progress.decided,
            "total": progress.total,
            "pace": None if progress.pace is None else round(progress.pace, 1),
            "lost": journal.lost,
        }

    def _position(self, window_id: str) -> int:
        position = self.session.position(window_id)
        if position is None:
            raise ChangedError(f"{window_id} is not in the queue", "", "load the page again")
        return position

    def _filters(self) -> dict[str, Any]:
        """What there is to filter by: nothing by labels that no window has, or by opinions that nobody gave."""
        table = self.session.material.queue.table
        priorities = [number for number in table["priority"].unique().to_list() if number]
        return {
            "label": not table["given_label"].is_null().all(),
            "priorities": sorted(priorities, reverse=True),
            "against": not table.select(pl.col("given_label") != pl.col("pred_label")).to_series().is_null().all(),
            "split": not table["agreement"].is_null().all(),
        }


def _filter(request: Request) -> QueueFilter:
    """The filter of a URL; what makes no sense there filters nothing."""
    query = request.query_params
    models: Any = query.get("models", "")
    kept: ModelFilter = models if models in MODEL_FILTERS else ""
    priority = query.get("priority", "")
    wanted = int(priority) if priority.isascii() and priority.isdecimal() else 0
    return QueueFilter(query.get("label", ""), min(wanted, 3), kept, query.get("undecided") == "1")


def _told(error: Exception) -> MoolaError:
    """What went wrong, in words."""
    if isinstance(error, MoolaError):
        return error
    if isinstance(error, RequestValidationError):
        why = "\n".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return MoolaError("this is no decision", why, "load the page again")
    assert isinstance(error, OSError)
    name = error.filename or "a file"
    return StorageError(
        f"{name} cannot be read or written", error.strerror or str(error), "make room, or let it be written"
    )
