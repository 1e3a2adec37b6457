"""Early stopping on the validation loss; the best weights are put back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from moola.errors import ConfigError

WATCHED = "val_loss"


class EarlyStopping:
    """Watches ``val_loss`` and keeps a copy of the weights that gave the lowest.

    Args:
        module: what trains.
        patience: epochs without a lower loss after which training is over; 0: never, and no copy is kept.

    Attributes:
        over: whether it is.
    """

    def __init__(self, module: nn.Module, patience: int) -> None:
        self._module, self._patience = module, patience
        self._best = math.inf
        self._epochs_since = 0
        self._weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether there were `patience` epochs without a better one."""
        return 0 < self._patience <= self._epochs_since

    def see(self, record: Mapping[str, float]) -> None:
        """Look at an epoch while the module has the weights that were validated.

        Raises:
            ConfigError: nothing gives the loss to watch.
        """
        if not self._patience:
            return
        if WATCHED not in record:
            raise ConfigError(
                [f"patience: {self._patience} watches {WATCHED}, and this fit is validated with {_named(record)}"],
                "use patience=0, or fit with a validation that gives it",
            )
        if record[WATCHED] < self._best:
            self._best, self._epochs_since = record[WATCHED], 0
            self._weights = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        else:
            self._epochs_since += 1

    def put_back(self) -> bool:
        """Give the module the best weights for good; False where none are kept."""
        if self._weights:
            self._module.load_state_dict(self._weights)
        return bool(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """For a resume."""
        return {"best": self._best, "epochs_since": self._epochs_since, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self._best, self._epochs_since, self._weights = state["best"], state["epochs_since"], state["weights"]


def _named(record: Mapping[str, float]) -> str:
    return ", ".join(name for name in record if name.startswith("val_")) or "nothing"
