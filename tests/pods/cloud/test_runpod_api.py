"""The client of RunPod's API against a server: refusals, waits, lost answers, logs, and what it never shows."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from fake_runpod import FakeRunpod, PodPlan

from moola.errors import ConfigError
from moola.pods.provider import LostAnswerError, PodError, PodWish, RefusedHereError
from moola.pods.runpod_api import ApiError, RunpodApi

from .conftest import KEY, RUN, SPEC, World

BODY = {
    "name": "moola-x-00000000",
    "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
    "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
    "cloud": "SECURE",
    "disk": 40,
    "ports": ["22/tcp"],
    "env": {"PUBLIC_KEY": "ssh-ed25519 AAAA"},
}


@pytest.fixture
def api(world: World) -> RunpodApi:
    return world.provider._api


def test_the_contract_is_checked(spec):
    if spec is None:
        pytest.skip(f"{SPEC.name} does not lie beside the project, so nothing was checked against it")
    wrong = {**BODY, "gpuCount": 1, "disk": "40"}
    assert spec.check_request("POST", "/pods", {}, BODY) == []
    assert len(spec.check_request("POST", "/pods", {}, wrong)) == 2
    assert spec.check_request("GET", "/catalog/gpus", {"cloud": "SPOT"}, None)
    assert spec.check_request("GET", "/pods", {"cursr": "x"}, None)
    assert spec.check_answer("GET", "/pods", 200, {"pods": [{"id": "x"}]})
    assert spec.check_answer("DELETE", "/pods/x", 204, None) == []


def test_a_request_that_breaks_the_contract_is_seen(world, api):
    if world.fake._spec is None:
        pytest.skip(f"{SPEC.name} does not lie beside the project")
    with pytest.raises(ApiError, match="malformed"):
        api.create_pod({**BODY, "stopAfter": "1h"})
    assert "stopAfter" in world.fake.violations[0]
    world.fake.violations.clear()
    assert world.billing() == []


def test_an_answer_of_the_fake_that_breaks_the_contract_is_seen(world, api, monkeypatch):
    if world.fake._spec is None:
        pytest.skip(f"{SPEC.name} does not lie beside the project")
    world.fake.add("x")
    shown = world.fake._shown
    monkeypatch.setattr(world.fake, "_shown", lambda pod: shown(pod) | {"cost": "0.69"})
    api.pods()
    assert "0.69" in world.fake.violations[0]
    world.fake.violations.clear()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, ApiError, "does not know this API key"),
        (402, ApiError, "balance"),
        (422, ApiError, "malformed"),
        (400, RefusedHereError, "no room"),
        (403, RefusedHereError, "no room"),
        (500, LostAnswerError, "no room"),
        (503, LostAnswerError, "no room"),
    ],
)
def test_a_refused_creation_says_which_kind_it_is_and_is_not_repeated(world, api, status, error, words):
    world.fake.fault("POST", "/pods", status, "no room")
    with pytest.raises(error, match=words) as caught:
        api.create_pod(BODY)
    assert "no room" in str(caught.value)
    assert world.fake.requests == [("POST", "/pods")]
    assert getattr(caught.value, "may_be_the_request", False) == (status == 400)


def test_the_violations_of_a_422_are_all_told(world, api):
    world.fake.fault("POST", "/pods", 422, ["$.disk: too small", "$.gpu: unknown"])
    with pytest.raises(ApiError) as caught:
        api.create_pod(BODY)
    assert "- $.disk: too small\n- $.gpu: unknown" in str(caught.value)


def test_an_answer_that_is_cut_off_may_have_made_a_pod(world, api):
    world.fake.fault("POST", "/pods", 0, after=True, cut=True)
    with pytest.raises(LostAnswerError):
        api.create_pod(BODY)
    assert len(world.billing()) == 1


def test_a_creation_that_never_arrived_made_none(clock):
    with FakeRunpod() as gone:
        url = gone.url
    with RunpodApi("key", url, clock=clock) as api, pytest.raises(ApiError, match="cannot reach"):
        api.create_pod(BODY)


def test_a_limit_is_waited_for_as_long_as_it_says(world, api, clock):
    world.fake.fault("POST", "/pods", 429, "minute window", headers={"Retry-After": "12"})
    world.fake.fault("GET", "/pods", 429, "minute window", headers={"Retry-After": "7"})
    api.create_pod(BODY)
    assert len(api.pods()) == 1
    assert clock.slept == [12.0, 7.0]


def test_a_limit_that_never_ends_is_given_up(world, api, clock):
    world.fake.fault("POST", "/pods", 429, "minute window", headers={"Retry-After": "12"}, times=99)
    with pytest.raises(ApiError, match="limit of requests"):
        api.create_pod(BODY)
    assert clock.slept == [12.0] * 4 and world.billing() == []
    world.fake.faults.clear()


def test_a_limit_of_an_hour_is_told_and_not_waited_for(world, api, clock):
    world.fake.fault("GET", "/pods", 429, "hour window", headers={"Retry-After": "1800"})
    with pytest.raises(ApiError, match="1800 s"):
        api.pods()
    assert clock.slept == []


def test_reading_and_ending_are_repeated_with_growing_pauses(world, api, clock):
    pod = world.fake.add("x")
    world.fake.fault("GET", "/pods", 502, "bad gateway", times=2)
    world.fake.fault("DELETE", "/pods", 0, cut=True)
    assert len(api.pods()) == 1
    api.delete_pod(pod.pod_id)
    assert clock.slept == [2.0, 4.0, 2.0]
    assert world.billing() == []


def test_reading_gives_up_in_the_end(world, api, clock):
    world.fake.fault("GET", "/pods", 503, "down", times=9)
    with pytest.raises(ApiError, match="503: down"):
        api.pods()
    assert len(clock.slept) == 4
    world.fake.faults.clear()


def test_ending_a_pod_that_is_gone_is_fine_and_so_is_asking_for_it(api):
    api.delete_pod("nothere")
    assert api.pod("nothere") is None


def test_a_pod_id_cannot_lead_to_another_path(world, api):
    assert api.pod("../account/ssh-keys") is None
    assert world.fake.requests == [("GET", "/pods/..%2Faccount%2Fssh-keys")]


@pytest.mark.parametrize("stays_open", [False, True])
def test_a_log_is_read_to_its_silence_and_goes_on_where_it_ended(world, clock, stays_open):
    world.fake.log_stays_open = stays_open
    api = RunpodApi(world.fake.key, world.fake.url, clock=clock, log_idle_s=0.1)
    pod = world.fake.add("x")
    clock.at += 15
    first = api.log_lines(pod.pod_id, "system")
    clock.at += 20
    rest = api.log_lines(pod.pod_id, "system", after=first[-1].event)
    assert [line.text for line in first] == pod.system_log(pod.created_at + 15)
    assert [line.text for line in first + rest] == pod.system_log(pod.created_at + 35)
    assert [line.text for line in api.log_lines(pod.pod_id, "system", tail=1)] == ["start container"]


class LateLog(httpx.SyncByteStream):
    """A log whose first line comes after five seconds of silence; those who wait less long see a silent stream."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request

    def __iter__(self):
        if self.request.extensions["timeout"]["read"] > 5:
            yield b'id: 1\ndata: {"line": "256 SHA256:x (ED25519)"}\n\n'
        raise httpx.ReadTimeout("silence")


