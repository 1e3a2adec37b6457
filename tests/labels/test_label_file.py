"""Labels of one's own: what is read, and what each kind of broken file is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.labels import WindowLabels
from moola.labels.case_labels import CaseLabels
from moola.labels.label_file import LabelFile

Labelling = Callable[..., WindowLabels]
FOUR = "window_id,label\ns0_0000000,down\ns0_0000001,up\ns0_0000002,up\ns0_0000003,down\n"


@pytest.fixture
def label(tmp_path: Path, store_of: Callable[..., BarStore]) -> Labelling:
    """Labels of four windows, s0_0000000 to s0_0000003, from the content of a file."""
    store = store_of(np.arange(8))
    windows = WindowIndex.build(store, WindowConfig(length=5, visible=4, zone=(1, 4)))

    def run(content: str | bytes | None, classes: tuple[str, ...] | None = None) -> WindowLabels:
        path = tmp_path / "labels.csv"
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return LabelFile(str(path), classes).label(store, windows, windows.table(store))

    return run


def refused(label: Labelling, content: str | bytes | None) -> DataError:
    with pytest.raises(DataError) as caught:
        label(content)
    assert caught.value.way_out
    return caught.value


def test_labels_stand_at_their_windows_and_the_rest_has_none(label: Labelling) -> None:
    labels = label("note,label,window_id\nx,up,s0_0000002\n,up,s0_0000000\n")
    assert labels.values.to_list() == ["up", None, "up", None]
    assert labels.classes == ("up",)
    assert not labels.from_rule


def test_classes_stand_in_the_order_given_else_alphabetically(label: Labelling) -> None:
    assert label(FOUR).classes == ("down", "up")
    assert label(FOUR, ("up", "down")).classes == ("up", "down")
    assert label(FOUR, ("up", "flat", "down")).classes == ("up", "flat", "down")


@pytest.mark.parametrize(
    "content",
    ["\ufeff" + FOUR, FOUR.replace("\n", "\r\n"), FOUR.replace("\n", "\n\n"), FOUR.replace(",", " , "), FOUR[:-1]],
    ids=["BOM", "CRLF", "empty lines", "spaces", "no last line end"],
)
def test_the_same_labels_in_every_form_are_the_same(label: Labelling, content: str) -> None:
    assert label(content).values.to_list() == ["down", "up", "up", "down"]


def test_parquet_gives_the_same_labels_and_rows_are_numbered(tmp_path: Path, store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(8))
    windows = WindowIndex.build(store, WindowConfig(length=5, visible=4, zone=(1, 4)))
    frame = pl.read_csv(FOUR.encode()).with_columns(expansion_start=1, expansion_end=pl.Series([3, 2, 3, 2]))
    frame.write_parquet(tmp_path / "labels.parquet")
    file = LabelFile(str(tmp_path / "labels.parquet"))
    assert file.label(store, windows, windows.table(store)).values.to_list() == ["down", "up", "up", "down"]
    frame.with_columns(expansion_end=pl.Series([3, 2, 4, 2])).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"outside the zone \[1, 3\]: row 3 \(s0_0000002\): 1 to 4"):
        file.label(store, windows, windows.table(store))
    frame.with_columns(label=pl.Series([0.0, 1.0, 1.0, 0.0])).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(DataError, match="column 'label' holds Float64"):
        file.label(store, windows, windows.table(store))


def test_pointers_inside_the_zone_are_accepted_and_change_no_label(label: Labelling) -> None:
    rows = FOUR.replace("label", "label,expansion_start,expansion_end,pointer_start,pointer_end", 1).splitlines()
    marks = [",1,3,0,2", ",1.0,2.0,0,1", ",,,,", ",2,3,,"]
    with_marks = "\n".join([rows[0], *(row + mark for row, mark in zip(rows[1:], marks, strict=True))])
    assert label(with_marks).values.equals(label(FOUR).values)


def test_a_class_with_one_member_is_refused_by_name(label: Labelling) -> None:
    why = refused(label, FOUR.replace("3,down", "3,flat")).why
    assert why.splitlines() == [
        "- 2 classes with one window only: 'down' in line 2; 'flat' in line 5",
    ]


def test_classes_must_be_two_different_ones() -> None:
    for classes in ((), ("a",), ("a", "a")):
        with pytest.raises(ConfigError, match="classes: "):
            LabelFile("labels.csv", classes)


def test_labels_that_look_like_numbers_stay_text(label: Labelling) -> None:
    labels = label("window_id,label\ns0_0000000,01\ns0_0000001,1\ns0_0000002,01\ns0_0000003,1\n")
    assert labels.classes == ("01", "1")


def test_an_unknown_window_is_told_with_the_near_name(label: Labelling) -> None:
    why = refused(label, "window_id,label\ns0_000002,up\ns0_0000000,up\n").why
    assert why.startswith("- 1 labels for windows that do not exist: s0_000002 (line 2); did you mean 's0_0000002'")


def test_every_problem_is_told_at_once(label: Labelling) -> None:
    content = "window_id,label\na,up\nb,up\n,up\ns0_0000001,\ns0_0000000,up\ns0_0000000,down\n"
    assert refused(label, content).why.splitlines() == [
        "- 2 rows without a window_id or label: line 4; line 5",
        "- 1 windows given more than once: s0_0000000 (line 6, line 7)",
        "- 1 classes with one window only: 'down' in line 7",
        "- 2 labels for windows that do not exist: a (line 2); b (line 3)",
    ]


@pytest.mark.parametrize("row", ['"",up', ",up", "s0_0000000,", 's0_0000000,""'])
def test_an_empty_name_or_label_is_told_also_twice(label: Labelling, row: str) -> None:
    assert "1 rows without a window_id or label" in refused(label, f"window_id,label\n{row}\n").why
    assert "2 rows without a window_id or label" in refused(label, f"window_id,label\n{row}\n{row}\n").why


def test_the_same_window_twice_is_told_also_with_the_same_label(label: Labelling) -> None:
    content = "window_id,label\ns0_0000000,up\ns0_0000000,up\n"
    assert refused(label, content).why == "- 1 windows given more than once: s0_0000000 (line 2, line 3)"


def test_a_missing_column_is_told_with_the_near_name(label: Labelling) -> None:
    assert refused(label, "window,label\ns0_0000000,up\n").why == (
        "- column 'window_id' is missing; did you mean 'window'?"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "there is no label file"),
        (b"", "it is empty"),
        (b"\xff\xfe\x00" + bytes(range(256)), "line 1 is UTF-16 text"),
        (bytes(range(128, 256)), "line 1 is no UTF-8 text"),
        ("window_id,label\n", "it holds no labels"),
        ("window_id,label\n" + "x" * 200_000 + ",up\n", "line 2 is no CSV"),
    ],
    ids=["missing", "empty", "UTF-16", "junk", "header only", "huge line"],
)
def test_a_file_without_labels_is_told(label: Labelling, content: str | bytes | None, what: str) -> None:
    assert what in str(refused(label, content))


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    labels = LabelFile(str(tmp_path / "labels.csv"))
    assert labels.fingerprint() == ""
    (tmp_path / "labels.csv").write_text("a")
    first = labels.fingerprint()
    (tmp_path / "labels.csv").write_text("b")
    assert len({"", first, labels.fingerprint()}) == 3


def test_cases_bring_their_own_labels(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(4), np.arange(3), np.arange(3), np.arange(3), independent=True)
    windows = WindowIndex.build(store, WindowConfig(length=3))
    object.__setattr__(store, "series_label", ("2", "1", "2", "1"))
    labels = CaseLabels().label(store, windows, windows.table(store))
    assert labels.values.to_list() == ["2", "2", "1", "2", "1"]
    assert labels.classes == ("1", "2")
    object.__setattr__(store, "series_label", ("2", None, "2", "1"))
    with pytest.raises(DataError, match="1 of 4 series have none, the first is 's1'"):
        CaseLabels().label(store, windows, windows.table(store))


def test_a_class_with_one_case_only_is_refused_by_name(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(4), np.arange(4), np.arange(4), independent=True)
    windows = WindowIndex.build(store, WindowConfig(length=3))
    object.__setattr__(store, "series_label", ("2", "1", "2"))
    with pytest.raises(DataError, match=r"one series only\n- '1' \(s1\)"):
        CaseLabels().label(store, windows, windows.table(store))
