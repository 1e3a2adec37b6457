"""Vectors in a plane so that neighbours stay neighbours (t-SNE; van der Maaten & Hinton 2008, JMLR 9)."""

from __future__ import annotations

import numpy as np

from moola.training.principal_components import principal_components

PERPLEXITY = 30.0
"""About how many neighbours a vector keeps; the usual choice."""
LEAST = 10
"""Vectors from which a map says something."""
_MOST_COMPONENTS = 50


def neighbour_map(vectors: np.ndarray, seed: int) -> np.ndarray | None:
    """Places in a plane, float64 [n, 2], the same for the same vectors and seed; None for fewer than `LEAST` vectors.

    Distances between far points, the size of clusters and both axes mean nothing. The perplexity is at most a third
    of n - 1, and no more than 50 principal components are looked at, as in the paper.

    Args:
        vectors: [n, E].
        seed: of the optimiser; the start is the first two principal components.
    """
    n = len(vectors)
    if n < LEAST:
        return None
    from sklearn.manifold import TSNE

    points, _ = principal_components(vectors, min(_MOST_COMPONENTS, *vectors.shape))
    spread = points.std()
    if spread == 0:  # every vector is the same: there are no neighbours
        return np.zeros((n, 2))
    if points.shape[1] == 1:
        points = np.column_stack([points, np.zeros(n)])
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    return tsne.fit_transform(points / spread).astype(np.float64)
