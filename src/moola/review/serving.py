"""The server's address, and its life until Ctrl-C."""

from __future__ import annotations

import contextlib
import secrets
import socket

import uvicorn

from moola.errors import ConfigError
from moola.review.app import create_app
from moola.review.security import Gate
from moola.review.session import ReviewSession

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared with, never chosen for the user)


class ReviewServer:
    """A session behind a gate on a port; made before it serves, so that its address can be told.

    Args:
        session: what is reviewed.
        host: address to listen on.
        port: to listen on; 0 lets the system choose.
        token: the secret of the address; None: a new one.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(
        self, session: ReviewSession, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ) -> None:
        self.host, self.token = host, token or secrets.token_urlsafe(24)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
            # Connections inherit it; without, the content of a page waits 40 ms for the browser to confirm its header.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                [f"--host {host} --port {port}: {why}"], "choose another port, or --port 0 for a free one"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        own = {socket.gethostname()} if host in EVERY_ADDRESS else {f"[{host}]" if ":" in host else host}
        gate = Gate(create_app(session), token=self.token, port=self.port, hosts=own, any_address=host in EVERY_ADDRESS)
        self._server = uvicorn.Server(
            uvicorn.Config(gate, log_level="warning", access_log=False, lifespan="off", server_header=False, ws="none")
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
