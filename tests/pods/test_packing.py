"""A whole bundle: same inputs give the same id, and what must not travel is refused with its place."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.commands.pod_commands.pack import main
from moola.data.sources.problems import Problems
from moola.errors import ConfigError, DataError, MoolaError, StorageError
from moola.layout import Layout
from moola.pods import packing, run_naming
from moola.pods.bundle import Bundle
from moola.pods.composed_run import ComposedRun, RunName, compose, name_run
from moola.pods.packing import Packed, PackLimits, moola_itself, pack, plan
from moola.pods.project_files import list_project

NO_LIMITS = PackLimits()
NAMES = st.text(alphabet=string.ascii_letters + " '\"\n;$()-*ü", min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and name.lower() not in ("data", "con")
)
CONTENTS = st.dictionaries(NAMES, st.tuples(st.binary(max_size=20), st.booleans()), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> ComposedRun:
    return compose([], tmp_path_factory.mktemp("anywhere"))


def make_quick(patch: pytest.MonkeyPatch, composed: ComposedRun) -> None:
    patch.setattr(packing, "compose", lambda words, project: dataclasses.replace(composed, words=tuple(words)))
    patch.setattr(run_naming, "_started", lambda project: None)
    patch.setattr(run_naming, "name_run", lambda run, project: RunName("market-0123456789ab", {}))
    patch.setattr(packing, "moola_itself", lambda project, tree: ("src", {}))


@pytest.fixture
def quick(composed: ComposedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """What overrides mean and what moola is made of is known here, and is not what is asked."""
    make_quick(monkeypatch, composed)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", {"train.py": b"import moola\n"})


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def layout(project: Path) -> Layout:
    return Layout(project / "data", project / "artifacts")


def planned(project: Path, words: Sequence[str] = (), limits: PackLimits = NO_LIMITS) -> Packed:
    return plan(project, words, layout(project), limits=limits)


def problems(project: Path, words: Sequence[str] = (), limits: PackLimits = NO_LIMITS) -> str:
    with pytest.raises(DataError) as caught:
        planned(project, words, limits)
    return caught.value.why


@settings(max_examples=4)
@given(CONTENTS, st.randoms(use_true_random=False), st.sampled_from([0o000, 0o022, 0o077, 0o002]))
def test_the_id_is_that_of_the_inputs_whatever_times_umask_order_and_place(
    tmp_path_factory, composed, contents, random, umask
):
    def made(names: Sequence[str], mask: int, time_s: int) -> Path:
        folder = tmp_path_factory.mktemp("copy")
        before = os.umask(mask)
        try:
            for name in names:
                content, executable = contents[name]
                (folder / name).write_bytes(content)
                os.utime(folder / name, (time_s, time_s))
                (folder / name).chmod((0o777 if executable else 0o666) & ~mask)
        finally:
            os.umask(before)
        return folder

    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch, composed)
        names = sorted(contents)
        first = planned(made(names, 0o022, 1_000_000_000)).bundle
        other = made(random.sample(names, len(names)), umask, 1_700_000_000)
        patch.chdir(other)
        assert plan(Path(), [], Layout(Path("data"), Path("artifacts")), limits=NO_LIMITS).bundle == first
        (other / names[0]).write_bytes(contents[names[0]][0] + b".")
        assert planned(other).bundle.bundle_id != first.bundle_id


@pytest.mark.usefixtures("quick")
def test_packing_again_stores_nothing_new_and_mends_what_was_damaged(project):
    first = pack(project, [], layout(project), limits=NO_LIMITS)
    objects = project / "artifacts/runpod_bundles/objects"
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    assert len(before) == len({file.sha256 for file in first.bundle.files})
    assert pack(project, [], layout(project), limits=NO_LIMITS).bundle == first.bundle
    assert before == {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    damaged = min(before)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    bundle = pack(project, [], layout(project), limits=NO_LIMITS).bundle
    with bundle.open_object(damaged.name) as handle:
        assert handle.read() != damaged.name


@pytest.mark.usefixtures("quick")
def test_a_stored_bundle_does_not_follow_later_changes_of_the_project(project):
    bundle = pack(project, [], layout(project), limits=NO_LIMITS).bundle
    (project / "train.py").write_text("changed")
    loaded = Bundle.load(project / "artifacts/runpod_bundles" / bundle.bundle_id)
    assert loaded == bundle
    [code] = [file for file in loaded.files if file.path == "train.py"]
    with loaded.open_object(code.sha256) as handle:
        assert handle.read() == b"import moola\n"


@pytest.mark.usefixtures("quick")
def test_a_plan_writes_nothing(project):
    before = sorted(project.rglob("*"))
    planned(project)
    assert sorted(project.rglob("*")) == before


def test_moola_itself_travels_where_it_is_not_the_project(project):
    source, files = moola_itself(project, list_project(project, layout(project), Problems()))
    assert files[f"{source}/moola/cli.py"].name == "cli.py"
    assert files[f"{source}/moola/configs/config.yaml"].name == "config.yaml"
    assert not any("__pycache__" in path for path in files)


def test_where_moola_is_the_project_it_travels_once():
    root = Path(__file__).resolve().parents[2]
    assert moola_itself(root, list_project(root, layout(root), Problems())) == ("src", {})


@pytest.mark.usefixtures("quick")
def test_requirements_are_exact_and_hold_neither_torch_nor_its_drivers(project):
    pins = planned(project).bundle.facts["requirements"]
    assert all(pin.count("==") == 1 for pin in pins)
    names = [pin.partition("==")[0] for pin in pins]
    assert {"numpy", "pytorch-lightning", "hydra-core", "polars", "scikit-learn"} <= set(names)
    assert not [name for name in names if name.startswith(("torch==", "nvidia", "triton", "cuda")) or name == "torch"]
    assert names == sorted(names)


def token() -> str:
    return "rpa" + "_" + "".join(random.Random(0).choices(string.ascii_uppercase + string.digits, k=42))


@pytest.mark.usefixtures("quick")
def test_everything_that_must_not_travel_is_told_at_once_and_no_value_with_it(project):
    write(
        project,
        {
            "settings.py": f"# keys\nkey = '{token()}'\n".encode(),
            ".env": b"A=1",
            "model.pkl": pickle.dumps(os.system),
            "big.bin": b"\0" * 60_000,
            "pointer.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n",
        },
    )
    (project / "out.py").symlink_to("/etc/passwd")
    told = problems(project, [f"+data.key={token()}"], PackLimits(code_file_mb=0.05))
    for words in (
        "settings.py:2: RunPod key",
        ".env: a file of keys or passwords, by its name",
        f"model.pkl: a pickle that calls {os.system.__module__}.system",
        "big.bin has 0.1 MB, more than 0.05",
        "pointer.bin: a Git LFS pointer",
        "out.py is a link that leads out of the project",
        "overrides:1: RunPod key",
    ):
        assert f"- {words}" in told
    assert token() not in told
    assert len(told.splitlines()) == 7


@pytest.mark.usefixtures("quick")
def test_the_packed_manifest_holds_no_secret_of_the_environment(project, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", token())
    bundle = pack(project, [], layout(project), limits=NO_LIMITS).bundle
    folder = project / "artifacts/runpod_bundles" / bundle.bundle_id
    assert not [path for path in folder.iterdir() if token() in path.read_text()]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["option", "file", "whole file", "ignored"])
def test_a_harmless_finding_is_allowed_by_its_place(project, how):
    write(project, {"settings.py": f"# keys\nkey = '{token()}'\n".encode()})
    said = {"file": "# looked at\nsettings.py:2\n", "whole file": "settings.py\n"}.get(how, "")
    (project / ".moolasecretsignore").write_text(said)
    (project / ".moolaignore").write_text("settings.py\n" if how == "ignored" else "")
    packed = planned(project, limits=PackLimits(allowed=("settings.py:2",) if how == "option" else ()))
    assert [finding.place for finding in packed.findings] == ([] if how == "ignored" else ["settings.py:2"])
    assert ("settings.py" in packed.left_out) == (how == "ignored")


@pytest.mark.usefixtures("quick")
def test_an_allowed_line_allows_no_other_line(project):
    write(project, {"settings.py": f"key = '{token()}'\n\nkey = '{token()}'\n".encode()})
    assert problems(project, limits=PackLimits(allowed=("settings.py:1",))) == "- settings.py:3: RunPod key"


@pytest.mark.usefixtures("quick")
def test_a_finding_that_is_allowed_and_not_there_is_told_with_near_ones(project):
    write(project, {"settings.py": f"key = '{token()}'\n".encode()})
    told = problems(project, limits=PackLimits(allowed=("settings.py:1", "setings.py:1")))
    assert told.startswith("- --allow setings.py:1: nothing was found there; did you mean 'settings.py:1'")
    assert "settings.py:1: RunPod key" not in told


@pytest.mark.usefixtures("quick")
def test_the_biggest_files_are_those_of_the_user_first(project, tmp_path, monkeypatch):
    write(project, {"small.py": b"#", "large.py": b"#" * 500})
    (tmp_path / "moola.py").write_bytes(b"#" * 9000)
    monkeypatch.setattr(packing, "moola_itself", lambda *_: ("own", {"own/moola.py": tmp_path / "moola.py"}))
    biggest = [file.path for file in planned(project).biggest]
    assert biggest[0] == "large.py" and "small.py" in biggest and biggest[-1] == "own/moola.py"


@pytest.mark.usefixtures("quick")
def test_a_strange_name_cannot_write_on_the_terminal(project):
    write(project, {"a\x1b[2J\nb.py": f"key = '{token()}'\n".encode()})
    assert problems(project).isprintable()


@pytest.mark.usefixtures("quick")
def test_too_many_files_and_too_many_bytes_are_refused(project):
    write(project, {f"{i}.py": b"#" * 500 for i in range(3)})
    told = problems(project, limits=PackLimits(files=3, total_mb=0.001))
    assert "files would travel, more than 3" in told
    assert "MB would travel, more than 0.001" in told


def test_limits_have_to_make_sense():
    with pytest.raises(ConfigError, match="3 problems"):
        PackLimits(code_file_mb=0, data_file_mb=-1, files=0)


@pytest.fixture(scope="module")
def with_bars(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A project whose bars lie elsewhere, and the overrides that name them."""
    folder = tmp_path_factory.mktemp("run")
    project = write(folder / "project", {"train.py": b"1"})
    close = 100 + np.cumsum(np.random.default_rng(0).normal(size=2000)) / 10
    first = datetime(2020, 1, 1)
    times = pl.datetime_range(first, first + timedelta(hours=1999), "1h", eager=True)
    bars = {"open": close, "high": close + 1, "low": close - 1, "close": close}
    pl.DataFrame({"timestamp": times, **bars}).write_csv(folder / "my bars.csv")
    return project, ["data=files", f'data.path="{folder / "my bars.csv"}"', "split.test_from=2020-03-01", "device=cuda"]


