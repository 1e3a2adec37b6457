"""The labelled sets that aeon ships: read without aeon, and equal to what aeon reads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from moola.data.sources.ucr import Ucr
from moola.errors import DataError, MissingPackageError
from moola.testing import check_source


@pytest.mark.parametrize("source", [Ucr("GunPoint"), Ucr("BasicMotions"), Ucr("JapaneseVowels", "pad")])
def test_bundled_sets_keep_the_source_suite(source: Ucr) -> None:
    check_source(source)


def cases_of(source: Ucr) -> tuple[np.ndarray, pl.DataFrame]:
    """Values [n_cases, n_channels, n_steps] as aeon orders them, and the series table."""
    scan = source.scan()
    assert scan.series is not None
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    assert frame["series"].unique(maintain_order=True).to_list() == scan.series["series"].to_list()
    values = frame.select(scan.channels).to_numpy().reshape(scan.series.height, -1, len(scan.channels))
    return values.transpose(0, 2, 1), scan.series


@pytest.mark.parametrize("name", ["GunPoint", "BasicMotions", "ItalyPowerDemand", "UnitTest"])
def test_every_value_and_label_is_what_aeon_reads(name: str) -> None:
    from aeon.datasets import load_from_ts_file

    values, series = cases_of(Ucr(name))
    at = 0
    for part in ("train", "test"):
        path = Ucr(name)._files()._paths()[part == "test"][1]
        cases, labels = load_from_ts_file(str(path))[:2]
        here = slice(at, at + len(cases))
        assert np.array_equal(values[here], np.asarray(cases))
        assert [label.lower() for label in series["label"][here]] == list(labels)
        assert series["split"][here].unique().to_list() == [part]
        at += len(cases)
    assert at == len(values)


@pytest.mark.parametrize("unequal", ["pad", "truncate"])
def test_unequal_cases_are_what_aeon_reads_made_equal(unequal: str) -> None:
    from aeon.datasets import load_from_ts_file

    source = Ucr("JapaneseVowels", unequal)  # type: ignore[arg-type]
    values, _ = cases_of(source)
    cases = [case for _, path in source._files()._paths() for case in load_from_ts_file(str(path))[0]]
    lengths = [case.shape[1] for case in cases]
    assert values.shape == (640, 12, 29 if unequal == "pad" else 7)
    for ours, theirs in zip(values, cases, strict=True):
        n = min(ours.shape[1], theirs.shape[1])
        assert np.array_equal(ours[:, :n], theirs[:, :n])
        assert (ours[:, n:] == theirs[:, -1:]).all()
    changed = sum(29 - n for n in lengths) if unequal == "pad" else sum(n - 7 for n in lengths)
    (note,) = source.scan().notes
    assert note.startswith(f"{changed:,} steps were ") and "640 cases" in note


def test_gunpoint_is_50_cases_to_train_and_150_to_test_of_150_steps() -> None:
    scan = Ucr("GunPoint").scan()
    assert scan.independent
    assert scan.series is not None
    assert dict(scan.series["split"].value_counts().iter_rows()) == {"train": 50, "test": 150}
    assert set(scan.series["label"]) == {"1", "2"}
    frame = pl.concat(chunk.frame for chunk in scan.chunks)
    assert frame.group_by("series").len()["len"].unique().to_list() == [150]
    first = frame.filter(pl.col("series") == "GunPoint_train_00000")
    assert first["timestamp"].dt.epoch("us").to_list() == list(range(150))


def test_cases_of_different_lengths_are_refused_with_what_each_way_out_changes() -> None:
    with pytest.raises(DataError, match="cases of different lengths") as caught:
        Ucr("JapaneseVowels").scan()
    assert "from 7 to 29 steps" in caught.value.why
    assert "data.unequal=pad (8599 steps added to 639 of 640 cases" in caught.value.way_out


def test_a_set_of_numbers_instead_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="@targetLabel true: numbers instead of classes are not read"):
        Ucr("Covid3Month").scan()


def test_an_unknown_set_is_told_with_the_near_name() -> None:
    with pytest.raises(DataError, match=r"no set named 'Gunpoint'\ndid you mean 'GunPoint'\?"):
        Ucr("Gunpoint").fingerprint()


def test_a_missing_package_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'moola\[data\]'"):
        Ucr("GunPoint").fingerprint()


def test_aeon_is_not_imported() -> None:
    code = (
        "import sys; from moola.data.sources.ucr import Ucr; Ucr('GunPoint').scan(); assert 'aeon' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
