"""A project whose sweeps run the stand-in for training on pods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from moola.layout import Layout, read_json
from moola.pipelines.sweep_record import Point, read_states
from moola.pods.resuming import open_run
from moola.pods.settings import PodSettings
from moola.pods.waiting import PhaseLimits
from moola.sweeps.pod_budget import SweepBudget
from moola.sweeps.pod_point import OpenRun, PointEnd
from moola.sweeps.pod_sweep import PodSweep

SHORT = PhaseLimits(ssh_s=2.0, silent_s=2.0)


def points(n: int) -> list[Point]:
    return [Point(number, (f"seed={number}",), f"demo-{number:012x}") for number in range(n)]


@dataclass
class Bench:
    """A project whose sweeps run the stand-in.

    Attributes:
        top: its folder.
        stand_in: the module.
        told: what was told of the sweep.
        opened: runs in the order in which they were opened, with the hosts that they may take.
    """

    top: Path
    stand_in: ModuleType
    told: list[str] = field(default_factory=list[str])
    opened: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])

    @property
    def folder(self) -> Path:
        return self.top / "artifacts" / "results" / "sweeps" / "demo-sweep"

    def log(self, number: int) -> Path:
        return self.folder / "logs" / f"{number:05d}.log"

    def sweep(self, n: int, settings: PodSettings, **more: Any) -> PodSweep:
        layout = Layout(self.top / "data", self.top / "artifacts")
        ledger = self.stand_in.ledger_of(self.top)

        def order(point: Point, own: PodSettings) -> OpenRun:
            number = point.number
            env = {name: value for name, _, value in (word.partition("=") for word in point.overrides[1:])}
            own = replace(own, env={**own.env, **env, "STAND_IN_RUN": point.run_id})
            bundle = self.stand_in.stand_in_bundle(self.top / "packed", point.run_id)
            bundle.write(layout.room("artifacts/runpod_bundles") / bundle.bundle_id)

            def opened(tell: Callable[[str], None], show: Any) -> Any:
                self.opened.append((point.run_id, own.provider_options.hosts))
                return open_run(bundle, own, layout, tell=tell, show=show, ledger=ledger)

            assert number == int(point.run_id.rpartition("-")[2], 16)
            return opened

        todo = more.pop("points", points(n))
        budget = more.pop("budget", SweepBudget(float("inf"), None, [point.run_id for point in todo], ledger))
        return PodSweep(todo, self.folder, self.log, settings, budget, order, tell=self.told.append, **more)

    def rented_sweep(self, n: int, settings: PodSettings, jobs: int = 2, **more: Any) -> PodSweep:
        """One on one pod that it rents, with so many points at a time."""
        from moola.pods.lending import keeper_bundle
        from moola.pods.providers import open_provider
        from moola.sweeps.rented_pods import RentedPods

        layout, ledger = Layout(self.top / "data", self.top / "artifacts"), self.stand_in.ledger_of(self.top)
        budget = SweepBudget(float("inf"), None, [point.run_id for point in points(n)], ledger, self.folder.name)

        def rent(run: str, own: PodSettings) -> OpenRun:
            bundle = keeper_bundle(run, layout)
            return lambda tell, show: open_run(bundle, own, layout, tell=tell, show=show, ledger=ledger)

        lender, logs = open_provider("runpod", ledger, layout), self.folder / "logs"
        pods = RentedPods(self.folder.name, logs, lender, ledger, settings, budget, rent, 1, jobs, self.told.append)
        return self.sweep(n, settings, budget=budget, jobs_per_pod=jobs, rented=pods, **more)

    def finished(self, ends: dict[int, PointEnd], n: int) -> None:
        """All of them are, each once, and nothing is left of them."""
        logs = {number: self.log(number).read_text() for number in ends}
        assert {number: end.status for number, end in ends.items()} == dict.fromkeys(range(n), "finished"), logs
        states = read_states(self.folder)
        assert [states[number].status for number in range(n)] == ["finished"] * n
        for number in range(n):
            folder = Path(states[number].run_folder)
            assert folder.name == f"demo-{number:012x}" and read_json(folder / "metrics.json") == {"accuracy": 0.75}
        assert self.stand_in.ledger_of(self.top).pods(open_only=True) == []


def hosts_of(machines: Sequence[Any], root: Path, **more: Any) -> dict[str, Any]:
    """Settings for hosts that all take the key of the first."""
    for machine in machines:
        (machine.folder / "client_key.pub").write_text((machines[0].folder / "client_key.pub").read_text())
    return {
        "provider": "ssh",
        "host": tuple(f"{machine.target().user}@127.0.0.1:{machine.port}" for machine in machines),
        "host_key": tuple(machine.host_key for machine in machines),
        "identity": str(machines[0].key),
        "root": str(root),
        **more,
    }


def kill_jobs(root: Path) -> None:
    """Everything that works below a pod root, as where a machine loses its power."""
    for process in psutil.process_iter(["cmdline"]):
        if str(root) in " ".join(process.info["cmdline"] or []):
            process.kill()
