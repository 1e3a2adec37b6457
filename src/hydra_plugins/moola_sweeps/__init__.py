"""moola's sweeper and its launcher `local`, as plugins of Hydra; what they do is in `moola.sweeps`.

Hydra imports this module at every start, so it imports nothing itself that Hydra has not imported before.
"""

# No annotations as text: dataclasses would look for this module, which Hydra executes before it is among the others.
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class MoolaSweeper(BasicSweeper):
    """Hydra's own sweeper, which lists the points, with a record of what became of each."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what a sweep needs."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Check the points, and run those that are not finished."""
        from moola.sweeps.multirun import run_grid
        from moola.sweeps.task import point_task

        words = [f"{key}={value}" for key, value in self.params.items()]
        return run_grid(point_task(self.task_function), self.hydra_context, self.config, [*words, *arguments])


class LocalLauncher(Launcher):
    """A warm process for each point, as many at once as cores or GPUs take."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what launching needs."""
        self._hydra_context, self._task, self._config = hydra_context, task_function, config

    def check(self, points: Sequence[Any]) -> None:
        """Refuse keys that make no sense."""
        from moola.sweeps.local import LocalSettings

        LocalSettings(**self._settings)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all of them; one that fails ends no other."""
        from moola.sweeps.local import LocalSettings, launch_locally
        from moola.sweeps.task import sweep_task

        task = sweep_task(self._task)
        settings = LocalSettings(**self._settings)
        return launch_locally(task, self._hydra_context, self._config, initial_job_idx, job_overrides, settings)


@dataclass
class MoolaSweeperConf:
    """Keys of ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.moola_sweeps.MoolaSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default=None)


@dataclass
class LocalLauncherConf:
    """Keys of ``hydra.launcher``; `moola.sweeps.local.LocalSettings` says what they mean."""

    _target_: str = "hydra_plugins.moola_sweeps.LocalLauncher"
    n_jobs: int | None = None
    threads: int | None = None
    jobs_per_gpu: int = 1
    retries: int = 1


ConfigStore.instance().store(group="hydra/sweeper", name="moola", node=MoolaSweeperConf, provider="moola")
ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="moola")
