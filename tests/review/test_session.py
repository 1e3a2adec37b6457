"""The queue, the log and the pictures without a server."""

from __future__ import annotations

import datetime
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.commands import review as command
from moola.drawing import draw_chart
from moola.errors import DataError, StorageError
from moola.labels.events import LabelEvent, LabelLog, window_digest
from moola.labels.neighbours import Neighbours, build_index
from moola.labels.pace import pace_of
from moola.review.app import Pages
from moola.review.decisions import Decision
from moola.review.facts import window_facts
from moola.review.journal import check_writable
from moola.review.material import batch_queue, read_opinions
from moola.review.opinions import Opinions
from moola.review.queue import QueueFilter, ReviewQueue, open_queue
from moola.review.session import ReviewMaterial, ReviewSession
from moola.review.similar import EmbeddedWindows, open_embeddings

CLASSES = ("consolidation", "retracement")
LENGTH = 40
MODELS: tuple[Literal["against", "split"], ...] = ("against", "split")
Sessions = Callable[..., ReviewSession]
FILTERS = st.builds(
    QueueFilter,
    st.sampled_from(["", "retracement"]),
    st.sampled_from([0, 3]),
    st.sampled_from(["", "against", "split"]),
    st.booleans(),
)


@pytest.fixture
def decide(decision: Callable[..., Decision]) -> Callable[..., None]:
    """Accepts the window at a position."""

    def accept(session: ReviewSession, position: int, number: int) -> None:
        session.decide(decision(session, session.row(position).window_id, number))

    return accept


def test_ways_from_a_window_are_those_of_a_plain_search(session_of: Sessions, decide: Any) -> None:
    session = session_of()
    decided = set(range(0, 30, 4)) | {29}
    for number, position in enumerate(sorted(decided)):
        decide(session, position, number)
    rows = [session.row(i) for i in range(30)]

    @given(FILTERS, st.integers(0, 29))
    def check(wanted: QueueFilter, position: int) -> None:
        fits = [
            (not wanted.label or row.given_label == wanted.label)
            and row.priority >= wanted.priority
            and (wanted.models != "against" or row.given_label != row.pred_label)
            and (wanted.models != "split" or (row.agreement or 1) < 0.75)
            for row in rows
        ]
        shown = [i for i in range(30) if fits[i] and not (wanted.undecided and i in decided)]
        open_ones = [i for i in range(30) if fits[i] and i not in decided]
        places = session.places(position, wanted)
        assert places.before == max((i for i in shown if i < position), default=None)
        assert places.after == min((i for i in shown if i > position), default=None)
        behind = min((i for i in open_ones if i < position), default=None)
        assert places.undecided == min((i for i in open_ones if i > position), default=behind)
        progress = session.progress(wanted)
        assert (progress.decided, progress.total) == (sum(fits) - len(open_ones), sum(fits))

    check()


def test_two_reviewers_decide_for_themselves_and_see_where_they_differ(
    session_of: Sessions, decide: Any, decision: Any
) -> None:
    ana, bob = session_of("ana"), session_of("bob")
    decide(ana, 0, 0)
    bob.refresh()
    assert bob.first(QueueFilter()) == 0  # whatever ana said
    bob.decide(decision(bob, "w000", 1, "label", label="retracement"))
    ana.refresh()
    told = window_facts(ana, 0, QueueFilter())
    assert "annotators disagree" in told.outcome and "bob: retracement" in told.outcome
    assert ana.label("w000") == "consolidation"
    assert bob.undo("c" * 32) is not None
    assert bob.undo("d" * 32) is None  # what ana decided is hers


