"""Connections that break while files travel: everything arrives in the end, or nothing has a name yet."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moola.pods.bundle import Bundle
from moola.pods.patience import Patience
from moola.pods.results import pull
from moola.pods.ssh import HostKeyError, SshConnection
from moola.pods.transfer import push
from moola.pods.wire import ConnectionLostError

RUN = "market-584a4514f71f"
LARGE = 4_000_000
HELLO_BYTES = 30_000
"""More than a login and a first request send up."""
HOSTILE_NAMES = [
    "a b",
    "q'uote",
    'dq"',
    "new\nline",
    "semi;colon",
    "$(touch pwned)",
    "`id`",
    "-rf",
    "*",
    "~",
    "ü\u2028",
    "\\",
]


@pytest.fixture
def contents() -> dict[str, bytes]:
    noise = random.Random(7)
    small = {f"src/{name}": name.encode() for name in HOSTILE_NAMES}
    return {**small, "data/large.bin": noise.randbytes(LARGE), "data/other.bin": noise.randbytes(200_000)}


@pytest.fixture
def through(connect: Callable[..., SshConnection], sshd: Any, faulty_proxy: Any) -> SshConnection:
    """A connection through the proxy."""
    return connect(sshd.target(port=faulty_proxy.port))


def patience() -> Patience:
    return Patience(attempts=4, pause_s=0.01)


def check(
    what: str, up: bool, after: int, machine: Any, proxy: Any, connection: SshConnection, bundle: Bundle, into: Path
) -> None:
    """Push or pull with one fault and compare every byte."""
    contents = {file.path: bundle.open_object(file.sha256) for file in bundle.files}
    expected = {path: handle.read() for path, handle in contents.items()}
    for handle in contents.values():
        handle.close()
    if not up:
        push(connection, str(machine.root), bundle, RUN)
        connection.close()
    proxy.fail(what, up=up, after=after)
    logins = proxy.seen
    if up:
        report = push(connection, str(machine.root), bundle, RUN, patience=patience())
        there = Path(report.project)
        sent = report.sent_bytes
    else:
        fresh = SshConnection(connection.target, python=os.path.realpath(sys.executable))
        with fresh:
            sent = pull(fresh, str(machine.root), RUN, ["**"], into, patience=patience()).fetched_bytes
        there = into
    assert {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("*") if path.is_file()} == expected
    assert proxy.seen >= logins + 2, "the fault did not happen"
    total = sum(map(len, expected.values()))
    assert total <= sent < 2 * total


@pytest.mark.parametrize(
    ("what", "up", "after"),
    [
        ("cut", True, HELLO_BYTES + 3_000_000),
        ("flip", True, HELLO_BYTES + 2_000_000),
        pytest.param("reset", True, HELLO_BYTES + 500_000, marks=pytest.mark.slow),
        ("cut", False, 3_000_000),
        pytest.param("flip", False, 2_000_000, marks=pytest.mark.slow),
        pytest.param("reset", False, 100_000, marks=pytest.mark.slow),
    ],
)
def test_one_fault_costs_nothing_but_time(
    what: str,
    up: bool,
    after: int,
    sshd: Any,
    faulty_proxy: Any,
    through: SshConnection,
    bundle_of: Callable[..., Bundle],
    contents: dict[str, bytes],
    tmp_path: Path,
) -> None:
    check(what, up, after, sshd, faulty_proxy, through, bundle_of(contents), tmp_path / "into")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_faults_at_random_bytes(
    seed: int,
    sshd: Any,
    faulty_proxy: Any,
    through: SshConnection,
    bundle_of: Callable[..., Bundle],
    contents: dict[str, bytes],
    tmp_path: Path,
) -> None:
    draw = random.Random(seed)
    what, up = draw.choice(["cut", "reset", "flip", "stall"]), draw.random() < 0.5
    after = draw.randrange(4000, LARGE)
    check(what, up, after, sshd, faulty_proxy, through, bundle_of(contents), tmp_path / "into")


def test_line_that_cuts_again_and_again_brings_it_all(
    sshd: Any,
    faulty_proxy: Any,
    through: SshConnection,
    bundle_of: Callable[..., Bundle],
    contents: dict[str, bytes],
    tree_of: Any,
) -> None:
    faulty_proxy.fail("cut", after=2_000_000, connections=3)
    report = push(through, str(sshd.root), bundle_of(contents), RUN, patience=patience())
    assert tree_of(Path(report.project)) == contents
    assert faulty_proxy.seen >= 3


def test_dead_line_is_given_up_and_nothing_has_a_name(
    sshd: Any, through: SshConnection, bundle_of: Callable[..., Bundle], contents: dict[str, bytes], tree_of: Any
) -> None:
    push(through, str(sshd.root), bundle_of({"a": b"a"}), RUN)
    sshd.stop()
    with pytest.raises(ConnectionLostError):
        push(through, str(sshd.root), bundle_of(contents), RUN, patience=patience())
    assert tree_of(sshd.root / "runs" / RUN / "project") == {"a": b"a"}


def test_other_machine_after_a_cut_gets_nothing(
    sshd: Any, through: SshConnection, faulty_proxy: Any, bundle_of: Callable[..., Bundle], contents: dict[str, bytes]
) -> None:
    """Whoever takes the place of a pod in the middle of a push is refused, and not tried again."""

    def swap(done: int, total: int) -> None:
        if done > 1_000_000 and not swapped:
            swapped.append(True)
            sshd.stop()
            sshd.new_host_key()
            sshd.start()

    swapped: list[bool] = []
    with pytest.raises(HostKeyError):
        push(through, str(sshd.root), bundle_of(contents), RUN, progress=swap, patience=patience())
    assert not (sshd.root / "runs" / RUN / "tree.json").exists()


@pytest.mark.slow
def test_silent_line_is_noticed(
    sshd: Any, faulty_proxy: Any, through: SshConnection, bundle_of: Callable[..., Bundle], contents: dict[str, bytes]
) -> None:
    faulty_proxy.fail("stall", after=HELLO_BYTES + 2_000_000)
    started = time.monotonic()
    push(through, str(sshd.root), bundle_of(contents), RUN, patience=patience())
    assert 5 < time.monotonic() - started < 60
