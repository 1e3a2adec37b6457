"""Who is refused, and what a request may not do."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

TOKEN = "a-token-of-a-test"
EVENT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def ask(serve: Callable[..., Any]) -> Callable[..., tuple[int, Any, str]]:
    """Sends one request as its arguments say; None leaves a header out."""
    server = serve()

    def send(
        method: str, path: str, body: Any = None, own_session: str = server.session.name, **changed: str | None
    ) -> tuple[int, Any, str]:
        host = f"127.0.0.1:{server.port}"
        headers = {"Host": host, "Cookie": f"moola_review_{server.port}={TOKEN}"}
        if method == "POST":
            headers |= {"Origin": f"http://{host}", "Content-Type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in changed.items() if value is not None}
        kept = {name: value for name, value in headers.items() if changed.get(name.replace("-", "_"), "") is not None}
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        path += f"{'&' if '?' in path else '?'}session={own_session}"
        link.request(method, path, None if body is None else json.dumps(body), kept)
        answer = link.getresponse()
        content = answer.read().decode()
        link.close()
        return answer.status, answer.headers, content

    send.server = server  # type: ignore[attr-defined]
    return send


@pytest.fixture
def accepted(ask: Any, decision: Any) -> Callable[..., dict[str, Any]]:
    """What the page of a window sends."""

    def body(**changed: Any) -> dict[str, Any]:
        known = changed.get("window_id", "w000") in ask.server.session.material.queue.positions
        shown = decision(ask.server.session, changed.get("window_id", "w000") if known else "w000")
        return {**shown.model_dump(), "event_id": EVENT, **changed}

    return body


def test_only_the_reviewer_gets_in(ask: Any) -> None:
    assert ask("GET", "/")[0] == 200
    for path in ("/", "/fragment", "/news?since=0", "/static/review.js"):
        assert ask("GET", path, Cookie=None)[0] == 403
    assert ask("GET", "/", Cookie=f"moola_review_{ask.server.port}=wrong")[0] == 403
    assert ask("GET", "/?token=wrong", Cookie=None)[0] == 403
    status, headers, _ = ask("GET", f"/?token={TOKEN}", Cookie=None)
    assert status == 200
    assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    csp = headers["content-security-policy"]
    assert "default-src 'none'" in csp and "script-src 'self'" in csp and "unsafe" not in csp


@pytest.mark.parametrize("strange", ['x={"a":1}', "flag", "a[b]=1", "=", "moola_review_1=other", 'q="; moola"'])
def test_cookies_of_other_programs_lock_nobody_out(ask: Any, strange: str) -> None:
    own = f"moola_review_{ask.server.port}={TOKEN}"
    for cookies in (f"{strange}; {own}", f"{own}; {strange}", f"{strange};{own};{strange}"):
        assert ask("GET", "/", Cookie=cookies)[0] == 200
    assert ask("GET", "/", Cookie=f"{strange}; {own}x")[0] == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Cookie": None},
        {"Host": "evil.example:80"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_decisions_of_other_pages_are_refused(ask: Any, accepted: Any, changed: dict[str, str | None]) -> None:
    assert ask("POST", "/decisions?since=0", accepted(), **changed)[0] == 403
    assert ask("POST", "/undo?since=0", {"event_id": EVENT}, **changed)[0] == 403
    assert not ask.server.log.read().events


def test_nothing_changes_by_get(ask: Any) -> None:
    for path in ("/decisions?since=0&window_id=w000&decision=accept", "/undo?since=0"):
        assert ask("GET", path)[0] == 405
    for path in ("/", "/fragment", "/news?since=0"):
        ask("GET", path)
    assert not ask.server.log.path.exists()


def test_a_decision_that_is_sent_twice_counts_once(ask: Any, accepted: Any) -> None:
    answers = [json.loads(ask("POST", "/decisions?since=0", accepted())[2]) for _ in range(2)]
    assert [answer["decided"] for answer in answers] == [1, 1]
    undone = [json.loads(ask("POST", "/undo?since=1", {"event_id": EVENT[::-1]})[2]) for _ in range(2)]
    assert [answer["undone"] for answer in undone] == ["w000", "w000"]
    assert len(ask.server.log.read().events) == 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"decision": "label", "label": "retracment"}, "did you mean 'retracement'?"),
        (
            {"decision": "label", "label": "retracement", "start": 3, "end": 20},
            "marks lie within the zone, bars 10 to 29",
        ),
        ({"decision": "note", "note": "  "}, "the note is empty"),
        ({"decision": "delete"}, "decision"),
        ({"event_id": "short"}, "event_id"),
        ({"more": 1}, "more"),
    ],
)
def test_decisions_that_make_no_sense_are_refused_with_a_sentence(
    ask: Any, accepted: Any, changed: dict[str, Any], told: str
) -> None:
    status, _, content = ask("POST", "/decisions?since=0", accepted(**changed))
    assert status == 422
    assert told in content
    assert not ask.server.log.read().events


def test_pages_of_another_review_get_and_write_nothing(ask: Any, accepted: Any) -> None:
    sessions = ask.server.session.name, f"{ask.server.session.name[:-1]}x"
    for path in ("/fragment", "/similar?window=w000", "/news?since=0"):
        assert ask("GET", path, own_session=sessions[1])[0] == 409
    undo = {"event_id": EVENT[::-1]}
    for path, body in (("/decisions?since=0", accepted()), ("/undo?since=0", undo)):
        status, _, content = ask("POST", path, body, own_session=sessions[1])
        assert (status, json.loads(content)["what"]) == (409, "test run is reviewed here now, by ana")
    assert not ask.server.log.read().events


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"window_id": "w999"}, "w999 is not in the queue"),
        ({"given": "retracement"}, "it was labelled 'retracement' and is labelled 'consolidation' now"),
        ({"given": None}, "it was labelled in no way"),
        ({"window_digest": "0" * 16}, "it had other bars"),
    ],
)
def test_decisions_about_what_is_shown_no_more_are_refused_apart(
    ask: Any, accepted: Any, changed: dict[str, Any], told: str
) -> None:
    status, _, content = ask("POST", "/decisions?since=0", accepted(**changed))
    assert status == 412
    assert told in json.loads(content)["what"] + json.loads(content)["why"]
    assert not ask.server.log.read().events


def test_a_log_that_cannot_be_used_is_told_and_is_no_fault_of_the_decision(ask: Any, accepted: Any) -> None:
    ask.server.log.path.write_text("no event\n")
    for method, path in (("GET", "/fragment"), ("GET", "/news?since=0"), ("POST", "/decisions?since=0")):
        status, _, content = ask(method, path, accepted() if method == "POST" else None)
        assert status == 503 and "line 1, is no decision" in content
    status, headers, content = ask("GET", "/")
    assert status == 503 and headers["content-type"].startswith("text/html") and "line 1, is no decision" in content
    ask.server.log.path.unlink()
    full = OSError(28, "No space left on device", str(ask.server.log.path))
    ask.server.session.journal.log.append = lambda *events: (_ for _ in ()).throw(full)
    status, _, content = ask("POST", "/decisions?since=0", accepted())
    assert status == 503 and "No space left on device" in content


def test_too_much_is_refused_before_it_is_read(ask: Any, accepted: Any) -> None:
    assert ask("POST", "/decisions?since=0", accepted(note="x" * 70_000))[0] == 403
