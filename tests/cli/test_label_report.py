"""`moola labels report`: by a log alone, and the whole way from a run over a review to the run on its labels."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from moola.commands.label_commands.agreement import main as agreement
from moola.commands.label_commands.report import main
from moola.errors import ConfigError, DataError
from moola.labels.changes import planted_outcome
from moola.labels.events import LabelEvent, LabelLog, window_digest
from moola.labels.folding import fold
from moola.layout import Layout
from moola.pipelines.results import find_runs
from moola.pipelines.run_artifacts import open_artifacts
from moola.review.decisions import Decision
from moola.review.journal import Journal
from moola.review.material import open_material
from moola.review.session import ReviewSession


def decide(decision: Any, window: str, second: int, who: str = "ada", **fields: Any) -> LabelEvent:
    at = f"2026-01-01T00:00:{second:02d}Z"
    return LabelEvent(decision=decision, window_id=window, annotator=who, at=at, **fields)


def told_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_log_alone_tells_what_changed_the_time_and_the_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, page = tmp_path / "events.jsonl", tmp_path / "page.html"
    mistaken = decide("relabel", "w4", 40, given="up", label="down", seconds=9)
    LabelLog(log).append(
        decide("relabel", "w1", 0, given="up", label="down", seconds=1, blind=True, blind_share=0.5),
        decide("accept", "w2", 10, given="up", seconds=2, blind_share=0.5),
        decide("skip", "w3", 20, given="down", seconds=3),
        decide("note", "w2", 11, note="as it should be"),
        decide("note", "w3", 25, note="<b>odd</b>"),
        mistaken,
        decide("undo", "w4", 45, undoes=mistaken.event_id),
        decide("accept", "w1", 50, "bob", given="up", source="import:x.csv"),
        decide("relabel", "w2", 51, "bob", given="up", label="up", source="import:x.csv"),
        decide("relabel", "w5", 52, "bob", given="up", label="down", source="import:x.csv"),
    )
    told = told_by(["--log", str(log), "--page", str(page)], capsys)
    counts = told["log"]["counts"]
    assert counts == {
        "accepted": 0, "relabelled": 2, "skipped": 1, "blacklisted": 0, "in_conflict": 1, "noted": 2, "undone": 1
    }  # fmt: skip
    assert [(one["window_id"], one["given"], one["label"]) for one in told["changes"]] == [
        ("w3", "down", "(skip)"),
        ("w5", "up", "down"),  # w1 is in conflict and stays
    ]
    assert told["notes"] == {"w2": ["as it should be"], "w3": ["<b>odd</b>"]}
    (times,) = told["log"]["times"]  # imported decisions took no time here, and one that was taken back did
    assert (times["decisions"], times["median"], times["low"], times["high"]) == (4, 2.5, 1.75, 4.5)
    assert times["windows"] == 4
    assert times["per_minute"] == pytest.approx(60 * 3 / 40)
    (pair,) = told["log"]["pairs"]
    assert (pair["first"], pair["second"], pair["n"], pair["observed"]) == ("ada", "bob", 2, 0.5)
    assert told["log"]["anchored"]["blind"]["n"] == 1
    assert agreement(["--log", str(log)]) == 0
    heads = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith("first")]
    assert heads == [["first", "second", "windows"], ["first", "second", "decisions"]]
    text = page.read_text()
    assert (
        "&lt;b&gt;odd" in text
        and "as it should be" in text
        and json.loads(page.with_suffix(".json").read_text()) == told
    )


def test_recall_counts_flips_put_right_and_precision_every_changed_label() -> None:
    truth = ["up", "up", "down", "down", "flat", "up", "flat"]
    given = ["down", "flat", "up", "down", "flat", "up", "up"]  # three flips, and a mistake of an earlier review
    frame = pl.DataFrame({"window_id": list("abcdefg"), "label": given, "true_label": truth})
    before = frame.with_columns(planted=(pl.col("label") != pl.col("true_label")) & (pl.col("window_id") != "g"))
    now = {"a": "up", "b": "down", "d": "up", "e": "flat", "g": "flat"}  # c and f are gone
    after = pl.DataFrame({"window_id": list(now), "label": list(now.values())})
    found = planted_outcome(before, after, fold([decide("relabel", "a", 0, label="up"), decide("skip", "f", 1)]))
    assert found is not None
    assert (found.planted, found.looked_at, found.restored, found.removed) == (3, 1, 1, 1)
    assert (found.relabelled, found.put_right, found.spoiled, found.lost) == (4, 2, 1, 1)
    assert planted_outcome(before.with_columns(planted=pl.lit(False)), after, {}) is None


@pytest.fixture(scope="module")
def reviewed(finished: Any, make_moola: Any, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run, 20 decisions of a review that mend four flips, spoil a label and skip a window, and the run on them."""
    before, data = finished.run_folder, tmp_path_factory.mktemp("reviewed")
    labels = pl.read_parquet(open_artifacts(before)["splits"].path("labels.parquet")).sort("planted", descending=True)
    log = LabelLog(data / "events.jsonl")
    material = open_material(before, Layout(data, before.parents[1]))
    session = ReviewSession(material, Journal(log, "ada"), 0.3)
    spoiled = labels["window_id"][4]
    for number, row in enumerate(labels.head(20).iter_rows(named=True)):
        label = row["true_label"]
        if row["window_id"] == spoiled:
            label = next(name for name in material.classes if name != label)
        said: dict[str, Any] = {"decision": "skip"} if number == 5 else {"decision": "label", "label": label}
        shown = window_digest(material.windows.bars(material.queue[material.queue.positions[row["window_id"]]].row))
        said |= {
            "window_id": row["window_id"],
            "window_digest": shown,
            "given": row["label"],
            "seconds": 2 + number % 3,
        }
        session.decide(Decision(event_id=uuid.uuid4().hex, blind=session.is_blind(row["window_id"]), **said))
    moola = make_moola(finished.folder)
    export = moola("labels", "export", before.name, "--log", str(log.path), "--data", str(data))
    assert export.code == 0, export.err
    after = moola("run", *tiny, f"task.corrections={export.out.splitlines()[-1]}")
    return SimpleNamespace(moola=moola, before=before, after=after.run_folder)