def test_a_log_that_begins_late_is_not_taken_for_one_without_fingerprints(api, monkeypatch):
    asked = []
    answers = httpx.MockTransport(lambda sent: (asked.append(sent), httpx.Response(200, stream=LateLog(sent)))[1])
    monkeypatch.setattr(api, "_http", httpx.Client(transport=answers, base_url="http://127.0.0.1"))
    assert [line.text for line in api.log_lines("x", "container")] == ["256 SHA256:x (ED25519)"]
    asked.clear()
    assert api.log_lines("x", "system") == [] and len(asked) == 1, "people wait for that one"


def test_a_log_that_is_not_there_has_no_lines(api):
    assert api.log_lines("nothere", "system") == []


@pytest.mark.parametrize("how", [{"status": 503}, {"status": 500}, {"status": 0, "cut": True}, {"status": 403}])
def test_a_log_that_cannot_be_read_is_no_empty_log(world, api, how):
    pod = world.fake.add("x")
    world.fake.fault("GET", f"/pods/{pod.pod_id}/logs", detail="down", times=99, **how)
    with pytest.raises(ApiError):
        api.log_lines(pod.pod_id, "container")
    [line] = world.provider.system_log(pod.pod_id, 5)
    assert line.startswith("(the log is out of reach: ")
    world.fake.faults.clear()


