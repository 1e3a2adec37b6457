"""``moola JOB -m``: what is refused before it starts, what survives a crash, and what a sweep leaves."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from moola.pipelines.events import read_events
from moola.pipelines.sweep_record import PointState, read_states, read_sweep
from moola.sweeps.multirun import multirun

SLOW = pytest.mark.slow
FILES = ("data=files", "name=t", "stage.hooks={}")
ROWS = "timestamp,open,high,low,close\n" + "".join(
    f"2024-01-01T{hour:02}:00:00,{hour + 10},{hour + 12},{hour + 9},{hour + 11}\n" for hour in range(20)
)
SHORT_ROWS = ROWS[: ROWS.index("2024-01-01T18")]
LONG_ROWS = "timestamp,open,high,low,close\n" + "".join(
    f"2024-{1 + day // 28:02}-{1 + day % 28:02}T{hour:02}:00:00,{hour + 10},{hour + 12},{hour + 9},{hour + 11}\n"
    for day in range(336)
    for hour in range(24)
)
LONG = (
    "debug=fast",
    "data.symbols=[sp500]",
    "data.window.stride_bars=5",
    "task.n_given=40",
    "task.n_flipped=4",
    "trainer.pretrain.epochs=15",
)
HOST_KEY = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Two files of bars that are right, and one that is not."""
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / "b.csv").write_text(ROWS.replace("11\n", "11.5\n"))
    (tmp_path / "bad.csv").write_text(ROWS.replace(",12,", ",word,"))
    return tmp_path


def sweep_of(folder: Path) -> Path:
    (found,) = folder.glob("artifacts/results/sweeps/*")
    return found


def states(folder: Path) -> dict[int, PointState]:
    return read_states(sweep_of(folder))


def attempts(folder: Path) -> list[int]:
    """Of every run, by point."""
    found = sorted(states(folder).items())
    return [json.loads((Path(one.run_folder) / "manifest.json").read_text())["attempts"] for _, one in found]


