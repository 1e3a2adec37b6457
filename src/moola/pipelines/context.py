"""What travels from stage to stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from moola.layout import Layout
from moola.pipelines.artifacts import Artifact
from moola.pipelines.events import EventLog


@dataclass(frozen=True)
class Context:
    """Everything a pipeline knows about its run; never changed, only replaced.

    Attributes:
        run_id: name of the run.
        layout: folders.
        events: the run's log.
        artifacts: finished artifacts by what they provide.
        reused: names of the stages whose artifact was there already.
        force: stages to build again; ``all`` stands for every one.
        processes: as `moola.pipelines.stage.Workspace` has it.
        meet: waits until every process of a ``torchrun`` has called it; nothing where there is one alone.
    """

    run_id: str
    layout: Layout
    events: EventLog = field(default_factory=EventLog)
    artifacts: Mapping[str, Artifact] = field(default_factory=lambda: MappingProxyType({}))
    reused: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    processes: int | None = 1
    meet: Callable[[], None] = lambda: None

    def forces(self, stage: str) -> bool:
        """Whether this stage is to be built again."""
        return bool({"all", stage} & set(self.force))

    def with_artifact(self, provides: str, artifact: Artifact, *, reused: bool) -> Context:
        """The context after a stage."""
        artifacts = MappingProxyType({**self.artifacts, provides: artifact})
        names = (*self.reused, artifact.stage) if reused else self.reused
        return dataclasses.replace(self, artifacts=artifacts, reused=names)
