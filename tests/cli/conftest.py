"""Real `moola` processes in folders of their own, and an extension package that is really installed."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TINY = (
    "debug=fast",
    "stage.hooks.encoder_naming={}",
    "data.symbols=[sp500]",
    "data.window.stride_bars=5",
    "task.n_given=40",
    "task.n_flipped=4",
    "split.n_folds=2",
    "trainer.pretrain.batch_size=128",
    "~model.minirocket",
    "~model.random_forest",
    "~model.random_init_probe",
)
"""A whole run in about two seconds, of which nothing is true."""


@dataclass
class Command:
    """One `moola` command under way or done."""

    process: Any
    folder: Path
    out_path: Path
    err_path: Path

    def wait(self, timeout_s: float = 120) -> Command:
        """Until it ends; a command that does not end is killed and fails the test."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail(f"the command did not end in {timeout_s} s:\n{self.err}")
        return self

    @property
    def code(self) -> int:
        """Exit code; minus the number of the signal that killed it."""
        return self.process.exitcode

    @property
    def out(self) -> str:
        return self.out_path.read_text()

    @property
    def err(self) -> str:
        return self.err_path.read_text()

    @property
    def run_folder(self) -> Path:
        """The last line on stdout."""
        assert self.code == 0, self.err
        return Path(self.out.splitlines()[-1])


@dataclass
class Moola:
    """Starts commands in one folder."""

    folder: Path
    logs: Path
    python_path: Sequence[str] = ()
    _context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def start(self, *words: str, file_bytes: int | None = None) -> Command:
        """A command in the background; `file_bytes` is the largest file it may write."""
        name = uuid.uuid4().hex
        out, err = self.logs / f"{name}.out", self.logs / f"{name}.err"
        out.touch(), err.touch()
        request = {
            "words": list(words),
            "folder": str(self.folder),
            "out": str(out),
            "err": str(err),
            "python_path": [str(path) for path in self.python_path],
            "file_bytes": file_bytes,
        }
        process = self._context.Process(target=runpy.run_path, args=(str(HERE / "child.py"), {"request": request}))
        process.start()
        return Command(process, self.folder, out, err)

    def __call__(self, *words: str, file_bytes: int | None = None) -> Command:
        """A command from start to end."""
        return self.start(*words, file_bytes=file_bytes).wait()


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides for a whole run in a few seconds."""
    return TINY


@pytest.fixture(scope="session")
def make_moola(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Moola]]:
    """A `Moola` for a folder, which is made where none is given."""
    logs = tmp_path_factory.mktemp("logs")

    def make(folder: Path | None = None, python_path: Sequence[Path | str] = ()) -> Moola:
        return Moola(folder or tmp_path_factory.mktemp("work"), logs, [str(path) for path in python_path])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # threads do not survive a fork, and tests share their cores
        with pytest.MonkeyPatch.context() as briefly:
            briefly.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
            multiprocessing.get_context("forkserver").set_forkserver_preload(["preloaded"])
            forkserver.ensure_running()
        yield make


@pytest.fixture
def moola(make_moola: Callable[..., Moola], tmp_path: Path) -> Moola:
    """Commands in this test's folder."""
    return make_moola(tmp_path)


@pytest.fixture(scope="session")
def finished_once(make_moola: Callable[..., Moola]) -> tuple[Command, dict[str, Any]]:
    """One whole run that nothing disturbed, and its manifest before any test repeated it."""
    command = make_moola()("run", *TINY)
    assert command.code == 0, command.err
    return command, json.loads((command.run_folder / "manifest.json").read_text())


@pytest.fixture(scope="session")
def finished(finished_once: tuple[Command, dict[str, Any]]) -> Command:
    """One whole run that nothing disturbed."""
    return finished_once[0]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds a distribution and installs it into a folder of its own, with real metadata and no network."""

    def run(project: Path) -> Path:
        target = tmp_path_factory.mktemp("installed")
        words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *words, "--target", str(target), str(project)],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return target

    return run


@pytest.fixture(scope="session")
def extension(install: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the extension package is installed in."""
    project = tmp_path_factory.mktemp("project") / "extension"
    shutil.copytree(HERE / "extension", project, ignore=shutil.ignore_patterns("__pycache__"))
    return install(project)


@pytest.fixture
def wait_for_event() -> Callable[..., dict[str, Any]]:
    """Waits until a run's log holds an event with these fields."""

    def wait(command: Command, timeout_s: float = 60, **wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for path in command.folder.glob("artifacts/results/*/events.jsonl"):
                for line in path.read_text().splitlines(keepends=True):
                    if line.endswith("\n"):
                        event = json.loads(line)
                        if all(event.get(key) == value for key, value in wanted.items()):
                            return event
            if command.process.exitcode is not None:
                pytest.fail(f"the command ended before {wanted}: {command.code}\n{command.err}")
            time.sleep(0.01)
        pytest.fail(f"no event {wanted} in {timeout_s} s\n{command.err}")

    return wait
