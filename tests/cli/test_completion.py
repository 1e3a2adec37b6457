"""What TAB offers, asked through a real bash."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from argcomplete.shell_integration import shellcode

from moola.commands.completion import _overrides
from moola.pods.ledger import LEDGER_PLACE, Ledger
from moola.pods.local_provider import LocalProvider
from moola.pods.provider import PodWish
from moola.pods.ssh_provider import SshProvider
from moola.tracking.journal import Journal
from moola.tracking.tracker import TrackedRun

Ask = Callable[[Sequence[str]], list[list[str]]]
_PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {source!r})
from moola.cli import main
sys.exit(main())
"""
_BASH = """\
compopt() {{ :; }}
{shellcode}
ask() {{
    COMP_LINE="$1"; COMP_POINT=${{#1}}; COMP_TYPE=9; COMPREPLY=()
    _python_argcomplete moola
    (IFS=$'\\t'; echo "${{COMPREPLY[*]}}")
}}
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks a bash in a project with two runs on pods and one encoder; the answers, one list a line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    here = tmp_path_factory.mktemp("project")
    program = here / "bin" / "moola"
    program.parent.mkdir()
    program.write_text(_PROGRAM.format(python=sys.executable, source=str(Path(__file__).parents[2] / "src")))
    program.chmod(0o755)
    (here / "artifacts/encoders/pretrained/bilstm_v1").mkdir(parents=True)
    for name in ("searches/finetune", "sweeps/market-3f1c92ab04d7", "sweeps/hidden-0123", "market-1"):
        (here / "artifacts/results" / name).mkdir(parents=True)
    (here / "artifacts/results/market-1/manifest.json").touch()
    ledger = Ledger(here / "artifacts" / LEDGER_PLACE)
    provider = LocalProvider(here / "pods", ledger)
    for run in ("market-584a4514f71f", "ucr-000000000000"):
        ledger.add_pod(provider.create(PodWish(), run, provider.offers(PodWish())[0], ""))
    hosts = SshProvider(["me@gpu.lab:2222"], ledger, knock=lambda _: "")
    ledger.add_pod(hosts.create(PodWish(), "ucr-000000000000", hosts.offers(PodWish())[0], ""))
    for run, tracker in (
        ("told-wandb", {"wandb": {}}),
        ("told-file", {"tensorboard": {}}),
        ("plain", {}),
        ("searches/told", {"wandb": {}}),
    ):
        folder = here / "artifacts/results" / run
        folder.mkdir(parents=True)
        if tracker:
            journal = Journal(folder)
            journal.append("start", run=TrackedRun(run, "told", folder, {"tracker": tracker}))
            journal.close()
    (here / ".ssh").mkdir()
    (here / ".ssh/known_hosts").write_text(
        "# mine\n|1|hash= ssh-rsa A\n\n[box]:2200 ssh-rsa A\nold,10.0.0.5 ssh-rsa A\n"
    )
    functions = _BASH.format(shellcode=shellcode(["moola"], shell="bash"))
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(here)}

    def answer(lines: Sequence[str]) -> list[list[str]]:
        script = functions + "".join(f"ask {shlex.quote(line)}\n" for line in lines)
        done = subprocess.run([bash, "-c", script], cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers = [[word.strip() for word in line.split("\t") if word] for line in done.stdout.splitlines()]
        assert len(answers) == len(lines), done.stdout
        return answers

    return answer


def test_commands_runs_and_lenders_are_offered(ask: Ask) -> None:
    lines = ["moola pod re", "moola pod attach m", "moola pod run --provider ", "moola pod run --host me@g"]
    lines += ["moola sweep show m", "moola search search=finetune search.sam", "moola run hydra.launcher.n_"]
    lines += ["moola runs --sort head", "moola track sync --tracker w", "moola track sync ", "moola wandb sync "]
    commands, runs, providers, hosts, sweeps, of_search, of_launcher, keys, trackers, tracked, of_wandb = ask(lines)
    assert trackers == ["wandb"]
    assert (tracked, of_wandb) == (["told-file", "told-wandb", "searches/told"], ["told-wandb", "searches/told"]), (
        "and none without such a tracker"
    )
    assert commands == ["resume", "reap", "replay"]
    assert runs == ["market-584a4514f71f"]
    assert providers == ["runpod", "ssh", "local"]
    assert keys == ["headline"]
    assert hosts == ["gpu.lab:2222"], "@ ends a word of bash, which puts this behind it"
    assert sweeps == ["market-3f1c92ab04d7"]
    assert of_search == ["search.sampler="]
    assert of_launcher == ["hydra.launcher.n_jobs="]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("moola enc", ["encoders"]),
        ("moola pod run --tr", ["--trust-first-use"]),
        ("moola pod run --gpu RTX\\ 40", ["RTX\\ 4000\\ Ada", "RTX\\ 4090"]),
        ('moola pod run --gpu "RTX 4090,A4', ["RTX 4090,A40", "RTX 4090,A4000", "RTX 4090,A4500"]),
        ('moola pod run --gpu "RTX 4090, A5', ["RTX 4090, A5000"]),
        ("moola pod run --gpu A40,A4", ["A40,A4000", "A40,A4500"]),
        ("moola pod run --host me@", ["gpu.lab:2222", "box:2200", "old:22", "10.0.0.5:22"]),
        ("moola pod logs ", ["market-584a4514f71f", "ucr-000000000000"]),
        ("moola pod cost u", ["ucr-000000000000"]),
        ("moola pod run experiment=u", ["ucr"]),
        ("moola search sh", ["show"]),
        ("moola search search=ran", ["random_forest"]),
        ("moola search show f", ["finetune"]),
        ("moola sweep logs m", ["market-3f1c92ab04d7"]),
        ("moola pod pack --dry-run exp", ["experiment="]),
        ("moola pod run pod.guards.ma", ["pod.guards.max_hours="]),
        ("moola pod run pod=l", ["local"]),
        ("moola run experiment=ucr trainer.pretrain.pa", ["trainer.pretrain.patience="]),
        ("moola run pod", []),
        ("moola run tracker=wandb tracker.wandb.mode=off", ["offline"]),
        ("moola run +stage.hooks.w", ["+stage.hooks.webhook="]),
        ("moola run --mu", ["--multirun"]),
        ("moola data dr", ["drift"]),
        ("moola data drift experiment=u", ["ucr"]),
        ("moola labels ag", ["agreement"]),
        ("moola labels diff --js", ["--json"]),
        ("moola encoders sh", ["show"]),
        ("moola encoders show b", ["bilstm_v1"]),
        ("moola runs --sweep h", ["hidden-0123"]),
        ("moola runs --sort st", ["status", "started"]),
        ("moola runs ma", ["market-1"]),
        ("moola sweep show h", ["hidden-0123"]),
        ("moola sweep logs h", ["hidden-0123"]),
        ("moola nothing ", []),
        ("moola pod nothing ", []),
    ],
)
def test_what_is_offered(ask: Ask, line: str, offered: list[str]) -> None:
    [answer] = ask([line])
    assert sorted(answer) == sorted(offered)


@pytest.mark.parametrize(
    ("prefix", "offered"),
    [
        ("tracker.wandb.mode=", ["auto", "online", "offline", "disabled"]),
        ("tracker.wandb.tags=", []),
        ("tracker.wnadb.mode=", []),
        ("tracker.=", []),
        ("tracker.wandb.mode.x=", []),
    ],
)
def test_values_that_a_tracker_lists_are_offered(prefix: str, offered: list[str]) -> None:
    assert _overrides(prefix, [], run=True, pod=False) == [f"{prefix}{value}" for value in offered]


def test_hooks_that_are_off_are_offered() -> None:
    assert "+stage.hooks.webhook=" in _overrides("+stage.hooks.", [], run=True, pod=False)


def test_a_ledger_is_not_made_by_a_question(ask: Ask) -> None:
    assert ask(["moola pod attach --artifacts other "]) == [[]]
    assert "other" not in os.listdir()


@pytest.mark.slow
def test_no_heavy_package_is_imported_for_an_answer() -> None:
    code = (
        "import sys, os; os.dup2(1, 8)\n"
        "heavy = {'torch', 'httpx', 'polars', 'hydra'}\n"
        "os._exit = lambda code: sys.exit(' '.join(heavy & {*sys.modules}) or 0)\n"
        "from moola.cli import main; main()"
    )
    line = "moola pod attach "
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
