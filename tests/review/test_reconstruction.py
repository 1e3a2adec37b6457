"""What an encoder's record tells of its objective is enough to build the objective again."""

from __future__ import annotations

import pytest

from moola.augment import AUGMENTATIONS
from moola.pretraining import OBJECTIVES
from moola.review.reconstruction import section_of_record


@pytest.mark.parametrize(
    "section",
    [
        {"name": "masked_autoencoder", "ratio": 0.3},
        {"name": "mixture", "parts": [{"name": "path_statistics"}, {"name": "masked_autoencoder", "weight": 0.1}]},
    ],
)
def test_an_objective_is_built_again_from_its_record(section: dict[str, object]) -> None:
    built = OBJECTIVES.build_section(section, "objective")
    told = OBJECTIVES.section_of(built, parts=(OBJECTIVES, AUGMENTATIONS))
    assert OBJECTIVES.build_section(section_of_record(told), "objective") == built
