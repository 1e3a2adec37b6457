"""Runs by name, condition and order; near names for what nobody knows; and what an order must not be taken for."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moola.commands import dash, runs, search
from moola.commands.sweep_commands import ls, show
from moola.dashboard.run_index import RunIndex, open_index
from moola.dashboard.run_query import QueryError, RunQuery, query_runs
from moola.errors import ConfigError, DataError, MoolaError, StorageError
from moola.pipelines.sweep_record import Point, PointState, Sweep, write_state
from moola.testing.run_folders import write_run_folder, write_run_folders


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunIndex]:
    """Six finished runs, hidden 8 to 256, and one that failed; nothing is written there."""
    results = tmp_path_factory.mktemp("many") / "artifacts" / "results"
    write_run_folders(results, 6)
    write_run_folder(results, "ucr-00000000000f", status="failed", number=1)
    index = open_index(results.parent)
    yield index
    index.close()


def found(index: RunIndex, *where: str, **asked: object) -> str:
    """Last digits of the runs, in order."""
    query = RunQuery(**{"where": where, "sort": "name", "reverse": True, **asked})  # type: ignore[arg-type]
    return "".join(entry.folder[-1] for entry in query_runs(index, query).entries)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("encoder.hidden>=64", "345"),
        ("encoder.hidden < 16", "0"),
        ("encoder.hidden=16", "1f"),
        ("encoder.hidden!=16", "02345"),
        ("encoder=bilstm", "012345f"),
        ("status=failed", "f"),
        ("status!=failed", "012345"),
        ("name=many-*", "012345"),
        ("why~no BARS", "f"),
        ("data.symbols~nasdaq", "012345f"),
        ("seeds=2", "012345f"),
        ("alarms>0", "03"),
        ("started>2026-01-01T00:04", "45"),
        ("started>2026-01-01 00:04", "45"),
        ("started<2026-02", "012345f"),
        ("stage.skip=[]", "012345f"),
        ("test/balanced_accuracy>0.7", "345"),
        ("cost=null", "012345f"),
    ],
)
def test_conditions(index: RunIndex, condition: str, kept: str) -> None:
    assert sorted(found(index, condition)) == sorted(kept)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("encoder=bilstm_8x1", "encoder is bilstm; no run has bilstm_8x1"),
        ("encoder.hidden=7", "encoder.hidden is 8, 16, 32, 64, 128, 256; no run has 7"),
        ("status=interrupted", "status is failed, finished; no run has interrupted"),
    ],
)
def test_a_condition_that_no_run_meets_is_told_with_what_there_is(index: RunIndex, condition: str, told: str) -> None:
    runs_found = query_runs(index, RunQuery(where=[condition]))
    assert not runs_found.entries and runs_found.hints == (told,)
    assert not query_runs(index, RunQuery(where=["encoder=bilstm", "alarms>9"])).hints, "each is met, or is no word"


def test_all_conditions_have_to_hold_and_names_narrow_down(index: RunIndex) -> None:
    assert found(index, "encoder.hidden>=32", "encoder.hidden<128") in ("23", "32")
    assert found(index, names=["ucr", "many-00000000000[01]"], reverse=False) == "01f"
    assert found(index, only={"many-000000000002"}) == "2"


def test_figures_are_sorted_with_the_best_first_and_those_without_last(index: RunIndex) -> None:
    def values(key: str) -> list[float]:
        listed = query_runs(index, RunQuery(sort=key, columns=(key,)))
        assert listed.entries[-1].folder == "ucr-00000000000f"
        return [listed.columns[0].values[entry.folder].value for entry in listed.entries[:-1]]

    for key in ("headline", "balanced_accuracy", "test/accuracy", "finetuned/oof/accuracy", "majority/accuracy"):
        assert values(key) == sorted(values(key), reverse=True)
    assert values("test/log_loss") == sorted(values("test/log_loss"))
    assert found(index, sort="headline", reverse=True)[-1] == "f"


def test_balanced_accuracy_out_of_fold_is_on_the_labels_as_given(index: RunIndex) -> None:
    keys = query_runs(index, RunQuery(columns=("headline", "finetuned/oof/balanced_accuracy", "oof/accuracy"))).columns
    assert keys[0].values == keys[1].values == index.figures("finetuned/given/balanced_accuracy")
    assert [key.split for key in keys] == ["given", "given", "oof"]
    assert keys[2].values == index.figures("finetuned/oof/accuracy")


def test_what_nobody_knows_is_told_in_one_go_with_near_names(index: RunIndex) -> None:
    with pytest.raises(QueryError) as caught:
        found(index, "encoder.hiden>=64", "nonsense", "headline=good", sort="test/balanced_acuracy")
    assert "did you mean 'encoder.hidden'" in caught.value.why
    assert "'nonsense' is none" in caught.value.why
    assert "a figure is compared with a number" in caught.value.why
    assert "'test/balanced_accuracy'" in caught.value.why
    with pytest.raises(DataError, match="did you mean 'many'"):
        found(index, names=["mny"])
    with pytest.raises(DataError, match="none of 7 runs has a name like it"):
        found(index, names=["qqqqqq"])
    with pytest.raises(QueryError) as caught:
        found(index, sort="nope")
    assert "order: no run has 'nope'" in caught.value.why and caught.value.way_out == "keys: `moola runs --keys`"


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("status=finishd", "did you mean 'finished'"),
        ("status!=finnished", "did you mean 'finished'"),
        ("encoder.hidden>=abc", "no encoder.hidden is above or below 'abc': one is "),
        ("encoder.hidden>>64", "two signs"),
        ("encoder.hidden=>64", "two signs"),
        ("encoder.hidden>", "is missing"),
        ("started>2026", "no started is above or below '2026': one is \"2026-01-01T"),
        ("alarms<none", "no alarms is above or below"),
        ("started>yesterday", "no started is above or below 'yesterday': one is \"2026-01-01T"),
        ("seeds=[0]", "seeds is a number, not '[0]'"),
        ("alarms!=few", "alarms is a number"),
    ],
)
def test_a_condition_that_no_run_could_meet_is_refused(index: RunIndex, condition: str, told: str) -> None:
    with pytest.raises(QueryError) as caught:
        found(index, condition)
    assert told in caught.value.why and condition in caught.value.why


def test_the_command_refuses_what_makes_no_sense(index: RunIndex, tmp_path: Path) -> None:
    place = ["--artifacts", str(index.results.parent)]
    with pytest.raises(ConfigError, match="--limit: -3 must not be negative"):
        runs.main([*place, "--limit", "-3"])
    (tmp_path / "artifacts").mkdir()
    wrong = tmp_path / "artifact"
    for look in (runs.main, dash.main, ls.main, show.main, lambda words: search.main(["ls", *words])):
        with pytest.raises(MoolaError, match=r"there is no such folder\ndid you mean '.*/artifacts'"):
            look(["--artifacts", str(wrong)])
    assert not wrong.exists()


def test_the_first_column_is_asked_for_by_its_head(index: RunIndex, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--artifacts", str(index.results.parent), "--columns", "name,status"]
    assert runs.main(place) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["name", "status"]
    assert runs.main([*place, "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "name,status"


def test_whoever_sorts_by_the_sealed_test_is_warned(results: Path, index_of: Callable[..., RunIndex]) -> None:
    write_run_folders(results, 6)
    index = index_of()
    line = {"digest": "d", "run_id": "many-000000000001", "at": ""}
    others = [line, line | {"run_id": "of-last-year"}, {"digest": "e", "run_id": "elsewhere", "at": ""}]
    (results.parent / "metadata" / "sealed_tests.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in others))
    warnings = query_runs(index, RunQuery(sort="test/accuracy")).warnings
    assert len(warnings) == 1 and warnings[0].startswith("7 runs have opened the sealed test")
    for where in (["test/accuracy>0"], ["test/accuracy>0", "test/accuracy>1", "status=finished"]):
        assert query_runs(index, RunQuery(where=where)).warnings == warnings, "however few are left"
    assert not query_runs(index, RunQuery(sort="headline", columns=("oof/accuracy",))).warnings
    write_run_folder(results, "other-windows", files={"summary.json": "", "metrics.json": "", "judged.parquet": "1"})
    index.refresh()
    assert "2 different sets of windows" in query_runs(index, RunQuery(sort="headline")).warnings[0]


def test_the_command_prints_a_table_that_fits(
    index: RunIndex, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ["--artifacts", str(index.results.parent)]
    assert runs.main([*place, "--sort", "headline", "--columns", "+encoder.hidden"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["name", "status", "balanced", "accuracy"] and lines[0].endswith("encoder.hidden")
    assert lines[7].split()[:2] == ["ucr-00000000000f", "failed"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert runs.main([*place, "--limit", "2"]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 60 for line in out.splitlines()[:4]) and "[0." in out
    assert "... and 5 more" in out and "left out, as the terminal is narrow" in out


def test_the_command_prints_json_and_csv(index: RunIndex, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--artifacts", str(index.results.parent), "--columns", "test/log_loss,encoder.hidden,status"]
    assert runs.main([*place, "--json", "--sort", "name"]) == 0
    told = json.loads(capsys.readouterr().out)
    first = next(one for one in told if one["name"] == "many-000000000000")
    assert first["encoder.hidden"] == 8 and first["test/log_loss"]["judged_on"] == "truth"
    assert next(one for one in told if one["status"] == "failed")["test/log_loss"] is None
    assert runs.main([*place, "--csv", "many"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 6 and float(rows[0]["test/log_loss/low"]) < float(rows[0]["test/log_loss"])
    assert runs.main([*place, "--keys"]) == 0
    assert "figure   majority/test/log_loss" in capsys.readouterr().out
    assert runs.main([*place, "--keys", "--json"]) == 0
    assert "majority/test/log_loss" in json.loads(capsys.readouterr().out)["figure"]
    assert runs.main([*place, "--where", "encoder=gru"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["encoder is bilstm; no run has gru"]
    assert runs.main([*place, "--columns", "started"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["name", "started,", "UTC"]


def test_the_command_tells_what_to_do_where_there_are_no_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs.main(["--artifacts", str(tmp_path), "--where", "encoder.hidden>1", "--sort", "headline"]) == 0
    assert "make one with `moola run`" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "who only looks makes no folder"


def test_the_folder_of_results_is_not_taken_for_that_above_it(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run_folders(results, 1)
    monkeypatch.chdir(results.parent.parent)
    for look in (runs.main, dash.main, ls.main):
        with pytest.raises(MoolaError, match=r"did you mean --artifacts artifacts$"):
            look(["--artifacts", "artifacts/results"])
    assert not (results / "metadata").exists()


def test_runs_of_a_sweep(index: RunIndex, capsys: pytest.CaptureFixture[str]) -> None:
    folder = index.results / "sweeps" / "hidden-0123"
    points = (Point(0, ("a=1",), "many-000000000003"), Point(1, ("a=2",), "elsewhere"))
    Sweep(folder, "run", "moola run -m a=1,2", "2026-01-01T00:00:00Z", ("a",), points).write()
    write_state(folder, PointState(1, "failed", run_folder="/x/many-000000000004"))
    place = ["--artifacts", str(index.results.parent), "--csv", "--columns", "status", "--sort", "name", "--sweep"]
    assert runs.main([*place, "hidden-0123"]) == 0
    names = [line[:17] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == ["many-000000000003", "many-000000000004"]
    assert runs.main([*place, "hid"]) == 0, "its first letters name it, as for `moola sweep show`"
    assert [line[:17] for line in capsys.readouterr().out.splitlines()[1:]] == names
    with pytest.raises(DataError, match="did you mean 'hidden-0123'"):
        runs.main([*place, "hiden-0123"])
    (folder / "sweep.json").write_text("{torn")
    with pytest.raises(StorageError, match=r"sweep\.json is not JSON"):
        runs.main([*place, "hidden-0123"])
