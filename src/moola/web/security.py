"""Who may talk to the server: whoever holds the token, from the page itself, under the server's own name.

Without these checks any web page that a user visits could write to 127.0.0.1 (cross-site request forgery), or read the
pages under a name of its own that resolves to it (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qs

Scope = Mapping[str, Any]
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer; one that the app gives itself stays."""
MOST_BYTES = 64 * 1024
"""Of a request's content."""


class Gate:
    """ASGI middleware that lets only the user in.

    A request has to name a host of the server and to carry the token, in the URL or in the cookie that its first answer
    sets; only POST changes anything, and a POST has to come from a page of the server itself.

    Args:
        app: what is behind the gate.
        command: of moola that serves, for the cookie's name and for what a refusal says.
        token: the secret.
        port: that the server listens on.
        hosts: names that it is known by, besides this machine's own loopback names.
        any_address: every address as a number is a host of the server: it listens on all of them, and an address,
            unlike a name, cannot be made to point elsewhere.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        command: str,
        *,
        token: str,
        port: int,
        hosts: Collection[str] = (),
        any_address: bool = False,
    ) -> None:
        self.app, self.command, self.token, self.port, self.any_address = app, command, token, port, any_address
        self.hosts = {"127.0.0.1", "localhost", "[::1]", *hosts}
        self.cookie = f"moola_{command}_{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or answer 403."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self.refusal(scope["method"], headers, scope["query_string"].decode("latin-1"))
        if refusal:
            await _refuse(send, refusal)
            return
        set_cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

        async def with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told = {name.lower() for name, _ in message["headers"]}
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in told]
                if not self._has_cookie(headers):
                    own.append((b"set-cookie", set_cookie.encode()))
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, receive, with_headers)

    def refusal(self, method: str, headers: Mapping[str, str], query: str) -> str:
        """Why a request is refused; empty where it is not."""
        host = headers.get("host", "")
        if not self._is_own(host):
            return f"This server is not {host or 'without a name'}: open the address that it printed."
        if not self._has_cookie(headers) and not self._is_token(parse_qs(query).get("token", [""])[-1]):
            return f"The token is missing or old: open the address that `moola {self.command}` printed last."
        if method in ("GET", "HEAD"):
            return ""
        if headers.get("origin") != f"http://{host}" or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return f"What changes anything is taken from the pages of `moola {self.command}` alone."
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "What is sent has to be JSON."
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return f"What is sent has at most {MOST_BYTES} bytes."
        return ""

    def _is_own(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or port != str(self.port):
            return False
        return name in self.hosts or (self.any_address and _is_address(name.strip("[]")))

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        # Cookies of every other program on this machine come too, and whatever they hold must not lock anybody out.
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Any, why: str) -> None:
    content = why.encode()
    headers = [*HEADERS.items(), ("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(content)))]
    own = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 403, "headers": own})
    await send({"type": "http.response.body", "body": content})
