"""What arrives on a pod: the bundle, the whole bundle, and nothing but what was lacking."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from until import wait_for

from moola.errors import StorageError
from moola.pods.bundle import Bundle
from moola.pods.patience import Patience
from moola.pods.remote.objects import _Index
from moola.pods.results import pull
from moola.pods.transfer import PushReport, push
from moola.pods.wire import Answer, ConnectionLostError, LocalConnection

RUN = "market-584a4514f71f"
CONTENTS = {"src/a.py": b"import moola\n", "run.sh": b"#!/bin/sh\n", "data/bars.csv": b"t,x\n1,2\n3,4\n", "empty": b""}
MEGABYTE = 1 << 20
NO_WAIT = {"sleep": lambda _: None, "attempts": 3}


def test_tree_arrives_whole_and_only_once(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    bundle = bundle_of(CONTENTS, executable=["run.sh"], facts={"rows": {"data/bars.csv": 2}})
    report = push(local, str(tmp_path / "root"), bundle, RUN)
    assert tree_of(Path(report.project)) == CONTENTS
    assert os.access(f"{report.project}/run.sh", os.X_OK) and not os.access(f"{report.project}/src/a.py", os.X_OK)
    assert (report.files, report.sent_objects, report.sent_bytes) == (4, 4, sum(map(len, CONTENTS.values())))
    assert [(data.path, data.rows) for data in report.data] == [("data/bars.csv", 2)]
    again = push(local, str(tmp_path / "root"), bundle, RUN)
    assert (again.sent_objects, again.sent_bytes, again.data) == (0, 0, report.data)
    other_run = push(local, str(tmp_path / "root"), bundle, "market-000000000000")
    assert other_run.sent_bytes == 0
    assert tree_of(Path(other_run.project)) == CONTENTS


def test_next_bundle_replaces_files_and_keeps_what_the_run_wrote(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    root = str(tmp_path / "root")
    project = Path(push(local, root, bundle_of(CONTENTS), RUN).project)
    (project / "artifacts").mkdir()
    (project / "artifacts" / "model").write_bytes(b"trained")
    (project / "empty").unlink()
    (project / "empty").mkdir()  # in the place of a file that the next bundle lacks
    changed = {"src/a.py": b"import moola.pods\n", "data/bars.csv": CONTENTS["data/bars.csv"]}
    report = push(local, root, bundle_of(changed), RUN)
    assert report.sent_bytes == len(changed["src/a.py"])
    assert tree_of(project) == {**changed, "artifacts/model": b"trained"}


def test_what_was_damaged_on_the_pod_is_sent_again(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    bundle = bundle_of(CONTENTS)
    project = Path(push(local, str(tmp_path / "root"), bundle, RUN).project)
    for path in ("data/bars.csv", "src/a.py"):  # the data are a link to the object: both are wrong now
        os.chmod(project / path, 0o644)
        content = bytearray((project / path).read_bytes())
        content[0] ^= 1
        (project / path).write_bytes(content)
    report = push(local, str(tmp_path / "root"), bundle, RUN)
    assert report.sent_bytes == len(CONTENTS["data/bars.csv"])
    assert tree_of(project) == CONTENTS


@pytest.mark.parametrize("path", ["data/bars.csv", "src/a.py"])
def test_change_that_keeps_size_and_time_is_seen(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path, path: str
) -> None:
    """The pod does not hash again what has not changed; what a program can set of a file must not deceive it."""
    bundle, root = bundle_of(CONTENTS), str(tmp_path / "root")
    project = Path(push(local, root, bundle, RUN).project)
    time.sleep(0.06)  # or all is too fresh to be believed
    push(local, root, bundle, RUN)
    facts = (project / path).stat()
    os.chmod(project / path, 0o644)
    with (project / path).open("r+b") as handle:
        handle.write(b"X")
    os.utime(project / path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    push(local, root, bundle, RUN)
    assert tree_of(project) == CONTENTS


def test_only_files_that_rest_are_believed_unhashed(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    index = _Index(str(tmp_path / "tree.json"))
    facts = os.stat(tmp_path / "file")
    while time.time_ns() - facts.st_ctime_ns > _Index.GRAIN_NS / 2:  # this machine was slow: look at a fresh one
        (tmp_path / "file").write_bytes(b"x")
        facts = os.stat(tmp_path / "file")
    index.note({"path": "file", "sha256": "digest", "kind": "code"}, facts)
    assert index.now == {"file": ["digest"]}
    bundle, root = bundle_of(CONTENTS), tmp_path / "root"
    push(local, str(root), bundle, RUN)
    time.sleep(0.06)
    push(local, str(root), bundle, RUN)
    settled = json.loads((root / "runs" / RUN / "tree.json").read_text())
    assert {len(known) for known in settled.values()} == {5}


class Flaky:
    """A connection that breaks in the body of uploads, and in what downloads give, after so many bytes each."""

    def __init__(self, inner: LocalConnection, *breaks: int) -> None:
        self.inner, self.breaks = inner, list(breaks)

    def request(self, action: str, arguments: Mapping[str, Any], **options: Any) -> Answer:
        if self.breaks and "body" in options:
            options["body"] = self._cut(options["body"], self.breaks.pop(0))
        if self.breaks and "sink" in options:
            options["sink"] = self._closing(options["sink"], self.breaks.pop(0))
        return self.inner.request(action, arguments, **options)

    def _cut(self, body: Any, left: int) -> Any:
        for block in body:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                raise ConnectionLostError("cut")

    def _closing(self, sink: Any, left: int) -> Any:
        def take(block: bytes) -> None:
            nonlocal left
            sink(block[:left])
            left -= len(block)
            if left <= 0:
                raise ConnectionLostError("cut")

        return take

    def start(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def describe(self) -> str:
        return "a flaky pod"

    def close(self) -> None:
        pass


def test_half_sent_object_goes_on_where_it_is_right(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    contents = {"data/large.bin": os.urandom(5 * MEGABYTE + 17)}
    bundle, root = bundle_of(contents), tmp_path / "root"
    with pytest.raises(ConnectionLostError):
        push(Flaky(local, 3 * MEGABYTE + 5), str(root), bundle, RUN, patience=Patience(attempts=1))
    (half,) = (root / "objects" / "partial").iterdir()
    assert half.stat().st_size >= 3 * MEGABYTE
    with half.open("r+b") as handle:  # one wrong byte in the third megabyte, where size alone would not tell
        handle.seek(2 * MEGABYTE + 100)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes([byte[0] ^ 1]))
    seen: list[tuple[int, int]] = []
    report = push(local, str(root), bundle, RUN, progress=lambda done, total: seen.append((done, total)))
    assert report.sent_bytes == 3 * MEGABYTE + 17
    assert seen[-1] == (5 * MEGABYTE + 17,) * 2
    assert tree_of(Path(report.project)) == contents
    assert not list((root / "objects" / "partial").iterdir())


def test_two_that_send_to_a_fresh_host_at_once_leave_each_other_what_they_half_sent(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    """As two points of a sweep do: the second begins, and ends, in the middle of what the first sends."""
    contents = {"data/large.bin": os.urandom(5 * MEGABYTE + 17)}
    bundle, root = bundle_of(contents), tmp_path / "root"
    partial, other = root / "objects" / "partial", LocalConnection(tmp_path / "other", python=sys.executable)
    seconds: list[PushReport] = []

    def progress(done: int, total: int) -> None:
        if done >= 3 * MEGABYTE and not seconds:
            wait_for(lambda: max(half.stat().st_size for half in partial.iterdir()) >= 2 * MEGABYTE)
            seconds.append(push(other, str(root), bundle, "demo-ffffffffffff"))

    first = push(local, str(root), bundle, RUN, progress=progress, patience=Patience(attempts=1))
    assert first.sent_bytes == 5 * MEGABYTE + 17, "none of it twice"
    assert seconds[0].sent_bytes <= 3 * MEGABYTE + 17, "and the second took over what was there"
    assert tree_of(Path(first.project)) == tree_of(Path(seconds[0].project)) == contents
    assert not list(partial.iterdir())


def test_connection_that_keeps_breaking_brings_it_all_or_is_given_up(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    contents = {"data/large.bin": os.urandom(4 * MEGABYTE), "a": b"a"}
    pauses: list[float] = []
    breaking = Flaky(local, *[MEGABYTE + 900] * 3)
    report = push(breaking, str(tmp_path / "root"), bundle_of(contents), RUN, patience=Patience(2, sleep=pauses.append))
    assert tree_of(Path(report.project)) == contents
    assert pauses == [0.5, 0.5, 0.5]
    with pytest.raises(ConnectionLostError):
        push(Flaky(local, *[9] * 9), str(tmp_path / "other"), bundle_of(contents), RUN, patience=Patience(**NO_WAIT))


def test_file_that_changed_here_is_never_sent(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = bundle_of(CONTENTS)
    packed = next(path for path in (tmp_path / "packed").iterdir() if path.stat().st_size)
    packed.write_bytes(packed.read_bytes().swapcase())
    with pytest.raises(StorageError, match="no longer what was packed"):
        push(local, str(tmp_path / "root"), bundle, RUN)
    assert not (tmp_path / "root" / "runs" / RUN / "tree.json").exists()


class Lying(Flaky):
    """A pod that tells other things than are so."""

    def __init__(self, inner: LocalConnection, **told: Any) -> None:
        super().__init__(inner)
        self.told = told

    def request(self, action: str, arguments: Mapping[str, Any], **options: Any) -> Answer:
        answer = super().request(action, arguments, **options)
        changed = {name: value for name, value in self.told.items() if name in answer.value}
        return Answer({**answer.value, **changed}, answer.sent_at, answer.took_s)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"free": 10}, "too small"),
        ({"data": []}, "says nothing about it"),
        ({"data": [{"path": "data/bars.csv", "sha256": "0" * 64, "records": 3}]}, "packed was"),
        ({"missing": ["0" * 64]}, "not in the bundle"),
    ],
)
def test_pod_that_cannot_be_right_is_refused(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tmp_path: Path, told: dict[str, Any], words: str
) -> None:
    with pytest.raises(StorageError, match=words):
        push(Lying(local, **told), str(tmp_path / "root"), bundle_of(CONTENTS), RUN)


def test_wrong_row_count_is_refused(local: LocalConnection, bundle_of: Callable[..., Bundle], tmp_path: Path) -> None:
    for rows, is_right in ((2, True), (3, True), (1, False), (4, False)):  # of three lines one may be a header
        bundle = bundle_of(CONTENTS, facts={"rows": {"data/bars.csv": rows}})
        if is_right:
            push(local, str(tmp_path / "root"), bundle, RUN)
        else:
            with pytest.raises(StorageError, match="counts 3 lines"):
                push(local, str(tmp_path / "root"), bundle, RUN)


def test_extra_files_travel_along(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"weights")
    extra = {"artifacts/checkpoints/last.safetensors": tmp_path / "last.safetensors"}
    report = push(local, str(tmp_path / "root"), bundle_of(CONTENTS), RUN, extra=extra)
    assert tree_of(Path(report.project)) == {**CONTENTS, "artifacts/checkpoints/last.safetensors": b"weights"}
    with pytest.raises(StorageError, match="cannot be read"):
        push(local, str(tmp_path / "root"), bundle_of(CONTENTS), RUN, extra={"x": tmp_path / "missing"})


def test_the_state_of_a_run_is_deleted_by_no_later_push(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    """It may be the only copy: the client that put it there may have lost its own, or be another one."""
    state, root = {"artifacts/last.safetensors": b"weights"}, str(tmp_path / "root")
    (tmp_path / "state").write_bytes(b"weights")
    before = {**CONTENTS, "src/old.py": b"x", "notes.txt": b"x"}
    extra = dict.fromkeys(state, tmp_path / "state")
    project = Path(push(local, root, bundle_of(before), RUN, extra=extra).project)
    (project / "notes.txt").write_bytes(b"the run's own")
    push(local, root, bundle_of({**CONTENTS, "src/b.py": b"y"}), RUN)
    assert tree_of(project) == {**CONTENTS, **state, "src/b.py": b"y", "notes.txt": b"the run's own"}


def test_two_pushes_at_a_time_do_each_other_no_harm(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    contents = {f"f{i}": os.urandom(300_000) for i in range(8)}
    bundle = bundle_of(contents)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        pushes = [threads.submit(push, local, str(tmp_path / "root"), bundle, run) for run in ("a", "a", "b")]
        reports = [one.result() for one in pushes]
    for report in reports:
        assert tree_of(Path(report.project)) == contents


NAMES = st.text(
    st.one_of(st.sampled_from(" '\"\n;$()`\\&|*?~-#\t\x7f"), st.characters(exclude_characters="/\0", codec="utf-8")),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..", ".half"))


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map("/".join).map(str.casefold), st.binary(max_size=40), max_size=6
    )
)
def test_any_tree_goes_there_and_comes_back(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path, tree: dict[str, bytes]
) -> None:
    folded = {path: content for path, content in tree.items() if not any(p.startswith(path + "/") for p in tree)}
    for folder in ("root", "back"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    report = push(local, str(tmp_path / "root"), bundle_of(folded), RUN)
    assert tree_of(Path(report.project)) == folded
    pulled = pull(local, str(tmp_path / "root"), RUN, ["**"], tmp_path / "back")
    assert tree_of(tmp_path / "back") == folded
    assert pulled.fetched_files == len(folded)


def test_names_that_are_no_utf8(local: LocalConnection, bundle_of: Callable[..., Bundle], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    report = push(local, str(tmp_path / "root"), bundle_of({name: b"x"}), RUN)
    assert os.listdir(os.fsencode(report.project)) == [b"caf\xe9"]


def test_full_disk_of_a_pod_says_so(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only an administrator can mount a small disk")
    try:
        bundle = bundle_of({"data/large.bin": os.urandom(3 * MEGABYTE)})
        with pytest.raises(StorageError, match="needed and"):
            push(local, str(small), bundle, RUN)
        with pytest.raises(StorageError, match="the pod's disk is full") as caught:
            push(Lying(local, free=10**12), str(small), bundle, RUN)
        assert "larger disk" in caught.value.way_out
        assert not list((small / "objects" / "partial").iterdir())
        assert tree_of(small / "runs") == {}
    finally:
        subprocess.run(["umount", str(small)], check=True)


_PUSH = """
import os, sys, threading
from pathlib import Path
from moola.pods.bundle import Bundle
from moola.pods.transfer import PushReport, push
from moola.pods.wire import LocalConnection
root, bundle, limit = sys.argv[1], Bundle.load(Path(sys.argv[2])), int(sys.argv[3])
def kill(done, total):
    if done >= limit:
        os.kill(os.getpid(), 9)
push(LocalConnection(Path(root), python=sys.argv[4]), root, bundle, "run", progress=kill)
"""


def test_client_killed_in_mid_push_goes_on_when_run_again(
    local: LocalConnection, bundle_of: Callable[..., Bundle], tree_of: Any, tmp_path: Path
) -> None:
    contents = {"data/large.bin": os.urandom(4 * MEGABYTE), "a": b"a"}
    bundle, root = bundle_of(contents), tmp_path / "root"
    bundle.write(tmp_path / "bundle")
    python = os.path.realpath(sys.executable)
    argv = [sys.executable, "-c", _PUSH, str(root), str(tmp_path / "bundle"), str(3 * MEGABYTE), python]
    assert subprocess.run(argv, capture_output=True).returncode == -9
    assert not (root / "runs" / "run" / "tree.json").exists()
    report = push(local, str(root), bundle, "run")
    assert tree_of(Path(report.project)) == contents
    assert report.sent_bytes < 4 * MEGABYTE
