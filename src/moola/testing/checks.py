"""One function an extension point; each raises AssertionError with what was found."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

from moola.data.bar_store import BarStore
from moola.data.ingestion import ingest
from moola.data.sources import UNREAD, Source
from moola.layout import Layout
from moola.pipelines.artifacts import Artifact, ArtifactStore
from moola.pipelines.code_version import code_version
from moola.pipelines.events import EventLog
from moola.pipelines.pipeline import recipe_of
from moola.pipelines.stage import Stage, Workspace
from moola.testing.component import check_component


def check_source(source: Source) -> None:
    """The fingerprint is stable; two scans give the same chunks, of the promised form; every bar can be stored."""
    check_component(source)
    assert source.fingerprint() == source.fingerprint(), "the fingerprint changes between calls"
    scan = source.scan()
    chunks = list(scan.chunks)
    again = list(source.scan().chunks)
    assert [chunk.place for chunk in chunks] == [chunk.place for chunk in again], "the second scan reads other files"
    for chunk, other in zip(chunks, again, strict=True):
        same = chunk.frame.equals(other.frame) and chunk.unread.equals(other.unread)
        assert same, f"the second scan of {chunk.place} reads otherwise"
        assert dict(chunk.unread.schema) == UNREAD, f"unread cells come as {chunk.unread.schema}"
    names = {name for chunk in chunks for name in chunk.frame["series"].unique()}
    known = names if scan.series is None else set(scan.series["series"])
    assert names == known, f"series that came and series that were announced differ by {sorted(names ^ known)[:5]}"
    with tempfile.TemporaryDirectory() as folder:
        ingest(dataclasses.replace(scan, chunks=iter(chunks)), Path(folder))
        BarStore.open(Path(folder)).verify()


def check_stage(stage: Stage, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
    """Frozen configuration, a stable key, files that appear in the artifact; gives the artifact back."""
    check_component(stage)
    for name in ("name", "provides", "requires", "uses", "room"):
        assert hasattr(type(stage), name), f"the class lacks '{name}'"
    assert code_version(stage) == code_version(dataclasses.replace(stage)), "the code version changes between calls"  # type: ignore[type-var]
    recipe = recipe_of(stage, inputs, "check")
    assert recipe.key == recipe_of(stage, inputs, "check").key, "the key changes between calls"
    store = ArtifactStore(Layout(folder / "data", folder / "artifacts"))
    workspace = Workspace(store.building(recipe), "check", stage.name, EventLog(), folder / "units")
    artifact = store.build(recipe, lambda *_: stage.run(inputs, workspace))
    missing = [name for name in stage.publishes if name not in artifact.manifest["files"]]
    assert not missing, f"published files were not written: {missing}"
    assert store.find(recipe) is not None, "the finished artifact is not found again"
    return artifact
