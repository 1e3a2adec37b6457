"""The parts of a loss and their sum."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

from torch import Tensor


def with_loss(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``loss``, the sum of the weighted parts, and the parts after it."""
    return {"loss": functools.reduce(operator.add, parts.values()), **parts}
