"""RunPod's REST API v2: requests, answers and refusals. What follows from them is decided elsewhere.

Source: https://docs.runpod.io/api-reference-v2 (OpenAPI 2.0.0). Of what it says, this matters most: 422 is a defect
of the request and never worth a retry; 400 is a full place or a broken rule, which nothing tells apart; 402 is the
balance; 403 a pool that this account may not use; 429 says in Retry-After how long to wait; and a creation that ends
in 5xx or without an answer may have made a pod that bills.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from moola.errors import ConfigError
from moola.pods.clock import Clock
from moola.pods.log_stream import LogLine, read_log_stream
from moola.pods.provider import LostAnswerError, PodError, RefusedHereError

if TYPE_CHECKING:
    import ssl

    import httpx

API_URL = "https://api.runpod.io/v2"
KEY_PAGE = "https://console.runpod.io/user/settings"
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
"""Tries of a request that may be repeated."""
_LONGEST_WAIT_S = 120.0
"""What a client sits through when it is asked to wait: the window of a minute, not that of an hour."""
_MAX_BODY = 102_400
_MAX_TAIL = 5000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ApiError(PodError):
    """The API refused a request.

    Args:
        what: as of every error.
        why: as of every error.
        way_out: as of every error.
        status: of HTTP; 0: there was no answer.
    """

    def __init__(self, what: str, why: str = "", way_out: str = "", *, status: int = 0) -> None:
        super().__init__(what, why, way_out)
        self.status = status


class RunpodApi:
    """A client of one account; it keeps no connection, and as a context manager no client either.

    Args:
        key: the API key; it is sent in a header and shown nowhere.
        url: where the API is; anything but https only on this machine.
        tell: is told why a request takes longer.
        clock: for tests.
        log_idle_s: a log that says nothing for that long is taken to have said all there is.

    Raises:
        ConfigError: the key cannot be one, or the address would send it in the clear.
    """

    def __init__(
        self,
        key: str,
        url: str = API_URL,
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
        log_idle_s: float = 2.0,
    ) -> None:
        import httpx

        import moola

        key = key.strip()
        _check(key, url)
        self._tell, self._clock, self._log_idle_s = tell, clock or Clock(), log_idle_s
        headers = {"Authorization": f"Bearer {key}", "User-Agent": f"moola/{moola.__version__}"}
        once = httpx.Limits(max_keepalive_connections=0)  # a laptop that slept comes back to dead connections
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, limits=once, verify=_trusted())

    def __enter__(self) -> RunpodApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the client go."""
        self._http.close()

    def gpus(self, cloud: str, count: int = 1, min_cuda: str = "") -> list[dict[str, Any]]:
        """GPU types with price and stock for pods of `count` GPUs in a tier."""
        query = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud, "count": count}
        return self._listed("catalog/gpus", "gpus", query | ({"minCudaVersion": min_cuda} if min_cuda else {}))

    def data_centers(self) -> list[dict[str, Any]]:
        """Every data centre."""
        return self._listed("catalog/datacenters", "dataCenters", {})

    def network_volumes(self) -> list[dict[str, Any]]:
        """Every network volume of the account."""
        return self._listed("network-volumes", "networkVolumes", {})

    def pods(self) -> list[dict[str, Any]]:
        """Every pod of the account."""
        return self._listed("pods", "pods", {})

    def pod(self, pod_id: str) -> dict[str, Any] | None:
        """A pod; None: there is none of that id."""
        answer = self._repeated("GET", _pod_path(pod_id), missing_is_fine=True)
        return None if answer is None else _json(answer)

    def delete_pod(self, pod_id: str) -> None:
        """End a pod for good; one that is gone is fine."""
        self._repeated("DELETE", _pod_path(pod_id), missing_is_fine=True)

    def billing(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """The bill of every pod by day, US dollars."""
        query = {"startTime": _rfc3339(since), "endTime": _rfc3339(until), "bucketSize": "day"}
        return self._listed("billing/pods", "records", query)

    def server_time(self) -> datetime | None:
        """What the API's clock says, to the second; None: it does not."""
        answer = self._repeated("GET", "pods")
        date = answer.headers.get("Date") if answer is not None else None
        return parsedate_to_datetime(date) if date else None

    def create_pod(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a pod. Repeated only after a 429, which made none: another repetition could make a second one.

        Raises:
            RefusedHereError: 400 or 403.
            LostAnswerError: 5xx, or no answer to a request that may have arrived.
            ApiError: 401, 402, 422 and the rest: no place will do.
        """
        import httpx

        content = json.dumps(body).encode()
        if len(content) > _MAX_BODY:
            raise ApiError("the request for a pod is too large", f"{len(content):,} bytes, {_MAX_BODY:,} are allowed")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._http.post("pods", content=content, headers={"Content-Type": "application/json"})
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                raise _unreachable(self._http, error) from error
            except httpx.HTTPError as error:
                raise LostAnswerError("the API did not answer the request for a pod", _words(error)) from error
            if answer.status_code != 429 or attempt == _ATTEMPTS:
                return self._created(answer)
            self._wait(answer)
        raise AssertionError("unreachable")

    def _created(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 500 or (answer.is_success and not _is_object(answer)):
            raise LostAnswerError("the API failed while it made a pod", _said(answer))
        if answer.status_code in (400, 403):
            unsure = answer.status_code == 400
            raise RefusedHereError("no pod here", _said(answer), may_be_the_request=unsure)
        if not answer.is_success:
            raise _refusal(answer)
        return _json(answer)

    def log_lines(self, pod_id: str, source: str, tail: int = 100, after: str = "") -> list[LogLine]:
        """Lines of a pod's log that are there now, the oldest first; none where it is empty, or there is no such pod.

        A container's log is believed to be empty only after as long as any answer may take: it holds the host keys'
        fingerprints, and with none a key may be taken on trust.

        Args:
            pod_id: whose.
            source: ``container`` is what it prints, ``system`` what its host does.
            tail: how many of the last ones, 5000 at most.
            after: cursor of the last line that is known; then `tail` does not count.

        Raises:
            ApiError: the log cannot be read, which says nothing of what is in it.
        """
        lines = self._log(pod_id, source, min(tail, _MAX_TAIL), after, self._log_idle_s)
        if lines or after or source != "container":
            return lines
        return self._log(pod_id, source, min(tail, _MAX_TAIL), after, _TIMEOUT_S)

    def _log(self, pod_id: str, source: str, tail: int, after: str, silence_s: float) -> list[LogLine]:
        """What `log_lines` is asked for, up to the first silence of so many seconds."""
        import httpx

        query, headers = {"source": source, "tail": tail}, {"Last-Event-ID": after} if after else {}
        for attempt in range(1, _ATTEMPTS + 1):
            answer = self._repeated(
                "GET", f"{_pod_path(pod_id)}/logs", query, missing_is_fine=True, headers=headers, stream=True
            )
            try:
                return [] if answer is None else self._read_log(answer, None if after else tail, silence_s)
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS:
                    raise _unreachable(self._http, error) from error
                self._back_off(attempt, _words(error))
        raise AssertionError("unreachable")

    def _read_log(self, answer: httpx.Response, most: int | None, silence_s: float) -> list[LogLine]:
        """Lines of a stream that has begun, `most` at most; it has no end: silence is how it says that this was all."""
        import httpx

        lines: list[LogLine] = []
        until = self._clock.now() + _TIMEOUT_S
        answer.request.extensions["timeout"]["read"] = silence_s  # its headers may take as long as any answer
        with contextlib.closing(answer), contextlib.suppress(httpx.ReadTimeout):
            for line in read_log_stream(answer.iter_lines()):
                lines.append(line)
                if self._clock.now() > until or len(lines) == most:
                    break
        return lines

    def _listed(self, path: str, name: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All pages of a list; the specification shows one page, the service may send a cursor for the next."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = self._repeated("GET", path, {**query, **({"cursor": cursor} if cursor else {})})
            assert answer is not None
            page = _json(answer)
            if not isinstance(page.get(name), list):
                raise ApiError(f"the API's answer has no '{name}'", answer.text[:200], "try again later")
            found += page[name]
            following = page.get("nextCursor") or ""
            if not following or following == cursor:
                return found
            cursor = following

    def _repeated(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        missing_is_fine: bool = False,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> httpx.Response | None:
        """A request that may be repeated without harm; None: 404, where that is fine.

        With `stream` the content of an answer that is no refusal is still to be read.
        """
        import httpx

        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            request = self._http.build_request(method, path, params=query, headers=headers)
            try:
                answer = self._http.send(request, stream=stream)
                if not answer.is_success:
                    answer.read()
            except httpx.HTTPError as error:
                if last:
                    raise _unreachable(self._http, error) from error
                self._back_off(attempt, _words(error))
                continue
            if answer.status_code == 404 and missing_is_fine:
                return None
            if answer.is_success:
                return answer
            if answer.status_code == 429 and not last:
                self._wait(answer)
            elif answer.status_code >= 500 and not last:
                self._back_off(attempt, _said(answer))
            else:
                raise _refusal(answer)
        raise AssertionError("unreachable")

    def _wait(self, answer: httpx.Response) -> None:
        """Sit through what Retry-After asks for."""
        asked = answer.headers.get("Retry-After", "")
        seconds = float(asked) if asked.isdigit() else 5.0
        if seconds > _LONGEST_WAIT_S:
            raise _refusal(answer)
        self._tell(f"RunPod asks to wait {seconds:.0f} s: {_said(answer)}")
        self._clock.sleep(max(seconds, 1.0))

    def _back_off(self, attempt: int, why: str) -> None:
        self._tell(f"RunPod does not answer ({why}); trying again in {2**attempt} s")
        self._clock.sleep(2.0**attempt)


def _check(key: str, url: str) -> None:
    problems: list[str] = []
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        problems.append("the API key is empty or holds letters that no key has (it is not shown here)")
    parts = urlsplit(url)
    if not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        problems.append(f"the API's address {url} would send the key in the clear: it must begin with https://")
    if problems:
        raise ConfigError(problems, f"keys are made at {KEY_PAGE}")


def _pod_path(pod_id: str) -> str:
    return f"pods/{quote(pod_id, safe='')}"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: read once, for it takes as long as several requests."""
    import httpx

    return httpx.create_ssl_context()


def _is_object(answer: httpx.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except (ValueError, RecursionError):
        return False


def _json(answer: httpx.Response) -> dict[str, Any]:
    if not _is_object(answer):
        kind = answer.headers.get("Content-Type", "no type")
        raise ApiError(
            f"{answer.url} answered with {kind} where JSON was due",
            answer.text[:200],
            "a proxy may stand between: look at HTTPS_PROXY",
            status=answer.status_code,
        )
    return answer.json()


def _said(answer: httpx.Response) -> str:
    """What a refusal says (RFC 9457), every violation on a line of its own."""
    problem = answer.json() if _is_object(answer) else {}
    detail = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
    return "\n".join([f"{answer.status_code}: {detail}", *(f"- {one}" for one in problem.get("errors") or [])])


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_WAYS_OUT: Mapping[int, tuple[str, str]] = {
    401: ("RunPod does not know this API key", f"make one at {KEY_PAGE} and set RUNPOD_API_KEY; `moola pod doctor`"),
    402: ("the balance of the RunPod account does not suffice", "add credit at https://console.runpod.io/user/billing"),
    403: ("RunPod does not let this key do that", f"give the key read and write access at {KEY_PAGE}"),
    422: ("RunPod refuses the request as malformed", "look at pod.image, pod.disk_gb and pod.network_volume"),
    429: ("RunPod's limit of requests is used up", "wait for the time it names, then run the same command again"),
}


def _refusal(answer: httpx.Response) -> ApiError:
    if answer.is_redirect:
        what, way_out = "RunPod's API has moved", "upgrade moola"
    else:
        fallback = ("RunPod refused a request", "https://uptime.runpod.io tells of outages; then try again")
        what, way_out = _WAYS_OUT.get(answer.status_code, fallback)
    wait = answer.headers.get("Retry-After", "")
    why = _said(answer) + (f" (wait {wait} s)" if wait else "")
    return ApiError(what, why, way_out, status=answer.status_code)


def _unreachable(http: httpx.Client, error: Exception) -> ApiError:
    way_out = "look at the network and at HTTPS_PROXY, then run the same command again"
    return ApiError(f"cannot reach {http.base_url}", _words(error), way_out)
