"""`moola pod run -m` itself over three hosts of which one is lost: real runs, real sshd, a real client.

``SWEEP_POINTS=24 pytest -s -m slow tests/pods/test_sweep_over_hosts.py`` shows its table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pod_bench import hosts_of, kill_jobs
from until import wait_for

from moola.layout import Layout, read_json
from moola.pipelines.sweep_record import read_states
from moola.pods.providers import open_ledger

N = int(os.environ.get("SWEEP_POINTS", "4"))
SMALL = (
    *("debug=fast", "data.symbols=[sp500]", "data.window.stride_bars=5", "task.n_given=40", "task.n_flipped=4"),
    *("split.n_folds=2", "trainer.pretrain.batch_size=128", "~model.minirocket", "~model.random_forest"),
    *("~model.random_init_probe", f"task.draw={','.join(map(str, range(N)))}"),
)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "here").mkdir()
    yield tmp_path / "here"
    kill_jobs(tmp_path)


@pytest.mark.slow
def test_a_sweep_over_three_hosts_loses_one_and_finishes(
    make_sshd: Callable[..., Any], top: Path, tmp_path: Path
) -> None:
    machines = [make_sshd() for _ in range(3)]
    for machine in machines:
        machine.start()
    there = hosts_of(machines, tmp_path / "pods")
    words = ["pod", "run", "-m", *SMALL, "pod.smoke=false", "pod.limits.silent_s=5", "pod.limits.ssh_s=5"]
    words += [f"pod.root={there['root']}", f"--identity={there['identity']}", f"--python={sys.executable}"]
    words += [f"--host={host}" for host in there["host"]] + [f"--host-key={key}" for key in there["host_key"]]
    words += [f"pod.env.{name}=1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    with (tmp_path / "said").open("w+") as said:
        argv = [sys.executable, "-m", "moola", *words]
        client = subprocess.Popen(argv, cwd=top, env=environment, stdout=said, stderr=subprocess.STDOUT)
        lost = lose_one(machines[2], top, tmp_path / "pods")
        code = client.wait(timeout=3000)
        said.seek(0)
        print(f"\n{said.read()}\n{time.monotonic() - began:.0f} s; the host of {lost} was lost in the middle of it")
    said_all = (tmp_path / "said").read_text()
    assert code == 0, said_all
    [folder] = (top / "artifacts/results/sweeps").iterdir()
    states = read_states(folder)
    assert [states[number].status for number in range(N)] == ["finished"] * N
    assert len({state.run_folder for state in states.values()}) == N
    assert all(read_json(Path(state.run_folder) / "manifest.json")["pod"] for state in states.values())
    ledger = open_ledger(Layout(top / "data", top / "artifacts"))
    runs = [pod.run for pod in ledger.pods()]
    assert runs.count(lost) == 2 and len(runs) == N + 1, "one went on elsewhere, and no other point ran twice"
    assert ledger.pods(open_only=True) == [] and f"{N}/{N}" in said_all


def lose_one(machine: Any, top: Path, root: Path) -> str:
    """A host loses its power while its point trains; the point's run."""
    ledger = None

    def at_work() -> str:
        nonlocal ledger
        if not (top / "artifacts/metadata/pods.sqlite").is_file():
            return ""
        ledger = ledger or open_ledger(Layout(top / "data", top / "artifacts"))
        for pod in ledger.pods(open_only=True):
            status = root / "runs" / pod.run / "status.json"
            mine = pod.data_center.endswith(f":{machine.port}")
            if mine and status.is_file() and read_json(status).get("step") == "job":
                return pod.run
        return ""

    run = wait_for(at_work, within_s=300)
    time.sleep(3.0)
    machine.stop()
    kill_jobs(root / "runs" / run)
    return run
