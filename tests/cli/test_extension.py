"""Another package's source, stage, encoder, objective, model, hook and configuration, found by name in real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

WAVES = ("experiment=waves", "~model.minirocket", "~model.random_forest")
INSERTED = ("+stage.insert.count_windows.after=windows", "+stage.insert.count_windows.factor=3")


@pytest.fixture(scope="session")
def waves(make_moola, extension):
    """A whole run in which every kind of extension takes part."""
    moola = make_moola(python_path=[extension])
    hook = ["+stage.hooks.write_down.file=stages.txt"]
    done = moola("run", *WAVES, *INSERTED, *hook)
    assert done.code == 0, done.err
    return done


def test_the_installed_command_finds_the_extension_by_its_metadata_alone(extension, tmp_path):
    command = Path(sys.executable).with_name("moola")
    environment = {**os.environ, "PYTHONPATH": str(extension), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [command, "ingest", *WAVES], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).name.startswith("waves-")


def test_the_source_gave_the_bars(waves):
    (head,) = waves.folder.rglob("bars.json")
    assert len(json.loads(head.read_text())["series"]) == 60


def test_the_inserted_stage_ran_in_its_place_with_its_keys_and_published_its_file(waves):
    manifest = json.loads((waves.run_folder / "manifest.json").read_text())
    assert [stage["stage"] for stage in manifest["stages"]][:4] == ["ingest", "windows", "count_windows", "splits"]
    assert json.loads((waves.run_folder / "count.json").read_text()) == {"count": 180}
    assert "count.json" in manifest["files"]


def test_the_hook_was_called_for_every_stage_in_order(waves):
    manifest = json.loads((waves.run_folder / "manifest.json").read_text())
    assert (waves.folder / "stages.txt").read_text().split() == [stage["stage"] for stage in manifest["stages"]]


def test_the_encoder_and_the_objective_were_pretrained(waves):
    (path,) = waves.folder.rglob("pretrain-*/encoder.json")
    assert json.loads(path.read_text())["encoder"]["class"] == "moola_extension.learning:Convolution"
    assert path.with_name("encoder-seed0.safetensors").exists()


def test_the_model_stands_in_the_predictions_and_sets_off_the_alarm(waves):
    table = pl.read_parquet(waves.run_folder / "oof.parquet").filter(pl.col("model") == "first_class")
    assert table["prob_fast"].unique().to_list() == [0.8]
    summary = json.loads((waves.run_folder / "summary.json").read_text())
    codes = {alarm["code"] for alarm in summary["alarms"] if "first_class" in alarm["model"]}
    assert "constant_predictor" in codes


def test_its_configuration_is_offered_and_its_groups_can_be_chosen(make_moola, extension, tmp_path):
    moola = make_moola(tmp_path, [extension])
    offered = next(line for line in moola("run", "--help").out.splitlines() if line.startswith("experiment:"))
    assert {"market", "waves"} <= set(offered.replace(",", "").split())
    shown = moola("run", "--cfg", "job", "encoder=convolution").out
    assert "name: convolution" in shown


def test_without_the_extension_its_names_are_unknown(moola):
    done = moola("run", "experiment=waves")
    assert done.code == 2
    assert "experiment=waves: there is no such option" in done.err


def test_an_edit_of_a_module_that_the_stage_imports_relatively_builds_it_again(
    make_moola, extension, waves, tmp_path_factory
):
    edited = tmp_path_factory.mktemp("edited") / "site"
    shutil.copytree(extension, edited)
    words = ["run", *WAVES, *INSERTED]
    again = make_moola(waves.folder, [edited])(*words)
    manifest = json.loads((again.run_folder / "manifest.json").read_text())
    assert all(stage["reused"] for stage in manifest["stages"])
    counting = edited / "moola_extension" / "counting.py"
    counting.write_text(counting.read_text().replace("len(starts)", "len(starts) + 1"))
    edited_run = make_moola(waves.folder, [edited])(*words)
    manifest = json.loads((edited_run.run_folder / "manifest.json").read_text())
    assert [stage["stage"] for stage in manifest["stages"] if not stage["reused"]] == [
        "count_windows", "evaluate", "report"
    ]  # fmt: skip
    assert json.loads((edited_run.run_folder / "count.json").read_text()) == {"count": 183}


def test_a_hook_that_fails_is_told_and_the_run_goes_on(make_moola, extension, tmp_path):
    words = ["ingest", *WAVES, "+stage.hooks.always_fails.stage=ingest"]
    done = make_moola(tmp_path, [extension])(*words)
    assert done.code == 0
    assert "hook always_fails failed at before_stage: ValueError: the extension broke" in done.err


def test_a_hook_that_fails_ends_the_run_where_the_configuration_says_so(make_moola, extension, tmp_path):
    words = ["ingest", *WAVES, "+stage.hooks.always_fails.stage=ingest", "+stage.hooks.always_fails.on_failure=raise"]
    done = make_moola(tmp_path, [extension])(*words)
    assert done.code == 1
    assert "ValueError: the extension broke" in done.err
    (manifest,) = tmp_path.glob("artifacts/results/*/manifest.json")
    assert json.loads(manifest.read_text())["status"] == "failed"


def _distribution(name: str, entry_points: str) -> dict[str, str]:
    return {
        "pyproject.toml": f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"

{entry_points}
""",
        f"{name}/__init__.py": "",
    }


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("models", "first_class", ("'moola-extension' and 'other_package'", "a model named 'first_class'")),
        ("stages", "count_windows", ("'moola-extension' and 'other_package'", "a stage named 'count_windows'")),
        ("models", "majority", ("package 'other_package' announces a model named 'majority'", "which is taken")),
    ],
)
def test_a_name_that_is_taken_is_refused_naming_the_packages(
    make_moola, extension, install, tmp_path, group, name, said
):
    files = _distribution("other_package", f'[project.entry-points."moola.{group}"]\n{name} = "other_package:Other"')
    for path, text in files.items():
        (tmp_path / "other" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / path).write_text(text)
    other = install(tmp_path / "other")
    work = tmp_path / "work"
    work.mkdir()
    done = make_moola(work, [extension, other])("run", *WAVES, *INSERTED)
    assert done.code == 2, done.err
    for part in said:
        assert part in done.err
