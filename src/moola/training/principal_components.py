"""Vectors seen from the two directions in which they differ most (principal components; Pearson 1901)."""

from __future__ import annotations

import numpy as np


def principal_components(vectors: np.ndarray, n_components: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Where vectors lie on the axes of their largest variance, and what share of it each axis has.

    Each axis points to where its largest loading is positive, so that equal vectors give equal pictures.

    Args:
        vectors: [n, E], n at least 1.
        n_components: axes; those beyond the rank of the vectors are 0.

    Returns:
        float64 [n, n_components] and [n_components]; shares are 0 where the vectors do not differ.
    """
    exact = vectors.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    left, spread, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    kept = min(n_components, len(spread))
    points, shares = np.zeros((len(exact), n_components)), np.zeros(n_components)
    points[:, :kept] = (left * spread * signs)[:, :kept]
    total = np.square(spread).sum()
    shares[:kept] = np.square(spread[:kept]) / total if total > 0 else 0.0
    return points, shares
