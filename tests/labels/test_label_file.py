"""Labels of one's own: what is read, and what each kind of broken file is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError
from moola.labels import WindowLabels
from moola.labels.case_labels import CaseLabels
from moola.labels.label_file import LabelFile

Labelling = Callable[[str | bytes | None], WindowLabels]


@pytest.fixture
def label(tmp_path: Path, store_of: Callable[..., BarStore]) -> Labelling:
    """Labels of four windows, s0_0000000 to s0_0000003, from the content of a file."""
    store = store_of(np.arange(6))
    windows = WindowIndex.build(store, WindowConfig(length=3))

    def run(content: str | bytes | None) -> WindowLabels:
        path = tmp_path / "labels.csv"
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return LabelFile(str(path)).label(store, windows, windows.table(store))

    return run


def refused(label: Labelling, content: str | bytes | None) -> DataError:
    with pytest.raises(DataError) as caught:
        label(content)
    assert caught.value.way_out
    return caught.value


def test_labels_stand_at_their_windows_and_the_rest_has_none(label: Labelling) -> None:
    labels = label("note,label,window_id\nx,up,s0_0000002\n,down,s0_0000000\n")
    assert labels.values.to_list() == ["down", None, "up", None]
    assert labels.classes == ("down", "up")
    assert not labels.from_rule


def test_labels_that_look_like_numbers_stay_text(label: Labelling) -> None:
    labels = label("window_id,label\ns0_0000000,01\ns0_0000001,1\n")
    assert labels.classes == ("01", "1")


def test_an_unknown_window_is_told_with_the_near_name(label: Labelling) -> None:
    why = refused(label, "window_id,label\ns0_000002,up\ns0_0000000,up\n").why
    assert why.startswith("- 1 labels for windows that do not exist: s0_000002; did you mean 's0_0000002'")


def test_every_problem_is_told_at_once(label: Labelling) -> None:
    content = "window_id,label\na,up\nb,up\n,up\ns0_0000001,\ns0_0000000,up\ns0_0000000,down\n"
    assert refused(label, content).why.splitlines() == [
        "- 2 rows without a window_id or label",
        "- 2 labels for windows that do not exist: a, b",
        "- 1 windows with more than one label: s0_0000000",
    ]


@pytest.mark.parametrize("row", ['"",up', ",up", "s0_0000000,", 's0_0000000,""'])
def test_an_empty_name_or_label_is_told_also_twice(label: Labelling, row: str) -> None:
    assert "1 rows without a window_id or label" in refused(label, f"window_id,label\n{row}\n").why
    assert "2 rows without a window_id or label" in refused(label, f"window_id,label\n{row}\n{row}\n").why


def test_the_same_window_twice_is_told_also_with_the_same_label(label: Labelling) -> None:
    content = "window_id,label\ns0_0000000,up\ns0_0000000,up\n"
    assert refused(label, content).why == "- 1 windows with more than one label: s0_0000000"


def test_a_missing_column_is_told_with_the_near_name(label: Labelling) -> None:
    assert refused(label, "window,label\ns0_0000000,up\n").why == (
        "- column 'window_id' is missing; did you mean 'window'?"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "there is no label file"),
        (b"", "is not a readable CSV file"),
        (b"\xff\xfe\x00" + bytes(range(256)), "is not a readable CSV file"),
        ("window_id,label\n", "cannot be used"),
    ],
    ids=["missing", "empty", "junk", "header only"],
)
def test_a_file_without_labels_is_told(label: Labelling, content: str | bytes | None, what: str) -> None:
    assert what in refused(label, content).what


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    labels = LabelFile(str(tmp_path / "labels.csv"))
    assert labels.fingerprint() == ""
    (tmp_path / "labels.csv").write_text("a")
    first = labels.fingerprint()
    (tmp_path / "labels.csv").write_text("b")
    assert len({"", first, labels.fingerprint()}) == 3


def test_cases_bring_their_own_labels(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(4), np.arange(4), np.arange(4), independent=True)
    windows = WindowIndex.build(store, WindowConfig(length=3))
    object.__setattr__(store, "series_label", ("2", "1", "2"))
    labels = CaseLabels().label(store, windows, windows.table(store))
    assert labels.values.to_list() == ["2", "2", "1", "1", "2", "2"]
    assert labels.classes == ("1", "2")
    object.__setattr__(store, "series_label", ("2", None, "2"))
    with pytest.raises(DataError, match="series 's1' has none"):
        CaseLabels().label(store, windows, windows.table(store))
