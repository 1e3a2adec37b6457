"""What speaks against a label, how urgent that is, and the order in which a reviewer sees windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola import schemas
from moola.labels.issues import find_label_issues
from moola.labels.priority import Doubts
from moola.labels.queue import read_queue, review_queue
from moola.labels.resemblance import contradicting_duplicates, outlying

NONE = np.zeros(8, dtype=bool)


def doubts(n: int = 8, **changes: object) -> Doubts:
    """Nothing speaks against any of `n` labels but for the changes."""
    nothing = {name: np.zeros(n, dtype=bool) for name in ("issue", "invalid_pointer", "disagree", "outlier")}
    fields = {**nothing, "agreement": np.ones(n), "duplicate_of": (None,) * n, **changes}
    return Doubts(**fields)  # type: ignore[arg-type]


def only(*rows: int) -> np.ndarray:
    flags = np.zeros(8, dtype=bool)
    flags[list(rows)] = True
    return flags


def test_every_reason_has_its_priority_and_several_are_all_told() -> None:
    some = doubts(
        issue=only(0, 1, 6),
        agreement=np.array([0.9, 0.5, 1, 1, 1, 1, 0.5, 1]),
        duplicate_of=(None, None, "w7", None, None, None, None, None),
        invalid_pointer=only(3),
        disagree=only(4, 6),
        outlier=only(5, 6),
    )
    assert some.priorities().tolist() == [3, 2, 3, 2, 3, 1, 3, 0]
    assert some.reasons() == [
        "issue",
        "issue",
        "near duplicate with another label: w7",
        "invalid pointer",
        "annotators disagree",
        "outlier",
        "issue; annotators disagree; outlier",
        "",
    ]


def test_the_queue_puts_what_is_urgent_first_then_what_fits_least_and_survives_being_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given_labels = np.arange(8 * 3) % 2
    probabilities = rng.dirichlet([1, 1], size=24)
    issues = find_label_issues([f"{i}" for i in range(24)], given_labels, probabilities, ("1", "2"))
    outlier, pointer = np.zeros(24, dtype=bool), np.zeros(24, dtype=bool)
    outlier[-1] = pointer[-2] = True
    queue = review_queue(
        issues, doubts(24, issue=issues["is_label_issue"].to_numpy(), outlier=outlier, invalid_pointer=pointer)
    )
    schemas.review_queue(("1", "2")).validate(queue, lazy=True)
    assert queue["rank"].to_list() == list(range(1, 25))
    for _, group in queue.with_columns(urgency=pl.max_horizontal("priority", 1)).group_by("urgency"):
        assert group["label_quality"].is_sorted()
    assert queue["priority"].replace(0, 1).is_sorted(descending=True)
    assert queue["window_id"][-1] == issues["window_id"][-1]  # an outlier of the best quality stays where it is
    queue.write_csv(tmp_path / "review_queue.csv")
    assert read_queue(tmp_path / "review_queue.csv").equals(queue)


def walks(n: int, seed: int = 0) -> np.ndarray:
    """Random walks [n, 60, 2]."""
    return np.random.default_rng(seed).normal(size=(n, 60, 2)).cumsum(axis=1) + 100


def test_a_copy_in_another_currency_with_another_label_is_found_and_nothing_else() -> None:
    bars = walks(40)
    bars[7] = 1.3 * bars[3] + 5
    bars[9] = bars[11]
    labels = np.arange(40) % 3
    labels[7], labels[3], labels[9], labels[11] = 1, 0, 2, 2
    found = contradicting_duplicates(bars, labels, np.arange(40) * 60, 60)
    assert found[7] == 3 and found[3] == 7
    assert (np.delete(found, [3, 7]) == -1).all()  # the other pair has one label


def test_windows_that_share_bars_are_no_duplicates() -> None:
    bars = walks(40)
    bars[8] = bars[3]
    starts = np.arange(40) * 60
    assert contradicting_duplicates(bars, np.arange(40) % 2, starts, 60)[3] == 8
    starts[8] = starts[3] + 59
    assert (contradicting_duplicates(bars, np.arange(40) % 2, starts, 60) == -1).all()


def test_windows_that_are_merely_alike_are_no_duplicates() -> None:
    bars = walks(40)
    bars[8] = bars[3] + 0.1 * bars[3].std(axis=0) * np.random.default_rng(1).normal(size=bars[3].shape)
    assert np.corrcoef(bars[8, :, 0], bars[3, :, 0])[0, 1] > 0.98
    assert (contradicting_duplicates(bars, np.arange(40) % 2, np.arange(40) * 60, 60) == -1).all()


def test_smooth_windows_that_are_all_alike_are_not_each_others_duplicates() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.linspace(0, 6, 60))[:, None]
    bars = (wave + rng.normal(0, 0.01, (40, 60, 1))).astype(np.float32)
    assert (contradicting_duplicates(bars, np.arange(40) % 2, np.arange(40) * 60, 60) == -1).all()


def test_equal_windows_are_found_also_where_most_windows_have_an_equal() -> None:
    bars = walks(100).astype(np.float32)
    bars[40:80] = 1.3 * bars[:40] + 5  # the usual distance to the window most alike is that of rounding
    labels = np.repeat([0, 1, 0], [40, 40, 20])
    found = contradicting_duplicates(bars, labels, np.arange(100) * 60, 60)
    assert found[:80].tolist() == [*range(40, 80), *range(40)] and (found[80:] == -1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_window_like_no_other_is_an_outlier_and_few_others_are(seed: int) -> None:
    bars = walks(100, seed)
    bars[17] = 100 + 1e-3 * (np.arange(60) % 2)[:, None]
    found = outlying(bars, (20, 60))
    assert found[17] and found.sum() <= 6


def test_too_few_windows_have_no_outliers() -> None:
    assert not outlying(walks(10), (20, 60)).any()