def test_a_review_is_exported_trained_on_and_reported_before_and_after(reviewed: Any) -> None:
    names = (reviewed.before.name, reviewed.after.name)
    done = reviewed.moola("labels", "report", *names)
    assert done.code == 0, done.err
    page = Path(done.out.splitlines()[-1])
    assert page == reviewed.before.parent / f"labels-{names[0]}-{names[1]}" / "review-report.html"
    told = json.loads(page.with_suffix(".json").read_text())
    assert (told["before"], told["after"], told["other_keys"], told["late_decisions"]) == (*names, [], 0)
    planted = told["planted"]
    assert [planted[name] for name in ("planted", "looked_at", "restored", "spoiled", "lost")] == [4, 4, 4, 1, 1]
    assert (planted["recall"]["value"], planted["precision"]["value"]) == (1.0, 0.8)
    assert [told["log"]["counts"][name] for name in ("relabelled", "accepted", "skipped")] == [5, 14, 1]
    assert len(told["changes"]) == 6 and told["from_to"][-1]["label"] == "(skip)"
    assert told["log"]["times"][0]["median"] == 3 and told["log"]["anchored"] is not None
    assert told["figures"]["refused"] == {}
    for run, side in (("before", "b"), ("after", "a")):  # each figure is that of its own run
        rows = json.loads((getattr(reviewed, run) / "metrics.json").read_text())
        own = {(row["split"], row["model"]): row["value"] for row in rows if row["metric"] == "balanced_accuracy"}
        for pair in told["figures"]["pairs"]:
            assert pair[f"figure_{side}"]["value"] == own[pair["split"], pair[side]]
    compared = {split: {one["compared"]["difference"]["n"] for one in told["figures"]["pairs"]
                        if one["split"] == split and one["compared"]} for split in ("test", "oof")}  # fmt: skip
    n_test = pl.read_parquet(reviewed.before / "judged.parquet").filter(split="test").height
    assert compared == {"test": {n_test}, "oof": {39}}  # of 40 that had a label before
    (found,) = (one for one in told["figures"]["pairs"] if (one["split"], one["a"]) == ("test", "logistic_regression"))
    difference = found["compared"]["difference"]
    assert difference["value"] == pytest.approx(found["figure_a"]["value"] - found["figure_b"]["value"])
    text = page.read_text()
    assert "of one seed" in text and "means over" not in text and "of one seed" in done.out
    assert "Sealed test, before and after" in text and "39 windows that both runs have" in text
    assert "4 of 4 flips" in text and "<script" not in text
    assert page.parent not in find_runs([str(page.parent), reviewed.before.name], reviewed.before.parent)


def test_what_cannot_be_reported_is_told_with_the_way_out(reviewed: Any) -> None:
    artifacts = ["--artifacts", str(reviewed.before.parents[1])]
    before, after = reviewed.before.name, reviewed.after.name
    with pytest.raises(ConfigError, match="AFTER: is missing"):
        main([before])
    with pytest.raises(DataError, match="did you mean") as unknown:
        main([f"{before}x", "nothing", *artifacts])
    assert "'nothing'" in unknown.value.why
    with pytest.raises(DataError, match="is named twice"):
        main([before, before, *artifacts])
    with pytest.raises(DataError, match=r"was not trained on corrections[\s\S]*name the run before the review first"):
        main([after, before, *artifacts])
    with pytest.raises(DataError, match="there is no log of decisions"):
        main(["--log", "nowhere.jsonl"])
