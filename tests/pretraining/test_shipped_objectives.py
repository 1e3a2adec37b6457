"""Every objective that comes with a configuration keeps the suite."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from moola.config import config_folder
from moola.models.bilstm import BiLstm
from moola.pretraining import OBJECTIVES
from moola.testing import check_objective

SHIPPED = sorted((config_folder() / "objective").glob("*.yaml"))

WITH_PARTS = ("path_and_masks",)
"""Those that ask for an encoder that tells the parts of a window apart."""


def section_of(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_objective_keeps_the_suite(path: Path) -> None:
    encoder = BiLstm(hidden=6, pooling="spans", span_width=6, mixing=6) if path.stem in WITH_PARTS else None
    check_objective(OBJECTIVES.build_section(section_of(path), "objective"), encoder=encoder)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_holds_every_key_so_that_each_can_be_overridden(path: Path) -> None:
    section = section_of(path)
    cls: Any = OBJECTIVES.get(section["name"])
    assert {"name", *(item.name for item in dataclasses.fields(cls))} == set(section)


def test_every_objective_has_a_configuration_and_a_short_name_of_its_own() -> None:
    assert {section_of(path)["name"] for path in SHIPPED} >= OBJECTIVES.built_in
    names = [OBJECTIVES.build_section(section_of(path), "").short_name for path in SHIPPED]  # type: ignore[attr-defined]
    assert len(set(names)) == len(names)
