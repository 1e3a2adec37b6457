"""Which of the given labels are doubtful, judged by models that did not train on them, and who should look first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, structure
from moola.errors import DataError
from moola.evaluation.estimates import Estimate
from moola.evaluation.score_interval import effective_cases, estimate
from moola.labels import POINTER_COLUMNS
from moola.labels.consensus import Consensus, find_consensus
from moola.labels.corrections import log_in
from moola.labels.events import LabelLog
from moola.labels.folding import WindowState, fold
from moola.labels.issues import find_label_issues
from moola.labels.priority import Doubts
from moola.labels.queue import QUEUE_FILE, review_queue
from moola.labels.resemblance import contradicting_duplicates, outlying
from moola.layout import digest_file, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.predictions import PREDICTION_FILES, Predictions
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.stack import choose_bases

OPINIONS_FILE = "models.parquet"
_DEFECT = "this is a defect"


@dataclass(frozen=True)
class LabelIssuesSection:
    """``stage.label_issues``.

    Attributes:
        log: file of decisions (`moola.labels.events`); null: that of ``task.corrections``, where it is one.
    """

    log: str | None = None


@dataclass(frozen=True)
class LabelIssues(Stage):
    """Confident learning on the consensus of all models that are neither controls nor collapsed.

    Attributes:
        log: file of decisions (`moola.labels.events`), for windows about which annotators differ; None: nobody decided
            anything yet.
        judging: how the interval of the number of issues is made.
    """

    log: str | None = None
    judging: EvaluationConfig = field(default_factory=EvaluationConfig)
    name: ClassVar[str] = "label_issues"
    provides: ClassVar[str] = "label_issues"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"oof": PREDICTION_FILES}
    publishes: ClassVar[tuple[str, ...]] = ("consensus.json", "label_issues.csv", QUEUE_FILE)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"cleanlab": "evidence", "sklearn": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``stage.label_issues``, ``evaluation``, and ``task.corrections`` where these are a log and none is named."""
        section, judging = build_all(
            lambda: structure(LabelIssuesSection, config.stage.get("label_issues", {}), "stage.label_issues"),
            lambda: structure(EvaluationConfig, config.evaluation, "evaluation"),
        )
        return cls(section.log or _log_of(config.task.get("corrections")), judging)

    def outside(self) -> str:
        """The log lies outside moola."""
        return digest_file(Path(self.log)) if self.log is not None and Path(self.log).is_file() else ""

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``label_issues.csv``, ``review_queue.csv``, ``models.parquet`` and ``consensus.json``.

        ``models.parquet``: `moola.schemas.model_opinions`. ``consensus.json``: whose predictions counted and how much,
        who was left out and why, how many labels are flagged, with the 95 % interval, and how many have each priority.
        """
        from moola import schemas
        from moola.schemas import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        predictions.check_classes(data.classes)
        predictions.check_held_out(data.labels, data.folds)
        judged = predictions.judged(data.labels)
        labels = data.class_numbers(judged["label"])
        said, left_out = _judges(predictions, data, judged["window_id"])
        consensus = find_consensus(said, labels)
        issues = find_label_issues(judged["window_id"].to_list(), labels, consensus.probabilities, data.classes)
        doubts = _doubts(data, judged, labels, consensus, issues, self._states())
        queue = review_queue(issues, doubts)
        tables = {
            "label_issues.csv": check(issues, schemas.label_issues(data.classes), "the label issues", _DEFECT),
            QUEUE_FILE: check(queue, schemas.review_queue(data.classes), "the review queue", _DEFECT),
        }
        for name, table in tables.items():
            with replace_atomically(workspace.folder / name) as handle:
                table.write_csv(handle)
        opinions = check(_opinions(said, judged, data.classes), schemas.model_opinions(data.classes), "them", _DEFECT)
        with replace_atomically(workspace.folder / OPINIONS_FILE) as handle:
            opinions.write_parquet(handle)
        told = _told(consensus, left_out, queue, self._flagged_share(data, judged, issues))
        write_json(workspace.folder / "consensus.json", told)

    def _states(self) -> Mapping[str, WindowState]:
        """What people decided about windows.

        Raises:
            DataError: there is no such log.
        """
        if self.log is None:
            return {}
        if not Path(self.log).is_file():
            raise DataError(
                f"there is no log of decisions {self.log}",
                "stage.label_issues.log names it",
                "name the log of `moola review`, or null where nobody decided anything yet",
            )
        return fold(LabelLog(Path(self.log)).read().events)

    def _flagged_share(self, data: Dataset, judged: pl.DataFrame, issues: pl.DataFrame) -> Estimate:
        """Share of labels that are flagged, were other windows like these labelled: resamples as for every figure."""
        flags = judged.join(issues.select("window_id", "is_label_issue"), on="window_id", maintain_order="left")
        flagged = flags["is_label_issue"].to_numpy().astype(np.float64)
        weights = resamples(data, judged, self.judging)
        resampled = (weights @ flagged / weights.sum(axis=1))[:, None]
        return estimate(np.array([flagged.mean()]), resampled, len(flagged), (0.0, 1.0), effective_cases(weights))


def _log_of(corrections: Any) -> str | None:
    """The log of decisions that corrects the labels; None where a table does, or nothing."""
    if not isinstance(corrections, str) or corrections.endswith(".parquet"):
        return None
    return str(log_in(Path(corrections)))


def _judges(
    predictions: Predictions, data: Dataset, window_ids: pl.Series
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Model -> its probabilities out of fold [n_seeds, n, n_classes], and why each of the others has no say.

    Raises:
        DataError: none has.
    """
    models, left_out = choose_bases(predictions, data)
    if not models:
        raise DataError(
            "no model is left that could judge the labels",
            "\n".join(f"- {model}: {why}" for model, why in left_out.items()),
            "add a model, or switch the stage off: 'stage.skip=[label_issues]'",
        )
    return {model: predictions.of_model(model, "oof", window_ids) for model in models}, left_out