def until(wanted: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not wanted():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def running(folder: Path) -> list[PointState]:
    """Points at work, once their pretraining is under way."""
    if not list(folder.glob("artifacts/results/sweeps/*/points/*.json")):
        return []
    return [one for one in states(folder).values() if one.status == "running" and epochs(one)]


def epochs(state: PointState) -> list[int]:
    log = Path(state.run_folder) / "events.jsonl"
    events = read_events(log) if log.exists() else []
    return [event["done"] for event in events if event["event"] == "progress" and event["stage"] == "pretrain"]


def pid_of(state: PointState) -> int:
    return int(state.where.rpartition(":")[2])


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_all_that_is_wrong_with_a_sweep_on_pods_is_told_at_once_and_nothing_is_kept(moola, bars):
    words = ("pod", "run", "-m", *FILES, "data.path=a.csv,b.csv", "--provider", "local")
    wrong = ("--jobs-per-pod", "0", "--pods", "-1", "--gpu", "A5000", "--max-file-mb", "-1")
    done = moola(*words, *wrong, "pod.smok=false", "hydra.launcher.podz=2", "hydra.launcher.yes=perhaps")
    assert done.code == 2 and "7 problems" in done.err
    for told in (
        "(--jobs-per-pod)",
        "(--pods)",
        "--gpu:",
        "(--max-file-mb)",
        "pod.smok:",
        "podz:",
        "hydra.launcher.yes:",
    ):
        assert told in done.err
    assert not (bars / "artifacts").exists()


def test_no_sweep_on_pods_is_kept_where_its_files_cannot_travel(moola, bars):
    (bars / "key.pem").write_text("-----BEGIN RSA PRIVATE " + "KEY-----\n")
    done = moola("pod", "run", "-m", *FILES, "data.path=a.csv,b.csv", "--provider", "local")
    assert done.code == 3 and "key.pem" in done.err
    assert not (bars / "artifacts/results").exists() and "2 points" not in done.err


@pytest.mark.slow
def test_a_sweep_on_pods_is_kept_as_it_was_given(moola, bars):
    """Nothing listens on port 1, so its point does not begin."""
    words = ("pod", "run", "-m", *FILES, "data.path=a.csv", "--host", "me@127.0.0.1:1", "--python", "/p y/python")
    done = moola(*words, "pod.limits.ssh_s=0.1", "--host-key", HOST_KEY)
    assert done.code == 1 and "\n1 point, 1 at once" in done.err
    assert read_sweep(sweep_of(bars)).command.startswith(shlex.join(["moola", *words]))


def test_a_grid_runs_every_combination_once_and_the_same_again_runs_nothing(moola, bars):
    words = ("ingest", *FILES, "-m", "name=t", "data.path=a.csv,b.csv,a.csv")
    done = moola(*words)
    assert done.code == 0, done.err
    sweep = read_sweep(Path(done.out.splitlines()[-1]))
    assert [point.number for point in sweep.points] == [0, 1]  # as Hydra counts: 2 is 0 again
    assert sweep.points[1].overrides == ("data=files", "name=t", "stage.hooks={}", "data.path=b.csv")
    assert {path.name for path in sweep.folder.iterdir()} == {".lock", "sweep.json", "points", "logs"}
    assert not (sweep.results / "multirun").exists()
    assert sweep.swept == ("data.path",)
    assert done.err.count("is the same run as point") == 1
    assert done.err.count("finished in") == 2
    assert [one.status for one in states(bars).values()] == ["finished"] * 2
    for point in sweep.points:
        run = Path(states(bars)[point.number].run_folder)
        assert run.name == point.run_id
        assert f"point {point.number} " in (sweep.folder / "logs" / f"{point.number:05d}.log").read_text()
    again = moola(*words, "hydra.launcher.n_jobs=1", "tracker=none", "processes=1")
    assert again.out == done.out  # another launcher or tracker is no other sweep
    assert "2 of them finished before" in again.err
    assert attempts(bars) == [1, 1]
    (run / "config.yaml").write_text("changed")
    assert "1 of them finished before" in moola(*words).err
    assert attempts(bars) == [1, 2]


def test_a_failed_point_is_shown_with_its_log_ends_no_other_and_only_it_runs_again(moola, bars):
    words = ("ingest", *FILES, "-m", "data.path=a.csv,bad.csv,b.csv")
    done = moola(*words, "hydra.launcher.n_jobs=1")
    assert done.code == 1
    log = sweep_of(bars) / "logs" / "00001.log"
    shown = done.err[done.err.index("failed in") : done.err.index("[3/3]")]
    assert "data.path=bad.csv" in shown
    assert "    | moola: 3 of 20 rows cannot be used" in shown
    assert f"    log: {log}" in shown
    assert "1 of 3 points failed" in done.err
    assert [one.status for one in states(bars).values()] == ["finished", "failed", "finished"]
    assert "bad.csv" in done.out
    assert str(log) in done.out
    (bars / "bad.csv").write_text(ROWS.replace("12,", "13,"))
    mended = moola(*words)
    assert mended.code == 0, mended.err
    assert "2 of them finished before" in mended.err
    assert attempts(bars) == [1, 1, 1]


def test_a_point_whose_data_changed_is_another_run_and_runs_again(moola, bars):
    words = ("ingest", *FILES, "-m", "data.path=a.csv,bad.csv")
    moola(*words)
    before = Path(states(bars)[0].run_folder)
    (bars / "a.csv").write_text(SHORT_ROWS)
    (bars / "bad.csv").write_text(ROWS.replace("12,", "13,"))
    mended = moola(*words)
    assert mended.code == 0, mended.err
    assert "finished before" not in mended.err
    assert before.name not in mended.out
    after = sorted(states(bars).items())
    assert [Path(one.run_folder).name for _, one in after] == [one.run_id for one in read_sweep(sweep_of(bars)).points]
    (bars / "a.csv").write_text(ROWS)
    assert "2 of them finished before" in moola(*words).err  # the first run is there still
    assert Path(states(bars)[0].run_folder) == before


@pytest.mark.slow
def test_points_of_a_big_grid_that_finished_before_are_named_anew(bars, monkeypatch, capsys):
    monkeypatch.chdir(bars)
    monkeypatch.setattr("moola.sweeps.multirun._EACH", 1)
    monkeypatch.setattr("moola.sweeps.checking._PART", 1)
    words = [*FILES, "-m", "data.path=a.csv,b.csv,c.csv"]
    (bars / "c.csv").write_text(ROWS.replace("11\n", "11.6\n"))
    multirun("ingest", words)
    before = states(bars)
    (bars / "a.csv").write_text(SHORT_ROWS)
    capsys.readouterr()
    multirun("ingest", words)
    told = capsys.readouterr().err
    assert "3 points finished before: each is looked at" in told
    assert "3 points, 2 of them finished before" in told
    after = states(bars)
    assert [after[number] == before[number] for number in range(3)] == [False, True, True]
    assert Path(after[0].run_folder) != Path(before[0].run_folder)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "code"), [("a.csv,bad.csv", 1), ("a.csv", 0)])