def test_no_key_is_taken_on_trust_while_the_log_cannot_be_read(make_world):
    world = make_world(trust_first_use=True)
    pod = world.provider.create(PodWish(), RUN, world.provider.offers(PodWish(gpus=("A5000",)))[0], KEY)
    world.clock.at += 300
    world.fake.fault("GET", f"/pods/{pod.pod_id}/logs", 503, "down", times=99)
    with pytest.raises(ApiError, match="503: down"):
        world.provider.target(pod)
    assert world.ledger.host_keys("runpod", pod.pod_id) == ()
    world.fake.faults.clear()
    target = world.provider.target(pod)
    assert target is not None and target.host_keys == (KEY,) and world.ledger.events(RUN) == []


def test_a_log_that_comes_after_a_failure_is_read(world, api, clock):
    pod = world.fake.add("x")
    clock.at += 15
    world.fake.fault("GET", f"/pods/{pod.pod_id}/logs", 503, "down", times=2)
    assert api.log_lines(pod.pod_id, "system")
    assert clock.slept == [2.0, 4.0]


def test_a_line_of_a_log_is_one_line_that_cannot_act_on_the_terminal(world, api, monkeypatch):
    pod = world.fake.add("x")
    monkeypatch.setattr(world.fake, "log", lambda *_: ["a\x1b[2J\nmoola: all is well\r\n"])
    assert [line.text for line in api.log_lines(pod.pod_id, "system")] == ["a\\x1b[2J\\nmoola: all is well"]


def test_the_bill_adds_up(world, api, clock):
    world.fake.plan = PodPlan()
    pod = world.fake.add("x")
    clock.at += 7200
    records = api.billing(datetime.fromtimestamp(pod.created_at, UTC), datetime.fromtimestamp(clock.at, UTC))
    assert [(one["podId"], round(one["totalAmount"], 6)) for one in records] == [(pod.pod_id, 2 * 0.69)]


def test_a_proxy_that_answers_with_a_page_is_told_of(world, api, monkeypatch):
    monkeypatch.setattr(world.fake, "list_pods", lambda query: (200, ["no object"]))
    world.fake._spec = None
    with pytest.raises(ApiError, match="where JSON was due"):
        api.pods()


def test_all_pages_of_a_list_are_read(world, api, monkeypatch):
    pages = {"": {"pods": [{"id": "a"}], "nextCursor": "2"}, "2": {"pods": [{"id": "b"}]}}
    monkeypatch.setattr(world.fake, "list_pods", lambda query: (200, pages[query.get("cursor", "")]))
    world.fake._spec = None
    assert [pod["id"] for pod in api.pods()] == ["a", "b"]


@pytest.mark.parametrize("key", ["", " ", "two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_unshown(key):
    with pytest.raises(ConfigError) as caught:
        RunpodApi(key)
    assert not key.strip() or key not in str(caught.value)


def test_a_key_is_never_sent_in_the_clear():
    with pytest.raises(ConfigError, match="in the clear"):
        RunpodApi("key", "http://api.runpod.io/v2")


def test_a_wrong_key_is_told_of_and_not_shown(world, clock):
    with RunpodApi("rpa_WRONG", world.fake.url, clock=clock) as api, pytest.raises(PodError) as caught:
        api.pods()
    assert "does not know this API key" in caught.value.spoken()
    assert "rpa_WRONG" not in caught.value.spoken()
