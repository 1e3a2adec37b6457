"""One pod for one run: every fault of the lender, of the network and of the client, and what is left of it."""

from __future__ import annotations

import multiprocessing
import signal
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from fake_runpod import FakeRunpod, PodPlan

from moola.errors import ConfigError
from moola.pods import host_keys
from moola.pods.acquiring import LAG_S, STARTED
from moola.pods.ending import end_pod, end_run
from moola.pods.ledger import Ledger
from moola.pods.provider import BadDrawError, NoCapacityError, PodError, PodTakenError, PodWish, pod_name
from moola.pods.run_keys import RunKeys
from moola.pods.runpod_api import ApiError, RunpodApi
from moola.pods.runpod_provider import RunpodProvider, _endpoint
from moola.pods.ssh import HostKeyError, SshTarget
from moola.pods.waiting import PhaseLimits

from .conftest import KEY, RUN, World

CHEAP = PodWish(gpus=("A5000",), cloud=("SECURE",))
"""One place: RTX A5000 in EU-RO-1."""
SHORT = PhaseLimits(create_s=20, pull_s=30, boot_s=20, ssh_s=20)


def nothing_bills(world: World) -> bool:
    return world.billing() == [] and world.ledger.pods(open_only=True) == [] and world.ledger.open_intents() == []


def test_a_pod_comes_up_and_its_way_is_told_and_written_down(world):
    seen: list[SshTarget] = []
    got = world.acquisition(CHEAP, open_session=lambda target: seen.append(target) or "open").acquire()
    assert got.session == "open" and not got.adopted and world.billing() == [got.pod.pod_id]
    (target,) = seen
    assert (target.port, target.user, target.alias) == (2222, "root", got.pod.pod_id)
    assert target.host_keys == (KEY,)
    assert [line.partition(": ")[2] for line in world.told if line.startswith("pod ")] == [
        "waits for a machine",
        "fetches the image",
        "starts the container",
        "waits for its sshd",
    ]
    assert "  1.0.2 Pulling from runpod/pytorch" in world.told
    (pod,) = world.ledger.pods(RUN)
    assert (pod.pod_id, pod.status, pod.price_per_h) == (got.pod.pod_id, "RUNNING", 0.36)
    assert world.ledger.open_intents() == []


def test_what_is_asked_for_is_what_was_wished_and_holds_no_secret(world):
    wish = PodWish(gpus=("RTX 4090",), cloud=("COMMUNITY",), count=2, disk_gb=60, network_volume="vol1")
    got = world.acquisition(wish).acquire()
    body = world.fake.pods[got.pod.pod_id].body
    assert body == {
        "name": pod_name(RUN, world.ledger.owner),
        "image": wish.image,
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 2, "minCudaVersion": "12.8"},
        "cloud": "COMMUNITY",
        "dataCenterIds": ["EU-RO-1"],
        "disk": 60,
        "ports": ["22/tcp"],
        "env": {"PUBLIC_KEY": KEY},
        "startSsh": True,
        "mounts": {"network": [{"volumeId": "vol1", "path": "/workspace"}]},
    }
    assert world.fake.key not in str(body)


def test_a_volume_binds_its_pod_to_its_data_center(world):
    world.fake.volumes = {"agv6w2qcg7": "US-KS-2"}
    offers = world.provider.offers(PodWish(network_volume="agv6w2qcg7"))
    assert {one.data_center for one in offers} == {"US-KS-2"}
    got = world.acquisition(PodWish(network_volume="agv6w2qcg7", data_centers=("EU-RO-1", "US-KS-2"))).acquire()
    assert world.fake.pods[got.pod.pod_id].body["dataCenterIds"] == ["US-KS-2"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"network_volume": "agv6w2qcg"}, "the account has no 'agv6w2qcg'.*agv6w2qcg7"),
        ({"network_volume": "agv6w2qcg7", "data_centers": ("EU-RO-1",)}, "is in US-KS-2.*data_centers names EU-RO-1"),
    ],
)
def test_a_volume_that_no_pod_could_mount_is_told_before_one_is_made(world, wish, words):
    world.fake.volumes = {"agv6w2qcg7": "US-KS-2"}
    with pytest.raises(ConfigError, match=words):
        world.acquisition(PodWish(**wish)).acquire()
    assert world.fake.pods == {}
    world.fake.volumes = {}
    with pytest.raises(ConfigError, match="it has none at all"):
        world.provider.offers(PodWish(network_volume="agv6w2qcg7"))


