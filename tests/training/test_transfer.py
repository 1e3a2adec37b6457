"""A pretrained encoder arrives whole, is where training starts, and moves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moola.data.device_batches import DeviceBatches
from moola.data.draws import Draws
from moola.errors import ConfigError, DataError, StorageError
from moola.models import FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape, pool_states
from moola.models.tcn import Tcn
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training.alarms import look_at_layers
from moola.training.embedding import embed
from moola.training.finetuning import FinetunedEncoder
from moola.training.fitted_encoder import FittedEncoder
from moola.training.loop import fit
from moola.training.losses import ClassLoss
from moola.training.mixing import Mixing
from moola.training.movement import Movement, movement, snapshot, untrained_layers
from moola.training.probe import build_encoder
from moola.training.schedule import FitConfig
from moola.training.weights import (
    TransferError,
    compare_weights,
    digest_weights,
    load_weights,
    save_weights,
    transfer_weights,
)

ENCODER = BiLstm(hidden=4)
SHAPE = InputShape(2, 10)


def pretrained(seed: int = 77) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return ENCODER.build(SHAPE).state_dict()


def schedule(**changes: Any) -> FitConfig:
    return FitConfig(**{"epochs": 3, "batch_size": 8, "lr": 1e-2, **changes})


def resources(**changes: Any) -> FitResources:
    fields = {"encoder": ENCODER, "pretrained": pretrained(), "trainer": schedule(), **changes}
    return FitResources(**{"seed": 0, "summary": lambda inputs: inputs[:, -1], "device": "cpu", **fields})


def windows(seed: int = 0, n: int = 16) -> LabelledWindows:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    values = (rng.normal(0, 0.3, (n, 10, 2)) + labels[:, None, None]).astype(np.float32)
    return LabelledWindows(values, values, labels.astype(np.int64), 2)


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def encoder_of(fitted: FittedEncoder) -> dict[str, Tensor]:
    return fitted.members[0].network.encoder.state_dict()


def test_every_weight_is_copied_and_none_shared() -> None:
    weights, module = pretrained(), ENCODER.build(SHAPE)
    report = transfer_weights(module, weights)
    assert report.matched == {name: tuple(value.shape) for name, value in weights.items()}
    assert not report.missing and not report.mismatched and not report.unexpected and not report.problems
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
    with pytest.raises(TransferError, match="8 of 10 match") as caught:
        transfer_weights(module, weights, "encoder=a larger one")
    assert caught.value.why.splitlines() == [
        "- norm.bias: missing from the file; this encoder has [8]",
        "- decoder.0.weight: [2] in the file, not in this encoder",
        "- norm.weight: the file has [5], this encoder [8]",
    ]
    assert caught.value.way_out.endswith("these weights were made with encoder=a larger one")
    assert farthest(before, snapshot(module)) == 0.0
    report = json.loads(json.dumps(compare_weights(module, weights).to_json()))
    assert report["missing"] == {"norm.bias": [8]} and report["mismatched"] == {"norm.weight": [[5], [8]]}
    assert len(report["matched"]) == 8 and report["unexpected"] == {"decoder.0.weight": [2]}


def test_layers_that_an_objective_leaves_as_they_were_are_named_in_an_alarm() -> None:
    spans = InputShape(2, 10, ((0, 4), (4, 10)))
    encoder = BiLstm(hidden=3, pooling="spans", span_width=4, mixing=3).build(spans)
    before = snapshot(encoder)
    objective = MaskedAutoencoder(decoder_hidden=4).build(encoder, WindowInputs(spans, ("a", "b"), lambda bars: bars))
    values = torch.from_numpy(windows().bars).flatten(0, 1)
    fit(objective, DeviceBatches(values, np.arange(16) * 10, 10, halved, 8, seed=0), schedule())
    assert untrained_layers(encoder, before) == ["projection", "mixing"]
    (alarm,) = look_at_layers(untrained_layers(encoder, before))
    assert alarm.kind == "untrained" and "did not train projection, mixing: their part" in alarm.message
    assert not look_at_layers([])


def test_weights_of_an_encoder_for_other_inputs_are_refused() -> None:
    with pytest.raises(TransferError, match=r"recurrent\.weight_ih_l0: the file has \[16, 2\], this encoder \[16, 5\]"):
        transfer_weights(ENCODER.build(InputShape(5, 10)), pretrained())


def test_a_fit_that_gets_another_encoders_weights_says_what_they_were_made_with() -> None:
    torch.manual_seed(0)
    larger = BiLstm(hidden=5).build(SHAPE).state_dict()
    with pytest.raises(TransferError, match="made with encoder=larger"):
        FinetunedEncoder().fit(windows(), resources(pretrained=larger, origin="encoder=larger"))


def test_saved_weights_come_back_and_broken_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_weights(path, {**pretrained(), "turned": torch.arange(6.0).reshape(2, 3).t()})
    found = load_weights(path)
    assert farthest(pretrained(), found) == 0.0 and found["turned"].shape == (3, 2)
    path.write_bytes(path.read_bytes()[:-1])
    for broken in (path, tmp_path / "missing"):
        with pytest.raises(StorageError, match="cannot be read"):
            load_weights(broken)


def test_a_digest_is_that_of_names_types_shapes_and_bits() -> None:
    weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    digest = digest_weights(weights)
    assert digest == digest_weights(dict(reversed(weights.items()))) and len(digest) == 64
    others = [
        {"a": torch.tensor([1.0, 2.0 + 2**-22]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"c": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]).bfloat16(), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0])},
    ]
    assert len({digest, *map(digest_weights, others)}) == 6


def test_movement_is_relative_to_each_layer_and_each_weight() -> None:
    encoder = BiLstm(hidden=2, layers=2).build(SHAPE)
    before = snapshot(encoder)
    assert set(movement(encoder, before).layers.values()) == {0.0}
    with torch.no_grad():
        encoder.recurrent.weight_ih_l1.mul_(3)
    moved = movement(encoder, before)
    assert moved.layers["recurrent_0"] == 0.0 and 0 < moved.layers["recurrent_1"] < 2
    assert moved.tensors["recurrent.weight_ih_l1"] == pytest.approx(2.0)
    assert sum(value > 0 for value in moved.tensors.values()) == 1
    assert set(moved.tensors) == set(before)


def test_a_weight_that_was_zero_moves_too() -> None:
    encoder = ENCODER.build(SHAPE)
    before = snapshot(encoder)
    with torch.no_grad():
        encoder.norm.bias.add_(1)
    assert movement(encoder, before).tensors["norm.bias"] > 0


def test_layers_that_did_not_move_and_layers_that_should_not_have_are_named() -> None:
    moved = Movement({"a": 0.0, "b": 0.1, "c": 0.0}, {"a.bias": 0.0, "b.bias": 0.0, "b.weight": 0.1, "c.bias": 0.0})
    moved.check(frozen=("a", "c"))
    with pytest.raises(TransferError, match="should have trained did not move") as caught:
        moved.check(frozen=("c",))
    assert caught.value.why.splitlines()[0] == "- layer a" and "- layer c" not in caught.value.why
    with pytest.raises(TransferError, match=r"should have stayed frozen moved\n- b: by 0\.1"):
        moved.check(frozen=("a", "b", "c"))


def test_buffers_are_not_expected_to_move() -> None:
    encoder = ENCODER.build(SHAPE)
    encoder.register_buffer("positions", torch.ones(3))
    assert "positions" not in movement(encoder, snapshot(encoder)).tensors


def test_a_head_that_starts_at_the_probe_is_better_after_two_small_steps_than_a_blank_one() -> None:
    def loss(start: str) -> float:
        model = FinetunedEncoder(head_start=start, frozen_epochs=0)  # type: ignore[arg-type]
        fitted = model.fit(windows(), resources(trainer=schedule(epochs=1, batch_size=8, lr=1e-5)))
        return float(-np.log(fitted.predict_proba(windows())[np.arange(16), windows().labels]).mean())

    assert loss("ridge") < 0.5 < loss("zero") == pytest.approx(np.log(2), abs=1e-2)


def test_a_random_encoder_settles_on_its_training_windows_and_a_pretrained_one_stays_as_it_came() -> None:
    config = Tcn(width=4, hidden=4, depth=1, dropout=0.0, pooling="levels")
    torch.manual_seed(0)
    weights = config.build(SHAPE).state_dict()
    given = resources(encoder=config, pretrained=weights)
    assert not farthest(build_encoder(windows(), "pretrained", given)[0].state_dict(), weights)
    found, other = (build_encoder(windows(n), "random", given)[0].state_dict() for n in (0, 1))
    assert float(found["pooling.levels"].abs().min()) > 0
    moved = {name for name in found if not torch.equal(found[name], other[name])}
    assert moved == {"pooling.levels", "pooling.spread"}


@pytest.mark.parametrize("frozen_epochs", [3, 50])
def test_an_encoder_that_stays_frozen_to_the_end_is_refused(frozen_epochs: int) -> None:
    with pytest.raises(ConfigError, match=rf"layer recurrent_0 would begin after {frozen_epochs} of .*epochs=3"):
        FinetunedEncoder(frozen_epochs=frozen_epochs).fit(windows(), resources())


def test_a_schedule_that_does_not_go_with_the_model_is_known_before_training() -> None:
    def broken(model: FinetunedEncoder, **changes: Any) -> list[str]:
        return [told for is_broken, told in model.schedule_rules(schedule(**changes), "model.a") if is_broken]

    assert [broken(FinetunedEncoder(frozen_epochs=n)) for n in (2, 0)] == [[], []]
    assert broken(FinetunedEncoder(frozen_epochs=3))[0].startswith("model.a.frozen_epochs: 3 leaves none")
    assert not broken(FinetunedEncoder(frozen_epochs=3, trained_layers=0))
    gradual = FinetunedEncoder(frozen_epochs=1, unfreeze_every_epochs=2)
    assert broken(gradual)[0].startswith("model.a.unfreeze_every_epochs: 2 after frozen_epochs=1 leaves none")
    assert not broken(gradual, epochs=4) and not broken(dataclasses.replace(gradual, trained_layers=1))
    told = broken(FinetunedEncoder(), epochs=9, patience=2, batch_size="auto", checkpoint_every_steps=3)
    assert [line.partition(":")[0].removeprefix("trainer.finetune.") for line in told] == [
        "patience",
        "batch_size",
        "checkpoint_every_epochs, checkpoint_every_steps",
    ]


def test_an_encoder_that_is_unfrozen_in_time_moves_in_every_weight() -> None:
    moved = FinetunedEncoder(frozen_epochs=2).fit(windows(), resources()).members[0].movement
    assert set(moved.tensors) == set(pretrained()) and min(moved.tensors.values()) > 0


def test_layers_that_are_not_to_train_keep_the_pretrained_weights() -> None:
    encoder = BiLstm(hidden=3, layers=3)
    weights = encoder.build(SHAPE).state_dict()
    given = resources(encoder=encoder, pretrained=weights, trainer=schedule(weight_decay=0.5))
    for trained in (0, 1, 2):
        fitted = FinetunedEncoder(frozen_epochs=0, trained_layers=trained).fit(windows(), given)
        moved = fitted.members[0].movement.layers
        assert [value > 0 for value in moved.values()] == [False] * (3 - trained) + [True] * trained
        assert encoder_of(fitted)["recurrent.weight_ih_l0"].equal(weights["recurrent.weight_ih_l0"])


def test_fine_tuning_starts_from_the_pretrained_weights() -> None:
    hardly = resources(trainer=schedule(epochs=1, lr=1e-6))
    tuned = encoder_of(FinetunedEncoder(frozen_epochs=0).fit(windows(), hardly))
    assert 0 < farthest(pretrained(), tuned) < 1e-5
    scratch = encoder_of(FinetunedEncoder("random", frozen_epochs=0).fit(windows(), hardly))
    torch.manual_seed(0)
    assert 0 < farthest(ENCODER.build(SHAPE).state_dict(), scratch) < 1e-5
    assert farthest(pretrained(), scratch) > 0.01


def test_every_fold_starts_from_the_same_pretrained_weights() -> None:
    shared = resources()
    one = FinetunedEncoder(frozen_epochs=0).fit(windows(0), shared)
    FinetunedEncoder(frozen_epochs=0).fit(windows(1), shared)
    assert farthest(pretrained(), dict(shared.pretrained or {})) == 0.0
    assert one.members[0].started_from == digest_weights(pretrained())
    again = FinetunedEncoder(frozen_epochs=0).fit(windows(0), shared)
    np.testing.assert_array_equal(one.predict_proba(windows(2)), again.predict_proba(windows(2)))


def test_what_was_pretrained_decides_what_is_fine_tuned() -> None:
    one, other = (
        FinetunedEncoder(frozen_epochs=0).fit(windows(), resources(pretrained=pretrained(seed))) for seed in (77, 78)
    )
    assert not np.allclose(one.predict_proba(windows(2)), other.predict_proba(windows(2)), atol=1e-6)


def test_predictions_are_made_without_dropout() -> None:
    fitted = FinetunedEncoder(frozen_epochs=0, head_dropout=0.9).fit(windows(), resources())
    fitted.members[0].network.train()
    np.testing.assert_array_equal(fitted.predict_proba(windows(2)), fitted.predict_proba(windows(2)))


def test_a_random_encoder_is_that_of_its_seed() -> None:
    one, same, other = (build_encoder(windows(), "random", resources(seed=seed))[0].state_dict() for seed in (3, 3, 4))
    assert farthest(one, same) == 0.0 and farthest(one, other) > 0.01


def test_embedding_is_pooled_states_of_every_window_in_order() -> None:
    encoder = BiLstm(hidden=2, layers=2, dropout=0.9).build(SHAPE)
    inputs = np.random.default_rng(0).normal(size=(1500, 4, 2)).astype(np.float32)  # more than one batch
    vectors = embed(encoder.train(), inputs, "cpu")
    with torch.no_grad():
        expected = pool_states(encoder.eval()(torch.from_numpy(inputs))).numpy()
    assert vectors.shape == (1500, 12)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


EVERYTHING = FinetunedEncoder(
    frozen_epochs=1,
    lr_decay=0.5,
    l2_sp=0.01,
    loss=ClassLoss(0.1, 2.0, "balanced"),
    mixing=Mixing(0.4, 0.5),
    members=2,
)


def jittered() -> dict[str, Any]:
    """Resources that augment, and windows that know how."""

    def augment(bars: Tensor, draws: Draws) -> Tensor:
        return bars + 0.1 * draws.normal(*bars.shape[1:])

    return {"augment": augment}


def halved(bars: Tensor) -> Tensor:
    return bars / 2


def test_the_same_seed_gives_the_same_classifier_whatever_is_switched_on() -> None:
    train = dataclasses.replace(windows(), inputs=windows().bars / 2, transform=halved)
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # what others drew before must not matter
        np.random.seed(noise)
        found.append(EVERYTHING.fit(train, resources(**jittered())).predict_proba(windows(2)))
    np.testing.assert_array_equal(*found)
    other = EVERYTHING.fit(train, resources(seed=1, **jittered())).predict_proba(windows(2))
    assert not np.allclose(found[0], other, atol=1e-6)


def test_augmented_bars_are_transformed_and_held_out_windows_stay_as_they_are() -> None:
    seen: list[float] = []

    def doubled(bars: Tensor, draws: Draws) -> Tensor:
        return bars * 2

    def recorded(bars: Tensor) -> Tensor:
        seen.append(float(bars.abs().max()))
        return bars / 2

    train = dataclasses.replace(windows(), inputs=windows().bars / 2, transform=recorded)
    model = FinetunedEncoder(frozen_epochs=0, head_dropout=0.0)
    augmented = model.fit(train, resources(augment=doubled))
    assert max(seen) == pytest.approx(2 * float(np.abs(train.bars).max()))
    n_seen = len(seen)
    same = model.fit(windows(), resources())  # twice the bars, halved: the bars themselves
    np.testing.assert_allclose(augmented.predict_proba(windows(2)), same.predict_proba(windows(2)), atol=1e-6)
    assert len(seen) == n_seen


def test_bars_cannot_be_augmented_where_nobody_knows_how_inputs_are_made() -> None:
    with pytest.raises(ValueError, match="transform is needed"):
        FinetunedEncoder(frozen_epochs=0).fit(windows(), resources(**jittered()))


def test_members_start_from_the_same_encoder_differ_and_are_averaged() -> None:
    three = FinetunedEncoder(frozen_epochs=0, members=3).fit(windows(), resources())
    assert {member.started_from for member in three.members} == {digest_weights(pretrained())}
    alone = [dataclasses.replace(three, members=(member,)).predict_proba(windows(2)) for member in three.members]
    assert not np.allclose(alone[0], alone[1], atol=1e-6) and not np.allclose(alone[1], alone[2], atol=1e-6)
    np.testing.assert_allclose(three.predict_proba(windows(2)), np.mean(alone, axis=0), atol=1e-12)
    one = FinetunedEncoder(frozen_epochs=0).fit(windows(), resources())
    np.testing.assert_array_equal(one.predict_proba(windows(2)), alone[0])


def test_members_from_scratch_start_from_encoders_of_their_own() -> None:
    two = FinetunedEncoder("random", frozen_epochs=0, members=2).fit(windows(), resources(pretrained=None))
    assert len({member.started_from for member in two.members}) == 2
    assert [member.transfer for member in two.members] == [None, None]


def test_the_penalty_holds_the_encoder_where_it_started() -> None:
    given = resources(trainer=schedule(epochs=12, weight_decay=0.0))
    loose, held = (
        FinetunedEncoder(frozen_epochs=0, l2_sp=weight).fit(windows(), given).members[0].movement.layers["recurrent_0"]
        for weight in (0.0, 30.0)
    )
    assert 0 < held < loose / 2


def test_a_classifier_is_saved_without_what_only_its_losses_need() -> None:
    marked = dataclasses.replace(windows(), pointers=np.tile([2, 7], (16, 1)))
    fitted = dataclasses.replace(EVERYTHING, members=1).fit(marked, resources())
    names = {name.partition(".")[0] for name in fitted.members[0].network.state_dict()}
    assert names == {"encoder", "head", "pointer_head"}


@pytest.mark.parametrize(("labels", "told"), [([1] * 8, "one class only"), ([], "no training windows")])
def test_windows_that_nothing_can_be_learned_from_are_refused(labels: list[int], told: str) -> None:
    values = np.zeros((len(labels), 10, 2), dtype=np.float32)
    with pytest.raises(DataError, match=told):
        FinetunedEncoder().fit(LabelledWindows(values, values, np.array(labels, dtype=np.int64), 2), resources())


def test_inputs_that_are_not_finite_are_told_with_whether_the_bars_or_the_transform_made_them() -> None:
    train = windows()
    train.bars[3, 2, 0] = 7.0
    inputs = train.bars.copy()
    inputs[[3, 5], 2, 1] = np.nan
    broken = dataclasses.replace(train, inputs=inputs)
    with pytest.raises(DataError, match="NaN or infinite in the labelled windows") as caught:
        FinetunedEncoder().fit(broken, resources())
    assert caught.value.why.startswith("channel [1] of 2 of 16 windows (numbers 3, 5); the bars are finite")
    with pytest.raises(DataError, match=r"bars have it in channel \[1\] already"):
        FinetunedEncoder().fit(dataclasses.replace(broken, bars=inputs), resources())


@given(n=st.integers(2, 7), size=st.sampled_from([2, 64]))
def test_few_windows_in_batches_of_any_size_are_learned_from(n: int, size: int) -> None:
    given = resources(trainer=schedule(epochs=1, batch_size=size))
    fitted = FinetunedEncoder(frozen_epochs=0, mixing=Mixing(0.4, 0.5)).fit(windows(n=n), given)
    assert np.isfinite(fitted.predict_proba(windows(2))).all()


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: FinetunedEncoder("random", l2_sp=0.1), "l2_sp: pulls towards pretrained weights"),
        (lambda: FinetunedEncoder(lr_decay=0.0), "lr_decay: 0.0"),
        (lambda: FinetunedEncoder(members=0), "members: 0"),
        (lambda: FinetunedEncoder(trained_layers=-1), "trained_layers: -1"),
        (lambda: FinetunedEncoder(pointer_weight=-1.0), "pointer_weight: -1.0"),
        (lambda: FinetunedEncoder(unfreeze_every_epochs=-1), "unfreeze_every_epochs: -1"),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert caught.value.problems[0].startswith(problem)


def test_alarms_are_passed_on_but_for_a_penalty_that_is_small() -> None:
    heard: list[Any] = []
    given = resources(trainer=schedule(precision="tf32"), on_alarm=heard.append)
    FinetunedEncoder(frozen_epochs=1, l2_sp=1e-9).fit(windows(), given)
    assert {alarm.kind for alarm in heard} == {"precision"}
    marked = dataclasses.replace(windows(), pointers=np.tile([2, 7], (16, 1)))
    for l2_sp in (0.0, 1e-9):
        heard.clear()
        FinetunedEncoder(frozen_epochs=1, pointer_weight=1e-9, l2_sp=l2_sp).fit(marked, given)
        assert [alarm.part for alarm in heard if alarm.kind == "loss_share"] == ["classes", "pointers"]
