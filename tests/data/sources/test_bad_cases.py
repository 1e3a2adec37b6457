"""Broken files of labelled series, windows and labels: each is refused with its name, the place and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.sources.series_files import SeriesFiles
from moola.data.sources.window_table import WindowTable
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError
from moola.labels.label_file import LabelFile

FOLDER = Path(__file__).parents[1] / "bad_cases"

SERIES: dict[str, tuple[str, ...]] = {
    "ts_empty.ts": ("it is empty", "replace the file"),
    "ts_header_only.ts": ("it has a header and no cases",),
    "ts_no_data_line.ts": ("there is no @data line", "write @data between the header and the cases"),
    "ts_misspelt_header.ts": (
        "2 unknown header lines: line 4: '@univarite' (did you mean '@univariate'?)",
        "line 7: '@clasLabel' (did you mean '@classlabel' or '@targetlabel'?)",
        "there is no @classLabel line",
    ),
    "ts_header_twice.ts": ("line 5: @univariate stands in line 4 already", "keep one"),
    "ts_header_not_boolean.ts": (
        "line 5: @equalLength 'yes' is neither true nor false",
        "line 6: @seriesLength 'three' is no positive whole number",
    ),
    "ts_no_class_label.ts": ("there is no @classLabel line", "@classLabel false for cases without labels"),
    "ts_classes_not_named.ts": ("line 7: @classLabel 'true' names no classes", "@classLabel true A B C"),
    "ts_timestamps.ts": ("line 2: @timeStamps true: times beside the values are not read", "@timeStamps false"),
    "ts_target_label.ts": ("line 7: @targetLabel true: numbers instead of classes", "choose a set"),
    "ts_text_above_data.ts": ("1 lines above @data that are no header: line 8: 'a'", "begin comments with #"),
    "ts_case_behind_data.ts": ("line 8: @data has something behind it", "on the next line"),
    "ts_unknown_label.ts": ("labels that @classLabel does not name: line 11: 'upp' (did you mean 'up'?)",),
    "ts_missing_label.ts": ("2 cases without a label: line 11; line 12", "end each case with :LABEL"),
    "ts_text_in_numbers.ts": (
        "3 values that are no numbers: line 11, dimension 1, value 2: 'two'",
        "line 12, dimension 1, value 2: '1_000'",
        "line 13, dimension 1, value 3: '0x3'",
    ),
    "ts_missing_values.ts": (
        "3 missing values: line 9, dimension 1, value 2: '?'; line 11, dimension 1, value 1: 'NaN'; line 11,",
        "moola makes no values up",
    ),
    "ts_infinite.ts": (
        "1 values that are not finite: line 9, dimension 1, value 2: 'inf'",
        "2 values too large for a 32-bit number: line 10, dimension 1, value 2: '1e999'",
    ),
    "ts_not_equal_length.ts": ("2 cases that break @equalLength true: line 11 has 2 steps, @seriesLength says 3",),
    "ts_series_length.ts": ("2 cases that break @equalLength true: line 9 has 3 steps, @seriesLength says 30",),
    "ts_unequal.ts": (
        "from 2 to 3 steps",
        "line 10 has 2",
        "data.unequal=pad (1 steps added to 1 of 3 cases",
        "data.unequal=truncate (2 steps cut from 2 cases)",
    ),
    "ts_dimensions.ts": ("2 cases with another number of dimensions: line 11 has 1, the header says 2; line 12 has 3",),
    "ts_dimensions_contradict.ts": ("line 5: @univariate true contradicts @dimensions 2", "mend the header"),
    "ts_dimensions_differ_in_length.ts": ("1 cases whose dimensions differ in length: line 11: 3, 2 values",),
    "ts_utf16.ts": ("line 1 is UTF-16 text", "save the file as UTF-8"),
    "ts_latin1.ts": ("line 8 is no UTF-8 text", "save the file as UTF-8"),
    "ts_truncated.ts.gz": ("the gzip file is broken off or damaged after line", "copy the file again"),
    "ts_not_gzip.ts.gz": ("the gzip file is broken off or damaged after line 0", "copy the file again"),
    "tsv_commas.tsv": ("1 lines without a tab: line 2: 'down,4,5,6'", "separate label and values by tabs"),
    "tsv_decimal_commas.tsv": ("1 values that are no numbers: line 1, value 1: '1,5'", "write numbers such as"),
    "tsv_header.tsv": ("line 1 is a header", "remove it"),
    "tsv_no_label.tsv": ("1 cases without a label: line 2", "begin each line with the label"),
    "tsv_unequal.tsv": ("from 2 to 3 steps", "line 2 has 2", "data.unequal=pad"),
    "tsv_gap.tsv": ("2 missing values: line 1, value 2: 'NaN'; line 2, value 2: ''", "moola makes no values up"),
    "tsv_no_values.tsv": ("1 cases without values: line 2", "remove these lines"),
    "csv_no_header.csv": ("line 1 is not the header label,t0,t1,...: '1,0.5,0.25,0.125'",),
    "csv_columns_out_of_order.csv": ("line 1: column 3 is 't2', no step in order",),
    "csv_ragged.csv": ("1 lines with another number of cells than the header: line 3 has 3, the header 4",),
    "csv_header_only.csv": ("it has a header and no cases",),
}

WINDOWS: dict[str, tuple[str, ...]] = {
    "windows_nested_3_bars.jsonl": ("1 windows of another length than 4 bars: line 5 (9_exp_1) has 3", "data.length="),
    "windows_nested_6_channels.jsonl": (
        "1 bars with another number of values than 4 (open, high, low, close): line 5 (9_exp_1), bar 1 has 6",
    ),
    "windows_flat_15_values.jsonl": ("another number of values than 4 x 4 = 16: line 6 (10_exp_1) has 15",),
    "windows_nulls_and_text.jsonl": (
        "1 values that are null: line 5 (9_exp_1), bar 1, high: None",
        "2 values that are no numbers: line 5 (9_exp_1), bar 3, open: '1.0'; line 5 (9_exp_1), bar 3, close: True",
    ),
    "windows_not_finite.jsonl": (
        "2 values that are not finite: line 5 (9_exp_1), bar 1, high: nan; line 5 (9_exp_1), bar 1, close: inf",
        "1 values too large for a 32-bit number: line 5 (9_exp_1), bar 3, open",
    ),
    "windows_twice.jsonl": ("1 windows given more than once: 0_exp_1 (line 1, line 5)", "keep one row a window"),
    "windows_unknown_label.jsonl": ("unknown labels (classes: up, down, flat): 'upp' in line 5; did you mean 'up'?",),
    "windows_without_label.jsonl": ("2 rows without a window_id or label: line 5; line 6",),
    "windows_without_id.jsonl": ("1 rows without a window_id or label: line 5",),
    "windows_class_with_one_member.jsonl": ("1 classes with one window only: 'flat' in line 5", "at least two"),
    "windows_pointers.jsonl": (
        "1 expansion_start that are no whole numbers: line 8: '1.5'",
        "1 windows with one of expansion_start and expansion_end: line 9 (9_exp_1): 1 to nothing",
        "lies outside the zone [1, 3]: line 5 (5_exp_1): 0 to 2; line 6 (6_exp_1): 1 to 4",
        "1 windows whose expansion_start is not before expansion_end: line 7 (7_exp_1): 3 to 3",
        "1 windows whose expansion_start is not pointer_start + 1: line 10: 1 and 1",
    ),
    "windows_no_json.jsonl": (
        "2 lines that are not JSON: line 5",
        "line 7: a key stands twice in it",
        "1 lines that hold no JSON object: line 6",
    ),
    "windows_split.jsonl": ("1 splits that are neither train nor test: line 5 (9_exp_1): 'valid'",),
    "windows_without_features.jsonl": ("4 rows without the column 'features': line 1", "data.features=COLUMN"),
    "windows_header_only.jsonl": ("it holds no windows",),
    "windows_wide_column_missing.parquet": ("4 rows with columns lacking: row 1 (0_exp_1): low_3, close_3",),
    "windows_wide_null.parquet": ("1 values that are null: row 3 (2_exp_1), bar 2, high: None",),
    "windows_truncated.parquet": ("it is no whole Parquet file", "copy or write the file again"),
    "windows_text.parquet": ("64 values that are no numbers: row 1 (0_exp_1), bar 0, open: '1'", "; ..."),
}

LABELS: dict[str, tuple[str, ...]] = {
    "labels_empty.csv": ("it is empty", "write a header window_id,label"),
    "labels_header_only.csv": ("it holds no labels",),
    "labels_no_header.csv": ("column 'window_id' is missing", "begin the file with the header window_id,label"),
    "labels_semicolons.csv": ("its cells are separated by ';'", "separate them by commas"),
    "labels_unknown_window.csv": ("1 labels for windows that do not exist: s0_000007 (line 6); did you mean 's0_0000",),
    "labels_window_twice.csv": ("1 windows given more than once: s0_0000002 (line 4, line 7)",),
    "labels_empty_label.csv": ("2 rows without a window_id or label: line 6; line 7",),
    "labels_unknown_label.csv": ("1 unknown labels (classes: up, down, flat): 'upp' in line 6; did you mean 'up'?",),
    "labels_class_with_one_member.csv": ("1 classes with one window only: 'flat' in line 6",),
    "labels_ragged.csv": (
        "2 lines with another number of cells than the header: line 6 has 1, the header 2; line 7 has 3",
    ),
    "labels_open_quote.csv": ("line 6 is no CSV", "mend the quotes"),
    "labels_pointers.csv": (
        "2 expansion_start that are no whole numbers: line 8: '2.5'; line 9: 'two'",
        "1 windows with one of expansion_start and expansion_end: line 10 (s0_0000008): 3 to nothing",
        "lies outside the zone [2, 4]: line 5 (s0_0000003): 1 to 3; line 6 (s0_0000004): 2 to 5",
        "1 windows whose expansion_start is not before expansion_end: line 7 (s0_0000005): 4 to 2",
    ),
    "labels_grades.csv": ("1 grades in quality that are none of A, B, C, D: line 5: 'E'",),
    "labels_column_twice.csv": ("column 'label' stands twice in the header", "keep one of them"),
    "labels_broken_line_numbers.csv": ("windows that do not exist: s0_9999999 (line 5)",),
    "labels_text.parquet": ("it is no whole Parquet file", "copy or write the file again"),
}


def expect(error: DataError, file: str, words: tuple[str, ...]) -> None:
    told = str(error)
    assert file in told
    assert error.way_out
    for word in words:
        assert word in told, f"{word!r} is not in:\n{told}"


def test_every_bad_file_is_in_a_table_and_the_other_way_round() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*SERIES, *WINDOWS, *LABELS}


@pytest.mark.parametrize("file", SERIES)
def test_a_broken_series_file_is_refused(file: str) -> None:
    with pytest.raises(DataError) as caught:
        SeriesFiles(str(FOLDER / file)).scan()
    expect(caught.value, file, SERIES[file])


@pytest.mark.parametrize("file", WINDOWS)
def test_a_broken_window_table_is_refused(file: str) -> None:
    with pytest.raises(DataError) as caught:
        WindowTable(str(FOLDER / file), length=4, zone=(1, 4), classes=("up", "down", "flat")).scan()
    expect(caught.value, file, WINDOWS[file])


@pytest.mark.parametrize("file", LABELS)
def test_a_broken_label_file_is_refused(file: str, store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(25))
    windows = WindowIndex.build(store, WindowConfig(length=6, visible=5, zone=(2, 5)))
    with pytest.raises(DataError) as caught:
        LabelFile(str(FOLDER / file), ("up", "down", "flat")).label(store, windows, windows.table(store))
    expect(caught.value, file, LABELS[file])
