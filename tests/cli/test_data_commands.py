"""`moola data`: what each command prints, writes and answers, for good data and for bad."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

import polars as pl
import pytest

FILES = ("data=files", "data.path=bars.csv", "task=unlabelled")
WINDOWS = ("data.window.length=20", "data.window.visible=16", "data.window.zone=[8,16]")
BAD_ROWS = {7: (4, "n/a"), 17: (2, "1.0"), 27: (1, "nan"), 37: (0, "2024-01-01 01:00:00")}
"""Row number -> its broken cell and what stands in it."""


def bars(n: int = 600, seed: int = 0, scale: float = 1.0, bad: dict[int, tuple[int, str]] | None = None) -> str:
    """Hourly candles as CSV; the rows of `bad` are broken."""
    generator = random.Random(seed)
    lines = ["timestamp,open,high,low,close"]
    close = 100.0
    for row in range(n):
        opened, close = close, close * (1 + scale * generator.gauss(0, 0.001))
        time = datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=row)
        cells = [str(time), *(f"{x:.4f}" for x in (opened, max(opened, close) + 0.1, min(opened, close) - 0.1, close))]
        if bad and row in bad:
            cells[bad[row][0]] = bad[row][1]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def said(done, code: int, *parts: str) -> None:
    """A refusal: a message and nothing else."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err and done.out == ""
    for part in parts:
        assert part in done.err, f"{part!r} is not in:\n{done.err}"


def folder_of(done) -> Path:
    return Path(done.out.splitlines()[-1])


@pytest.fixture
def good(moola):
    (moola.folder / "bars.csv").write_text(bars())
    return moola


def test_good_bars_pass_and_leave_no_quarantine_file(good):
    done = good("data", "validate", *FILES)
    assert done.code == 0, done.err
    found = json.loads((folder_of(done) / "validation.json").read_text())
    assert (found["rows"], found["kept"], found["bad"], found["passed"]) == (600, 600, 0, True)
    assert (found["findings"], found["quarantine"]) == ([], None)
    assert sorted(path.name for path in folder_of(done).iterdir()) == ["validation.html", "validation.json"]
    assert "600 rows, 0 bad" in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 80


def test_bad_bars_end_with_code_3_and_every_bad_row_stands_in_the_quarantine_file(moola):
    (moola.folder / "bars.csv").write_text(bars(bad=BAD_ROWS))
    done = moola("data", "validate", *FILES)
    assert done.code == 3 and done.err == ""
    folder = folder_of(done)
    rows = pl.read_csv(folder / "quarantine.csv", infer_schema=False)
    assert sorted(map(int, rows["row"])) == [number + 2 for number in BAD_ROWS]
    told = dict(zip(map(int, rows["row"]), rows["reasons"], strict=True))
    assert [bool(told[number + 2]) for number in BAD_ROWS] == [True] * 4
    assert len(set(told.values())) == 4
    assert set(rows["series"]) == {"bars"}
    found = json.loads((folder / "validation.json").read_text())
    assert (found["kept"], found["bad"], found["passed"]) == (596, 4, False)
    assert sum(one["rows"] for one in found["findings"] if one["severity"] == "error") == 4
    for one in found["findings"]:
        assert one["message"] in done.out and one["examples"][0] in done.out
    assert "quarantine.csv" in done.out and "600 rows, 4 bad" in done.out
    assert not list((moola.folder / "data").rglob("bars.json"))


def test_mended_bars_get_a_report_of_their_own(moola):
    (moola.folder / "bars.csv").write_text(bars(bad=BAD_ROWS))
    first = moola("data", "validate", *FILES)
    (moola.folder / "bars.csv").write_text(bars())
    second = moola("data", "validate", *FILES)
    assert (first.code, second.code) == (3, 0)
    assert folder_of(first) != folder_of(second)


def test_every_combination_is_judged_and_one_bad_one_counts(good):
    (good.folder / "broken.csv").write_text(bars(bad=BAD_ROWS))
    done = good("data", "validate", *FILES, "-m", "data.path=broken.csv,bars.csv")
    assert done.code == 3
    assert "600 rows, 4 bad" in done.out and "600 rows, 0 bad" in done.out


