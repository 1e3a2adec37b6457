"""A host and a folder as lenders, and how a lender is found by name."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moola.errors import ConfigError
from moola.layout import Layout
from moola.pods.acquiring import Acquisition
from moola.pods.ending import end_run
from moola.pods.ledger import Ledger
from moola.pods.local_provider import LocalProvider
from moola.pods.provider import LocalTarget, NoCapacityError, PodError, PodWish, RefusedHereError
from moola.pods.providers import ProviderOptions, find_key, open_ledger, open_provider
from moola.pods.ssh import AccessError, HostKeyError, SshTarget
from moola.pods.ssh_provider import SshProvider, unreachable

from .conftest import KEY, RUN


@pytest.fixture
def ledger(tmp_path: Path, clock) -> Ledger:
    return Ledger(tmp_path / "pods.sqlite", clock)


def acquisition(provider, ledger, clock, run=RUN) -> Acquisition:
    return Acquisition(provider, ledger, PodWish(), run, "", lambda target: target, tell=lambda _: None, clock=clock)


def hosts(ledger, *addresses, **options) -> SshProvider:
    """Hosts that all take a connection."""
    return SshProvider(addresses, ledger, **{"knock": lambda target: "", **options})


@pytest.mark.parametrize(
    ("address", "host", "port", "user"),
    [
        ("root@10.0.0.5", "10.0.0.5", 22, "root"),
        ("me@gpu.example.org:2222", "gpu.example.org", 2222, "me"),
        ("me@[2001:db8::1]:2222", "2001:db8::1", 2222, "me"),
        ("first.last@box", "box", 22, "first.last"),
    ],
)
def test_a_host_is_reached_by_its_address(ledger, clock, address, host, port, user):
    got = acquisition(hosts(ledger, address), ledger, clock).acquire()
    assert isinstance(got.session, SshTarget)
    assert (got.session.host, got.session.port, got.session.user) == (host, port, user)
    assert got.session.host_keys is None and got.session.identity is None


def test_hosts_with_pinned_keys(ledger, clock, tmp_path):
    identity = tmp_path / "key"
    identity.write_text("x")
    other = KEY[:-4] + "AAAA"
    lines = [f"{KEY} root@box", f"[box2]:22 {other}"]  # of the host's own file, and of ssh-keyscan
    provider = hosts(ledger, "me@box:2222", "me@box2", identity=identity, host_keys=lines)
    target = acquisition(provider, ledger, clock).acquire().session
    assert isinstance(target, SshTarget)
    assert (target.host_keys, target.identity, target.alias) == ((KEY,), identity, "box-2222")
    second = acquisition(provider, ledger, clock, "other-run").acquire().session
    assert (second.host_keys, second.alias) == ((other,), "box2-22")


@pytest.mark.parametrize(
    "address", ["box", "me@", "@box", "me@box:0", "me@box:99999", "me@-oProxyCommand=x", "me@b;id"]
)
def test_what_is_no_address_is_refused(ledger, address):
    with pytest.raises(ConfigError):
        SshProvider([address], ledger)


def test_all_that_is_wrong_with_hosts_is_told_at_once(ledger):
    with pytest.raises(ConfigError) as caught:
        SshProvider(["me@box:99999", "nobody"], ledger, identity=Path("/nowhere"), host_keys=["AAAA", "BBBB"])
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="1 for 2 hosts"):
        SshProvider(["me@a", "me@b"], ledger, host_keys=[KEY])
    with pytest.raises(ConfigError, match="there twice, with another user"):
        SshProvider(["me@a", "you@a:22"], ledger)


def test_a_run_on_a_host_is_gone_on_with_until_it_is_ended(ledger, clock):
    provider = hosts(ledger, "me@box")
    first = acquisition(provider, ledger, clock).acquire()
    again = acquisition(hosts(ledger, "me@box"), ledger, clock).acquire()
    assert again.adopted and again.pod.pod_id == first.pod.pod_id
    assert hosts(ledger, "me@other").find() == []
    end_run(provider, RUN, ledger, "done", clock=clock)
    assert ledger.pods(open_only=True) == [] and provider.find() == []
    assert not acquisition(provider, ledger, clock).acquire().adopted
    assert all(pod.cost == 0 for pod in ledger.pods())


def test_a_hosts_wrong_key_is_refused_at_once_and_a_session_that_opens_at_once_is_not_waited_for(ledger, clock):
    """Nothing can change a host's key while one waits; only a machine that is being made may have another soon."""
    told: list[str] = []
    provider, began = hosts(ledger, "me@box"), clock.monotonic()

    def stranger(target):
        raise HostKeyError("another host key")

    attempt = acquisition(provider, ledger, clock)
    attempt.tell = told.append
    with pytest.raises(HostKeyError):
        dataclasses.replace(attempt, open_session=stranger).acquire()
    assert clock.monotonic() - began < 5 and not ledger.pods(open_only=True)
    attempt.acquire()
    assert not [line for line in told if "sshd" in line]
    answers = iter([None, "open"])
    dataclasses.replace(
        attempt, open_session=lambda _: next(answers), run="late-run", provider=hosts(ledger, "me@late")
    ).acquire()
    assert [line for line in told if "waits for its sshd" in line]


