"""Hooks that kill their process, write down what they see, and fail."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from moola.pipelines.context import Context
from moola.pipelines.hooks import Hook
from moola.pipelines.stage import Stage


@dataclass(frozen=True)
class KillAfterBuilding(Hook):
    """kill -9 after each stage that had to be built: the same command gets one stage further each time."""

    def after_stage(self, stage: Stage, context: Context) -> None:
        if stage.name not in context.reused:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class WriteDown(Hook):
    """One line a stage."""

    file: str

    def after_stage(self, stage: Stage, context: Context) -> None:
        with open(self.file, "a") as log:
            log.write(stage.name + "\n")


@dataclass(frozen=True)
class AlwaysFails(Hook):
    """Fails before the stage of that name."""

    stage: str

    def before_stage(self, stage: Stage, context: Context) -> None:
        if stage.name == self.stage:
            raise ValueError("the extension broke")
