"""The command line itself: words it knows, words it does not, and what it costs to ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import moola as package
from moola.cli import COMMANDS, JOBS, _tell, main
from moola.commands.jobs import LEAVES, _print_outcome, _speaks
from moola.errors import LostProcessError, MoolaError
from moola.layout import write_json
from moola.pipelines.stage import STAGES

HEAVY = ("torch", "numpy", "hydra", "omegaconf", "polars", "pytorch_lightning", "sklearn")


@pytest.mark.parametrize(
    "code",
    [
        "import moola",
        "from moola.cli import main; main(['--help'])",
        "from moola.cli import main; main(['--version'])",
        "from moola.cli import main; main(['rnu'])",
        "from moola.cli import main; main([])",
    ],
)
def test_nothing_heavy_is_imported_for_a_question(code):
    program = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_and_the_module_answer_alike(tmp_path):
    command = os.path.join(os.path.dirname(sys.executable), "moola")
    answers = [
        subprocess.run([*words, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
        for words in ([command], [sys.executable, "-m", "moola"])
    ]
    assert answers == [f"moola {package.__version__}\n"] * 2


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command_and_the_exit_codes(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().out
    assert left.value.code == 0
    for name in (*JOBS, "stages", "doctor", "exit codes", "130"):
        assert name in said


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("pretrian", "pretrain"), ("stage", "stages")])
def test_a_misspelt_command_is_answered_with_the_near_name(typed, meant, capsys):
    assert main([typed]) == 2
    assert f"there is no command '{typed}'; did you mean '{meant}'" in capsys.readouterr().err


def test_a_command_like_no_other_is_answered_with_all_of_them(capsys):
    assert main(["xyzzy"]) == 2
    known = capsys.readouterr().err.partition("known: ")[2].split()
    assert {*JOBS, *COMMANDS, "doctor", "stages"} == {name.rstrip(",") for name in known}


@pytest.mark.parametrize("words", [["stages", "extra"], ["doctor", "--loud"], ["--nope"]])
def test_words_that_a_command_does_not_take_are_refused(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_stages_lists_what_each_requires_and_provides(moola):
    done = moola("stages")
    assert done.code == 0
    assert "bars, windows, splits, encoder if there -> oof" in done.out
    assert "(nothing) -> bars" in done.out
    assert done.out.count(" -> ") == len(STAGES.names())


def test_doctor_finds_nothing_missing_here_and_says_what_it_looked_at(moola):
    done = moola("doctor")
    assert done.code == 0, done.out
    for word in (package.__version__, "torch", "device", "disk", "nothing is missing"):
        assert word in done.out


def test_doctor_names_missing_packages_with_the_way_to_get_them(monkeypatch, capsys):
    import moola.doctor

    monkeypatch.setattr(moola.doctor, "_CORE", ("torch", "no-such-core"))
    monkeypatch.setattr(moola.doctor, "_EXTRAS", {"evidence": ("no-such-extra",)})
    monkeypatch.setattr(moola.doctor, "_OPTIONAL", {"far": ("no-such-tracker",), "here": ("torch",)})
    monkeypatch.setattr(moola.doctor, "_MIN_FREE_GB", 1e9)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "missing: no-such-core -> pip install -c constraints.txt moola\n" in said
    assert "missing: no-such-extra -> pip install -c constraints.txt 'moola[evidence]'\n" in said
    assert "paths.artifacts=FOLDER" in said
    assert "optional: pip install -c constraints.txt 'moola[far]'" in said and "\nhere                torch 2" in said
    assert "no-such-tracker" not in said, "what is optional is not missing"


def test_cfg_job_shows_the_configuration_and_runs_nothing(moola):
    done = moola("run", "--cfg", "job", "encoder=bilstm_128x2", "seeds=[7]")
    assert done.code == 0
    assert "hidden: 128" in done.out
    assert "seeds:\n- 7\n" in done.out
    assert list(moola.folder.iterdir()) == []


def test_every_job_says_what_it_leaves(moola):
    assert list(LEAVES) == list(JOBS)
    done = moola("oof", "--help")
    assert done.code == 0 and done.out.startswith("Fits every model on every fold")
    assert "\nusage: moola oof [KEY=VALUE ...]" in done.out and "moola run|" not in done.out


def test_help_of_a_job_names_groups_and_common_keys(moola):
    done = moola("run", "--help")
    assert done.code == 0
    for line in ("experiment: bilstm_mae_11d", "encoder: bilstm_128x2", "seeds=[0,1,2]", "n_given: 174"):
        assert line in done.out
    assert "hydra" not in done.out.partition("Composed configuration")[0].lower()


def test_the_example_in_the_help_is_a_command_that_works(moola, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    line = next(line for line in capsys.readouterr().out.splitlines() if " -m " in line)
    words = line.partition("moola run ")[2].split()
    done = moola("ingest", *words)
    assert done.code == 0, done.err
    assert done.err.count("is the same run as point 0") == 2  # bars are the same whichever labels are drawn


@pytest.mark.parametrize("words", [["-m", "name=a,b", "seeds=[1]"], ["seeds=[1]", "name=a,b", "--multirun"]])
def test_flags_may_stand_before_or_after_overrides(moola, words):
    done = moola("ingest", *words)
    assert done.code == 0, done.err
    assert "[2/2] finished" in done.err


def test_words_that_hydra_needs_reach_it_with_their_values():
    from moola.composition import _translate

    assert _translate(["a=1", "--cfg", "job", "b=2"]) == ["--cfg", "job", "a=1", "b=2"]
    assert _translate(["--cfg=all", "--force", "-m"]) == ["--cfg", "all", "-m", "force=[all]"]
    assert _translate(["--force=oof,report"]) == ["force=[oof,report]"]
    assert _translate(["--config-path"]) == ["--config-path"]
    assert _translate(["--config-path", "pkg://x"])[:2] == ["--config-path", "pkg://x"]


@pytest.mark.parametrize("job", sorted(JOBS))
def test_every_job_takes_hydra_flags(moola, job):
    done = moola(job, "--cfg", "job")
    assert done.code == 0, done.err
    assert "name: market" in done.out


def test_a_single_stage_command_stops_there_and_says_so_in_its_manifest(moola, tiny):
    done = moola("ingest", *tiny)
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["target"] == "ingest"
    assert [stage["stage"] for stage in manifest["stages"]] == ["ingest"]


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    words = f"{sys.executable} -m moola run --cfg job | head -n 1"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("name:")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "rank", "waits"),
    [(MoolaError("no"), 0, 0.0), (MoolaError("no"), 2, 10.0), (LostProcessError("gone"), 0, 20.0)],
)
def test_of_those_that_torchrun_started_each_lets_the_one_before_it_speak(error, rank, waits, monkeypatch, capsys):
    waited, handled = [], []
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("moola.cli.time.sleep", waited.append)
    monkeypatch.setattr("moola.cli.signal.signal", lambda number, handler: handled.append((number, handler)))
    assert _tell(error) == error.exit_code
    assert waited == ([waits] if waits else [])
    assert ((signal.SIGTERM, signal.SIG_DFL) in handled) == bool(waits)  # torchrun ends it without a word
    assert capsys.readouterr().err == f"moola: {error.what}\n"


@pytest.mark.parametrize("page", [True, False])
def test_only_a_page_that_is_there_is_told_to_be_opened(page, tmp_path, capsys):
    write_json(tmp_path / "summary.json", {"verdict": ["Nothing is sure."], "alarms": []})
    if page:
        (tmp_path / "report.html").touch()
    _print_outcome(tmp_path)
    said = capsys.readouterr().out
    assert ("report.html" in said) == page and said.splitlines()[-1] == str(tmp_path)


def test_one_of_those_that_torchrun_started_tells_the_outcome_and_a_process_alone_always() -> None:
    started = {"TORCHELASTIC_RUN_ID": "none"}
    assert _speaks({**started, "RANK": "0"})
    assert not _speaks({**started, "RANK": "1"})
    assert _speaks({"RANK": "1"})  # a variable that anything may have left
    assert _speaks({})
