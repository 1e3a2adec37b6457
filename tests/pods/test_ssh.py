"""The OpenSSH client against real servers of this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from until import wait_for

from moola.errors import ConfigError, MissingPackageError
from moola.pods.ssh import AccessError, HostKeyError, SshConnection, SshTarget, fingerprint
from moola.pods.wire import ConnectionLostError

Connect = Callable[..., SshConnection]


def hello(connection: SshConnection, machine: Any) -> Any:
    return connection.request("hello", {"root": str(machine.root)}, timeout_s=20)


def masters(folder: Path) -> list[int]:
    """Processes of ssh that belong to a connection."""
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.pid] if str(folder) in " ".join(process.cmdline()) else []
    return found


def test_requests_of_several_threads_share_one_login(connect: Connect, sshd: Any, faulty_proxy: Any) -> None:
    connection = connect(sshd.target(port=faulty_proxy.port))
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: hello(connection, sshd), range(8)))
    assert {answer["root"] for answer in answers} == {str(sshd.root)}
    assert faulty_proxy.seen == 1


def test_program_runs_and_shell_is_told(connect: Connect, sshd: Any, tmp_path: Path) -> None:
    connection = connect(sshd.target())
    argv = ["sh", "-c", 'echo "$1" "$WORD"; exit 9', "sh", "$(id) ; 'quoted' \n"]
    process = connection.start(argv, cwd=str(tmp_path), environment={"WORD": "`id`"})
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == (b"$(id) ; 'quoted' \n `id`\n", 9)


def test_shell_for_people_opens_in_the_folder_whatever_its_name(connect: Connect, sshd: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' $(id); c"
    folder.mkdir()
    argv = connect(sshd.target()).shell_argv(str(folder))
    shell = subprocess.run(argv, input=b"echo at=$PWD\nexit\n", capture_output=True, timeout=20, check=False)
    assert f"at={folder}".encode() in shell.stdout, shell


def test_nothing_is_left_of_a_closed_connection(connect: Connect, sshd: Any) -> None:
    connection = connect(sshd.target())
    hello(connection, sshd)
    folder = connection._folder
    assert folder.stat().st_mode & 0o077 == 0
    assert masters(folder)
    connection.close()
    assert not folder.exists()
    wait_for(lambda: not masters(folder))


def test_swapped_host_key_is_refused(connect: Connect, sshd: Any) -> None:
    target = sshd.target()
    hello(connect(target), sshd)
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(HostKeyError, match="not known to be the machine") as caught:
        hello(connect(target), sshd)
    told = str(caught.value)
    assert fingerprint(sshd.host_key) in told and fingerprint(target.host_keys[0]) in told and "--host-key" in told
    assert "moola-" not in told and "known_hosts" not in told, "ssh's own advice is about moola's temporary files"
    assert not sshd.root.joinpath("objects").exists()
    hello(connect(sshd.target()), sshd)


def test_machine_that_comes_back_as_another_is_refused_in_mid_work(connect: Connect, sshd: Any) -> None:
    connection = connect(sshd.target())
    hello(connection, sshd)
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    wait_for(lambda: not connection._socket.exists())
    with pytest.raises(HostKeyError):
        hello(connection, sshd)


def test_host_that_nobody_knows_is_refused(connect: Connect, sshd: Any) -> None:
    """Without pinned keys the user's known_hosts decides, which holds no key of a server made just now."""
    with pytest.raises(HostKeyError, match=r"known_hosts has no key for \[127.0.0.1\]:") as caught:
        hello(connect(sshd.target(host_keys=None)), sshd)
    assert "--host-key" in caught.value.way_out and f"-p {sshd.port} 127.0.0.1" in caught.value.way_out


def test_wrong_key_is_refused(connect: Connect, sshd: Any, make_sshd: Any) -> None:
    with pytest.raises(AccessError, match="refuses to let you in"):
        hello(connect(sshd.target(identity=make_sshd().key)), sshd)


def test_machine_that_is_not_there(connect: Connect, make_sshd: Any) -> None:
    machine = make_sshd()
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match=r"cannot reach (.|\n)*refused"):
        hello(connect(machine.target()), machine)
    assert time.monotonic() - started < 5


def test_machine_that_never_answers(connect: Connect, sshd: Any, faulty_proxy: Any) -> None:
    """A port that takes connections is no sshd yet: only an authenticated session that answers counts."""
    for after in (0, 1500):
        faulty_proxy.fail("stall", up=False, after=after)
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match="cannot reach"):
            hello(connect(sshd.target(port=faulty_proxy.port), connect_timeout_s=0.4), sshd)
        assert time.monotonic() - started < 6


