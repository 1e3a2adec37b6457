"""Several points on pods at once, with a stand-in for training: hosts that die, clients that are killed or leave."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from pod_bench import SHORT, Bench, hosts_of, kill_jobs, points
from until import wait_for

from moola.cli import main
from moola.pipelines.sweep_record import Sweep, read_states

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.fixture
def bench(stand_in: ModuleType, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path / "here", stand_in)
    kill_jobs(tmp_path)


@pytest.fixture
def machines(make_sshd: Callable[..., Any]) -> list[Any]:
    """Three hosts that answer."""
    made = [make_sshd() for _ in range(3)]
    for machine in made:
        machine.start()
    return made


def test_points_run_beside_each_other_and_one_that_fails_ends_no_other(bench: Bench) -> None:
    first, second = points(2)
    failing = replace(second, overrides=(*second.overrides, "STAND_IN_FAILS=1"))
    ends = bench.sweep(2, bench.stand_in.settings(), pods=2, points=[first, failing]).run()
    assert (ends[0].status, ends[1].status) == ("finished", "failed")
    states = read_states(bench.folder)
    assert "code 3" in states[1].why and states[1].where
    assert "wrong data" in bench.log(1).read_text()
    opened = [run for run, _ in bench.opened]
    assert opened.count(second.run_id) == 1, "what the job itself got wrong is not tried again"
    assert states[0].cost_usd is None and states[0].seconds


def test_a_host_that_dies_in_the_middle_takes_no_point_with_it(
    bench: Bench, machines: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven points over three hosts; the second loses its power while it works on one."""
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.2)
    env = {"STAND_IN_STEPS": "12", "STAND_IN_PAUSE_S": "0.1"}
    settings = bench.stand_in.settings(**hosts_of(machines, tmp_path / "pods"), env=env, limits=SHORT)
    dead = f"127.0.0.1:{machines[1].port}"

    def lose_power() -> None:
        def at_work() -> bool:
            states = read_states(bench.folder).values()
            mine = [one for one in states if one.where == dead and one.status == "running"]
            return any("step 3" in bench.log(one.number).read_text() for one in mine)

        wait_for(at_work)
        machines[1].stop()
        [pod] = [one for one in ledger.pods(open_only=True) if one.data_center == dead]
        kill_jobs(tmp_path / "pods" / "runs" / pod.run)
        killed.append(pod.run)

    ledger, killed = bench.stand_in.ledger_of(bench.top), []
    thread = threading.Thread(target=lose_power)
    thread.start()
    ends = bench.sweep(7, settings).run()
    thread.join()
    bench.finished(ends, 7)
    pods = [pod.run for pod in ledger.pods()]
    assert len(killed) == 1 and pods.count(killed[0]) == 2, "it went on elsewhere"
    assert all(pods.count(run) == 1 for run in set(pods) - set(killed)), "no other point ran twice"
    assert all(f":{machines[1].port}" not in host for run, hosts in bench.opened[-1:] for host in hosts)


def test_several_small_jobs_share_a_host(bench: Bench, machines: list[Any], tmp_path: Path) -> None:
    settings = bench.stand_in.settings(**hosts_of(machines[:1], tmp_path / "pods"), env={"STAND_IN_STEPS": "10"})
    sweep = bench.sweep(3, settings, jobs_per_pod=3)
    assert sweep.room == 3
    bench.finished(sweep.run(), 3)
    spans = [(pod.created_at, pod.ended_at) for pod in bench.stand_in.ledger_of(bench.top).pods()]
    assert max(began for began, _ in spans) < min(ended for _, ended in spans), "all three at once"


def test_where_no_host_is_left_the_sweep_stops_and_goes_on_when_one_is_back(
    bench: Bench, machines: list[Any], tmp_path: Path
) -> None:
    settings = bench.stand_in.settings(**hosts_of(machines[:1], tmp_path / "pods"), limits=SHORT)
    machines[0].stop()
    ends = bench.sweep(2, settings).run()
    assert {end.status for end in ends.values()} == {"left"} and "had a machine" in bench.told[-1]
    assert {state.status for state in read_states(bench.folder).values()} == {"interrupted"}
    machines[0].start()
    bench.finished(bench.sweep(2, settings).run(), 2)


