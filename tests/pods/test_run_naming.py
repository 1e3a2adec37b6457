"""A run is named by a process beside this one, and here where that cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from moola.config import RunConfig, structure
from moola.pods import run_naming
from moola.pods.composed_run import ComposedRun, RunName, compose, name_run
from moola.pods.run_naming import RunNaming

_SECTIONS = "data task transform augment split encoder objective trainer model evaluation stage"
CONFIG = structure(RunConfig, {"name": "market", **{section: {} for section in _SECTIONS.split()}}, "")
RUN = ComposedRun((), CONFIG, {"name": "market"}, "")
HERE = RunName("market-here", {"oof": "artifacts/oof"})


def started(program: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> RunNaming:
    """Naming where torch is not imported yet, by this program."""
    monkeypatch.setattr(run_naming, "_PROGRAM", program)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch", raising=False)
        return RunNaming(project)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[ComposedRun]:
    """The runs that were named in this process."""
    named: list[ComposedRun] = []

    def name(run: ComposedRun, project: Path) -> RunName:
        named.append(run)
        return HERE

    monkeypatch.setattr(run_naming, "name_run", name)
    return named


def test_the_process_gets_the_configuration_and_what_it_prints_before_the_id_is_no_id(tmp_path, monkeypatch, here):
    said = """'{"run_id": "' + json.load(sys.stdin)["name"] + '", "rooms": {}}'"""
    program = f"import json, sys; print('imported'); print('\\nmoola names the run: ' + {said}, end='')"
    with started(program, tmp_path, monkeypatch) as naming:
        naming.begin(RUN)
        assert naming.name() == RunName("market", {})
    assert not here


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('\\nmoola names the run: x'); exit(3)", "pass"])
def test_a_process_that_fails_decides_nothing(program, tmp_path, monkeypatch, here):
    with started(program, tmp_path, monkeypatch) as naming:
        naming.begin(RUN)
        assert naming.name() == HERE
    assert here == [RUN]


def test_what_json_would_change_is_named_here(tmp_path, monkeypatch, here):
    plain: dict[Any, Any] = {1: "a key that is a number"}
    run = ComposedRun((), CONFIG, plain, "")
    with started("import time; time.sleep(60)", tmp_path, monkeypatch) as naming:
        naming.begin(run)
        assert naming.name() == HERE
    assert here == [run]


def test_no_process_stays_where_packing_fails(tmp_path, monkeypatch):
    naming = started("import time; time.sleep(60)", tmp_path, monkeypatch)
    process = naming._process
    assert process is not None
    with pytest.raises(ZeroDivisionError), naming:
        raise ZeroDivisionError
    assert process.returncode is not None


def test_where_torch_is_imported_no_process_starts(tmp_path, monkeypatch, here):
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.setattr(run_naming, "_started", lambda project: pytest.fail("a process was started"))
    with RunNaming(tmp_path) as naming:
        naming.begin(RUN)
        assert naming.name() == HERE


@pytest.mark.slow
def test_the_process_names_a_run_as_it_is_named_here(tmp_path, monkeypatch):
    run = compose(["debug=fast"], tmp_path)
    own = name_run(run, tmp_path)
    monkeypatch.setattr(run_naming, "name_run", lambda run, project: HERE)
    with started(run_naming._PROGRAM, tmp_path, monkeypatch) as naming:
        naming.begin(run)
        assert naming.name() == own and own.rooms