def test_a_log_that_was_replaced_is_read_anew(session_of: Sessions, decide: Any) -> None:
    session = session_of()
    decide(session, 0, 0)
    decide(session, 1, 1)
    path = session.journal.log.path
    lines = path.read_text().splitlines(keepends=True)
    line = lines[1]
    path.unlink()
    path.write_text(line)
    told: list[str] = []
    session.journal._tell = told.append
    before = session.journal.revision
    session.refresh()
    assert session.journal.state("w000") is None and session.journal.state("w001") is not None
    assert session.progress(QueueFilter()).decided == 1 and session.first(QueueFilter()) == 0
    assert session.journal.changed_since(before) == {"w000", "w001"} and session.journal.revision > before
    assert told == [session.journal.lost] and "count no more: 1." in told[0]
    path.rename(path.with_name("set aside"))
    path.write_text(lines[0] + line)
    session.refresh()
    assert session.journal.lost == "" and session.progress(QueueFilter()).decided == 2
    path.unlink()
    session.refresh()
    assert session.progress(QueueFilter()).decided == 0 and "count no more: 2." in told[-1]


@pytest.mark.parametrize("place", ["/proc/ro/x.jsonl", "file/x.jsonl", "."])
def test_a_log_that_cannot_be_written_is_told_before_the_first_decision(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    log = LabelLog(tmp_path / "new" / "x.jsonl")
    check_writable(log)
    assert log.read().events == ()
    with pytest.raises(StorageError):
        check_writable(LabelLog(tmp_path / place))


def test_the_rank_is_that_among_the_windows_of_the_filter_and_blind_windows_have_none(
    session_of: Sessions, decide: Any
) -> None:
    session, wanted = session_of(), QueueFilter(label="retracement", priority=3, undecided=True)
    decide(session, 3, 0)
    assert [session.rank(i, wanted) for i in (3, 4, 9, 27)] == [(1, 5), None, (2, 5), (5, 5)]
    assert session.rank(4, QueueFilter()) == (5, 30)
    assert window_facts(session_of("bob", blind=1.0), 4, QueueFilter()).rank is None


def test_a_first_label_relabels_nothing(session_of: Sessions, material: ReviewMaterial, decision: Any) -> None:
    unlabelled = ReviewQueue(material.queue.table.select("window_id", "row"))
    session = session_of(queue=unlabelled, batch="batch_0001")
    page = Pages(session).page(QueueFilter(), None)
    assert "batch_0001" in page and "<select" not in page and "priority 0" not in page  # there is nothing to filter by
    session.decide(decision(session, "w000", 0, "label", label="retracement"))
    assert window_facts(session, 0, QueueFilter()).outcome == "labelled as retracement"


@settings(max_examples=100)
@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 6))
def test_an_axis_has_at_least_three_ticks(seed: int, scale: float, shift: float, n_channels: int) -> None:
    bars = shift + scale * np.random.default_rng(seed).normal(size=(50, n_channels))
    svg = draw_chart(bars, [f"dim_{i}" for i in range(n_channels)], title="").svg
    assert svg.count('text-anchor="end"') >= 3 * n_channels


def test_blind_windows_are_a_share_that_no_reload_changes(session_of: Sessions) -> None:
    ids = [f"w{i:03d}" for i in range(30)]
    drawn = [session_of("ana", blind=0.3).is_blind(name) for name in ids]
    assert drawn == [session_of("ana", blind=0.3).is_blind(name) for name in ids]
    assert drawn != [session_of("bob", blind=0.3).is_blind(name) for name in ids]
    assert 0 < sum(drawn) < 30


def test_of_a_blind_window_only_ones_own_decisions_are_told(session_of: Sessions, decision: Any) -> None:
    ana, bob = session_of("ana", blind=1.0), session_of("bob")
    bob.decide(decision(bob, "w000", 1, "label", label="retracement", start=11, end=13))
    bob.decide(decision(bob, "w000", 2, "note", note="look at the wick"))
    ana.refresh()
    told = window_facts(ana, 0, QueueFilter())
    assert (told.outcome, told.marks, told.state) == ("", None, None)
    ana.decide(decision(ana, "w000", 3, "label", label="consolidation", start=12, end=14))
    told = window_facts(ana, 0, QueueFilter())
    assert (told.outcome, told.marks) == ("labelled as consolidation", (12, 14))  # not that it was given
    event = ana.journal.event(decision(ana, "w000", 3).event_id)
    assert (event.blind, event.blind_share, event.series) == (True, 1.0, "nq")
    with pytest.raises(DataError, match="shows no label to accept"):
        ana.decide(decision(ana, "w001", 4))


