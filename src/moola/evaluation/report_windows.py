"""Windows that a report shows, and why it shows them."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from moola import drawing
from moola.evaluation.estimates import Estimate


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A window, what was hidden of it and what the model put there.

    Attributes:
        window_id: its id.
        bars: [T, C] in the units of the data.
        channels: C names; open, high, low and close become candles, others lines.
        reconstructed: [T, C] in the same units; shown in masked bars only.
        mask: bool [T], True where the model saw nothing.
        caption: a sentence beneath, or "".
    """

    window_id: str
    bars: ArrayLike
    channels: tuple[str, ...]
    reconstructed: ArrayLike
    mask: ArrayLike
    caption: str = ""


@dataclass(frozen=True, eq=False)
class ShownWindow:
    """A window as it is drawn.

    Attributes:
        window_id: its id.
        start: time of the first bar, as shown.
        end: time of the last bar, as shown.
        bars: [T, C] in the units of the data.
        channels: C names.
        spans: stretches to shade: context, zone, after.
    """

    window_id: str
    start: str
    end: str
    bars: ArrayLike
    channels: tuple[str, ...]
    spans: tuple[drawing.Span, ...]


@dataclass(frozen=True, eq=False)
class DoubtfulLabel(ShownWindow):
    """A label that the models doubt.

    Attributes:
        given: the label as it stands.
        predicted: the label the models would give.
        quality: cleanlab's label quality, 0 (doubtful) to 1.
        planted: whether the label was flipped on purpose; None when nobody knows.
    """

    given: str
    predicted: str
    quality: float
    planted: bool | None = None


@dataclass(frozen=True, eq=False)
class WrongWindow(ShownWindow):
    """A window of the sealed test that a model is sure and wrong about.

    Attributes:
        truth: its label.
        predicted: the most likely class, mean over seeds.
        p_truth: probability of the truth, geometric mean over seeds: the mean log loss is minus its logarithm.
    """

    truth: str
    predicted: str
    p_truth: float


@dataclass(frozen=True)
class WrongWindows:
    """The windows that the chosen model (display name) is most wrong about, the worst first; `n` were judged."""

    model: str
    n: int
    windows: tuple[WrongWindow, ...]


@dataclass(frozen=True)
class PlantedFound:
    """Flips with a known truth: how many were planted, flagged, found among the flagged, and found early.

    `found_in_queue` counts planted flips among the first `queue` windows of the review queue, and `average_precision`
    says how early the queue has them; in an order by chance it is their share of the `judged` labels.
    """

    planted: int
    flagged: int
    found: int
    precision: Estimate
    recall: Estimate
    average_precision: Estimate
    judged: int
    found_in_queue: int
    queue: int = 35
