"""`moola pod` from the outside: words in, lines and exit codes out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
from until import wait_for

from moola.cli import main
from moola.commands.pod import COMMANDS
from moola.commands.pod_commands import execute
from moola.errors import ConfigError
from moola.layout import Layout, digest_file, read_json
from moola.pods.giving_up import kill_run
from moola.pods.last_digits import moved_digits
from moola.pods.provider import NoCapacityError
from moola.pods.replaying import compare_figures
from moola.pods.running import PodRun
from moola.pods.settings import load_settings, split_words
from moola.sweeps.pod_launcher import POD_WORDS

RUN = "demo-0123456789ab"


def test_every_command_in_the_table_is_there_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (module, _) in COMMANDS.items():
        assert importlib.util.find_spec(f"moola.commands.pod_commands.{module}"), name
    for name in ("run", "logs", "attach", "exec", "ssh", "pull", "resume", "stop", "replay", "export"):
        with pytest.raises(SystemExit) as ended:
            main(["pod", name, "--help"])
        assert ended.value.code == 0
        assert f"moola pod {name}" in capsys.readouterr().out


def test_a_command_with_a_typo_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pod", "atach"]) == 2
    assert "did you mean 'attach'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--gpuu", "A5000"], "--gpuu: there is no such flag; did you mean '--gpu'?"),
        (["run", "--max-hours", "abc"], "--max-hours: 'abc' is no number"),
        (["run", "--min-vram", "1.5"], "--min-vram: '1.5' is no whole number"),
        (["run", "--pods", "2"], "--pods: needs -m"),
        (["stop"], "name a run, or --sweep SWEEP"),
        (["stop", RUN, "--sweep", "demo-1"], "name a run, or --sweep SWEEP"),
        (["attach", "-m", RUN], "a run of each value: `moola pod run -m`"),
        (["logs", RUN, "-n", "-3"], "-n/--lines: -3 must not be negative"),
        (["offers", "--cloud", "SECUR"], "did you mean 'SECURE'?"),
        (["export", "--to", "skypilt"], "did you mean 'skypilot'?"),
        (["ps", "--offlin"], "did you mean '--offline'?"),
        (["atach"], "did you mean 'attach'?"),
        (["attach"], "the following arguments are required: RUN"),
    ],
)
def test_a_wrong_line_is_told_with_near_names_and_as_json_once(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNPOD_API_KEY", "none")
    assert main(["pod", *words]) == 2
    out, err = capsys.readouterr()
    assert told in err and out == ""
    assert main(["pod", *words, "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert told in error["what"] + error["why"] and error["exit_code"] == 2 and error["what"] in err and told in err


def test_a_sweep_is_given_the_command_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("moola.sweeps.multirun.multirun", lambda *arguments: given.append(arguments))
    monkeypatch.setattr("moola.pipelines.console_run.end_on_signals", lambda: None)
    words = ["pod", "run", "-m", "seeds=[0],[1]", "--host", "me@h1", "--identity", "a key", "--jobs-per-pod", "2"]
    assert main(words) == 0
    [(job, overrides, line)] = given
    assert (job, line) == ("run", shlex.join(["moola", *words])) and "hydra/launcher=moola_pod" in overrides
    assert POD_WORDS.get(None) is None, "what one sweep was told is no other's"


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys; from moola.cli import main; main(['pod', '--help']);"
        "sys.exit(' '.join({'torch', 'httpx', 'hydra', 'polars'}.intersection(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_settings_are_read_as_hydra_reads_them() -> None:
    of_pod, rest = split_words(["seeds=[0]", "pod=local", "pod.gpus=[RTX 4090,A5000]", "+pod.env.A='b c'", "podium=1"])
    assert rest == ["seeds=[0]", "podium=1"]
    settings = load_settings(of_pod, {"guards.max_hours": 3.5, "keep": True})
    assert (settings.provider, settings.gpus, settings.env) == ("local", ("RTX 4090", "A5000"), {"A": "b c"})
    assert settings.guards.max_hours == 3.5 and settings.keep and settings.guards.budget is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pod=locl"], "did you mean 'local'"),
        (["pod.providr=ssh"], "did you mean 'provider'"),
        (["pod.provider=runpdo"], "did you mean 'runpod'"),
        (["pod.provider=ssh"], "ssh needs one"),
        (["pod.guards.max_hours=null"], "nothing would end a forgotten pod"),
        (["pod.guards.budget=-1"], "budget: -1 must be above 0"),
        (["+pod.guards.price_per_h=9"], "guards.price_per_h: unknown key"),
        (["+pod.env.WANDB_API_KEY=x"], "no secrets on a pod"),
        (["+pod.env.HUB=hf" + "_" + "aBcDeFgHiJ" * 4], r"env.HUB: a secret \(Hugging Face token\)"),
        (["+pod.env.PIP_INDEX_URL='https://me:" + "abc12345@pypi.example.org/simple'"], "password in an address"),
        (["pod.gpus=[a"], "pod"),
        (["pod.gpus=A5000,L4"], r"pod.gpus: A5000,L4 are several values; write a list as '\[A5000,L4\]'"),
    ],
)
def test_settings_that_make_no_sense_are_told(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_settings(words)
    assert "aBcDeFgHiJ" not in str(caught.value) and "abc12345" not in str(caught.value)


def test_everything_wrong_with_the_pod_is_told_at_once_each_with_its_own_mend() -> None:
    words = ["pod.disk_gb=0", "pod.count=0", "pod.limits.env_s=-1", "pod.cloud=[SECUR]"]
    with pytest.raises(ConfigError) as caught:
        load_settings(words, {"guards.budget": -1.0, "max_price_per_h": -1.0, "min_vram_gb": -4})
    for told in ("disk_gb: 0", "count: 0", "limits.env_s: -1", "max_price_per_h: -1", "min_vram_gb: -4"):
        assert f"pod.{told} must be" in caught.value.why
    assert "pod.guards.budget: -1 must be" in caught.value.why
    assert "did you mean 'SECURE'" in caught.value.why and len(caught.value.problems) == 7


def test_what_an_ssh_host_is_reached_with_is_looked_at_with_the_rest() -> None:
    where = {"host": ["me@one:99999"], "identity": "/nope", "host_key": ["nonsense"], "expected_hours": -1}
    with pytest.raises(ConfigError) as caught:
        load_settings([], where)
    assert "configs/pod/default.yaml" in caught.value.way_out
    for told in (
        "expected_hours: -1",
        "host: the port 99999 of 'one' is",
        "no file /nope; name a private key",
        "ssh-keyscan",
    ):
        assert told in caught.value.why
    assert "--host user@host:port" not in str(caught.value)


def test_a_host_alone_means_ssh() -> None:
    settings = load_settings([], {"host": ["me@one"]})
    assert (settings.provider, settings.provider_options.hosts) == ("ssh", ("me@one",))


@pytest.mark.parametrize(
    ("words", "flags", "told"),
    [
        ([], {"provider": "runpod", "host": ["me@one"]}, ["--host"]),
        (["pod=local"], {"host": ["me@one"], "gpus": ["A5000"]}, ["--host", "--gpu"]),
        (["pod.provider=local"], {"max_price_per_h": 1.0}, ["--max-price"]),
        ([], {"host": ["me@one"], "min_vram_gb": 8, "guards.budget": 5.0}, ["--min-vram", "--budget"]),
        (["pod=local", "pod.guards.budget=5"], {}, ["--budget"]),
    ],
)
def test_flags_that_the_provider_would_not_heed_are_refused(words: list[str], flags: Any, told: list[str]) -> None:
    with pytest.raises(ConfigError, match="does not heed it") as caught:
        load_settings(words, flags)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == told


def test_a_lowest_cuda_is_asked_for_as_people_write_it() -> None:
    assert load_settings(["pod.min_cuda=12.8"]).wish.cuda_floor == "12.8"
    with pytest.raises(ConfigError, match="must look like"):
        _ = load_settings(["pod.min_cuda=new"]).wish


def test_variables_that_move_digits_are_told_where_the_pod_lacks_them() -> None:
    here = {"OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell", "OMP_DISPLAY_ENV": "true", "MKL_CBWR": "", "A": "b"}
    told = moved_digits(here, {"OMP_NUM_THREADS": 2, "MKL_NUM_THREADS": 4})
    assert told.endswith("the pod has no pod.env.OMP_NUM_THREADS=1 pod.env.OPENBLAS_CORETYPE=Haswell")
    assert moved_digits(here, {"OMP_NUM_THREADS": 1, "OPENBLAS_CORETYPE": "Haswell"}) == ""


def test_exec_closes_its_shell_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    closed: list[bool] = []
    connection = SimpleNamespace(start=interrupted)
    pod = SimpleNamespace(shell=SimpleNamespace(connection=connection), project="/pod")
    run = SimpleNamespace(found=lambda: (None, pod), close=lambda: closed.append(True))
    monkeypatch.setattr("moola.commands.pod_commands.execute.reopened", lambda *_: run)
    with pytest.raises(KeyboardInterrupt):
        execute.main([RUN, "--", "true"])
    assert closed == [True]


def test_values_of_variables_that_are_no_secrets_may_travel() -> None:
    harmless = ["OMP_NUM_THREADS=4", "PIP_INDEX_URL='https://pypi.example.org/simple'", "CUDA_VISIBLE_DEVICES='0,1'"]
    load_settings([f"+pod.env.{word}" for word in harmless])


def test_a_run_that_nobody_ordered_is_told_with_near_names(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.stand_in_run(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    for command in ("attach", "logs", "pull", "resume", "stop", "ssh"):
        assert main(["pod", command, "demo-0123456789aa"]) == 3
        assert f"did you mean '{RUN}'" in capsys.readouterr().err
    assert main(["pod", "attach", RUN]) == 4
    assert "what was packed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_on_a_host_is_followed_read_stopped_and_resumed(
    stand_in: ModuleType,
    sshd: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """All of it by the commands, over a real sshd."""
    where = {"provider": "ssh", "host": f"{sshd.target().user}@127.0.0.1:{sshd.port}", "identity": str(sshd.key)}
    env = {"STAND_IN_STEPS": "100", "STAND_IN_PAUSE_S": "0.9"}
    top = tmp_path / "here"
    run = packed(stand_in, top, **where, host_key=sshd.host_key, root=str(sshd.root), env=env)
    assert run.go(detach=True).outcome == "detached"
    monkeypatch.chdir(top)
    log = sshd.root / "runs" / RUN / "log.jsonl"
    wait_for(lambda: log.is_file() and "begins after" in log.read_text())
    assert main(["pod", "exec", RUN, "--", "printf", "%s|", "a b", "$HOME;`id`"]) == 0
    assert capfdbinary.readouterr().out == b"a b|$HOME;`id`|"
    assert main(["pod", "exec", RUN, "--", "sh", "-c", "exit 7"]) == 7
    assert main(["pod", "exec", RUN, "--json", "--", "sh", "-c", "echo a; echo b >&2; exit 3"]) == 3
    assert json.loads(capfdbinary.readouterr().out) == {"exit_code": 3, "stdout": "a\n", "stderr": "b\n"}
    assert main(["pod", "ssh", RUN, "--json"]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert (told["host"], told["port"], told["host_keys"]) == ("127.0.0.1", sshd.port, [sshd.host_key])
    assert main(["pod", "logs", RUN]) == 0
    assert b"job | begins after step 0" in capfdbinary.readouterr().out
    assert main(["pod", "stop", RUN, "--json"]) == 0
    stopped = json.loads(capfdbinary.readouterr().out)
    assert (stopped["outcome"], stopped["folder"]) == ("stopped", None)
    assert not (sshd.root / "runs" / RUN).exists() and {path.name for path in sshd.root.iterdir()} >= {"objects", "env"}
    assert main(["pod", "resume", RUN, "-d"]) == 0
    (sshd.root / "runs" / RUN / "project" / "quick").touch()
    capfdbinary.readouterr()
    assert main(["pod", "attach", RUN, "--json"]) == 0
    resumed = json.loads(capfdbinary.readouterr().out)
    assert resumed["outcome"] == "finished" and (Path(resumed["folder"]) / "metrics.json").is_file()
    assert list((sshd.root / "runs").iterdir()) == []
    assert main(["pod", "logs", RUN]) == 0
    assert b"step 100" in capfdbinary.readouterr().out


def packed(stand_in: ModuleType, top: Path, **changed: Any) -> PodRun:
    """A run whose bundle is stored, so that commands find it."""
    run = stand_in.stand_in_run(top, [], **changed)
    run.bundle.write(top / "artifacts" / "runpod_bundles" / run.bundle.bundle_id)
    return run


@pytest.mark.slow
def test_down_on_a_host_kills_the_whole_job_and_deletes_its_folder(
    stand_in: ModuleType,
    sshd: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = {"provider": "ssh", "host": f"{sshd.target().user}@127.0.0.1:{sshd.port}", "identity": str(sshd.key)}
    env = {"STAND_IN_PAUSE_S": "60", "STAND_IN_CHILD": "1"}
    top = tmp_path / "here"
    run = packed(stand_in, top, **where, host_key=sshd.host_key, root=str(sshd.root), env=env, keep_cache=False)
    run.go(detach=True)
    status = sshd.root / "runs" / RUN / "status.json"
    wait_for(lambda: read_json(status)["step"] == "job")
    leaders = [psutil.Process(read_json(status)[name]) for name in ("supervisor_pid", "pid")]
    wait_for(lambda: bool(leaders[1].children()))
    family = [*leaders, *leaders[1].children(recursive=True)]
    assert len(family) == 3
    monkeypatch.chdir(top)
    assert main(["pod", "down", RUN]) == 2 and "its results are not here" in capsys.readouterr().err
    assert main(["pod", "down", RUN, "--yes"]) == 0
    psutil.wait_procs(family, timeout=5)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert [path.name for path in sshd.root.iterdir()] == ["runs"] and list((sshd.root / "runs").iterdir()) == []
    assert run.ledger.pods(open_only=True) == []
    assert "is deleted" in capsys.readouterr().err


@pytest.mark.slow
def test_the_doctor_looks_at_a_host(
    sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    user = sshd.target().user

    def doctor(**changed: str) -> tuple[int, dict[str, Any]]:
        options = {"identity": str(sshd.key), "host-key": sshd.host_key, "python": sys.executable, **changed}
        words = [f"--{name}={value}" for name, value in options.items() if value]
        code = main(["pod", "doctor", "--json", "--host", f"{user}@127.0.0.1:{sshd.port}", *words])
        checks = json.loads(capsys.readouterr().out)
        return code, {check["name"]: check for check in checks if check["section"] == f"ssh 127.0.0.1:{sshd.port}"}

    code, found = doctor()
    assert [*found] == ["reach", "disk", "machine", "python", "torch", "gpu", "runs"] and code == 0
    assert found["torch"]["found"].startswith(importlib.metadata.version("torch")[:4])
    assert found["python"]["found"].startswith(".".join(map(str, sys.version_info[:3])))
    other = make_other_key(tmp_path)
    for changed, name, mend in (
        ({"host-key": other}, "host key", "pin the key: --host-key"),
        ({"identity": str(tmp_path / "other")}, "key", "check the user name and the key"),
        ({"python": "/nowhere/python3"}, "python", "--python"),
    ):
        code, found = doctor(**changed)
        assert code == 5 and not found[name]["is_fine"] and mend in found[name]["mend"], found


def make_other_key(folder: Path) -> str:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / "other")]
    subprocess.run(words, check=True)
    return (folder / "other.pub").read_text().strip()


def test_a_host_that_is_gone_for_good_can_be_given_up(
    stand_in: ModuleType, sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"provider": "ssh", "host": f"{sshd.target().user}@127.0.0.1:{sshd.port}", "identity": str(sshd.key)}
    run = packed(stand_in, tmp_path, **where, host_key=sshd.host_key, root=str(sshd.root))
    offer = run.provider.offers(run.settings.wish)[0]
    run.provider.create(run.settings.wish, RUN, offer, "")
    sshd.stop()
    monkeypatch.chdir(tmp_path)
    assert main(["pod", "down", RUN]) == 6 and "--yes" in capsys.readouterr().err
    assert main(["pod", "down", RUN, "--yes"]) == 0 and "may go on" in capsys.readouterr().err
    assert run.ledger.pods(open_only=True) == []


@pytest.mark.slow
def test_runs_are_spread_over_hosts_and_a_dead_one_is_passed_over(
    stand_in: ModuleType, make_sshd: Callable[..., Any], tmp_path: Path
) -> None:
    """Two hosts that live and one that does not, three runs: the third finds none."""
    machines = [make_sshd() for _ in range(3)]
    for machine in machines:
        (machine.folder / "client_key.pub").write_text((machines[0].folder / "client_key.pub").read_text())
    for machine in machines[1:]:
        machine.start()
    where = {
        "provider": "ssh",
        "host": tuple(f"{machine.target().user}@127.0.0.1:{machine.port}" for machine in machines),
        "host_key": tuple(machine.host_key for machine in machines),
        "identity": str(machines[0].key),
        "root": str(tmp_path / "root"),
    }
    said: list[str] = []
    runs: list[PodRun] = []
    for number, machine in enumerate(machines[1:]):
        runs.append(stand_in.stand_in_run(tmp_path, said, **where, env={"STAND_IN_PAUSE_S": "5"}))
        runs[-1].run = f"demo-{number}"
        assert runs[-1].go(detach=True).outcome == "detached"
        assert [pod.data_center for pod in runs[-1].ledger.pods(f"demo-{number}")] == [f"127.0.0.1:{machine.port}"]
    assert sum("does not answer: Connection refused" in line for line in said) == 2
    with pytest.raises(NoCapacityError, match="had a machine") as caught:
        stand_in.stand_in_run(tmp_path, said, **where).go()
    assert "Connection refused" in caught.value.why
    for run in runs:
        _, pod = run.found()
        kill_run(pod)
        pod.shell.connection.close()


@pytest.mark.slow
def test_a_replay_runs_the_same_bundle_and_holds_the_figures_against_the_recorded_ones(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = packed(stand_in, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["pod", "replay", RUN]) == 3 and "nothing is recorded" in capsys.readouterr().err
    recorded = run.go().published
    assert recorded is not None
    kept = tree(recorded.folder)
    assert main(["pod", "replay", RUN, "--provider", "local", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same"] and told["bundle"] == run.bundle.bundle_id and told["n_figures"] == 1
    assert told["recorded_sha256"] == told["replayed_sha256"] == digest_file(recorded.folder / "metrics.json")
    assert tree(recorded.folder) == kept and run.ledger.pods(open_only=True) == []
    assert [pod.run for pod in run.ledger.pods()] == [RUN, f"{RUN}-replay"]
    (recorded.folder / "metrics.json").write_text('{"accuracy": 0.7500001}')
    assert main(["pod", "replay", RUN]) == 1
    assert "1 of 1 figures differ: not the same" in capsys.readouterr().out
    assert main(["pod", "replay", RUN, "--tolerance", "1e-6"]) == 0
    assert main(["pod", "replay", RUN, "seeds=[1]"]) == 2
    assert "changes nothing but the pod" in capsys.readouterr().err


def test_figures_are_held_against_each_other(tmp_path: Path) -> None:
    then = {"a": {"b": [1.0, 2.0]}, "n": float("nan"), "same": True, "gone": 1}
    now = {"a": {"b": [1.0, 2.5]}, "n": float("nan"), "same": False, "new": "x"}
    for name, figures in (("then", then), ("now", now)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(figures))
    found = compare_figures(tmp_path / "then", tmp_path / "now")
    assert found.n_figures == 6 and not found.within(1.0)
    assert [(one.figure, one.relative) for one in found.differences][-1] == ("a.b.1", pytest.approx(0.2))
    assert {one.figure for one in found.differences} == {"same", "gone", "new", "a.b.1"}
    assert compare_figures(tmp_path / "now", tmp_path / "now").within(0.0)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_task_for_skypilot_holds_the_same_files_and_words(stand_in: ModuleType, tmp_path: Path) -> None:
    import yaml

    from moola.pods.skypilot import export_skypilot

    bundle = stand_in.stand_in_bundle(tmp_path / "packed")
    bundle.facts["overrides"].append("task.name='a b;$(id)'")
    settings = stand_in.settings(gpus=("RTX 4090", "A100 80GB"), count=2, max_price_per_h=1.5, env={"A": 1})
    path = export_skypilot(bundle, settings, tmp_path / "task")
    task = yaml.safe_load(path.read_text())
    assert set(task) == {"name", "workdir", "resources", "envs", "setup", "run"}
    assert task["resources"] == {
        "image_id": f"docker:{settings.image}",
        "disk_size": 40,
        "accelerators": {"RTX4090": 2, "A100-80GB": 2},
        "max_hourly_cost": 1.5,
    }
    assert task["envs"]["A"] == "1" and all(isinstance(value, str) for value in task["envs"].values())
    assert task["workdir"] == "project" and task["run"].endswith("""run 'task.name='"'"'a b;$(id)'"'"''\n""")
    for file in bundle.files:
        assert digest_file(tmp_path / "task" / "project" / file.path) == file.sha256


@pytest.mark.slow
def test_skypilot_itself_takes_the_task(stand_in: ModuleType, tmp_path: Path) -> None:
    """By its schema and its parser; SKYPILOT_PYTHON names a Python that has it, where this one does not."""
    from moola.pods.skypilot import export_skypilot

    python = os.environ.get("SKYPILOT_PYTHON", sys.executable)
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ""}  # it writes into the home folder
    found = subprocess.run([python, "-c", "import sky"], env=environment, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"{python} has no SkyPilot: {found.stderr.strip().splitlines()[-1]}")
    settings = stand_in.settings(gpus=("RTX 4090", "A100 80GB"), count=2, max_price_per_h=1.5, env={"A": 1})
    path = export_skypilot(stand_in.stand_in_bundle(tmp_path / "packed"), settings, tmp_path / "task")
    code = (
        "import json, jsonschema, sky, yaml; from sky.utils import schemas\n"
        "task = yaml.safe_load(open('task.yaml'))\n"
        "jsonschema.validate(task, schemas.get_task_schema())\n"
        "jsonschema.validate(task['resources'], schemas.get_resources_schema())\n"
        "print(sorted(str(one.accelerators) for one in sky.Task.from_yaml('task.yaml').resources))"
    )
    done = subprocess.run([python, "-c", code], cwd=path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(["{'A100-80GB': 2}", "{'RTX4090': 2}"])


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["local", "ssh"])
def test_the_figures_of_a_pod_are_those_of_this_machine(
    provider: str, make_sshd: Callable[..., Any], tmp_path: Path
) -> None:
    """The default job, small: the same metrics file from `moola run` and from `moola pod run`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}

    def moola(top: Path, *words: str) -> str:
        top.mkdir()
        argv = [sys.executable, "-m", "moola", *words]
        subprocess.run(argv, cwd=top, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=900)
        [metrics] = Layout(top / "data", top / "artifacts").results.glob("*/metrics.json")
        return digest_file(metrics)

    words = ["pod", "run", "debug=fast", "--provider", provider, "--python", sys.executable]
    # Other threads and other kernels add up in another order, wherever they run; ssh carries no environment.
    numeric = {name: value for name, value in environment.items() if name.startswith(("OMP_", "MKL_", "OPENBLAS_"))}
    words += [f"pod.env.{name}={value}" for name, value in numeric.items()]
    if provider == "ssh":
        machine = make_sshd()
        machine.start()
        words += ["--host", f"{machine.target().user}@127.0.0.1:{machine.port}", "--identity", str(machine.key)]
        words += ["--host-key", machine.host_key, f"pod.root={machine.root}"]
    assert moola(tmp_path / "there", *words) == moola(tmp_path / "here", "run", "debug=fast")
