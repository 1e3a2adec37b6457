"""What the report of one run holds, section by section: plain values, nothing that is drawn or rendered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from moola import drawing
from moola.config import meaningless_preset
from moola.drawing.intervals import Kind
from moola.errors import MoolaError
from moola.evaluation.estimates import Alarm, Estimate
from moola.evaluation.report_windows import DoubtfulLabels, PlantedFound, Reconstruction, WrongWindows
from moola.evaluation.significance import LEVEL, PairedTest


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
    """Two models (display names) on the same windows.

    Attributes:
        a, b: display names.
        split, metric: where, and in what.
        difference: a minus b, with its interval, by itself.
        sentence: its words.
        adjusted: p-value after correction for all comparisons of that split; nan where it is not known.
        by_test: the same two by a test that tables of the field ask for; nothing rests on it.
    """

    a: str
    b: str
    split: str
    metric: str
    difference: Estimate
    sentence: str
    adjusted: float = math.nan
    by_test: PairedTest | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the difference stands among so many."""
        return self.adjusted < LEVEL


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
class Reliability:
    """Bins of confidence: confidence [B], accuracy [B] (0 to 1), count [B] windows; and the calibration error."""

    confidence: ArrayLike
    accuracy: ArrayLike
    count: ArrayLike
    ece: Estimate


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of one model (display name) can be believed.

    Attributes:
        model: display name.
        before: as the model gives them.
        after: as a calibration on held-out windows mends them; None where there was nothing to learn it from.
        change: of the calibration error, after minus before on the same windows; None without `after`.
    """

    model: str
    before: Reliability
    after: Reliability | None = None
    change: Estimate | None = None


@dataclass(frozen=True)
class SetRow:
    """Prediction sets of one model: how often they hold the truth, how many classes they name, or why there are none.

    Attributes:
        model: display name.
        kind: ``"marginal"`` or ``"by class"``.
        coverage: share of sets that hold the true class; None where no set could be made.
        size: mean number of classes in a set; likewise.
        why: there are none.
    """

    model: str
    kind: str
    coverage: Estimate | None
    size: Estimate | None
    why: str = ""


@dataclass(frozen=True)
class PredictionSets:
    """Conformal sets on the sealed test at a stated coverage, 0 to 1."""

    stated: float
    rows: tuple[SetRow, ...]

    @property
    def has_empty(self) -> bool:
        """Whether some sets must be empty, because a mean size is below 1."""
        return any(row.size is not None and row.size.value < 1 for row in self.rows)


@dataclass(frozen=True)
class Pointers:
    """How well a model (display name) finds the first and last bar of what a label speaks of: figure by name."""

    model: str
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class PseudoLabelFold:
    """Guesses of the teacher that knows nothing of a fold.

    Attributes:
        name: of the fold.
        left: how many windows are left after each gate, in the order of `PseudoLabels.gates`.
        right: share of those that passed whose label is the true one; None where no truth is known.
    """

    name: str
    left: tuple[int, ...]
    right: Estimate | None


@dataclass(frozen=True)
class PseudoLabelStudent:
    """A model (display name) out of fold without and with the teacher's labels."""

    model: str
    without: Estimate
    taught: Estimate
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class PseudoLabels:
    """What labels of a model (display name) are worth to others.

    Attributes:
        teacher: who labels.
        metric: of figures and differences, in words.
        gates: what a guess has to pass, in order.
        folds: one each, then the teacher with all labels.
        students: who learned from them.
    """

    teacher: str
    metric: str
    gates: tuple[str, ...]
    folds: tuple[PseudoLabelFold, ...]
    students: tuple[PseudoLabelStudent, ...]


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
        seconds: of all stages, when their artifacts were made, in all attempts.
        energy_wh: watt hours that GPUs took meanwhile, all that ran on them; None where nobody measured.
        rented: what the machine was rented for, in words; "" where it was not.
    """

    rows: tuple[CostRow, ...]
    seconds: float
    energy_wh: float | None = None
    rented: str = ""


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
        stack: what the stack is worth, in a sentence; "" where it was not held against a single model.
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
    stack: str
    comparisons: tuple[Comparison, ...] | None
    pretraining: Pretraining | None
    reconstructions: tuple[Reconstruction, ...] | None
    confusion: Confusion | None
    calibration: tuple[Calibration, ...] | None
    sets: PredictionSets | None
    pointers: Pointers | None
    label_efficiency: CurvePanel | None
    pseudo_labels: PseudoLabels | None
    wrong: WrongWindows | None
    doubtful: DoubtfulLabels | None
    planted: PlantedFound | None
    costs: Costs | None
    lineage: Lineage
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def preset(self) -> str:
        """The debug preset that made the run, whose figures mean nothing; "" for none."""
        return meaningless_preset(self.experiment)

    def __post_init__(self) -> None:
        if len(self.verdict) != 3:
            raise MoolaError("a verdict has three sentences", f"this one has {len(self.verdict)}")
