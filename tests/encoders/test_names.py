"""What an encoder is called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from moola.encoders.names import next_name, short_name, stem_of


def test_a_name_says_kind_objective_and_number_of_inputs():
    assert stem_of("bilstm", "mae", 4) == "bilstm_mae_4d"
    assert stem_of("My-Encoder 2", "mae_tstcc", 11) == "my_encoder_2_mae_tstcc_11d"


@pytest.mark.parametrize(
    ("taken", "version"),
    [
        ([], 1),
        (["bilstm_mae_4d_v1"], 2),
        (["bilstm_mae_4d_v2", "bilstm_mae_4d_v10"], 11),
        (["bilstm_mae_4d_v1x", "bilstm_mae_11d_v3", "gru_mae_4d_v1", ".bilstm_mae_4d_v7.building"], 1),
    ],
)
def test_the_version_follows_the_highest_that_is_taken(taken, version):
    assert next_name("bilstm_mae_4d", taken) == f"bilstm_mae_4d_v{version}"


def test_an_objective_without_a_short_name_is_called_as_it_is_registered():
    assert short_name(SimpleNamespace(short_name="mae"), "masked_autoencoder") == "mae"
    assert short_name(SimpleNamespace(), "theirs") == "theirs"
