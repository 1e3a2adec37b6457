"""What may choose a model, and what may not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.splits import Fold
from moola.errors import DataError
from moola.layout import read_json, write_json
from moola.pipelines.judged import EvaluationConfig, judged_splits
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import Scores
from moola.pipelines.scoring import Findings, score
from moola.pipelines.stages.oof import nested_frame
from moola.pipelines.stages.stack import choose_bases

CLASSES = ("down", "up")
N, N_TEST, SPAN = 60, 80, 5


def _rows(model: str, split: str, ids: list[str], up: np.ndarray) -> pl.DataFrame:
    n = len(ids)
    return pl.DataFrame(
        {
            "window_id": ids,
            "model": [model] * n,
            "seed": pl.Series([0] * n, dtype=pl.Int64),
            "split": [split] * n,
            "fold": pl.Series([0] * n, dtype=pl.Int64),
            "prob_down": 1 - up,
            "prob_up": up,
        }
    )


def _guess(truth: np.ndarray, share_right: float, seed: int) -> np.ndarray:
    """Probabilities of "up" that are right for about that share of windows."""
    generator = np.random.default_rng(seed)
    right = generator.random(len(truth)) < share_right
    return np.where(right == (truth == 1), 0.8, 0.2) + generator.uniform(-0.1, 0.1, len(truth))


@pytest.fixture
def given() -> np.ndarray:
    return np.arange(N) % 2


def _data(given: np.ndarray, true: np.ndarray) -> Any:
    """As much of a data set as scoring looks at."""
    names = np.array(CLASSES, dtype=object)
    label_ids, test_ids = [f"w{i}" for i in range(N)], [f"t{i}" for i in range(N_TEST)]
    labels = pl.DataFrame(
        {
            "window_id": label_ids,
            "label": names[given].tolist(),
            "true_label": names[true].tolist(),
            "planted": (given != true).tolist(),
            "step": np.arange(N) * SPAN,
        }
    )
    test_truth = names[np.arange(N_TEST) % 2].tolist()
    test = pl.DataFrame({"window_id": test_ids, "true_label": test_truth, "step": np.arange(N_TEST) * SPAN})
    return SimpleNamespace(
        labels=labels,
        test=test,
        folds=[Fold(np.arange(0), np.arange(N))],
        span=SPAN,
        store=SimpleNamespace(independent=False),
        every_label_given=False,
        classes=CLASSES,
        class_numbers=lambda column: np.array([CLASSES.index(name) for name in column]),
    )


def _predictions(given: np.ndarray, test_of_first: np.ndarray | None = None) -> Predictions:
    label_ids, test_ids = [f"w{i}" for i in range(N)], [f"t{i}" for i in range(N_TEST)]
    test_truth = np.arange(N_TEST) % 2
    frames = []
    for number, (model, oof) in enumerate({"first": 0.95, "second": 0.7, "simple": 0.6, "majority": 0.5}.items()):
        frames.append(_rows(model, "oof", label_ids, _guess(given, oof, number)))
        test = _guess(test_truth, 0.7, 10 + number)
        frames.append(
            _rows(model, "test", test_ids, test_of_first if model == "first" and test_of_first is not None else test)
        )
    roles = {"first": "model", "second": "model", "simple": "baseline", "majority": "control"}
    kinds = {m: {"role": r, "deterministic": True, "encoder": False} for m, r in roles.items()}
    table = pl.concat(frames)
    return Predictions(table, kinds, CLASSES, nested_frame(table.clear(), 0))


CONFIG = EvaluationConfig(n_resamples=200)


def scored(data: Any, predictions: Predictions, findings: Findings | None = None) -> Scores:
    return score(data, predictions, judged_splits(data, predictions, CONFIG), 1, findings)


def test_the_truth_behind_the_given_labels_takes_no_part_in_the_choice(given: np.ndarray) -> None:
    predictions = _predictions(given)
    honest = scored(_data(given, given), predictions).verdict[1]
    flipped = scored(_data(given, 1 - given), predictions).verdict[1]
    assert honest.startswith("first, chosen")
    assert flipped.split(", not on the test")[0] == honest.split(", not on the test")[0]


def test_the_sealed_test_takes_no_part_in_the_choice_even_when_a_model_collapses_on_it(given: np.ndarray) -> None:
    collapsed = scored(_data(given, given), _predictions(given, np.full(N_TEST, 0.9)))
    assert collapsed.verdict[1].startswith("No winner is named: first, chosen")
    assert "under the alarm" in collapsed.verdict[1]
    (alarm,) = (a for a in collapsed.alarms.alarms if a.code == "constant_predictor" and a.model == "first")
    assert alarm.split == "test" and f"gives class {CLASSES[1]} to 100.0%" in alarm.message


def test_figures_are_scored_against_the_truth_all_the_same(given: np.ndarray) -> None:
    flipped = scored(_data(given, 1 - given), _predictions(given))
    assert flipped.figures["oof"]["first"]["balanced_accuracy"].value < 0.5


@pytest.mark.parametrize(("seen", "fired"), [(True, ["alarm"]), (False, [])])
def test_an_encoder_from_elsewhere_that_may_have_seen_the_test_fires(
    given: np.ndarray, seen: bool, fired: list
) -> None:
    adopted = {"name": "e_v1", "may_have_seen_test": seen, "times_known": True, "learned": ["2001", "2009"]}
    found = scored(_data(given, given), _predictions(given), Findings(pretrained=True, adopted=adopted)).alarms
    assert [a.severity for a in found.alarms if a.code == "sealed_test_perhaps_seen"] == fired
    own = scored(_data(given, given), _predictions(given), Findings(pretrained=True)).alarms
    assert found.n_checks == own.n_checks + 1


def test_blocks_shorter_than_a_window_are_refused(given: np.ndarray) -> None:
    with pytest.raises(DataError, match="block_bars=2 is shorter than the 5 bars"):
        judged_splits(_data(given, given), _predictions(given), EvaluationConfig(block_bars=2))


def _stacked(given: np.ndarray, *splits: str) -> Predictions:
    """With a stack that is right about every window of some splits."""
    predictions, frames = _predictions(given), []
    for split, letter, truth in (("oof", "w", given), ("test", "t", np.arange(N_TEST) % 2)):
        if split in splits:
            ids = [f"{letter}{i}" for i in range(len(truth))]
            frames.append(_rows("stack", split, ids, _guess(truth, 1.0, 99)))
    kinds = {**predictions.kinds, "stack": {"role": "stack", "deterministic": True}}
    return Predictions(pl.concat([predictions.table, *frames]), kinds, CLASSES, predictions.inner)


def test_a_stack_without_a_figure_out_of_fold_is_never_chosen(given: np.ndarray) -> None:
    scores = scored(_data(given, given), _stacked(given, "test"))
    assert "stack" not in scores.figures["oof"] and "stack" in scores.figures["test"]
    assert scores.verdict[1].startswith("first, chosen")


def test_a_stack_is_chosen_by_its_figure_out_of_fold_and_held_against_the_base_that_is_best_there(
    given: np.ndarray, tmp_path: Path
) -> None:
    scores = scored(_data(given, given), _stacked(given, "oof", "test"))
    assert scores.verdict[1].startswith("Stack, chosen")
    (gate,) = scores.stacks
    assert gate.accepted
    assert gate.single == "first"  # the best base out of fold, whichever is best on the test
    write_json(tmp_path / "scores.json", scores.to_json())
    assert Scores.from_json(read_json(tmp_path / "scores.json")) == scores


def test_what_is_sure_alone_is_not_sure_among_many(given: np.ndarray) -> None:
    scores = scored(_data(given, given), _stacked(given, "oof", "test"))
    sure = next(one for one in scores.differences if one.a == "stack" and one.split == "test")
    assert sure.adjusted < 0.05 and sure.sentence == "Stack is better"
    assert dataclasses.replace(sure, adjusted=0.2).sentence == "Stack may be better: not sure among so many"
    unsure = dataclasses.replace(sure.difference, low=-0.1)
    assert dataclasses.replace(sure, difference=unsure).sentence == "cannot be told apart"


def test_controls_and_collapsed_models_are_not_stacked(given: np.ndarray) -> None:
    predictions = _predictions(given)
    flat = _rows("flat", "oof", [f"w{i}" for i in range(N)], np.full(N, 0.6))
    kinds = {**predictions.kinds, "flat": {"role": "model", "deterministic": True}}
    bases, left_out = choose_bases(
        Predictions(pl.concat([predictions.table, flat]), kinds, CLASSES, predictions.inner), _data(given, given)
    )
    assert bases == ["first", "second", "simple"]
    assert left_out == {"majority": "control", "flat": "collapsed"}


def test_scores_survive_json_with_ends_that_are_not_known(given: np.ndarray, tmp_path: Path) -> None:
    scores = scored(_data(given, given), _predictions(given))
    unknown = dataclasses.replace(scores.figures["test"]["first"]["accuracy"], low=math.nan)
    figures = {"test": {"first": {"accuracy": unknown}}, "oof": scores.figures["oof"]}
    write_json(tmp_path / "scores.json", dataclasses.replace(scores, figures=figures).to_json())
    back = Scores.from_json(read_json(tmp_path / "scores.json"))
    assert math.isnan(back.figures["test"]["first"]["accuracy"].low)
    assert back.figures["oof"] == scores.figures["oof"] and back.verdict == scores.verdict
    assert back.alarms == scores.alarms and back.differences == scores.differences
