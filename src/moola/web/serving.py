"""The server's address, and its life until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from moola.errors import MoolaError
from moola.web.security import Gate

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared with, never chosen for the user)


_OF_HOST = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
"""What a system says of an address that is none of its own; all else is a matter of the port."""


class AddressError(MoolaError):
    """An address cannot be listened on."""


class PageServer:
    """An app behind a gate on a port; made before it serves, so that its address can be told.

    Args:
        app: ASGI application.
        command: of moola that serves, as in ``moola COMMAND``.
        host: address to listen on.
        port: to listen on; 0 lets the system choose.
        token: the secret of the address; None: a new one.
        ending: called in the event loop before the server waits for answers under way: those that would never end of
            themselves are to end now.

    Raises:
        AddressError: the address cannot be listened on.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        command: str,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self.host, self.token = host, token or secrets.token_urlsafe(24)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
            # Connections inherit it; without, the content of a page waits 40 ms for the browser to confirm its header.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError, UnicodeError) as error:
            raise _address_error(command, host, port, error) from error
        self.port = int(self._socket.getsockname()[1])
        own = {socket.gethostname()} if host in EVERY_ADDRESS else {f"[{host}]" if ":" in host else host}
        gate = Gate(app, command, token=self.token, port=self.port, hosts=own, any_address=host in EVERY_ADDRESS)
        self._server = _Server(
            uvicorn.Config(gate, log_level="warning", access_log=False, lifespan="off", server_header=False, ws="none"),
            ending,
        )

    @property
    def url(self) -> str:
        """Address of the first page, with the token."""
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        """Answer until `stop`, or until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn finishes its answers and raises it again
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `serve` from another thread, after the answers under way."""
        self._server.should_exit = True


def _address_error(command: str, host: str, port: int, error: Exception) -> AddressError:
    what = f"moola {command} cannot listen on {f'[{host}]' if ':' in host else host}"
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, (socket.gaierror, UnicodeError)) or getattr(error, "errno", 0) in _OF_HOST:
        way_out = "leave --host out for this machine alone, or give one of its addresses, or 0.0.0.0 for all of them"
        return AddressError(what, f"--host {host}: {why}", way_out)
    return AddressError(f"{what}, port {port}", why, "choose another port with --port, or --port 0 for a free one")


class _Server(uvicorn.Server):
    """Tells its app that the end has come; uvicorn itself would wait for open streams for ever."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def open_server(
    build: Callable[[int], PageServer], port: int | None, usual: int, tell: Callable[[int], None]
) -> PageServer:
    """A server on the port that was asked for; where none was, on the usual one, or on a free one.

    Args:
        build: makes a server on a port.
        port: as asked for; None: the user named none.
        usual: always the same, so that a browser finds again what it kept.
        tell: called with the port that was chosen because the usual one is taken.

    Raises:
        AddressError: the address cannot be listened on.
    """
    if port is not None:
        return build(port)
    try:
        return build(usual)
    except AddressError:
        server = build(0)
        tell(server.port)
        return server
