"""``moola wandb``: files for W&B that its own code reads back, and what is wrong told before anything starts."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import yaml

from moola.commands.wandb import main
from moola.errors import ConfigError, DataError, StorageError
from moola.layout import write_json
from moola.sweeps.wandb_sweep import read_space
from moola.tracking.journal import Journal
from moola.tracking.tracker import TrackedRun
from moola.tracking.wandb_dashboard import load, panel_names
from moola.tracking.wandb_tracker import WandbTracker

PANELS = {
    "tables/leaderboard",
    "tables/confusion",
    "tables/calibration",
    "tables/label_issues",
    "tables/oof",
    "pretrain/loss",
    "pretrain/epochs/val_loss",
    "probe/linear",
    "system/cpu_percent",
    "pictures/reconstructions",
    "pages/report",
    "test/balanced_accuracy",
}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def test_a_dashboard_without_a_key_is_a_file_of_the_librarys_own_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        assert main(["dashboard", "--entity", "team"]) == 0
        workspace, report = load(tmp_path / "wandb_dashboard.json")
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "wandb_dashboard.json"
    assert said[0] == "no run here has told W&B anything yet, so the panels are of what a run usually tells"
    shown = panel_names(workspace)
    assert {name for names in shown.values() for name in names} >= PANELS
    assert (workspace.entity, workspace.project, report.project) == ("team", "moola", "moola")
    in_report = [block for block in report.blocks if type(block).__name__ == "PanelGrid"]
    assert sum(len(grid.panels) for grid in in_report) == sum(map(len, shown.values()))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its loader leaves the file open
@pytest.mark.slow
def test_a_sweep_drives_moola_as_wandbs_agent_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

    words = ["debug=fast", "encoder=gru_64x1,bilstm_8x1", "encoder.hidden=tag(log,interval(8,64))"]
    words += ["trainer.pretrain.epochs=interval(1,3)", "trainer.pretrain.weight_decay=interval(0,1)"]
    out = ["--out", "a b;c.yaml"]
    assert main(["sweep", *words, "trainer.pretrain.lr=tag(log,interval(1e-4,1e-2))", "--runs", "6", *out]) == 0
    told = capsys.readouterr().out
    assert "wandb agent" in told and "wandb sweep 'a b;c.yaml'\n" in told
    sweep = load_sweep_config(str(tmp_path / "a b;c.yaml"))
    assert sweep == yaml.safe_load((tmp_path / "a b;c.yaml").read_text())
    whole = {"distribution": "q_log_uniform_values", "q": 1, "min": 8, "max": 64}
    assert sweep["parameters"]["encoder.hidden"] == whole, "no 8.5 of them"
    assert sweep["parameters"].pop("trainer.pretrain.epochs") == {"distribution": "int_uniform", "min": 1, "max": 3}
    assert sweep["parameters"].pop("trainer.pretrain.weight_decay")["distribution"] == "uniform"
    del sweep["parameters"]["encoder.hidden"]
    assert (sweep["method"], sweep["run_cap"]) == ("random", 6)
    assert sweep["parameters"]["trainer.pretrain.lr"] == {
        "distribution": "log_uniform_values",
        "min": 1e-4,
        "max": 1e-2,
    }
    drawn = {key: {"value": values.get("values", [0.001])[0]} for key, values in sweep["parameters"].items()}
    arguments = create_sweep_command_args({"args": drawn})["args_no_hyphens"]
    *command, last = create_sweep_command(sweep["command"])
    assert command == ["${env}", "moola", "run", "debug=fast", "tracker=wandb"] and last == "${args_no_hyphens}"
    assert arguments == ["encoder=gru_64x1", "trainer.pretrain.lr=0.001"]


@pytest.mark.slow
def test_a_sweep_draws_what_its_search_would_try(tmp_path: Path) -> None:
    assert main(["sweep", "search=random_forest", "--out", "forest.yaml"]) == 0
    trees = yaml.safe_load((tmp_path / "forest.yaml").read_text())["parameters"]["model.random_forest.trees"]
    assert (trees["distribution"], trees["q"]) == ("q_log_uniform_values", 1), "evenly in the logarithm"
    assert main(["sweep", "search=finetune", "--out", "finetune.yaml"]) == 0
    parameters = yaml.safe_load((tmp_path / "finetune.yaml").read_text())["parameters"]
    assert parameters["trainer.finetune.epochs"] == {"values": [*range(15, 61, 5)]}
    assert parameters["model.finetuned.frozen_epochs"] == {"values": [*range(0, 13, 2)]}


@pytest.mark.parametrize(
    ("values", "parameter"),
    [
        ("type: float, low: 0.1, high: 0.35, step: 0.1", {"values": [0.1, 0.2, 0.3]}),
        ("type: int, low: 0, high: 1001, step: 5", {"distribution": "q_uniform", "q": 5, "min": 0, "max": 1000}),
        ("type: int, low: 1, high: 1001, step: 5", {"values": [*range(1, 1002, 5)]}),
        (
            "type: int, low: 1, high: 64, log: true",
            {"distribution": "q_log_uniform_values", "q": 1, "min": 1, "max": 64},
        ),
    ],
)
def test_steps_and_logarithms_of_a_space_stay(values: str, parameter: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"space: {{trainer.pretrain.epochs: {{{values}}}}}")
    space = read_space(["mine.yaml"])
    assert space.parameters["trainer.pretrain.epochs"] == parameter
    assert not space.ranges, "whether it is whole needs no trial"


@pytest.mark.parametrize("step", ["abc", "0", "-1", "2.5"])
def test_a_wrong_step_is_told_with_its_key(step: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"space: {{trainer.pretrain.epochs: {{type: int, low: 1, high: 9, step: {step}}}}}"
    )
    with pytest.raises(ConfigError, match=r"trainer\.pretrain\.epochs.*step"):
        read_space(["mine.yaml"])


def test_no_file_is_replaced_that_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "sweep.yaml"
    mine.write_text("name: mine\n")
    with pytest.raises(StorageError, match=r"sweep\.yaml is there already"):
        main(["sweep", "seeds=[0],[1]"])
    assert mine.read_text() == "name: mine\n"
    mine.unlink()
    assert main(["sweep", "seeds=[0],[1]"]) == 0
    assert "replaced" not in capsys.readouterr().out
    assert main(["sweep", "seeds=[0],[1],[2]"]) == 0
    assert "replaced" in capsys.readouterr().out
    assert yaml.safe_load(mine.read_text())["parameters"]["seeds"]["values"] == ["[0]", "[1]", "[2]"]


@pytest.mark.slow
def test_a_search_becomes_a_sweep(tmp_path: Path) -> None:
    space = {"trainer.pretrain": {"epochs": {"type": "int", "low": 1, "high": 9}}}
    space["encoder"] = {"type": "categorical", "choices": ["gru_64x1", "bilstm_8x1"]}
    search = {"model": "finetuned", "metric": "balanced_accuracy", "space": space}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(search))
    assert main(["sweep", "mine.yaml", "--method", "bayes", "--out", "out.yaml"]) == 0
    sweep = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert sweep["metric"] == {"name": "finetuned/oof/balanced_accuracy", "goal": "maximize"}
    assert sweep["parameters"]["trainer.pretrain.epochs"] == {"distribution": "int_uniform", "min": 1, "max": 9}
    assert sweep["parameters"]["encoder"] == {"values": ["gru_64x1", "bilstm_8x1"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["encodr=gru_64x1,bilstm_8x1"], "did you mean 'encoder'", marks=pytest.mark.slow),
        (["encoder=gru_64x1,bilstm_8x2"], "bilstm_8x1"),
        (["debug=fast"], "nothing is searched"),
        (["encoder=glob(*)"], "write the options out"),
        (["trainer.pretrain.lr=interval(1e-4,1e-2)", "--method", "grid"], "use random or bayes"),
        (["encoder=gru_64x1,bilstm_8x1", "--method", "bayes"], "needs --metric"),
        (["trainer.pretrain.lr=interval(1,1)"], "nothing can be drawn"),
        (["nowhere.yaml"], "there is no such file"),
        (["trainer.pretrain.epochs=1,-2"], "epochs: -2 must be"),
        (["trainer.pretrain.epochs=abc,2"], "epochs: 'abc' must be a whole number"),
        (["trainer.pretrain.epochs=interval(1.5,3.5)"], "epochs: 1.5 must be a whole number"),
        (["trainer.pretrain.weight_decay=interval(-1,-0.5)"], "weight_decay: -1"),
        (["trainer.pretrain.epochs=1,2", "trainer.pretrain.epochs=3,4"], "epochs: is given twice"),
        (["seeds=[1]", "seeds=[0],[1]"], "seeds: is given twice"),
        (["tracker=mlflow", "seeds=[0],[1]"], "tracker=mlflow: without wandb no run tells its sweep anything"),
        (["tracker=mlflow,wandb"], "without wandb no run"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_told_before_anything_is_written(
    tmp_path: Path, words: list[str], told: str
) -> None:
    with pytest.raises(ConfigError) as found:
        main(["sweep", *words])
    assert told in found.value.spoken()
    assert not (tmp_path / "sweep.yaml").exists()


def test_a_place_that_takes_no_file_is_said(tmp_path: Path) -> None:
    words = ["sweep", "seeds=[0],[1]", "--out"]
    for out, told in (("new/s.yaml", "there is no folder new"), ("/proc/s.yaml", "/proc/s.yaml cannot be written")):
        with pytest.raises(StorageError, match=f"--out: {told}"):
            main([*words, out])
    assert main([*words, str(tmp_path / "s.yaml"), "tracker=[mlflow,wandb]"]) == 0
    assert "tracker=wandb" not in (tmp_path / "s.yaml").read_text()


@pytest.mark.parametrize("word", ["found", "searches/found", "artifacts/results/searches/found", None])
def test_a_search_is_sent_however_it_is_named(
    word: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "artifacts" / "results" / "searches" / "found"
    folder.mkdir(parents=True)
    journal = Journal(folder)
    journal.append("start", run=TrackedRun("found-0123", "found", folder, {"tracker": {"wandb": {}}}, job="search"))
    journal.close()
    assert main(["sync"] if word is None else ["sync", word]) != 0
    assert "there is no key for" in capsys.readouterr().err, "it was found, and is to be sent"
    write_json(folder / "tracking" / "wandb" / "record.json", {"sent": -1})
    assert "`moola wandb sync searches/found` sends it" in WandbTracker(mode="offline").still_to_do(folder)


def test_sync_without_runs_and_with_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync"]) == 0
    assert "tracker=wandb" in capsys.readouterr().out
    with pytest.raises(DataError, match="there is no run 'market-0'"):
        main(["sync", "market-0"])
