"""Order, reuse, keys, crashes and locks of a pipeline, with small stages that write real files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from moola.errors import ConfigError, MissingPackageError, StorageError
from moola.layout import Layout, digest_file, read_json, write_json, write_text
from moola.pipelines import spent
from moola.pipelines.artifacts import Artifact, ArtifactStore
from moola.pipelines.events import EventLog
from moola.pipelines.pipeline import Pipeline, recipe_of
from moola.pipelines.stage import Stage, Workspace


def test_a_stage_before_the_one_it_requires_is_refused_and_the_later_provider_is_named(fakes):
    with pytest.raises(ConfigError, match="'large' requires letters: stage 'letters' provides it later"):
        Pipeline([fakes.Large(), fakes.Letters()])


def test_a_requirement_that_nobody_provides_and_a_double_provider_are_reported_together(fakes):
    with pytest.raises(ConfigError) as found:
        Pipeline([fakes.Large(), fakes.Large()])
    assert found.value.problems == (
        "stage 'large' requires letters: no stage provides it",
        "stage 'large' requires letters: no stage provides it",
        "stages 'large' and 'large' both provide large",
    )


def test_stages_get_the_artifacts_they_asked_for_and_the_context_holds_all(fakes, fresh_context):
    done = Pipeline([fakes.Letters(), fakes.Large()]).run(fresh_context())
    assert done.artifacts["large"].path("large.txt").read_text() == "ABC!"
    assert set(done.artifacts) == {"letters", "large"}
    assert done.reused == ()


def test_the_second_run_reuses_both_artifacts_and_says_so(fakes, fresh_context):
    pipeline = Pipeline([fakes.Letters(), fakes.Large()])
    first = pipeline.run(fresh_context())
    context = fresh_context()
    second = pipeline.run(context)
    assert fakes.calls == ["letters", "large"]
    assert second.reused == ("letters", "large")
    assert second.artifacts["large"] == first.artifacts["large"]
    assert [e["stage"] for e in context.events.seen if e["event"] == "stage_reused"] == ["letters", "large"]


@pytest.mark.parametrize(
    ("force", "expected"),
    [(("large",), ["large"]), (("letters",), ["letters"]), (("all",), ["letters", "large"]), ((), [])],
)
def test_force_builds_exactly_the_named_stages_again(fakes, fresh_context, force, expected):
    pipeline = Pipeline([fakes.Letters(), fakes.Large()])
    pipeline.run(fresh_context())
    fakes.calls.clear()
    pipeline.run(fresh_context(force=force))
    assert fakes.calls == expected  # letters comes out the same, so large stays valid


def test_another_config_builds_the_stage_and_what_reads_it(fakes, fresh_context):
    Pipeline([fakes.Letters(), fakes.Large()]).run(fresh_context())
    fakes.calls.clear()
    Pipeline([fakes.Letters("xyz"), fakes.Large()]).run(fresh_context())
    assert fakes.calls == ["letters", "large"]
    fakes.calls.clear()
    Pipeline([fakes.Letters(), fakes.Large(ending="?")]).run(fresh_context())
    assert fakes.calls == ["large"]


def test_an_input_made_otherwise_with_the_same_content_leaves_its_readers_valid(fakes, fresh_context, tmp_path):
    (tmp_path / "outside.txt").write_text("abc")
    Pipeline([fakes.Letters("abc"), fakes.Large()]).run(fresh_context())
    fakes.calls.clear()
    Pipeline([fakes.Letters(outside_file=str(tmp_path / "outside.txt")), fakes.Large()]).run(fresh_context())
    assert fakes.calls == ["letters"]


def test_a_changed_file_outside_builds_again_and_a_touched_one_does_not(fakes, fresh_context, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("one")
    pipeline = Pipeline([fakes.Letters(outside_file=str(outside)), fakes.Large()])
    pipeline.run(fresh_context())
    fakes.calls.clear()
    outside.touch()
    pipeline.run(fresh_context())
    assert fakes.calls == []
    outside.write_text("two")
    done = pipeline.run(fresh_context())
    assert fakes.calls == ["letters", "large"]
    assert done.artifacts["large"].path("large.txt").read_text() == "TWO!"


@dataclass(frozen=True)
class Reviewed(Stage):
    """Reads a log to which somebody else appends once meanwhile."""

    log: str
    name: ClassVar[str] = "reviewed"
    provides: ClassVar[str] = "reviewed"

    def outside(self) -> str:
        return Path(self.log).read_text()

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        if self.outside() == "one":
            Path(self.log).write_text("one two")
        write_text(workspace.folder / "read.txt", self.outside())


def test_what_changes_while_a_stage_reads_it_is_not_kept_under_the_key_of_before(fresh_context, tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("one")
    pipeline = Pipeline([Reviewed(str(log))])
    with pytest.raises(StorageError, match="'reviewed' reads from outside changed") as told:
        pipeline.run(fresh_context())
    assert told.value.way_out == "run the same command again"
    done = pipeline.run(fresh_context()).artifacts["reviewed"]
    assert done.path("read.txt").read_text() == "one two"
    assert list(done.folder.parent.rglob("read.txt")) == [done.path("read.txt")]


@dataclass(frozen=True)
class Two(Stage):
    """Writes one file that its reader wants and one that it does not."""

    wanted: str = "a"
    other: str = "b"
    name: ClassVar[str] = "two"
    provides: ClassVar[str] = "two"

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        write_text(workspace.folder / "wanted.txt", self.wanted)
        write_text(workspace.folder / "other.txt", self.other)


@dataclass(frozen=True)
class ReadsOne(Stage):
    """Says which file it reads, and may try to read the other one."""

    asks_for: str = "wanted.txt"
    name: ClassVar[str] = "reads_one"
    provides: ClassVar[str] = "one"
    requires: ClassVar[tuple[str, ...]] = ("two",)
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"two": ("wanted.txt",)}

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        write_text(workspace.folder / "one.txt", inputs["two"].path(self.asks_for).read_text())


def test_a_stage_that_reads_some_files_is_built_anew_when_these_change_and_not_for_others(fresh_context):
    Pipeline([Two(), ReadsOne()]).run(fresh_context())
    assert Pipeline([Two(other="c"), ReadsOne()]).run(fresh_context()).reused == ("reads_one",)
    assert Pipeline([Two(wanted="c"), ReadsOne()]).run(fresh_context()).reused == ()


def test_a_stage_cannot_read_a_file_that_it_does_not_say_it_reads(fresh_context):
    with pytest.raises(StorageError, match=r"has no file other\.txt"):
        Pipeline([Two(), ReadsOne(asks_for="other.txt")]).run(fresh_context())


def test_the_name_of_the_run_changes_no_key(fakes, fresh_context):
    stage = fakes.Letters()
    assert recipe_of(stage, {}, "run-1").key == recipe_of(stage, {}, "run-2").key


@dataclass(frozen=True)
class NamesItsRun(Stage):
    """Depends on the run's name, as a report does."""

    name: ClassVar[str] = "names_its_run"
    provides: ClassVar[str] = "page"

    def run_identity(self, run_id: str) -> str:
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        write_text(workspace.folder / "page.txt", workspace.run_id)


