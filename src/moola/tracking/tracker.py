"""What a tracker is told of a run: plain values and files of the run folder, which can be kept and sent later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from moola.config import ConfigProblems
from moola.errors import MissingPackageError
from moola.layout import artifacts_above
from moola.registry import Registry

Figure = float | int | str | None


@dataclass(frozen=True)
class TrackedRun:
    """The run that is tracked.

    Attributes:
        run_id: the same for the same command on the same data with the same code; a tracker resumes its own record of
            it, after a crash and on another machine.
        experiment: the first half of the id.
        folder: of the run here; files of later calls lie in it.
        config: resolved, plain values.
        group: the sweep or search that the run is a point of; None: of none.
        job: ``run`` or the stage that the command ends with, or ``search``.
        tags: short words to filter by.
    """

    run_id: str
    experiment: str
    folder: Path
    config: Mapping[str, Any]
    group: str | None = None
    job: str = "run"
    tags: tuple[str, ...] = ()

    @property
    def artifacts(self) -> Path:
        """The folder of all results, in which trackers keep their own."""
        return artifacts_above(self.folder)


@dataclass(frozen=True)
class TrackedArtifact:
    """A result with its lineage.

    Attributes:
        name: ``encoder-market_v1``, ``oof-market``: versions of one name are told apart by `digest`.
        kind: ``encoder``, ``oof``, ``report``, ``labels`` or, of a search, ``experiment``.
        digest: of the content, as its manifest has it.
        files: in the run folder or beside it, absolute.
        made_from: name of an input -> its digest.
        facts: what else its manifest says: seed, versions, cost.
    """

    name: str
    kind: str
    digest: str
    files: tuple[Path, ...]
    made_from: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class RefusedError(Exception):
    """A call that a tracker can never take: it is left out, and told. Whatever else is raised is an outage."""


class Tracker:
    """Base of all trackers, and the one that keeps nothing.

    A tracker is a dataclass whose fields are its configuration; what it holds while it works are fields that its
    ``__init__`` does not take.

    Calls come one after another from one thread that is not the training's. After one that raises, and in another
    process that goes on, `start` is called again, and then every call since the last `flush` that returned: so `start`
    forgets what waits in memory, and it must not matter that a call was made before, or its first half. No call may
    ask a person, or wait for longer than its own timeouts.
    """

    packages: ClassVar[Mapping[str, str]] = {}
    """Optional modules that it imports, and the extra that brings each."""
    wait_s: float = 20.0
    """So long the end of a run waits for what is not told yet; a field of that name makes it a key."""
    number = 0
    """Of the call that is being made, in the journal; 0: it comes of none. The step of trackers that know one axis."""

    @property
    def place(self) -> str:
        """Where a person finds the run, after `start`: an address, or how to send it. Empty: nothing to say."""
        return ""

    @property
    def destination(self) -> str:
        """What it tells, as its configuration and the environment have it: another one is told from the first call."""
        return ""

    def check_here(self) -> None:
        """Refuse what can be known to fail before a run begins; asks nobody.

        Raises:
            MoolaError: something that it needs is not on this machine.
        """

    def still_to_do(self, folder: Path) -> str:
        """What a person has to do when everything was told, so that it gets where it belongs; empty: nothing.

        Args:
            folder: of the run.
        """
        return ""

    def start(self, run: TrackedRun) -> None:
        """A run begins, or goes on: the same `run_id` is the same record."""

    def log_figures(self, series: str, step: int, figures: Mapping[str, float], time_s: float) -> None:
        """One point of curves.

        Args:
            series: what the curves are of and whose steps count: ``pretrain/seed0``, ``system``, ``probe/seed0``.
            step: from 0 or 1, rising within the series.
            figures: name -> value; finite or not.
            time_s: when, in seconds since 1970.
        """

    def log_summary(self, figures: Mapping[str, Figure]) -> None:
        """Single figures of the whole run: ``finetuned/test/balanced_accuracy``, its ``/low`` and ``/high``, rent."""

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Figure]]) -> None:
        """A table: leaderboard, out-of-fold predictions, confusion, calibration, doubtful labels."""

    def log_picture(self, name: str, svg: Path, caption: str) -> None:
        """A picture of the run folder, SVG with light and dark colours."""

    def log_page(self, name: str, html: Path) -> None:
        """A page of the run folder that needs nothing beside it."""

    def log_artifact(self, artifact: TrackedArtifact) -> None:
        """A result to keep, with what it was made from."""

    def finish(self, status: str) -> None:
        """The run ended: ``finished``, ``failed`` or ``interrupted``."""

    def flush(self) -> None:
        """Everything told so far is where it belongs when this returns, so that no crash can lose it.

        Called after every bunch of calls: until then a tracker may keep them in memory and send them together.
        """

    def close(self) -> None:
        """Nothing more comes from this process: let go of files and connections. Never waits for anybody."""


TRACKERS: Registry[Tracker] = Registry(
    "tracker",
    {
        "local": "moola.tracking.local:LocalTracker",
        "mlflow": "moola.tracking.mlflow_tracker:MLflowTracker",
        "tensorboard": "moola.tracking.tensorboard_tracker:TensorBoardTracker",
        "wandb": "moola.tracking.wandb_tracker:WandbTracker",
    },
)


def trackers_from_config(section: Mapping[str, Any]) -> dict[str, Tracker]:
    """Build the section ``tracker``: name -> keys. Nothing heavy is imported.

    Raises:
        ConfigError: unknown trackers or keys, with near names, all in one go.
    """
    problems = ConfigProblems()
    built = {
        name: problems.attempt(lambda name=name, keys=keys: TRACKERS.build(name, keys or {}, f"tracker.{name}"))
        for name, keys in section.items()
    }
    if problems:
        raise problems.error("see the trackers with `moola run tracker=` and TAB, or docs/tracking.md")
    return {name: tracker for name, tracker in built.items() if tracker is not None}


def check_packages(trackers: Mapping[str, Tracker]) -> None:
    """Refuse trackers whose packages are not installed.

    Raises:
        MissingPackageError: names all of them, and the extras.
    """
    wanted = {module: (extra, name) for name, tracker in trackers.items() for module, extra in tracker.packages.items()}
    missing = {module: where for module, where in wanted.items() if find_spec(module) is None}
    if missing:
        extras = ",".join(sorted({extra for extra, _ in missing.values()}))
        raise MissingPackageError(
            f"{len(missing)} package{'s are' if len(missing) > 1 else ' is'} not installed",
            "\n".join(f"- {module}, for the tracker '{name}'" for module, (_, name) in sorted(missing.items())),
            f"pip install 'moola[{extras}]', or leave the tracker out",
        )
