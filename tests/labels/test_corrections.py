"""Decisions put into the labels that models are given, exported as versions, and imported from other files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score

from moola.cli import main
from moola.data.bar_store import BarStore
from moola.data.bar_writer import BarWriter
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError, StorageError
from moola.labels import WindowLabels
from moola.labels.agreement import agreement_between, anchoring, why_not_anchored
from moola.labels.blacklist import read_blacklist
from moola.labels.changes import changed_labels, count_decisions
from moola.labels.corrections import CorrectionsConfig, states_digest
from moola.labels.events import LabelEvent, LabelLog, window_digest
from moola.labels.folding import fold
from moola.labels.planting import LabelDraw
from moola.labels.versions import LabelVersion, diff_labels, open_version
from moola.layout import Layout, digest_file, read_json, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.label_export import export_labels
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.splits import Splits
from moola.pipelines.stages.windows import Windows
from moola.schemas import TIMESTAMP

LENGTH, N_BARS = 6, 400
CORRECTIONS = "window_id,corrected_label,corrected_start,corrected_end"


@dataclass(frozen=True)
class EveryOther:
    """Labels windows up, -, down, -, ..."""

    def fingerprint(self) -> str:
        return ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        names = [("up", None, "down", None)[i % 4] for i in range(len(table))]
        return WindowLabels(pl.Series(names, dtype=pl.String), ("up", "down"), True)


def artifact(stage: Stage | None, inputs: dict[str, Artifact], folder: Path) -> Artifact:
    """Run a stage into a folder, manifest and all; None: the folder as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if stage is not None:
        stage.run(inputs, Workspace(folder, "run", stage.name, EventLog(), folder / "units"))
    files = {path.name: digest_file(path) for path in folder.iterdir() if path.is_file()}
    name = stage.name if stage else "ingest"
    write_json(folder / "manifest.json", {"stage": name, "key": "k", "digest": "d", "files": files})
    return Artifact(name, "k", "d", folder, read_json(folder / "manifest.json"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("market")
    times = pl.datetime_range(pl.datetime(2013, 1, 1), pl.datetime(2013, 1, 2), "1m", eager=True)[:N_BARS]
    frame = pl.DataFrame({"series": ["x"] * N_BARS, "timestamp": times.dt.replace_time_zone("UTC").cast(TIMESTAMP)})
    with BarWriter(folder / "bars", ("c",)) as writer:
        writer.append(frame.with_columns(c=pl.Series(np.arange(N_BARS), dtype=pl.Float32)))
        writer.finish()
    found = {"bars": artifact(None, {}, folder / "bars")}
    found["windows"] = artifact(Windows(WindowConfig(length=LENGTH), None, EveryOther()), found, folder / "windows")
    return found


def decide(decision: Any, bar: int, who: str = "ada", **fields: Any) -> LabelEvent:
    return LabelEvent(decision=decision, window_id=f"x_{bar:07d}", annotator=who, **fields)


def split(inputs: dict[str, Artifact], folder: Path, *events: LabelEvent, flipped: int = 0) -> Dataset:
    """The split with decisions put into its labels."""
    log = folder / "events.jsonl"
    LabelLog(log).append(*events)
    stage = Splits(PurgedKFold("2013-01-01T05:00"), LabelDraw(None, flipped), CorrectionsConfig(str(log)))
    return Dataset.open({**inputs, "splits": artifact(stage, inputs, folder / "splits")})


def labels_of(data: Dataset) -> dict[int, str]:
    """First bar -> label given to the models."""
    return {int(name[2:]): label for name, label in data.labels.select("window_id", "label").iter_rows()}


def test_training_labels_are_relabelled_added_and_removed_and_the_sealed_test_never(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    plain = split(inputs, tmp_path / "plain")
    before = labels_of(plain)
    events = [
        decide("relabel", 0, label="down", given="up"),
        decide("relabel", 1, label="up", start=2, end=4),
        decide("relabel", 5, label="up", start=2, end=9),
        decide("accept", 2, given="down"),
        decide("skip", 4),
        decide("blacklist", 101),  # has no label itself
        decide("relabel", 102, label="up", at="2030-01-01T00:00:00Z"),  # overlaps it
        decide("relabel", 20, label="up"),
        decide("relabel", 20, "bob", label="down"),
        decide("relabel", 22, label="sideways"),
        decide("relabel", 24, label="down", window_digest="0" * 16),
        decide("relabel", 350, label="up"),
        decide("skip", 352),
        decide("relabel", 9999, label="up"),
        decide("note", 26, note="odd"),
    ]
    data = split(inputs, tmp_path / "corrected", *events)
    gone = {4, *range(96, 107)}
    wanted = {**before, 0: "down", 1: "up", 5: "up"}
    assert labels_of(data) == {bar: wanted[bar] for bar in sorted(wanted) if bar not in gone}
    assert data.test.select(plain.test.columns).equals(plain.test)
    told = read_json(tmp_path / "corrected" / "splits" / "corrections.json")
    assert (told["relabelled"], told["added"], told["confirmed"], told["marked"]) == (1, 2, 1, 1)
    assert told["removed"] == {"overlaps a blacklisted window": 6, "skip": 1}
    assert told["overlapped"] == {f"x_{bar:07d}": "x_0000101" for bar in (96, 98, 100, 102, 104, 106)}
    assert {why.split(" (")[0].split(" [")[0]: one["n"] for why, one in told["ignored"].items()} == {
        "it belongs to the sealed test": 2,
        "its bars are others than those that were looked at": 1,
        "its marks lie outside the zone": 1,
        "it overlaps a blacklisted window": 1,
        "people differ and none has the majority": 1,
        "the label is none of the classes": 1,
        "there is no such window": 1,
    }
    marks = data.gather(pl.Series([1, 2]), pl.Series(["up", "down"]), _Bars()).pointers
    assert marks is not None and marks.tolist() == [[2, 4], [-1, -1]]


class _Bars:
    """The bars as they are."""

    def apply(self, bars: Any, channels: Any) -> Any:
        return bars


def test_a_flip_that_was_found_is_no_flip_any_more(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    flipped = split(inputs, tmp_path / "a", flipped=20).labels.filter("planted")
    first, second = (int(name[2:]) for name in flipped["window_id"].head(2))
    events = [
        decide("relabel", first, label=flipped["true_label"][0]),
        decide("accept", second, given=flipped["label"][1]),
    ]
    planted = split(inputs, tmp_path / "b", *events, flipped=20).labels.filter("planted")["window_id"].to_list()
    assert planted == flipped["window_id"].to_list()[1:]


def test_a_blacklisted_span_holds_for_windows_of_another_stride_and_name(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    span = {"first_time": "2013-01-01T00:30:00Z", "last_time": "2013-01-01T00:31:00Z"}
    rejected = LabelEvent(decision="blacklist", window_id="of_old", annotator="ada", series="x", **span)
    before = labels_of(split(inputs, tmp_path / "a"))
    for number, event in enumerate((rejected, dataclasses.replace(rejected, window_id="x_of", series=""))):
        after = labels_of(split(inputs, tmp_path / str(number), event))
        assert before.keys() - after.keys() == {bar for bar in range(25, 32) if bar in before} != set()
        assert read_json(tmp_path / str(number) / "splits" / "corrections.json")["ignored"] == {}


def test_a_blacklisting_that_rejects_nothing_here_is_told_with_its_reason(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    at = {"first_time": "2013-01-01T00:30:00Z", "last_time": "2013-01-01T00:31:00Z"}
    late = {"first_time": "2014-01-01T00:30:00Z", "last_time": "2014-01-01T00:31:00Z"}
    sealed = {"first_time": "2013-01-01T05:50:00Z", "last_time": "2013-01-01T05:55:00Z"}
    elsewhere = [  # the log is shared by all data: one series here says nothing of whose bars these are
        LabelEvent(decision="blacklist", window_id="eurusd_0000030", annotator="ada", **at),
        LabelEvent(decision="blacklist", window_id="7", annotator="ada", series="eurusd", **at),
        decide("blacklist", 9999, **late),
        decide("blacklist", 350, **sealed),
        decide("blacklist", 8888),
        LabelEvent(decision="relabel", window_id="eurusd_0000004", annotator="ada", label="up"),
        decide("relabel", 9998, label="up"),
    ]
    before = labels_of(split(inputs, tmp_path / "a"))
    assert labels_of(split(inputs, tmp_path / "b", *elsewhere)) == before
    told = read_json(tmp_path / "b" / "splits" / "corrections.json")["ignored"]
    assert {why: one["n"] for why, one in told.items()} == {
        "of other data": 3,
        "no training window touches its time": 1,
        "it belongs to the sealed test": 1,
        "there is no such window": 2,
    }


def test_what_changes_no_label_builds_no_split_anew(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "events.jsonl")
    stage = Splits(PurgedKFold("2013-01-01"), LabelDraw(), CorrectionsConfig(str(log.path)))
    assert Splits(PurgedKFold("2013-01-01"), LabelDraw()).outside() == ""
    first = decide("skip", 0)
    log.append(first)
    before = stage.outside()
    log.append(decide("note", 0, note="odd"))
    assert stage.outside() == before
    log.append(decide("undo", 0, undoes=first.event_id))
    assert stage.outside() != before
    rejected = decide("blacklist", 1, first_time="2013-01-01T00:30:00Z", last_time="2013-01-01T00:31:00Z")
    for name in ("x", "y"):
        LabelLog(tmp_path / name).append(dataclasses.replace(rejected, series=name))
    assert states_digest(tmp_path / "x") != states_digest(tmp_path / "y")


def test_a_missing_log_is_told_before_anything_is_made_also_with_a_near_name(tmp_path: Path) -> None:
    for name in ("v001", "v002"):
        (tmp_path / name).mkdir()
    for place, near in ((tmp_path / "v01", "did you mean 'v001'"), (tmp_path / "v001", "events.jsonl is missing")):
        stage = Splits(PurgedKFold("2013-01-01T05:00"), LabelDraw(), CorrectionsConfig(str(place)))
        with pytest.raises(DataError, match="there are no corrections") as caught:
            stage.outside()
        assert near in caught.value.why


def run_folder(inputs: dict[str, Artifact], folder: Path) -> Path:
    """A run as it leaves its manifest."""
    split(inputs, folder)
    stages = [
        {"stage": name, "folder": str(one.folder)}
        for name, one in (("ingest", inputs["bars"]), ("windows", inputs["windows"]))
    ]
    stages.append({"stage": "splits", "folder": str(folder / "splits")})
    run = folder / "artifacts" / "results" / "run-1"
    write_json(run / "manifest.json", {"status": "finished", "finished": "", "run_id": "run-1", "stages": stages})
    return run


def labels_in(version: LabelVersion) -> dict[str, str]:
    return dict(version.table().select("window_id", "label").iter_rows())


def test_versions_are_whole_never_changed_and_train_what_the_log_says(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    run, layout, log = (
        run_folder(inputs, tmp_path),
        Layout(tmp_path / "data", tmp_path / "artifacts"),
        tmp_path / "log.jsonl",
    )
    first = export_labels(layout, log, run).version
    LabelLog(log).append(decide("relabel", 0, label="down"), decide("skip", 4), decide("blacklist", 100))
    second = export_labels(layout, log, run).version
    assert (first.name, second.name) == ("v001", "v002") and second.manifest["previous"] == "v001"
    table = {row["window_id"]: row for row in second.table().iter_rows(named=True)}
    assert (table["x_0000000"]["label"], table["x_0000000"]["given_label"]) == ("down", "up")
    assert "x_0000004" not in table and table["x_0000350"]["span"] == "test"
    path = layout.data / "corrections" / "window_blacklist.csv"
    listed = pl.read_csv(path)
    (back,) = read_blacklist(path, "bob")
    assert (back.series, back.last_time) == ("x", "2013-01-01T01:45:00.000000Z")
    assert listed.select("window_id", "raw_start_idx", "raw_end_idx").rows() == [("x_0000100", 100, 105)]
    assert listed["first_time"][0] == "2013-01-01T01:40:00.000000Z"

    changed = diff_labels(*(labels_in(version) for version in (first, second)), (first.reasons(), second.reasons()))
    why = dict(changed.filter(pl.col("after").str.starts_with("(")).select("window_id", "after").iter_rows())
    assert why.pop("x_0000004") == "(skip)" and why.pop("x_0000100") == "(blacklist)"
    assert why == {f"x_{bar:07d}": "(left out: overlaps blacklisted x_0000100)" for bar in (96, 98, 102, 104)}
    states = fold(LabelLog(log).read().events)
    told = changed_labels(labels_in(first), labels_in(second), states, second.manifest["corrections"]["overlapped"])
    assert {one.window_id: one.label for one in told} == dict(changed.select("window_id", "after").iter_rows())
    assert all(one.annotators == ("ada",) for one in told)

    from_version = Splits(PurgedKFold("2013-01-01T05:00"), LabelDraw(), CorrectionsConfig(str(second.folder)))
    corrected = Dataset.open({**inputs, "splits": artifact(from_version, inputs, tmp_path / "again")})
    trained = second.table().filter(pl.col("span") == "train").select("window_id", "label")
    assert corrected.labels.select("window_id", "label").equals(trained)
    (second.folder / "labels.parquet").write_bytes(b"other")
    with pytest.raises(StorageError, match="is not what was exported"):
        open_version("v002", second.folder.parent)


def test_commands_import_undo_compare_and_export(
    inputs: dict[str, Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("fixes.csv").write_text(
        "window_id,corrected_label,corrected_start,corrected_end,skip\nx_0000000,down,2,4,\nx_0000002,down,,,0\n"
        "x_0000004,,,,True\nx_0000006,,,,\n"
    )
    Path("black.csv").write_text(
        "window_id,raw_start_idx,raw_end_idx,reason,blacklisted_date\nold_1,30,31,no trade,2026-01-31\n"
        "eurusd_0000050,50,51,another market,2026-01-31\n"
    )

    def said(*words: str) -> str:
        assert main(["labels", *words]) == 0
        return capsys.readouterr().out

    assert "new: 1 accept, 1 relabel, 1 skip" in said("import", "fixes.csv", "--run", "run-1", "--annotator", "ada")
    assert "3 events, 3 of them in the log already\nnew: none" in said(
        "import", "fixes.csv", "--run", "run-1", "--annotator", "ada"
    )
    assert "new: 2 blacklist" in said("import", "black.csv", "--annotator", "ada")
    assert "1 of those in the log say now" in said("import", "black.csv", "--run", "run-1", "--annotator", "ada")
    log = LabelLog(Path("data/corrections/review_corrections/events.jsonl"))
    events = log.read().events
    store = BarStore.open(inputs["bars"].folder)
    assert events[0].window_digest == window_digest(store.values[:LENGTH]) and events[0].given == "up"
    states = fold(events)
    assert (states["old_1"].first_time, states["old_1"].series) == ("2013-01-01T00:30:00.000000Z", "x")
    assert states["old_1"].notes == ("no trade",) and states["eurusd_0000050"].series == ""
    assert count_decisions(events).undone == 0
    said("export", "run-1")
    assert "undone: skip of x_0000004 by ada" in said("undo", events[2].event_id[:8], "--annotator", "bob")
    assert "6 added" not in said("export", "run-1")
    told = json.loads(said("diff", "v001", "v002", "--json"))
    assert told["windows"] == [{"window_id": "x_0000004", "before": "(skip)", "after": "up"}]
    assert json.loads(said("agreement", "--json")) == {"pairs": [], "anchoring": None}
    assert "no window was judged blind: what showing" in said("agreement")
    undone = events[2].event_id
    assert main(["labels", "undo", undone]) == 3
    way_out = capsys.readouterr().err.rpartition("moola ")[2].split()
    assert "undone: undo of x_0000004 by bob; now skip" in said(*way_out[1:])
    assert main(["labels", "undo", "zzz"]) == 3
    assert "no event is 'zzz'" in capsys.readouterr().err
    assert main(["labels", "exprt"]) == 2
    assert "did you mean 'export'" in capsys.readouterr().err


def test_decisions_that_do_not_fit_the_run_are_refused_in_one_go_and_new_classes_are_named(
    inputs: dict[str, Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    fixes = Path("fixes.csv")
    fixes.write_text(f"{CORRECTIONS}\nx_0000000,dwon,,\nx_000004,up,,\nx_0000004,up,0,200\nx_0000006,up,,\n")
    assert main(["labels", "import", "fixes.csv", "--run", "run-1", "--annotator", "ada"]) == 3
    told = capsys.readouterr().err
    assert "labels that are no class: x_0000000: 'dwon'; did you mean 'down'?" in told
    assert "windows that do not exist: x_000004; did you mean" in told
    assert "marks outside the zone [0, 5]: x_0000004: 0 to 200" in told and "--classes dwon" in told
    log = LabelLog(Path("data/corrections/review_corrections/events.jsonl"))
    assert log.read().events == ()
    fixes.write_text(f"{CORRECTIONS}\nx_0000000,flat,1,4\n")
    importing = ["labels", "import", "fixes.csv", "--run", "run-1", "--annotator", "ada"]
    assert main(importing) == 3 and main([*importing, "--classes", "flat"]) == 0
    assert main([*importing[:3], "--classes", "flat"]) == 2
    capsys.readouterr()
    assert main(["labels", "export", "run-1"]) == 0  # what a run on the log would say, and how to have it
    done = capsys.readouterr()
    assert "1 ignored: the label is none of the classes (up, down)" in done.out
    assert "'flat' is no class of the run" in done.err and "--classes flat" in done.err
    assert labels_in(open_version("v001", Path("data/processed/labeled")))["x_0000000"] == "up"
    assert main(["labels", "export", "run-1", "--classes", "flat"]) == 0
    assert labels_in(open_version("v002", Path("data/processed/labeled")))["x_0000000"] == "flat"
    shared = LabelLog(Path("other.jsonl"))  # of another data set, for the most part
    shared.append(LabelEvent(decision="relabel", window_id="eurusd_0000000", annotator="b", label="flat"))
    assert main(["labels", "import", "other.jsonl", "--run", "run-1"]) == 0
    shared.append(decide("relabel", 6, label="flat"))
    assert main(["labels", "import", "other.jsonl", "--run", "run-1"]) == 3


def test_a_log_or_a_folder_that_is_not_there_is_told(
    inputs: dict[str, Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    LabelLog(Path("decided.jsonl")).append(decide("skip", 0))
    assert main(["labels", "export", "run-1", "--log", "decide.jsonl"]) == 3
    assert "there is no log of decisions decide.jsonl" in (told := capsys.readouterr().err)
    assert "did you mean 'decided.jsonl'" in told and not Path("data").exists()
    assert main(["labels", "export", "run-1"]) == 0
    assert main(["labels", "export", "run-1", "--data", "/proc/foo"]) == 4
    assert "no version can be made in /proc/foo" in capsys.readouterr().err
    assert main(["labels", "import", "nowhere.jsonl", "--as", "events"]) == 3
    assert main(["labels", "import", "decided.jsonl", "--log", "/proc/x.jsonl"]) == 4


def test_events_that_begin_alike_are_those_that_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    LabelLog(log).append(
        *(decide("skip", bar, event_id=f"6{bar}" * 8) for bar in range(3)),
        *(decide("skip", bar, event_id=f"7{bar}" * 8) for bar in range(9)),
    )
    assert main(["labels", "undo", "6", "--log", str(log)]) == 3
    told = capsys.readouterr().err
    assert "3 events begin with '6'" in told
    assert [line.split()[1] for line in told.splitlines() if line.startswith("  - ")] == [f"6{n}" * 6 for n in range(3)]


def test_rows_that_cannot_be_read_are_all_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fixes.csv"
    path.write_text(
        "window_id,corrected_label,corrected_start,corrected_end,skip\n,up,,,\na,up,5,2,\nb,up,1.5,4,\nc,up,,,maybe\nd,up\n"
    )
    assert main(["labels", "import", str(path), "--annotator", "ada", "--log", str(tmp_path / "log.jsonl")]) == 3
    told = capsys.readouterr().err
    for place in (
        "line 2: - window_id: is empty",
        "line 3: - start, end: 5 to 2",
        "line 4: '1.5'",
        "line 5: 'maybe'",
        "line 6 has 2",
    ):
        assert place in told
    assert not (tmp_path / "log.jsonl").exists()


def test_kappa_is_cohens_and_anchoring_shows_where_people_follow_what_they_see() -> None:
    rng = np.random.default_rng(0)
    truth, given = rng.choice(["a", "b"], 400), rng.choice(["a", "b"], 400)
    events: list[LabelEvent] = []
    for number in range(400):
        blind = number % 2 == 0
        said = truth[number] if blind else given[number]
        common = {"window_id": f"w{number}", "given": str(given[number]), "blind": blind, "blind_share": 0.5}
        events.append(LabelEvent(decision="relabel", annotator="ada", label=str(said), **common))
        other = str(truth[number]) if number % 5 else "b"
        events.append(LabelEvent(decision="relabel", annotator="bob", label=other, **common))
    (pair,) = agreement_between(events)
    ada, bob = ([one.label for one in events if one.annotator == who] for who in ("ada", "bob"))
    assert pair.kappa == pytest.approx(cohen_kappa_score(ada, bob)) and pair.low < pair.kappa < pair.high
    found = anchoring([one for one in events if one.annotator == "ada"])
    assert found is not None and found.shown.kappa == 1 and abs(found.blind.kappa) < 0.2 and found.low > 0.5
    assert found.conclusion == "people follow what they are shown"
    assert found.blind.n == 200
    few = anchoring([one for one in events if one.annotator == "ada"][:9])
    assert few is not None and few.shown.kappa == 1 and few.shown.low < 0.5, "four that agree do not say that all would"
    others = [  # imports, and a sitting that hid nothing
        LabelEvent(
            decision="accept", annotator="ada", window_id=f"{told}{i}", given="a", source=told, blind_share=share
        )
        for told, share in (("import:x.csv", 0.5), ("review", 0.0))
        for i in range(99)
    ]
    assert anchoring([*[one for one in events if one.annotator == "ada"], *others]) == found
    of_old = [dataclasses.replace(one, blind_share=0.0) for one in events]
    assert anchoring(of_old) is None and "does not tell in which sittings" in why_not_anchored(of_old)
    assert why_not_anchored([one for one in events if one.blind]) == "no window was judged with its label shown"
    same = [dataclasses.replace(one, label="a", given="a") for one in events]
    assert np.isnan(agreement_between(same)[0].kappa)


@pytest.mark.parametrize("n", [5, 30])
def test_the_interval_of_kappa_holds_the_true_one_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(n)
    share = np.array([0.6, 0.3, 0.1])
    table = 0.2 * np.outer(share, share) + 0.8 * np.diag(share)  # kappa .8
    held = 0
    for _ in range(200):
        cells = rng.choice(9, n, p=table.ravel())
        events = [
            LabelEvent(decision="relabel", annotator=who, window_id=f"w{i}", label="abc"[cell])
            for who, said in (("ada", cells // 3), ("bob", cells % 3))
            for i, cell in enumerate(said)
        ]
        (found,) = agreement_between(events)
        held += np.isnan(found.kappa) or found.low <= 0.8 <= found.high  # a bootstrap: .40 and .95
    assert held / 200 > 0.88