def test_a_stage_that_names_its_run_is_built_for_every_run():
    assert recipe_of(NamesItsRun(), {}, "run-1").key != recipe_of(NamesItsRun(), {}, "run-2").key


def test_a_log_that_cannot_be_written_hides_no_error_that_came_before(fakes, fresh_context, monkeypatch, tmp_path):
    log = EventLog(tmp_path / "events.jsonl")

    def broken(self, inputs, workspace):
        log.path = tmp_path  # a folder takes no lines
        raise RuntimeError("no more paper")

    monkeypatch.setattr(fakes.Letters, "run", broken)
    with pytest.raises(RuntimeError, match="no more paper"):
        Pipeline([fakes.Letters()]).run(dataclasses.replace(fresh_context(), events=log))


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_damaged_artifact_stops_the_run_naming_the_file_and_force_mends_it(fakes, fresh_context, damage):
    pipeline = Pipeline([fakes.Letters(), fakes.Large()])
    target = pipeline.run(fresh_context()).artifacts["letters"].path("letters.txt")
    if damage == "changed":
        target.write_text("tampered")
    else:
        target.unlink()
    with pytest.raises(StorageError) as found:
        pipeline.run(fresh_context())
    assert "letters.txt" in found.value.why
    assert "--force=letters" in found.value.way_out
    done = pipeline.run(fresh_context(force=("letters",)))
    assert done.artifacts["letters"].path("letters.txt").read_text() == "abc"


def test_asking_an_artifact_for_a_file_it_lacks_names_what_it_has(fakes, fresh_context):
    artifact = Pipeline([fakes.Letters()]).run(fresh_context()).artifacts["letters"]
    with pytest.raises(StorageError, match=r"no file numbers.txt\nit has letters.txt"):
        artifact.path("numbers.txt")


