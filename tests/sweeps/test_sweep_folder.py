"""What a sweep's folder says, and what is made of one that is torn or left alone; no point is run."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moola.commands.sweep import main
from moola.dashboard.sweep_folder import show_sweep
from moola.errors import ConfigError, StorageError
from moola.pipelines.sweep_record import (
    LOCK,
    Point,
    PointState,
    Sweep,
    find_sweep,
    log_path,
    read_states,
    states_now,
    write_state,
)
from moola.sweeps import task
from moola.sweeps.lifeline import Owner, let_go
from moola.sweeps.multirun import _spent
from moola.sweeps.record import only_one
from moola.sweeps.watching import SweepWatch, failure_lines

POINT = """
import sys, time
from pathlib import Path
from moola.sweeps.lifeline import Owner, ending_with
from moola.pipelines.sweep_record import PointState, write_state
folder, host, pid = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with ending_with(Owner(host, pid), folder):
    import os
    write_state(folder, PointState(0, "running", where=f"{host}:{os.getpid()}"))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        write_state(folder, PointState(0, "interrupted"))
"""


@pytest.fixture
def sweeps(tmp_path: Path) -> Callable[[str], Sweep]:
    """Writes a sweep of two points that nobody has begun."""

    def make(name: str) -> Sweep:
        points = (Point(0, ("seeds=[0]",), "t-0"), Point(1, ("seeds=[1]",), "t-1"))
        sweep = Sweep(tmp_path / "results" / "sweeps" / name, "ingest", "moola", "2026-01-01", ("seeds",), points)
        sweep.write()
        return sweep

    return make


def show(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> tuple[str, str]:
    assert main([*words, "--artifacts", str(tmp_path)]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("garbled", ["{x", "[]", '{"job": 1}'])
def test_a_sweep_that_cannot_be_read_hides_no_other(sweeps, tmp_path, capsys, garbled):
    whole, torn = sweeps("whole"), sweeps("torn")
    (torn.folder / "sweep.json").write_text(garbled)
    assert find_sweep(None, tmp_path / "results") == whole.folder
    listed, _ = show(capsys, tmp_path, "ls")
    assert "whole  2026-01-01" in listed
    assert "torn  broken: " in listed
    assert [one["state"] for one in json.loads(show(capsys, tmp_path, "ls", "--json")[0])] == ["2 not begun", "broken"]
    table, told = show(capsys, tmp_path, "show")
    assert "not begun" in table
    assert "left out: torn" in told
    (whole.folder / "sweep.json").unlink()
    with pytest.raises((StorageError, ConfigError)):
        main(["show", "--artifacts", str(tmp_path)])


def test_a_point_whose_file_is_garbled_counts_as_not_begun(sweeps, tmp_path, capsys):
    sweep = sweeps("s")
    write_state(sweep.folder, PointState(1, "finished"))
    (sweep.folder / "points" / "00000.json").write_text("{x")
    assert list(read_states(sweep.folder)) == [1]
    assert "0      [0]    not begun" in show(capsys, tmp_path, "show")[0]
    with SweepWatch(sweep, 0, io.StringIO()):
        (sweep.folder / "points" / "00000.json").write_text("{}")


def test_a_point_that_shows_an_older_run_than_it_is_says_so(sweeps, tmp_path, capsys):
    sweep = sweeps("s")
    write_state(sweep.folder, PointState(0, "finished", run_folder=str(tmp_path / "t-old")))
    write_state(sweep.folder, PointState(1, "finished", run_folder=str(tmp_path / "t-1")))
    told, _ = show(capsys, tmp_path, "show")
    assert "beware: point 0 shows the run t-old, and is t-0 since" in told
    assert "point 1 shows" not in told


def test_points_whose_processes_were_killed_have_stopped_and_those_on_pods_go_on(sweeps, tmp_path, capsys):
    sweep = sweeps("s")
    own, pod = f"{socket.gethostname()}:{os.getpid()}", "me@host:22"
    run = tmp_path / "results" / "t-0"
    run.mkdir()
    write_state(sweep.folder, PointState(0, "running", run_folder=str(run), where=own))
    write_state(sweep.folder, PointState(1, "running", where=pod))
    assert show(capsys, tmp_path, "ls")[0].splitlines()[0].endswith("2 points: 1 running, 1 stopped")
    table, _ = show(capsys, tmp_path, "show")
    assert "0      [0]    stopped" in table and "1      [1]    running" in table
    assert "point 0 stopped: its process has ended without a word" in table
    assert show_sweep(sweep.folder).counts == {"stopped": 1, "running": 1}
    with (run / LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert [one.status for one in states_now(sweep.folder).values()] == ["running"] * 2
        write_state(
            sweep.folder, PointState(0, "running", run_folder=str(run), where=f"{socket.gethostname()}:999999999")
        )
        assert states_now(sweep.folder)[0].status == "stopped"
    with only_one(sweep.folder):
        assert states_now(sweep.folder)[0].status == "running"


def test_json_tells_of_logs_that_are_there_and_whether_a_command_is_at_it(sweeps, tmp_path, capsys):
    sweep = sweeps("s")
    (sweep.folder / "logs").mkdir()
    (sweep.folder / "logs" / "00001.log").touch()
    told = json.loads(show(capsys, tmp_path, "show", "--json")[0])
    assert [Path(point["log"]).name for point in told["points"]] == ["", "00001.log"]
    assert told["under_way"] is False
    with only_one(sweep.folder):
        assert json.loads(show(capsys, tmp_path, "show", "--json")[0])["under_way"] is True


def test_wrong_options_of_show_are_refused_whatever_the_sweep_holds(sweeps, tmp_path, capsys):
    sweeps("s")
    with pytest.raises(ConfigError, match="metric 'f1' is unknown"):
        main(["show", "--metric", "f1", "--artifacts", str(tmp_path)])
    with pytest.raises(StorageError, match="there is no folder"):
        main(["show", "--csv", str(tmp_path / "no" / "x.csv"), "--artifacts", str(tmp_path)])
    assert not (tmp_path / "no").exists()
    show(capsys, tmp_path, "show", "--csv", str(tmp_path / "x.csv"))
    assert (tmp_path / "x.csv").read_text().startswith("point,")


def test_progress_counts_no_point_twice_and_says_why_one_is_begun_once_more(sweeps):
    sweep, stream = sweeps("s"), io.StringIO()
    watch = SweepWatch(sweep, 0, stream)
    again = PointState(0, "interrupted", why="killed; begun once more")
    for state in (PointState(0, "running"), again, PointState(0, "running"), PointState(0, "finished")):
        write_state(sweep.folder, state)
        watch._look()
    single = Sweep(sweep.folder, "ingest", "moola", "", (), (Point(1, (), ""),))
    write_state(sweep.folder, PointState(1, "interrupted", why="interrupted"))
    SweepWatch(single, 0, stream)._look()
    assert stream.getvalue().splitlines()[:2] == [
        "[0/2] interrupted: seeds=[0] (killed; begun once more)",
        "[1/2] finished: seeds=[0]",
    ]
    assert stream.getvalue().splitlines()[-1] == "[1/1] interrupted: point 1"


def test_why_a_run_on_a_pod_failed_is_shown_though_its_log_goes_on(sweeps):
    sweep = sweeps("s")
    log = log_path(sweep.folder, 0)
    log.parent.mkdir()
    error = ["      smoke | moola: no test windows", "      smoke |   why", "      smoke |   -> way out"]
    after = [f"line {number}" for number in range(20)]
    old = ["      smoke | moola: old", "moola: t-0 failed"]
    log.write_text("\n".join([*old, "      smoke | begins", *error, *after, "moola: t-0 failed", "  step smoke ended"]))
    shown = failure_lines(sweep.folder, PointState(0, "failed", why="t-0 failed: step smoke ended"))
    assert [line for line in shown if "moola:" in line] == [
        "|       smoke | moola: no test windows",
        "| moola: t-0 failed",
    ]
    assert "|       smoke |   -> way out" in shown and "| ..." in shown and "| line 13" not in shown


def test_what_the_disk_refuses_is_told_with_a_way_out_and_without_a_traceback(capsys):
    told = task._told(OSError(27, "File too large", "x.npy"))
    assert (told.what, "ulimit" in told.way_out) == ("x.npy: File too large", True)
    assert capsys.readouterr().err == ""


def test_seconds_of_a_point_are_those_of_its_run_and_not_of_imports(sweeps, tmp_path, monkeypatch):
    sweep = sweeps("s")
    monkeypatch.setattr(task, "_checked", lambda *_: time.sleep(0.2))
    monkeypatch.setattr(task, "_run", lambda *_: tmp_path)
    monkeypatch.setenv(task.SWEEP_VARIABLE, "")
    own = task.PointTask("ingest", "moola", tmp_path, folder=sweep.folder, pending=sweep.points)
    assert task.run_point(own, sweep.points[0], None) == str(tmp_path)
    seconds = read_states(sweep.folder)[0].seconds
    assert seconds is not None and seconds < 0.2


def test_seconds_of_a_point_are_those_of_all_attempts_at_its_run(sweeps, tmp_path, monkeypatch):
    sweep = sweeps("s")
    monkeypatch.setattr(task, "_checked", lambda *_: None)
    monkeypatch.setattr(task, "_run", lambda *_: tmp_path)
    monkeypatch.setenv(task.SWEEP_VARIABLE, "")
    runs = [str(sweep.results / name) for name in ("t-0", "t-old")]
    for number, run in enumerate(runs):
        write_state(sweep.folder, PointState(number, "interrupted", run_folder=run, seconds=100.0))
    assert _spent(sweep) == {0: 100.0}  # the other one was another run
    own = task.PointTask("ingest", "moola", tmp_path, folder=sweep.folder, pending=sweep.points, spent={0: 50.0})
    task.run_point(own, sweep.points[0], None)
    first = read_states(sweep.folder)[0].seconds
    assert first is not None and 100 <= first < 101  # an attempt of this command knows of all before
    (sweep.folder / "points" / "00000.json").unlink()
    task.run_point(own, sweep.points[0], None)
    again = read_states(sweep.folder)[0].seconds
    assert again is not None and 50 <= again < 51


def test_points_that_others_started_end_with_their_command(sweeps):
    sweep = sweeps("s")
    owner = Owner.this_process()
    with only_one(sweep.folder):
        words = [sys.executable, "-c", POINT, str(sweep.folder), owner.host, str(owner.pid)]
        point = subprocess.Popen(words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        while 0 not in read_states(sweep.folder):
            assert point.poll() is None
            time.sleep(0.02)
        assert owner.is_at(sweep.folder)
        let_go(sweep.folder)
        assert read_states(sweep.folder)[0].status == "interrupted"  # it was waited for
    assert point.wait(10) == 0
    (sweep.folder / LOCK).write_text(f"{owner.pid}\n")  # as after kill -9: its number, and nobody holds it
    assert not owner.is_at(sweep.folder)
