"""Kept predictions are used only when they are what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.pipelines.unit_cache import KeptUnit, read_unit, write_unit

PREDICTIONS = np.random.default_rng(0).dirichlet([1.0, 1.0], size=7)
UNIT = KeptUnit(PREDICTIONS, 1.5)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_unit(tmp_path / "unit.safetensors", UNIT)
    kept = read_unit(tmp_path / "unit.safetensors", (7, 2))
    assert kept is not None and np.array_equal(kept.probabilities, PREDICTIONS) and kept.seconds == 1.5


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "empty"])
def test_anything_else_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "unit.safetensors"
    write_unit(path, UNIT)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        content[-3] ^= 0xFF
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    assert read_unit(path, (7, 2)) is None


def test_predictions_for_other_windows_are_not_used(tmp_path: Path) -> None:
    write_unit(tmp_path / "unit.safetensors", UNIT)
    assert read_unit(tmp_path / "unit.safetensors", (8, 2)) is None
