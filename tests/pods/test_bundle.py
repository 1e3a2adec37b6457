"""The manifest of a bundle: its id, what it refuses, and that its bytes are checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import ConfigError, StorageError
from moola.pods.bundle import OBJECTS, Bundle, BundledFile, object_path

FACTS: dict[str, Any] = {"overrides": ["seeds=[0]"], "run_id": "market-0123456789ab", "git": None}


def bundled(path: str, content: bytes = b"x", **changes: Any) -> BundledFile:
    values = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "executable": False, "kind": "code"}
    return BundledFile(path=path, **(values | changes))


NAMES = st.lists(
    st.binary(min_size=1, max_size=8)
    .filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(NAMES, st.randoms(use_true_random=False))
def test_the_id_does_not_depend_on_the_order_of_files_or_facts(names, random):
    files = [bundled(name) for name in names]
    shuffled = random.sample(files, len(files))
    facts = dict(random.sample(list(FACTS.items()), len(FACTS)))
    assert Bundle.of(shuffled, facts) == Bundle.of(files, FACTS)


@pytest.mark.parametrize(
    "other",
    [bundled("b"), bundled("a", b"y"), bundled("a", executable=True), bundled("a", kind="data")],
    ids=["name", "content", "executable", "kind"],
)
def test_the_id_depends_on_all_of_a_file(other):
    assert Bundle.of([other], FACTS).bundle_id != Bundle.of([bundled("a")], FACTS).bundle_id


def test_the_id_depends_on_the_facts():
    assert Bundle.of([bundled("a")], FACTS).bundle_id != Bundle.of([bundled("a")], {**FACTS, "overrides": []}).bundle_id


@settings(max_examples=25)
@given(NAMES)
def test_what_is_written_is_what_is_read(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("bundle") / "id"
    bundle = Bundle.of([bundled(name) for name in names], FACTS)
    bundle.write(folder)
    assert Bundle.load(folder) == bundle


@pytest.mark.parametrize("path", ["", ".", "..", "/a", "a/../b", "a//b", "./a", "a/", "a/.", "a\0b", "../a"])
def test_a_path_that_could_leave_the_project_is_refused(path):
    with pytest.raises(ConfigError, match="no normal path"):
        bundled(path)


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="a: two files"):
        Bundle.of([bundled("a"), bundled("a", b"y")], FACTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["files"][0].update(size=2),
        lambda said: said["facts"].update(run_id="market-ffffffffffff"),
        lambda said: said["files"][0].update(path="../a"),
        lambda said: said["files"][0].pop("sha256"),
        lambda said: said.pop("facts"),
        lambda said: said.pop("bundle_id"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, change):
    Bundle.of([bundled("a")], FACTS).write(tmp_path)
    said = json.loads((tmp_path / "manifest.json").read_text())
    change(said)
    (tmp_path / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(StorageError, match=r"manifest\.json") as caught:
        Bundle.load(tmp_path)
    assert "moola pod pack" in caught.value.way_out


def stored(tmp_path: Path) -> tuple[Bundle, Path, Path]:
    """A bundle of one object and one data file, read back."""
    data = tmp_path / "bars.csv"
    data.write_bytes(b"bars")
    files = [bundled("a", b"code"), bundled("bars.csv", b"bars", kind="data")]
    code = object_path(tmp_path / OBJECTS, files[0].sha256)
    code.parent.mkdir(parents=True)
    code.write_bytes(b"code")
    Bundle.of(files, FACTS, None, {files[1].sha256: data}).write(tmp_path / "id")
    return Bundle.load(tmp_path / "id"), code, data


def test_objects_and_data_are_opened_by_their_digest(tmp_path):
    bundle, _, _ = stored(tmp_path)
    contents: list[bytes] = []
    for file in bundle.files:
        with bundle.open_object(file.sha256) as handle:
            contents.append(handle.read())
    assert contents == [b"code", b"bars"]


@pytest.mark.parametrize("which", [0, 1], ids=["object", "data"])
def test_a_file_that_changed_or_went_is_never_handed_out(tmp_path, which):
    bundle, *places = stored(tmp_path)
    places[which].write_bytes(b"other")
    with pytest.raises(StorageError, match="no longer what was packed"):
        bundle.open_object(bundle.files[which].sha256)
    places[which].unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        bundle.open_object(bundle.files[which].sha256)


def test_a_bundle_that_is_not_stored_says_so():
    bundle = Bundle.of([bundled("a")], FACTS)
    with pytest.raises(StorageError, match="is not stored here"):
        bundle.open_object(bundle.files[0].sha256)


def test_where_data_lies_on_this_machine_is_no_part_of_the_manifest(tmp_path):
    stored(tmp_path)
    assert str(tmp_path) not in (tmp_path / "id" / "manifest.json").read_text()
