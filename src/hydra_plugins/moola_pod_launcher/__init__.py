"""moola's launcher `moola_pod`, as a plugin of Hydra; what it does is in `moola.sweeps.pod_launcher`.

Hydra imports this module at every start, so it imports nothing itself that Hydra has not imported before.
"""

# No annotations as text: dataclasses would look for this module, which Hydra executes before it is among the others.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class MoolaPodLauncher(Launcher):
    """A pod for each point, several at once."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what launching needs."""
        self._task = task_function

    def check(self, points: Sequence[Any]) -> None:
        """Refuse keys that make no sense, and points that cannot be packed."""
        from moola.sweeps.pod_launcher import check
        from moola.sweeps.task import point_task

        check(point_task(self._task), self._options, points)

    def settle(self) -> None:
        """End pods that a client which was killed left on after the last point."""
        from moola.sweeps.pod_launcher import settle
        from moola.sweeps.task import point_task

        settle(point_task(self._task))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all of them; one that fails ends no other."""
        from moola.sweeps.pod_launcher import launch
        from moola.sweeps.task import sweep_task

        return launch(sweep_task(self._task), self._options, job_overrides, initial_job_idx)


@dataclass
class PodLauncherConf:
    """Keys of ``hydra.launcher``; `moola.sweeps.pod_launcher.PodOptions` says what they mean."""

    _target_: str = "hydra_plugins.moola_pod_launcher.MoolaPodLauncher"
    pods: int | None = None
    jobs_per_pod: int = 1
    point_retries: int = 1
    yes: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="moola_pod", node=PodLauncherConf, provider="moola")
