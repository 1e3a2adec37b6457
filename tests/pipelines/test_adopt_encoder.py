"""An encoder from another run: whether it may have seen the sealed test, and who is told."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from moola.data.splits.sealed import moment_text
from moola.data.window_index import WindowSpans
from moola.encoders.record import EncoderRecord, Lineage
from moola.errors import DataError
from moola.features.standardised import Standardised
from moola.layout import write_json
from moola.models.tcn import Tcn
from moola.pipelines.artifacts import Artifact
from moola.pipelines.report_sections.leaderboard import split_marks
from moola.pipelines.report_sections.statements import encoder_told
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stages.adopt_encoder import AdoptEncoder, adoption
from moola.pipelines.stages.finetune import _transferred
from moola.training.weights import load_weights, save_weights

DAY = 86_400_000_000
BARS = "b" * 64


def record(last_day: int | None, *, bars: str = "other") -> EncoderRecord:
    """Learned from days 0 to `last_day` of some bars, a step a day; cases without times where that is None."""
    times = (None, None) if last_day is None else (moment_text(0), moment_text(last_day * DAY))
    lineage = Lineage(
        *("a", "c", bars, "w", "s"), last_day is None, *times, ((0, last_day or 0),), "run-1", None, None, "0.1.0", {}
    )
    sections: list[Any] = [{"name": "masked_autoencoder"}, {}, {}, {}]
    return EncoderRecord("e_v1", "", *sections, ("x",), ("x",), 5, (), (0,), {}, {}, lineage)


def windows(*, independent: bool = False) -> Any:
    """Five windows of five days; those that begin on day 100 and later are sealed."""
    first = np.array([0, 50, 100, 110, 120])
    number = np.zeros(5, dtype=np.int64)
    spans = WindowSpans(number, number, first, first + 4, first * DAY, (first + 4) * DAY)
    rows = {"train": np.array([0, 1]), "test": np.array([2, 3, 4])}
    store = SimpleNamespace(digest=BARS, independent=independent)
    return SimpleNamespace(store=store, spans=spans, rows_of=rows.__getitem__)


@pytest.mark.parametrize(
    ("last_day", "seen", "told"),
    [
        (99, False, "all of it ends before the sealed test begins"),
        (100, True, "not all of it ends before the sealed test begins"),
        (500, True, "not all of it ends before the sealed test begins"),
    ],
)
def test_on_other_bars_it_has_not_seen_the_test_only_if_all_it_knows_ended_before(last_day, seen, told) -> None:
    said = adoption(record(last_day), windows())
    assert (said["may_have_seen_test"], said["times_known"]) == (seen, True)
    assert told in said["told"]


def test_layers_that_no_gradient_reached_are_named_where_the_encoder_is_used() -> None:
    learned = dataclasses.replace(record(10), remarks={"untrained": ["projection", "mixing"]})
    assert "Its layers projection, mixing were not trained" in adoption(learned, windows())["told"]
    assert "not trained" not in adoption(record(10), windows())["told"]
    report = {"transfer": {"matched": ["a", "b"]}}
    assert _transferred(report, ["mixing"]) == "2 pretrained weights taken over (but mixing: not trained)"
    assert _transferred(report, []) == "2 pretrained weights taken over"


def test_cases_without_times_may_always_have_been_seen() -> None:
    for said in (adoption(record(None), windows()), adoption(record(10), windows(independent=True))):
        assert (said["may_have_seen_test"], said["times_known"]) == (True, False)


def test_one_appended_bar_does_not_let_pass_unsaid_what_the_same_bars_would_refuse() -> None:
    with pytest.raises(DataError, match="has seen the sealed test"):
        adoption(record(110, bars=BARS), windows())
    assert adoption(record(110, bars="b" * 63 + "c"), windows())["may_have_seen_test"]


def encoder(folder, said: dict[str, Any] | None) -> Artifact:
    write_json(folder / "encoder.json", {"adopted": said} if said else {})
    return Artifact("adopt_encoder", "key", "digest", folder, {"files": {"encoder.json": ""}})


def test_the_page_marks_the_sealed_test_and_says_what_is_transductive(tmp_path) -> None:
    seen = encoder(tmp_path, adoption(record(110), windows()))
    assert split_marks({"encoder": seen}) == {"oof": "transductive", "test": "may have been seen"}
    assert "transductive" not in encoder_told(seen)
    same = encoder(tmp_path, adoption(record(60, bars=BARS), windows()))
    assert split_marks({"encoder": same})["test"] == ""
    assert "no window it learned from overlaps the sealed test. Out-of-fold figures are transductive" in (
        encoder_told(same)
    )
    assert "The sealed test was not seen at all" in encoder_told(encoder(tmp_path, None))


def test_the_random_start_settles_as_that_of_a_pretraining_does(tmp_path) -> None:
    config = Tcn(width=4, hidden=4, depth=1, pooling="levels", normalise=False)
    setup = EncoderSetup((0,), "cpu", Standardised(), config)
    values = np.random.default_rng(0).normal(size=(40, 6, 1)).astype(np.float32)
    index = SimpleNamespace(visible=6, zone=(0, 6), gather=lambda stored, rows: stored[rows])
    data: Any = SimpleNamespace(
        store=SimpleNamespace(channels=("x",), values=values), windows=index, rows_of=lambda part: np.arange(30)
    )
    torch.manual_seed(0)
    expected = config.build(setup.input_shape(data))
    unsettled = {name: value.clone() for name, value in expected.state_dict().items()}
    save_weights(tmp_path / "encoder-seed0.safetensors", unsettled)
    expected.settle(setup.settling_inputs(data, np.arange(30), setup.transform))
    learned = dataclasses.replace(record(10), figures={"0": {"epoch": 3.0}})
    AdoptEncoder(setup, "", "")._write_snapshots(learned, data, setup.transform, tmp_path)
    found = load_weights(tmp_path / "snapshots" / "seed0-epoch000.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in expected.state_dict().items())
    assert any(not torch.equal(value, found[name]) for name, value in unsettled.items())
