"""The folders of the contract: made once, never touched again, strays and duplicates named."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola import tree
from moola.cli import main
from moola.errors import EXIT_OK, EXIT_STORAGE
from moola.layout import Layout
from moola.pipelines.stage import STAGES


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data", tmp_path / "artifacts")


def test_every_folder_is_made_with_a_readme_that_names_it(layout: Layout) -> None:
    tree.make_tree(layout)
    for top, rooms in ((layout.data, tree.DATA), (layout.artifacts, tree.ARTIFACTS)):
        text = (top / "README.md").read_text()
        for room, words in rooms.items():
            assert (top / room).is_dir()
            assert f"| `{room}/` | {words} |" in text
    assert tree.check_tree(layout) == tree.TreeCheck((), (), ())


def test_making_it_again_changes_nothing(layout: Layout) -> None:
    tree.make_tree(layout)
    (layout.data / "README.md").write_text("mine")
    assert tree.make_tree(layout) == []
    assert (layout.data / "README.md").read_text() == "mine"


def test_every_stage_keeps_its_artifact_in_a_folder_of_the_contract() -> None:
    rooms = {*(f"data/{room}" for room in tree.DATA), *(f"artifacts/{room}" for room in tree.ARTIFACTS)}
    assert {STAGES.get(name).room for name in STAGES.built_in} <= rooms


def test_strays_are_named_at_the_level_where_they_leave_the_contract(layout: Layout) -> None:
    tree.make_tree(layout)
    for stray in ("data/new", "data/raw/old", "data/corrections/x.csv", "artifacts/models/best.pt"):
        path = layout.data.parent / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (layout.data / "corrections" / "window_blacklist.csv").write_text("window_id\n")
    (layout.data / "raw" / "unlabeled" / "anything.csv").write_text("x")
    (layout.data / "link").symlink_to(layout.artifacts)
    found = tree.check_tree(layout)
    assert {str(path.relative_to(layout.data.parent)) for path in found.strays} == {
        "data/new",
        "data/raw/old",
        "data/corrections/x.csv",
        "data/link",
        "artifacts/models/best.pt",
    }
    assert not found.is_clean


def test_a_file_where_a_folder_belongs_is_a_stray_and_is_never_replaced(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.data.mkdir()
    (layout.data / "splits").write_text("mine")
    assert tree.check_tree(layout).strays == (layout.data / "splits",)
    assert main(["init", "--data", str(layout.data), "--artifacts", str(layout.artifacts)]) == EXIT_STORAGE
    assert "a file stands where a folder belongs" in capsys.readouterr().err
    assert (layout.data / "splits").read_text() == "mine"


def test_files_of_the_same_content_are_duplicates_and_published_copies_are_not(layout: Layout) -> None:
    tree.make_tree(layout)
    raw, archived = layout.data / "raw/unlabeled", layout.data / "processed/archived"
    (raw / "a.csv").write_bytes(b"a" * 2000)
    (archived / "b.csv").write_bytes(b"a" * 2000)
    (archived / "same_size.csv").write_bytes(b"b" * 2000)
    run = layout.artifacts / "results/run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    (run / "copy.csv").write_bytes(b"a" * 2000)
    assert tree.check_tree(layout).duplicates == ((archived / "b.csv", raw / "a.csv"),)


def test_the_commands_say_what_they_did_and_found(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(layout.data), "--artifacts", str(layout.artifacts)]
    assert main(["init", *words]) == EXIT_OK
    assert str(layout.artifacts / "oof/supervised") in capsys.readouterr().out
    assert main(["init", *words]) == EXIT_OK
    assert "everything is there" in capsys.readouterr().out
    assert main(["layout", "check", *words]) == EXIT_OK
    assert capsys.readouterr().out == "nothing lies where it should not\n"
    (layout.data / "notes.txt").write_text("x")
    assert main(["layout", "check", *words]) == EXIT_STORAGE
    assert f"stray      {layout.data / 'notes.txt'}" in capsys.readouterr().out


def test_what_a_stopped_stage_left_is_named_with_its_size(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    tree.make_tree(layout)
    left = layout.data / "processed/unlabeled/.ingest-0123.building"
    left.mkdir()
    assert tree.check_tree(layout).unfinished == ()  # an empty one costs nothing
    (left / "values.npy").write_bytes(b"0" * 2_000_000)
    assert tree.check_tree(layout).unfinished == (left,)
    assert main(["layout", "check", "--data", str(layout.data), "--artifacts", str(layout.artifacts)]) == EXIT_OK
    assert f"unfinished {left}  (2.0 MB" in capsys.readouterr().out
