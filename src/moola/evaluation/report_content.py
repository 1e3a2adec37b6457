"""What the report of one run holds, section by section: plain values, nothing that is drawn or rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from moola import drawing
from moola.drawing.intervals import Kind
from moola.errors import MoolaError
from moola.evaluation.comparison import excludes_zero
from moola.evaluation.estimates import Alarm, Estimate


@dataclass(frozen=True)
class Split:
    """A group of leaderboard columns: its name ("Sealed test") and a mark such as "transductive", or ""."""

    name: str
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """A column within each split that has such figures: its name and which end is good."""

    name: str
    higher_is_better: bool = True


@dataclass(frozen=True)
class ModelRow:
    """A line of the leaderboard.

    Attributes:
        model: registry name, the one that `Alarm.model` uses.
        name: display name.
        kind: model, baseline, control or stack.
        cells: (split name, metric name) -> figure; a missing cell is a dash.
    """

    model: str
    name: str
    kind: Kind
    cells: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Leaderboard:
    """All models on all splits.

    Attributes:
        splits: column groups, in order.
        metrics: columns of each group, in order.
        rows: in the order shown.
        headline: (split name, metric name) of the dot plot.
        reference: vertical line of the dot plot, e.g. the majority class, or None.
    """

    splits: tuple[Split, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[ModelRow, ...]
    headline: tuple[str, str]
    reference: drawing.Reference | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models (display names) on the same windows: `difference` is a minus b, `sentence` its words."""

    a: str
    b: str
    split: str
    metric: str
    difference: Estimate
    sentence: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return excludes_zero(self.difference)


@dataclass(frozen=True)
class CurvePanel:
    """A plot of curves: heading, axis names, curves, lines to beat and a sentence beneath (or "")."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[drawing.Curve, ...]
    references: tuple[drawing.Reference, ...] = ()
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Embeddings of windows in a plane.

    Attributes:
        title: what they are embeddings of.
        points: [N, 2].
        groups: int [N], a place in `names` each.
        names: of the classes, or of the steps of what is shown.
        shares: of the variance, one for each component; empty where the axes mean nothing (t-SNE).
        windows: N ids; empty where nobody asks which they are.
        ordered: groups are steps of one thing rather than classes, the first the strongest.
    """

    title: str
    points: ArrayLike
    groups: ArrayLike
    names: tuple[str, ...]
    shares: tuple[float, ...] = ()
    windows: tuple[str, ...] = ()
    ordered: bool = False


@dataclass(frozen=True)
class Pretraining:
    """How the encoder learned.

    Attributes:
        loss: training and validation loss per seed.
        rebuilding: error on hidden inputs per seed, trivial predictors as references; None if none are rebuilt.
        probe: figures of the probes per epoch, pretrained against random init; None if none was run.
        mask_ratio: the realised ratio in words, or "" for an objective without masks.
        embeddings: of labelled windows: before and after, by label and by doubt.
    """

    loss: CurvePanel
    rebuilding: CurvePanel | None
    probe: CurvePanel | None
    mask_ratio: str
    embeddings: tuple[Embedding, ...] = ()


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
class Calibration:
    """Reliability bins of one model: confidence [B], accuracy [B] (0 to 1), count [B] windows; ECE."""

    model: str
    confidence: ArrayLike
    accuracy: ArrayLike
    count: ArrayLike
    ece: Estimate


@dataclass(frozen=True)
class ClassRow:
    """Figures of one class: its name, how many windows have it, and three figures with intervals."""

    name: str
    n: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, eq=False)
class Confusion:
    """What one model takes for what.

    Attributes:
        model: display name; it was chosen out of fold.
        split: name of the split.
        counts: [K, K] windows of class i that were taken for class j, mean over seeds.
        rows: a class each, in the order of `counts`.
    """

    model: str
    split: str
    counts: ArrayLike
    rows: tuple[ClassRow, ...]


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

    `found_in_queue` counts planted flips among the first `queue` windows of the review queue.
    """

    planted: int
    flagged: int
    found: int
    precision: Estimate
    recall: Estimate
    found_in_queue: int
    queue: int = 35


@dataclass(frozen=True)
class StageRow:
    """One stage: content key, the artifact's digest, seconds it took when it was made."""

    stage: str
    key: str
    digest: str
    seconds: float


@dataclass(frozen=True)
class CostRow:
    """A model (display name): how many times it was fitted, and seconds of all fits with what they predicted."""

    model: str
    fits: int
    seconds: float


@dataclass(frozen=True)
class Costs:
    """What it took.

    Attributes:
        rows: a model each, the dearest first.
        seconds: of all stages, when their artifacts were made.
        energy_wh: watt hours that GPUs took meanwhile, all that ran on them; None where nobody measured.
        usd: money; None where nobody measured.
    """

    rows: tuple[CostRow, ...]
    seconds: float
    energy_wh: float | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Lineage:
    """Where figures come from: stages, versions (package -> version), seeds, commands that repeat them."""

    stages: tuple[StageRow, ...]
    versions: Mapping[str, str]
    seeds: tuple[int, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything the page says, in its order; a None section says that its stage was switched off.

    Attributes:
        title: heading of the page.
        run_id: the run's id.
        experiment: the experiment's name.
        created: when the page was made, as shown.
        moola_version: of the package.
        git_commit: of the project, or "" outside of a repository.
        git_dirty: whether files differed from that commit.
        alarms: what fired.
        checks: how many checks were made.
        verdict: exactly three sentences.
        statements: what this run is, one plain sentence each.
        absent: Report field (or "probe") -> the line shown for its None, where "not run: <stage> was
            switched off" would not be true.
    """

    title: str
    run_id: str
    experiment: str
    created: str
    moola_version: str
    git_commit: str
    git_dirty: bool
    alarms: tuple[Alarm, ...]
    checks: int
    verdict: tuple[str, str, str]
    statements: tuple[str, ...]
    leaderboard: Leaderboard | None
    comparisons: tuple[Comparison, ...] | None
    pretraining: Pretraining | None
    reconstructions: tuple[Reconstruction, ...] | None
    confusion: Confusion | None
    calibration: tuple[Calibration, ...] | None
    label_efficiency: CurvePanel | None
    wrong: WrongWindows | None
    doubtful: tuple[DoubtfulLabel, ...] | None
    planted: PlantedFound | None
    costs: Costs | None
    lineage: Lineage
    absent: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.verdict) != 3:
            raise MoolaError("a verdict has three sentences", f"this one has {len(self.verdict)}")
