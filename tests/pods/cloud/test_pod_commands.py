"""The commands about the account: what they print, and how they end."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_runpod import FakeRunpod, PodPlan, Spec

from moola.cli import guarded
from moola.commands.pod_commands.run_options import under_lease
from moola.errors import EXIT_DATA, EXIT_ENVIRONMENT, EXIT_OK, EXIT_POD, EXIT_USAGE, ConfigError
from moola.layout import Layout
from moola.pods import packing
from moola.pods.acquiring import STARTED
from moola.pods.bundle import Bundle
from moola.pods.estimating import estimate_now
from moola.pods.ledger import Ledger
from moola.pods.provider import Offer, PodRecord, pod_name
from moola.pods.providers import open_ledger, run_keys
from moola.pods.run_keys import RunKeys
from moola.pods.settings import load_settings

RUN = "market-584a4514f71f"
OFFER = Offer("NVIDIA RTX A5000", "RTX A5000", 24, "SECURE", "EU-RO-1", "HIGH", 0.36)


@dataclass
class Account:
    """A project folder and an account behind its commands."""

    fake: FakeRunpod
    ledger: Ledger
    capsys: pytest.CaptureFixture[str]

    def __call__(self, command: str, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        module = importlib.import_module(f"moola.commands.pod_commands.{command}")
        self.capsys.readouterr()
        code = guarded(lambda: module.main(words))
        out, err = self.capsys.readouterr()
        assert self.fake.key not in out + err
        return code, out, err

    def json(self, command: str, *words: str) -> Any:
        code, out, _ = self(command, *words, "--json")
        return code, json.loads(out)

    def pod(self, run: str = RUN, *, known: bool = True) -> str:
        """A pod of ours."""
        pod = self.fake.add(pod_name(run, self.ledger.owner))
        if known:
            created = datetime.fromtimestamp(pod.created_at, UTC)
            self.ledger.add_pod(
                PodRecord(
                    "runpod", pod.pod_id, run, self.ledger.owner, pod.body["name"], "RUNNING", "RTX 4090", "SECURE",
                    "EU-RO-1", 0.69, created,
                )
            )  # fmt: skip
        return pod.pod_id


@pytest.fixture
def account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: Spec | None
) -> Iterator[Account]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with FakeRunpod(spec=spec) as fake:
        fake.plan = PodPlan(provisioning_s=0, pulling_s=0, starting_s=0, mapped_s=0)
        monkeypatch.setenv("RUNPOD_API_KEY", fake.key)
        monkeypatch.setenv("RUNPOD_API_URL", fake.url)
        yield Account(fake, open_ledger(Layout(tmp_path / "data", tmp_path / "artifacts")), capsys)
        assert fake.violations == []


def test_offers_come_in_the_order_of_trying(account):
    code, offers = account.json("offers", "--gpu", "RTX 4090,A5000", "--max-price", "0.5")
    assert code == EXIT_OK
    assert [(one["gpu_name"], one["price_per_h"], one["data_center"]) for one in offers] == [
        ("RTX A5000", 0.22, "EU-RO-1"),
        ("RTX 4090", 0.34, "EU-RO-1"),
        ("RTX 4090", 0.34, "US-KS-2"),
        ("RTX A5000", 0.36, "EU-RO-1"),
    ]
    code, out, _ = account("offers", "--min-vram", "80", "--cloud", "secure")
    assert code == EXIT_OK
    assert out.splitlines()[1].split() == ["A100", "PCIe", "1", "80", "GB", "$1.64", "secure", "US-KS-2", "high"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--gpu", "RTX 4O90"], EXIT_USAGE, "did you mean 'RTX 4090'"),
        (["--gpu", "H100"], EXIT_POD, "out of stock"),
        (["--cloud", "spot"], EXIT_USAGE, "SPOT"),
        (["--data-center", "EU-R0-1"], EXIT_USAGE, "EU-RO-1"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told_with_a_way_out(account, words, code, said):
    ended, out, err = account("offers", *words)
    assert (ended, out) == (code, "") and said in err and ("->" in err or "known:" in err)


def test_every_pod_that_may_bill_is_shown_and_what_is_odd_about_it(account):
    assert account("ps")[1] == "no pods\n"
    known, ghost = account.pod(), account.pod("other-run", known=False)
    foreign = account.fake.add(pod_name(RUN, "ffffffff")).pod_id
    account.fake.add("jupyter")
    code, rows = account.json("ps")
    notes = {row["pod_id"]: row["note"] for row in rows}
    assert code == EXIT_OK and set(notes) == {known, ghost, foreign}
    assert notes[known] == "" and "reap" in notes[ghost] and "another machine" in notes[foreign]
    assert "together $2.07 an hour" in account("ps")[1]
    account.fake.pods[known].ended_at = time.time()
    assert "does not know it" in account("ps")[1]


def test_pods_are_shown_without_asking_anybody(account):
    known = account.pod()
    account.fake.requests.clear()
    assert known in account("ps", "--offline")[1]
    assert account.fake.requests == []


def test_costs_are_told_by_run_and_experiment_and_by_the_bill_where_it_is_there(account):
    pod_id = account.pod()
    account.pod("ucr-000000000000")
    account.ledger.add_run(RUN, "market", "b" * 16)
    pod = account.fake.pods[pod_id]
    pod.created_at -= 7200
    code, found = account.json("cost")
    (market,) = [one for one in found["runs"] if one["run"] == RUN]
    assert code == EXIT_OK and market["experiment"] == "market"
    assert market["billed"] == pytest.approx(2 * 0.69, rel=0.01) and market["estimate"] < 0.1
    assert found["total"] == pytest.approx(market["billed"], abs=0.05)
    out = account("cost")[1]
    assert f"{RUN} (running)" in out and "market" in out and "together $1.38" in out
    assert [one["run"] for one in account.json("cost", RUN)[1]["runs"]] == [RUN]
    code, _, err = account("cost", "market-584a4514f71e")
    assert code == EXIT_DATA and f"did you mean '{RUN}'" in err


def test_costs_are_told_without_the_bill_where_it_cannot_be_had(account):
    account.pod()
    account.fake.fault("GET", "/billing", 403, "no access")
    code, out, err = account("cost")
    assert code == EXIT_OK and RUN in out and "estimates only" in err


def test_reap_shows_first_and_ends_when_it_is_told_to(account):
    kept, ghost = account.pod(), account.pod("other-run", known=False)
    account.ledger.add_event(RUN, kept, STARTED, "")
    keys = RunKeys(Path("artifacts/metadata/pod_keys"))
    assert keys.identity(RUN).is_file() and keys.identity("other-run").is_file()
    code, out, _ = account("reap")
    assert code == EXIT_POD and "1 pods would be ended, $0.69 an hour: `moola pod reap --apply`" in out
    assert len(account.fake.billing()) == 2
    code, found = account.json("reap", "--apply")
    assert code == EXIT_OK
    assert {one["pod_id"]: (one["verdict"], one["ended"]) for one in found} == {
        kept: ("kept", False),
        ghost: ("end", True),
    }
    assert [pod.pod_id for pod in account.fake.billing()] == [kept]
    assert account("reap")[0] == EXIT_OK
    assert account("down", RUN, "--yes")[0] == EXIT_OK
    assert list(Path("artifacts/metadata/pod_keys").iterdir()) == [], "a key goes with the last pod of its run"


def test_a_command_that_ends_without_a_pod_leaves_no_key_behind(account):
    layout = Layout(Path("data"), Path("artifacts"))
    nothing: Any = lambda: None  # noqa: E731
    run: Any = argparse.Namespace(run=RUN, ledger=account.ledger, layout=layout, close=nothing)
    key = run_keys(layout).identity(RUN)

    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        under_lease(run, interrupted)
    assert not key.exists()
    key = run_keys(layout).identity(RUN)
    intent = account.ledger.intend("runpod", RUN, OFFER)
    under_lease(run, nothing)
    assert key.is_file(), "a pod may have come of it"
    account.ledger.settle(intent, "nothing")
    account.pod()
    under_lease(run, nothing)
    assert key.is_file(), "a pod is open"


def test_what_the_account_says_cannot_act_on_the_terminal(account):
    pod = account.fake.add(pod_name(RUN, account.ledger.owner), dataCenterIds=["EU\x1b[2J\nmoola: fine"])
    pod.pod_id = "a\x1b]52;c;QQ==\x07"
    account.fake.pods[pod.pod_id] = pod
    assert "\\x1b[2J\\nmoola: fine" in account("ps")[1]
    for command in (["ps"], ["reap"], ["down", RUN]):
        _, out, err = account(*command)
        assert pod.pod_id.partition("\x1b")[0] in out + err
        assert not {"\x1b", "\x07"} & set(out + err)
        assert "moola: fine" not in [line[:11] for line in out.splitlines()]


def test_down_ends_the_pods_of_a_run_also_one_that_nobody_knew(account):
    pods, other = {account.pod(), account.pod(known=False)}, account.pod("other-run")
    code, ended = account.json("down", RUN)
    assert code == EXIT_OK and {one["pod_id"] for one in ended} == pods
    assert [pod.pod_id for pod in account.fake.billing()] == [other]
    assert [pod.run for pod in account.ledger.pods(open_only=True)] == ["other-run"]
    assert account("down", "--all")[0] == EXIT_OK
    assert account.fake.billing() == [] and account.ledger.pods(open_only=True) == []
    told = account("down", "--all")[1]
    assert "no pods to end: the ledger has none open" in told and "nor has the RunPod account" in told
    assert account("down", RUN)[0] == EXIT_OK
    code, _, err = account("down", "market-584a4514f71e")
    assert code == EXIT_DATA and f"did you mean '{RUN}'" in err


def test_down_does_not_lose_results_unasked(account):
    pod_id = account.pod()
    account.ledger.add_event(RUN, pod_id, STARTED, "")
    code, _, err = account("down", RUN)
    assert code == EXIT_USAGE and "its results are not here" in err and "moola pod pull" in err
    assert len(account.fake.billing()) == 1
    account.ledger.add_transfer(RUN, pod_id, "pull", 1.0, 3, 10, 10)
    assert account("down", RUN)[0] == EXIT_OK
    again = account.pod()
    account.ledger.add_event(RUN, again, STARTED, "")
    assert account("down", RUN, "--yes")[0] == EXIT_OK
    assert account.fake.billing() == []


def test_down_leaves_other_machines_pods_alone_unless_twice_told(account):
    account.fake.add(pod_name(RUN, "ffffffff"))
    assert account("down", RUN)[0] == EXIT_OK and len(account.fake.billing()) == 1
    code, _, err = account("down", RUN, "--any-ledger")
    assert code == EXIT_USAGE and "another machine" in err
    assert account("down", RUN, "--any-ledger", "--yes")[0] == EXIT_OK and account.fake.billing() == []


def test_down_without_a_key_does_not_pretend(account, monkeypatch):
    account.pod()
    monkeypatch.delenv("RUNPOD_API_KEY")
    for words in ([RUN], ["--all"]):
        code, _, err = account("down", *words)
        assert code == EXIT_USAGE and "there is no RunPod API key" in err
    assert len(account.fake.billing()) == 1


@pytest.mark.parametrize("words", [[], [RUN, "--all"]])
def test_down_wants_a_run_or_all(account, words):
    code, _, err = account("down", *words)
    assert code == EXIT_USAGE and "name a run, or --sweep SWEEP, or --all" in err


def test_reap_without_a_key_does_not_pretend(account, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert account("reap")[0] == EXIT_USAGE


def test_the_doctor_finds_nothing_where_all_is_well(account):
    code, checks = account.json("doctor")
    assert code == EXIT_OK
    names = ["git", "ssh", "ssh-keygen", "ssh-keyscan", "packages", "ledger", "disk", "key", "account", "clock", "pods"]
    assert [check["name"] for check in checks] == names
    assert all(check["is_fine"] for check in checks)
    assert "nothing is missing" in account("doctor")[1]


def no_key(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY")


def wrong_key(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_wrong")


def no_ssh(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def no_network(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    monkeypatch.setenv("RUNPOD_API_URL", "https://127.0.0.1:1/v2")
    monkeypatch.setattr("moola.pods.clock.time.sleep", lambda _: None)
    monkeypatch.setattr("moola.pods.runpod_api._ATTEMPTS", 1)


def late_clock(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    from moola.pods import examining
    from moola.pods.clock import Clock

    monkeypatch.setattr(examining, "Clock", lambda: Clock(now=lambda: time.time() - 900))


def forgotten_pod(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    account.pod(known=False)


def broken_ledger(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    account.ledger.path.write_bytes(b"no ledger " * 1000)


def full_disk(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e8))


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (no_key, "key", "export RUNPOD_API_KEY"),
        (wrong_key, "account", "does not know this API key"),
        (no_ssh, "ssh", "openssh-client"),
        (no_network, "account", "cannot reach"),
        (late_clock, "clock", "timedatectl"),
        (forgotten_pod, "pods", "moola pod reap"),
        (broken_ledger, "ledger", "cannot be used"),
        (full_disk, "disk", "free space"),
    ],
)
def test_the_doctor_says_what_is_missing_and_how_to_mend_it(
    account: Account, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None], name: str, said: str
) -> None:
    spoil(monkeypatch, account)
    code, checks = account.json("doctor", "--provider", "runpod")
    missing = [check for check in checks if not check["is_fine"]]
    assert code == EXIT_ENVIRONMENT and name in [check["name"] for check in missing]
    assert all(check["mend"] for check in missing)
    assert any(said in check["found"] + check["mend"] for check in missing if check["name"] == name)


def test_the_doctor_wants_a_key_only_where_runpod_is_wanted(account, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    code, checks = account.json("doctor")
    [key] = [check for check in checks if check["section"] == "runpod"]
    assert code == EXIT_OK and "there is none" in key["found"] and "export RUNPOD_API_KEY" in key["mend"]
    code, checks = account.json("doctor", "--provider", "local")
    assert code == EXIT_OK and {check["section"] for check in checks} == {"this machine"}
    assert account("doctor", "--provider", "runpod")[0] == EXIT_ENVIRONMENT


def test_the_doctor_tells_which_host_cannot_be_reached(account):
    code, checks = account.json("doctor", "--host", "me@127.0.0.1:1", "--host", "me@127.0.0.1:2")
    found = {check["section"]: check["found"] for check in checks if not check["is_fine"]}
    assert code == EXIT_ENVIRONMENT
    assert found == {f"ssh 127.0.0.1:{port}": "Connection refused" for port in (1, 2)}
    assert account("doctor", "--host", "nobody")[0] == EXIT_USAGE
    assert account("doctor", "--host", "me@127.0.0.1:1", "--offline")[0] == EXIT_OK


def test_the_doctor_makes_nothing_where_there_is_nothing(account, tmp_path):
    """Somebody may look before they have a project."""
    elsewhere = tmp_path / "elsewhere" / "artifacts"
    code, checks = account.json("doctor", "--artifacts", str(elsewhere))
    [ledger] = [check for check in checks if check["name"] == "ledger"]
    assert code == EXIT_OK and "none yet" in ledger["found"] and not elsewhere.parent.exists()


def test_the_doctor_can_leave_the_account_out(account):
    assert account("doctor", "--offline")[0] == EXIT_OK
    assert account.fake.requests == []


@pytest.fixture
def packs_nothing(monkeypatch):
    """The run's words make a bundle without files."""
    bundle = Bundle.of([], {"run_id": RUN, "overrides": ["seeds=[0]"], "moola": {"path": "src"}}, None, {})
    monkeypatch.setattr(packing, "pack", lambda *_, **__: packing.Packed(bundle, {}, (), ()))
    return bundle


