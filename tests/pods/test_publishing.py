"""What results of a pod may do here: appear under their own names, beside what is there, and nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moola.config import digest_json
from moola.encoders.record import EncoderRecord, Lineage, write_record
from moola.errors import MoolaError, StorageError
from moola.layout import Layout, read_json
from moola.pipelines.rented import POD_FILE, Rented, read_rented
from moola.pipelines.sealed_tests import open_sealed_test, read_openings
from moola.pipelines.stage import STAGES
from moola.pods.browser_content import DISARMED, is_harmless
from moola.pods.publishing import Published, publish_results, pull_results
from moola.pods.remote import results
from moola.pods.session import PodShell, RunOnPod
from moola.pods.wire import Answer

SENT, RUN = "market-584a4514f71f", "market-0123456789ab"
RENTED = Rented("runpod", "p1", "RTX 4090", "EU-1", 0.4, 1, 3600.0, 0.4, 0.0, under_way=False, bundle="b1")
ABOUT = {"provider": "runpod", "pod_id": "p1", "gpu": "RTX 4090", "bundle": "b1", "git": None}
PAGE = Path(__file__).parents[2] / "src/moola/drawing/page.html.j2"
HEAD = PAGE.read_text().partition('<meta name="color-scheme"')[0]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><style>.a{fill:red}</style>%s</svg>'
HERE = {
    "data/raw/labeled/labels.csv": "every label",
    "data/processed/labeled/v001/labels.parquet": "labels",
    "data/splits/own/manifest.json": "{}",
    "artifacts/metadata/pod_keys/other-1/id_ed25519": "key",
    "artifacts/metadata/pods.sqlite": "ledger",
    "artifacts/results/market-aaaaaaaaaaaa/manifest.json": '{"pod": {"run": "market-bbbbbbbbbbbb"}}',
    "artifacts/results/market-cccccccccccc/notes.txt": "no manifest",
    "src/code.py": "code",
    ".git/config": "git",
}
"""A project with things that nobody may touch."""


class Pod:
    """A pod whose project is a folder; whoever holds it writes what they like."""

    def __init__(self, root: Path, top: Path) -> None:
        self.root, self.top, self.layout = root, top, Layout(top / "data", top / "artifacts")
        self.project = root / "runs" / SENT / "project"
        self.run = RunOnPod(PodShell(self, str(root), "python3", {}, 0.0), SENT)  # type: ignore[arg-type]
        self.place = self.stage("oof", {"oof.parquet": "predictions", "chart.svg": SVG % ""})
        self.finish()

    def request(self, action: str, arguments: Mapping[str, Any], *, sink: Any = None, **_: Any) -> Answer:
        told = getattr(results, action)(**arguments)
        if action == "read_files":
            for block in told:
                sink(block)
            told = {}
        return Answer(told, 0.0, 0.0)

    def write(self, path: str, content: str) -> None:
        (self.project / path).parent.mkdir(parents=True, exist_ok=True)
        (self.project / path).write_text(content)

    def stage(self, name: str, files: dict[str, str], room: str = "artifacts/oof/supervised", **changed: Any) -> str:
        """An artifact as moola makes it, with what is changed in its manifest; where it is."""
        recipe = {"stage": name, "config": {}, "inputs": {}, "code": {"digest": "c"}, "outside": ""}
        recipe |= {key: value for key, value in changed.items() if key in recipe}
        key = digest_json({**recipe, "code": "c"})
        place = f"{room}/{name}-{key[:16]}"
        for file, content in files.items():
            self.write(f"{place}/{file}", content)
        digests = {file: hashlib.sha256(content.encode()).hexdigest() for file, content in files.items()}
        manifest = {**recipe, "key": key, "files": digests, "digest": digest_json(digests), **changed}
        self.write(f"{place}/manifest.json", json.dumps(manifest))
        return place

    def line(self, place: str, **changed: Any) -> dict[str, Any]:
        manifest = json.loads((self.project / place / "manifest.json").read_text())
        told = {name: manifest[name] for name in ("stage", "key", "digest")}
        return {**told, "folder": f"{self.run.project}/{place}", **changed}

    def finish(self, run: str = RUN, files: dict[str, str] | None = None, **changed: Any) -> None:
        """The run folder, with what is changed in its manifest."""
        contents = {"metrics.json": "{}", "report.html": HEAD + "<p>fine</p>"} if files is None else files
        for name, content in {**contents, "events.jsonl": "{}\n", "tracking.jsonl": "{}\n", ".lock": ""}.items():
            self.write(f"artifacts/results/{run}/{name}", content)
        digests = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in contents.items()}
        told = {"run_id": run, "status": "finished", "files": digests, "stages": [self.line(self.place)], **changed}
        self.write(f"artifacts/results/{run}/manifest.json", json.dumps(told))

    def encoder(self, folder: str, **changed: Any) -> None:
        """A named encoder; `files` are paths -> contents, as its record lists them."""
        files = changed.pop("files", {"encoder-seed0.safetensors": "weights"})
        for name, content in files.items():
            if not name.startswith("/"):
                self.write(f"artifacts/encoders/pretrained/{folder}/{name}", content)
        lineage = Lineage(
            *("a", changed.pop("content", "c"), "b", "w", "s"), False, None, None, (), changed.pop("run_id", RUN),
            None, None, "1", {},
        )  # fmt: skip
        digests = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in files.items()}
        shape = {"inputs": ("close",), "source_channels": ("close",), "visible_bars": 9, "spans": (), "seeds": (0,)}
        names = ("objective", "encoder", "configured_transform", "transform", "windows", "figures")
        sections: dict[str, Any] = {name: {} for name in names}
        record = EncoderRecord(
            **{"name": folder, "created": "now", **shape, **sections, "lineage": lineage, "files": digests, **changed}
        )
        (self.project / "artifacts/encoders/pretrained" / folder).mkdir(parents=True, exist_ok=True)
        write_record(self.project / "artifacts/encoders/pretrained" / folder, record)

    def bring_back(self) -> Published:
        staging = self.layout.room("artifacts/runpod_results") / SENT / "staging"
        published = publish_results(pull_results(self.run, staging), self.layout, rented=RENTED)
        shutil.rmtree(staging)
        return published

    def here(self) -> dict[str, str]:
        """Everything around and in the project here, less what is staged."""
        files = [path for path in self.top.parent.rglob("*") if path.is_file() and self.root not in path.parents]
        return {
            path.relative_to(self.top).as_posix(): path.read_text()
            for path in files
            if path.is_relative_to(self.top) and "artifacts/runpod_results" not in str(path)
        } | {str(path): path.read_text() for path in files if not path.is_relative_to(self.top)}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    top = tmp_path / "around" / "here"
    for path, content in HERE.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content)
    return Pod(tmp_path / "pod", top)


def test_results_appear_beside_what_is_there_and_say_whose_they_are(pod: Pod) -> None:
    pod.encoder("gru_mae_1d_v7")
    pod.encoder("sent_along_1d_v1", run_id="market-aaaaaaaaaaaa")
    pod.write(f"artifacts/results/{RUN}/notes/unlisted.sh", "rm -rf")
    pod.write(f"{pod.place}/unlisted.py", "import os")
    sealed = pod.project / "artifacts/metadata/sealed_tests.jsonl"
    open_sealed_test(sealed, "d1", RUN)
    open_sealed_test(sealed, "d1", "market-dddddddddddd")
    published = pod.bring_back()
    assert published == Published(pod.layout.results / RUN)
    here = pod.here()
    assert {path: here.pop(path) for path in HERE} == HERE
    run, encoder = f"artifacts/results/{RUN}", "artifacts/encoders/pretrained/gru_mae_1d_v1"
    unlisted = ("manifest.json", "events.jsonl", "tracking.jsonl", "pod.json")
    assert {path for path in here if not path.endswith(".lock")} == {
        *(f"{run}/{name}" for name in (*unlisted, "metrics.json", "report.html")),
        *(f"{pod.place}/{name}" for name in ("manifest.json", "oof.parquet", "chart.svg")),
        *(f"{encoder}/{name}" for name in ("encoder.json", "encoder-seed0.safetensors")),
        "artifacts/metadata/sealed_tests.jsonl",
    }
    manifest, stage = read_json(published.folder / "manifest.json"), read_json(pod.top / pod.place / "manifest.json")
    assert manifest["pod"] == stage["pod"] == {**ABOUT, "run": SENT}
    assert read_rented(published.folder) == RENTED and POD_FILE not in manifest["files"]
    assert manifest["stages"][0]["folder"] == str(pod.top / pod.place)
    assert [one.run_id for one in read_openings(pod.top / "artifacts/metadata/sealed_tests.jsonl")] == [RUN]


def test_the_same_results_come_again_and_a_damaged_artifact_is_mended(pod: Pod) -> None:
    pod.bring_back()
    before = pod.here()
    (pod.top / pod.place / "oof.parquet").write_text("damaged")
    pod.bring_back()
    assert pod.here() == before


def test_an_artifact_that_is_here_stays_whatever_the_pod_made_under_its_key(pod: Pod) -> None:
    pod.bring_back()
    pod.place = pod.stage("oof", {"oof.parquet": "poison"})
    pod.finish()
    pod.bring_back()
    assert (pod.top / pod.place / "oof.parquet").read_text() == "predictions"


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_the_same_run_made_here_is_never_lost(pod: Pod, status: str) -> None:
    shutil.rmtree(pod.project / "artifacts/results")
    pod.finish(SENT)
    here = pod.layout.results / SENT
    here.mkdir()
    (here / "my_notes.txt").write_text("mine")
    manifest = {"run_id": SENT, "status": status, "files": {}, "stages": []}
    (here / "manifest.json").write_text(json.dumps(manifest))
    before = pod.here()
    published = pod.bring_back()
    if status == "finished":
        assert published == Published(here, came=False) and pod.here() == before
    else:
        aside = pod.layout.room("artifacts/runpod_results") / SENT / "unfinished"
        assert (aside / "my_notes.txt").read_text() == "mine" and read_json(aside / "manifest.json") == manifest
        assert published == Published(here) and read_json(here / "manifest.json")["pod"]["run"] == SENT
    assert pod.bring_back().folder == here


def test_of_two_run_folders_the_finished_one_comes(pod: Pod) -> None:
    pod.finish("market-222222222222", status="interrupted")
    assert pod.bring_back().folder.name == RUN
    pod.finish("market-222222222222")
    with pytest.raises(StorageError, match="no one run that finished"):
        pod.bring_back()


def names(*folders: str) -> Callable[[Pod], None]:
    """Stage lines that lead to these folders, which hold what an artifact holds."""

    def change(pod: Pod) -> None:
        lines = []
        for folder in folders:
            shutil.copytree(pod.project / pod.place, pod.project / folder, dirs_exist_ok=True)
            lines.append(pod.line(pod.place, folder=f"{pod.run.project}/{folder}"))
        pod.finish(stages=lines)

    return change


def manifests(**changed: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        path = pod.project / pod.place / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return change


def of_run(run: str = RUN, **changed: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        shutil.rmtree(pod.project / "artifacts/results")
        pod.finish(run, **changed)

    return change


def of_manifest(**changed: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        path = pod.project / f"artifacts/results/{RUN}/manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return change


def encoder(folder: str, **changed: Any) -> Callable[[Pod], None]:
    return lambda pod: pod.encoder(folder, **changed)


HOSTILE: list[tuple[Callable[[Pod], None], str]] = [
    (names("data/raw/labeled"), "no place of the stage"),
    (names("artifacts/metadata/pod_keys"), "no place of the stage"),
    (names("artifacts/results/market-aaaaaaaaaaaa"), "no place of the stage|no one run"),
    (names("data/splits/own"), "no place of the stage"),
    (names("artifacts/oof/supervised/oof-0000000000000000"), "no place of the stage"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place)] * 2), "one twice"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, folder="/etc")]), "no place of the stage"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, folder=f"{pod.run.project}/../../x")]), "no place"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, stage="ooof")]), "did you mean 'oof'"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, key="../../..")]), "describes no stage"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, key="0" * 64)]), "no place"),
    (lambda pod: pod.finish(stages=[pod.line(pod.place, digest="0" * 64)]), "not what its recipe says"),
    (lambda pod: pod.finish(stages=["x", None, 1]), "describes no stage"),
    (lambda pod: pod.finish(stages=[]), "names no stages"),
    (lambda pod: pod.finish(stages={}), "names no stages"),
    (manifests(key="0" * 64), "not what its recipe says"),
    (manifests(config={"another": "configuration"}), "not what its recipe says"),
    (manifests(stage="pretrain"), "not what its recipe says"),
    (manifests(files={}), "not what its recipe says"),
    (manifests(files=None), "lists no files"),
    (manifests(files={"oof.parquet": 1}), "lists no files"),
    (manifests(code=None), "not what its recipe says"),
    (manifests(config=float("nan")), "is no manifest"),
    (of_run("market-aaaaaaaaaaaa"), "did not come of"),
    (of_run("market-cccccccccccc"), "did not come of"),
    (of_run("other-0123456789ab"), "no run of market"),
    (of_run("market-0123456789AB"), "no run of market"),
    (of_run("market-x"), "no run of market"),
    (of_run(run_id="market-aaaaaaaaaaaa"), "no run of market"),
    (of_run(status="failed"), "no one run that finished"),
    (of_run(status=["finished"]), "no one run that finished"),
    (of_run(note="\ud800"), "is no manifest"),
    (of_run(files={".envrc": "curl evil"}), "hidden name"),
    (of_run(files={"sub/.vscode/tasks.json": "{}"}), "hidden name"),
    (of_run(files={f"page.html{DISARMED}": ""}), "keeps for itself"),
    (lambda pod: pod.write(f"artifacts/results/{RUN}/manifest.json", "[" * 100_000), "not JSON"),
    (lambda pod: pod.write(f"artifacts/results/{RUN}/manifest.json", "[1]"), "is no manifest"),
    (of_manifest(files={"../../../evil": "0" * 64}), "missing"),
    (of_manifest(files={"/dev/zero": "0" * 64}), "missing"),
    (encoder("gru_1d_v1", name="./../../../../evil_v1"), "no name of an encoder"),
    (encoder("gru_1d_v1", name="../gru_1d_v1"), "no name of an encoder"),
    (encoder("gru", name="gru"), "no name of an encoder"),
    (encoder("gru_1d_v1", files={"../../../evil": "x"}), "missing"),
    (encoder("gru_1d_v1", files={"/etc/hostname": "x"}), "missing"),
    (encoder("gru_1d_v1", remarks={"x": float("inf")}), "is no manifest"),
    (lambda pod: pod.write("artifacts/encoders/pretrained/gru_1d_v1/encoder.json", "[]"), "no manifest"),
]


@pytest.mark.parametrize(("change", "words"), HOSTILE)
def test_a_hostile_pod_changes_nothing_here(pod: Pod, change: Callable[[Pod], None], words: str) -> None:
    before = pod.here()
    try:
        change(pod)
    except ValueError:  # its own record would not be written; a pod writes it all the same
        pod.write("artifacts/encoders/pretrained/gru_1d_v1/encoder.json", '{"digest": Infinity}')
    with pytest.raises(StorageError, match=words):
        pod.bring_back()
    assert pod.here() == before


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["..", ".", "", "data", "artifacts", "raw", "labeled", "oof", "results", "metadata"])),
    st.text(st.sampled_from("market-0123456789abcdef./~"), max_size=24),
)
def test_whatever_places_a_pod_names_what_is_here_stays(tmp_path_factory: Any, parts: list[str], run: str) -> None:
    top = tmp_path_factory.mktemp("hostile")
    for path, content in HERE.items():
        (top / "around/here" / path).parent.mkdir(parents=True, exist_ok=True)
        (top / "around/here" / path).write_text(content)
    pod = Pod(top / "pod", top / "around/here")
    pod.finish(run_id=run, stages=[pod.line(pod.place, folder=f"{pod.run.project}/{'/'.join(parts)}")])
    with pytest.raises(MoolaError):
        pod.bring_back()
    assert pod.here() == HERE


def test_something_else_that_stands_where_an_artifact_belongs_is_told(pod: Pod) -> None:
    (pod.top / pod.place).mkdir(parents=True)
    (pod.top / pod.place / "mine.txt").write_text("mine")
    before = pod.here()
    with pytest.raises(StorageError, match="no artifact of that key"):
        pod.bring_back()
    assert pod.here() == before


PAGES = {
    "fine.html": (HEAD + "<script>alert(1)</script>", True),  # the policy at its head forbids it
    "late.html": ("<script>alert(1)</script>" + HEAD, False),
    "none.HTM": ("<p>no policy", False),
    "other.html": (HEAD.replace("'none'", "*"), False),
    "page.xhtml": ("<html/>", False),
    "page.svgz": ("", False),
    "fine.svg": (SVG % '<g class="a"><path d="M0 0"/><text x="1">url(a\\b)</text><title>t</title></g>', True),
    "script.svg": (SVG % "<script>alert(1)</script>", False),
    "named.svg": (SVG % '<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>', False),
    "event.svg": (SVG % '<g onload="alert(1)"/>', False),
    "link.svg": (SVG % '<a href="https://evil.example"/>', False),
    "foreign.svg": (SVG % "<foreignObject/>", False),
    "animated.svg": (SVG % '<animate attributeName="href" to="javascript:alert(1)"/>', False),
    "loads.svg": (SVG % '<g style="fill:url(https://evil.example)"/>', False),
    "import.svg": (SVG % "<style>@IMPORT 'https://evil.example';</style>", False),
    "spelt.svg": (SVG % r"<style>@\69mport 'https://evil.example';</style>", False),
    "entity.svg": ('<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG % "&a;", False),
    "sheet.svg": ('<?xml-stylesheet href="https://evil.example"?>' + SVG % "", False),
    "encoded.svg": ('<?xml version="1.0" encoding="shift_jis"?>' + SVG % "", False),
    "declared.svg": ('<?xml version="1.0" encoding="UTF-8"?>' + SVG % "", True),
    "broken.svg": ("<svg", False),
    "table.csv": ("a,b", True),
}


@pytest.mark.parametrize("name", PAGES)
def test_what_a_browser_would_run_is_known(tmp_path: Path, name: str) -> None:
    content, fine = PAGES[name]
    (tmp_path / name).write_text(content)
    assert is_harmless(tmp_path / name) is fine


def test_what_a_browser_would_run_comes_under_a_name_that_it_does_not(pod: Pod) -> None:
    pod.place = pod.stage("oof", {"oof.parquet": "p", "page.html": "<script>"})
    pod.finish(files={"report.html": "<script>alert(1)</script>", "a/b.svg": PAGES["event.svg"][0], "m.json": "{}"})
    pod.encoder("gru_mae_1d_v1", files={"encoder-seed0.safetensors": "w", "chart.svg": PAGES["event.svg"][0]})
    published = pod.bring_back()
    assert published.disarmed == (f"report.html{DISARMED}", f"a/b.svg{DISARMED}")
    opened = [path for path in pod.here() if path.endswith((".html", ".svg"))]
    assert opened == []
    for folder in (published.folder, pod.top / pod.place):
        manifest = read_json(folder / "manifest.json")
        assert {path for path in manifest["files"] if (folder / path).is_file()} == set(manifest["files"])
    stage = read_json(pod.top / pod.place / "manifest.json")
    line = read_json(published.folder / "manifest.json")["stages"][0]
    assert line["digest"] == stage["digest"] == digest_json(stage["files"])
    pod.bring_back()


def test_pictures_and_pages_that_moola_draws_are_known_as_its_own(tmp_path: Path) -> None:
    from moola.drawing import draw_scatter
    from moola.drawing.file import svg_file

    points = np.random.default_rng(0).normal(size=(20, 2))
    drawn = draw_scatter(points, np.arange(20) % 2, ["a\\b", "url(<&"], title="points")
    (tmp_path / "a.svg").write_text(svg_file([("both", drawn)], title="points"))
    assert is_harmless(tmp_path / "a.svg")
    templates = [
        path for path in PAGE.parents[1].rglob("*.html.j2") if not {"review", "dashboard"} & set(path.parent.parts)
    ]
    assert len(templates) > 5
    bare = [
        path.name for path in templates if not path.read_text().startswith('{% extends "moola.drawing:page.html.j2"')
    ]
    assert set(bare) <= {"page.html.j2", "estimate.html.j2"}, "a page without the policy of moola's pages"


def test_rooms_that_are_known_from_when_the_run_was_named_need_no_stage_here(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = {stage: STAGES.get(stage).room for stage in STAGES.built_in}
    monkeypatch.setattr(STAGES, "get", lambda name: pytest.fail(f"{name} is imported"))
    staging = pod.layout.room("artifacts/runpod_results") / SENT / "staging"
    known = pull_results(pod.run, staging, rooms)
    monkeypatch.undo()
    assert known.stages and known.stages == pull_results(pod.run, staging).stages
