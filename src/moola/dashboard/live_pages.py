"""Pages that follow what they show: one poll for all who watch the same, and only what changed is sent.

A page is made of named fragments of HTML. While anybody watches, its view is asked again and again; fragments that
differ from the last time go to everybody as one server-sent event. A slow viewer gets the latest of each fragment, not
all between. The event's id is a digest of the page: whoever comes back after a lost connection gets all of it, or
nothing where nothing has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
_TICK_S = 0.5
_IDLE_S = 15.0
"""After which a comment is sent, so that a connection that has gone is noticed."""

Fragments = Mapping[str, str]


class _Run(Protocol):
    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class View(Protocol):
    """What a page shows."""

    def fragments(self) -> Fragments:
        """Id of an element -> its content now. Called from one thread at a time."""
        ...


class Viewers:
    """Everybody who watches, page by page.

    Args:
        tick_s: how often a page that is watched is asked.
    """

    def __init__(self, tick_s: float = _TICK_S) -> None:
        self.tick_s = tick_s
        self._thread = ThreadPoolExecutor(1, "pages")  # views share what they have read
        self._topics: dict[str, _Topic] = {}
        self._ended = False

    async def run(self, work: Callable[[], T]) -> T:
        """Do what reads files apart from the event loop, one after another."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def watch(self, name: str, view: Callable[[], View], seen: str) -> AsyncIterator[str]:
        """Server-sent events of a page, until the viewer goes or the server ends.

        Args:
            name: of the page, with all that it depends on; whoever watches the same shares it.
            view: makes what the page shows, where nobody watches it yet.
            seen: digest of the page that the viewer has.
        """
        yield "retry: 1000\n\n"
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(view, self.run, self.tick_s)
        viewer = topic.join()
        try:
            await topic.ready.wait()
            if topic.digest != seen:
                viewer.take(topic.fragments)
            while not (self._ended or topic.ended):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(viewer.news.wait(), _IDLE_S)
                pending = viewer.give()
                if pending:
                    yield f"id: {topic.digest}\ndata: {json.dumps(pending)}\n\n"
                else:
                    yield ": still here\n\n"
        finally:
            topic.leave(viewer)
            if not topic.viewers and self._topics.get(name) is topic:
                del self._topics[name]

    def end(self) -> None:
        """Let every stream come to its end; called in the event loop."""
        self._ended = True
        for topic in self._topics.values():
            topic.end()
        self._thread.shutdown(wait=False)


class _Viewer:
    """What one viewer has not been sent yet."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._pending: dict[str, str] = {}

    def take(self, fragments: Fragments) -> None:
        self._pending |= fragments
        self.news.set()

    def give(self) -> Fragments:
        pending, self._pending = self._pending, {}
        self.news.clear()
        return pending


class _Topic:
    """A page that somebody watches."""

    def __init__(self, view: Callable[[], View], run: _Run, tick_s: float) -> None:
        self.fragments: dict[str, str] = {}
        self.digest = ""
        self.viewers: set[_Viewer] = set()
        self.ready = asyncio.Event()
        self.ended = False
        self._task = asyncio.create_task(self._follow(view, run, tick_s))

    def join(self) -> _Viewer:
        viewer = _Viewer()
        self.viewers.add(viewer)
        return viewer

    def leave(self, viewer: _Viewer) -> None:
        self.viewers.discard(viewer)
        if not self.viewers:
            self._task.cancel()

    def end(self) -> None:
        self._task.cancel()
        self.ended = True
        self.ready.set()
        for viewer in self.viewers:
            viewer.news.set()

    async def _follow(self, view: Callable[[], View], run: _Run, tick_s: float) -> None:
        try:
            own = await run(view)
            while True:
                found = await run(own.fragments)
                changed = {name: content for name, content in found.items() if self.fragments.get(name) != content}
                self.fragments |= changed
                self.digest = digest_of(self.fragments)
                for viewer in self.viewers if self.ready.is_set() and changed else ():
                    viewer.take(changed)
                self.ready.set()
                await asyncio.sleep(tick_s)
        finally:  # after a defect, too, so that nobody waits for ever
            self.end()


def digest_of(fragments: Fragments) -> str:
    """What tells one state of a page from another."""
    return hashlib.sha256(json.dumps(sorted(fragments.items())).encode()).hexdigest()[:16]
