"""Names that no channel may have: what people, rules or models said about a window is never an input of a model."""

from __future__ import annotations

from collections.abc import Iterable

from moola.schemas.annotations import ANNOTATION_COLUMNS

ANNOTATIONS = frozenset({*ANNOTATION_COLUMNS, "fold", "given_label", "pred_label", "true_label"})
ANNOTATION_PREFIXES = ("prob_", "pred_")


def refuse_annotation_channels(channels: Iterable[str]) -> list[str]:
    """One message for each channel whose name says that it is an annotation; empty when there is none.

    A model that sees the pointers an annotator set, or the probabilities of another model, scores well and has learned
    nothing.
    """
    return [
        f"channels: '{name}' is an annotation and no model may see it; leave it out, labels are given with task="
        for name in channels
        if name.lower() in ANNOTATIONS or name.lower().startswith(ANNOTATION_PREFIXES)
    ]