def _doubts(
    data: Dataset,
    judged: pl.DataFrame,
    labels: np.ndarray,
    consensus: Consensus,
    issues: pl.DataFrame,
    states: Mapping[str, WindowState],
) -> Doubts:
    """Everything that speaks against labels, in the order of `issues`."""
    ids = judged["window_id"].to_list()
    places = {name: place for place, name in enumerate(ids)}
    order = np.array([places[name] for name in issues["window_id"]], dtype=np.int64)
    rows = judged["row"].to_numpy()
    bars = data.windows.gather(data.store.values, rows)
    duplicates = contradicting_duplicates(bars, labels, np.asarray(data.windows.starts)[rows], data.windows.reach)
    disagree = np.array([name in states and states[name].conflict for name in ids], dtype=bool)
    return Doubts(
        issue=issues["is_label_issue"].to_numpy(),
        agreement=consensus.agreement[order],
        duplicate_of=tuple(ids[other] if other >= 0 else None for other in duplicates[order]),
        invalid_pointer=_invalid_pointers(data, judged, states)[order],
        disagree=disagree[order],
        outlier=outlying(bars, data.windows.zone)[order],
    )


def _invalid_pointers(data: Dataset, judged: pl.DataFrame, states: Mapping[str, WindowState]) -> np.ndarray:
    """Windows whose pointers, as given or as decided since, break a rule; bool [n]."""
    from moola.schemas.annotations import pointer_rules

    names = list(POINTER_COLUMNS)
    decided = [(name, state.start, state.end) for name, state in states.items() if state.start is not None]
    schema: dict[str, Any] = {"window_id": pl.String, **dict.fromkeys(names, pl.Int64)}
    pointers = judged.select("window_id").join(
        data.table.select("window_id", *names) if names[0] in data.table.columns else pl.DataFrame(schema=schema),
        on="window_id",
        how="left",
        maintain_order="left",
    )
    pointers = pointers.update(pl.DataFrame(decided, schema=schema, orient="row"), on="window_id", how="left")
    rules = pointer_rules(data.windows.zone, *POINTER_COLUMNS)
    return pointers.select(~pl.all_horizontal(rule.holds for rule in rules)).to_series().to_numpy()


def _opinions(said: Mapping[str, np.ndarray], judged: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    """What each model says of each window, the mean of its seeds."""
    frames = [
        judged.select(
            "window_id",
            pl.lit(model).alias("model"),
            *(pl.Series(f"prob_{name}", probabilities.mean(axis=0)[:, i]) for i, name in enumerate(classes)),
        )
        for model, probabilities in said.items()
    ]
    return pl.concat(frames)


def _told(consensus: Consensus, left_out: Mapping[str, str], queue: pl.DataFrame, flagged: Estimate) -> dict[str, Any]:
    """``consensus.json``; the ends of an interval that is not known are null."""
    n = len(queue)
    ends = [round(n * end, 1) if np.isfinite(end) else None for end in (flagged.low, flagged.high)]
    return {
        "models": {name: round(weight, 6) for name, weight in consensus.weights.items()},
        "left_out": dict(left_out),
        "judged": n,
        "flagged": round(n * flagged.value),
        "flagged_interval": ends,
        "priorities": {str(level): int((queue["priority"] == level).sum()) for level in (3, 2, 1, 0)},
    }
