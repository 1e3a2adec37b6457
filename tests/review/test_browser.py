"""The review app as a reviewer meets it: a real server, a real browser, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from moola.labels.events import LabelEvent
from moola.review.queue import ReviewQueue
from moola.review.session import ReviewMaterial
from moola.review.similar import EmbeddedWindows


def test_every_key(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve())
    tab.at("w000")
    for key, following in zip("a12sb", ("w001", "w002", "w003", "w004", "w005"), strict=True):
        tab.press(key)
        tab.at(following)
    events = tab.logged(5)
    assert [(event.window_id, event.decision, event.label) for event in events] == [
        ("w000", "accept", "consolidation"),
        ("w001", "relabel", "consolidation"),
        ("w002", "relabel", "retracement"),
        ("w003", "skip", None),
        ("w004", "blacklist", None),
    ]
    assert all(event.seconds is not None and event.window_digest and event.run_id == "run-1" for event in events)
    assert (events[0].first_time, events[0].last_time) == (
        "2023-11-14T22:13:20.000000Z",
        "2023-11-14T22:52:20.000000Z",
    )

    tab.press("k")
    tab.at("w004")
    tab.until("document.querySelector('.outcome').textContent.includes('blacklisted')")
    tab.press("j", "j")
    tab.at("w006")
    tab.press("n")
    tab.page.keyboard.type("a wick, no more: 1 a b")
    tab.press("Enter")
    assert (tab.logged(6)[-1].decision, tab.logged(6)[-1].note) == ("note", "a wick, no more: 1 a b")
    assert tab.window == "w006"

    assert not tab.page.is_visible(".picture.after")
    tab.press("h")
    assert tab.page.is_visible(".picture.after") and not tab.page.is_visible(".picture.before")
    tab.press("?")
    assert tab.page.is_visible("#help")
    tab.press("a")  # of a page that covers the window
    tab.press("Escape")
    tab.press("u", "u")
    tab.at("w004")
    assert [event.undoes for event in tab.logged(8)[6:]] == [tab.logged(8)[5].event_id, tab.logged(8)[4].event_id]


def test_a_key_in_the_same_frame_as_the_end_of_a_note_counts(
    serve: Callable[..., Any], reviewer: Callable[..., Any]
) -> None:
    tab = reviewer(serve())
    tab.press("n")
    tab.page.keyboard.type("a wick")
    press = "(key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
    tab.page.evaluate(f"['Enter', 'Enter', 'h'].forEach({press})")
    assert tab.page.is_visible(".picture.after")
    assert [event.note for event in tab.logged(1)] == ["a wick"]


def test_undo_goes_on_across_a_reload_and_decisions_resume_where_one_stopped(
    serve: Callable[..., Any], reviewer: Callable[..., Any]
) -> None:
    server = serve()
    tab = reviewer(server)
    for key, following in zip("2a1", ("w001", "w002", "w003"), strict=True):
        tab.press(key)
        tab.at(following)
    tab.logged(3)
    tab.page.reload()
    tab.at("w003")
    for window in ("w002", "w001", "w000"):
        tab.press("u")
        tab.at(window)
    tab.press("u")
    tab.until("document.getElementById('toast').textContent === 'There is nothing to take back'")
    tab.logged(6)
    assert tab.page.inner_text("#decided") == "0 of 30"
    tab.press("2")
    tab.at("w001")
    tab.logged(7)
    assert reviewer(server).window == "w001"


@pytest.mark.slow
def test_two_tabs_see_one_truth(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve()
    one, two = reviewer(server), reviewer(server)
    one.press("2")
    one.at("w001")
    one.logged(1)
    two.until("document.querySelector('.outcome').textContent.includes('relabelled as retracement')")
    assert two.page.inner_text("#decided") == "1 of 30"
    two.press("u")
    two.logged(2)
    one.ask_again()
    one.until("document.getElementById('decided').textContent === '0 of 30'")


def test_a_lost_connection_loses_no_decision(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve()
    tab = reviewer(server)
    tab.until("windows.has('w001') && windows.has('w002') && windows.has('w003')")
    tab.page.evaluate("Promise.all(windows.values()).then(() => true)")
    server.stop()
    tab.press("2")
    tab.at("w001")  # the next window was there before the connection went
    tab.press("1")
    tab.until("!document.getElementById('lost').hidden")
    tab.until("document.getElementById('lost').textContent.includes('2 decisions are kept')")
    assert not server.log.path.exists()
    serve(port=server.port)
    events = tab.logged(2)
    assert [(event.window_id, event.label) for event in events] == [("w000", "retracement"), ("w001", "consolidation")]
    tab.until("document.getElementById('lost').hidden")


def test_marks_are_dragged_and_written(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve())
    box = tab.page.locator(".handle[data-end=start]").bounding_box()
    bar = (tab.page.locator(".handle[data-end=end]").bounding_box()["x"] - box["x"]) / 19  # from bar 10 to bar 29
    x, y = box["x"] + box["width"] / 2, box["y"] + 100
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 5 * bar, y, steps=3)
    tab.page.mouse.up()
    tab.page.locator(".handle[data-end=end]").focus()
    tab.press("ArrowLeft", "ArrowLeft", "ArrowRight", "2")
    tab.at("w001")
    tab.press("a")
    events = tab.logged(2)
    assert (events[0].start, events[0].end) == (15, 28)
    assert (events[1].start, events[1].end) == (None, None)  # nobody touched them


def test_a_blind_window_shows_nobodys_opinion(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve(blind=1.0)
    said: dict[str, Any] = {"window_id": "w000", "annotator": "bob"}
    server.log.append(
        LabelEvent(decision="relabel", label="retracement", start=11, end=13, **said),
        LabelEvent(decision="note", note="bob was here", **said),
    )
    tab = reviewer(server)
    text = tab.page.inner_text("main")
    assert all(word not in text for word in ("quality", "finetuned", "disagree", "bob", "relabelled", " of 30"))
    assert tab.page.get_attribute(".handles", "data-marked") == ""
    tab.press("a")
    tab.until("document.getElementById('toast').textContent.startsWith('Blind')")
    tab.press("1")
    tab.at("w001")
    event = tab.logged(3)[-1]
    assert event.blind and event.decision == "accept" and event.label == "consolidation"


def test_filters_live_in_the_address(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve(), "&priority=3&label=retracement&undecided=1")
    assert tab.window == "w003"
    tab.press("a")
    tab.at("w009")
    tab.until("document.getElementById('decided').textContent === '1 of 5'")
    assert "token" not in tab.page.url and "priority=3" in tab.page.url
    tab.press("j")
    tab.at("w015")
    tab.press("k")
    tab.at("w009")
    first = "document.getElementById('toast').textContent === 'This is the first window'"
    tab.press("k")
    tab.until(
        f"{first} || location.search.includes('w003')"
    )  # a page fetched ahead may still know the one just decided
    tab.press("k")
    tab.until(first)
    tab.page.check("[name=undecided]")
    tab.page.uncheck("[name=undecided]")
    tab.page.wait_for_url(lambda url: "undecided" not in url)


@pytest.mark.parametrize("size", [(1280, 720), (820, 1180)])
def test_everything_fits_on_the_screen(
    serve: Callable[..., Any], reviewer: Callable[..., Any], size: tuple[int, int]
) -> None:
    tab = reviewer(serve())
    tab.page.set_viewport_size({"width": size[0], "height": size[1]})
    tab.until(f"innerWidth === {size[0]} && innerHeight === {size[1]}")
    assert tab.page.evaluate(
        "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
    ) == [0, 0]
    rows = "new Set([...document.querySelectorAll('.decisions button')].map((one) => one.offsetTop)).size"
    assert tab.page.evaluate(rows) == 1


def test_twenty_decisions_at_the_speed_of_fingers(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve())
    for i in range(20):
        tab.at(f"w{i:03d}")
        tab.press("a12"[i % 3])
    events = tab.logged(20)
    assert [event.window_id for event in events] == [f"w{i:03d}" for i in range(20)]
    assert len({event.event_id for event in events}) == 20


def relabelled(material: ReviewMaterial) -> ReviewQueue:
    """The queue of a run in which the first window has its other label."""
    first = pl.col("window_id") == "w000"
    label = pl.when(first).then(pl.lit("retracement")).otherwise("given_label")
    return ReviewQueue(material.queue.table.with_columns(given_label=label))


def test_a_decision_waits_for_the_run_that_it_is_about(
    serve: Callable[..., Any], reviewer: Callable[..., Any], material: ReviewMaterial
) -> None:
    server = serve()
    tab = reviewer(server)
    server.stop()
    tab.press("a")
    other = serve(port=server.port, run_id="run-2", name="another run", queue=relabelled(material))
    tab.ask_again()
    tab.until("document.getElementById('lost').textContent.includes('another run is reviewed here now')")
    tab.until("document.getElementById('lost').textContent.includes('moola review run-1 --annotator ana')")
    newer = reviewer(other, "&window=w999")
    newer.until("document.getElementById('toast').textContent === 'w999 is not in this queue'")
    newer.until("document.getElementById('stray').textContent.includes('moola review run-1 --annotator ana')")
    newer.at("w000")
    newer.ask_again()
    assert not server.log.path.exists()
    other.stop()
    serve(port=server.port)
    tab.ask_again()
    (event,) = tab.logged(1)
    assert (event.run_id, event.given, event.label) == ("run-1", "consolidation", "consolidation")


def test_a_decision_about_what_has_changed_is_kept_until_somebody_discards_it(
    serve: Callable[..., Any], reviewer: Callable[..., Any], material: ReviewMaterial
) -> None:
    server = serve()
    tab = reviewer(server)
    tab.until("windows.has('w001')")
    tab.page.evaluate("Promise.all(windows.values()).then(() => true)")
    server.stop()
    tab.press("a")
    tab.at("w001")
    tab.press("a")
    serve(port=server.port, queue=relabelled(material))
    tab.ask_again()
    assert [event.window_id for event in tab.logged(1)] == ["w001"]
    told = "document.getElementById('stray').textContent.includes(\"labelled 'retracement' now\")"
    tab.until(told)
    tab.page.reload()
    tab.until(told)
    tab.page.click("[data-act=discard]")
    assert tab.page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith(store)).length") == 0


def test_a_broken_log_loses_no_decision(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve()
    tab = reviewer(server)
    server.log.path.write_text("no event\n")
    tab.ask_again()
    tab.until("document.getElementById('lost').textContent.includes('line 1, is no decision')")
    tab.press("2")
    tab.until("document.getElementById('lost').textContent.includes('line 1, is no decision')")
    server.log.path.unlink()
    tab.ask_again()
    assert [(event.window_id, event.label) for event in tab.logged(1)] == [("w000", "retracement")]
    tab.until("document.getElementById('lost').hidden")
    server.log.path.unlink()
    tab.ask_again()
    tab.until("document.getElementById('gone').textContent.includes('count no more: 1')")
    tab.until("document.getElementById('decided').textContent === '0 of 30'")
    tab.page.reload()
    tab.until("document.getElementById('gone').textContent.includes('count no more: 1')")


def test_keys_decide_nothing_after_the_last_window(
    serve: Callable[..., Any], reviewer: Callable[..., Any], material: ReviewMaterial
) -> None:
    queue = ReviewQueue(material.queue.table.head(12))
    tab = reviewer(serve(queue=queue, space=None))
    press = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
    tab.until(f"{press}, document.getElementById('end')")  # whatever was fetched ahead and whatever is on its way
    tab.press("1", "2", "a", "s", "b")
    assert [event.window_id for event in tab.logged(12)] == [f"w{i:03d}" for i in range(12)]
    assert "moola labels export run-1" in tab.page.inner_text("#end")
    tab.press("k")
    tab.at("w011")
    tab.press("2")
    tab.until("document.getElementById('end')")
    tab.press("j")
    tab.at("w000")
    tab.page.goto(tab.server.url)
    tab.until("document.getElementById('end')")
    tab.press("u")
    tab.at("w011")
    tab.logged(14)
    tab.page.goto(f"{tab.server.url}&label=retracement&undecided=1")
    assert "All 6 windows here are decided" in tab.page.inner_text("#end")


def test_what_a_key_cannot_do_is_told(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve())
    tab.press("7")
    tab.until("document.getElementById('toast').textContent === 'No label has the key 7'")
    tab.press("n")
    tab.page.fill("#note-text", "x" * 2001)
    tab.press("Enter")
    tab.until("document.getElementById('note-length').textContent.startsWith('1 letters too long')")
    tab.press("Backspace", "Enter")
    assert tab.logged(1)[0].note == "x" * 2000


def test_more_like_this_among_all_windows(
    serve: Callable[..., Any], reviewer: Callable[..., Any], material: ReviewMaterial
) -> None:
    space = material.space
    assert space is not None
    embedded = EmbeddedWindows(space.vectors, space.starts, space.reach, space.index)
    tab = reviewer(serve(embedded=embedded))
    for closing in ("m", "Escape"):
        tab.press("m")
        tab.until("document.querySelectorAll('#similar-windows li').length === 12")
        tab.press("a")  # of a page that covers the window
        tab.press(closing)
        tab.until("!document.getElementById('similar').open")
    assert tab.window == "w000"
    tab.page.click("[data-act=similar]")
    tab.page.click("#similar-windows a >> nth=0")
    tab.until("document.querySelector('#window:not(.leaving)').dataset.window !== 'w000'")
    without = reviewer(serve())
    without.press("m")
    without.until("document.getElementById('toast').textContent.includes('moola review run-1 --embeddings')")
