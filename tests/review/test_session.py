"""The queue, the log and the pictures without a server."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.drawing import draw_chart
from moola.labels.events import LabelEvent
from moola.labels.pace import pace_of
from moola.review.decisions import Decision
from moola.review.facts import window_facts
from moola.review.opinions import Opinions
from moola.review.queue import QueueFilter, read_queue
from moola.review.session import ReviewSession

Sessions = Callable[..., ReviewSession]
FILTERS = st.builds(
    QueueFilter,
    st.sampled_from(["", "retracement"]),
    st.sampled_from([0, 3]),
    st.sampled_from(["", "against", "split"]),
    st.booleans(),
)


def decide(session: ReviewSession, position: int, number: int) -> None:
    name = hashlib.sha256(f"{session.journal.annotator}{number}".encode()).hexdigest()[:32]
    session.decide(Decision(event_id=name, window_id=session.row(position).window_id, decision="accept"))


def test_ways_from_a_window_are_those_of_a_plain_search(session_of: Sessions) -> None:
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


def test_two_reviewers_decide_for_themselves_and_see_where_they_differ(session_of: Sessions, tmp_path: Path) -> None:
    ana, bob = session_of("ana"), session_of("bob")
    decide(ana, 0, 0)
    bob.refresh()
    assert bob.first(QueueFilter()) == 0  # whatever ana said
    bob.decide(Decision(event_id="b" * 32, window_id="w000", decision="label", label="retracement"))
    ana.refresh()
    told = window_facts(ana, 0, QueueFilter())
    assert "annotators disagree" in told.outcome and "bob: retracement" in told.outcome
    assert ana.label(0) == "consolidation"
    assert bob.undo("c" * 32) is not None
    assert bob.undo("d" * 32) is None  # what ana decided is hers


def test_a_log_that_was_replaced_is_read_anew(session_of: Sessions, tmp_path: Path) -> None:
    session = session_of()
    decide(session, 0, 0)
    decide(session, 1, 1)
    path = session.journal.log.path
    line = path.read_text().splitlines(keepends=True)[1]
    path.unlink()
    path.write_text(line)
    session.refresh()
    assert session.journal.state("w000") is None and session.journal.state("w001") is not None


def test_blind_windows_are_a_share_that_no_reload_changes(session_of: Sessions) -> None:
    drawn = [session_of("ana", blind=0.3).is_blind(i) for i in range(30)]
    assert drawn == [session_of("ana", blind=0.3).is_blind(i) for i in range(30)]
    assert drawn != [session_of("bob", blind=0.3).is_blind(i) for i in range(30)]
    assert 0 < sum(drawn) < 30


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
    queue = read_queue(tmp_path, rows)
    assert [(queue[i].window_id, queue[i].row, queue[i].priority) for i in range(2)] == [("2", 6, 3), ("1", 5, 0)]
    (tmp_path / "label_issues.csv").unlink()
    assert read_queue(tmp_path, rows)[0].label_quality is None


def test_imported_decisions_are_not_undone_by_the_reviewer(session_of: Sessions) -> None:
    session = session_of()
    session.journal.append(
        LabelEvent(decision="skip", window_id="w000", annotator="ana", source="import:old.csv", given="consolidation")
    )
    assert session.undo("e" * 32) is None