def test_a_full_place_leads_to_the_next_and_a_pool_without_access_too(world):
    world.fake.fault("POST", "/pods", 400, "no instances")
    world.fake.fault("POST", "/pods", 403, "no access")
    got = world.acquisition(PodWish(cloud=("SECURE",))).acquire()
    assert (got.pod.gpu, got.pod.price_per_h) == ("NVIDIA GeForce RTX 4090", 0.69)
    assert world.fake.pods[got.pod.pod_id].body["dataCenterIds"] == ["US-KS-2"]
    assert [line.strip() for line in world.told if "refused" in line] == [
        "refused: 400: no instances",
        "refused: 403: no access",
    ]
    assert world.ledger.open_intents() == []


def test_when_all_places_refuse_alike_it_is_the_request(world):
    world.fake.fault("POST", "/pods", 400, "disk is too large", times=9)
    with pytest.raises(PodError, match="may be the request") as caught:
        world.acquisition().acquire()
    assert "disk is too large" in caught.value.why
    assert nothing_bills(world)
    world.fake.faults.clear()


def test_when_all_places_are_full_the_last_word_is_shown(world):
    world.fake.fault("POST", "/pods", 400, "full here")
    world.fake.fault("POST", "/pods", 403, "no access", times=9)
    with pytest.raises(NoCapacityError, match="403: no access"):
        world.acquisition().acquire()
    assert nothing_bills(world)
    world.fake.faults.clear()


@pytest.mark.parametrize(("status", "words"), [(402, "balance"), (401, "API key"), (422, "malformed")])
def test_what_no_place_can_mend_ends_the_walk(world, status, words):
    world.fake.fault("POST", "/pods", status, "no")
    with pytest.raises(ApiError, match=words):
        world.acquisition().acquire()
    assert world.fake.requests.count(("POST", "/pods")) == 1
    assert nothing_bills(world)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 0, "cut": True}])
@pytest.mark.parametrize("hidden_s", [0, 55])
def test_a_pod_whose_creation_was_not_answered_is_adopted(world, fault, hidden_s):
    world.fake.hidden_s = hidden_s
    world.fake.fault("POST", "/pods", after=True, **fault)
    got = world.acquisition(CHEAP).acquire()
    assert world.billing() == [got.pod.pod_id] == list(world.fake.pods)
    assert world.ledger.open_intents() == []


def asked_for_and_killed(world: World) -> None:
    """A client asked for a pod and was killed before the answer; the lender's list lags behind."""
    world.fake.hidden_s = 55
    (offer,) = world.provider.offers(CHEAP)
    world.ledger.intend("runpod", RUN, offer)
    world.provider.create(CHEAP, RUN, offer, KEY)


def test_ctrl_c_while_the_pod_of_a_killed_client_is_looked_for_ends_it(world):
    asked_for_and_killed(world)

    def tell(line: str) -> None:
        if "looking for it (2 of 5)" in line and line not in world.told:
            world.told.append(line)
            raise KeyboardInterrupt

    acquisition = world.acquisition(CHEAP)
    acquisition.tell = tell
    with pytest.raises(KeyboardInterrupt):
        acquisition.acquire()
    assert nothing_bills(world) and len(world.fake.pods) == 1


def test_an_api_that_goes_away_while_a_pod_is_looked_for_is_told_with_the_pod(world):
    asked_for_and_killed(world)
    world.fake.fault("GET", "/pods", 503, "down", times=9999)
    with pytest.raises(PodError, match="may still bill"):
        world.acquisition(CHEAP).acquire()
    world.fake.faults.clear()
    assert world.acquisition(CHEAP).acquire().adopted


def test_a_pod_with_a_job_is_kept_where_looking_for_it_fails(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.add_event(RUN, got.pod.pod_id, STARTED, "")
    world.fake.fault("GET", "/pods", 503, "down", times=5)
    with pytest.raises(ApiError):
        world.acquisition(CHEAP).acquire()
    world.fake.faults.clear()
    assert world.billing() == [got.pod.pod_id]


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 0, "cut": True}])
def test_a_creation_that_failed_without_a_pod_is_repeated_once_it_is_known(world, fault):
    world.fake.fault("POST", "/pods", **fault)
    start = world.clock.at
    got = world.acquisition(CHEAP).acquire()
    assert world.billing() == [got.pod.pod_id]
    assert world.clock.at - start > LAG_S
    assert world.fake.requests.count(("POST", "/pods")) == 2


