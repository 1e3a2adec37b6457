"""Addresses that cannot be listened on: what is wrong, and which option mends it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from moola.errors import MoolaError
from moola.web.serving import PageServer, open_server


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody asks")


@pytest.mark.parametrize("host", ["no host", "a..b", "192.0.2.1", "::ffff:192.0.2.1"])
def test_a_host_that_is_none_of_this_machine_is_no_matter_of_ports(host: str) -> None:
    with pytest.raises(MoolaError) as caught:
        open_server(lambda number: PageServer(app, "dash", host, number), None, 0, lambda free: None)
    assert "moola dash cannot listen on" in caught.value.what and f"--host {host}: " in caught.value.why
    assert "--host" in caught.value.way_out and "port" not in caught.value.spoken()


def test_a_port_that_is_taken_is_told_unless_nobody_chose_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(MoolaError, match=rf"moola dash cannot listen on 127.0.0.1, port {taken}\n") as caught:
            open_server(lambda number: PageServer(app, "dash", port=number), taken, 1, lambda free: None)
        assert "--port 0" in caught.value.way_out
        told: list[int] = []
        server = open_server(lambda number: PageServer(app, "dash", port=number), None, taken, told.append)
        assert told == [server.port] and server.port != taken
        server._socket.close()
