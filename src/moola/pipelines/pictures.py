"""What artifacts keep to be looked at: embeddings and reconstructions, for files of their own and for the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from moola.evaluation.report_content import Embedding
from moola.evaluation.report_windows import Reconstruction
from moola.layout import read_json, write_json
from moola.pipelines.artifacts import Artifact

EMBEDDINGS = "embeddings.json"
RECONSTRUCTIONS = "reconstructions.safetensors"
_DIGITS = 4


def save_embeddings(path: Path, embeddings: Iterable[Embedding]) -> None:
    """Write points, groups, shares of variance and window ids as `saved_embeddings` reads them."""
    write_json(
        path,
        [
            {
                "title": shown.title,
                "points": np.asarray(shown.points, dtype=np.float64).round(_DIGITS).tolist(),
                "groups": np.asarray(shown.groups).tolist(),
                "names": list(shown.names),
                "shares": [round(share, _DIGITS) for share in shown.shares],
                "windows": list(shown.windows),
            }
            for shown in embeddings
        ],
    )


def saved_embeddings(probe: Artifact) -> tuple[Embedding, ...]:
    """Embeddings of the stage ``probe``: before and after pretraining, and as a map of neighbours."""
    return tuple(
        Embedding(
            one["title"],
            one["points"],
            one["groups"],
            tuple(one["names"]),
            tuple(one["shares"]),
            tuple(one["windows"]),
        )
        for one in read_json(probe.path(EMBEDDINGS))
    )


def saved_reconstructions(encoder: Artifact) -> tuple[Reconstruction, ...] | None:
    """Windows that the encoder rebuilt; None where its objective rebuilds nothing."""
    if RECONSTRUCTIONS not in encoder.manifest["files"]:
        return None
    from safetensors.numpy import load_file

    saved = load_file(str(encoder.path(RECONSTRUCTIONS)))
    channels = tuple(read_json(encoder.path("encoder.json"))["shown"])
    return tuple(
        Reconstruction(f"validation {i + 1}", original, channels, rebuilt, mask > 0.5)
        for i, (original, rebuilt, mask) in enumerate(
            zip(saved["original"], saved["rebuilt"], saved["mask"], strict=True)
        )
    )