def test_no_filter_and_no_neighbour_tells_the_label_of_a_window_that_is_still_blind(
    session_of: Sessions, decision: Any
) -> None:
    session = session_of(blind=0.4)
    blind = {name for name in session.material.queue.positions if session.is_blind(name)}
    assert 3 < len(blind) < 27

    def let_through(wanted: QueueFilter) -> set[str]:
        return {session.row(place).window_id for place in np.flatnonzero(session.matching(wanted))}

    by_opinion = [QueueFilter("retracement"), QueueFilter(priority=3), *(QueueFilter(models=m) for m in MODELS)]
    for wanted in by_opinion:
        assert let_through(wanted) and not let_through(wanted) & blind
        assert session.progress(wanted).total == len(let_through(wanted))
    assert blind <= let_through(QueueFilter()) and blind <= let_through(QueueFilter(undecided=True))
    for position in range(30):
        for near in window_facts(session, position, QueueFilter()).neighbours:
            assert near.hidden == (near.window_id in blind) == (near.label is None)
    name = min(blind)
    label = session.row(session.material.queue.positions[name]).given_label
    session.decide(decision(session, name, 0, "label", label=label))
    assert name in let_through(QueueFilter(label or "")) and not session.hides(name)


def test_a_twin_whose_label_is_hidden_is_no_reason(material: ReviewMaterial, session_of: Sessions) -> None:
    reason = pl.lit("issue; near duplicate with another label: w001; outlier")
    queue = ReviewQueue(material.queue.table.with_columns(reason=reason))
    annotators = (f"person {number}" for number in range(100))
    drawn = (session_of(name, blind=0.5, queue=queue) for name in annotators)
    session = next(one for one in drawn if one.is_blind("w001") and not one.is_blind("w000"))
    told = window_facts(session, 0, QueueFilter())
    assert told.reason == "models and label disagree; looks like no other window" and not any(
        near.is_duplicate for near in told.neighbours
    )
    assert window_facts(session_of(queue=queue), 0, QueueFilter()).reason.startswith(
        "models and label disagree; near dup"
    )


def test_a_batch_whose_bars_have_changed_is_refused(material: ReviewMaterial, tmp_path: Path) -> None:
    windows, ids = material.windows, ["w003", "w001"]
    told = {"row": [3, 1], "window_digest": [window_digest(windows.bars(row)) for row in (3, 1)]}
    batch = pl.DataFrame({"window_id": ids, **told})
    batch.write_parquet(tmp_path / "batch_0001.parquet")
    table = material.queue.table
    data: Any = SimpleNamespace(
        table=table.select("window_id", "row"),
        labels=table.select("window_id", label="given_label").head(2),
        windows=windows.index,
        store=windows.store,
    )
    queue = batch_queue(tmp_path / "batch_0001.parquet", data)
    assert [(queue[i].window_id, queue[i].given_label) for i in range(2)] == [("w003", None), ("w001", "retracement")]
    values = windows.store.values.copy()
    values[LENGTH + LENGTH - 1, 3] += 1  # the last bar of w001, which no model sees
    data.store = SimpleNamespace(values=values)
    with pytest.raises(DataError, match=r"1 of 2 windows of .* have other bars in this run\nw001"):
        batch_queue(tmp_path / "batch_0001.parquet", data)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**31), st.data())
