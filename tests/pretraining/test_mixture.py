"""Several objectives for one encoder."""

from __future__ import annotations

import pytest
import torch

from moola.config import describe
from moola.errors import ConfigError
from moola.features.candles import OHLC
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import OBJECTIVES, Reconstructing, WindowInputs
from moola.pretraining.hierarchical_contrast import HierarchicalContrast
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.pretraining.mixture import Mixture, MixtureObjective, Part
from moola.testing import check_objective, make_batch

AUTOENCODER = {"name": "masked_autoencoder", "weight": 0.5, "decoder_hidden": 8}
CONTRAST = {"name": "hierarchical_contrast", "reconstruction_weight": 0.0}
BATCH = make_batch(torch.randn(6, 20, 4, generator=torch.Generator().manual_seed(0)))


def mixture_of(*parts: object) -> MixtureObjective:
    torch.manual_seed(0)
    shape = InputShape(4, 20)
    return Mixture(parts).build(BiLstm(hidden=4).build(shape), WindowInputs(shape, OHLC, lambda bars: bars))


def test_it_keeps_the_suite() -> None:
    check_objective(Mixture(({"name": "structure_labels"}, {**AUTOENCODER, "weight": 2.0})), n_bars=16)


def test_parts_are_weighted_and_named() -> None:
    one, two = mixture_of(AUTOENCODER, CONTRAST)(BATCH), mixture_of({**AUTOENCODER, "weight": 1}, CONTRAST)(BATCH)
    assert list(one) == [
        "loss",
        "masked_autoencoder_reconstruction",
        "masked_autoencoder_variance",
        "hierarchical_contrast_temporal",
        "hierarchical_contrast_instance",
    ]
    name = "masked_autoencoder_reconstruction"
    assert float(one[name].detach()) == pytest.approx(float(two[name].detach()) / 2)
    figures = mixture_of(AUTOENCODER, CONTRAST).validate(BATCH)
    parts = figures["val_masked_autoencoder_loss"], figures["val_hierarchical_contrast_loss"]
    assert figures["val_loss"] == pytest.approx(0.5 * parts[0] + parts[1])
    assert figures["val_reconstruction"] == figures["val_masked_autoencoder_reconstruction"]
    assert figures["val_copy_last"] == figures["val_masked_autoencoder_copy_last"]


def test_a_part_alone_loses_what_it_loses_in_the_mixture() -> None:
    objective = mixture_of(AUTOENCODER, CONTRAST)
    alone = objective.parts["masked_autoencoder"](BATCH)
    both = objective(BATCH)
    assert float(both["masked_autoencoder_variance"].detach()) == pytest.approx(0.5 * float(alone["variance"].detach()))


def test_the_share_that_is_hidden_is_that_of_the_part_with_masks() -> None:
    hidden = MaskedAutoencoder(decoder_hidden=8).realised_ratio(20)
    assert Mixture((CONTRAST, AUTOENCODER)).realised_ratio(20) == hidden
    assert Mixture((CONTRAST,)).realised_ratio(20) is None


def test_there_is_one_encoder_and_it_is_saved_once() -> None:
    objective = mixture_of(AUTOENCODER, CONTRAST)
    names = list(objective.state_dict())
    assert [name for name in names if ".encoder." in name] == []
    assert any(name.startswith("encoder.") for name in names)
    assert all(part.encoder is objective.encoder for part in objective.parts.values())
    assert not any(module.training for module in objective.eval().parts["masked_autoencoder"].encoder.modules())


def test_the_first_part_that_can_rebuild_does() -> None:
    objective = mixture_of(CONTRAST, AUTOENCODER)
    assert isinstance(objective, Reconstructing)
    assert objective.reconstruct(BATCH)[0].shape == BATCH.inputs.shape
    assert not isinstance(mixture_of(CONTRAST), Reconstructing)


def test_sections_and_built_parts_are_the_same_and_describe_themselves_whole() -> None:
    built = Mixture((Part("masked_autoencoder", MaskedAutoencoder(decoder_hidden=8), 0.5),))
    assert built == Mixture((AUTOENCODER,)) == OBJECTIVES.build_section({"name": "mixture", "parts": [AUTOENCODER]}, "")
    assert describe(built)["parts"][0]["objective"]["ratio"] == pytest.approx(1 / 3)
    assert Mixture((AUTOENCODER, CONTRAST)).short_name == "mae_hier"
    assert Mixture((Part("mine", HierarchicalContrast()),)).short_name == "hier"
    assert Mixture((AUTOENCODER, CONTRAST)).least_batch == 2
    assert Mixture((AUTOENCODER, Part("bars", HierarchicalContrast(temporal_share=1.0)))).least_batch == 1


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "objective.parts: needs at least one"),
        ([AUTOENCODER, AUTOENCODER], "objective.parts: masked_autoencoder, masked_autoencoder holds one twice"),
        ([{"name": "mixture", "parts": [CONTRAST]}], "a mixture takes no mixture"),
        ([{**CONTRAST, "weight": 0}], r"objective.parts\[0\].weight: 0.0 must be positive"),
        ([{**CONTRAST, "weight": "x"}], r"objective.parts\[0\].weight: 'x' must be a number"),
        ([CONTRAST, {"weight": 1}], r"objective.parts\[1\].name: names the objective and is missing"),
        (["mae"], r"objective.parts\[0\]: 'mae' must be a group of keys"),
        ([{**AUTOENCODER, "ratoi": 1}], r"parts\[0\].ratoi: unknown key; did you mean 'ratio'"),
    ],
)
def test_wrong_parts_are_told_with_their_place(parts: list[object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OBJECTIVES.build_section({"name": "mixture", "parts": parts}, "objective")


def test_problems_of_all_parts_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        mixture_of({**AUTOENCODER, "patch_bars": 11}, {"name": "path_statistics", "min_bars": 30})
    assert caught.value.problems == (
        "objective.parts[0].patch_bars: 11 leaves fewer than 2 patches in 20 bars",
        "objective.parts[1].min_bars: 30 do not fit the 20 bars of a window",
    )
    assert caught.value.way_out.startswith("use objective.parts[0].patch_bars=10 or less, or show more bars")
    assert "; use objective.parts[1].min_bars=20 or less" in caught.value.way_out
