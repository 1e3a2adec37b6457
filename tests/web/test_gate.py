"""The gate by itself: whom it lets through to an app, and what it adds to an answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from moola.web.security import HEADERS, Gate

TOKEN, PORT = "a-token-of-a-test", 8000
HOST = f"127.0.0.1:{PORT}"


def gate_of(*headers: tuple[bytes, bytes], **options: Any) -> Gate:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"inside"})

    return Gate(app, "dash", token=TOKEN, port=PORT, **options)


def answer(gate: Gate, query: str = "", **headers: str) -> tuple[int, list[tuple[str, str]], bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    told = [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()]
    scope = {"type": "http", "method": "GET", "headers": told, "query_string": query.encode()}
    with ThreadPoolExecutor(1) as thread:  # the browser of other tests has a loop in this one
        thread.submit(asyncio.run, gate(scope, None, send)).result()
    named = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    return sent[0]["status"], named, sent[1]["body"]


def test_a_token_opens_the_gate_once_and_its_cookie_from_then_on() -> None:
    status, headers, content = answer(gate_of(), f"token={TOKEN}")
    assert (status, content) == (200, b"inside")
    cookie = dict(headers)["set-cookie"]
    assert cookie == f"moola_dash_{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    status, headers, _ = answer(gate_of(), cookie=cookie.partition(";")[0])
    assert status == 200 and "set-cookie" not in dict(headers)


@pytest.mark.parametrize(
    ("query", "headers", "told"),
    [
        ("", {}, "`moola dash` printed last"),
        ("token=wrong", {}, "token is missing or old"),
        ("", {"cookie": f"moola_review_{PORT}={TOKEN}"}, "token is missing"),
        (f"token={TOKEN}", {"host": "evil.example"}, "is not evil.example"),
        (f"token={TOKEN}", {"host": "127.0.0.1:1"}, "is not 127.0.0.1:1"),
    ],
)
def test_everybody_else_stays_outside(query: str, headers: dict[str, str], told: str) -> None:
    status, _, content = answer(gate_of(), query, **headers)
    assert status == 403 and told in content.decode()


def test_an_address_as_a_number_is_a_name_of_a_server_that_listens_on_all() -> None:
    everywhere = gate_of(any_address=True)
    assert answer(everywhere, f"token={TOKEN}", host=f"10.0.0.7:{PORT}")[0] == 200
    assert answer(everywhere, f"token={TOKEN}", host=f"evil.example:{PORT}")[0] == 403
    assert answer(gate_of(), f"token={TOKEN}", host=f"10.0.0.7:{PORT}")[0] == 403


def test_a_header_of_the_app_stands_and_all_others_are_added() -> None:
    _, headers, _ = answer(gate_of((b"Content-Security-Policy", b"sandbox")), f"token={TOKEN}")
    assert [value for name, value in headers if name.lower() == "content-security-policy"] == ["sandbox"]
    assert {name for name, _ in headers} >= HEADERS.keys() - {"content-security-policy"}