def test_each_run_draws_the_next_host_that_is_free(ledger, clock):
    provider = hosts(ledger, "me@one", "me@two", "me@one")
    drawn = [acquisition(provider, ledger, clock, f"run-{number}").acquire().pod for number in range(3)]
    assert [pod.data_center for pod in drawn] == ["one:22", "one:22", "two:22"]
    with pytest.raises(NoCapacityError, match="no host is free") as caught:
        acquisition(provider, ledger, clock, "run-4").acquire()
    assert "one:22 has run-0, run-1" in caught.value.why and "stop" in caught.value.way_out
    end_run(provider, "run-0", ledger, "done", clock=clock)
    assert acquisition(provider, ledger, clock, "run-4").acquire().pod.data_center == "one:22"


def test_of_two_clients_that_draw_the_same_host_at_once_the_second_takes_the_next(ledger, clock):
    ours, theirs = hosts(ledger, "me@one", "me@two"), hosts(ledger, "me@one", "me@two")
    [first, second] = ours.offers(PodWish())
    theirs.create(PodWish(), "other-run", first, "")
    with pytest.raises(RefusedHereError, match="given to another run"):
        ours.create(PodWish(), RUN, first, "")
    assert ours.create(PodWish(), RUN, second, "").data_center == "two:22"


def test_a_host_that_is_down_is_passed_over_and_told(ledger, clock):
    said: list[str] = []
    down = {"one": "Connection refused"}
    provider = hosts(ledger, "me@one", "me@two", knock=lambda target: down.get(target.host, ""))
    wanted = acquisition(provider, ledger, clock)
    wanted = dataclasses.replace(wanted, tell=said.append)
    assert wanted.acquire().pod.data_center == "two:22"
    assert "  refused: one:22 does not answer: Connection refused" in said
    end_run(provider, RUN, ledger, "done", clock=clock)
    down["two"] = "timed out"
    with pytest.raises(NoCapacityError) as caught:
        wanted.acquire()
    assert caught.value.why == "- one:22 does not answer: Connection refused\n- two:22 does not answer: timed out"
    assert "address and port" in caught.value.way_out


def test_a_host_that_refuses_the_key_is_passed_over_and_told(ledger, clock):
    said: list[str] = []
    refusing = {"one"}

    def open_session(target):
        assert len(said) < 30, "it goes on and on"
        if target.host in refusing:
            raise AccessError(f"{target.host} refuses to let you in", "Permission denied (publickey)", "check the key")
        return target

    wanted = Acquisition(
        hosts(ledger, "me@one", "me@two"), ledger, PodWish(), RUN, "", open_session, tell=said.append, clock=clock
    )
    assert wanted.acquire().pod.data_center == "two:22"
    assert "one refuses to let you in: Permission denied (publickey)" in said
    end_run(wanted.provider, RUN, ledger, "done", clock=clock)
    refusing.add("two")
    again = dataclasses.replace(wanted, provider=hosts(ledger, "me@one", "me@two"), _shut={})
    with pytest.raises(AccessError, match="two refuses"):
        again.acquire()
    assert ledger.pods(open_only=True) == []


def test_a_host_is_knocked_at():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        there = SshTarget("127.0.0.1", port, "me", None, None, "box")
        assert unreachable(there) == ""
    assert unreachable(there) == "Connection refused"


