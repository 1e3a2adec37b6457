"""A pretrained encoder arrives whole, is where training starts, and moves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.errors import StorageError
from moola.models import FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape, pool_states
from moola.training.embedding import embed
from moola.training.finetuning import FinetunedEncoder
from moola.training.probe import build_encoder
from moola.training.schedule import FitConfig
from moola.training.weights import (
    TransferError,
    check_moved,
    load_weights,
    save_weights,
    snapshot,
    transfer_weights,
    weight_deltas,
)

ENCODER = BiLstm(hidden=4)
SHAPE = InputShape(2, 10)


def pretrained(seed: int = 77) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return ENCODER.build(SHAPE).state_dict()


def resources(**changes: object) -> FitResources:
    trainer = FitConfig(epochs=3, batch_size=8, lr=1e-2)
    return dataclasses.replace(
        FitResources(0, lambda inputs: inputs[:, -1], "cpu", ENCODER, pretrained(), trainer), **changes
    )


def windows(seed: int = 0, n: int = 16) -> LabelledWindows:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    values = (rng.normal(0, 0.3, (n, 10, 2)) + labels[:, None, None]).astype(np.float32)
    return LabelledWindows(values, values, labels.astype(np.int64), 2)


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_every_weight_is_copied_and_none_shared() -> None:
    weights, module = pretrained(), ENCODER.build(SHAPE)
    assert sorted(transfer_weights(module, weights)) == sorted(weights)
    assert farthest(module.state_dict(), weights) == 0.0
    with torch.no_grad():
        for value in module.parameters():
            value.zero_()
    assert farthest(pretrained(), weights) == 0.0


def test_missing_left_over_and_mismatched_weights_are_all_named_and_nothing_is_copied() -> None:
    weights, module = pretrained(), ENCODER.build(SHAPE)
    before = snapshot(module)
    del weights["norm.bias"]
    weights["decoder.0.weight"] = torch.zeros(2)
    weights["norm.weight"] = torch.zeros(5)
    with pytest.raises(TransferError) as caught:
        transfer_weights(module, weights)
    assert caught.value.why.splitlines() == [
        "- norm.bias: missing from the file",
        "- decoder.0.weight: not in this encoder",
        "- norm.weight: the file has [5], this encoder [8]",
    ]
    assert farthest(before, snapshot(module)) == 0.0


def test_weights_of_an_encoder_for_other_inputs_are_refused() -> None:
    with pytest.raises(TransferError, match=r"lstm\.weight_ih_l0: the file has \[16, 2\], this encoder \[16, 5\]"):
        transfer_weights(ENCODER.build(InputShape(5, 10)), pretrained())


def test_saved_weights_come_back_and_broken_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_weights(path, {**pretrained(), "turned": torch.arange(6.0).reshape(2, 3).t()})
    found = load_weights(path)
    assert farthest(pretrained(), found) == 0.0 and found["turned"].shape == (3, 2)
    path.write_bytes(path.read_bytes()[:-1])
    for broken in (path, tmp_path / "missing"):
        with pytest.raises(StorageError, match="cannot be read"):
            load_weights(broken)


def test_a_delta_is_the_relative_change_of_a_tensor() -> None:
    before = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2), "c": torch.ones(2)}
    after = {"a": torch.tensor([3.0, 9.0]), "b": torch.ones(2), "c": torch.ones(2)}
    deltas = weight_deltas(before, after)
    assert deltas["a"] == pytest.approx(1.0)
    assert deltas["b"] > 0  # from zero to anything is a move
    assert deltas["c"] == 0.0


def test_an_encoder_that_did_not_move_is_refused_with_its_names() -> None:
    check_moved({"a": 1e-9})
    with pytest.raises(TransferError, match=r"did not move\n- b\n- d\n") as caught:
        check_moved({"a": 0.1, "b": 0.0, "c": 0.2, "d": 0.0})
    assert "frozen_epochs" in caught.value.way_out


def test_buffers_are_not_expected_to_move() -> None:
    module = nn.BatchNorm1d(2)
    module.register_buffer("positions", torch.ones(3))
    before = snapshot(module)
    with torch.no_grad():
        module.weight += 1
        module.bias += 1
    check_moved(weight_deltas(before, snapshot(module)))
    assert set(before) == {"weight", "bias"}


@pytest.mark.parametrize("frozen_epochs", [3, 50])
def test_an_encoder_that_stays_frozen_to_the_end_is_refused(frozen_epochs: int) -> None:
    with pytest.raises(TransferError, match="weights that should have trained did not move"):
        FinetunedEncoder(frozen_epochs=frozen_epochs).fit(windows(), resources())


def test_a_schedule_that_never_unfreezes_the_encoder_is_known_before_training() -> None:
    schedule = FitConfig(epochs=3, batch_size=8)
    assert [FinetunedEncoder(frozen_epochs=n).never_trains(schedule, "model.a")[0] for n in (2, 3, 4)] == [
        False,
        True,
        True,
    ]
    assert FinetunedEncoder(frozen_epochs=3).never_trains(schedule, "model.a")[1].startswith("model.a.frozen_epochs: 3")


def test_an_encoder_that_is_unfrozen_in_time_moves_in_every_tensor() -> None:
    fitted = FinetunedEncoder(frozen_epochs=2).fit(windows(), resources())
    assert set(fitted.deltas) == set(pretrained())
    assert min(fitted.deltas.values()) > 0


def test_fine_tuning_starts_from_the_pretrained_weights() -> None:
    hardly = resources(trainer=FitConfig(epochs=1, batch_size=8, lr=1e-6))
    tuned = FinetunedEncoder(frozen_epochs=0).fit(windows(), hardly).task.encoder.state_dict()
    assert 0 < farthest(pretrained(), tuned) < 1e-5
    scratch = FinetunedEncoder("random", frozen_epochs=0).fit(windows(), hardly).task.encoder.state_dict()
    torch.manual_seed(0)
    assert 0 < farthest(ENCODER.build(SHAPE).state_dict(), scratch) < 1e-5
    assert farthest(pretrained(), scratch) > 0.01


def test_every_fold_starts_from_the_same_pretrained_weights() -> None:
    shared = resources()
    one = FinetunedEncoder(frozen_epochs=0).fit(windows(0), shared)
    FinetunedEncoder(frozen_epochs=0).fit(windows(1), shared)
    assert farthest(pretrained(), dict(shared.pretrained or {})) == 0.0
    again = FinetunedEncoder(frozen_epochs=0).fit(windows(0), shared)
    np.testing.assert_array_equal(one.predict_proba(windows(2)), again.predict_proba(windows(2)))


def test_what_was_pretrained_decides_what_is_fine_tuned() -> None:
    one, other = (
        FinetunedEncoder(frozen_epochs=0).fit(windows(), resources(pretrained=pretrained(seed))) for seed in (77, 78)
    )
    assert not np.allclose(one.predict_proba(windows(2)), other.predict_proba(windows(2)), atol=1e-6)


def test_predictions_are_made_without_dropout() -> None:
    fitted = FinetunedEncoder(frozen_epochs=0, head_dropout=0.9).fit(windows(), resources())
    fitted.task.train()
    np.testing.assert_array_equal(fitted.predict_proba(windows(2)), fitted.predict_proba(windows(2)))


def test_a_random_encoder_is_that_of_its_seed() -> None:
    one, same, other = (build_encoder(windows(), "random", resources(seed=seed)).state_dict() for seed in (3, 3, 4))
    assert farthest(one, same) == 0.0 and farthest(one, other) > 0.01


def test_embedding_is_pooled_states_of_every_window_in_order() -> None:
    encoder = BiLstm(hidden=2, layers=2, dropout=0.9).build(SHAPE)
    inputs = np.random.default_rng(0).normal(size=(1500, 4, 2)).astype(np.float32)  # more than one batch
    vectors = embed(encoder.train(), inputs, "cpu")
    with torch.no_grad():
        expected = pool_states(encoder.eval()(torch.from_numpy(inputs))).numpy()
    assert vectors.shape == (1500, 12)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