def test_the_manifest_says_what_the_artifact_is_worth(fakes, fresh_context):
    done = Pipeline([fakes.Letters(), fakes.Large()]).run(fresh_context())
    letters, large = done.artifacts["letters"], done.artifacts["large"]
    manifest = read_json(large.folder / "manifest.json")
    assert manifest["stage"] == "large"
    assert manifest["files"] == {"large.txt": digest_file(large.folder / "large.txt")}
    assert manifest["config"]["ending"] == "!"
    assert manifest["inputs"] == {"letters": letters.digest}
    assert manifest["key"] == large.key == recipe_of(fakes.Large(), {"letters": letters}, "any").key
    assert large.folder.name == f"large-{large.key[:16]}"
    assert {"digest", "git_commit", "git_dirty", "moola"} == set(manifest["code"])
    assert {"python", "mapie", "numba", "numpy", "scipy", "torch"} <= set(manifest["versions"])
    assert manifest["seconds"] >= 0
    assert manifest["started"].endswith("Z")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda manifest: manifest["files"].update({"letters.txt": "0" * 64}), "its digest is not that of its files"),
        (lambda manifest: manifest.update(digest="0" * 64), "its digest is not that of its files"),
        (lambda manifest: manifest.update(key="0" * 64), "its key is that of another configuration"),
        (lambda manifest: manifest.pop("files"), "it lists no files"),
    ],
)
def test_a_manifest_that_was_edited_by_hand_is_refused(fakes, fresh_context, edit, says):
    folder = Pipeline([fakes.Letters()]).run(fresh_context()).artifacts["letters"].folder
    manifest = read_json(folder / "manifest.json")
    edit(manifest)
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(StorageError, match="was changed since it was written") as caught:
        Pipeline([fakes.Letters()]).run(fresh_context())
    assert f"- manifest.json: {says}" in caught.value.why and "--force=letters" in caught.value.way_out
    Pipeline([fakes.Letters()]).run(fresh_context(force=("letters",)))
    Pipeline([fakes.Letters()]).run(fresh_context())


@dataclass(frozen=True)
class Fragile(Stage):
    """Leaves a finished part, working state and a torn file, then breaks while `broken` exists."""

    broken: str
    name: ClassVar[str] = "fragile"
    provides: ClassVar[str] = "fragile"

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        seen = sorted(path.name for path in workspace.folder.rglob("*") if path.is_file())
        write_text(Path(self.broken).with_name("seen.json"), json.dumps(seen))
        write_text(workspace.folder / "part.txt", "whole")
        write_text(workspace.folder / "resume" / "state.txt", "epoch 3")
        if Path(self.broken).exists():
            (workspace.folder / ".second.txt.abc123.part").write_text("torn by kill -9")
            raise RuntimeError("the power went")


def test_after_a_crash_nothing_stands_under_the_final_name_and_the_next_run_gets_the_same_folder(
    fresh_context, tmp_path
):
    broken = tmp_path / "broken"
    broken.touch()
    pipeline = Pipeline([Fragile(str(broken))])
    context = fresh_context()
    with pytest.raises(RuntimeError, match="the power went"):
        pipeline.run(context)
    final = ArtifactStore(context.layout).folder(recipe_of(Fragile(str(broken)), {}, "run-1"))
    assert not final.exists()
    assert json.loads((tmp_path / "seen.json").read_text()) == []
    assert context.events.seen[-1]["event"] == "stage_failed"
    broken.unlink()
    artifact = pipeline.run(fresh_context()).artifacts["fragile"]
    left = json.loads((tmp_path / "seen.json").read_text())
    assert left == ["part.txt", "spent.json", "state.txt"]  # and no torn file
    assert sorted(path.name for path in artifact.folder.rglob("*")) == ["manifest.json", "part.txt"]
    assert not list(final.parent.glob(".*.building"))