def test_windows_that_are_like_one_are_those_of_a_plain_search(
    n: int, reach: int, stride: int, seed: int, data: st.DataObject
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    starts, row = stride * np.arange(n), data.draw(st.integers(0, n - 1))
    index = Neighbours.open(vectors, [str(number) for number in range(n)])
    taken, expected = [starts[row]], []
    for number in index.nearest(vectors[row], n)[0]:
        if len(expected) < 4 and all(abs(starts[number] - start) >= reach for start in taken):
            taken.append(starts[number])
            expected.append(number)
    with patch("moola.review.similar._FIRST_ASKED", 2), patch("moola.review.similar._MORE", 2):
        found = EmbeddedWindows(vectors, starts, reach, index).like(row, 4)
    assert [number for number, _ in found] == expected


def test_embeddings_have_to_be_of_the_windows_of_the_run(material: ReviewMaterial, tmp_path: Path) -> None:
    index, run, path = material.windows.index, tmp_path / "run-1", tmp_path / "vectors.npy"
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    np.save(path, vectors)
    ids = list(material.windows.ids)
    assert len(open_embeddings(path, index, ids, run).like(0)) == 12
    with pytest.raises(DataError, match=r"(?s)shape \[30, 8\], and 29 windows.*embed NAME --out .* --config-path"):
        open_embeddings(path, index, ids[1:], run)
    with patch("moola.review.similar.MOST_EXACT", 20), pytest.raises(DataError, match="30 windows need an index"):
        open_embeddings(path, index, ids, run)
    build_index(vectors, path.with_suffix(".usearch"), threads=1)
    assert len(open_embeddings(path, index, ids, run).like(0)) == 12
    np.save(path, vectors[::-1])
    with pytest.raises(DataError, match="is an index of other vectors"):
        open_embeddings(path, index, ids, run)
    path.write_text("no array")
    with pytest.raises(StorageError, match="holds no embeddings"):
        open_embeddings(path, index, ids, run)


def test_the_pace_leaves_pauses_out() -> None:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    seconds = [0, 5, 10, 4000, 4005, 4010]
    assert pace_of([start + datetime.timedelta(seconds=s) for s in seconds]) == pytest.approx(12.0)
    assert pace_of([start]) is None


@settings(max_examples=30)
@given(st.integers(1, 39), st.integers(0, 2**31))
def test_bars_that_are_held_back_leave_no_trace(shown: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = 100 + rng.normal(size=(40, 5)).cumsum(axis=0)
    other = bars.copy()
    other[shown:] = 1e6 * rng.normal(size=other[shown:].shape)
    channels = ("open", "high", "low", "close", "volume")
    assert draw_chart(bars, channels, title="", shown=shown) == draw_chart(other, channels, title="", shown=shown)
    if shown < 40:
        assert draw_chart(bars, channels, title="") != draw_chart(bars, channels, title="", shown=shown)


def test_near_duplicates_come_first_and_neighbours_never_overlap(session_of: Sessions) -> None:
    told = window_facts(session_of(), 0, QueueFilter())
    assert (
        [near.window_id for near in told.neighbours if near.is_duplicate] == ["w001"] == [told.neighbours[0].window_id]
    )
    assert len({near.window_id for near in told.neighbours} - {"w000"}) == 5
    blind = window_facts(session_of(blind=1.0), 0, QueueFilter())
    assert not any(near.is_duplicate for near in blind.neighbours)
    assert blind.given is None and blind.predicted is None and not blind.opinions


def test_opinions_are_means_over_seeds_and_agree_by_first_choices() -> None:
    table = pl.DataFrame(
        {
            "window_id": ["b", "b", "a", "b"],
            "model": ["m", "m", "m", "n"],
            "prob_x": [0.2, 0.4, 0.9, 0.8],
            "prob_y": [0.8, 0.6, 0.1, 0.2],
        }
    )
    opinions = Opinions.of(table, ["m", "n"], ["x", "y"], {"a": 0, "b": 1, "c": 2})
    assert [model for model, _ in opinions.at(0)] == ["m"]
    np.testing.assert_allclose(opinions.at(1)[0][1], [0.3, 0.7], rtol=1e-6)
    np.testing.assert_array_equal(opinions.agreement(), [1.0, 0.5, np.nan])


def test_a_run_without_a_queue_is_reviewed_by_label_quality(tmp_path: Path) -> None:
    rows = pl.DataFrame({"window_id": ["1", "2"], "row": [5, 6], "label": ["1", "2"]})
    (tmp_path / "label_issues.csv").write_text(
        "window_id,given_label,pred_label,prob_1,prob_2,label_quality,is_label_issue\n"
        "1,1,1,0.9,0.1,0.9,false\n2,2,1,0.8,0.2,0.2,true\n"
    )
    queue = open_queue(tmp_path, rows)
    assert [(queue[i].window_id, queue[i].row, queue[i].priority) for i in range(2)] == [("2", 6, 3), ("1", 5, 0)]
    for name in ("label_issues.csv", "review_queue.csv"):
        for content in ("", "a,b\n", "window_id,label_quality,reason\n1,much,\n"):
            (tmp_path / name).write_text(content)
            with pytest.raises(
                StorageError, match=rf"(?s){name} is (damaged|no review queue).*moola run --config-path"
            ):
                open_queue(tmp_path, rows)
        (tmp_path / name).unlink()
    assert open_queue(tmp_path, rows)[0].label_quality is None


def test_damaged_predictions_are_told(material: ReviewMaterial, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"models": {"m": {"role": "model"}}}')
    told = {"window_id": ["w000"], "model": ["m"], "split": ["oof"], "prob_consolidation": [0.7]}
    (tmp_path / "oof.parquet").touch()
    pl.DataFrame({**told, "prob_retracement": [0.3]}).write_parquet(tmp_path / "oof.parquet")
    assert read_opinions(tmp_path, CLASSES, CLASSES, material.queue).at(0)[0][0] == "m"
    whole = (tmp_path / "oof.parquet").read_bytes()
    pl.DataFrame(told).write_parquet(tmp_path / "oof.parquet")
    for content in ((tmp_path / "oof.parquet").read_bytes(), whole[: len(whole) // 2], b""):
        (tmp_path / "oof.parquet").write_bytes(content)
        with pytest.raises(StorageError, match=r"(?s)oof\.parquet is damaged.*moola run --config-path"):
            read_opinions(tmp_path, CLASSES, CLASSES, material.queue)


def test_without_a_name_the_newest_run_with_a_queue_is_reviewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, status in enumerate(("finished", "finished", "failed", "finished")):
        (tmp_path / f"run-{number}").mkdir()
        manifest = {"status": status, "finished": f"2026-01-0{number + 1}T00:00:00Z"}
        (tmp_path / f"run-{number}" / "manifest.json").write_text(json.dumps(manifest))
    assert command._run(None, tmp_path).name == "run-3" and "no finished run has" in capsys.readouterr().err
    for number in range(3):
        (tmp_path / f"run-{number}" / "review_queue.csv").touch()
    assert command._run(None, tmp_path).name == "run-1" and "this is run-1" in capsys.readouterr().err
    assert command._run(None, tmp_path, for_batch=True).name == "run-3" and not capsys.readouterr().err


def test_another_port_is_told(
    session_of: Sessions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(command, "DEFAULT_PORT", port := taken.getsockname()[1])
        server = command._server(session_of(), "127.0.0.1", None)
    server._socket.close()
    assert server.port != port and f"port {port} is taken" in capsys.readouterr().err


def test_imported_decisions_are_not_undone_by_the_reviewer(session_of: Sessions) -> None:
    session = session_of()
    session.journal.append(
        LabelEvent(decision="skip", window_id="w000", annotator="ana", source="import:old.csv", given="consolidation")
    )
    assert session.undo("e" * 32) is None
