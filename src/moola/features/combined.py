"""The outputs of several transforms side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moola.config import build_all
from moola.errors import ConfigError, DataError
from moola.features import Causality, Fittable, Transform, build_part


@dataclass(frozen=True)
class Combined:
    """Concatenates what its parts give, in their order.

    A name that two parts share gets the part's number in front, as in ``part0_log_return_open``.

    Attributes:
        parts: sections of transforms (``{name: relative}``), or transforms. What has to be fitted goes around the
            whole and not inside it: ``transform=scaled transform.of.name=combined '+transform.of.parts=[...]'``.
    """

    parts: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError(["parts: needs at least one transform"])
        builders = [lambda part=part, i=i: build_part(part, f"parts[{i}]") for i, part in enumerate(self.parts)]
        parts: tuple[Transform, ...] = tuple(build_all(*builders))
        unfitted = [i for i, part in enumerate(parts) if isinstance(part, Fittable)]
        if unfitted:
            raise ConfigError(
                [f"parts[{i}]: has to be fitted, so it cannot stand inside 'combined'" for i in unfitted],
                "put it around all parts: transform=scaled transform.of.name=combined '+transform.of.parts=[...]'",
            )
        object.__setattr__(self, "parts", parts)

    @property
    def causality(self) -> Causality:
        """``bar`` where every part is."""
        return "bar" if all(part.causality == "bar" for part in self.parts) else "window"

    @property
    def scale_invariant(self) -> bool:
        """Where every part is."""
        return all(part.scale_invariant for part in self.parts)

    @property
    def memory_bars(self) -> int | None:
        """The longest of the parts'."""
        memories = [part.memory_bars for part in self.parts]
        return None if None in memories else max(memories)

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The names of all parts.

        Raises:
            DataError: what every part misses, in one go.
        """
        names = self._names(channels)
        shared = {name for name, times in Counter(name for part in names for name in part).items() if times > 1}
        return tuple(f"part{i}_{name}" if name in shared else name for i, part in enumerate(names) for name in part)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, D], D being the sum of the parts'."""
        return torch.cat([part.apply(bars, channels) for part in self.parts], dim=-1)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Those of every part."""
        first = 0
        numbers: list[int] = []
        for part in self.parts:
            numbers += [first + number for number in part.summary_channels(channels)]
            first += len(part.output_channels(channels))
        return tuple(numbers)

    def _names(self, channels: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The names of each part."""
        names: list[tuple[str, ...]] = []
        errors: list[DataError] = []
        for part in self.parts:
            try:
                names.append(part.output_channels(channels))
            except DataError as error:
                errors.append(error)
        way_out = "; or ".join([*dict.fromkeys(error.way_out for error in errors), "leave it out of transform.parts"])
        if len(errors) == 1:
            raise DataError(errors[0].what, errors[0].why, way_out) from errors[0]
        if errors:
            raise DataError(
                f"{len(errors)} parts of transform=combined cannot use this data",
                "\n".join(f"- {error.what}: {error.why}" for error in errors),
                way_out,
            )
        return names