def test_time_and_energy_of_all_attempts_add_up(fresh_context, monkeypatch, tmp_path):
    clock, energy = [0.0], [None]

    def run(self, inputs, workspace):
        kept = workspace.folder / "resume" / "spent.json"
        clock[0] += 5
        workspace.progress(1, 2, "parts")
        killed.append(kept.read_bytes())
        clock[0] += 2
        if len(killed) < 3:
            raise KeyboardInterrupt

    killed: list[bytes] = []
    monkeypatch.setattr(spent, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(spent, "EnergyMeter", lambda: SimpleNamespace(watt_hours=lambda: energy[0]))
    monkeypatch.setattr(Fragile, "run", run)
    pipeline = Pipeline([Fragile("")])
    context = fresh_context()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(context)
    assert context.events.seen[-1] == context.events.seen[-1] | {"error": "Ctrl-C or a signal"}
    energy[0] = 1.5
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(fresh_context())
    store = ArtifactStore(fresh_context().layout)
    building = store.building(recipe_of(Fragile(""), {}, "run-1"))
    (building / "resume" / "spent.json").write_bytes(killed[-1])  # as if it had been killed without a last word
    manifest = pipeline.run(fresh_context()).artifacts["fragile"].manifest
    assert (manifest["seconds"], manifest["energy_wh"]) == (7 + 5 + 7, 3.0)
    manifest = pipeline.run(fresh_context(force=("fragile",))).artifacts["fragile"].manifest
    assert (manifest["seconds"], manifest["energy_wh"]) == (7, 1.5)


def test_force_does_not_go_on_from_what_a_crash_left(fresh_context, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    pipeline = Pipeline([Fragile(str(broken))])
    with pytest.raises(RuntimeError):
        pipeline.run(fresh_context())
    broken.unlink()
    pipeline.run(fresh_context(force=("fragile",)))
    assert json.loads((tmp_path / "seen.json").read_text()) == []


def test_force_forgets_what_a_crash_left_before_other_processes_look_at_it(fresh_context, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    pipeline = Pipeline([Fragile(str(broken))])
    with pytest.raises(RuntimeError):
        pipeline.run(fresh_context())
    broken.unlink()
    left: list[bool] = []
    store = ArtifactStore(fresh_context().layout)
    building = store.building(recipe_of(Fragile(str(broken)), {}, "run-1"))
    assert building.exists()
    pipeline.run(fresh_context(force=("fragile",), meet=lambda: left.append(building.exists())))
    assert left[0] is False


def test_missing_packages_of_all_stages_are_named_before_anything_runs(fakes, fresh_context, monkeypatch):
    monkeypatch.setattr(fakes.Large, "packages", {"no_such_package": "evidence"})
    monkeypatch.setattr(fakes.Letters, "packages", {"nor_this_one": "data"})
    with pytest.raises(MissingPackageError) as found:
        Pipeline([fakes.Letters(), fakes.Large()]).run(fresh_context())
    assert "no_such_package" in found.value.why
    assert "nor_this_one" in found.value.why
    assert "moola[data,evidence]" in found.value.way_out
    assert fakes.calls == []


def test_a_folder_that_cannot_be_written_is_found_before_anything_runs(fakes, fresh_context, tmp_path):
    (tmp_path / "artifacts").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"paths\.artifacts=FOLDER"):
        Pipeline([fakes.Letters()]).run(fresh_context())
    assert fakes.calls == []


_TWO = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from moola.layout import Layout, write_text
from moola.pipelines.context import Context
from moola.pipelines.events import EventLog
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stage import Stage

@dataclass(frozen=True)
class Slow(Stage):
    name: ClassVar[str] = "slow"
    provides: ClassVar[str] = "slow"
    def run(self, inputs, workspace):
        with Path("built").open("a") as log:
            log.write("x")
        while not Path("go").exists():
            time.sleep(0.01)
        write_text(workspace.folder / "slow.txt", "done")

events = EventLog()
events.listen(lambda event: print(event["event"], flush=True))
Pipeline([Slow()]).run(Context("run", Layout(Path("data").absolute(), Path("artifacts").absolute()), events))
"""


def test_two_processes_build_the_same_artifact_once(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(_TWO)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    def read_until(process: subprocess.Popen[str], event: str) -> None:
        assert process.stdout is not None
        while (line := process.stdout.readline()).strip() != event:
            assert line, f"the process ended without {event}"

    first = start()
    try:
        while not (tmp_path / "built").exists():
            assert first.poll() is None
        second = start()
        try:
            read_until(second, "stage_waiting")
            (tmp_path / "go").touch()
            first_events = first.communicate(timeout=20)[0].split()
            second_events = second.communicate(timeout=20)[0].split()
        finally:
            second.kill()
    finally:
        first.kill()
    assert "stage_finished" in first_events
    assert "stage_reused" in second_events
    assert (tmp_path / "built").read_text() == "x"


def test_rooms_lie_below_their_top_folder(tmp_path):
    layout = Layout(tmp_path / "d", tmp_path / "a")
    assert layout.room("data/splits") == tmp_path / "d" / "splits"
    assert layout.room("artifacts/oof/units") == tmp_path / "a" / "oof" / "units"
    assert layout.results == tmp_path / "a" / "results"