def client(bench: Bench, machines: list[Any], root: Path, n: int, **env: str) -> subprocess.Popen[str]:
    """A client in a process of its own."""
    settings = json.dumps(hosts_of(machines, root, env=env))
    argv = [sys.executable, str(HERE / "killed_sweep.py"), str(bench.top), str(n), settings]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_client_that_is_killed_is_followed_by_one_that_goes_on_with_every_point(
    bench: Bench, machines: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Some points are finished, three run on, the rest has not begun; meanwhile one of the three finishes."""
    env = {"STAND_IN_STEPS": "30", "STAND_IN_PAUSE_S": "0.1"}
    process = client(bench, machines, tmp_path / "pods", 7, **env)

    def some_are_finished_and_three_run() -> bool:
        states = read_states(bench.folder).values()
        at_work = [one for one in states if one.status == "running" and "step 1" in bench.log(one.number).read_text()]
        return len(at_work) == 3 and any(one.status == "finished" for one in states)

    wait_for(some_are_finished_and_three_run)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ledger = bench.stand_in.ledger_of(bench.top)
    open_now = {pod.run for pod in ledger.pods(open_only=True)}
    assert len(open_now) == 3 and not any(ledger.is_leased(run) for run in open_now)
    monkeypatch.chdir(bench.top)
    assert main(["pod", "ps", "--json"]) == 0
    assert {row["run"] for row in json.loads(capsys.readouterr().out)} == open_now
    one = next(iter(open_now))
    wait_for(lambda: "finished" in (tmp_path / "pods" / "runs" / one / "status.json").read_text())
    before = read_states(bench.folder)
    missing = [point for point in points(7) if point.number not in before or before[point.number].status != "finished"]
    settings = bench.stand_in.settings(**hosts_of(machines, tmp_path / "pods"), env=env, limits=SHORT)
    ends = bench.sweep(7, settings, points=missing).run()
    assert {end.status for end in ends.values()} == {"finished"}
    assert {run for run, _ in bench.opened[:3]} == open_now, "what is on a pod comes first"
    runs = [pod.run for pod in ledger.pods()]
    assert sorted(runs) == sorted(point.run_id for point in points(7)), "one pod a point"
    assert ledger.pods(open_only=True) == []
    assert [state.status for state in read_states(bench.folder).values()] == ["finished"] * 7


def test_ctrl_c_leaves_what_has_begun_on_its_pods_and_the_commands_it_names_end_it_all(
    bench: Bench, machines: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    process = client(bench, machines, tmp_path / "pods", 5, STAND_IN_STEPS="1000", STAND_IN_PAUSE_S="0.3")

    def three_run() -> bool:
        return sum("step 1" in bench.log(number).read_text() for number in read_states(bench.folder)) == 3

    wait_for(three_run)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in said and "leaving 3 points" in said, said
    commands = re.findall(r"`moola (pod (?:stop|down) --sweep [^`]+)`", said)
    assert len(commands) == 2, said
    states = read_states(bench.folder)
    assert [state.status for state in states.values()] == ["interrupted"] * 3
    ledger = bench.stand_in.ledger_of(bench.top)
    assert len(ledger.pods(open_only=True)) == 3
    assert not any(ledger.is_leased(pod.run) for pod in ledger.pods())
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert sum(f"moola.pods.supervisor {tmp_path}/pods/runs/demo-" in line for line in lines) == 3, "they go on"
    record = Sweep(bench.folder, "run", "moola run -m", "2026-11-22T00:00:00Z", ("seed",), tuple(points(5)))
    record.write()
    monkeypatch.chdir(bench.top)
    assert main(["pod", "down", "--sweep", "demo-sw"]) == 2
    said = capsys.readouterr().err
    assert "results are not here" in said and "pod stop --sweep demo-sw" in said
    for number, command in enumerate(commands):
        if number:  # the first has ended all of them
            kept = [artifacts / "checkpoint" for artifacts in (bench.top / "artifacts/runpod_results").iterdir()]
            assert len(kept) == 3 and all(any(folder.rglob("state.json")) for folder in kept)
        assert main(command.split()) == 0, capsys.readouterr()
        assert ledger.pods(open_only=True) == []
    assert not list((tmp_path / "pods" / "runs").iterdir())
