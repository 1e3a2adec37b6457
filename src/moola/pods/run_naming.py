"""The name of a run from a process of its own: torch takes a second to import, and packing has other work meanwhile."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Self

from moola.pods.composed_run import ComposedRun, RunName, name_run

_PROGRAM = (
    "import json,sys;sys.path[:]=json.loads(sys.argv[1]);from moola.pods.run_naming import answer;answer(sys.argv[2])"
)
"""Finds modules where its parent does."""
_MARK = "\nmoola names the run: "
"""Before the name as JSON; modules of a project may print when they are imported."""


class RunNaming:
    """Names one run. The process begins with its imports at once, while the configuration is still composed.

    It saves time and decides nothing: where it fails, the run is named here, which says why. Where torch is imported
    already, there is nothing to save, and no process is started.

    Args:
        project: in which the run is named, absolute.
        known: its name, where that is known already.
    """

    def __init__(self, project: Path, known: RunName | None = None) -> None:
        self._project = project
        self._run: ComposedRun | None = None
        self._name = known
        self._process = None if known or "torch" in sys.modules else _started(project)

    def begin(self, run: ComposedRun) -> None:
        """Say what is to be named.

        Raises:
            MoolaError: as `name_run`, where no process can do it.
        """
        self._run = run
        if self._name is not None:
            return
        content = json.dumps(run.plain)
        if self._process is None or json.loads(content) != run.plain:  # e.g. keys that are numbers
            self._name = name_run(run, self._project)
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.close()
        self._process.stdin = None  # so that `communicate` works

    def name(self) -> RunName:
        """The name of the run that was begun; waits for it.

        Raises:
            MoolaError: as `name_run`.
        """
        assert self._run is not None
        if self._name is None and self._process is not None:
            said = self._process.communicate()[0]
            with contextlib.suppress(ValueError, TypeError):  # it printed no name, or ended before
                self._name = RunName(**json.loads(said.rpartition(_MARK)[2])) if not self._process.returncode else None
        return self._name or name_run(self._run, self._project)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process.wait()


def _started(project: Path) -> subprocess.Popen[str] | None:
    path = [os.path.abspath(entry) for entry in sys.path]
    argv = [sys.executable, "-c", _PROGRAM, json.dumps(path), str(project)]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(argv, cwd=project, stdin=pipe, stdout=pipe, stderr=quiet, text=True)
    except OSError:
        return None


def answer(project: str) -> None:
    """Name the run whose configuration comes on stdin as JSON."""
    from moola.config import RunConfig, structure

    gc.disable()
    for package in ("torch", "polars"):
        with contextlib.suppress(ImportError):  # a run may do without
            importlib.import_module(package)
    plain = json.load(sys.stdin)
    run = ComposedRun((), structure(RunConfig, plain, ""), plain, "")
    print(_MARK, json.dumps(asdict(name_run(run, Path(project)))), sep="", end="", flush=True)
    os._exit(0)  # half a million objects need not be taken down one by one
