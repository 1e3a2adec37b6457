"""Contrastive losses against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from moola.pretraining.contrast import paired_contrast
from moola.pretraining.hierarchical_contrast import hierarchical_contrast
from moola.pretraining.ts_tcc import contextual_contrast, temporal_contrast


def random_pair(*size: int, seed: int) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return first, second


def paired_by_loops(first: Tensor, second: Tensor, temperature: float) -> float:
    losses: list[float] = []
    for one, other in zip(first, second, strict=True):
        vectors, n = [*one, *other], len(one)
        for i, vector in enumerate(vectors):
            likeness = [math.exp(float(vector @ another) / temperature) for another in vectors]
            others = sum(likeness[:i] + likeness[i + 1 :])
            losses.append(-math.log(likeness[(i + n) % (2 * n)] / others))
    return sum(losses) / len(losses)


@given(groups=st.integers(1, 3), n=st.integers(1, 5), seed=st.integers(0, 1000), temperature=st.floats(0.2, 2.0))
def test_paired_contrast_is_its_equation(groups: int, n: int, seed: int, temperature: float) -> None:
    first, second = random_pair(groups, n, 3, seed=seed)
    expected = paired_by_loops(first, second, temperature)
    assert float(paired_contrast(first, second, temperature)) == pytest.approx(expected, abs=1e-9)


def test_paired_contrast_rewards_pairs_that_agree_and_are_apart_from_the_rest() -> None:
    apart = 10 * torch.eye(6)[None]
    assert float(paired_contrast(apart, apart)) < 1e-6
    assert float(paired_contrast(apart, apart.roll(1, dims=1))) > 50
    alike = torch.ones(1, 6, 4)
    assert float(paired_contrast(alike, alike)) == pytest.approx(math.log(11))  # guessing
    assert float(paired_contrast(alike[:, :1], alike[:, :1])) == 0.0


@given(n=st.integers(1, 5), seed=st.integers(0, 1000))
def test_contextual_contrast_compares_directions_over_the_temperature(n: int, seed: int) -> None:
    first, second = random_pair(n, 4, seed=seed)
    expected = paired_by_loops(normalize(first, dim=1)[None], normalize(second, dim=1)[None], 0.5)
    assert float(contextual_contrast(first, second, 0.5)) == pytest.approx(expected, abs=1e-9)
    assert float(contextual_contrast(7 * first, second, 0.5)) == pytest.approx(expected, abs=1e-9)


@given(n=st.integers(1, 5), steps=st.integers(1, 4), seed=st.integers(0, 1000))
def test_temporal_contrast_is_its_equation(n: int, steps: int, seed: int) -> None:
    predicted, states = random_pair(n, steps, 3, seed=seed)
    losses = [
        -math.log(
            math.exp(float(predicted[b, k] @ states[b, k]))
            / sum(math.exp(float(predicted[b, k] @ states[other, k])) for other in range(n))
        )
        for b in range(n)
        for k in range(steps)
    ]
    expected = sum(losses) / len(losses)
    assert float(temporal_contrast(predicted, states)) == pytest.approx(expected, abs=1e-9)


def temporal_by_loops(first: Tensor, second: Tensor) -> float:
    """Equation 1 of TS2Vec over windows, bars and both crops."""
    losses: list[float] = []
    for r, other in (pair for i in range(len(first)) for pair in ((first[i], second[i]), (second[i], first[i]))):
        for t in range(len(r)):
            across = sum(math.exp(float(r[t] @ other[s])) for s in range(len(r)))
            within = sum(math.exp(float(r[t] @ r[s])) for s in range(len(r)) if s != t)
            losses.append(-math.log(math.exp(float(r[t] @ other[t])) / (across + within)))
    return sum(losses) / len(losses)


@given(n=st.integers(1, 3), n_bars=st.integers(1, 9), seed=st.integers(0, 1000))
def test_hierarchical_contrast_is_that_of_the_paper_at_every_scale(n: int, n_bars: int, seed: int) -> None:
    first, second = random_pair(n, n_bars, 2, seed=seed)
    expected = [0.0, 0.0]
    scales = 0
    one, other = first, second
    while True:
        scales += 1
        expected[1] += temporal_by_loops(one.transpose(0, 1), other.transpose(0, 1))  # equation 2: windows for bars
        if one.shape[1] == 1:
            break
        expected[0] += temporal_by_loops(one, other)
        half = one.shape[1] // 2
        one, other = (some[:, : 2 * half].unflatten(1, (half, 2)).amax(dim=2) for some in (one, other))
    found = [float(value) for value in hierarchical_contrast(first, second)]
    assert found == pytest.approx([value / scales for value in expected], abs=1e-9)
