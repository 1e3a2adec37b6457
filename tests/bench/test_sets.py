"""Which sets a bench takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola.bench.sets import BUNDLED, choose_sets, unwanted_models
from moola.errors import ConfigError


def test_bundled_stands_for_the_sets_with_published_figures_and_names_for_themselves() -> None:
    assert [one.name for one in choose_sets(["bundled"], None)] == list(BUNDLED)
    (one,) = choose_sets(["GunPoint"], None)
    assert one.words == ("data=ucr", "data.name=GunPoint", "data.unequal=pad")


def test_a_folder_gives_its_sets_before_those_that_aeon_ships(tmp_path: Path) -> None:
    (tmp_path / "Own").mkdir()
    for name in ("Own/Own_TRAIN.ts", "Own/Own_TEST.ts", "GunPoint_TRAIN.tsv", "GunPoint_TEST.tsv", "Half_TRAIN.ts"):
        (tmp_path / name).touch()
    assert [one.name for one in choose_sets(["all"], tmp_path)] == ["GunPoint", "Own"]
    gun, arrow = choose_sets(["GunPoint", "ArrowHead"], tmp_path)
    assert gun.words[0] == "data=series_files" and str(tmp_path / "GunPoint_TEST.tsv") in gun.words[2]
    assert arrow.words[0] == "data=ucr"


@pytest.mark.parametrize(
    ("asked", "folder", "says"),
    [
        (["all"], None, "data.path=FOLDER"),
        (["all"], "empty", "there is no set in"),
        (["all"], "nowhere", "is no folder"),
        (["bundled", "GunPoint"], None, "'GunPoint' is asked for twice"),
        (["GunPiont"], None, "no set named 'GunPiont'; did you mean 'GunPoint'"),
        (["EGC200"], None, "did you mean 'ECG200'"),
    ],
)
def test_what_names_no_set_is_refused(tmp_path: Path, asked: list[str], folder: str | None, says: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=says):
        choose_sets(asked, tmp_path / folder if folder else None)


def test_models_are_chosen_by_name() -> None:
    assert unwanted_models(["dtw"], ["dtw", "majority"]) == ["majority"]
    with pytest.raises(ConfigError, match="'dwt'; did you mean 'dtw'"):
        unwanted_models(["dwt"], ["dtw", "majority"])
