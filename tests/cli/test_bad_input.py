"""Whatever a user can get wrong: a message that says what, why and the way out, and an exit code of its own."""

from __future__ import annotations

import datetime
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from moola.labels.events import LabelEvent, LabelLog

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
CSV = ("debug=fast", "data=files", "data.path=bars.csv", "split.test_from=2024-01-09")
SMALL_WINDOWS = ("data.window.length=20", "data.window.visible=16", "data.window.zone=[8,16]", "split.embargo_bars=0")
LABELS = ("task=label_file", "task.path=labels.csv")


def bars(n: int = 240, mend: Callable[[int, list[str]], list[str]] = lambda row, cells: cells) -> str:
    """Hourly candles as CSV, each row as `mend` leaves it."""
    lines = ["timestamp,open,high,low,close"]
    for row in range(n):
        close = 100 + (row * 7 % 13) / 10
        time = (START + datetime.timedelta(hours=row)).strftime("%Y-%m-%d %H:%M:%S")
        cells = [time, f"{close - 0.1:.2f}", f"{close + 0.5:.2f}", f"{close - 0.5:.2f}", f"{close:.2f}"]
        lines.append(",".join(mend(row, cells)))
    return "\n".join(lines) + "\n"


def labels(classes: str = "ab", n: int = 40, name: str = "bars_{:07d}") -> str:
    rows = [f"{name.format(3 * row)},{classes[row % len(classes)]}" for row in range(n)]
    return "window_id,label\n" + "\n".join(rows) + "\n"


@pytest.fixture
def csv_moola(moola):
    """A folder with good bars and good labels."""
    (moola.folder / "bars.csv").write_text(bars())
    (moola.folder / "labels.csv").write_text(labels())
    return moola


def assert_said(done, code: int, *parts: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert re.search(part, done.err), f"{part!r} is not in:\n{done.err}"
    assert done.out == ""


@pytest.mark.slow
def test_own_bars_and_labels_run_when_nothing_is_wrong_and_again_on_what_people_decided(csv_moola):
    words = ["+model.zero.kind=majority", "split.n_folds=2", "stage.skip=[pretrain,probe]", "~model.minirocket"]
    words += ["~model.finetuned", "~model.scratch", "~model.pretrained_probe", "~model.random_forest"]
    done = csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS, *words)
    assert done.code == 0, done.err
    assert (done.run_folder / "report.html").exists()

    names = ("bars_0000000", "bars_0000001", "bars_0000003")  # of these the second has no label
    said = [LabelEvent(decision="relabel", window_id=name, annotator="ana", label="b", given=given)
            for name, given in zip(names, ("a", None, "b"), strict=True)]  # fmt: skip
    LabelLog(csv_moola.folder / "log.jsonl").append(*said)
    again = csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS, *words, "task.corrections=log.jsonl")
    assert again.code == 0, again.err
    judged = pl.read_parquet(again.run_folder / "judged.parquet").filter(split="oof")
    truth = dict(judged.select("window_id", "true_label").iter_rows())
    assert [truth[name] for name in names] == ["b", "b", "b"], "what people said last is the truth"
    told = csv_moola("labels", "report", done.run_folder.name, again.run_folder.name)
    assert told.code == 0, told.err
    assert "1 of them have a corrected label" in told.out and "windows that both runs have" in told.out


def test_a_missing_csv_file_is_named_with_near_files(moola):
    (moola.folder / "bras.csv").write_text(bars())
    assert_said(moola("run", *CSV), 3, r"no file matches data\.path=bars\.csv", "did you mean 'bras.csv'", "->")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["bars.csv is empty: no line holds anything", "replace the file"]),
        ("timestamp,open,high,low\n2024-01-01,1,2,0\n", ["column 'close' is missing", r"data\.columns=\{close"]),
        (bars(40, lambda row, c: [*c[:4], "n/a"] if row == 7 else c), ["close: is not a number", "bars.csv:9 .*'n/a'"]),
        (bars(40, lambda row, c: [c[0], c[1], "1.0", *c[3:]] if row == 7 else c), ["high"]),
        (
            bars(40, lambda row, c: ["2023-01-01 00:00:00", *c[1:]] if row == 7 else c),
            ["time is earlier than that of a row before it", "bars.csv:9 "],
        ),
        (bars(40, lambda row, c: ["yesterday", *c[1:]]), ["does not read as times", "yesterday", "ISO 8601"]),
    ],
)
def test_broken_bars_are_named_with_what_is_wrong(moola, content, parts):
    (moola.folder / "bars.csv").write_text(content)
    assert_said(moola("run", *CSV, *SMALL_WINDOWS), 3, *parts)


def test_a_missing_label_file_is_named(csv_moola):
    (csv_moola.folder / "labels.csv").unlink()
    assert_said(csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS), 3, "there is no label file labels.csv", r"task\.path=")


def test_all_problems_of_a_label_file_are_reported_in_one_go(csv_moola):
    text = labels() + "bars_0000003,b\nbars_9999999,a\nbars_0000006,\n"
    (csv_moola.folder / "labels.csv").write_text(text)
    done = csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS)
    assert_said(
        done,
        3,
        "1 rows without a window_id or label",
        "1 labels for windows that do not exist: bars_9999999",
        r"2 windows given more than once: bars_0000003 \(line 3, line 42\); bars_0000006",
    )


