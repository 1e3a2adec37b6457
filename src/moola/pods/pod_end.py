"""How a pod ends itself where its client sleeps: by the key that RunPod puts into the pod.

Whether that key may end the pod is not documented, so it is tried when the supervisor starts: the pod gives itself the
name it has. Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_S = 30.0
_PROBE_S = 20.0
"""For the whole probe: an API that swallows what it is sent takes `_TIMEOUT_S` for each of its addresses."""
_AGENT = "moola"
"""Without a name of its own a program is refused by what stands before many APIs."""
_DONE = (200, 202, 204, 404)
"""404: it is gone already."""
_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


@dataclass(frozen=True)
class Armed:
    """Whether the pod can end itself.

    Attributes:
        armed: it can, as far as can be tried without doing it.
        because: why, or why not.
    """

    armed: bool
    because: str


class PodEnd:
    """Ends the pod that this runs on.

    Args:
        wish: ``{"kind": "none", "because": ...}``, or ``{"kind": "runpod", "api": URL, "pod": ID}``.
    """

    def __init__(self, wish: Mapping[str, Any]) -> None:
        self._wish = wish

    def probe(self) -> Armed:
        """Try what can be tried without ending the pod, for `_PROBE_S` at most."""
        found: list[Armed] = []
        thread = threading.Thread(target=lambda: found.append(self._probe()), name="probe", daemon=True)
        thread.start()
        thread.join(_PROBE_S)
        return found[0] if found else Armed(False, f"the API did not answer within {_PROBE_S:g} s")

    def _probe(self) -> Armed:
        if self._wish.get("kind") != "runpod":
            return Armed(False, str(self._wish.get("because") or "nobody bills this machine by the hour"))
        if not pod_key():
            return Armed(False, "RunPod put no key (RUNPOD_API_KEY) into the pod")
        status, answer = self._ask("GET")
        if status != 200:
            return Armed(False, f"the pod's own key may not read the pod: {_spoken(status, answer)}")
        if not answer.get("name"):  # to give itself another one would hide it from its client
            return Armed(False, "the pod has no name by which it could be tried whether its own key may change it")
        status, answer = self._ask("PATCH", {"name": answer["name"]})
        if status != 200:
            return Armed(False, f"the pod's own key may read the pod and not change it: {_spoken(status, answer)}")
        return Armed(True, "the pod's own key may change the pod")

    def end(self) -> str:
        """End it; what stood in the way, or an empty text."""
        if self._wish.get("kind") != "runpod":
            return self._probe().because
        status, answer = self._ask("DELETE")
        return "" if status in _DONE else _spoken(status, answer)

    def insist(self, try_again: Callable[[str, float], bool]) -> str:
        """End it, and ask again whatever the answer is: a pod that is not ended bills.

        A refusal is no last word: a proxy answers 403, and an API in trouble 401.

        Args:
            try_again: is told what stood in the way and for how many seconds to wait; false gives up.

        Returns:
            What stood in the way in the end, or an empty text.
        """
        pause_s = _PAUSE_S
        while True:
            because = self.end()
            if not because or self._wish.get("kind") != "runpod" or not try_again(because, pause_s):
                return because
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _ask(self, method: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        import http.client
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 (the address is the client's)
            f"{self._wish['api']}/pods/{self._wish['pod']}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {pod_key()}",
                "Content-Type": "application/json",
                "User-Agent": _AGENT,
            },
        )
        try:
            with _opened(request) as answer:
                return answer.code, _json(answer.read())
        except (OSError, http.client.HTTPException) as error:  # an answer that breaks off is no OSError
            return 0, {"title": str(error) or type(error).__name__}


def _opened(request: Any) -> Any:
    """The answer to a request; a refusal is one, too."""
    import urllib.error
    import urllib.request

    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 (the address is the client's)
    except urllib.error.HTTPError as refusal:
        return refusal


def pod_key() -> str:
    """The key of the pod: SSH sessions do not get it, the first process of the container has it."""
    name = "RUNPOD_API_KEY"
    if os.environ.get(name):
        return os.environ[name]
    try:
        entries = Path("/proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    found = [entry.partition(b"=")[2] for entry in entries if entry.startswith(name.encode() + b"=")]
    return found[0].decode(errors="replace") if found else ""


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _spoken(status: int, answer: Mapping[str, Any]) -> str:
    words = [str(answer[key]) for key in ("title", "detail") if answer.get(key)]
    return " ".join(([f"HTTP {status}:"] if status else []) + (words or ["no reason given"]))