@pytest.mark.parametrize("content", ["", "timestamp,open,high,low\n2024-01-01,1,2,0\n", None])
def test_a_source_that_cannot_be_read_is_refused_and_leaves_no_report(moola, content):
    if content is not None:
        (moola.folder / "bars.csv").write_text(content)
    said(moola("data", "validate", *FILES), 3, "moola: ", "-> ")
    assert list((moola.folder / "artifacts").rglob("*.json")) == []
    assert list((moola.folder / "artifacts").glob("results/*-validate-*")) == []


def test_a_wrong_key_is_refused_with_near_names(good):
    said(good("data", "validate", *FILES, "data.timezon=UTC"), 2, "data.timezon: there is no such key", "did you mean")
    said(good("data", "drift", *FILES, "+data.drift.blok_bars=3"), 2, "blok_bars", "block_bars")
    assert not (good.folder / "artifacts" / "results").exists()


def test_a_description_says_what_is_there_in_lines_json_and_a_page(good):
    calendar = "data.calendar={open: '08:00', close: '20:00', days: [mon, tue, wed, thu, fri]}"
    windows = ("data.window.length=8", "data.window.visible=6", "data.window.zone=[2,6]")
    done = good("data", "describe", *FILES, *windows, "split.test_from=2024-01-19", calendar)
    assert done.code == 0, done.err
    found = json.loads((done.run_folder / "description.json").read_text())
    assert (found["bars"], len(found["series"]), found["no_split"]) == (600, 1, "")
    assert set(found["spans"]) >= {"train", "test"}
    assert found["sessions"]["bars"][2] == 12
    page = (done.run_folder / "description.html").read_text()
    assert "<h2>Sessions" in page and "sealed test" in page
    assert "600 bars, 1 series" in done.out and "sessions of" in done.out


def test_a_description_says_what_became_of_the_rows_and_how_many_windows_share_no_bar(moola):
    (moola.folder / "bars.csv").write_text(bars(bad=BAD_ROWS))
    calendar = "data.calendar={open: '08:00', close: '18:00'}"
    resample = ("data.resample={every: 2h}", calendar, "data.quality.bad_rows=quarantine")
    windows = ("data.window.length=4", "data.window.visible=3", "data.window.zone=[1,3]")
    done = moola("data", "describe", *FILES, *resample, *windows, "split.test_from=2024-01-19")
    assert done.code == 0, done.err
    found = json.loads((done.run_folder / "description.json").read_text())
    intake = found["intake"]
    assert (intake["rows_read"], intake["rows_left_out"], intake["bars"]) == (600, 4, 125)
    assert sum(rows for _, rows in intake["reasons"]) == 4
    outside = intake["outside_sessions"]
    assert 600 - 250 - 4 <= outside <= 600 - 250
    assert (found["windows"], found["disjoint_windows"]) == (50, 25)
    assert f"600 rows read, 4 bad left out, {outside} outside sessions left out, 125 bars made" in done.out
    assert "50 windows, at most 25 of which share no bar" in done.out
    assert all(f"left out: {message} ({rows})" in done.out for message, rows in intake["reasons"])
    assert f"{outside} rows in none, left out" in done.out and "bars in none" not in done.out
    page = (done.run_folder / "description.html").read_text()
    assert "600 rows were read, and 125 bars made of them" in page


def test_windows_that_run_over_pauses_are_told_and_how_to_forbid_it(moola):
    (moola.folder / "bars.csv").write_text(bars(bad={300: (4, "n/a")}))
    quarantine = (*FILES, *WINDOWS, "data.quality.bad_rows=quarantine")
    done = moola("windows", *quarantine, "data.window.stride_bars=1", "data.window.max_gap=null")
    assert done.code == 0, done.err
    said_note = " ".join((done.out + done.err).split())
    assert "19 of 580 windows run over a pause of more than 1.5 median steps" in said_note
    assert "1 bad row was left out" in said_note and "data.window.max_gap" in said_note
    done = moola("windows", *quarantine, "data.window.stride_bars=1", "data.window.max_gap=1h")
    assert done.code == 0 and "run over a pause" not in done.out + done.err


