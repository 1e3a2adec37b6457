"""A run that is configured otherwise than an encoder was made is told the overrides that make them agree."""

from __future__ import annotations

import functools
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from moola.config import RunConfig, config_folder, from_omegaconf
from moola.errors import ConfigError
from moola.features import TRANSFORMS
from moola.models import ENCODERS
from moola.pipelines.encoder_agreement import check_agreement
from moola.pipelines.setup import EncoderSetup

NESTED = ("transform=scaled", "~transform.of", "+transform.of={name:combined,parts:[{name:relative,window_bars:30}]}")
FITTED = "{name:scaling,of:{name:relative},names:[x],centre:[0],scale:[1],clip:2}"


@functools.cache
def config(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return from_omegaconf(compose("config", list(overrides)))


def made_by(config: RunConfig) -> Any:
    """The record of an encoder that a run of this configuration would leave."""
    setup = EncoderSetup.from_config(config)
    encoder, transform = ENCODERS.section_of(setup.encoder), TRANSFORMS.section_of(setup.transform)
    return SimpleNamespace(name="e_v1", encoder=encoder, configured_transform=transform, seeds=config.seeds)


@pytest.mark.parametrize(
    ("made", "run", "overrides"),
    [
        (("encoder=bilstm_8x1", "transform=relative"), (), "encoder=bilstm_8x1 transform=relative"),
        (("encoder=tcn_128_levels",), ("encoder=tcn_128_levels", "encoder.depth=3"), "encoder.depth=null"),
        (("+transform.epsilon=0.5", "seeds=[3,4]"), (), "+transform.epsilon=0.5 'seeds=[3,4]'"),
        (("seeds=[3,4]",), ("seeds=[4,5]",), "'seeds=[4]'"),
        (NESTED, (), "transform=scaled '~transform.of' '+transform.of={name:combined,"),
        (("transform=scaled", "+transform.of.window_bars=7"), ("transform=scaled",), "+transform.of.window_bars=7"),
        (("transform=combined", "transform.parts=[{name:relative}]"), ("transform=combined",), "'transform.parts=[{n"),
        (("~transform", f"+transform={FITTED}"), (), "'~transform' '+transform={name:scaling,"),
    ],
)
def test_the_overrides_that_it_names_make_the_run_agree(made, run, overrides) -> None:
    record, ours = made_by(config(*made)), config(*run)
    with pytest.raises(ConfigError) as caught:
        check_agreement(ours, EncoderSetup.from_config(ours), record)
    told = caught.value.way_out.removeprefix("give ").partition(" in place of")[0]
    assert told.startswith(overrides)
    agreeing = config(*run, *shlex.split(told))
    check_agreement(agreeing, EncoderSetup.from_config(agreeing), record)
