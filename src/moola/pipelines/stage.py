"""What a stage is: a frozen dataclass whose fields are its own configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from moola.config import RunConfig, structure
from moola.pipelines.artifacts import Artifact
from moola.pipelines.events import EventLog
from moola.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """Where a stage writes and tells how far it is.

    Attributes:
        folder: becomes the artifact. After a crash it still holds the files that were written whole.
        run_id: of the run that asked for the artifact.
        stage: name of the stage.
        events: the run's log.
        cache: folder for units smaller than a stage, shared by runs.
        fresh: build units again though they are in the cache.
        processes: that may work at once; None: as many as there are cores, where that saves time.
        sealed_tests: list of the runs that looked at a sealed test (`moola.pipelines.sealed_tests`); None: nobody keeps
            one.
        results: folder of all runs; None: there is none.
        keep_spent: called with every progress, so that time and energy of an attempt that is killed still count.
    """

    folder: Path
    run_id: str
    stage: str
    events: EventLog
    cache: Path
    fresh: bool = False
    processes: int | None = 1
    sealed_tests: Path | None = None
    results: Path | None = None
    keep_spent: Callable[[], None] = lambda: None

    def progress(self, done: int, total: int, what: str, **figures: float) -> None:
        """Report `done` of `total` steps of `what`, with figures to show beside them."""
        self.events.emit("progress", stage=self.stage, done=done, total=total, what=what, **figures)
        self.keep_spent()


class Stage(ABC):
    """A pure function of its fields and its inputs.

    Subclasses are frozen dataclasses. The key of their artifact is made of all fields, the digests of all inputs and
    the code that the class depends on, so whatever can change the result has to be a field or an input.
    """

    name: ClassVar[str]
    provides: ClassVar[str]
    """Name under which later stages find the artifact."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Inputs without which the stage cannot run."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Inputs that are read where they are there."""
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Files of an input, where the stage reads some of them only: it then gets no others, and is not built anew when
    others change."""
    room: ClassVar[str] = "artifacts/metadata"
    """Folder of the layout for the artifact."""
    publishes: ClassVar[tuple[str, ...]] = ()
    """Files that are copied into the run folder."""
    publishes_some: ClassVar[tuple[str, ...]] = ()
    """Files that are copied into the run folder where the stage had reason to write them; ``pictures/*`` is all of a
    folder."""
    needs_labels: ClassVar[bool] = False
    """Whether it can do nothing where no window has a label."""
    distributed: ClassVar[bool] = False
    """Whether all processes of a ``torchrun`` take part in `run`; then only the first of them may write."""
    packages: ClassVar[Mapping[str, str]] = {}
    """Optional packages the stage imports, and the extra that brings each."""

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """Take what the stage needs from a run's configuration.

        Args:
            config: the whole configuration.
            settings: the stage's own keys where it was inserted by ``stage.insert``.

        Raises:
            ConfigError: every problem in one go.
        """
        return structure(cls, settings, f"stage.insert.{cls.name}")

    def needs(self) -> tuple[str, ...]:
        """Inputs without which this very stage cannot run: `requires`, and what its configuration adds."""
        return self.requires

    def check_windows(self, n_bars: int) -> None:  # noqa: B027 (most take any)
        """Refuse windows of `n_bars` visible bars from which the stage can make nothing, before anything runs.

        Raises:
            ConfigError: every problem in one go.
        """

    def outside(self) -> str:
        """Digest of what the stage reads from outside moola (files, packages' data); empty when nothing."""
        return ""

    def run_identity(self, run_id: str) -> str:
        """What of the run itself the result depends on; only a report names its run."""
        return ""

    @abstractmethod
    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Write the artifact's files into ``workspace.folder``, each whole or not at all (`moola.layout`)."""


STAGES: Registry[Stage] = Registry(
    "stage",
    {
        name: f"moola.pipelines.stages.{name}:{cls}"
        for name, cls in {
            "ingest": "Ingest",
            "windows": "Windows",
            "splits": "Splits",
            "describe": "Describe",
            "pretrain": "Pretrain",
            "adopt_encoder": "AdoptEncoder",
            "probe": "Probe",
            "finetune": "Finetune",
            "overfit": "Overfit",
            "sentinels": "Sentinels",
            "oof": "Oof",
            "label_efficiency": "LabelEfficiency",
            "pseudo_labels": "PseudoLabelling",
            "stack": "Stack",
            "label_issues": "LabelIssues",
            "evaluate": "Evaluate",
            "report": "Report",
        }.items()
    },
)