def test_a_dry_run_as_json_holds_the_plan_and_the_estimate(account, packs_nothing):
    code, told = account.json("run", "seeds=[0]", "--gpu", "RTX 4090", "--dry-run")
    assert code == EXIT_OK and account.fake.pods == {}
    assert (told["run"], told["bundle"], told["files"]) == (RUN, packs_nothing.bundle_id, 0)
    estimate = told["estimate"]
    assert estimate["offer"]["gpu_name"] == "RTX 4090" and estimate["hours"] == pytest.approx(1.2)
    assert estimate["usd"] == pytest.approx(1.2 * estimate["offer"]["price_per_h"], abs=1e-4)


def test_all_that_is_wrong_is_told_before_anything_is_packed(account, monkeypatch):
    monkeypatch.setattr(packing, "pack", lambda *_, **__: pytest.fail("packed"))
    monkeypatch.delenv("RUNPOD_API_KEY")
    words = ("debug=fats", "model=alll", "model.depth=1", "--max-file-mb", "-1")
    code, out, err = account("run", *words)
    assert (code, out) == (EXIT_USAGE, "") and "4 problems" in err
    for told in (
        "no RunPod API key",
        "code_file_mb (--max-file-mb): -1",
        "debug=fats: there is no such",
        "model=alll: there is no such",
    ):
        assert told in err


def test_the_estimate_of_a_plan_says_how_to_get_one(account, tmp_path, monkeypatch):
    before = sorted(tmp_path.rglob("*"))
    estimate, told = estimate_now(load_settings([], {"gpus": ["RTX 4090"]}))
    assert estimate is not None and told == str(estimate) and f"= ${estimate.cost:.2f} on RTX 4090" in told
    assert estimate_now(load_settings(["pod=local"]))[1].endswith("nothing bills with --provider local")
    assert "`moola pod offers` shows" in estimate_now(load_settings([], {"gpus": ["H100"]}))[1]
    with pytest.raises(ConfigError, match="did you mean 'RTX 4090'"):
        estimate_now(load_settings([], {"gpus": ["RTX 4O90"]}))
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert "export RUNPOD_API_KEY" in estimate_now(load_settings([]))[1]
    assert sorted(tmp_path.rglob("*")) == before