def test_a_run_travels_whole_with_its_data_and_its_own_id(with_bars):
    project, words = with_bars
    bundle = pack(project, words, layout(project), limits=NO_LIMITS).bundle
    [data] = [file for file in bundle.files if file.kind == "data"]
    assert data.path.startswith("outside/")
    assert bundle.facts["rows"] == {data.path: 2000}
    assert bundle.facts["overrides"][1] == f'data.path="{data.path}"'
    named = name_run(compose(words, project), project)
    assert (bundle.facts["run_id"], bundle.facts["rooms"]) == (named.run_id, named.rooms)
    manifest = (project / "artifacts/runpod_bundles" / bundle.bundle_id / "manifest.json").read_text()
    assert str(project.parent) not in manifest
    assert f"path: {data.path}" in bundle.facts["config"]


def test_the_wrong_file_in_place_of_the_packed_one_never_leaves(with_bars):
    """Pretraining once ran on 98 labelled rows in place of 11,873: another file had been uploaded."""
    project, words = with_bars
    bundle = pack(project, words, layout(project), limits=NO_LIMITS).bundle
    [data] = [file for file in bundle.files if file.kind == "data"]
    bars = project.parent / "my bars.csv"
    right = bars.read_bytes()
    try:
        bars.write_bytes(b"\n".join(right.split(b"\n")[:99]) + b"\n")
        with pytest.raises(StorageError, match="no longer what was packed"):
            bundle.open_object(data.sha256)
    finally:
        bars.write_bytes(right)


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(with_bars, monkeypatch, capsys) -> Command:
    """``moola pod pack`` in the project."""
    project, words = with_bars
    monkeypatch.chdir(project)

    def run(*options: str) -> tuple[int, str]:
        code = main([*words, *options])
        return code, capsys.readouterr().out

    return run


