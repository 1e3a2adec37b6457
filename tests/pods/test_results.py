"""What comes back from a pod: whole files, and from a hostile one nothing at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import StorageError
from moola.pods.patience import Patience
from moola.pods.remote import results as remote_results
from moola.pods.result_manifest import HALF, PullLimits, checked_results
from moola.pods.results import pull
from moola.pods.wire import Answer, ConnectionLostError, LocalConnection

RUN = "market-584a4514f71f"
WANTED = ["artifacts/**"]
CONTENTS = {"artifacts/results/run/metrics.json": b"{}", "artifacts/empty": b"", "artifacts/model": b"m" * 700_000}


def offer(path: Any, content: bytes = b"x", **changed: Any) -> dict[str, Any]:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changed}


class Hostile:
    """A pod that answers what it likes.

    Args:
        listings: answers to requests for a list, the last one again and again.
        content: what it sends for files.
    """

    def __init__(self, *listings: Mapping[str, Any], content: bytes = b"x") -> None:
        self.listings, self.content, self.asked = list(listings), content, []

    def request(self, action: str, arguments: Mapping[str, Any], *, sink: Any = None, **_: Any) -> Answer:
        self.asked.append(action)
        if action == "read_files":
            sink(self.content)
            return Answer({}, 0, 0)
        return Answer(self.listings.pop(0) if len(self.listings) > 1 else self.listings[0], 0, 0)

    def start(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def describe(self) -> str:
        return "a hostile pod"

    def close(self) -> None:
        pass


def patience(attempts: int = 3) -> Patience:
    return Patience(attempts, sleep=lambda _: None)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of a run on a pod, with results and other files."""
    project = tmp_path / "root" / "runs" / RUN / "project"
    for path, content in {**CONTENTS, "src/code.py": b"code"}.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content)
    return project


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([offer("../x")], "not plainly below"),
        ([offer("artifacts/../../x")], "not plainly below"),
        ([offer("artifacts/./x")], "not plainly below"),
        ([offer("artifacts//x")], "not plainly below"),
        ([offer("artifacts/x/")], "not plainly below"),
        ([offer("artifacts/x\0")], "not plainly below"),
        ([offer("/etc/passwd")], "absolute"),
        ([offer("src/code.py")], "not asked for"),
        ([offer("")], "not plainly below"),
        ([offer("artifacts/" + "x" * 256)], "too long"),
        ([offer("artifacts/" + "x/" * 600 + "x")], "too long"),
        ([offer("artifacts/\ud800")], "no name that this machine"),
        ([offer("artifacts/huge", size=1001)], "more than 1,000"),
        ([offer(f"artifacts/{i}", size=900) for i in range(3)], "all files together"),
        ([offer(f"artifacts/{i}") for i in range(6)], "more than 5 files"),
        ([offer("artifacts/A"), offer("artifacts/a")], "one name on some disks"),
        ([offer("artifacts/A/x"), offer("artifacts/a/y")], "one name on some disks"),
        ([offer("artifacts/\u00e9"), offer("artifacts/e\u0301")], "one name on some disks"),
        ([offer("artifacts/a"), offer("artifacts/a/b")], "a file and a folder"),
        ([offer("artifacts/a/b"), offer("artifacts/A")], "one name on some disks|a file and a folder"),
        ([offer("artifacts/a"), offer("artifacts/a")], "twice"),
        ([offer("artifacts/.git/config")], "git obeys"),
        ([offer("artifacts/.g\u200cIT/config")], "git obeys"),
        ([offer(7)], "not described"),
        ([offer("artifacts/a", size=-1)], "not described"),
        ([offer("artifacts/a", size=True)], "not described"),
        ([offer("artifacts/a", size=1.5)], "not described"),
        ([offer("artifacts/a", sha256="../../x")], "not described"),
        (["artifacts/a"], "not described"),
        (None, "makes no sense"),
    ],
)
def test_hostile_names_are_refused_before_a_byte_is_fetched(tmp_path: Path, files: Any, words: str) -> None:
    pod = Hostile({"files": files, "others": []})
    limits = PullLimits(files=5, file_bytes=1000, bytes=2000)
    with pytest.raises(StorageError, match=words):
        pull(pod, "root", RUN, WANTED, tmp_path / "into", limits=limits, patience=patience())
    assert pod.asked == ["list_files", "release_files"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_every_reason_is_told_at_once(tmp_path: Path) -> None:
    pod = Hostile(
        {"files": [offer("../x"), offer("src/\x1b[2Jb")], "others": [{"path": "artifacts/l", "kind": "link"}]}
    )
    with pytest.raises(StorageError) as caught:
        pull(pod, "root", RUN, WANTED, tmp_path / "into")
    assert caught.value.why.count("- ") == 3
    assert "\x1b" not in str(caught.value)


@given(paths=st.lists(st.text(st.sampled_from("aA./\\é\0~x"), max_size=8), max_size=4))
def test_whatever_is_believed_stays_in_the_folder_and_apart(paths: list[str]) -> None:
    try:
        found = checked_results({"files": [offer(path) for path in paths], "others": []}, ["**"], PullLimits())
    except StorageError:
        return
    places = [os.path.normpath(os.path.join("/into", file.path)) for file in found]
    assert all(place.startswith("/into/") for place in places)
    assert len({place.casefold() for place in places}) == len(paths)


@pytest.mark.parametrize("content", [b"y", b"", b"xx", b"x" * 10_000_000])
def test_other_bytes_than_announced_never_get_a_name(tmp_path: Path, content: bytes) -> None:
    pod = Hostile({"files": [offer("artifacts/a")], "others": []}, content=content)
    with pytest.raises(StorageError):
        pull(pod, "root", RUN, WANTED, tmp_path / "into", patience=patience())
    here = tmp_path / "into" / "artifacts" / "a"
    assert not here.exists() or here.read_bytes() == b"x"  # what comes after the last file is in none
    assert pod.asked.count("read_files") <= 3


def test_results_come_and_what_is_here_stays(
    local: LocalConnection, project: Path, tmp_path: Path, tree_of: Callable[[Path], dict[str, bytes]]
) -> None:
    root, into = str(tmp_path / "root"), tmp_path / "into"
    seen: list[tuple[int, int]] = []
    report = pull(local, root, RUN, WANTED, into, progress=lambda done, total: seen.append((done, total)))
    assert tree_of(into) == CONTENTS
    assert {file.path: file.size for file in report.files} == {path: len(text) for path, text in CONTENTS.items()}
    assert seen[-1] == (700_002, 700_002)
    (into / "artifacts/model").write_bytes(b"M" * 700_000)  # damaged here
    again = pull(local, root, RUN, WANTED, into)
    assert tree_of(into) == CONTENTS
    assert (again.fetched_files, again.fetched_bytes, again.files) == (1, 700_000, report.files)


def test_patterns_choose(local: LocalConnection, project: Path, tmp_path: Path) -> None:
    for patterns, names in (
        (["artifacts/*"], ["artifacts/empty", "artifacts/model"]),
        (["artifacts/**/*.json"], ["artifacts/results/run/metrics.json"]),
        (["**/code.py", "artifacts/mod?l"], ["artifacts/model", "src/code.py"]),
        (["artifacts/[em]*"], []),
        ([], []),
    ):
        report = pull(local, str(tmp_path / "root"), RUN, patterns, tmp_path / "into")
        assert [file.path for file in report.files] == names


@pytest.mark.parametrize("damage", [False, True])
def test_cut_pull_goes_on_at_the_byte_unless_what_came_is_wrong(
    local: LocalConnection, project: Path, tmp_path: Path, damage: bool
) -> None:
    into = tmp_path / "into"

    def stop(done: int, total: int) -> None:
        if done > 300_000:
            raise ConnectionLostError("cut")

    with pytest.raises(ConnectionLostError):
        pull(local, str(tmp_path / "root"), RUN, WANTED, into, progress=stop, patience=patience(1))
    assert not (into / "artifacts/model").exists()
    (half,) = (path for path in (into / HALF).iterdir() if path.stat().st_size)
    held = half.stat().st_size
    assert held > 250_000
    if damage:
        half.write_bytes(b"n" + half.read_bytes()[1:])
    report = pull(local, str(tmp_path / "root"), RUN, WANTED, into, patience=patience())
    assert (into / "artifacts/model").read_bytes() == CONTENTS["artifacts/model"]
    assert report.fetched_bytes <= 700_002 - held + (700_000 if damage else 0)
    assert not (into / HALF).exists()


class Working(LocalConnection):
    """A pod whose run writes after the list is made, before files are read."""

    def __init__(self, inner: LocalConnection, write: Callable[[], object]) -> None:
        super().__init__(inner.folder, python=inner.python)
        self.write, self.requests = write, []

    def request(self, action: str, arguments: Mapping[str, Any], **options: Any) -> Answer:
        if action == "read_files" and "read_files" not in self.requests:
            self.write()
        self.requests.append(action)
        return super().request(action, arguments, **options)


def test_growing_file_comes_as_it_was_when_listed(local: LocalConnection, project: Path, tmp_path: Path) -> None:
    log = project / "artifacts/log"
    log.write_bytes(b"one\n")
    working = Working(local, lambda: log.write_bytes(b"one\ntwo\n"))
    pull(working, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into", patience=patience(1))
    assert (tmp_path / "into/artifacts/log").read_bytes() == b"one\n"


@pytest.mark.parametrize("content", [b"M" * 700_000, b"short"])
def test_file_that_is_written_over_meanwhile_is_asked_for_anew(
    local: LocalConnection, project: Path, tmp_path: Path, content: bytes
) -> None:
    working = Working(local, lambda: (project / "artifacts/model").write_bytes(content))
    pull(working, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into", patience=patience())
    assert working.requests.count("list_files") == 2
    assert (tmp_path / "into/artifacts/model").read_bytes() == content


@pytest.mark.parametrize("content", [b"M" * 700_000, None])
def test_file_that_is_replaced_more_often_than_it_travels_comes_as_it_was_listed(
    local: LocalConnection, project: Path, tmp_path: Path, content: bytes | None
) -> None:
    model = project / "artifacts/model"
    held = project.parent / "held"

    def replace() -> None:
        model.unlink()
        if content is not None:
            model.write_bytes(content)

    working = Working(local, replace)
    pull(working, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into", patience=patience(1))
    assert (tmp_path / "into/artifacts/model").read_bytes() == CONTENTS["artifacts/model"]
    assert list(held.iterdir()) == [], "nothing is held any more"


def test_a_pull_that_fails_leaves_nothing_held(project: Path, tmp_path: Path, local: LocalConnection) -> None:
    (project / "artifacts/link").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="link"):
        pull(local, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into")
    assert list((project.parent / "held").iterdir()) == []


def test_pulls_that_are_cut_hold_the_files_of_the_last_one_alone(project: Path, tmp_path: Path) -> None:
    class Cut:
        """A pod of which nobody hears any more once it has listed its files."""

        def request(self, action: str, arguments: Mapping[str, Any], **_: Any) -> Answer:
            if action != "list_files":
                raise ConnectionLostError("cut")
            return Answer(remote_results.list_files(**arguments), 0, 0)

    for into in ("checkpoint", "checkpoint", "staging"):
        (project / "artifacts/model").unlink()
        (project / "artifacts/model").write_bytes(into.encode())
        with pytest.raises(ConnectionLostError):
            pull(cast("Any", Cut()), str(tmp_path / "root"), RUN, WANTED, tmp_path / into, patience=patience(1))
    assert len(list((project.parent / "held").iterdir())) == 2, "one for each folder that files are pulled into"


def test_where_the_disk_gives_no_second_name_the_file_itself_is_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refused)
    root = str(tmp_path / "root")
    found = remote_results.list_files(root, RUN, WANTED, 100, "here")["files"]
    pieces = [[one["path"], 0, one["size"]] for one in found]
    assert b"".join(remote_results.read_files(root, RUN, pieces, "here")) == b"".join(
        CONTENTS[one["path"]] for one in found
    )


def test_links_and_special_files_are_refused(local: LocalConnection, project: Path, tmp_path: Path) -> None:
    (project / "artifacts/passwd").symlink_to("/etc/passwd")
    (project / "artifacts/folder").symlink_to("/etc")
    os.mkfifo(project / "artifacts/pipe")
    with pytest.raises(StorageError) as caught:
        pull(local, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into")
    assert [name in caught.value.why for name in ("passwd", "folder", "pipe")] == [True] * 3


def test_link_in_the_way_here_is_not_followed(local: LocalConnection, project: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "into/artifacts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link"):
        pull(local, str(tmp_path / "root"), RUN, WANTED, tmp_path / "into")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_disk_too_small_here_is_told_before(tmp_path: Path) -> None:
    pod = Hostile({"files": [offer("artifacts/a", size=2**60)], "others": []})
    with pytest.raises(StorageError, match="too little room"):
        pull(pod, "root", RUN, WANTED, tmp_path / "into", limits=PullLimits(file_bytes=2**61, bytes=2**61))
    assert pod.asked == ["list_files", "release_files"]
