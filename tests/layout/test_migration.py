"""An old tree moves into the contract, and no content is ever lost."""

from __future__ import annotations

import contextlib
import errno
import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola import migration
from moola.cli import main
from moola.errors import EXIT_OK, EXIT_STORAGE
from moola.layout import Layout
from moola.migration import migrate, plan_migration

OLD = {
    "data/artifacts": "artifacts",
    "data/logs": "artifacts/logs",
    "data/pretraining": "data/processed/unlabeled",
    "data/reports": "artifacts/results",
    "data/training_cleaned": "data/processed/archived",
    "data/corrections/bespoke": "data/corrections/candlesticks_annotations",
    "data/corrections/bespoke_annotations": "data/corrections/candlesticks_annotations",
}
TREES = st.dictionaries(
    st.tuples(
        st.sampled_from([*OLD, *OLD.values(), "artifacts/runs", "data/artifacts/runs", "data/interim"]),
        st.sampled_from(["a.json", "sub/a.json", "b.csv", "events.out.tfevents.1"]),
    ),
    st.sampled_from(["one", "two"]),
    max_size=14,
)


def grow(root: Path, files: dict[tuple[str, str], str]) -> Layout:
    for (folder, name), content in files.items():
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Layout(root / "data", root / "artifacts")


def contents(root: Path) -> dict[str, str]:
    """Every file but the journal, by its place."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "journal.jsonl"
    }


def run(layout: Layout) -> None:
    migrate(plan_migration(layout), layout.data.parent / "journal.jsonl")


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_each_old_folder_goes_to_its_new_place(tmp_path: Path, old: str, new: str) -> None:
    layout = grow(tmp_path, {(old, "sub/a.json"): "one"})
    run(layout)
    assert contents(tmp_path) == {f"{new}/sub/a.json": "one"}
    assert not (tmp_path / old).exists()


@given(files=TREES)
def test_no_content_is_lost_and_nothing_that_was_there_is_overwritten(files: dict[tuple[str, str], str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        layout = grow(root, files)
        before = contents(root)
        run(layout)
        after = contents(root)
        settled = {place: text for place, text in before.items() if not any(place.startswith(f"{o}/") for o in OLD)}
        for place, text in settled.items():
            assert after.get(place) == text or place.startswith("artifacts/runs/")
        for place, text in before.items():  # the same name with the same content is somewhere
            assert any(Path(p).name == Path(place).name and t == text for p, t in after.items())
        run(layout)
        assert contents(root) == after  # a second time there is nothing to do


@given(files=TREES, stop=st.integers(0, 12))
def test_after_a_crash_at_any_step_the_same_command_ends_in_the_same_tree(
    files: dict[tuple[str, str], str], stop: int
) -> None:
    with tempfile.TemporaryDirectory() as straight, tempfile.TemporaryDirectory() as broken:
        run(grow(Path(straight), files))
        layout = grow(Path(broken), files)
        taken = 0
        unlink = Path.unlink

        def unlink_or_die(path: Path, missing_ok: bool = False) -> None:
            nonlocal taken
            taken += 1
            if taken > stop:
                raise KeyboardInterrupt  # the file is in both places now
            unlink(path, missing_ok)

        with patch.object(Path, "unlink", unlink_or_die), contextlib.suppress(KeyboardInterrupt):
            run(layout)
        run(layout)
        assert contents(Path(broken)) == contents(Path(straight))


def test_other_content_in_the_place_is_a_conflict_and_both_stay(tmp_path: Path) -> None:
    old, new = "data/corrections/bespoke", "data/corrections/candlesticks_annotations"
    files = {(old, "a.json"): "one", (new, "a.json"): "two", (old, "b.json"): "same", (new, "b.json"): "same"}
    layout = grow(tmp_path, files)
    kinds = {(step.kind, step.source.name) for step in plan_migration(layout)}
    assert kinds == {("conflict", "a.json"), ("drop_copy", "b.json"), ("remove_empty", "bespoke")}
    run(layout)
    assert contents(tmp_path) == {f"{old}/a.json": "one", f"{new}/a.json": "two", f"{new}/b.json": "same"}


def test_two_old_folders_that_want_one_place_conflict_with_each_other(tmp_path: Path) -> None:
    first, second = "data/corrections/bespoke", "data/corrections/bespoke_annotations"
    layout = grow(tmp_path, {(first, "a.json"): "one", (second, "a.json"): "two"})
    (conflict,) = (step for step in plan_migration(layout) if step.kind == "conflict")
    assert (conflict.source, conflict.target) == (tmp_path / second / "a.json", tmp_path / first / "a.json")
    run(layout)
    assert contents(tmp_path) == {
        "data/corrections/candlesticks_annotations/a.json": "one",
        f"{second}/a.json": "two",
    }


def test_experiments_are_named_for_review_and_go_only_when_empty(tmp_path: Path) -> None:
    layout = grow(tmp_path, {("data/experiments", "x.csv"): "one"})
    (tmp_path / "data/interim/empty").mkdir(parents=True)
    assert [(step.kind, step.source.name) for step in plan_migration(layout)] == [
        ("review", "experiments"),
        ("remove_empty", "interim"),
    ]
    run(layout)
    assert (tmp_path / "data/experiments/x.csv").exists() and not (tmp_path / "data/interim").exists()


def test_runs_go_to_tensorboard_only_when_they_hold_event_files(tmp_path: Path) -> None:
    with_events = grow(tmp_path / "a", {("artifacts/runs", "r1/events.out.tfevents.7"): "one"})
    run(with_events)
    assert contents(tmp_path / "a") == {"artifacts/logs/tensorboard/r1/events.out.tfevents.7": "one"}
    without = grow(tmp_path / "b", {("artifacts/runs", "r1/metrics.json"): "one"})
    assert [step.kind for step in plan_migration(without)] == ["review"]
    run(without)
    assert contents(tmp_path / "b") == {"artifacts/runs/r1/metrics.json": "one"}


def test_links_are_left_for_review(tmp_path: Path) -> None:
    layout = grow(tmp_path, {("data/logs", "a.json"): "one"})
    (tmp_path / "data/logs/link").symlink_to(tmp_path)
    (link,) = (step for step in plan_migration(layout) if step.kind == "review")
    assert link.source.name == "link" and str(tmp_path) in link.why
    run(layout)
    assert (tmp_path / "data/logs/link").is_symlink() and (tmp_path / "artifacts/logs/a.json").exists()


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_where_no_link_can_be_made_files_are_copied_and_looked_at(tmp_path: Path, reason: int) -> None:
    layout = grow(tmp_path, {("data/logs", "a.json"): "one"})
    with patch.object(migration.os, "link", side_effect=OSError(reason, "no link")):
        run(layout)
    assert contents(tmp_path) == {"artifacts/logs/a.json": "one"}


def test_the_journal_names_every_step_that_was_taken(tmp_path: Path) -> None:
    layout = grow(tmp_path, {("data/logs", "a.json"): "one", ("data/interim", "x"): "two"})
    run(layout)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [(line["kind"], Path(line["source"]).name) for line in lines] == [
        ("move", "a.json"),
        ("remove_empty", "logs"),
    ]


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = grow(tmp_path, {("data/logs", "a.json"): "one", ("data/interim", "x"): "two"})
    before = contents(tmp_path)
    words = ["layout", "migrate", "--data", str(layout.data), "--artifacts", str(layout.artifacts)]
    assert main([*words, "--dry-run"]) == EXIT_STORAGE  # interim waits for a person
    printed = capsys.readouterr().out
    assert f"{layout.data / 'logs/a.json'} -> {layout.artifacts / 'logs/a.json'}" in printed
    assert "1 to review; nothing was changed" in printed
    assert contents(tmp_path) == before
    assert main(words) == EXIT_STORAGE
    assert (layout.artifacts / "logs/a.json").exists()
    (layout.data / "interim/x").unlink()
    assert main(words) == EXIT_OK
    assert main(words) == EXIT_OK
    assert "nothing to move" in capsys.readouterr().out
