"""The server of the dashboard: pages, what is new on them, and files that runs published. It changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from moola.dashboard.board import Board
from moola.dashboard.live_pages import Viewers, digest_of
from moola.dashboard.run_details import published_files
from moola.dashboard.views import view_of
from moola.drawing.theme import STYLESHEET
from moola.errors import DataError, MoolaError, StorageError, printable
from moola.web.security import HEADERS
from moola.web.static_files import static_file

_TYPES = {"dash.css": "text/css", "dash.js": "text/javascript"}
_SHOWN = {".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
_SAVED = {".csv", ".json", ".jsonl", ".tex", ".yaml", ".md", ".txt"}
"""Files that a browser opens as plain text."""
OWN_PAGE = {
    "content-security-policy": HEADERS["content-security-policy"].replace("form-action 'none'", "form-action 'self'")
}
"""The list of runs is a form: filters, and ticks for what is looked at together."""
MADE_PAGE = {
    "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "unsafe-none",  # browsers refuse a sandboxed page with another one
}
"""Pages and pictures of runs, which may have come from anywhere: no script, no origin of ours, nothing to load."""


def create_app(artifacts: Path, viewers: Viewers) -> FastAPI:
    """The dashboard of an artifacts folder, without the gate before it (`moola.web.security.Gate`).

    Args:
        artifacts: the folder.
        viewers: everybody who watches; to be ended with the server.
    """
    app = FastAPI(title="moola dash", docs_url=None, redoc_url=None, openapi_url=None)
    board = Board(artifacts)

    @app.get("/events/{path:path}")
    async def events(request: Request, path: str, seen: str = "") -> StreamingResponse:
        query = [pair for pair in request.query_params.multi_items() if pair[0] not in ("seen", "token")]
        if await viewers.run(lambda: view_of(board, path, query)) is None:
            raise HTTPException(404)
        name = f"{path}?{query}"
        seen = request.headers.get("last-event-id", seen)
        stream = viewers.watch(name, lambda: _view(board, path, query), seen)
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return static_file("moola.dashboard", name, _TYPES, STYLESHEET)

    @app.get("/runs/{name}/files/{path:path}")
    async def file(name: str, path: str) -> Response:
        folder = board.results / (await viewers.run(lambda: board.entry(name))).folder
        return await run_in_threadpool(_file, folder, path)

    @app.get("/compare")
    async def compare(request: Request) -> Response:
        names = request.query_params.getlist("run")
        if len(set(names)) != 2:
            told = "1 run is chosen" if len(set(names)) == 1 else f"{len(set(names)) or 'no'} runs are chosen"
            raise MoolaError(told, "two are compared", "tick two in the list of runs")
        folders = [board.results / (await viewers.run(_entry(board, name))).folder for name in names]
        return HTMLResponse(await run_in_threadpool(_compared, *folders), headers=MADE_PAGE)

    @app.get("/{path:path}")
    async def page(request: Request, path: str) -> HTMLResponse:
        query = [pair for pair in request.query_params.multi_items() if pair[0] != "token"]
        html = await viewers.run(lambda: _page(board, path, query, request.url.query))
        return HTMLResponse(html, headers=OWN_PAGE)

    @app.exception_handler(MoolaError)
    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, MoolaError)
        return await shown(error, 404 if isinstance(error, DataError) else 422)

    @app.exception_handler(404)
    async def unknown(request: Request, error: Exception) -> Response:  # an address that is none of the above
        told = DataError(f"there is no page {printable(request.url.path, keep='')}", "", "begin with the list of runs")
        return await shown(told, 404)

    async def shown(error: MoolaError, status: int) -> Response:
        html = await viewers.run(lambda: board.render("error.html.j2", error=error, title=error.what, events=""))
        return HTMLResponse(html, status, headers=OWN_PAGE)

    return app


def _entry(board: Board, name: str) -> Callable[[], Any]:
    return lambda: board.entry(name)


def _view(board: Board, path: str, query: list[tuple[str, str]]) -> Any:
    view = view_of(board, path, query)
    assert view is not None
    return view


def _page(board: Board, path: str, query: list[tuple[str, str]], text: str) -> str:
    """A page with its fragments inside, and the address at which it hears what is new."""
    view = view_of(board, path, query)
    if view is None:
        raise DataError(f"there is no page /{path}", "", "begin with the list of runs")
    fragments = view.fragments()
    kept = "&".join(part for part in text.split("&") if part and not part.startswith("token="))
    events = f"/events/{quote(path)}?{kept}{'&' if kept else ''}seen={digest_of(fragments)}"
    frame = view.frame
    return board.render(frame.template, title=frame.title, events=events, fragments=fragments, **frame.values)


def _file(folder: Path, name: str) -> Response:
    """A file that the run published, and none beside it: no link leads out of the folder."""
    suffix = PurePosixPath(name).suffix
    if name not in published_files(folder) or ".." in PurePosixPath(unquote(name)).parts:
        raise DataError(f"{folder.name} published no {name}", "", "see what its page links to")
    if suffix not in _SHOWN and suffix not in _SAVED:
        raise DataError(f"{name} is for programs", "", f"it is {folder / name}")
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        raise StorageError(f"{name} is not a file of the run folder", "it leads elsewhere", "copy the run folder again")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DataError(f"{name} cannot be read", error.strerror or "", "copy the run folder again") from error
    with open(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"{name} is no file", "", "copy the run folder again")
        content = handle.read()
    kind = _SHOWN.get(suffix, "text/plain; charset=utf-8")
    return Response(content, media_type=kind, headers=MADE_PAGE)


def _compared(a: Path, b: Path) -> str:
    """The page of `moola compare`, not written anywhere."""
    from moola.pipelines.results import open_run
    from moola.pipelines.run_pair import compare_runs
    from moola.pipelines.run_pair_page import render_pair

    return render_pair(compare_runs(open_run(a), open_run(b)))
