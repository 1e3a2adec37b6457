"""All models on both splits, pairs of them, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping

from moola import drawing
from moola.evaluation.metrics import METRICS
from moola.evaluation.report_content import Comparison, CostRow, Costs, Leaderboard, Metric, ModelRow, Split
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.rented import Rented
from moola.pipelines.report_sections.material import Material
from moola.pipelines.report_sections.paired_tests import paired_test
from moola.pipelines.results import SPLITS
from moola.pipelines.scores import HEADLINE, SplitName, display_name
from moola.pipelines.setup import adopted_encoder

SHOWN_METRICS: dict[SplitName, tuple[str, ...]] = {
    "test": ("balanced_accuracy", "macro_f1", "log_loss", "brier", "ece"),
    "oof": ("balanced_accuracy", "macro_f1"),
}


AS_GIVEN = Metric(f"{METRICS[HEADLINE].label}, labels as given", METRICS[HEADLINE].higher_is_better)
"""Models are chosen by it; a column of its own where some of the labels given are known to be wrong."""


def split_marks(inputs: Mapping[str, Artifact]) -> dict[SplitName, str]:
    """What the heading of a split says of the encoder that its figures rest on."""
    if "encoder" not in inputs:
        return {}
    adopted = adopted_encoder(inputs["encoder"])
    seen = adopted is not None and adopted["may_have_seen_test"]
    return {"oof": "transductive", "test": "may have been seen" if seen else ""}


def leaderboard(material: Material) -> Leaderboard:
    """Every model with its figures, the best of the first split first."""
    marks, figures = split_marks(material.inputs), material.scores.figures
    shown: list[SplitName] = [split for split in SPLITS if split in figures]
    first = figures[shown[0]]
    models = [model for model in material.predictions.models if model in first]
    majority = first.get("majority")
    return Leaderboard(
        splits=tuple(Split(SPLITS[split], marks.get(split, "")) for split in shown),
        metrics=(
            AS_GIVEN,
            *(Metric(METRICS[name].label, METRICS[name].higher_is_better) for name in SHOWN_METRICS["test"]),
        ),
        rows=tuple(
            _row(material, model, shown) for model in sorted(models, key=lambda model: -first[model][HEADLINE].value)
        ),
        headline=(SPLITS[shown[0]], METRICS[HEADLINE].label),
        reference=drawing.Reference("majority class", majority[HEADLINE].value) if majority else None,
    )


def _row(material: Material, model: str, shown: list[SplitName]) -> ModelRow:
    name, scores = display_name(model), material.scores
    cells = {
        (SPLITS[split], METRICS[metric].label): scores.figures[split][model][metric]
        for split in shown
        if model in scores.figures[split]
        for metric in SHOWN_METRICS[split]
    }
    if "oof" in shown and any(scores.as_given[m] != of_m[HEADLINE] for m, of_m in scores.figures["oof"].items()):
        cells |= {(SPLITS["oof"], AS_GIVEN.name): scores.as_given[model]} if model in scores.as_given else {}
    return ModelRow(name, name, material.predictions.role(model), cells)


def comparisons(material: Material) -> tuple[Comparison, ...]:
    """Pairs of models on the same windows."""
    return tuple(
        Comparison(
            display_name(d.a),
            display_name(d.b),
            SPLITS[d.split],
            METRICS[d.metric].label,
            d.difference,
            d.sentence,
            d.adjusted,
            paired_test(d, material.data, material.predictions, material.evaluation),
        )
        for d in material.scores.differences
    )


def costs(inputs: Mapping[str, Artifact], rented: Rented | None) -> Costs | None:
    """Seconds of every model and stage, and what else was measured; None where no model was fitted one by one."""
    oof = inputs["oof"]
    if "costs.json" not in oof.manifest["files"]:
        return None
    told = read_json(oof.path("costs.json"))
    rows = (CostRow(display_name(model), int(one["fits"]), float(one["seconds"])) for model, one in told.items())
    return Costs(
        tuple(sorted(rows, key=lambda row: -row.seconds)),
        sum(item.manifest["seconds"] for item in inputs.values()),
        _sum_of(inputs, "energy_wh"),
        rented.spoken() if rented else "",
    )


def _sum_of(inputs: Mapping[str, Artifact], name: str) -> float | None:
    """Of the stages that have such a figure; None where none has."""
    known = [item.manifest[name] for item in inputs.values() if item.manifest.get(name) is not None]
    return sum(known) if known else None