def test_data_that_no_split_fits_is_described_and_the_page_says_why(good):
    done = good("data", "describe", *FILES, *WINDOWS, "split.test_from=2034-01-01")
    assert done.code == 0, done.err
    found = json.loads((done.run_folder / "description.json").read_text())
    assert "2034" in found["no_split"] and found["spans"] == {}
    assert "no split: " in done.out
    assert found["labels"] == {"all": {"unlabeled": found["windows"]}}


def test_cases_are_described(moola):
    done = moola("data", "describe", "experiment=ucr", "data.name=GunPoint")
    assert done.code == 0, done.err
    found = json.loads((done.run_folder / "description.json").read_text())
    assert found["independent"] and found["windows"] == len(found["series"]) == sum(found["spans"].values())
    assert "cases" in done.out and "gaps" not in done.out


def test_a_change_between_training_span_and_test_is_found(moola):
    calm, wild = bars(400), bars(400, seed=1, scale=4)
    late = [f"{datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=400 + i)},{line.split(',', 1)[1]}"
            for i, line in enumerate(wild.splitlines()[1:])]  # fmt: skip
    (moola.folder / "bars.csv").write_text(calm + "\n".join(late) + "\n")
    done = moola("data", "drift", *FILES, *WINDOWS, "split.test_from=2024-01-17 16:00", "+data.drift.n_deals=99")
    assert done.code == 0, done.err
    found = json.loads((folder_of(done) / "drift.json").read_text())
    assert (found["reference"], found["current"]) == ("training span", "sealed test")
    assert {row["feature"]: row["drifted"] for row in found["features"]}["log_return"] is True
    assert found["config"]["block_bars"] >= 20 and min(found["blocks"]) >= 8
    assert "training span against sealed test" in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 80


def test_two_files_of_one_market_show_no_drift_and_are_named(good):
    (good.folder / "later.csv").write_text(bars(seed=5))
    done = good("data", "drift", *FILES, *WINDOWS, "+data.drift.n_deals=99", "--", "data.path=later.csv")
    assert done.code == 0, done.err
    found = json.loads((folder_of(done) / "drift.json").read_text())
    assert (found["reference"], found["current"]) == ("bars.csv", "later.csv")
    assert not any(row["drifted"] for row in found["features"])
    assert (folder_of(done) / "drift.html").exists()


def test_sets_that_drift_cannot_compare_are_refused(good):
    (good.folder / "short.csv").write_text(bars(40))
    said(good("data", "drift", *FILES, *WINDOWS, "--", "data.path=short.csv"), 3, "blocks", "data.drift.block_bars")
    said(good("data", "drift", *FILES, "--"), 2, "followed by nothing")
    said(good("data", "drift", *FILES, "-m", "seeds=[0],[1]"), 2, "drift compares two sets")
    assert not list((good.folder / "artifacts").glob("results/*-drift-*"))


def test_the_commands_explain_themselves(moola):
    alone, asked, fetch = moola("data"), moola("data", "--help"), moola("data", "fetch", "--help")
    assert alone.code == asked.code == fetch.code == 0 and alone.out == asked.out == fetch.out
    assert all(name in asked.out for name in ("fetch", "validate", "describe", "drift"))
    said(moola("data", "valdate"), 2, "there is no command 'valdate'", "validate")
    composed = moola("data", "drift", "--cfg", "job")
    assert composed.code == 0 and "source: arch_indices" in composed.out
    assert list(moola.folder.iterdir()) == []


def test_public_sets_are_listed_and_an_unknown_one_is_refused_with_near_names(moola):
    listed = moola("data", "fetch")
    assert listed.code == 0 and "ETTh1" in listed.out and "licence" in listed.out.lower()
    said(moola("data", "fetch", "ETTh7", "ETTh1"), 2, "there is no public set named 'ETTh7'", "ETTh1")
    assert list(moola.folder.iterdir()) == []