def test_the_exit_code_tells_of_failed_points_also_when_nobody_reads_the_table(bars, path, code):
    words = [sys.executable, "-m", "moola", "ingest", *FILES, "-m", f"data.path={path}"]
    with subprocess.Popen(words, cwd=bars, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None and command.stderr is not None
        command.stdout.close()
        told = command.stderr.read()
    assert command.wait(60) == code
    assert ("1 of 2 points failed" in told) == bool(code)
    assert "Traceback" not in told and "Exception ignored" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["encodr=gru_64x1,lstm_32x1"], ["encodr: there is no such key; did you mean 'encoder'"], marks=SLOW
        ),
        (
            [
                *("trainer.pretrain.epoks=1", "enocder=a,b", "seeds=[0],[x]", "encoder=lstm_32x,gru_64x1"),
                *("hydra.launcher.njobs=1", "hydra.launcher.retries=-1"),
            ],
            [
                "trainer.pretrain.epoks: there is no such key",
                "enocder: there is no such key; did you mean 'encoder'",
                "'x' must be a whole number (point",
                "did you mean 'lstm_32x1'",
                "hydra.launcher.njobs: there is no such key; did you mean 'n_jobs'",
                "hydra.launcher.retries: -1 must be at least 0",
            ],
        ),
        (["seeds=", "model="], ["seeds=: names no value, so there is no point", "model=: names no value"]),
        (
            ["seeds=range(3,3)", "trainer.pretrain.lr=interval(0,1)"],
            ["seeds=range(3,3): stands for no value", "is a range without steps"],
        ),
        (["seeds=[0],[1]", "hydra/launcher=slum"], ["hydra/launcher=slum: there is no such option", "moola[slurm]"]),
        (
            ["hydra.launcher.n_jobs=two", "hydra.launcher.threads=0", "seeds=[0],[1]"],
            [
                "hydra.launcher.n_jobs: Value 'two' of type 'str' could not be converted to Integer",
                "hydra.launcher.threads: 0 must be at least 1",
            ],
        ),
        (
            ["+hydra.launcher.njobs=2", "seeds=[0],[1]"],
            ["hydra.launcher.njobs: there is no such key; did you mean 'n_jobs'"],
        ),
        (
            ["task.draw=range(1000)", "seeds=range(100)"],
            ["the grid has 100,000 points: 1,000 task.draw x 100 seeds", "agree with --yes"],
        ),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(moola, words, told):
    done = moola("ingest", "debug=fast", "-m", *words)
    assert done.code == 2, done.err
    for sentence in told:
        assert sentence in done.err
        assert done.err.count(sentence) == 1
    assert not list(moola.folder.rglob("manifest.json"))
    assert not list(moola.folder.rglob("sweep.json"))


@pytest.mark.parametrize("place", ["/proc/x", "a.csv", "dangling"])
def test_a_place_that_cannot_be_written_is_told_as_without_m(moola, bars, place):
    (bars / "dangling").symlink_to("/nowhere/x")
    words = ("ingest", *FILES, "data.path=a.csv", f"paths.artifacts={place}")
    alone, swept = moola(*words), moola(*words, "-m")
    assert (swept.code, "cannot write in " in swept.err) == (4, True)
    assert swept.err == alone.err


@pytest.mark.parametrize("words", [["ingest"], ["ingest", "-m", "seeds=[0],[1]"]])
def test_a_working_directory_that_is_gone_is_told(tmp_path, words):
    gone = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    code = f"{gone}; from moola.cli import main; raise SystemExit(main({words}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "the working directory is gone" in done.stderr) == (4, True), done.stderr


