"""One bar in, its inputs out: the same bits that a batch gives."""

from __future__ import annotations

import torch
from torch import Tensor

from moola.errors import ConfigError
from moola.features import Fittable, Transform


class TransformStream:
    """Applies a transform to bars as they arrive.

    The state is the last `Transform.memory_bars` bars and nothing else, and each bar goes through the very code that
    batches go through: so the outputs equal those of one long window to the last bit, whatever came before, and memory
    does not grow (it does only where `memory_bars` is None).

    Args:
        transform: causal bar by bar, and fitted.
        channels: names of the C channels.
        history: bars before the first one pushed, [n, C], oldest first; to go on where another stream stopped.

    Raises:
        ConfigError: the transform looks at whole windows, or is not fitted.
    """

    def __init__(self, transform: Transform, channels: tuple[str, ...], history: Tensor | None = None) -> None:
        name = type(transform).__name__
        if isinstance(transform, Fittable):
            raise ConfigError([f"transform: {name} is not fitted"], "stream what its fit() gives")
        if transform.causality != "bar":
            raise ConfigError(
                [f"transform: {name} looks at a whole window, so it has no output bar by bar"],
                "choose one that is causal bar by bar, as transform=relative, or apply it to the last bars each time",
            )
        transform.output_channels(channels)
        self.transform, self.channels = transform, channels
        self.history = torch.empty(0, len(channels)) if history is None else self._recent(history)

    def push(self, bar: Tensor) -> Tensor:
        """Outputs [D] of the newest bar [C]."""
        self.history = self._recent(torch.cat([self.history.to(bar), bar[None]]))
        return self.transform.apply(self.history[None], self.channels)[0, -1]

    def _recent(self, bars: Tensor) -> Tensor:
        """The last bars that a later output can depend on."""
        memory = self.transform.memory_bars
        return bars if memory is None else bars[-memory:]
