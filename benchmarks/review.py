"""The review app: server time from page to page, 100,000 windows in the queue, beside other ways to draw a window."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import io
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from measurement import Row, benchmark_main, compare

N_QUEUE, LENGTH, ZONE, WIDTH = 100_000, 105, (30, 75), 64
CHANNELS = ("open", "high", "low", "close", "volume")
TARGET_MS = 100.0
_NUMBERS = itertools.count()


def measure(quick: bool) -> list[Row]:
    """Every page is of a window that was not shown before, as it is for a reviewer."""
    with tempfile.TemporaryDirectory() as folder:
        pages, session = _pages(Path(folder))
        repeats, n = (5, 5) if quick else (15, 10)
        same: dict[str, Any] = {"higher_is_better": False, "repeats": repeats}
        with _served(session) as get:
            works = {
                "page of a window, 100,000 in the queue": _fragment(pages),
                "the same with a reconstruction band": _fragment(_with_band(session)),
                "the same over HTTP, through the gate": get,
                "decision written (fsync) and next page": _decision(pages, session),
            }
            rows = [
                compare(what, "ms", _mean_ms(work, n), None, None, **same, target=TARGET_MS)
                for what, work in works.items()
            ]
        chart = _mean_ms(lambda i: session.material.windows.chart(i, after=True), n)
        for name, draw in {"matplotlib": _matplotlib, "plotly": _plotly}.items():
            other = _drawn_by(draw, session)
            if other is not None:
                rows.append(compare("one window drawn", "ms", chart, _mean_ms(other, n), name, **same, target=None))
        return rows


def _pages(folder: Path) -> tuple[Any, Any]:
    """The server's pages and their session, of a random walk: windows 20 bars apart, six models, vectors of 64."""
    from moola.data.bar_store import BarStore
    from moola.data.window_index import WindowIndex
    from moola.labels.events import LabelLog
    from moola.labels.neighbours import Neighbours
    from moola.review.app import Pages
    from moola.review.journal import Journal
    from moola.review.neighbours import LabelledSpace
    from moola.review.opinions import Opinions
    from moola.review.queue import ReviewQueue
    from moola.review.session import ReviewMaterial, ReviewSession
    from moola.review.windows import ShownWindows

    rng = np.random.default_rng(0)
    n_bars = N_QUEUE * 20 + LENGTH
    close = 5_000 + rng.normal(size=n_bars).cumsum()
    open_ = np.append(close[0], close[:-1])
    spread = rng.uniform(0.1, 1.0, n_bars)
    candles = [open_, np.maximum(open_, close) + spread, np.minimum(open_, close) - spread, close]
    values = np.stack([*candles, rng.uniform(1e3, 2e3, n_bars)], axis=1).astype(np.float32)
    times = 1_600_000_000_000_000 + 60_000_000 * np.arange(n_bars)
    store = BarStore(values, times, np.array([0, n_bars]), ("nq",), (None,), (None,), CHANNELS, independent=False)
    index = WindowIndex(np.arange(N_QUEUE) * 20, LENGTH, ZONE[1], ZONE, np.array([0]))
    ids, classes = [f"nq_{i:07d}" for i in range(N_QUEUE)], ("consolidation", "retracement")
    given, said = rng.integers(0, 2, (2, N_QUEUE))
    names = np.array(classes)
    table = pl.DataFrame({"window_id": ids, "given_label": names[given], "pred_label": names[said]}).with_columns(
        row=pl.int_range(N_QUEUE), priority=pl.Series(3 * (given != said))
    )
    vectors = rng.normal(size=(N_QUEUE, WIDTH)).astype(np.float32)
    opinions = rng.dirichlet([1, 1], size=(N_QUEUE, 6)).astype(np.float32)
    material = ReviewMaterial(
        "benchmark",
        "benchmark",
        classes,
        ShownWindows(store, index, ids),
        ReviewQueue(table),
        Opinions(tuple(f"model {i}" for i in range(6)), classes, opinions),
        LabelledSpace(vectors, index.starts, LENGTH, Neighbours.open(vectors, ids), "benchmark"),
    )
    session = ReviewSession(material, Journal(LabelLog(folder / "events.jsonl"), "benchmark"))
    return Pages(session), session


def _fragment(pages: Any) -> Callable[[int], object]:
    from moola.review.queue import QueueFilter

    return lambda i: pages.fragment(QueueFilter(undecided=True), f"nq_{i:07d}")


