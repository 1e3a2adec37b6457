"""What one run leaves, and that it is the same run when it is repeated."""

from __future__ import annotations

import datetime
import json

import polars as pl

from moola.pipelines.events import read_events

PUBLISHED = {
    *("calibrated.parquet", "calibration.json", "conformal.json", "costs.json", "embeddings.svg", "judged.parquet"),
    *("label_issues.csv", "leaderboard.csv", "leaderboard.tex", "metrics.json", "models.json", "oof.parquet"),
    *("per_class.json", "probe.json", "reconstructions.svg", "report.html", "scores.json", "sentinels.json"),
    *("consensus.json", "review_queue.csv", "stack.parquet", "summary.json"),
}
FILES = PUBLISHED | {"manifest.json", "config.yaml", "events.jsonl", "pictures", "tables"}


def test_the_last_line_on_stdout_is_the_run_folder_and_it_holds_everything(finished):
    folder = finished.run_folder
    assert folder.is_absolute()
    assert {path.name for path in folder.iterdir()} == FILES | {".lock"}
    assert all((folder / name).stat().st_size for name in FILES)


def test_a_run_leaves_no_temporary_files_and_nothing_beside_its_two_folders(finished):
    assert {path.name for path in finished.folder.iterdir()} == {"data", "artifacts"}
    assert not [path for path in finished.folder.rglob("*") if path.name.endswith((".part", ".building"))]


def test_every_row_of_metrics_has_its_model_split_interval_and_counts(finished):
    rows = json.loads((finished.run_folder / "metrics.json").read_text())
    assert {tuple(row) for row in rows} == {("model", "split", "metric", "value", "low", "high", "n", "seeds")}
    models = {"finetuned", "scratch", "pretrained_probe", "logistic_regression", "majority", "stratified", "stack"}
    assert {row["model"] for row in rows} == models
    assert {row["split"] for row in rows} == {"oof", "test"}
    assert {"balanced_accuracy", "log_loss"} <= {row["metric"] for row in rows}
    assert len(rows) == len({(row["model"], row["split"], row["metric"]) for row in rows})
    for row in rows:
        assert row["n"] > 0
        assert row["seeds"] == 1
        assert row["low"] is None or row["low"] <= row["high"]


def test_the_manifest_names_the_command_the_seeds_and_every_stage_with_its_lineage(finished_once):
    finished, manifest = finished_once
    assert manifest["status"] == "finished"
    assert manifest["run_id"] == finished.run_folder.name
    assert manifest["command"][0].startswith("moola run debug=fast")
    assert manifest["seeds"] == [0]
    assert manifest["error"] is None
    assert {name for name in manifest["files"] if "/" not in name} == PUBLISHED | {"config.yaml"}
    assert {"pictures/leaderboard.svg", "tables/costs.csv", "tables/costs.tex"} <= set(manifest["files"])
    stages = {stage["stage"]: stage for stage in manifest["stages"]}
    assert list(stages) == [
        "ingest", "windows", "splits", "pretrain", "probe", "sentinels",
        "oof", "stack", "label_efficiency", "label_issues", "evaluate", "report",
    ]  # fmt: skip
    assert stages["windows"]["inputs"] == {"bars": stages["ingest"]["digest"]}
    assert stages["oof"]["inputs"]["encoder"] == stages["pretrain"]["digest"]
    assert not any(stage["reused"] for stage in stages.values())


def test_the_predictions_in_the_run_folder_are_probabilities_of_every_model(finished):
    table = pl.read_parquet(finished.run_folder / "oof.parquet")
    assert table["model"].n_unique() == 6
    assert ((table["prob_consolidation"] + table["prob_retracement"] - 1).abs() < 1e-6).all()


def test_a_constant_predictor_sets_off_the_alarm_in_a_real_run_and_its_control_does_not(make_moola, finished, tiny):
    lazy = ("+model.lazy.kind=logistic_regression", "+model.lazy.c=1e-12")  # so penalised that it says one thing
    words = [*tiny, *lazy, "~model.finetuned", "~model.scratch", "~model.pretrained_probe"]
    done = make_moola(finished.folder)("run", *words, "stage.skip=[pretrain,probe]")
    alarms = json.loads((done.run_folder / "summary.json").read_text())["alarms"]
    constant = [alarm for alarm in alarms if alarm["code"] == "constant_predictor"]
    assert {alarm["model"] for alarm in constant} == {"lazy"}
    assert "lazy is a constant predictor" in done.out


def test_the_same_command_is_the_same_run_and_reuses_every_stage(finished, make_moola, tiny):
    before = (finished.run_folder / "metrics.json").read_bytes()
    again = make_moola(finished.folder)("run", *tiny)
    assert again.run_folder == finished.run_folder
    assert again.err.count("reused") == 12
    assert (finished.run_folder / "metrics.json").read_bytes() == before
    manifest = json.loads((finished.run_folder / "manifest.json").read_text())
    assert manifest["attempts"] >= 2
    assert all(stage["reused"] for stage in manifest["stages"])


