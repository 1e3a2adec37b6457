"""What is kept of a run beyond its pod: whole or not there, and believed only where every byte is right."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moola.errors import ConfigError
from moola.pods import volume
from moola.pods.guards import GuardLimits
from moola.pods.settings import PodSettings
from moola.pods.volume import EXIT_VOLUME, Volume, VolumeError, main
from moola.pods.volume_copies import VolumeCopies

CONTENTS = {"artifacts/oof/a b\n.json": "one", "artifacts/oof/.x.building/resume/state.json": "two", "artifacts/e": ""}


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "mount").mkdir()
    return tmp_path / "mount"


@pytest.fixture
def kept(mount: Path) -> Volume:
    return Volume(str(mount), "demo-1")


def project(folder: Path, contents: dict[str, str]) -> Path:
    for path, text in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_state_comes_back_on_another_pod_in_the_place_of_an_older_one(tmp_path: Path, kept: Volume) -> None:
    first = project(tmp_path / "first", {**CONTENTS, "data/bars": "made anew", "artifacts/.half.part": "half"})
    (first / "artifacts" / "link").symlink_to("/etc/passwd")
    assert kept.save(first, 100.0) == {"files": 3, "bytes": 6, "copied": 3}
    second = project(tmp_path / "second", {"artifacts/older": "x", "code": "y"})
    assert kept.restore(second, 100.0).endswith("is not newer than what came with the run")
    assert tree(second) == {"artifacts/older": "x", "code": "y"}
    assert "3 files of the state after 0.03 h" in kept.restore(second, 99.0)
    assert tree(second) == {**CONTENTS, "code": "y"}


def test_a_state_takes_back_no_opening_of_a_sealed_test_and_no_pod(tmp_path: Path, kept: Volume) -> None:
    sealed, rented = "artifacts/metadata/sealed_tests.jsonl", "artifacts/results/demo-1/pod.json"
    kept.save(project(tmp_path / "p", {sealed: "both\nthere\n", rented: "the pod before", **CONTENTS}), 1.0)
    here = project(tmp_path / "q", {sealed: "here\nboth\n", rented: "this pod"})
    kept.restore(here, 0.0)
    assert tree(here) == {**CONTENTS, sealed: "here\nboth\nthere\n", rented: "this pod"}
    (tmp_path / "r").mkdir()
    kept.restore(tmp_path / "r", 0.0)
    assert tree(tmp_path / "r") == tree(tmp_path / "p")


def test_only_what_changed_travels_and_nothing_older_is_left(tmp_path: Path, kept: Volume) -> None:
    place = project(tmp_path / "p", CONTENTS)
    kept.save(place, 1.0)
    assert kept.save(place, 2.0)["copied"] == 0
    (place / "artifacts/e").unlink()
    project(place, {"artifacts/oof/a b\n.json": "new"})
    assert kept.save(place, 3.0) == {"files": 2, "bytes": 6, "copied": 1}
    assert len(list((kept.home / "objects").iterdir())) == 2
    assert json.loads((kept.home / "state.json").read_text())["billed_s"] == 3.0


def test_nothing_is_kept_yet(tmp_path: Path, kept: Volume) -> None:
    assert "nothing is kept" in kept.restore(project(tmp_path / "p", CONTENTS), 0.0)


def test_a_volume_that_is_not_there_or_no_mount_is_told(tmp_path: Path, mount: Path) -> None:
    for missing in (Volume(str(tmp_path / "none"), "r"), Volume(str(mount), "r", mounted=True)):
        with pytest.raises(VolumeError, match=r"no volume is mounted at .*\n-> look at pod.network_volume"):
            missing.save(tmp_path, 0.0)
    assert list(mount.iterdir()) == [], "a folder of the image dies with the pod: nothing is written there"


def test_a_full_volume_keeps_the_state_before(tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    place = project(tmp_path / "p", CONTENTS)
    kept.save(place, 1.0)
    project(place, {"artifacts/new": "x" * 100})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(volume, "_copy_file", full)
    with pytest.raises(VolumeError, match=r"is full\n-> make room"):
        kept.save(place, 2.0)
    monkeypatch.undo()
    (tmp_path / "q").mkdir()
    kept.restore(tmp_path / "q", 0.0)
    assert tree(tmp_path / "q") == CONTENTS


def test_a_state_is_never_half_of_one_and_half_of_the_next(
    tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project(tmp_path / "p", {"artifacts/a": "1", "artifacts/b": "1"})
    monkeypatch.setattr(volume, "_PAUSE_S", 0.0)
    copy, seen = volume._copy_file, list[str]()

    def work_on(source: Path, target: Path, sha256: str) -> None:
        copy(source, target, sha256)
        seen.append(source.name)
        if len(seen) == 1:  # the run goes on between the two files
            for name in ("a", "b"):
                (place / "artifacts" / ".new").write_text("22")
                os.replace(place / "artifacts" / ".new", place / "artifacts" / name)

    monkeypatch.setattr(volume, "_copy_file", work_on)
    kept.save(place, 1.0)
    monkeypatch.undo()
    (tmp_path / "q").mkdir()
    kept.restore(tmp_path / "q", 0.0)
    assert tree(tmp_path / "q") == {"artifacts/a": "22", "artifacts/b": "22"}


def test_a_run_that_never_stands_still_is_told_and_the_state_before_stays(
    tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project(tmp_path / "p", {"artifacts/a": "1"})
    kept.save(place, 1.0)
    monkeypatch.setattr(volume, "_PAUSE_S", 0.0)
    walk, n = volume._walk, iter(range(100))

    def restless(folder: Path) -> Any:
        project(place, {"artifacts/a": "x" * next(n)})
        return walk(folder)

    monkeypatch.setattr(volume, "_walk", restless)
    with pytest.raises(VolumeError, match="faster than the volume"):
        kept.save(place, 2.0)
    assert json.loads((kept.home / "state.json").read_text())["billed_s"] == 1.0


def spoil_object(home: Path) -> None:
    path = next(path for path in (home / "objects").iterdir() if path.stat().st_size)
    path.write_bytes(b"z" * path.stat().st_size)


def lose_object(home: Path) -> None:
    next((home / "objects").iterdir()).unlink()


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(home: Path) -> None:
        state = json.loads((home / "state.json").read_text())
        change(state)
        (home / "state.json").write_text(json.dumps(state))

    return spoil


ENTRY = {"sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_object, "is damaged"),
        (lose_object, "is missing"),
        (lambda home: (home / "state.json").write_text('{"billed_s": 1'), "makes no sense"),
        (lambda home: (home / "state.json").write_text("[]"), "makes no sense"),
        (rewritten(lambda state: state.pop("billed_s")), "makes no sense"),
        (rewritten(lambda state: state["files"].update({"artifacts/../../x": ENTRY})), "no name of an artifact"),
        (rewritten(lambda state: state["files"].update({"/etc/cron.d/x": ENTRY})), "no name of an artifact"),
        (rewritten(lambda state: state["files"].update({"code.py": ENTRY})), "no name of an artifact"),
        (
            rewritten(lambda state: state["files"].update({"artifacts/x": {"sha256": "../../x", "size": 1}})),
            "described",
        ),
    ],
)
def test_what_is_damaged_or_hostile_is_told_and_the_run_goes_on_from_what_it_has(
    tmp_path: Path, kept: Volume, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], told: str
) -> None:
    kept.save(project(tmp_path / "p", CONTENTS), 10.0)
    spoil(kept.home)
    here = project(tmp_path / "q", {"artifacts/here": "mine"})
    words = {"mount": kept.mount, "run": kept.run, "mounted": False, "project": str(here), "newer_than_s": 0.0}
    assert main(["restore", json.dumps(words)]) == 0
    said = capsys.readouterr().out
    assert told in said and "goes on from what came with it" in said
    assert tree(here) == {"artifacts/here": "mine"}
    assert kept.save(tmp_path / "p", 11.0)["files"] == 3, "the next copy is whole again"
    kept.restore(here, 0.0)
    assert tree(here) == CONTENTS


@pytest.mark.parametrize("what", ["state.json", "objects"])
def test_one_bad_read_costs_nothing(tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    kept.save(project(tmp_path / "p", CONTENTS), 1.0)
    bad = [what]
    copy, read = volume._copy_file, Path.read_text

    def copied(source: Path, target: Path, sha256: str) -> None:
        copy(source, target, "0" * 64 if bad == ["objects"] and bad.pop() else sha256)

    def was_read(path: Path, *words: Any) -> str:
        return "{" if bad == [path.name] and bad.pop() else read(path, *words)

    monkeypatch.setattr(volume, "_copy_file", copied)
    monkeypatch.setattr(Path, "read_text", was_read)
    (tmp_path / "q").mkdir()
    kept.restore(tmp_path / "q", 0.0)
    monkeypatch.undo()
    assert tree(tmp_path / "q") == CONTENTS and not bad and not (kept.home / "state.refused.json").exists()


def test_a_refused_state_is_kept_until_a_later_one_came_back(
    tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {**CONTENTS, "artifacts/newer": "many hours"}
    kept.save(project(tmp_path / "p", newer), 9.0)
    state, objects = (kept.home / "state.json").read_bytes(), tree(kept.home / "objects")
    with monkeypatch.context() as patch:
        patch.setattr(volume, "_copy_file", lambda source, *_: (_ for _ in ()).throw(volume._ChangedError(source)))
        with pytest.raises(VolumeError, match="is damaged"):
            kept.restore(project(tmp_path / "q", CONTENTS), 0.0)
    for billed_s in (10.0, 11.0):
        kept.save(tmp_path / "q", billed_s)
        assert (kept.home / "state.refused.json").read_bytes() == state and tree(kept.home / "objects") == objects
    (tmp_path / "r").mkdir()
    kept.restore(tmp_path / "r", 0.0)
    kept.save(tmp_path / "r", 12.0)
    assert not (kept.home / "state.refused.json").exists() and len(tree(kept.home / "objects")) == 3


def test_what_a_refused_state_left_damaged_is_never_taken_for_right(tmp_path: Path, kept: Volume) -> None:
    """A run that goes on from an older state makes the same files once more."""
    kept.save(project(tmp_path / "p", CONTENTS), 9.0)
    spoil_object(kept.home)
    here = project(tmp_path / "q", {"artifacts/older": "x"})
    with pytest.raises(VolumeError, match="is damaged"):
        kept.restore(here, 0.0)
    kept.save(here, 10.0)
    kept.save(project(here, CONTENTS), 11.0)
    (tmp_path / "r").mkdir()
    kept.restore(tmp_path / "r", 0.0)
    assert tree(tmp_path / "r") == {**CONTENTS, "artifacts/older": "x"}


def test_a_state_that_makes_no_sense_loses_nothing_before_there_is_another(
    tmp_path: Path, kept: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.save(project(tmp_path / "p", CONTENTS), 1.0)
    state, objects = (kept.home / "state.json").read_text(), tree(kept.home / "objects")
    (kept.home / "state.json").write_text(state[:-9])
    monkeypatch.setattr(volume, "_PAUSE_S", 0.0)
    monkeypatch.setattr(Volume, "_copy", lambda *_: 0)
    with pytest.raises(VolumeError, match="faster than the volume"):
        kept.save(tmp_path / "p", 2.0)
    assert tree(kept.home / "objects") == objects


def test_a_run_does_not_begin_without_the_volume_that_it_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"mount": str(tmp_path / "none"), "run": "r", "mounted": False, "project": "p", "newer_than_s": 0.0}
    assert main(["restore", json.dumps(words)]) == EXIT_VOLUME
    assert "no volume is mounted" in capsys.readouterr().out


_TORN = """
import os, sys
from pathlib import Path
from moola.errors import ConfigError
from moola.pods import volume
from moola.pods.guards import GuardLimits
from moola.pods.settings import PodSettings
replace, n = os.replace, int(sys.argv[3])
def kill(*paths):
    global n
    n -= 1
    if n < 0:
        os.kill(os.getpid(), 9)
    replace(*paths)