def test_a_pod_that_shows_up_after_all_is_one_too_many_and_ended(world):
    world.fake.hidden_s = LAG_S + 5
    world.fake.fault("POST", "/pods", 500, after=True)
    got = world.acquisition(CHEAP).acquire()
    world.clock.at += world.fake.hidden_s
    assert got.pod.pod_id in world.billing() and len(world.billing()) == 2
    again = world.acquisition(CHEAP).acquire()
    assert again.adopted and world.billing() == [again.pod.pod_id] == [got.pod.pod_id]


def test_a_pod_that_shows_up_while_its_successor_is_made_is_ended_at_once(world, monkeypatch):
    world.fake.hidden_s = LAG_S + 1
    world.fake.fault("POST", "/pods", 500, after=True)
    create = world.provider.create

    def slow(*arguments: Any) -> Any:
        made = create(*arguments)
        world.clock.at += 2
        return made

    monkeypatch.setattr(world.provider, "create", slow)
    got = world.acquisition(CHEAP).acquire()
    assert len(world.fake.pods) == 2 and world.billing() == [got.pod.pod_id]
    assert any("one too many" in pod.ended_why for pod in world.ledger.pods())


def test_a_port_on_which_the_api_contradicts_itself_is_waited_for():
    direct = {"host": "10.0.0.1", "port": 2200, "username": "root"}
    ports = [{"private": 22, "public": 2222, "type": "tcp", "ip": "10.0.0.1"}]
    pod: dict[str, Any] = {"ssh": {"direct": direct}, "runtime": {"ports": ports}}
    assert _endpoint(pod) is None
    ports[0]["public"] = 2200
    assert _endpoint(pod) == ("10.0.0.1", 2200, "root")
    assert _endpoint({**pod, "runtime": None}) == ("10.0.0.1", 2200, "root")
    assert _endpoint({**pod, "ssh": {"direct": {**direct, "username": "-oProxyCommand=x"}}}) is None
    assert _endpoint({**pod, "ssh": {"direct": None}}) is None


def test_a_place_that_fails_twice_is_left_for_the_next(world):
    world.fake.fault("POST", "/pods", 500, times=2)
    got = world.acquisition(PodWish(gpus=("4090",), cloud=("SECURE",))).acquire()
    assert world.fake.pods[got.pod.pod_id].body["dataCenterIds"] == ["US-KS-2"]
    assert world.billing() == [got.pod.pod_id]


def test_the_same_command_goes_on_with_the_pod_there_is(world):
    first = world.acquisition(CHEAP).acquire()
    second = world.acquisition(CHEAP).acquire()
    assert second.adopted and second.pod.pod_id == first.pod.pod_id
    assert world.fake.requests.count(("POST", "/pods")) == 1


@pytest.mark.parametrize("plan", [{"becomes": "ERROR"}, {"becomes": "EXITED"}, {"vanishes_s": 15}])
def test_a_pod_that_dies_before_it_is_used_is_drawn_again_elsewhere(world, plan):
    wish = PodWish(gpus=("4090",), cloud=("SECURE",))
    world.fake.plan = PodPlan(**plan)
    acquisition = world.acquisition(wish)
    acquisition.tell = lambda line: (world.told.append(line), heal(world, line))
    got = acquisition.acquire()
    assert world.billing() == [got.pod.pod_id]
    assert [pod.body["dataCenterIds"] for pod in world.fake.pods.values()] == [["EU-RO-1"], ["US-KS-2"]]
    assert len(world.ledger.pods(open_only=True)) == 1
    assert "did not come up" in world.ledger.pods()[0].ended_why


def heal(world: World, line: str) -> None:
    """The next pod is a good one."""
    if "did not come up" in line:
        world.fake.plan = PodPlan()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"provisioning_s": 1e9}, "waits for a machine"),
        ({"pulling_s": 1e9}, "fetches the image"),
        ({"starting_s": 1e9}, "starts the container"),
        ({"mapped_s": 1e9}, "waits for its sshd"),
        ({"sshd": "never"}, "waits for its sshd"),
        ({"becomes": "ERROR"}, "it is ERROR"),
    ],
)
def test_pods_that_never_come_up_are_ended_and_what_the_host_wrote_is_shown(world, plan, words):
    world.fake.plan = PodPlan(**plan)
    with pytest.raises(BadDrawError, match="4 pods in a row") as caught:
        world.acquisition(CHEAP, limits=SHORT).acquire()
    assert words in str(caught.value) and "its host wrote last:\n" in str(caught.value)
    assert "create pod network" in str(caught.value)
    assert len(world.fake.pods) == 4
    assert nothing_bills(world)


