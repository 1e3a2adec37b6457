"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moola.data.quarantine import Quarantine
from moola.errors import ConfigError, DataError, MoolaError, StorageError, did_you_mean
from moola.layout import (
    Layout,
    PendingFile,
    digest_file,
    publish_together,
    read_json,
    remove_torn_files,
    replace_atomically,
    write_bytes,
    write_json,
)
from moola.pipelines.events import Event, EventLog


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000))
def test_what_is_written_is_read_and_digested(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "new" / "file.bin"
    write_bytes(path, content)
    assert path.read_bytes() == content
    assert digest_file(path) == hashlib.sha256(content).hexdigest()
    assert [item.name for item in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_write_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, before: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def break_off() -> None:
        with replace_atomically(path) as handle:
            handle.write(b"half")
            handle.flush()
            raise error

    with pytest.raises(error):
        break_off()
    assert (path.read_bytes() if path.exists() else None) == before
    assert [item.name for item in tmp_path.iterdir()] == ([] if before is None else ["file"])


def test_files_get_their_names_when_all_of_them_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = [PendingFile(tmp_path / f"folder{i % 2}" / f"file{i}") for i in range(20)]
    for i, file in enumerate(pending):
        file.handle.write(b"%d" % i)
    synced: list[int] = []
    sync = os.fsync

    def full_at_last(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_at_last)
        with pytest.raises(OSError, match="No space left"):
            publish_together(pending)
    assert not [path for path in tmp_path.rglob("file*") if path.is_file()]
    for file in pending:
        file.discard()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_files_published_together_hold_what_was_written(tmp_path: Path) -> None:
    pending = [PendingFile(tmp_path / f"folder{i % 2}" / f"file{i}") for i in range(20)]
    for i, file in enumerate(pending):
        file.handle.write(b"%d" % i)
    publish_together(pending)
    publish_together([])
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {
        f"file{i}": b"%d" % i for i in range(20)
    }


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there_and_no_torn_file(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises((OSError, StorageError), match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 1,000 bytes, that of the test's own output included; so only for the write itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_the_disk_refuses_is_named_as_people_know_it(tmp_path: Path) -> None:
    def append(path: Path) -> None:
        pending = PendingFile(path)
        try:
            for _ in range(200):
                pending.handle.write(b"0123456789")
            pending.publish()
        finally:
            pending.discard()

    def quarantine(path: Path) -> None:
        with Quarantine(path) as rows:
            rows.append(pl.DataFrame({"row": range(1000)}))

    def log(path: Path) -> None:
        EventLog(path).emit("note", message="x" * 2000)

    writers: list[Callable[[Path], None]] = [lambda path: write_bytes(path, b"x" * 2000), append, quarantine, log]
    for number, write in enumerate(writers):
        path = tmp_path / f"file{number}"
        with pytest.raises(OSError, match="File too large") as caught, small_files():
            write(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert not list(tmp_path.glob(".*.part"))


def test_an_event_is_heard_of_where_its_log_cannot_be_written(tmp_path: Path) -> None:
    heard: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl")
    log.listen(heard.append)
    with pytest.raises(OSError, match="File too large"), small_files():
        log.emit("note", message="x" * 2000)
    assert [event["event"] for event in heard] == ["note"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replace_atomically(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_written_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"")
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o644


def test_torn_files_are_swept_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in (".file.x1.part", "deep/.file.x2.part", "file", "part", "deep/file.part"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".model.x3.part" / ".weights.x4.part").mkdir(parents=True)
    (tmp_path / ".model.x3.part" / "weights").write_bytes(b"")
    remove_torn_files(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["deep/file.part", "file", "part"]


def test_json_comes_back_and_nan_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None, "ü"]})
    assert read_json(tmp_path / "a.json") == {"b": [1, None, "ü"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"b": math.nan})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(("content", "said"), [(None, "is missing"), ("{", "is not JSON")])
def test_json_that_cannot_be_read_is_a_storage_error(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(StorageError, match=said):
        read_json(tmp_path / "a.json")


def test_rooms_lie_in_the_two_folders(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "d", tmp_path / "a")
    assert layout.room("data/splits") == tmp_path / "d" / "splits"
    assert layout.room("artifacts/oof") == tmp_path / "a" / "oof"
    assert layout.results == tmp_path / "a" / "results"
    layout.check_writable()
    assert not list(layout.data.iterdir()) and not list(layout.artifacts.iterdir())


def test_a_folder_that_cannot_be_made_is_a_storage_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write in") as caught:
        Layout(tmp_path / "file" / "data", tmp_path / "a").check_writable()
    assert "paths.data=FOLDER" in caught.value.way_out


def test_an_error_says_what_why_and_the_way_out() -> None:
    assert str(MoolaError("what", "why", "way out")) == "what\nwhy\nway out"
    assert str(MoolaError("what", "", "way out")) == "what\nway out"


def test_exit_codes_tell_configuration_data_and_storage_apart() -> None:
    assert (ConfigError([]).exit_code, DataError("").exit_code, StorageError("").exit_code) == (2, 3, 4)


def test_a_near_name_is_suggested_and_else_all_are_listed() -> None:
    assert did_you_mean("hiden", ["layers", "hidden"]) == "did you mean 'hidden'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) == "none are known"