def test_help_of_a_sweep_is_that_of_its_job(moola):
    done = moola("run", "-m", "seeds=[0],[1]", "name=t", "--help")
    assert done.code == 0, done.err
    assert "usage: moola run" in done.out and "name: t" in done.out


def test_a_second_process_at_the_same_sweep_is_told_and_a_point_under_way_elsewhere_is_waited_for(moola, bars):
    words = ("ingest", *FILES, "-m", "data.path=a.csv,b.csv")
    assert moola(*words).code == 0
    sweep = sweep_of(bars)
    with (sweep / ".lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = moola(*words)
    assert done.code == 4
    assert f"the sweep {sweep.name} is under way in another process" in done.err
    with (Path(states(bars)[0].run_folder) / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = moola.start("ingest", *FILES, "-m", "data.path=a.csv", "--force")
        until(lambda: any("waiting:" in log.read_text() for log in bars.glob("artifacts/results/sweeps/*/logs/*.log")))
        fcntl.flock(held, fcntl.LOCK_UN)
        assert other.wait().code == 0, other.err


@pytest.fixture
def held(moola, bars) -> Iterator[IO[str]]:
    """A run that another process is at, so that its point waits for as long as a test likes."""
    folder = moola("ingest", *FILES, "data.path=a.csv").run_folder
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def waiting(folder: Path) -> list[PointState]:
    """Points that wait for a run of another process."""
    if not list(folder.glob("artifacts/results/sweeps/*/points/*.json")):
        return []
    found = [one for one in states(folder).values() if one.status == "running"]
    return [one for one in found if Path(one.log).read_text().rstrip().endswith("at the same run")]


@pytest.mark.slow
def test_kill_9_of_the_sweep_ends_its_workers_and_the_same_command_goes_on(moola, bars, held):
    words = ("ingest", *FILES, "-m", "data.path=b.csv,a.csv", "hydra.launcher.n_jobs=1", "--force")
    killed = moola.start(*words)
    until(lambda: bool(waiting(bars)))
    pid = pid_of(waiting(bars)[0])
    killed.process.kill()
    assert killed.wait().code == -signal.SIGKILL
    until(lambda: not alive(pid))
    assert [one.status for one in states(bars).values()] == ["finished", "interrupted"]
    fcntl.flock(held, fcntl.LOCK_UN)
    done = moola(*words[:-1])
    assert done.code == 0, done.err
    assert "2 points, 2 of them finished before" in done.err  # the interrupted one had waited for a finished run


def test_kill_9_of_a_worker_loses_no_point_and_ctrl_c_ends_the_others(moola, bars, held):
    words = ("ingest", *FILES, "-m", "data.path=a.csv,b.csv", "--force", "hydra.launcher.n_jobs=1")
    command = moola.start(*words)
    until(lambda: bool(waiting(bars)))
    first = waiting(bars)[0]
    os.kill(pid_of(first), signal.SIGKILL)
    until(lambda: "killed by signal 9 (SIGKILL); it is begun once more" in command.err)
    until(lambda: [one.started for one in waiting(bars)] not in ([], [first.started]))
    assert states(bars)[1].status == "finished"  # the lost one went to the end of the queue
    pid = pid_of(waiting(bars)[0])
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait().code == 130, command.err
    assert not alive(pid)
    assert "the same command goes on from there" in command.err
    assert "Traceback" not in command.err
    assert states(bars)[0].status == "interrupted"


@pytest.mark.slow
def test_points_that_were_killed_go_on_from_their_checkpoints(moola):
    words = ("pretrain", *LONG, "-m", "seeds=[0],[1]", "hydra.launcher.n_jobs=2")
    killed = moola.start(*words)
    until(lambda: len(running(moola.folder)) == 2)
    pids = [pid_of(one) for one in running(moola.folder)]
    killed.process.kill()
    until(lambda: not any(map(alive, pids)))
    assert [one.status for one in states(moola.folder).values()] == ["interrupted"] * 2
    done = moola(*words)
    assert done.code == 0, done.err
    assert attempts(moola.folder) == [2, 2]
    for one in states(moola.folder).values():
        told = epochs(one)  # the second attempt goes on where the first one ended, or an epoch before its checkpoint
        assert sorted(set(told)) == list(range(1, 16)) and len(told) <= 16, told


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(["submitit_local"], id="submitit"),
        pytest.param(["ray", "+hydra.launcher.ray.init.num_cpus=2"], id="ray", marks=pytest.mark.ray),
    ],
)
def test_launchers_of_others_run_the_same_points_and_a_failed_one_ends_no_other(bars, launcher):
    pytest.importorskip("ray" if launcher[0] == "ray" else "submitit")
    words = ("ingest", *FILES, "-m", "data.path=a.csv,bad.csv,b.csv", f"hydra/launcher={launcher[0]}", *launcher[1:])
    done = subprocess.run(
        [sys.executable, "-m", "moola", *words], cwd=bars, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stderr
    assert "1 of 3 points failed" in done.stderr
    assert [one.status for one in states(bars).values()] == ["finished", "failed", "finished"]
    assert len({one.where for one in states(bars).values()}) >= 2
    assert "    | moola: 3 of 20 rows cannot be used" in done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "moola", *words[: -len(launcher)]], cwd=bars, capture_output=True, text=True, timeout=300
    )
    assert "2 of them finished before" in again.stderr