def test_each_phase_has_its_own_limit(world):
    world.fake.plan = PodPlan(pulling_s=50, starting_s=30)
    start = world.clock.at
    limits = PhaseLimits(create_s=20, pull_s=60, boot_s=40, ssh_s=20)
    world.acquisition(CHEAP, limits=limits).acquire()
    assert world.clock.at - start > 80
    world.fake.plan = PodPlan(pulling_s=50)
    end_run(world.provider, RUN, world.ledger, "test", clock=world.clock)
    with pytest.raises(BadDrawError, match="40 s are allowed"):
        world.acquisition(CHEAP, limits=PhaseLimits(pull_s=40)).acquire()
    assert nothing_bills(world)


def test_a_session_counts_and_not_a_port(world):
    tries = iter([None, None, "open"])
    assert world.acquisition(CHEAP, open_session=lambda _: next(tries)).acquire().session == "open"


def test_a_container_that_was_started_anew_is_known_by_what_it_printed_then(make_world, monkeypatch):
    """Its keys are new, and so is its log; what was pinned before is no reason to trust anybody else."""
    world = make_world(trust_first_use=True)
    pod = world.acquisition(CHEAP).acquire().pod
    lent = world.fake.pods[pod.pod_id]
    new = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "D" * 43
    world.shown = (new,)
    assert world.provider.target(pod).host_keys == (KEY,), "what was pinned counts until it is seen to be wrong"
    with pytest.raises(HostKeyError, match="its host key is another"):
        world.provider.target(pod, keys_changed=True)
    lines: list[str] = []
    monkeypatch.setattr(world.provider._api, "log_lines", lambda *_: [SimpleNamespace(text=line) for line in lines])
    with pytest.raises(HostKeyError, match="another host key than before"):  # also where first use is trusted
        world.provider.target(pod, keys_changed=True)
    lines.append(f"256 {host_keys.fingerprint(new)} root@pod (ED25519)")
    assert world.provider.target(pod, keys_changed=True).host_keys == (new,)
    assert world.provider.target(pod).host_keys == (new,) and lent.pod_id == pod.pod_id
    assert "started anew" in world.ledger.events(RUN)[-1]["detail"]


def test_an_old_port_is_not_taken_for_the_pods(world, monkeypatch, printed):
    """The port is shown early and leads to somebody else's sshd, whose keys the pod never printed."""
    world.fake.plan = PodPlan(stale_port=2200, mapped_s=60)
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "D" * 43
    monkeypatch.setattr(world.provider, "_scan", lambda host, port: (other,) if port == 2200 else (KEY,))
    ports: list[int] = []
    world.acquisition(CHEAP, open_session=lambda target: ports.append(target.port) or "open").acquire()
    assert ports == [2222]


def test_a_swapped_host_key_is_refused_and_the_pod_ended(world):
    world.fake.plan = PodPlan(fingerprints="swapped")
    opened: list[Any] = []
    with pytest.raises(HostKeyError, match="host key is another"):
        world.acquisition(CHEAP, open_session=opened.append, limits=SHORT).acquire()
    assert opened == []
    assert len(world.fake.pods) == 1 and nothing_bills(world)


def test_a_key_that_nothing_confirms_is_refused_unless_the_user_says_otherwise(make_world):
    world = make_world()
    world.fake.plan = PodPlan(fingerprints="none")
    with pytest.raises(HostKeyError, match="--trust-first-use"):
        world.acquisition(CHEAP, limits=SHORT).acquire()
    assert nothing_bills(world)
    trusting = make_world("other", trust_first_use=True)
    trusting.acquisition(CHEAP).acquire()
    assert "taken on trust: SHA256:" in trusting.ledger.events(RUN)[0]["detail"]


def test_a_key_that_was_pinned_stays_the_only_one(world):
    seen: list[SshTarget] = []
    acquisition = world.acquisition(CHEAP, open_session=lambda target: seen.append(target) or "open")
    acquisition.acquire()
    world.shown = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "D" * 43,)
    acquisition.acquire()
    assert [target.host_keys for target in seen] == [(KEY,)] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect"), SystemExit(1)])
