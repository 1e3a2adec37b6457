"""`moola pod` from the outside: words in, lines and exit codes out."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moola.cli import main
from moola.commands.pod import _COMMANDS
from moola.errors import ConfigError
from moola.layout import Layout, digest_file
from moola.pods.settings import load_settings, split_words

RUN = "demo-0123456789ab"


@pytest.fixture(scope="module")
def stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("stand_in.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_in_the_table_is_there_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (module, _) in _COMMANDS.items():
        assert importlib.util.find_spec(f"moola.commands.pod_commands.{module}"), name
    for name in ("run", "logs", "attach", "exec", "ssh", "pull", "resume", "stop", "replay", "export"):
        with pytest.raises(SystemExit) as ended:
            main(["pod", name, "--help"])
        assert ended.value.code == 0
        assert f"moola pod {name}" in capsys.readouterr().out


def test_a_command_with_a_typo_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pod", "atach"]) == 2
    assert "did you mean 'attach'" in capsys.readouterr().err


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys; from moola.cli import main; main(['pod', '--help']);"
        "sys.exit(' '.join({'torch', 'httpx', 'hydra', 'polars'}.intersection(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_settings_are_read_as_hydra_reads_them() -> None:
    of_pod, rest = split_words(["seeds=[0]", "pod=local", "pod.gpus=[RTX 4090,A5000]", "+pod.env.A='b c'", "podium=1"])
    assert rest == ["seeds=[0]", "podium=1"]
    settings = load_settings(of_pod, {"guards.budget": 3.5, "keep": True})
    assert (settings.provider, settings.gpus, settings.env) == ("local", ("RTX 4090", "A5000"), {"A": "b c"})
    assert settings.guards.budget == 3.5 and settings.keep and settings.guards.max_hours == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pod=locl"], "did you mean 'local'"),
        (["pod.providr=ssh"], "did you mean 'provider'"),
        (["pod.provider=runpdo"], "did you mean 'runpod'"),
        (["pod.provider=ssh"], "ssh needs one"),
        (["pod.guards.max_hours=null"], "nothing would end a forgotten pod"),
        (["pod.guards.budget=-1"], "budget: -1 must be above 0"),
        (["+pod.env.WANDB_API_KEY=x"], "no secrets on a pod"),
        (["+pod.env.HUB=hf" + "_" + "aBcDeFgHiJ" * 4], r"env.HUB: a secret \(Hugging Face token\)"),
        (["+pod.env.PIP_INDEX_URL='https://me:" + "abc12345@pypi.example.org/simple'"], "password in an address"),
        (["pod.gpus=[a"], "pod"),
    ],
)
def test_settings_that_make_no_sense_are_told(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_settings(words)
    assert "aBcDeFgHiJ" not in str(caught.value) and "abc12345" not in str(caught.value)


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
    assert main(["pod", "replay", RUN]) == 3


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
    run = stand_in.stand_in_run(top, [], **where, host_key=sshd.host_key, root=str(sshd.root), env=env)
    run.bundle.write(top / "artifacts" / "runpod_bundles" / run.bundle.bundle_id)
    assert run.go(detach=True).outcome == "detached"
    monkeypatch.chdir(top)
    assert main(["pod", "exec", RUN, "--", "printf", "%s|", "a b", "$HOME;`id`"]) == 0
    assert capfdbinary.readouterr().out == b"a b|$HOME;`id`|"
    assert main(["pod", "exec", RUN, "--", "sh", "-c", "exit 7"]) == 7
    assert main(["pod", "logs", RUN]) == 0
    assert b"job | begins after step 0" in capfdbinary.readouterr().out
    assert main(["pod", "stop", RUN, "--json"]) == 0
    stopped = json.loads(capfdbinary.readouterr().out)
    assert (stopped["outcome"], stopped["folder"]) == ("stopped", None)
    (sshd.root / "runs" / RUN / "project" / "quick").touch()
    assert main(["pod", "resume", RUN, "--json"]) == 0
    resumed = json.loads(capfdbinary.readouterr().out)
    assert resumed["outcome"] == "finished" and (Path(resumed["folder"]) / "metrics.json").is_file()
    assert main(["pod", "replay", RUN, "--speed", "1000"]) == 0
    assert b"step 100" in capfdbinary.readouterr().out


def test_a_task_for_skypilot_holds_the_same_files_and_words(stand_in: ModuleType, tmp_path: Path) -> None:
    import yaml

    from moola.pods.skypilot import export_skypilot

    bundle = stand_in.stand_in_bundle(tmp_path / "packed")
    bundle.facts["overrides"].append("task.name='a b;$(id)'")
    settings = stand_in.settings(gpus=("RTX 4090", "A100 80GB"), count=2)
    path = export_skypilot(bundle, settings, tmp_path / "task")
    task = yaml.safe_load(path.read_text())
    assert task["resources"]["accelerators"] == {"RTX4090": 2, "A100-80GB": 2}
    assert task["workdir"] == "project" and task["run"].endswith("""run 'task.name='"'"'a b;$(id)'"'"''\n""")
    for file in bundle.files:
        assert digest_file(tmp_path / "task" / "project" / file.path) == file.sha256


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
