"""What a tracker is told of a run: plain values and files of the run folder, which can be kept and sent later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        job: ``run`` or the stage that the command ends with.
        tags: short words to filter by.
    """

    run_id: str
    experiment: str
    folder: Path
    config: Mapping[str, Any]
    group: str | None = None
    job: str = "run"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrackedArtifact:
    """A result with its lineage.

    Attributes:
        name: ``encoder-market_v1``, ``oof-market``: versions of one name are told apart by `digest`.
        kind: ``encoder``, ``oof``, ``report`` or ``labels``.
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


class Tracker:
    """Base of all trackers, and the one that keeps nothing.

    Calls come one after another from one thread that is not the training's. A call that raises is made again later, so
    it must not matter that its first half was done before. No call may ask a person, or wait for longer than its own
    timeouts.
    """

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


TRACKERS: Registry[Tracker] = Registry(
    "tracker",
    {
        "local": "moola.tracking.local:LocalTracker",
        "mlflow": "moola.tracking.mlflow_tracker:MLflowTracker",
        "tensorboard": "moola.tracking.tensorboard_tracker:TensorBoardTracker",
        "wandb": "moola.tracking.wandb_tracker:WandbTracker",
    },
)