def test_late_machine_is_reached_by_the_next_request(connect: Connect, make_sshd: Any) -> None:
    machine = make_sshd()
    connection = connect(machine.target())
    with pytest.raises(ConnectionLostError):
        hello(connection, machine)
    machine.start()
    assert hello(connection, machine)["root"] == str(machine.root)


def test_lost_connection_is_made_again(connect: Connect, sshd: Any) -> None:
    said: list[str] = []
    connection = connect(sshd.target(), log=said.append)
    hello(connection, sshd)
    sshd.stop()
    wait_for(lambda: not connection._socket.exists())
    sshd.start()
    hello(connection, sshd)
    assert len(said) == 1 and said[0].endswith("again")


def test_machine_that_vanishes_during_a_request(connect: Connect, sshd: Any) -> None:
    connection = connect(sshd.target())
    hello(connection, sshd)
    timer = threading.Timer(0.5, sshd.stop)
    timer.start()
    with pytest.raises(ConnectionLostError):
        connection.request("tail", {"root": str(sshd.root), "path": "x", "wait_s": 60}, timeout_s=90)
    timer.join()


def test_run_goes_on_when_the_connection_is_cut(connect: Connect, sshd: Any, faulty_proxy: Any, tmp_path: Path) -> None:
    connection = connect(sshd.target(port=faulty_proxy.port))
    program = {"argv": ["sh", "-c", "until [ -e go ]; do sleep 0.05; done; echo done > done"], "cwd": str(tmp_path)}
    process = connection.request("spawn", program, timeout_s=20).value
    faulty_proxy.close()
    connection.close()
    assert connect(sshd.target()).request("stat_pid", process, timeout_s=20)["alive"]
    (tmp_path / "go").touch()
    wait_for((tmp_path / "done").exists)


@pytest.mark.parametrize("noise", ["echo Welcome;", "echo oops >&2; printf 'no line end';"])
def test_login_scripts_that_talk_do_not_matter(connect: Connect, make_sshd: Any, noise: str) -> None:
    machine = make_sshd(f'ForceCommand {noise} eval "$SSH_ORIGINAL_COMMAND"')
    machine.start()
    assert hello(connect(machine.target()), machine)["root"] == str(machine.root)


def test_pod_without_python_says_what_to_do(connect: Connect, sshd: Any) -> None:
    with pytest.raises(Exception, match="no Python") as caught:
        hello(connect(sshd.target(), python="/nowhere/python3"), sshd)
    assert "interpreter" in str(caught.value)


_KILLED = """
import sys, time
from pathlib import Path
from moola.pods.ssh import SshConnection, SshTarget
port, user, key, host_key = sys.argv[1:]
connection = SshConnection(SshTarget("127.0.0.1", int(port), user, Path(key), (host_key,), "pod"), idle_s=1)
connection.connect()
print(connection._folder, flush=True)
time.sleep(60)
"""


def test_killed_client_leaves_no_connection(sshd: Any) -> None:
    target = sshd.target()
    argv = [sys.executable, "-c", _KILLED, str(sshd.port), target.user, str(target.identity), sshd.host_key]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        folder = Path(client.stdout.readline().strip())
        client.send_signal(signal.SIGKILL)
    assert folder.exists()
    wait_for(lambda: not masters(folder))
    with SshConnection(target) as other, SshConnection(target):
        assert not folder.exists(), "the next client deletes it"
        assert other._folder.exists(), "and none that is in use"


def test_identity_may_have_any_name(connect: Connect, sshd: Any, tmp_path: Path) -> None:
    odd = tmp_path / 'a "key" %d $(id) \\ \n'
    odd.write_bytes(sshd.key.read_bytes())
    odd.chmod(0o600)
    hello(connect(sshd.target(identity=odd)), sshd)


def test_every_wrong_word_of_a_target_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        SshTarget("-oProxyCommand=id", 0, "root\nProxyCommand id", tmp_path / "none", ("ssh-ed25519 AAAA\nx",), "a*")
    assert len(caught.value.problems) == 6
    with pytest.raises(ConfigError, match="no machine could be the right one"):
        SshTarget("::1", 22, "root", None, (), "pod")


def test_interpreter_is_no_place_for_commands(sshd: Any) -> None:
    for python in ("python3; id", "$(id)", "-c", "python3\n", ""):
        with pytest.raises(ConfigError):
            SshConnection(sshd.target(), python=python)


def test_missing_ssh_is_told(sshd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = sshd.target()
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(MissingPackageError, match="no ssh"):
        SshConnection(target)