def test_config_path_of_a_run_folder_repeats_the_run_from_a_relative_path_too(finished, make_moola):
    again = make_moola(finished.folder)("run", "--config-path", str(finished.run_folder), "debug=fast")
    assert (again.code, "debug: a saved configuration has no groups, so debug=fast cannot" in again.err) == (2, True)
    words = (f"--config-path={finished.run_folder}", "data=synthetic", "data.n_bars=2000")
    assert (
        "data: a saved configuration has no groups, so data=synthetic" in make_moola(finished.folder)("run", *words).err
    )
    again = make_moola(finished.folder)("run", "--config-path", str(finished.run_folder))
    assert again.run_folder == finished.run_folder
    assert again.err.count("reused") == 12
    relative = finished.run_folder.relative_to(finished.folder)
    assert make_moola(finished.folder)("run", f"--config-path={relative}").run_folder == finished.run_folder
    assert {path.name for path in finished.folder.iterdir()} == {"data", "artifacts"}  # Hydra made no outputs/


def test_the_same_seed_in_two_empty_folders_gives_the_same_metrics(finished, moola, tiny):
    again = moola("run", *tiny)
    assert again.run_folder.parents[2] != finished.run_folder.parents[2]
    assert again.run_folder.name == finished.run_folder.name
    ours, theirs = ((folder / "metrics.json").read_bytes() for folder in (again.run_folder, finished.run_folder))
    assert ours == theirs


def test_force_builds_the_named_stage_again_and_only_that(finished, make_moola, tiny):
    again = make_moola(finished.folder)("run", *tiny, "--force=splits,label_issues")
    manifest = json.loads((again.run_folder / "manifest.json").read_text())
    assert [stage["stage"] for stage in manifest["stages"] if not stage["reused"]] == ["splits", "label_issues"]


def test_a_labelled_set_runs_end_to_end(moola):
    words = ["debug=fast", "experiment=ucr", "data.name=GunPoint", "split.n_folds=2", "~model.minirocket"]
    done = moola("run", *words, "~model.random_forest")
    summary = json.loads((done.run_folder / "metrics.json").read_text())
    found = [r for r in summary if (r["model"], r["split"], r["metric"]) == ("logistic_regression", "test", "accuracy")]
    assert found[0]["n"] == 150
    assert found[0]["value"] > 0.6
    assert done.run_folder.name.startswith("debug-fast-")


def test_a_second_process_at_the_same_run_is_told_so(finished, make_moola, tiny):
    import fcntl

    with (finished.run_folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = make_moola(finished.folder)("run", *tiny)
    assert done.code == 4
    assert "under way in another process" in done.err


def test_events_tell_the_run_in_order(moola, tiny):
    done = moola("ingest", *tiny[:2])
    kinds = [event["event"] for event in read_events(done.run_folder / "events.jsonl")]
    assert kinds == ["run_started", "stage_started", "stage_finished", "system", "run_finished"]


def test_rows_that_were_left_out_are_told_while_it_runs_and_in_the_report(moola):
    start = datetime.datetime(2024, 1, 1)
    rows = ["timestamp,open,high,low,close"]
    for hour in range(240):
        close = 100 + (hour * 7 % 13) / 10
        high = close + 0.5 if hour != 20 else close - 1
        time = start + datetime.timedelta(hours=hour)
        rows.append(f"{time},{close - 0.1:.2f},{high:.2f},{close - 2:.2f},{close:.2f}")
    (moola.folder / "bars.csv").write_text("\n".join(rows) + "\n")
    names = [f"bars_{3 * number:07d},{'ab'[number % 2]}" for number in range(40)]
    (moola.folder / "labels.csv").write_text("\n".join(["window_id,label", *names]) + "\n")
    words = ["debug=fast", "data=files", "data.path=bars.csv", "data.quality.bad_rows=quarantine", "task=label_file"]
    words += ["task.path=labels.csv", "split.test_from=2024-01-09", "split.n_folds=2", "split.embargo_bars=0"]
    words += ["data.window.length=20", "data.window.visible=16", "data.window.zone=[8,16]"]
    words += ["stage.skip=[pretrain,probe]"]
    words += [f"~model.{name}" for name in ("finetuned", "scratch", "pretrained_probe", "minirocket", "random_forest")]
    done = moola("run", *words)
    assert done.code == 0, done.err
    assert "error: high is below open or close, 1 rows" in done.err
    assert "note: bad rows left out: 1 of 240; quarantine.csv, beside the bars, says why of each" in done.err
    assert "1 of 240 rows of the source were bad and left out" in (done.run_folder / "report.html").read_text()


def test_the_probe_and_its_pictures_are_in_the_run_folder(finished):
    points = json.loads((finished.run_folder / "probe.json").read_text())
    assert {tuple(point) for point in points} == {("seed", "epoch", "linear", "knn")}
    assert points[0]["epoch"] == 0
    picture = (finished.run_folder / "embeddings.svg").read_text()
    assert picture.startswith("<svg xmlns=") and "after pretraining" in picture
    assert "validation 1" in (finished.run_folder / "reconstructions.svg").read_text()