def test_the_command_shows_what_travels_and_ends_with_the_folder(command):
    code, out = command()
    assert code == 0
    assert Bundle.load(Path(out.splitlines()[-1])).facts["overrides"]
    assert "2,000 rows" in out
    assert "artifacts/  (of moola's folders" in out
    assert "first push at 20 Mbit/s" in out


def test_the_command_as_json_names_everything(command, with_bars):
    before = sorted(with_bars[0].rglob("*"))
    said = json.loads(command("--json", "--dry-run", "pod=local")[1])
    assert said["folder"] is None and said["estimate"] is None
    assert {file["kind"] for file in said["files"]} == {"code", "data", "run"}
    assert said["bytes"] == sum(file["size"] for file in said["files"])
    assert sorted(with_bars[0].rglob("*")) == before


def test_the_command_refuses_what_is_no_override(command):
    with pytest.raises(MoolaError, match="--multirun: one pod has one configuration"):
        command("--multirun")
    with pytest.raises(MoolaError, match="did you mean '--dry-run'"):
        command("--dry-rum")
    with pytest.raises(ConfigError, match=r"task.draw=0,1: one pod[\s\S]*task.draw='\[0,1\]'"):
        command("task.draw=0,1", "seeds=[0,1]", "data.path='a,b'")
    with pytest.raises(ConfigError, match="uplink"):
        command("--uplink-mbit", "0")
