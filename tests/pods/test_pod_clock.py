"""A pod whose clock is wrong, or is set while the run is at work: its hours count all the same, and it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_in

from moola.errors import StorageError
from moola.pods.clock import Clock
from moola.pods.provider import LocalTarget
from moola.pods.session import CLOCK_SKEW_S, open_shell
from moola.pods.supervisor import Supervisor
from moola.pods.wire import Answer, LocalConnection

HOURS = 3600.0


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clocks of pods that are folders so many seconds ahead."""
    asked = LocalConnection.request

    def set_ahead(skew_s: float) -> None:
        def skewed(self: LocalConnection, action: str, arguments: Any, **more: Any) -> Answer:
            answer = asked(self, action, arguments, **more)
            ahead = {"time": answer.value["time"] + skew_s} if action == "hello" else {}
            return Answer({**answer.value, **ahead}, answer.sent_at, answer.took_s)

        monkeypatch.setattr(LocalConnection, "request", skewed)

    return set_ahead


def supervisor(folder: Path, skew_s: float, monotonic_s: float, **job: Any) -> Supervisor:
    """One that has looked at its clocks and done nothing yet."""
    (folder / "project").mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"run": "demo", "steps": [], **job}))
    return Supervisor(folder, Clock(now=lambda: time.time() + skew_s, monotonic=lambda: monotonic_s))


@pytest.mark.parametrize("skew_s", [2 * HOURS, -2 * HOURS])
def test_hours_count_by_the_steps_of_the_pod_and_not_by_its_clock(tmp_path: Path, skew_s: float) -> None:
    at = [1000.0]
    wrong = Clock(now=lambda: time.time() + skew_s, monotonic=lambda: at[0])
    (tmp_path / "job.json").write_text(json.dumps({"run": "demo", "steps": [], "billed_s": 60.0}))
    found = Supervisor(tmp_path, wrong)
    at[0] += 90
    assert found.billed_s() == 150.0


@pytest.mark.parametrize("jump_s", [2 * HOURS, -2 * HOURS])
def test_a_clock_that_jumps_between_two_supervisors_adds_and_takes_nothing(tmp_path: Path, jump_s: float) -> None:
    first = supervisor(tmp_path, 0.0, 1000.0, billed_s=60.0)
    first.tell(force=True)
    assert supervisor(tmp_path, jump_s, 1100.0, billed_s=60.0).billed_s() == pytest.approx(160.0)


def test_after_a_restart_of_the_machine_the_wall_clock_has_to_do(tmp_path: Path) -> None:
    supervisor(tmp_path, 0.0, 1000.0).tell(force=True)
    status = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**status, "boot": "another"}))
    assert supervisor(tmp_path, 500.0, 3.0).billed_s() == pytest.approx(500.0, abs=5)
    assert supervisor(tmp_path, -500.0, 3.0).billed_s() == 0.0, "no clock makes a run younger than it was"


@pytest.mark.parametrize("skew_s", [2 * HOURS, -2 * HOURS, 0.0])
def test_the_client_measures_the_difference(
    tmp_path: Path, wrong_clock: Callable[[float], None], skew_s: float
) -> None:
    wrong_clock(skew_s)
    shell = open_shell(LocalTarget(tmp_path), root="", python="python3")
    assert shell is not None
    assert shell.skew_s == pytest.approx(skew_s, abs=CLOCK_SKEW_S / 4)


@pytest.mark.parametrize(("skew_s", "told"), [(2 * HOURS, "+7200 s off"), (-2 * HOURS, "-7200 s off"), (0.0, "")])
def test_the_client_tells_of_a_pod_whose_clock_is_wrong(
    tmp_path: Path, wrong_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, skew_s: float, told: str
) -> None:
    def nothing_more(*_: object, **__: object) -> None:
        raise StorageError("enough")

    monkeypatch.setattr("moola.pods.starting.push", nothing_more)
    wrong_clock(skew_s)
    said: list[str] = []
    with pytest.raises(StorageError, match="enough"):
        stand_in.stand_in_run(tmp_path, said).go()
    assert [line.split(":")[0] for line in said if "clock" in line] == ([f"its clock is {told}"] if told else [])