def test_labels_of_one_class_are_refused(csv_moola):
    (csv_moola.folder / "labels.csv").write_text(labels("a"))
    assert_said(csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS), 3, "know one class only", "classes: a", "two classes")


def test_a_class_without_training_labels_is_refused(csv_moola):
    text = labels("a") + "bars_0000210,b\nbars_0000213,b\n"
    (csv_moola.folder / "labels.csv").write_text(text)
    assert_said(csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS), 3, "one class only", "'b': 0")


def test_a_window_longer_than_every_series_is_refused(csv_moola):
    words = ["data.window.length=500", "data.window.visible=16", "data.window.zone=[8,16]"]
    assert_said(csv_moola("run", *CSV, *LABELS, *words), 3, "500", "->")


def test_more_labels_than_there_are_is_refused_with_the_number_that_goes(csv_moola):
    done = csv_moola("run", *CSV, *SMALL_WINDOWS, *LABELS, "task.n_given=100")
    assert_said(done, 3, "task.n_given=100", "choose task.n_given=40 or less")


def test_an_unknown_set_is_answered_with_near_names(moola):
    assert_said(moola("run", "experiment=ucr", "data.name=Gunpoint"), 3, "no set named 'Gunpoint'", "'GunPoint'")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["encoder=bilstm"],
            ["no such option; did you mean 'bilstm_8x1' or", "-> see what there is with `moola run --h"],
        ),
        (["tracker=null"], [r"tracker=null: is no name of an option; did you mean 'tracker=none'\?"]),
        (["tracker=[wandb,mlfow]"], [r"tracker=mlfow: there is no such option; did you mean 'mlflow'\?"]),
        (["-m", "--cfg", "job", "seeds=[0],[1]"], ["--cfg: shows one configuration, and -m asks for several"]),
        (["trainer.pretrain.bach_size=3"], [r"no such key; did you mean 'trainer\.pretrain\.batch_size'\?\n"]),
        (
            ["trainer.probe.foo=3"],
            [r"no such key; known: c, neighbours \(one that is left to its default is given with"],
        ),
        (["model.finetuned.frozen_epochs=30"], ["frozen_epochs: 30 leaves none of .*; give at most 29, or more than"]),
        (["pod=local"], ["pod=local: speaks of a pod", "moola pod run"]),
        (["experiment=ucf"], ["experiment=ucf: there is no such option; did you mean 'ucr'"]),
        (["data.path=a;b"], [r"data\.path: a;b cannot be read; text with signs", r"""'data\.path="a;b"'"""]),
        (["objective.parts[0].min_bars=5"], [r"cannot be given by itself; give all of them: 'objective\.parts=\["]),
        (["encodr=bilstm_64x1"], ["encodr: there is no such key; did you mean 'encoder'"]),
        (["encoder.hiden=3"], [r"encoder\.hiden: there is no such key; did you mean 'encoder\.hidden'"]),
        (["patience=10"], [r"patience: there is no such key; did you mean 'trainer\.pretrain\.patience'\?\n"]),
        (["trainer.patience=10"], [r"did you mean 'trainer\.pretrain\.patience'\?\n"]),
        (["epochs=3"], [r"did you mean 'trainer\.pretrain\.epochs' or 'trainer\.finetune\.epochs'\?"]),
        (["patiance=10"], [r"did you mean 'trainer\.pretrain\.patience'\?"]),
        (["seed=1"], [r"did you mean 'seeds'\\?"]),
        (["+encoder.hiden=3"], [r"encoder\.hiden: unknown key; did you mean 'hidden'"]),
        (["~model.minirockt"], ["model.minirockt", "did you mean 'model.minirocket'"]),
        (["encoder.name=bilstn"], ["no encoder named 'bilstn'; did you mean 'bilstm'"]),
        (["device=gpu"], ["device: 'gpu' is not allowed; did you mean 'cpu'"]),
        (["encoder.hidden=wide"], ["encoder.hidden: 'wide' must be a whole number"]),
        (["trainer.pretrain.batch_size=big"], ["'big' must be a whole number or auto"]),
        (["seeds=3"], ["seeds: 3 must be"]),
        (["seeds=[0,0]"], ["holds one twice"]),
        (["data=files"], [r"data\.path: has no value", "KEY=VALUE"]),
        (["name=a/b"], ["letters, digits"]),
        (["foo"], ["foo: is no KEY=VALUE\n"]),
        (["seeds=3,"], ["seeds: 3, ends with a comma; leave it out, or give another value"]),
        (["hydra.sweep.dir=x"], [r"hydra\.sweep\.dir=x: is not heeded", "paths.artifacts=FOLDER"]),
        (["seeds=[0"], [r"seeds: \[0 cannot be read: no viable alternative"]),
        (["--force=pretran"], ["force: there is no stage named 'pretran'; did you mean 'pretrain'"]),
        (["--config-path", "nowhere"], ["directory", "/nowhere"]),
        (["+stage.hooks.fre_disk.priority=1"], ["did you mean 'free_disk'"]),
    ],
)
def test_a_wrong_word_in_the_configuration_is_refused_with_the_near_name(moola, words, parts):
    assert_said(moola("run", *words), 2, "the configuration has 1 problem", *parts)
    assert not (moola.folder / "artifacts" / "results").exists()


