"""A RunPod account on loopback, a ledger, and a provider that joins them; no test waits for a real clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import stand_in
from fake_runpod import FakeClock, FakeRunpod, PodPlan, Spec

from moola.layout import Layout
from moola.pods import host_keys
from moola.pods.acquiring import Acquisition
from moola.pods.ledger import Ledger
from moola.pods.provider import PodWish
from moola.pods.run_keys import RunKeys
from moola.pods.running import PodRun
from moola.pods.runpod_api import RunpodApi
from moola.pods.runpod_provider import RunpodProvider

from .scripted_pod import Scripted

SPEC = Path(__file__).parents[3] / "../shared/data/runpod-openapi-v2.json"
RUN = "market-584a4514f71f"
KEY = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43
"""What the fake pods show on their port; the fingerprint that they print is made to fit."""


@dataclass
class World:
    """One client with its ledger, before a fake account."""

    fake: FakeRunpod
    clock: FakeClock
    ledger: Ledger
    provider: RunpodProvider
    told: list[str] = field(default_factory=list)
    shown: tuple[str, ...] = (KEY,)

    def acquisition(self, wish: PodWish | None = None, **more: Any) -> Acquisition[str]:
        """With a session that opens as soon as there is a target."""
        more.setdefault("open_session", lambda target: f"session on {target.port}")
        return Acquisition(
            self.provider, self.ledger, wish or PodWish(), RUN, KEY, tell=self.told.append, clock=self.clock, **more
        )

    def billing(self) -> list[str]:
        return [pod.pod_id for pod in self.fake.billing()]


@pytest.fixture(scope="session")
def spec() -> Spec | None:
    """The API's specification where it lies beside the project."""
    return Spec(SPEC.read_text()) if SPEC.is_file() else None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def no_key_pair(keys: RunKeys, folder: Path) -> None:
    """In place of ssh-keygen, which takes 20 ms: nobody logs in with it here."""
    folder.mkdir(parents=True)
    (folder / "id_ed25519").touch()
    (folder / "id_ed25519.pub").write_text(KEY)


@pytest.fixture
def make_world(clock: FakeClock, spec: Spec | None, tmp_path: Path, monkeypatch: Any) -> Iterator[Callable[..., World]]:
    """Builds clients of one account; each `name` has a ledger of its own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(RunKeys, "_make", no_key_pair)
    apis: list[RunpodApi] = []
    with FakeRunpod(clock=clock, spec=spec) as fake:

        def make(name: str = "laptop", **more: Any) -> World:
            api = RunpodApi(fake.key, fake.url, clock=clock)
            apis.append(api)
            ledger = Ledger(tmp_path / name / "pods.sqlite", clock)
            world: World
            provider = RunpodProvider(
                api, ledger, RunKeys(tmp_path / name / "keys"), scan=lambda *_: world.shown, clock=clock, **more
            )
            world = World(fake, clock, ledger, provider)
            return world

        yield make
        assert fake.violations == []
    for api in apis:
        api.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture(autouse=True)
def nothing_that_costs_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test loses power, and no fake has a certificate: 40 ms for each client would go to reading authorities."""
    monkeypatch.setattr("moola.pods.ledger_file._DURABILITY", "OFF")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture(autouse=True)
def printed(monkeypatch: pytest.MonkeyPatch) -> str:
    """The line that a pod prints about its key."""
    line = f"256 {host_keys.fingerprint(KEY)} root@pod (ED25519)"
    monkeypatch.setattr("fake_runpod.PRINTED", line)
    return line


@pytest.fixture
def scripted(world: World, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    world.fake.plan = PodPlan(provisioning_s=0, pulling_s=0, starting_s=0, mapped_s=0)
    return Scripted(world.clock, monkeypatch)


@pytest.fixture
def ordered(world: World, scripted: Scripted, tmp_path: Path) -> Callable[..., PodRun]:
    """A run on the fake account, whose pods do what `scripted.script` says."""

    def make(**changed: Any) -> PodRun:
        settings = stand_in.settings(provider="runpod", gpus=("A5000",), cloud=("SECURE",), **changed)
        layout = Layout(tmp_path / "data", tmp_path / "artifacts")
        bundle = stand_in.stand_in_bundle(tmp_path / "packed")
        return PodRun(
            bundle, settings, layout, world.provider, world.ledger, world.told.append, lambda _: None, world.clock
        )

    return make
