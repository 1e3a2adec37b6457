"""Where in a window its class shows: learned from marks, and never read from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import ConfigError, DataError
from moola.models import FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.models.heads import PointerHead
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig

N_BARS, ZONE = 16, (4, 14)
ENCODER = BiLstm(hidden=8)
MODEL = FinetunedEncoder(frozen_epochs=0, encoder_lr_factor=1.0, head_dropout=0.0, pointer_weight=1.0)


def resources(epochs: int = 1, **changes: Any) -> FitResources:
    torch.manual_seed(5)
    weights = ENCODER.build(InputShape(1, N_BARS)).state_dict()
    trainer = FitConfig(epochs=epochs, batch_size=16, lr=2e-2)
    given = FitResources(0, lambda inputs: inputs[:, -1], "cpu", ENCODER, weights, trainer, zone=ZONE)
    return dataclasses.replace(given, **changes)


def windows(n: int = 64, seed: int = 0) -> LabelledWindows:
    """A box in every window; pointers say where, the class its sign."""
    rng = np.random.default_rng(seed)
    first = rng.integers(ZONE[0], ZONE[1] - 2, n)
    last = first + rng.integers(1, ZONE[1] - first, n)
    labels = rng.integers(0, 2, n)
    bar = np.arange(N_BARS)
    box = ((bar >= first[:, None]) & (bar <= last[:, None])) * (2.0 * labels[:, None] - 1)
    values = (box + rng.normal(0, 0.05, box.shape)).astype(np.float32)[..., None]
    return LabelledWindows(values, values, labels.astype(np.int64), 2, np.stack([first, last], axis=1))


def test_marks_are_learned_and_found_again_in_windows_that_were_not_marked() -> None:
    fitted = MODEL.fit(windows(), resources(epochs=25))
    judged = windows(seed=1)
    found = fitted.predict_pointers(judged.without_labels())
    assert found.dtype == np.int64 and judged.pointers is not None
    assert (np.abs(found - judged.pointers).max(axis=1) <= 1).mean() > 0.8
    assert (fitted.predict_proba(judged).argmax(axis=1) == judged.labels).mean() > 0.9


@given(seed=st.integers(0, 200), n_bars=st.integers(2, 9), scale=st.sampled_from([0.0, 1.0, 50.0]))
def test_the_best_pair_is_that_of_a_search_through_all_pairs(seed: int, n_bars: int, scale: float) -> None:
    head = PointerHead(3, (5, 5 + n_bars), 0.0)
    logits = scale * torch.randn(4, n_bars, 2, generator=torch.Generator().manual_seed(seed))
    for row, (first, last) in zip(logits, head.best_pair(logits).tolist(), strict=True):
        assert 5 <= first < last < 5 + n_bars
        best = max(float(row[i, 0] + row[j, 1]) for j in range(n_bars) for i in range(j))
        assert float(row[first - 5, 0] + row[last - 5, 1]) == pytest.approx(best)


def test_only_bars_of_the_zone_are_pointed_at() -> None:
    states = torch.randn(3, N_BARS, 6)
    head = PointerHead(6, ZONE, 0.0)
    changed = states.clone()
    changed[:, : ZONE[0]] += 9
    changed[:, ZONE[1] :] -= 9
    assert torch.equal(head(states), head(changed)) and head(states).shape == (3, 10, 2)
    with pytest.raises(ConfigError, match=r"zone: \[4, 5\] must have two visible bars"):
        PointerHead(6, (4, 5), 0.0)


def test_windows_without_marks_train_the_class_alone() -> None:
    given = windows()
    some = np.where(np.arange(64)[:, None] % 2, given.pointers, -1)
    assert MODEL.fit(dataclasses.replace(given, pointers=some), resources()).points
    nothing = (None, np.full((64, 2), -1))
    for fitted in (MODEL.fit(dataclasses.replace(given, pointers=pointers), resources()) for pointers in nothing):
        assert not fitted.points
        with pytest.raises(ValueError, match="no training window had pointers"):
            fitted.predict_pointers(given)
    assert not dataclasses.replace(MODEL, pointer_weight=0.0).fit(given, resources()).points


def test_marks_change_what_is_learned_and_never_what_is_predicted_from() -> None:
    given, judged = windows(), windows(seed=1)
    fitted = MODEL.fit(given, resources(epochs=2))
    lying = dataclasses.replace(judged, pointers=judged.pointers[::-1] if judged.pointers is not None else None)
    for other in (lying, judged.without_labels()):
        np.testing.assert_array_equal(fitted.predict_pointers(judged), fitted.predict_pointers(other))
        np.testing.assert_array_equal(fitted.predict_proba(judged), fitted.predict_proba(other))
    assert judged.without_labels().pointers is None
    shuffled = dataclasses.replace(given, pointers=np.roll(np.asarray(given.pointers), 1, axis=0))
    elsewhere = MODEL.fit(shuffled, resources(epochs=2))
    assert not np.array_equal(fitted.predict_proba(judged), elsewhere.predict_proba(judged))


def test_rows_keep_their_marks() -> None:
    given = windows()
    np.testing.assert_array_equal(given[np.array([3, 1])].pointers, np.asarray(given.pointers)[[3, 1]])


def test_marks_of_bars_that_are_not_shown_are_refused() -> None:
    given = windows()
    narrow = resources(zone=(6, 40))
    with pytest.raises(DataError, match="pointers name bars that the model does not see") as caught:
        MODEL.fit(given, narrow)
    assert "bars 6 to 15 are visible" in caught.value.why
    dataclasses.replace(MODEL, pointer_weight=0.0).fit(given, narrow)


def test_members_agree_on_one_pair() -> None:
    fitted = dataclasses.replace(MODEL, members=2).fit(windows(), resources(epochs=2))
    found = fitted.predict_pointers(windows(n=2_100, seed=1))
    assert found.shape == (2_100, 2) and (found[:, 0] < found[:, 1]).all()
    assert found.min() >= ZONE[0] and found.max() < ZONE[1]
