"""The whole road to a rented pod: the fake account lends machines that are sshd of this one, host keys and all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from moola.pipelines.rented import read_rented
from moola.pods.attaching import PodLostError
from moola.pods.runpod_provider import RunpodProvider

HERE = Path(__file__).parent
SPEC = HERE.parents[1] / "../shared/data/runpod-openapi-v2.json"
RUN = "demo-0123456789ab"
AT_ONCE = {"provisioning_s": 0.0, "pulling_s": 0.0, "starting_s": 0.0, "mapped_s": 0.0}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="RunPod's pods are logged in to as root"),
]


@pytest.fixture
def account(account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The account, whose pods have a folder of this machine for their own."""
    monkeypatch.setattr(RunpodProvider, "root", property(lambda provider: str(tmp_path / "pod")))
    yield account
    for process in psutil.process_iter(["cmdline"]):  # what vanished for its client goes on where all is one machine
        if str(tmp_path / "pod") in " ".join(process.info["cmdline"] or []):
            process.kill()


def test_a_rented_pod_is_found_used_and_ended(stand_in: ModuleType, account: Any, tmp_path: Path) -> None:
    said: list[str] = []
    run = stand_in.stand_in_run(tmp_path / "here", said, provider="runpod", gpus=("A5000", "RTX 4090"))
    ended = run.go()
    assert ended.outcome == "finished" and ended.pod_ended
    rented = read_rented(ended.published.folder)
    assert rented.gpu and rented.price_per_h > 0 and not rented.under_way
    assert rented.cost_usd == pytest.approx(rented.seconds / 3600 * rented.price_per_h, rel=0.01)
    assert account.billing() == [] and len(account.pods) == 1
    assert any("RunPod put no key" in line for line in said), "nobody may think that the pod ends itself"
    secret = account.key.encode()
    kept = [path for path in (tmp_path / "pod").rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if secret in path.read_bytes()], "the key of the account stays here"


def test_a_pod_with_another_host_key_is_refused_and_ended(stand_in: ModuleType, account: Any, tmp_path: Path) -> None:
    from moola.pods.ssh import HostKeyError

    account.plan = dataclasses.replace(account.plan, fingerprints="swapped")
    run = stand_in.stand_in_run(tmp_path / "here", [], provider="runpod", limits=_short_limits())
    with pytest.raises(HostKeyError):
        run.go()
    assert account.billing() == []
    assert not (tmp_path / "pod").exists(), "nothing was sent"


def test_a_pod_that_vanishes_in_mid_training_is_not_billed_and_another_goes_on(
    stand_in: ModuleType, account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.2)
    said: list[str] = []
    env = {"STAND_IN_STEPS": "20", "STAND_IN_PAUSE_S": "0.3"}
    run = stand_in.stand_in_run(tmp_path / "here", said, provider="runpod", env=env, retries=1)
    show = run.show

    def vanish(record: Any) -> None:
        show(record)
        if record["text"] == "step 3" and len(account.pods) == 1:
            [pod] = account.pods.values()
            pod.ended_at = account.clock.now()
            pod.sshd.close()

    run.show = vanish
    assert run.go().outcome == "finished"
    assert len(account.pods) == 2 and account.billing() == []
    assert any("another pod goes on" in line for line in said)


def test_a_pod_that_vanishes_too_often_is_told(stand_in: ModuleType, account: Any, tmp_path: Path) -> None:
    run = stand_in.stand_in_run(tmp_path / "here", [], provider="runpod", env={"STAND_IN_PAUSE_S": "5"})

    def vanish(record: Any) -> None:
        for pod in account.pods.values():
            pod.ended_at = account.clock.now()
            pod.sshd.close()

    run.show = vanish
    with pytest.raises(PodLostError, match="TERMINATED"):
        run.go()
    assert account.billing() == []


def _short_limits() -> Any:
    from moola.pods.waiting import PhaseLimits

    return PhaseLimits(ssh_s=1.0)
