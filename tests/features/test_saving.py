"""A fitted transform on disk: read again as it was, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.errors import ConfigError, StorageError
from moola.features import TRANSFORMS
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.relative import RelativeTransform
from moola.features.saving import load_transform, save_transform
from moola.features.scaled import Scaled
from moola.features.volatility import Volatility
from moola.testing.transform_checks import random_bars


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    inner = Combined((RelativeTransform(window_bars=7), Volatility()))
    save_transform(tmp_path / "transform.json", Scaled(inner).fit([random_bars(OHLC, 9, 25)], OHLC))
    return tmp_path / "transform.json"


def test_what_was_written_is_read_to_the_last_bit(saved: Path) -> None:
    inner = Combined((RelativeTransform(window_bars=7), Volatility()))
    assert load_transform(saved) == Scaled(inner).fit([random_bars(OHLC, 9, 25)], OHLC)


def test_the_file_is_a_section_that_a_person_can_read(saved: Path) -> None:
    section = json.loads(saved.read_text())
    assert section["name"] == "scaling"
    assert [part["name"] for part in section["of"]["parts"]] == ["relative", "volatility"]
    assert section["of"]["parts"][0]["window_bars"] == 7


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"name": "os.system"}, "there is no transform named 'os.system'"),
        ({"centre": "import os"}, "transform.centre: 'import os' must be a list"),
        ({"scale": [1.0]}, "each output has one"),
        ({"of": {"name": "relative", "window_bars": "many"}}, "of.window_bars: 'many' must be a whole number"),
        ({"extra": 1}, "transform.extra: unknown key"),
        ({"clip": None}, "transform.clip: None must be a number"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(saved: Path, damage: dict, says: str) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()) | damage))
    with pytest.raises(StorageError, match="is not a fitted transform") as caught:
        load_transform(saved)
    assert says in caught.value.why and "--force=pretrain" in caught.value.way_out


def test_a_file_that_is_truncated_or_missing_is_refused(saved: Path) -> None:
    saved.write_text(saved.read_text()[:50])
    with pytest.raises(StorageError, match="is not JSON"):
        load_transform(saved)
    with pytest.raises(StorageError, match="is missing"):
        load_transform(saved.with_name("other.json"))


@pytest.mark.parametrize("content", ["[1, 2]", '"scaling"', "null", '{"name": "scaled"}'])
def test_json_that_is_no_fitted_transform_is_refused(saved: Path, content: str) -> None:
    saved.write_text(content)
    with pytest.raises(StorageError, match="is not a fitted transform"):
        load_transform(saved)


def test_a_class_that_nobody_registered_cannot_be_kept(tmp_path: Path) -> None:
    class Mine(RelativeTransform):
        pass

    with pytest.raises(ConfigError, match="Mine has no name"):
        save_transform(tmp_path / "transform.json", Mine())
    with pytest.raises(ConfigError, match="names the transform and is missing"):
        save_transform(tmp_path / "transform.json", Combined((RelativeTransform(), Mine())))
    assert not list(tmp_path.iterdir())


def test_every_built_in_transform_survives_its_section() -> None:
    for name in sorted(TRANSFORMS.built_in - {"combined", "scaling"}):
        transform = TRANSFORMS.build(name, {}, "transform")
        assert TRANSFORMS.build_section(TRANSFORMS.section_of(transform), "transform") == transform
