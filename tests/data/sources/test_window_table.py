"""Windows cut before: every layout gives the same bars, and what was marked in a window never becomes one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moola.data.sources import window_table
from moola.data.sources.window_table import WindowTable
from moola.errors import ConfigError, DataError
from moola.schemas import OHLC
from moola.testing import check_source

LENGTH, N = 105, 6
VALUES = np.sort(np.random.default_rng(5).uniform(1.0, 2.0, (N, LENGTH, 4)).round(4))[..., [1, 3, 0, 2]]
IDS = [f"{100 + i}_exp_{i % 2 + 1}" for i in range(N)]
LABELS = ["consolidation", "retracement"] * (N // 2)
MARKED: dict[str, Any] = {"expansion_start": 30, "expansion_end": 74, "window_quality": "B", "source": "by hand"}


def columns(layout: str) -> list[dict[str, Any]]:
    """Rows in one of the layouts: nested, flat, wide."""
    if layout == "wide":
        names = [f"{channel}_{bar}" for bar in range(LENGTH) for channel in OHLC]
        cells = [dict(zip(names, window.ravel().tolist(), strict=True)) for window in VALUES]
    else:
        cells = [{"features": (window if layout == "nested" else window.ravel()).tolist()} for window in VALUES]
    named = zip(IDS, LABELS, cells, strict=True)
    return [{"window_id": name, "label": label, **MARKED, **row} for name, label, row in named]


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"windows.{kind}"
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def refused(source: WindowTable) -> str:
    with pytest.raises(DataError) as caught:
        source.scan()
    assert caught.value.way_out
    return caught.value.why


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("layout", ["nested", "flat", "wide"])
def test_every_layout_gives_the_same_bars(tmp_path: Path, layout: str, kind: str) -> None:
    features = None if layout == "wide" else "features"
    source = WindowTable(write(tmp_path, kind, columns(layout)), features=features)
    scan = source.scan()
    assert scan.channels == OHLC
    assert scan.independent
    assert scan.series is not None
    assert scan.series.rows() == [(name, None, label) for name, label in zip(IDS, LABELS, strict=True)]
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    assert frame.columns == ["series", "timestamp", *OHLC]
    assert np.array_equal(frame.select(OHLC).to_numpy().reshape(N, LENGTH, 4), VALUES)
    assert frame["series"].to_list() == [name for name in IDS for _ in range(LENGTH)]
    assert frame["timestamp"].dt.epoch("us").to_list() == list(range(LENGTH)) * N
    assert scan.notes == (f"columns that are not bars: {', '.join(sorted(['window_id', 'label', *MARKED]))}",)


def test_wide_columns_are_found_by_name_and_not_by_position(tmp_path: Path) -> None:
    rows = [dict(reversed(list(row.items()))) for row in columns("wide")]
    frame = pl.concat(chunk.frame for chunk in WindowTable(write(tmp_path, "parquet", rows)).scan().chunks)
    assert np.array_equal(frame.select(OHLC).to_numpy().reshape(N, LENGTH, 4), VALUES)


def test_window_tables_keep_the_source_suite(tmp_path: Path) -> None:
    check_source(WindowTable(write(tmp_path, "parquet", columns("nested"))))


@pytest.mark.parametrize("name", ["expansion_start", "pointer_end", "label", "window_quality", "series"])
def test_what_was_marked_in_a_window_cannot_be_made_an_input(name: str) -> None:
    with pytest.raises(ConfigError, match=f"channels: .*{name}.* no model may see it"):
        WindowTable("a.parquet", channels=(*OHLC, name))


def test_pointers_beside_the_prices_of_a_bar_are_refused(tmp_path: Path) -> None:
    rows = columns("nested")
    rows[2]["features"] = [[*bar, 30.0, 74.0] for bar in rows[2]["features"]]
    why = refused(WindowTable(write(tmp_path, "jsonl", rows)))
    assert f"105 bars with another number of values than 4 (open, high, low, close): line 3 ({IDS[2]})" in why


def test_a_layout_asked_for_is_not_guessed(tmp_path: Path) -> None:
    nested, flat = (write(tmp_path, kind, columns(kind2)) for kind, kind2 in (("jsonl", "nested"), ("parquet", "flat")))
    assert "6 windows that are not flat" in refused(WindowTable(nested, layout="flat"))
    assert "6 windows that are not nested" in refused(WindowTable(flat, layout="nested"))
    assert WindowTable(nested, layout="nested").scan().series is not None
    assert WindowTable(flat, layout="flat").scan().series is not None


def test_a_list_and_wide_columns_together_are_refused(tmp_path: Path) -> None:
    rows = [{**one, **other} for one, other in zip(columns("flat"), columns("wide"), strict=True)]
    path = write(tmp_path, "parquet", rows)
    assert "6 rows with 'features' and columns such as open_0" in refused(WindowTable(path))
    assert "features" in WindowTable(path, features=None).scan().notes[0]


def test_a_longer_window_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet", columns("wide"))
    why = refused(WindowTable(path, length=104))
    assert "rows with columns beyond data.length=104: row 1 (100_exp_1): close_104, high_104, low_104 and 1 more" in why


@pytest.mark.parametrize("n_bars", [104, 106])
def test_a_window_of_another_length_is_refused(tmp_path: Path, n_bars: int) -> None:
    rows = columns("nested")
    rows[0]["features"] = (rows[0]["features"] * 2)[:n_bars]
    assert f"line 1 ({IDS[0]}) has {n_bars}" in refused(WindowTable(write(tmp_path, "jsonl", rows)))


def test_splits_are_taken_over(tmp_path: Path) -> None:
    rows = [{**row, "split": split} for row, split in zip(columns("flat"), ["train", "test", None] * 2, strict=True)]
    series = WindowTable(write(tmp_path, "parquet", rows)).scan().series
    assert series is not None
    assert series["split"].to_list() == ["train", "test", None] * 2


def test_windows_without_labels_are_read_when_asked_for(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "label"} for row in columns("flat")]
    path = write(tmp_path, "parquet", rows)
    series = WindowTable(path, label=None).scan().series
    assert series is not None
    assert series["label"].null_count() == N
    assert refused(WindowTable(path)).startswith("- windows.parquet: there is no column 'label'")


def test_another_label_column_can_be_named(tmp_path: Path) -> None:
    rows = [{**row, "pattern": "a"} for row in columns("flat")]
    series = WindowTable(write(tmp_path, "parquet", rows), label="pattern").scan().series
    assert series is not None
    assert set(series["label"]) == {"a"}


def test_bars_labels_and_pointers_are_told_in_one_go(tmp_path: Path) -> None:
    rows = columns("nested")
    rows[0]["features"][7][1] = None
    rows[1]["label"] = "reversal"
    rows[2]["expansion_end"] = 75
    rows[3]["window_id"] = IDS[4]
    why = refused(WindowTable(write(tmp_path, "jsonl", rows), classes=("consolidation", "retracement")))
    assert len(why.splitlines()) == 4
    for word in ("bar 7, high", "'reversal' in line 2", "[30, 74]: line 3 (102_exp_1): 30 to 75", "(line 4, line 5)"):
        assert word in why


def test_chunks_hold_whole_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_table, "_CHUNK_WINDOWS", 4)
    chunks = list(WindowTable(write(tmp_path, "parquet", columns("flat"))).scan().chunks)
    assert [chunk.frame.height for chunk in chunks] == [4 * LENGTH, 2 * LENGTH]
    assert [chunk.first_row for chunk in chunks] == [1, 4 * LENGTH + 1]
    assert np.array_equal(pl.concat(c.frame for c in chunks).select(OHLC).to_numpy().reshape(N, LENGTH, 4), VALUES)


def test_a_missing_file_and_one_of_another_kind_are_told(tmp_path: Path) -> None:
    write(tmp_path, "parquet", columns("flat"))
    with pytest.raises(DataError, match=r"there is no file .*\ndid you mean 'windows\.parquet'\?\n.*data\.path="):
        WindowTable(str(tmp_path / "windows.parqet")).scan()
    (tmp_path / "windows.csv").write_text("window_id,label\n")
    assert "its name ends in '.csv'" in refused(WindowTable(str(tmp_path / "windows.csv")))


def test_settings_that_contradict_themselves_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        WindowTable("a", "nested", None, (), 1, (3, 2))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["channels", "length", "zone", "features"]


CELL = st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=2), st.just(10**400))
GOOD = st.floats(width=32, allow_nan=False, allow_infinity=False)
BARS = st.one_of(
    st.lists(st.lists(GOOD, min_size=2, max_size=2), min_size=2, max_size=2),
    st.lists(GOOD, min_size=4, max_size=4),
    st.lists(st.one_of(CELL, st.lists(CELL, max_size=3)), max_size=5),
    CELL,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BARS, min_size=1, max_size=3))
def test_any_json_is_read_exactly_or_refused(tmp_path: Path, windows: list[Any]) -> None:
    rows = [{"window_id": f"w{i}", "features": bars} for i, bars in enumerate(windows)]
    source = WindowTable(write(tmp_path, "jsonl", rows), channels=("x", "y"), length=2, zone=(0, 2), label=None)
    try:
        chunks = list(source.scan().chunks)
    except DataError:
        return
    found = pl.concat(chunk.frame for chunk in chunks).select("x", "y").to_numpy().ravel().tolist()
    wanted = [value for bars in windows for bar in bars for value in (bar if isinstance(bar, list) else [bar])]
    assert found == [float(value) for value in wanted]
