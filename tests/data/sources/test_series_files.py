"""UCR/UEA files: what is read is what stands there, and everything else is refused."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from moola.data.sources import series_files
from moola.data.sources.problems import Problems
from moola.data.sources.series_files import SeriesFiles
from moola.data.sources.ts_format import Case, read_cases
from moola.errors import ConfigError, DataError
from moola.testing import check_source

SHARED = Path(__file__).parents[3] / "../shared/data"
HEAD = "@problemName Tiny\n@univariate true\n@equalLength false\n@classLabel true up down\n@data\n"
TWO = HEAD.replace("@univariate true", "@univariate false\n@dimensions 2")


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def frame_of(source: SeriesFiles) -> pl.DataFrame:
    return pl.concat(chunk.frame for chunk in source.scan().chunks)


def test_series_files_keep_the_source_suite(tmp_path: Path) -> None:
    train = write(tmp_path, "a_TRAIN.ts", TWO + "1,2:3,4:up\n5,6:7,8:down\n")
    check_source(SeriesFiles(train, write(tmp_path, "a_TEST.ts", TWO + "9,1:2,3:up\n")))
    check_source(SeriesFiles(train))


def test_cases_are_series_with_split_label_and_one_column_a_dimension(tmp_path: Path) -> None:
    train = write(tmp_path, "tiny_TRAIN.ts", TWO + "1,2:3,4:up\n\n# a remark\n5,6:7,8:down\n")
    test = write(tmp_path, "tiny_TEST.ts", TWO + "9,1:2,3:up\n")
    scan = SeriesFiles(train, test).scan()
    assert scan.series is not None
    assert scan.independent
    assert scan.series.rows() == [
        ("tiny_train_00000", "train", "up"),
        ("tiny_train_00001", "train", "down"),
        ("tiny_test_00000", "test", "up"),
    ]
    rows = pl.concat(chunk.frame for chunk in scan.chunks)
    assert rows.columns == ["series", "timestamp", "channel_0", "channel_1"]
    assert rows.select(pl.col("timestamp").dt.epoch("us"), "channel_0", "channel_1").rows() == [
        (0, 1.0, 3.0),
        (1, 2.0, 4.0),
        (0, 5.0, 7.0),
        (1, 6.0, 8.0),
        (0, 9.0, 2.0),
        (1, 1.0, 3.0),
    ]


def test_without_a_test_file_no_case_belongs_to_a_split(tmp_path: Path) -> None:
    series = SeriesFiles(write(tmp_path, "mine.tsv", "up\t1\t2\ndown\t3\t4\n")).scan().series
    assert series is not None
    assert series.rows() == [("mine_00000", None, "up"), ("mine_00001", None, "down")]


def test_cases_without_labels_have_none(tmp_path: Path) -> None:
    content = "@univariate true\n@classLabel false\n@data\n1,2\n3,4\n"
    series = SeriesFiles(write(tmp_path, "a.ts", content)).scan().series
    assert series is not None
    assert series["label"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ts", "\ufeff" + HEAD + "1,2:up\n3,4:down\n"),
        ("a.ts", (HEAD + "1,2:up\n3,4:down\n").replace("\n", "\r\n")),
        ("a.ts", HEAD.upper().replace("UP DOWN", "up down") + " 1 , 2 : up\n3,4:down"),
        ("a.tsv", "up\t1\t2\ndown\t3\t4\n"),
        ("a.tsv.gz", gzip.compress(b"up\t1\t2\ndown\t3\t4\n")),
        ("a.csv", "label,t0,t1\nup,1,2\ndown,3,4\n"),
        ("a.csv", "\ufefflabel,t1,t2\nup,1,2\n\ndown,3,4"),
    ],
    ids=["BOM", "CRLF", "capitals and spaces", "tsv", "gzip", "csv", "csv from 1"],
)
def test_the_same_cases_in_every_form_are_the_same(tmp_path: Path, name: str, content: str | bytes) -> None:
    source = SeriesFiles(write(tmp_path, name, content))
    series = source.scan().series
    assert series is not None
    assert series["label"].to_list() == ["up", "down"]
    assert frame_of(source)["channel_0"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_padding_goes_on_with_the_last_value_and_truncating_cuts_the_end(tmp_path: Path) -> None:
    train = write(tmp_path, "a.ts", TWO + "1,2,3:4,5,6:up\n7:8:down\n")
    padded, cut = SeriesFiles(train, unequal="pad"), SeriesFiles(train, unequal="truncate")
    assert frame_of(padded)["channel_0"].to_list() == [1.0, 2.0, 3.0, 7.0, 7.0, 7.0]
    assert frame_of(padded)["channel_1"].to_list() == [4.0, 5.0, 6.0, 8.0, 8.0, 8.0]
    assert frame_of(cut).select("channel_0", "channel_1").rows() == [(1.0, 4.0), (7.0, 8.0)]
    assert padded.scan().notes == ("2 steps were added to 1 of 2 cases, each its last value: they are now of 3 steps",)
    assert cut.scan().notes == ("2 steps were cut from 1 of 2 cases, which are now of 1 steps",)
    assert SeriesFiles(write(tmp_path, "b.ts", TWO + "1,2,3:4,5,6:up\n4,5,6:7,8,9:down\n")).scan().notes == ()


def test_both_files_are_made_equal_to_each_other(tmp_path: Path) -> None:
    train = write(tmp_path, "a_TRAIN.tsv", "up\t1\t2\ndown\t3\t4\n")
    test = write(tmp_path, "a_TEST.tsv", "up\t5\t6\t7\n")
    assert frame_of(SeriesFiles(train, test, "pad"))["channel_0"].to_list() == [1, 2, 2, 3, 4, 4, 5, 6, 7]
    with pytest.raises(DataError, match="from 2 to 3 steps"):
        SeriesFiles(train, test).scan()


def test_chunks_hold_whole_cases_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_files, "_CHUNK_BARS", 7)
    source = SeriesFiles(write(tmp_path, "a.tsv", "".join(f"a\t{i}\t{i}\t{i}\n" for i in range(5))))
    chunks = list(source.scan().chunks)
    assert [chunk.frame.height for chunk in chunks] == [6, 6, 3]
    assert [chunk.first_row for chunk in chunks] == [1, 7, 13]
    rows = pl.concat(chunk.frame for chunk in chunks)
    assert rows["channel_0"].to_list() == [i for i in range(5) for _ in range(3)]


def test_problems_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    train = write(tmp_path, "a_TRAIN.ts", HEAD + "1,x:up\n")
    test = write(tmp_path, "a_TEST.ts", HEAD + "1,2:upp\n")
    with pytest.raises(DataError) as caught:
        SeriesFiles(train, test).scan()
    assert [line.split(":")[0] for line in caught.value.why.splitlines()] == ["- a_TRAIN.ts", "- a_TEST.ts"]


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path, "a_TRAIN.ts", TWO + "1,2:3,4:up\n")
    test = write(tmp_path, "a_TEST.ts", HEAD + "1,2:down\n")
    with pytest.raises(DataError) as caught:
        SeriesFiles(train, test).scan()
    assert caught.value.why.splitlines() == [
        "- train and test: cases have 2 and 1 dimensions",
        "- train and test: 1 labels that no training case has: line 6 of the test file: 'down'",
    ]


def test_many_problems_are_counted_and_the_first_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        SeriesFiles(write(tmp_path, "a.ts", HEAD + "1,?:up\n" * 500)).scan()
    (line,) = caught.value.why.splitlines()
    assert line.startswith("- a.ts: 500 missing values: line 6, dimension 1, value 2: '?'; line 7, ")
    assert line.endswith("; ...")
    assert len(line) < 300


def test_missing_files_are_told_with_the_near_name_and_the_key(tmp_path: Path) -> None:
    write(tmp_path, "a_TRAIN.ts", HEAD)
    source = SeriesFiles(str(tmp_path / "a_TRAIM.ts"), str(tmp_path / "no" / "b.ts"))
    for act in (source.fingerprint, source.scan):
        with pytest.raises(DataError) as caught:
            act()
        assert "did you mean 'a_TRAIN.ts'?" in caught.value.why
        assert "data.train=FILE" in caught.value.way_out
        assert "data.test=FILE" in caught.value.way_out


def test_a_file_of_another_kind_and_one_file_for_both_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its name ends in '\.arff'"):
        SeriesFiles(write(tmp_path, "a.arff", "x")).scan()
    with pytest.raises(ConfigError, match=r"test: a\.ts is the train file too"):
        SeriesFiles("a.ts", "a.ts")


def test_the_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    one, other = write(tmp_path, "a.ts", "x"), write(tmp_path, "b.ts", "y")
    prints = [SeriesFiles(one), SeriesFiles(other), SeriesFiles(one, other), SeriesFiles(other, one)]
    found = {source.fingerprint() for source in prints}
    write(tmp_path, "a.ts", "z")
    assert len(found | {SeriesFiles(one).fingerprint()}) == 5


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no {SHARED}")
def test_a_published_csv_is_read_as_numpy_reads_it() -> None:
    paths = [SHARED / f"ucr_ECG200_{part}.csv.gz" for part in ("TRAIN", "TEST")]
    scan = SeriesFiles(*map(str, paths)).scan()
    assert scan.series is not None
    rows = np.concatenate([np.loadtxt(path, delimiter=",", skiprows=1) for path in paths])
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    assert np.array_equal(frame["channel_0"].to_numpy().reshape(200, 96), rows[:, 1:])
    assert [float(label) for label in scan.series["label"]] == rows[:, 0].tolist()
    assert scan.series["series"][150] == "ucr_ECG200_test_00050"


# -- fuzzing ---------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr), st.integers(-(10**6), 10**6).map(str)
)
ODD = st.one_of(
    st.floats().map(repr),
    st.sampled_from(["", "?", "NaN", " 1.5 ", "1_0", "0x1", "1e999", "-inf", "١", "1,5", "1;5", "\x001", "1\x0c2"]),
    st.text(max_size=4),
)
CELLS = st.integers(0, 9).flatmap(lambda n: NUMBERS if n else ODD)
LABELS = st.sampled_from([*["up", "down"] * 9, "", "upp", "@data", "#"])


def parsed(folder: Path, name: str, content: bytes) -> list[Case] | None:
    """The cases; None where the file is refused, which must be said in words."""
    problems = Problems(name)
    (folder / name).write_bytes(content)
    cases = read_cases(folder / name, problems)
    if problems:
        assert all(line.startswith(f"- {name}: ") and "\n" not in line for line in problems.lines())
        return None
    return cases


def float_of(cell: str) -> float:
    return float(cell.strip())


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.lists(st.tuples(st.lists(CELLS, min_size=1, max_size=3), LABELS), max_size=4))
@example([(["1", "2"], "up"), (["3"], "down")])
def test_ts_values_are_the_floats_of_their_cells_or_the_file_is_refused(
    tmp_path: Path, rows: list[tuple[list[str], str]]
) -> None:
    text = HEAD + "".join(f"{','.join(cells)}:{label}\n" for cells, label in rows)
    cases = parsed(tmp_path, "a.ts", text.encode("utf-8", "replace"))
    if cases is not None:
        below = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[5:]
        data = [line for line in below if line.strip() and not line.strip().startswith(("#", "%"))]
        assert len(cases) == len(data)
        for case, line in zip(cases, data, strict=True):
            cells, label = line.split(":")
            assert case.values.tolist() == [[float_of(cell) for cell in cells.split(",")]]
            assert (case.label, below[case.line - 6]) == (label.strip(), line)
            assert all(math.isfinite(value) for value in case.values[0])


@FUZZ
@given(st.lists(st.tuples(LABELS, st.lists(CELLS, min_size=1, max_size=3)), max_size=4))
@example([("up", ["1", "2"]), ("down", ["3", "NaN"])])
def test_tsv_values_are_the_floats_of_their_cells_or_the_file_is_refused(
    tmp_path: Path, rows: list[tuple[str, list[str]]]
) -> None:
    text = "".join("\t".join([label, *cells]) + "\n" for label, cells in rows)
    cases = parsed(tmp_path, "a.tsv", text.encode("utf-8", "replace"))
    if cases is not None:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        data = [line for line in lines if line.strip()]
        assert len(cases) == len(data)
        for case, line in zip(cases, data, strict=True):
            label, *cells = line.split("\t")
            n = case.n_steps
            assert case.values[0].tolist() == [float_of(cell) for cell in cells[:n]]
            assert all(cell.strip().lower() in ("", "nan") for cell in cells[n:])
            assert (case.label, lines[case.line - 1]) == (label.strip(), line)


@FUZZ
@given(st.binary(max_size=200), st.sampled_from([HEAD.encode(), b"", b"\x1f\x8b\x08\x00", b"label,t0\n"]))
@example(b"@classlabel true 1 1\n@dimensions 0\n@data\n1:1\n", b"")
def test_no_bytes_break_the_reader(tmp_path: Path, junk: bytes, head: bytes) -> None:
    for name in ("a.ts", "a.tsv", "a.csv"):
        cases = parsed(tmp_path, name, head + junk)
        assert cases is None or all(np.isfinite(case.values).all() for case in cases)


REMARKS = ["", "# a remark", "% another", "@missing false", "@seriesLength 7", "@problemName x"]
BELOW = ["1,2:up", "3:down", "", "# not a case"]


@FUZZ
@given(st.permutations(HEAD.splitlines()[:-1] + REMARKS), st.lists(st.sampled_from(BELOW), min_size=1))
def test_header_lines_in_any_order_say_the_same(tmp_path: Path, head: list[str], below: list[str]) -> None:
    cases = parsed(tmp_path, "a.ts", "\n".join([*head, "@data", *below]).encode())
    data = [(line, text) for line, text in enumerate(below, start=len(head) + 2) if text[:1].isdigit()]
    if not data:
        assert cases is None
    else:
        assert cases is not None
        assert [(case.line, case.label) for case in cases] == [(line, text.split(":")[1]) for line, text in data]
