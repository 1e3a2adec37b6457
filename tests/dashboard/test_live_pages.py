"""One poll for all who watch the same; only what changed is sent; every stream has an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from moola.dashboard.live_pages import Viewers, digest_of


class Counted:
    """A view that counts how often it is made and asked."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.content = {"still": "a", "moving": "0"}
        self.asked = 0

    def fragments(self) -> dict[str, str]:
        self.asked += 1
        return dict(self.content)


def played(scene: Callable[[Viewers, Counted], Awaitable[None]]) -> None:
    async def play() -> None:
        Counted.made = 0
        viewers, view = Viewers(tick_s=0.005), Counted()
        try:
            await asyncio.wait_for(scene(viewers, view), 10)
        finally:
            viewers.end()

    with ThreadPoolExecutor(1) as thread:  # the browser of other tests has a loop in this one
        thread.submit(asyncio.run, play()).result()


async def news(stream: AsyncIterator[str]) -> dict[str, str]:
    """The next event's fragments."""
    async for text in stream:
        if text.startswith("id:"):
            return json.loads(text.partition("data: ")[2])
    raise AssertionError("the stream has ended")


def test_all_viewers_of_a_page_share_one_poll_and_get_what_changed() -> None:
    async def scene(viewers: Viewers, view: Counted) -> None:
        streams = [viewers.watch("page", lambda: view, "") for _ in range(20)]
        assert all([await news(stream) == view.content for stream in streams])
        before = view.asked
        view.content["moving"] = "1"
        assert [await news(stream) for stream in streams] == [{"moving": "1"}] * 20
        assert view.asked - before < 10
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.02)
        idle = view.asked
        await asyncio.sleep(0.05)
        assert view.asked == idle, "nobody watches"

    played(scene)


def test_a_slow_viewer_gets_the_latest_and_whoever_has_it_gets_nothing() -> None:
    async def scene(viewers: Viewers, view: Counted) -> None:
        slow = viewers.watch("page", lambda: view, "")
        await news(slow)
        for number in range(1, 6):
            view.content["moving"] = str(number)
            await asyncio.sleep(0.02)
        assert await news(slow) == {"moving": "5"}
        back = viewers.watch("page", lambda: view, digest_of(view.content))
        waiting = asyncio.ensure_future(news(back))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        view.content["moving"] = "6"
        assert await waiting == {"moving": "6"}

    played(scene)


def test_streams_end_with_the_server_and_with_a_view_that_breaks() -> None:
    async def scene(viewers: Viewers, view: Counted) -> None:
        async def rest(stream: AsyncIterator[str]) -> list[str]:
            return [text async for text in stream]

        def broken() -> Any:
            raise RuntimeError("a defect")

        assert await rest(viewers.watch("broken", broken, "")) == ["retry: 1000\n\n"]
        waiting = asyncio.ensure_future(rest(viewers.watch("page", lambda: view, "")))
        await asyncio.sleep(0.03)
        viewers.end()
        assert (await waiting)[-1] == ": still here\n\n"

    played(scene)


@pytest.mark.parametrize("change", [{"a": "1"}, {"a": "0", "b": ""}, {}])
def test_a_digest_tells_pages_apart(change: dict[str, str]) -> None:
    assert digest_of({"a": "0"}) != digest_of(change) and digest_of(change) == digest_of(dict(change))