os.replace = kill
volume.Volume(sys.argv[1], "demo-1").save(Path(sys.argv[2]), 2.0)
"""


@pytest.mark.parametrize("renames", range(5))
def test_a_copy_that_is_killed_anywhere_leaves_the_state_before(tmp_path: Path, kept: Volume, renames: int) -> None:
    place = project(tmp_path / "p", CONTENTS)
    kept.save(place, 1.0)
    project(place, {path: f"new {text}" for path, text in CONTENTS.items()})
    argv = [sys.executable, "-c", _TORN, kept.mount, str(place), str(renames)]
    assert subprocess.run(argv, capture_output=True).returncode == -signal.SIGKILL
    (tmp_path / "q").mkdir()
    kept.restore(tmp_path / "q", 0.0)
    assert tree(tmp_path / "q") == CONTENTS
    kept.save(place, 3.0)
    kept.restore(tmp_path / "q", 1.0)
    assert tree(tmp_path / "q") == {path: f"new {text}" for path, text in CONTENTS.items()}
    assert not list(kept.home.rglob("*.part"))


class Copying:
    """Copies whose clock a test sets."""

    def __init__(self, mount: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(Path(volume.__file__).parents[2]))
        self.at = 0.0
        wish = {"mount": str(mount), "run": "demo-1", "mounted": False, "every_s": 600.0, "limit_s": 60.0}
        self.copies = VolumeCopies(wish, place, lambda: self.at)

    def until_over(self) -> str:
        deadline = time.monotonic() + 20
        while self.copies.is_busy:
            assert time.monotonic() < deadline
            if told := self.copies.attend():
                return told
            time.sleep(0.01)
        return ""


def test_copies_are_made_now_and_then_and_told_where_they_bring_news(
    tmp_path: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project(tmp_path / "p", CONTENTS)
    copying = Copying(mount, place, monkeypatch)
    copies = copying.copies
    assert copies.look(1.0) == "" and copies.is_busy
    assert copying.until_over() == f"kept in {mount}/moola/demo-1: 3 files, 0.0 MB"
    assert {name: copies.kept[name] for name in ("files", "bytes", "billed_s", "error")} == {
        "files": 3,
        "bytes": 6,
        "billed_s": 1.0,
        "error": "",
    }
    copies.look(2.0)
    assert not copies.is_busy, "not yet"
    copying.at = 600.0
    copies.look(3.0)
    assert copying.until_over() == "" and copies.kept["billed_s"] == 3.0, "nothing new is not told"
    (mount / "moola/demo-1/objects").rename(mount / "objects")
    (mount / "moola/demo-1").joinpath("objects").touch()
    copies.begin(4.0)
    assert "not kept in" in copying.until_over()
    copies.begin(5.0)
    assert copying.until_over() == "" and copies.kept["error"] and copies.kept["billed_s"] == 3.0


def test_a_volume_that_hangs_is_given_up_and_what_was_kept_stays(
    tmp_path: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying = Copying(mount, project(tmp_path / "p", CONTENTS), monkeypatch)
    (mount / "moola/demo-1").mkdir(parents=True)
    os.mkfifo(mount / "moola/demo-1/state.json")  # to open it waits for ever
    copying.copies.begin(1.0)
    assert copying.copies.attend() == "" and copying.copies.is_busy
    copying.at = 61.0
    assert copying.copies.attend().endswith("the copy took longer than 60 s")
    assert not copying.copies.is_busy


def test_beside_a_copy_that_cannot_be_killed_no_second_one_is_started(
    tmp_path: Path, mount: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    copying = Copying(mount, project(tmp_path / "p", CONTENTS), monkeypatch)
    copies = copying.copies
    (mount / "moola/demo-1").mkdir(parents=True)
    os.mkfifo(mount / "moola/demo-1/state.json")
    copies.begin(1.0)
    assert copies._process is not None
    process, kill = copies._process, copies._process.kill
    request.addfinalizer(kill)
    monkeypatch.setattr("moola.pods.volume_copies._KILL_S", 0.01)
    monkeypatch.setattr(process, "kill", lambda: None)
    assert copies.begin(2.0).endswith("hangs there and cannot be killed")
    assert copies._process is process and not copies.is_busy
    kill()
    process.wait()
    copies.attend()
    assert copies.begin(3.0) == "" and copies.is_busy
    copies.stop()


def test_without_a_volume_nothing_is_copied(tmp_path: Path) -> None:
    copies = VolumeCopies({}, tmp_path, lambda: 0.0)
    assert (copies.look(1.0), copies.begin(1.0), copies.attend(), copies.is_busy, copies.kept) == (
        "",
        "",
        "",
        False,
        {},
    )


def test_a_volume_of_another_lender_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        PodSettings(provider="local", network_volume="vol1", mount="here")
    assert "network_volume: only runpod has them" in str(caught.value) and "must begin with /" in str(caught.value)
    with pytest.raises(ConfigError, match="see network_volume"):
        PodSettings(mount="/kept", guards=GuardLimits(max_hours=1))
    rented = PodSettings(network_volume="vol1", guards=GuardLimits(max_hours=1))
    assert rented.volume_place == "/workspace" and PodSettings(provider="local", mount="/kept").volume_place == "/kept"