def test_a_folder_is_fresh_for_a_new_pod_and_gone_when_it_ends(ledger, clock, tmp_path):
    provider = LocalProvider(tmp_path / "pods", ledger, clock=clock)
    first = acquisition(provider, ledger, clock).acquire()
    assert isinstance(first.session, LocalTarget)
    assert list(first.session.root.iterdir()) == []
    (first.session.root / "file").write_text("x")
    assert acquisition(provider, ledger, clock).acquire().session == first.session
    end_run(provider, RUN, ledger, "done", clock=clock)
    assert not first.session.root.exists() and provider.find() == []
    assert acquisition(provider, ledger, clock).acquire().session != first.session


def test_what_an_ended_folder_held_is_deleted_and_so_is_what_an_earlier_end_left(ledger, tmp_path):
    for name in (".earlier.ended", "pod", "other"):
        (tmp_path / "pods" / name / "runs").mkdir(parents=True)
    LocalProvider(tmp_path / "pods", ledger).end("pod")
    deadline = time.monotonic() + 10
    while len(list((tmp_path / "pods").iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [path.name for path in (tmp_path / "pods").iterdir()] == ["other"]


def test_ending_a_folder_kills_what_works_in_it_and_nothing_else(ledger, clock, tmp_path):
    provider = LocalProvider(tmp_path / "pods", ledger, clock=clock)
    target = acquisition(provider, ledger, clock).acquire().session
    assert isinstance(target, LocalTarget)
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = target.root / "runs" / RUN
    run.mkdir(parents=True)
    with (
        subprocess.Popen(words, cwd=run, start_new_session=True) as worker,
        subprocess.Popen(words, cwd=tmp_path, start_new_session=True) as stranger,
    ):
        time.sleep(0.2)  # until both have changed their folder
        (run / "status.json").write_text(json.dumps({"supervisor_pid": worker.pid, "pid": stranger.pid}))
        end_run(provider, RUN, ledger, "done", clock=clock)
        assert worker.wait(10) == -9
        assert stranger.poll() is None
        stranger.kill()


def test_a_pod_id_cannot_lead_out_of_the_folder(ledger, tmp_path):
    for name in ("precious", "pods"):
        (tmp_path / name).mkdir()
    LocalProvider(tmp_path / "pods", ledger).end("../precious")
    assert (tmp_path / "precious").is_dir()


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RUNPOD_API_KEY", "RUNPOD_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return Layout(tmp_path / "data", tmp_path / "artifacts")


def test_lenders_are_found_by_name(layout, monkeypatch):
    ledger = open_ledger(layout)
    assert open_provider("local", ledger, layout).name == "local"
    assert (
        open_provider("ssh", ledger, layout, ProviderOptions(hosts=("me@box",), root="/srv/pods")).root == "/srv/pods"
    )
    with pytest.raises(ConfigError, match="did you mean 'runpod'"):
        open_provider("runpots", ledger, layout)
    with pytest.raises(ConfigError, match="there is no RunPod API key"):
        open_provider("runpod", ledger, layout)
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_1")
    assert open_provider("runpod", ledger, layout).can_end_itself


def test_a_key_is_found_where_runpodctl_keeps_it(layout, tmp_path, monkeypatch):
    assert find_key() == ("", "")
    path = tmp_path / ".runpod" / "config.toml"
    path.parent.mkdir()
    path.write_text("apikey = 'rpa_file'\n")
    assert find_key() == ("rpa_file", str(path))
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_env")
    assert find_key() == ("rpa_env", "RUNPOD_API_KEY")
    monkeypatch.delenv("RUNPOD_API_KEY")
    path.write_text("not toml")
    assert find_key() == ("", "")


def test_a_folder_that_vanished_is_a_pod_that_vanished(ledger, clock, tmp_path):
    provider = LocalProvider(tmp_path / "pods", ledger, clock=clock)
    got = acquisition(provider, ledger, clock).acquire()
    got.session.root.rmdir()
    assert provider.status(got.pod.pod_id).status == "TERMINATED"
    assert provider.target(got.pod) is None
    again = acquisition(provider, ledger, clock).acquire()
    assert not again.adopted
    assert PodError.exit_code == 6