def test_several_problems_are_reported_in_one_go(moola):
    wrong = [
        "seeds=[]",
        "encoder.hidden=wide",
        "trainer.pretrain.epochs=two",
        "split.n_folds=1",
        "+model.x.kind=majorty",
    ]
    done = moola("run", *wrong, "stage.skip=[prob]")
    assert_said(
        done,
        2,
        "the configuration has 6 problems",
        "seeds: needs at least one",
        "encoder.hidden",
        r"trainer\.pretrain\.epochs",
        r"split\.n_folds",
        "'majorty'",
        "'prob' is not among the stages",
    )


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--exp"])
def test_hydras_rerun_is_refused_because_it_reads_a_pickle(moola, flag):
    class Touch:
        def __reduce__(self):
            return (open, (str(moola.folder / "touched"), "w"))

    (moola.folder / "job.pickle").write_bytes(pickle.dumps(Touch()))
    assert_said(moola("run", f"{flag}=job.pickle"), 2, "reads a pickle", "--config-path")
    assert not (moola.folder / "touched").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["+trainer.pretrian.epochs=3"], r"trainer\.pretrian: unknown key; did you mean 'pretrain'"),
        (["trainer.monitoring.snapshot_epochs=[-4]"], "snapshot_epochs"),
        (["objective.seed=-1"], r"objective\.seed"),
        (["seeds=[5000000000]"], "seeds"),
        (["name='${nope}'"], "nope"),
        (["trainer.finetune.epochs=3", "model.finetuned.frozen_epochs=3"], r"model\.finetuned\.frozen_epochs"),
        (["stage.skip=[pretrain,probe]"], "stage 'oof' requires encoder"),
        (["+model.stack.kind=random_forest"], r"model\.stack"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_the_door(moola, words, says):
    assert_said(moola("run", *words), 2, says)
    assert not list(moola.folder.rglob("events.jsonl"))


@pytest.mark.parametrize("key", ["artifacts", "data"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(moola, key):
    done = moola("run", f"paths.{key}=/proc/moola")
    assert_said(done, 4, "cannot write in /proc/moola", r"paths\.artifacts=FOLDER")


def test_a_file_where_the_artifacts_folder_should_be_is_refused(moola):
    (moola.folder / "artifacts").write_text("in the way")
    assert_said(moola("run"), 4, "cannot write in .*artifacts", "File exists|Not a directory")


def test_a_changed_artifact_is_refused_with_its_file_and_force_mends_it(moola, tiny):
    assert moola("ingest", *tiny).code == 0
    (target,) = moola.folder.rglob("values.npy")
    target.write_bytes(target.read_bytes()[:-1] + b"x")
    assert_said(moola("ingest", *tiny), 4, "values.npy: not what the manifest says", "--force=ingest")
    assert moola("ingest", *tiny, "--force=ingest").code == 0
    assert moola("ingest", *tiny).code == 0


def test_a_disk_that_takes_no_more_leaves_nothing_half_written_and_the_next_run_goes_on(moola, finished, tiny):
    failed = moola("run", *tiny, file_bytes=60_000)  # of everything before the page, only the bars are larger
    assert_said(failed, 4, r"data/processed/.*values\.npy: File too large", "ulimit -f", "the same command again")
    left = [path for path in moola.folder.rglob("*") if path.name.endswith(".part")]
    assert left == []
    for manifest in moola.folder.glob("data/**/manifest.json"):
        files = json.loads(manifest.read_text())["files"]
        assert all((manifest.parent / name).exists() for name in files)
    (run_folder,) = moola.folder.glob("artifacts/results/*")
    assert json.loads((run_folder / "manifest.json").read_text())["status"] == "failed"
    done = moola("run", *tiny)
    assert done.code == 0
    assert (done.run_folder / "metrics.json").read_bytes() == (finished.run_folder / "metrics.json").read_bytes()


def test_a_defect_keeps_its_traceback_and_exit_code_1(make_moola, extension, tmp_path):
    words = [
        "experiment=waves",
        "+stage.hooks.always_fails.stage=windows",
        "+stage.hooks.always_fails.on_failure=raise",
    ]
    done = make_moola(tmp_path, [extension])("ingest", *words)
    assert done.code == 0  # the stage `windows` is not part of this command
    failed = make_moola(tmp_path, [extension])("run", *words)
    assert failed.code == 1
    assert "Traceback" in failed.err
    assert "ValueError: the extension broke" in failed.err


def test_a_working_folder_with_spaces_and_signs_makes_no_difference(make_moola, tmp_path: Path):
    folder = tmp_path / "a folder = with [signs]"
    folder.mkdir()
    assert make_moola(folder)("ingest", "debug=fast").code == 0