def _decision(pages: Any, session: Any) -> Callable[[int], object]:
    """Decide about a window and go on to the next undecided one, which nobody has seen."""
    from moola.labels.events import window_digest
    from moola.review.decisions import Decision
    from moola.review.queue import QueueFilter

    wanted = QueueFilter(undecided=True)

    def decide(i: int) -> object:
        row = session.row(i)
        shown = {"window_digest": window_digest(session.material.windows.bars(i)), "given": row.given_label}
        session.decide(Decision(event_id=f"{i:032x}", window_id=row.window_id, decision="accept", blind=False, **shown))
        return pages.fragment(wanted, session.row(session.places(i, wanted).undecided).window_id)

    return decide


def _with_band(session: Any) -> Any:
    """Pages whose windows have a band: 24 masks a window, rebuilt by a BiLSTM of 32 units as the default job has."""
    import torch

    from moola.features.anchored import Anchored
    from moola.models.bilstm import BiLstm
    from moola.models.encoder import InputShape
    from moola.pretraining import WindowInputs
    from moola.pretraining.masked_autoencoder import MaskedAutoencoder
    from moola.review.app import Pages
    from moola.review.reconstruction import band_of
    from moola.review.session import ReviewSession

    windows, transform = session.material.windows, Anchored()
    apply = functools.partial(transform.apply, channels=CHANNELS)
    width = apply(torch.from_numpy(windows.bars(0)[None, : ZONE[1]])).shape[2]
    inputs = WindowInputs(InputShape(width, ZONE[1]), CHANNELS, apply)
    objective = MaskedAutoencoder().build(BiLstm(hidden=32).build(inputs.shape), inputs).eval()
    band = band_of(objective, inputs, transform, windows.store, windows.index)
    material = dataclasses.replace(session.material, windows=dataclasses.replace(windows, band=band))
    return Pages(ReviewSession(material, session.journal))


@contextlib.contextmanager
def _served(session: Any) -> Iterator[Callable[[int], bytes]]:
    """A server in a thread; what is yielded gets a page from it by the number of its window."""
    from moola.review.app import create_app
    from moola.web.serving import PageServer

    server = PageServer(create_app(session), "review")
    thread = threading.Thread(target=server.serve)
    thread.start()
    link = http.client.HTTPConnection(server.host, server.port, timeout=10)
    headers = {"Cookie": f"moola_review_{server.port}={server.token}"}

    def get(i: int) -> bytes:
        link.request("GET", f"/fragment?window=nq_{i:07d}&undecided=1&session={session.name}", headers=headers)
        answer = link.getresponse()
        content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(content.decode())
        return content

    try:
        yield get
    finally:
        link.close()
        server.stop()
        thread.join()


def _mean_ms(work: Callable[[int], object], n: int) -> Callable[[], float]:
    """Mean time of `n` calls, each with a number that no call of any work had before."""

    def once() -> float:
        numbers = [next(_NUMBERS) for _ in range(n)]
        start = time.perf_counter()
        for i in numbers:
            work(i * 37 % N_QUEUE)
        return 1000 * (time.perf_counter() - start) / n

    return once


def _drawn_by(draw: Callable[[np.ndarray], object], session: Any) -> Callable[[int], object] | None:
    """Another way to draw a window by its number; None where its package is not installed."""
    try:
        draw(session.material.windows.bars(0))
    except ModuleNotFoundError as error:
        print(f"not measured: {error.name} is not installed")
        return None
    return lambda i: draw(session.material.windows.bars(i))


def _matplotlib(bars: np.ndarray) -> bytes:
    """Candles and volume as SVG."""
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    figure = Figure(figsize=(8.8, 5.1))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    at, up = np.arange(len(bars)), bars[:, 3] >= bars[:, 0]
    colours = np.where(up, "#1878b4", "#d06a1b")
    top.vlines(at, bars[:, 2], bars[:, 1], colors=colours, linewidth=1)
    top.bar(at, np.abs(bars[:, 3] - bars[:, 0]), 0.68, np.minimum(bars[:, 0], bars[:, 3]), color=colours)
    bottom.bar(at, bars[:, 4], 0.68, color="#888888")
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    return content.getvalue()


def _plotly(bars: np.ndarray) -> str:
    """Candles and volume as JSON, which the browser has still to draw."""
    from plotly import graph_objects  # pyright: ignore[reportMissingImports]
    from plotly.subplots import make_subplots  # pyright: ignore[reportMissingImports]

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.83, 0.17])
    open_, high, low, close, volume = bars.T
    figure.add_trace(graph_objects.Candlestick(open=open_, high=high, low=low, close=close), row=1, col=1)
    figure.add_trace(graph_objects.Bar(y=volume), row=2, col=1)
    return str(figure.to_json())


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), measure))
