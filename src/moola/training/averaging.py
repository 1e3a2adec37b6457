"""Averages of the weights over the course of a fit, which are validated and kept in place of the last weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from moola.training.schedule import FitConfig


class Averaging(Protocol):
    """What is kept beside the weights that train."""

    def after_step(self) -> None:
        """The weights moved."""
        ...

    def after_epoch(self, epoch: int) -> None:
        """`epoch` (from 1) is over."""
        ...

    def applied(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the module has the averaged weights; then the ones that train again, bit for bit."""
        ...

    def keep(self) -> None:
        """Give the module the averaged weights for good."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """For a resume."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        ...


def averaging_of(config: FitConfig, module: nn.Module) -> Averaging:
    """The averaging that a schedule asks for."""
    if config.ema_decay > 0:
        return MovingAverage(module, config.ema_decay)
    if config.swa_share > 0:
        return TailAverage(module, config.epochs - math.ceil(config.swa_share * config.epochs))
    return NoAveraging()


class NoAveraging:
    """The weights themselves."""

    def after_step(self) -> None:
        """Nothing to do."""

    def after_epoch(self, epoch: int) -> None:
        """Nothing to do."""

    def applied(self) -> contextlib.AbstractContextManager[None]:
        """Changes nothing."""
        return contextlib.nullcontext()

    def keep(self) -> None:
        """They are there already."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to put back."""


class _RunningMean:
    """An average of a module's parameters and floating-point buffers. Until something is added, it is the module."""

    def __init__(self, module: nn.Module) -> None:
        self._weights = [value for value in module.state_dict(keep_vars=True).values() if value.is_floating_point()]
        self._averages: list[Tensor] = []
        self.n = 0

    @torch.no_grad()
    def _add(self, decay: float) -> None:
        """``average = decay * average + (1 - decay) * weights``; the first time the average is the weights."""
        if self.n == 0:
            self._averages = [value.detach().clone() for value in self._weights]
        else:
            get_ema_multi_avg_fn(decay)(self._averages, [value.detach() for value in self._weights], None)
        self.n += 1

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the averaged weights; then the ones that train again, bit for bit."""
        training = [value.detach().clone() for value in self._weights]
        self.keep()
        try:
            yield
        finally:
            self._set(training)

    def keep(self) -> None:
        """Give the module the averaged weights for good."""
        if self.n:
            self._set(self._averages)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Number of weights in the average, and the averages."""
        return {"n": self.n, "averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.n = state["n"]
        weights = self._weights if state["averages"] else []  # there is no average yet
        self._averages = [value.to(weight.device) for value, weight in zip(state["averages"], weights, strict=True)]


class MovingAverage(_RunningMean):
    """Exponential moving average over steps (Polyak & Juditsky 1992).

    In step n the decay is at most ``(1 + n) / (10 + n)``, as in TensorFlow's ``ExponentialMovingAverage``: a constant
    one would leave the random start in the average of a short fit.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self._decay = decay

    def after_step(self) -> None:
        """The weights of the step join the average."""
        self._add(min(self._decay, (1 + self.n) / (10 + self.n)))

    def after_epoch(self, epoch: int) -> None:
        """Nothing to do."""


class TailAverage(_RunningMean):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the end of the last epochs.

    Here the rate goes on along its cosine; the paper holds it constant or cycles it.
    """

    def __init__(self, module: nn.Module, first_epoch: int) -> None:
        super().__init__(module)
        self._after = first_epoch

    def after_step(self) -> None:
        """Nothing to do."""

    def after_epoch(self, epoch: int) -> None:
        """The weights of a late epoch join the mean."""
        if epoch > self._after:
            self._add(self.n / (self.n + 1))
