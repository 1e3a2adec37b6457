"""Runs compared from what their folders hold: on the same windows or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.commands.compare import main as compare
from moola.errors import ConfigError, DataError, StorageError
from moola.evaluation.comparison import estimates
from moola.evaluation.intervals import moving_block_weights
from moola.layout import digest_file, read_json, write_json, write_text
from moola.pipelines.rented import Rented, write_rented
from moola.pipelines.results import FinishedRun, aggregate_results, find_runs, open_run, open_runs
from moola.pipelines.run_pair import compare_runs
from moola.pipelines.run_pair_page import pair_json, pair_text, render_pair
from moola.pipelines.run_table import openings, tabulate_runs
from moola.pipelines.scores import written_estimate
from moola.pipelines.transfer_diagnosis import diagnose_transfer

N = 240
CLASSES = ("falls", "rises")
TRUTH = np.arange(N) // 7 % 2


@pytest.mark.parametrize(
    ("target", "order", "way_out"),
    [
        ("run", "[ingest, evaluate]", "name a run that evaluates"),
        ("oof", "[ingest, overfit]", "name a run that evaluates"),
        ("oof", "[ingest, evaluate]", "go on: moola run --config-path"),
    ],
)
def test_what_a_run_never_makes_is_not_to_be_waited_for(tmp_path: Path, target: str, order: str, way_out: str) -> None:
    (tmp_path / "config.yaml").write_text(f"stage: {{order: {order}, skip: []}}")
    with pytest.raises(StorageError) as caught:
        FinishedRun(tmp_path, {"files": {}, "target": target}).file("metrics.json")
    assert caught.value.way_out.startswith(way_out)


def probabilities(skill: float, seed: int = 0) -> np.ndarray:
    """Of a model that is right with this chance, [n, 2] in the order of `CLASSES`."""
    right = np.random.default_rng(seed).random(N) < skill
    of_rises = np.where(right == (TRUTH == 1), 0.8, 0.2)
    return np.stack([1 - of_rises, of_rises], axis=1)


def make_run(
    results: Path,
    run_id: str,
    skills: dict[str, float],
    classes: tuple[str, ...] = CLASSES,
    shift: int = 0,
    flip: int = 0,
    **manifest: Any,
) -> Path:
    """A run folder with out-of-fold and test predictions of models of these skills; a control is always at chance."""
    folder = results / run_id
    ids = [f"w{i + shift:04d}" for i in range(N)]
    truth = np.where(np.arange(N) < flip, 1 - TRUTH, TRUTH)
    names = [CLASSES[number] for number in truth]
    parts, rows = [], []
    weights = moving_block_weights(np.arange(N), 1, 200)
    for model, skill in {**skills, "majority": 0.5}.items():
        for split, seed in (("oof", 0), ("test", 1)):
            said = probabilities(skill, seed)
            columns = {f"prob_{name}": said[:, CLASSES.index(name)] for name in classes}
            parts.append(
                pl.DataFrame({"window_id": ids, "model": model, "seed": 0, "split": split, "fold": 0, **columns})
            )
            found = estimates(said[None], TRUTH, weights, names=("balanced_accuracy", "log_loss"))
            rows += [
                {"model": model, "split": split, "metric": metric, **written_estimate(one)}
                for metric, one in found.items()
            ]
    folder.mkdir(parents=True)
    pl.concat(parts).write_parquet(folder / "oof.parquet")
    judged = pl.DataFrame({"window_id": ids, "true_label": names, "step": np.arange(N)})
    pl.concat([judged.with_columns(split=pl.lit(split)) for split in ("oof", "test")]).write_parquet(
        folder / "judged.parquet"
    )
    kinds = {model: {"role": "model", "deterministic": True, "encoder": False} for model in skills}
    kinds["majority"] = {"role": "control", "deterministic": True, "encoder": False}
    write_json(folder / "models.json", {"models": kinds, "classes": list(classes), "block_steps": 1})
    write_json(folder / "metrics.json", rows)
    chosen = max(skills, key=lambda model: skills[model])
    summary = {"verdict": ["One.", "Two.", "Three."], "chosen": chosen, "alarms": []}
    of_oof = [row for row in rows if (row["split"], row["metric"]) == ("oof", "balanced_accuracy")]
    as_given = {row["model"]: {key: row[key] for key in ("value", "low", "high", "n", "seeds")} for row in of_oof}
    write_json(folder / "summary.json", summary | {"as_given": as_given})
    keys = f"encoder: {{hidden: {len(run_id)}}}\npaths: {{data: {run_id}}}\nevaluation: {{block_bars: null}}\n"
    write_text(folder / "config.yaml", keys)
    told = {"run_id": run_id, "name": "demo", "status": "finished", "target": "run", "finished": "2024", "moola": "0.1"}
    write_json(folder / "manifest.json", told | manifest)
    return seal(folder)


def seal(folder: Path) -> Path:
    """The run folder as if its run had left the files that are in it now."""
    manifest = read_json(folder / "manifest.json")
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    del names["manifest.json"]
    files = {name: digest_file(path) for name, path in names.items()}
    write_json(folder / "manifest.json", manifest | {"files": files})
    return folder


def test_two_runs_differ_in_keys_and_in_the_model_that_is_better(tmp_path: Path) -> None:
    a = open_run(make_run(tmp_path, "one", {"encoder": 0.95, "forest": 0.7}))
    b = open_run(make_run(tmp_path, "second", {"encoder": 0.6, "forest": 0.7, "rocket": 0.8}))
    pair = compare_runs(a, b, n_resamples=200)
    assert [(one.key, one.a, one.b) for one in pair.configuration] == [("encoder.hidden", "3", "6")]
    found = {one.name: one for one in pair.pairs_of("test")}
    assert found["encoder"].outcome("balanced_accuracy") == "A is better" and found["encoder"].is_sure
    compared = found["encoder"].compared
    assert compared is not None and compared.difference.low > 0.2
    assert found["forest"].outcome("balanced_accuracy") == "the same predictions"
    assert found["rocket"].outcome("balanced_accuracy") == "in one run only"
    assert pair.pairs_of("test")[0].name == "encoder against rocket"  # what each run would choose
    assert compare_runs(a, a, n_resamples=10).pairs[0].name == "encoder"
    c = open_run(make_run(tmp_path, "third", {"forest": 0.6, "encoder": 0.9}))
    assert [one.a for one in compare_runs(c, c, n_resamples=10).pairs_of("oof")] == ["encoder", "forest", "majority"]
    backwards = {one.name: one for one in compare_runs(b, a, n_resamples=200).pairs_of("test")}
    assert backwards["encoder"].outcome("balanced_accuracy") == "B is better"
    assert {one.outcome("log_loss") for one in compare_runs(b, a, "log_loss", 200).pairs if one.name == "encoder"} == {
        "B is better"
    }


def test_the_order_of_classes_in_a_file_changes_nothing_and_other_classes_are_refused(tmp_path: Path) -> None:
    a = open_run(make_run(tmp_path, "one", {"encoder": 0.9}))
    b = open_run(make_run(tmp_path, "two", {"encoder": 0.9}, classes=CLASSES[::-1]))
    assert all(one.is_same for one in compare_runs(a, b).pairs)
    head = json.loads((b.folder / "models.json").read_text())
    write_json(b.folder / "models.json", head | {"classes": ["up", "down"]})
    with pytest.raises(DataError, match="falls, rises in A, up, down in B"):
        compare_runs(a, open_run(seal(b.folder)))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"shift": 40}, "240 windows in A and 240 in B, 200 of them shared"),
        ({"flip": 3}, "all 240 windows are shared, and 3 have another truth or time"),
    ],
)
def test_other_windows_and_other_truths_are_refused_with_what_is_shared(
    changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    a = open_run(make_run(tmp_path, "one", {"encoder": 0.9}))
    b = open_run(make_run(tmp_path, "two", {"encoder": 0.9}, **changed))
    with pytest.raises(DataError, match=told):
        compare_runs(a, b)


def test_where_only_the_sealed_test_is_the_same_only_that_is_compared(tmp_path: Path) -> None:
    a, b = (open_run(make_run(tmp_path, name, {"encoder": 0.9})) for name in ("one", "two"))
    judged = b.judged.with_columns(window_id=pl.when(pl.col("split") == "oof").then(pl.lit("x")).otherwise("window_id"))
    judged.write_parquet(b.folder / "judged.parquet")
    pair = compare_runs(a, open_run(seal(b.folder)), n_resamples=200)
    assert {one.split for one in pair.pairs} == {"test"} and "0 of them shared" in pair.refused["oof"]
    assert "Out of fold: not compared, 240 windows in A and 240 in B, 0 of them shared" in pair_text(pair)


def test_the_page_holds_everything_escapes_it_and_loads_nothing(tmp_path: Path) -> None:
    a = open_run(make_run(tmp_path, "one", {"<script>": 0.95}))
    b = open_run(make_run(tmp_path, "two", {"<script>": 0.6}))
    pair = compare_runs(a, b, n_resamples=200)
    html = render_pair(pair)
    assert "<script" not in html and "&lt;script&gt;" in html and "http:" not in html and "https:" not in html
    for words in ("A is better", "2 runs have opened the sealed test", "Two.", "Sealed test", "Out of fold"):
        assert words in html
    assert json.loads(json.dumps(pair_json(pair), allow_nan=False))["pairs"]


def test_p_values_and_names_of_metrics_are_written_alike_wherever_a_pair_is_shown(tmp_path: Path) -> None:
    a, b = (open_run(make_run(tmp_path, name, {"m": skill})) for name, skill in (("one", 0.95), ("two", 0.6)))
    pair = compare_runs(a, b, n_resamples=200)
    assert "< 0.001" in pair_text(pair) and "0.000" not in pair_text(pair) and "&lt; 0.001" in render_pair(pair)
    assert ">Balanced accuracy, means" in render_pair(pair)
    assert ">ROC AUC, means" in render_pair(compare_runs(a, b, "roc_auc", 200))


def test_runs_are_sorted_by_the_figure_of_the_model_that_each_would_choose_out_of_fold(tmp_path: Path) -> None:
    runs = [
        open_run(make_run(tmp_path, name, skills))
        for name, skills in {"low": {"a": 0.6, "b": 0.55}, "high": {"a": 0.7, "b": 0.9}}.items()
    ]
    table = tabulate_runs(runs, split="oof")
    assert [(row.run.run_id, row.model) for row in table.rows] == [("high", "b"), ("low", "a")]
    assert tabulate_runs(runs, "log_loss").rows[0].run.run_id == "high"
    assert [row.run.run_id for row in tabulate_runs(runs, model="majority").rows] == ["high", "low"]
    assert table.frame().height == 2 and "high" in table.text() and table.warnings == ()
    assert "rent" not in table.text() and table.frame()["cost_usd"].to_list() == [None, None]
    write_rented(runs[1].folder, Rented("runpod", "abc", "RTX 4090", "", 0.7, 1, 2109.0, 0.41, 0.0, False, "b0"))
    table = tabulate_runs([open_run(run.folder) for run in runs], split="oof")
    assert table.frame()["cost_usd"].to_list() == [0.41, None] and "$0.41" in table.text().splitlines()[1]
    (warning,) = tabulate_runs(runs).warnings
    assert "2 runs have opened the sealed test" in warning
    with pytest.raises(ConfigError, match="did you mean 'log_loss'"):
        tabulate_runs(runs, "log_los")
    with pytest.raises(DataError, match="did you mean 'majority'"):
        tabulate_runs(runs, model="majorty")


def test_the_table_shows_the_model_that_the_verdict_chose(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "run", {"a": 0.6, "b": 0.9})  # an alarm may keep the best figure from being chosen
    write_json(folder / "summary.json", read_json(folder / "summary.json") | {"chosen": "a"})
    assert [row.model for row in tabulate_runs([open_run(seal(folder))]).rows] == ["a"]


def test_out_of_fold_runs_are_sorted_by_what_their_verdicts_chose_by(tmp_path: Path) -> None:
    runs = []
    for name, skill, as_given in (("true", 0.9, 0.6), ("given", 0.7, 0.8)):  # better on the truth, on what was given
        folder = make_run(tmp_path, name, {"a": skill})
        summary = read_json(folder / "summary.json")
        summary["as_given"]["a"] |= {"value": as_given, "low": None}
        write_json(folder / "summary.json", summary)
        runs.append(open_run(seal(folder)))
    table = tabulate_runs(runs, split="oof")
    assert [row.run.run_id for row in table.rows] == ["given", "true"]
    assert table.rows[0].found.value == 0.8 and "out of fold, labels as given" in table.text()
    assert table.frame()["judged_on"].unique().to_list() == ["labels as given"]
    assert [row.run.run_id for row in tabulate_runs(runs, "log_loss", split="oof").rows] == ["true", "given"]
    assert "labels as given" not in tabulate_runs(runs, "log_loss", split="oof").text()


def test_runs_of_different_tests_are_not_ranked_without_a_word(tmp_path: Path) -> None:
    runs = [open_run(make_run(tmp_path, f"run{shift}", {"a": 0.6}, shift=shift)) for shift in (0, 9)]
    assert "judged on 2 different sets of windows" in tabulate_runs(runs).warnings[0]


def test_whoever_looked_at_the_same_sealed_test_counts(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "results", "mine", {"a": 0.6}))
    assert openings([run]) == 1
    looks = [("same", "mine"), ("same", "theirs"), ("other", "stranger")]
    lines = [json.dumps({"digest": digest, "run_id": run_id, "at": ""}) + "\n" for digest, run_id in looks]
    write_text(tmp_path / "metadata" / "sealed_tests.jsonl", "".join(lines))
    assert openings([run]) == 2


def test_unfinished_and_broken_runs_are_told_and_skipped(tmp_path: Path) -> None:
    good = make_run(tmp_path, "good", {"a": 0.6})
    make_run(tmp_path, "running", {"a": 0.6}, status="running")
    (make_run(tmp_path, "torn", {"a": 0.6}) / "metrics.json").write_text("[{")
    (make_run(tmp_path, "changed", {"a": 0.6}) / "metrics.json").write_text('[{"model": 1}]')
    seal(tmp_path / "changed")
    (make_run(tmp_path, "half", {"a": 0.6}) / "metrics.json").unlink()
    (make_run(tmp_path, "unread", {"a": 0.6}) / "judged.parquet").write_bytes(b"PAR1")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "aggregate.csv").touch()
    runs, broken = open_runs(find_runs([str(path) for path in sorted(tmp_path.iterdir())], tmp_path))
    assert [run.folder for run in runs] == [good]
    assert len(broken) == 7 and all(isinstance(error, StorageError) for error in broken)
    table, broken = aggregate_results(tmp_path)
    assert set(table["run_id"]) == {"good"} and len(broken) == 5 and table["low"].null_count() == 0


def test_runs_are_found_by_id_by_folder_and_by_the_folder_of_all(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "market-0a1b", {"a": 0.6})
    assert find_runs(["market-0a1b", str(folder), str(tmp_path)], tmp_path) == [folder.resolve()]
    with pytest.raises(DataError, match="'market-0a1c': did you mean 'market-0a1b'"):
        find_runs(["market-0a1c"], tmp_path)


def test_a_run_of_an_older_moola_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "old", {"a": 0.6})
    write_json(folder / "manifest.json", read_json(folder / "manifest.json") | {"files": ["metrics.json"]})
    with pytest.raises(StorageError, match=r"an older moola made the run.*\n.*--config-path"):
        open_run(folder)


@pytest.mark.parametrize("name", ["metrics.json", "summary.json", "judged.parquet"])
def test_a_file_that_was_edited_is_refused_when_the_run_is_opened(name: str, tmp_path: Path) -> None:
    path = make_run(tmp_path, "edited", {"a": 0.6}) / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StorageError, match=f"{name} is not what was written"):
        open_run(path.parent)


@pytest.mark.parametrize("name", ["oof.parquet", "models.json", "config.yaml"])
def test_a_file_that_was_edited_or_taken_away_is_refused_when_it_is_read(name: str, tmp_path: Path) -> None:
    a, b = (open_run(make_run(tmp_path, run, {"a": 0.6})) for run in ("one", "two"))
    path = b.folder / name
    content = path.read_bytes()
    if name == "oof.parquet":  # a prediction twice: valid, and another figure
        table = pl.read_parquet(path)
        pl.concat([table, table.head(1)]).write_parquet(path)
    else:
        path.write_bytes(content + b"\n")
    with pytest.raises(StorageError, match=f"{name} is not what was written"):
        compare_runs(a, open_run(b.folder))
    path.unlink()
    with pytest.raises(StorageError, match=f"{name} is missing"):
        compare_runs(a, open_run(b.folder))


def test_a_diagnosis_holds_every_twin_and_refuses_a_run_without_one(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "run", {"finetuned": 0.9, "scratch": 0.6})
    estimate = {"value": 0.3, "low": 0.1, "high": 0.5, "n": N, "seeds": 1}
    one = {"a": "finetuned", "b": "scratch", "split": "test", "metric": "balanced_accuracy", "adjusted": None}
    scores = {
        "figures": {},
        "alarms": {"alarms": [], "n_checks": 1},
        "verdict": ["", "", ""],
        "as_given": {},
        "chosen": None,
        "stacks": [],
    }
    write_json(folder / "scores.json", scores | {"differences": [one | {"difference": estimate}]})
    write_json(folder / "probe.json", [{"seed": 0, "epoch": e, "linear": 0.5 + e, "knn": 0.4} for e in (0, 0.25)])
    write_text(
        folder / "tables" / "label_efficiency.csv",
        "model,n_labels,value,low,high\n"
        "Fine-tuned encoder (pretrained),17,0.8,0.7,0.9\nSame encoder from scratch,17,0.6,,\n",
    )
    lines = diagnose_transfer(open_run(seal(folder))).lines()
    assert lines[0].startswith(
        "balanced accuracy, test: Fine-tuned encoder (pretrained) minus Same encoder from scratch"
    )
    assert lines[1] == "linear probe, seed 0: 0.500 on random weights, 0.750 after pretraining, out of fold"
    assert lines[-1].startswith("17 labels: 0.800 [0.700, 0.900] pretrained, 0.600 no interval from scratch")
    json.dumps(diagnose_transfer(open_run(folder)).to_json(), allow_nan=False)
    write_json(folder / "probe.json", [])
    with pytest.raises(StorageError, match=r"probe\.json is not what was written"):
        diagnose_transfer(open_run(folder))
    write_json(folder / "scores.json", scores | {"differences": []})
    with pytest.raises(DataError, match="says nothing of pretraining"):
        diagnose_transfer(open_run(seal(folder)))


@pytest.mark.parametrize("run_id", ["/../../../escaped/x", "..", "a/b", "a\0b", "", 7])
def test_a_run_whose_id_names_another_place_gets_no_page(run_id: Any, tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "pulled", name, {"good": 0.8}) for name in ("a", "b")]
    told = json.loads((folders[1] / "manifest.json").read_text())
    write_json(folders[1] / "manifest.json", {**told, "run_id": run_id})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="is no name of a run"):
        compare([*map(str, folders), "--artifacts", str(tmp_path / "artifacts")])
    assert set(tmp_path.rglob("*")) == before
