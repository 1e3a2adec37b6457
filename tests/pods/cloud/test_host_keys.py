"""Whose port it is: keys that are shown against fingerprints that were printed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moola.errors import ConfigError, MissingPackageError
from moola.pods import host_keys
from moola.pods.ssh import HostKeyError

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
needs_sshd = pytest.mark.skipif(
    SSHD is None and not os.environ.get("CI"), reason="openssh-server is not installed (apt install openssh-server)"
)


def make_key(folder: Path, kind: str) -> tuple[str, str]:
    """A key pair's public line without comment, and what ``ssh-keygen -lf`` prints about it."""
    path = folder / f"ssh_host_{kind}_key"
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", "root@pod", "-f", path], check=True)
    printed = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True).stdout
    return path.with_suffix(".pub").read_text().rpartition(" ")[0], printed.strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("keys")
    return {kind: make_key(folder, kind) for kind in ("ed25519", "ecdsa", "rsa")} | {"folder": (str(folder), "")}


def test_what_ssh_keygen_prints_is_understood(keys):
    for kind in ("ed25519", "ecdsa", "rsa"):
        line, printed = keys[kind]
        assert host_keys.printed_fingerprints([printed]) == {kind.upper(): host_keys.fingerprint(line)}


def test_the_log_around_the_fingerprints_does_not_matter_and_the_last_boot_counts(keys, tmp_path):
    newer, printed = make_key(tmp_path, "ed25519")
    log = ["Setting up SSH...", f"2026-06-01T12:00:00Z {keys['ed25519'][1]}", "SHA256:nothing", printed, "ready"]
    assert host_keys.printed_fingerprints(log) == {"ED25519": host_keys.fingerprint(newer)}


def test_keys_whose_fingerprints_were_printed_are_pinned(keys):
    shown = [keys[kind][0] for kind in ("ed25519", "ecdsa", "rsa")]
    printed = host_keys.printed_fingerprints([keys["ed25519"][1], keys["rsa"][1]])
    assert host_keys.verified(shown, printed, pod="p") == (keys["ed25519"][0], keys["rsa"][0])


def test_a_swapped_key_is_refused_even_beside_a_right_one(keys, tmp_path):
    other, _ = make_key(tmp_path, "ed25519")
    printed = host_keys.printed_fingerprints([keys["ed25519"][1], keys["rsa"][1]])
    with pytest.raises(HostKeyError, match="is not pod p") as caught:
        host_keys.verified([other, keys["rsa"][0]], printed, pod="p")
    assert host_keys.fingerprint(other) in caught.value.why
    assert host_keys.fingerprint(keys["ed25519"][0]) in caught.value.why


def test_keys_of_which_none_was_printed_are_refused(keys):
    with pytest.raises(HostKeyError):
        host_keys.verified([keys["ecdsa"][0]], host_keys.printed_fingerprints([keys["rsa"][1]]), pod="p")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b", "a;b", "$(id)", "a\nb"])
def test_a_host_that_could_be_an_option_or_a_command_is_none(host):
    with pytest.raises(ConfigError):
        host_keys.scan(host, 22)


@pytest.fixture
def sshd_port(keys, tmp_path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    words = [SSHD, "-D", "-e", "-f", "/dev/null", "-p", str(port), "-o", "ListenAddress=127.0.0.1"]
    files = [f"-h{keys['folder'][0]}/ssh_host_{kind}_key" for kind in ("ed25519", "rsa")]
    with subprocess.Popen([*words, *files], stderr=subprocess.DEVNULL) as process:
        yield port
        process.terminate()


@needs_sshd
def test_a_real_sshd_shows_its_keys(keys, sshd_port):
    until = time.monotonic() + 10
    while not (shown := host_keys.scan("127.0.0.1", sshd_port)) and time.monotonic() < until:
        time.sleep(0.1)
    assert set(shown) == {keys["ed25519"][0], keys["rsa"][0]}
    printed = host_keys.printed_fingerprints([keys["ed25519"][1], keys["rsa"][1]])
    assert host_keys.verified(shown, printed, pod="p") == shown


def test_nobody_answers():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert host_keys.scan("127.0.0.1", probe.getsockname()[1], timeout_s=1) == ()


def test_who_answers_with_something_else_shows_no_key():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        assert host_keys.scan("127.0.0.1", server.getsockname()[1], timeout_s=1) == ()


def test_a_machine_without_ssh_keyscan_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingPackageError, match="openssh-client"):
        host_keys.scan("127.0.0.1", 22)
