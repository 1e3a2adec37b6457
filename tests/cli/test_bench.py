"""``moola bench ucr`` on small sets in a folder: it resumes, goes on after a set that fails, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moola.cli import main

QUICK = (
    "--models=logistic_regression,random_forest,majority",
    "seeds=[0]",
    "model.random_forest.trees=10",
    "evaluation.n_resamples=100",
    "split.n_folds=2",
    "stage.label_efficiency.models=[logistic_regression,random_forest]",
    "stage.label_efficiency.shares=[0.1]",
    "stage.skip=[pretrain,probe,sentinels,label_issues,report]",
)


def write_set(folder: Path, name: str, seed: int) -> None:
    """Two classes of noisy waves, 12 cases to train and 20 to test."""
    rng = np.random.default_rng(seed)
    for part, n in (("TRAIN", 12), ("TEST", 20)):
        rows = ["label," + ",".join(f"t{i}" for i in range(16))]
        for case in range(n):
            wave = np.sin(np.arange(16) / (1 + case % 2)) + rng.normal(0, 0.3, 16)
            rows.append(f"{case % 2}," + ",".join(f"{value:.4f}" for value in wave))
        (folder / f"{name}_{part}.csv").write_text("\n".join(rows))


@pytest.mark.slow
def test_a_set_that_fails_is_told_and_the_others_are_compared(moola, tmp_path):
    write_set(tmp_path, "First", 0)
    write_set(tmp_path, "Second", 1)
    (tmp_path / "Broken_TRAIN.csv").write_text("label,t0\n0,x")
    (tmp_path / "Broken_TEST.csv").write_text("label,t0\n0,1")
    words = ("bench", "ucr", "--sets", "all", f"data.path={tmp_path}", *QUICK)
    done = moola(*words)
    assert done.code == 1 and "Broken" in done.err
    folder = Path(done.out.splitlines()[-1])
    told = json.loads((folder / "bench.json").read_text())
    assert [one["name"] for one in told["sets"]] == ["First", "Second"] and list(told["failed"]) == ["Broken"]
    assert {"stack", "random_forest", "majority"} <= set(told["means"])
    assert set(told["few_means"]) == {"logistic_regression", "random_forest", "mean_of_few"}
    (tmp_path / "Broken_TRAIN.csv").unlink()
    again = moola(*words)
    assert again.code == 0 and again.err.count("reused") == 14, again.err
    assert again.out.splitlines()[-1] != str(folder)
    repeated = json.loads((Path(again.out.splitlines()[-1]) / "bench.json").read_text())
    assert repeated["sets"] == told["sets"] and not repeated["failed"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ucr", "-m", "data=ecg200"], "one table"),
        (["ucr", "--sets"], "--sets: names nothing"),
        (["ucr", "--models=dwt"], "did you mean 'dtw'"),
        (["ucr", "--sets=GunPoint", "--model", "dtw"], "--model: there is no such flag; did you mean '--models'"),
        (["ucr", "--sets=GunPoint,GunPiont,ArowHead"], "no set named 'GunPiont'; did you mean 'GunPoint'"),
        (["ucr", "--sets=GunPoint,GunPiont,ArowHead"], "no set named 'ArowHead'; did you mean 'ArrowHead'"),
        (["ucr", "--sets=GunPoint", "nosuch.key=1"], "nosuch.key"),
        (["uc"], "did you mean 'ucr'"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_where_every_set_fails_the_exit_code_is_that_of_a_set_that_fails(moola, tmp_path):
    (tmp_path / "Broken_TRAIN.csv").write_text("label,t0\n0,x")
    (tmp_path / "Broken_TEST.csv").write_text("label,t0\n0,1")
    done = moola("bench", "ucr", "--sets", "all", f"data.path={tmp_path}", *QUICK)
    assert done.code == 1 and "no set has a result" in done.err and not done.out


def test_a_set_that_would_have_to_be_downloaded_is_refused(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOOLA_DATA_MIRROR", raising=False)
    assert main(["bench", "ucr", "--sets=ECG200"]) == 3
    assert "moola data fetch ECG200" in capsys.readouterr().err
