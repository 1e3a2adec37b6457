"""A sweep on a pod that it rents, as a whole: real sshd, real supervisors and keeper, clients that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from pod_bench import Bench, kill_jobs, points
from until import wait_for

from moola.cli import main
from moola.pipelines.sweep_record import Sweep, read_states
from moola.pods.provider import LENT
from moola.pods.run_files import read_object
from moola.pods.runpod_provider import RunpodProvider

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="RunPod's pods are logged in to as root"),
]
SLOW = {"STAND_IN_STEPS": "40", "STAND_IN_PAUSE_S": "0.1"}


@pytest.fixture
def bench(stand_in: ModuleType, account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(RunpodProvider, "root", str(tmp_path / "pod"))
    monkeypatch.setattr("moola.pods.attaching.POLL_S", 0.2)
    yield Bench(tmp_path / "here", stand_in)
    kill_jobs(tmp_path)


def supervisors(tmp_path: Path) -> int:
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return sum(f"moola.pods.supervisor {tmp_path}/pod/runs/" in line for line in lines)


def test_points_share_one_pod_and_follow_each_other(bench: Bench, account: Any, tmp_path: Path) -> None:
    settings = bench.stand_in.settings(
        provider="runpod", gpus=("A5000",), expected_hours=0.05, env={"STAND_IN_STEPS": "5"}
    )
    bench.finished(bench.rented_sweep(5, settings).run(), 5)
    assert len(account.pods) == 1 and account.billing() == []
    ledger = bench.stand_in.ledger_of(bench.top)
    spans = [(pod.created_at, pod.ended_at) for pod in ledger.pods() if pod.provider == LENT]
    assert len(spans) == 5 and sorted(spans)[1][0] < sorted(spans)[0][1], "two at a time"
    states = read_states(bench.folder).values()
    assert 0 < sum(state.cost_usd for state in states) <= sum(pod.cost for pod in ledger.pods())
    secret = account.key.encode()
    kept = [path for path in (tmp_path / "pod").rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if secret in path.read_bytes()], "the key of the account stays here"


def client(bench: Bench, tmp_path: Path, n: int, env: dict[str, str]) -> subprocess.Popen[str]:
    """A client in a process of its own."""
    settings = json.dumps({"gpus": ["A5000"], "expected_hours": 0.05, "env": env})
    argv = [sys.executable, str(HERE / "rented_sweep.py"), str(bench.top), str(n), settings, str(tmp_path / "pod")]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def both_work(bench: Bench) -> bool:
    states = read_states(bench.folder).values()
    return sum(one.status == "running" and "step 1" in bench.log(one.number).read_text() for one in states) == 2


def test_a_client_that_is_killed_is_followed_by_one_that_goes_on_with_pod_and_points(
    bench: Bench, account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    process = client(bench, tmp_path, 4, SLOW)
    wait_for(lambda: both_work(bench), within_s=60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(account.billing()) == 1 and supervisors(tmp_path) == 3, "two points and the keeper go on"
    monkeypatch.chdir(bench.top)
    assert main(["pod", "ps", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["run"] for row in rows) == ["demo-000000000000", "demo-000000000001", "demo-sweep-pod0"]
    one = tmp_path / "pod/runs/demo-000000000000/status.json"
    wait_for(lambda: read_object(one).get("outcome") == "finished", within_s=60)
    settings = bench.stand_in.settings(provider="runpod", gpus=("A5000",), expected_hours=0.05, env=SLOW)
    bench.finished(bench.rented_sweep(4, settings).run(), 4)
    assert len(account.pods) == 1 and account.billing() == []
    lent = [pod.run for pod in bench.stand_in.ledger_of(bench.top).pods() if pod.provider == LENT]
    assert sorted(lent) == [point.run_id for point in points(4)], "each was begun once"


@pytest.mark.parametrize("which", [0, 1], ids=["stop", "down"])
def test_ctrl_c_leaves_points_on_the_pod_and_the_commands_it_names_end_all_of_it(
    bench: Bench, account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, which: int
) -> None:
    process = client(bench, tmp_path, 4, {"STAND_IN_STEPS": "1000", "STAND_IN_PAUSE_S": "0.3"})
    wait_for(lambda: both_work(bench), within_s=60)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "leaving 2 points" in said, said
    assert len(account.billing()) == 1 and supervisors(tmp_path) == 3
    record = Sweep(bench.folder, "run", "moola run -m", "2026-11-22T00:00:00Z", ("seed",), tuple(points(4)))
    record.write()
    monkeypatch.chdir(bench.top)
    command = re.findall(r"`moola (pod (?:stop|down) --sweep [^`]+)`", said)[which]
    assert main(command.split()) == 0, capsys.readouterr()
    ledger = bench.stand_in.ledger_of(bench.top)
    assert ledger.pods(open_only=True) == [] and account.billing() == []
    kept = list((bench.top / "artifacts/runpod_results").glob("demo-0*/checkpoint/**/state.json"))
    assert len(kept) == (2 if which == 0 else 0)
    assert main(["pod", "cost", "--json"]) == 0 and "demo-sweep-pod0" in capsys.readouterr().out


MOOLA = """
import sys
from moola.cli import main
from moola.pods.runpod_provider import RunpodProvider
from moola.pods.settings import PodSettings
RunpodProvider.root, PodSettings.gpu_count = sys.argv.pop(1), 0
sys.exit(main(sys.argv[1:]))
"""
"""`moola`, for which a folder of this machine stands for the disk of the pod, which has no GPU."""


def test_the_command_itself_takes_real_runs_to_one_pod_and_back(account: Any, tmp_path: Path) -> None:
    from test_sweep_over_hosts import SMALL

    words = [word for word in SMALL if not word.startswith("task.draw")]
    words += ["task.draw=0,1,2", "pod.smoke=false", "pod.expected_hours=0.1", "--gpu=A5000", "--budget=1", "--yes"]
    words += ["--jobs-per-pod=2", f"--python={sys.executable}", "pod.env.OPENBLAS_NUM_THREADS=1"]
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", MOOLA, str(tmp_path / "pod"), "pod", "run", "-m", *words]
    try:
        done = subprocess.run(argv, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=900)
    finally:
        kill_jobs(tmp_path)
    logs = "".join(path.read_text() for path in (tmp_path / "here").rglob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert len(account.pods) == 1 and account.billing() == []
    assert "3 points on 1 rented pod at once, 2 at a time on each" in done.stderr and "1 rented pod: $" in done.stderr
    [folder] = (tmp_path / "here/artifacts/results/sweeps").iterdir()
    assert [state.status for state in read_states(folder).values()] == ["finished"] * 3