def test_an_interruption_before_the_job_runs_leaves_no_pod(world, error):
    def interrupt(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        world.acquisition(CHEAP, open_session=interrupt).acquire()
    assert nothing_bills(world)
    why = "interrupted before it was used" if isinstance(error, KeyboardInterrupt) else "not used: "
    assert world.ledger.pods()[0].ended_why.startswith(why)


def test_an_interruption_with_the_api_away_says_that_a_pod_may_bill(world):
    def interrupt(_: object) -> None:
        world.fake.fault("GET", "/pods", 503, "down", times=9999)
        raise KeyboardInterrupt

    with pytest.raises(PodError, match="may still bill") as caught:
        world.acquisition(CHEAP, open_session=interrupt).acquire()
    assert f"moola pod down {RUN}" in caught.value.way_out
    world.fake.faults.clear()
    assert world.acquisition(CHEAP).acquire().adopted


@pytest.mark.parametrize("phase", ["waits for a machine", "fetches the image", "starts the container"])
def test_a_lender_that_does_not_answer_while_a_pod_comes_up_is_asked_again(world, phase):
    world.fake.plan = PodPlan(provisioning_s=20, pulling_s=20, starting_s=20)

    def tell(line: str) -> None:
        world.told.append(line)
        if phase in line:
            world.fake.fault("GET", "/pods/", 503, "down", times=11)

    acquisition = world.acquisition(CHEAP)
    acquisition.tell = tell
    assert acquisition.acquire().session and len(world.fake.pods) == 1
    assert sum("does not answer, it is asked again" in line for line in world.told) == 1


def test_a_pod_that_could_not_be_ended_is_ended_when_its_lender_answers(world):
    def interrupt(_: object) -> None:
        world.fake.fault("GET", "/pods", 503, "down", times=40)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.acquisition(CHEAP, open_session=interrupt).acquire()
    assert nothing_bills(world)
    assert any("its end is asked for again in 300 s" in line for line in world.told)


def test_a_lender_that_stays_away_is_given_up_after_hours_and_the_pod_is_named(world):
    begun = world.clock.at

    def gone(line: str) -> None:
        if "starts the container" in line:
            world.fake.fault("GET", "/pods", 503, "down", times=9999)
            world.fake.fault("DELETE", "/pods", 503, "down", times=9999)

    acquisition = world.acquisition(CHEAP)
    acquisition.tell = gone
    with pytest.raises(PodError, match="may still bill"):
        acquisition.acquire()
    assert 3 * 3600 < world.clock.at - begun < 5 * 3600 and len(world.billing()) == 1
    world.fake.faults.clear()


def test_a_pod_that_another_command_ends_while_it_boots_is_followed_by_no_other(world):
    def tell(line: str) -> None:
        world.told.append(line)
        if "starts the container" in line:
            (pod,) = world.provider.find(RUN)
            world.ledger.give_up_pod("runpod", pod.pod_id, RUN)
            end_pod(world.provider, pod, world.ledger, "given up", clock=world.clock)

    acquisition = world.acquisition(CHEAP)
    acquisition.tell = tell
    with pytest.raises(PodError, match="another command ended pod"):
        acquisition.acquire()
    assert nothing_bills(world) and len(world.fake.pods) == 1
    assert not world.acquisition(CHEAP).acquire().adopted


def test_a_pod_on_which_the_job_runs_is_never_ended_for_silence(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.add_event(RUN, got.pod.pod_id, STARTED, "")
    with pytest.raises(PodError, match="does not answer") as caught:
        world.acquisition(CHEAP, open_session=lambda _: None, limits=SHORT).acquire()
    assert "the run goes on there" in caught.value.way_out
    with pytest.raises(KeyboardInterrupt):
        world.acquisition(CHEAP, open_session=interrupted).acquire()
    assert world.billing() == [got.pod.pod_id]


def interrupted(_: object) -> None:
    raise KeyboardInterrupt


def test_a_pod_that_vanished_with_its_job_is_followed_by_another(world):
    got = world.acquisition(CHEAP).acquire()
    world.ledger.add_event(RUN, got.pod.pod_id, STARTED, "")
    world.fake.pods[got.pod.pod_id].ended_at = world.clock.at
    again = world.acquisition(CHEAP).acquire()
    assert not again.adopted and again.pod.pod_id != got.pod.pod_id
    assert world.billing() == [again.pod.pod_id]


def test_another_machine_with_a_pod_for_the_run_keeps_it(make_world):
    laptop, desktop = make_world("laptop"), make_world("desktop")
    got = laptop.acquisition(CHEAP).acquire()
    with pytest.raises(PodTakenError, match=got.pod.pod_id):
        desktop.acquisition(CHEAP).acquire()
    assert end_run(desktop.provider, RUN, desktop.ledger, "test") == []
    assert laptop.billing() == [got.pod.pod_id]


def test_of_two_machines_that_ask_at_once_the_first_gets_the_pod(make_world, monkeypatch):
    laptop, desktop = make_world("laptop"), make_world("desktop")
    monkeypatch.setattr(laptop.fake, "hidden_s", 0.0)
    create = desktop.provider.create

    def late(*arguments: Any) -> Any:
        """The desktop has looked, then the laptop makes a pod, then the desktop makes one."""
        laptop.acquisition(CHEAP).acquire()
        return create(*arguments)

    monkeypatch.setattr(desktop.provider, "create", late)
    with pytest.raises(PodTakenError, match="first"):
        desktop.acquisition(CHEAP).acquire()
    assert [pod.body["name"] for pod in laptop.fake.billing()] == [pod_name(RUN, laptop.ledger.owner)]
    assert desktop.ledger.pods(open_only=True) == []


def test_a_pod_counts_as_ended_when_the_lender_knows_it_no_more(world, monkeypatch):
    got = world.acquisition(CHEAP).acquire()
    monkeypatch.setattr(world.fake, "delete_pod", lambda pod: (204, None))
    with pytest.raises(PodError, match=r"still bills \$0.36/h"):
        end_pod(world.provider, got.pod, world.ledger, "test", clock=world.clock)
    assert len(world.ledger.pods(open_only=True)) == 1
    monkeypatch.undo()
    world.fake.fault("DELETE", "/pods", 503, "down", times=2)
    end_pod(world.provider, got.pod, world.ledger, "test", clock=world.clock)
    assert nothing_bills(world)


def client(url: str, key: str, folder: Any, die_at: str) -> None:
    """A client that is killed at a moment, with a clock that does not wait."""
    from fake_runpod import FakeClock

    clock = FakeClock()
    ledger = Ledger(folder / "pods.sqlite", clock)
    api = RunpodApi(key, url, clock=clock)
    provider = RunpodProvider(api, ledger, RunKeys(folder / "keys"), scan=lambda *_: (KEY,), clock=clock)
    world = World(None, clock, ledger, provider)  # type: ignore[arg-type]

    def die(*_: object, **__: object) -> Any:
        signal.raise_signal(signal.SIGKILL)

    if die_at == "session":
        world.acquisition(CHEAP, open_session=die).acquire()
    owner = {"intend": ledger, "add_pod": ledger, "settle": ledger, "create": provider, "target": provider}[die_at]
    setattr(owner, die_at, die)
    world.acquisition(CHEAP).acquire()


@pytest.mark.parametrize("die_at", ["intend", "create", "add_pod", "settle", "target", "session"])
def test_a_client_that_is_killed_at_any_moment_leaves_one_pod_at_most_and_the_next_goes_on(world, tmp_path, die_at):
    world.fake.plan = PodPlan(provisioning_s=0, pulling_s=0, starting_s=0, mapped_s=0)
    killed = multiprocessing.get_context("fork").Process(
        target=client, args=(world.fake.url, world.fake.key, tmp_path / "laptop", die_at)
    )
    killed.start()
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    assert len(world.billing()) == (0 if die_at in ("intend", "create") else 1)
    got = world.acquisition(CHEAP).acquire()
    assert world.billing() == [got.pod.pod_id] == list(world.fake.pods)
    assert world.ledger.open_intents() == [] and len(world.ledger.pods()) == 1
    assert got.adopted == (die_at not in ("intend", "create"))


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match=r"boot_s: 0 must(.|\n)*ssh_s: -1 must"):
        PhaseLimits(boot_s=0, ssh_s=-1)


def test_the_api_away_before_anything_was_asked_for_leaves_nothing(world, clock):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        api = RunpodApi("key", f"http://127.0.0.1:{probe.getsockname()[1]}", clock=clock)
        world.provider._api = api
        with api, pytest.raises(ApiError, match="cannot reach"):
            world.acquisition().acquire()
    assert FakeRunpod is type(world.fake) and nothing_bills(world)