@pytest.mark.slow
def test_a_full_disk_fails_points_with_a_reason_and_the_same_command_goes_on(bars):
    (bars / "long.csv").write_text(LONG_ROWS)
    words = ("-m", "moola", "ingest", *FILES, "-m", "data.path=long.csv,a.csv", "hydra.launcher.n_jobs=1")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = subprocess.run(
        [sys.executable, *words], cwd=bars, capture_output=True, text=True, timeout=300, preexec_fn=full
    )
    assert done.returncode == 1, done.stderr
    assert [one.status for one in states(bars).values()] == ["failed", "finished"]
    assert "File too large" in done.stderr
    after = subprocess.run([sys.executable, *words], cwd=bars, capture_output=True, text=True, timeout=300)
    assert after.returncode == 0, after.stderr
    assert "1 of them finished before" in after.stderr


def test_the_table_of_a_sweep_and_its_logs(moola, finished, make_moola, tiny, bars, tmp_path):
    there = make_moola(finished.folder)
    done = there("run", *tiny, "-m", "seeds=[0]")
    assert done.code == 0, done.err
    assert "1 of them finished before" in done.err
    name = Path(done.out.splitlines()[-1]).name
    table = tmp_path / "table.csv"
    told = json.loads(there("sweep", "show", name[:-3], "--json", "--csv", str(table)).out)
    (point,) = told["points"]
    assert told["figure"] == "balanced accuracy, out of fold, labels as given"
    assert 0 < point["low"] <= point["value"] <= point["high"] <= 1
    assert point["run_id"] == finished.run_folder.name
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert float(row["value"]) == point["value"]
    on_test = there("sweep", "show", "--split", "test", "--metric", "accuracy", "--markdown").out
    assert on_test.startswith("| point | status | chosen model | accuracy, sealed test | seconds | run |")
    assert "To choose among runs by it is to choose on the test" in on_test
    assert "chosen model: the best out of fold that is no baseline or control" in on_test
    assert "did you mean" in there("sweep", "show", "--metric", "acuracy").err
    assert "did you mean 'majority'" in there("sweep", "show", "--model", "majorty").err
    (of_one,) = json.loads(there("sweep", "show", "--model", "majority", "--json").out)["points"]
    assert (of_one["model"], point["model"] != "majority") == ("majority", True)
    assert f"{name}  " in there("sweep", "ls").out
    moola("ingest", *FILES, "-m", "data.path=a.csv,bad.csv")
    assert "| 1 | bad.csv | failed |" in moola("sweep", "show", "--markdown").out
    assert json.loads(moola("sweep", "ls", "--json").out)[0]["state"] == "1 finished, 1 failed"
    own = sweep_of(bars).name
    assert "bad.csv" in moola("sweep", "logs", own, "1").out
    assert "has no point 7" in moola("sweep", "logs", own, "7").err
    wrong = moola("sweep", "show", "nothing")
    assert (wrong.code, "there is no sweep 'nothing'" in wrong.err) == (3, True)
