"""The review app as a reviewer meets it: a real server, a real browser, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


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
    assert "Blacklisted" in tab.page.inner_text(".outcome").capitalize()
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


def test_two_tabs_see_one_truth(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve()
    one, two = reviewer(server), reviewer(server)
    one.press("2")
    one.at("w001")
    one.logged(1)
    two.until("document.querySelector('.outcome').textContent.includes('relabelled as retracement')")
    assert two.page.inner_text("#decided") == "1 of 30"
    two.press("u")
    one.until("document.getElementById('decided').textContent === '0 of 30'")
    assert len(two.logged(2)) == 2


def test_a_lost_connection_loses_no_decision(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    server = serve()
    tab = reviewer(server)
    tab.until("windows.has('w001') && windows.has('w002') && windows.has('w003')")
    tab.page.wait_for_timeout(200)
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
    tab.press("ArrowLeft", "ArrowLeft", "ArrowRight", "2", "a")
    events = tab.logged(2)
    assert (events[0].start, events[0].end) == (15, 28)
    assert (events[1].start, events[1].end) == (None, None)  # nobody touched them


def test_a_blind_window_shows_nobodys_opinion(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve(blind=1.0))
    text = tab.page.inner_text("main")
    assert "quality" not in text and "finetuned" not in text and "issue" not in text
    tab.press("a")
    tab.until("document.getElementById('toast').textContent.startsWith('Blind')")
    tab.press("1")
    tab.at("w001")
    (event,) = tab.logged(1)
    assert event.blind and event.decision == "accept" and event.label == "consolidation"


def test_filters_live_in_the_address(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve(), "&priority=3&label=retracement&undecided=1")
    assert tab.window == "w003"
    tab.press("a")
    tab.at("w009")
    assert tab.page.inner_text("#decided") == "1 of 5" or tab.logged(1)
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
    assert tab.page.evaluate(
        "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
    ) == [0, 0]


def test_twenty_decisions_at_the_speed_of_fingers(serve: Callable[..., Any], reviewer: Callable[..., Any]) -> None:
    tab = reviewer(serve())
    for i in range(20):
        tab.at(f"w{i:03d}")
        tab.press("a12"[i % 3])
    events = tab.logged(20)
    assert [event.window_id for event in events] == [f"w{i:03d}" for i in range(20)]
    assert len({event.event_id for event in events}) == 20
