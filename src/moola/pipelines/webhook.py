"""A message when a run ends, to Slack or to any address that takes a POST of ``{"text": ...}``."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.config import reject
from moola.errors import MissingPackageError, MoolaError
from moola.layout import read_json
from moola.pipelines.events import Event
from moola.pipelines.hooks import Hook

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENDS = {"run_finished": "finished", "run_failed": "failed", "run_interrupted": "interrupted"}
_MOST_SIGNS = 1_000
"""Of an error or a verdict; Slack cuts a message off at 40,000."""


@dataclass(frozen=True)
class Webhook(Hook):
    """Tells one address how a run ended; Slack's form of it: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.

    Whoever knows the address can write there, so it is a secret: it is read from the environment, and neither the
    configuration nor any log holds it.

    Attributes:
        url_from: environment variable with the address.
        on: ends that are told.
        timeout_s: after which the run goes on without an answer.
    """

    url_from: str = "MOOLA_WEBHOOK_URL"
    on: tuple[Literal["finished", "failed", "interrupted"], ...] = ("finished", "failed")
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        reject(
            (
                not _VARIABLE.fullmatch(self.url_from),  # not repeated: it may be the secret
                "url_from: must be the name of an environment variable: the address is a secret, and belongs there",
            ),
            (not self.on, "on: needs at least one of finished, failed, interrupted"),
            (not 0 < self.timeout_s <= 60, f"timeout_s: {self.timeout_s} must lie in (0, 60]"),
        )

    def on_event(self, event: Event) -> None:
        """Look for the address when the run starts, so that it is not missed hours later; send when the run ends.

        Raises:
            MoolaError: there is no such variable, the address is none, or the message was not taken.
        """
        if event["event"] == "run_started":
            self._address()
        elif _ENDS.get(event["event"]) in self.on:
            _post(self._address(), message(event), self.timeout_s)

    def _address(self) -> str:
        try:
            import httpx
        except ImportError as error:
            raise MissingPackageError(
                "httpx is not installed", "webhooks need it", "pip install 'moola[pods]'"
            ) from error

        address = os.environ.get(self.url_from, "").strip()
        with contextlib.suppress(httpx.InvalidURL):
            url = httpx.URL(address)
            if url.scheme in ("http", "https") and url.host:
                return address
        raise MoolaError(
            f"the environment variable {self.url_from} holds no web address"
            if address
            else f"{self.url_from} is not set",
            "the webhook's address is read from it",
            f"export {self.url_from}=https://..., or name another variable with stage.hooks.webhook.url_from",
        )


def message(event: Event) -> str:
    """What is said of the end of a run, with ``&``, ``<`` and ``>`` as Slack wants them."""
    folder = Path(event["folder"])
    lines = [
        f"moola: {event['run_id']} {_ENDS[event['event']]} after {event['seconds']:.0f} s on {socket.gethostname()}",
        *(sentence[:_MOST_SIGNS] for sentence in _news(event, folder)),
        str(folder),
    ]
    text = "\n".join(lines)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _news(event: Event, folder: Path) -> list[str]:
    """The error, or the first sentence of the verdict of a run that has one."""
    if "error" in event:
        return [event["error"]]
    path = folder / "summary.json"
    return read_json(path)["verdict"][:1] if path.exists() else []


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """The client logs every address that it asks, secrets and all."""
    logger = logging.getLogger("httpx")

    def refuse(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def _post(url: str, text: str, timeout_s: float) -> None:
    """Send it from a thread: looking up a name, or an answer that trickles, is bound by no timeout of the client.

    Raises:
        MoolaError: it was not taken in time; never with the address.
    """
    import httpx

    outcome: list[str] = []

    def send() -> None:
        try:
            with _unlogged():
                answer = httpx.post(url, json={"text": text}, timeout=timeout_s)
            outcome.append("" if answer.is_success else f"it answered {answer.status_code}")
        except Exception as error:  # of the client, or of a proxy's address; its words may hold the webhook's
            outcome.append(type(error).__name__)

    thread = threading.Thread(target=send, name="webhook", daemon=True)
    thread.start()
    thread.join(timeout_s)
    why = outcome[0] if outcome else f"no answer within {timeout_s:g} s"
    if why:
        raise MoolaError("the webhook did not take the message", why, "the run itself is not touched by that")
