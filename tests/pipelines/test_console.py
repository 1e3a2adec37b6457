"""What a person reads while a run goes on."""

from __future__ import annotations

import pytest

from moola.pipelines import console


@pytest.mark.parametrize(
    ("seconds", "told"), [(1.0, "(110/s, 1 s left)"), (0.1, "(1,100/s, 0 s left)"), (250.0, "(0.44/s, 205 s left)")]
)
def test_a_rate_is_told_in_plain_numbers(seconds: float, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, seconds])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    rate = console._Rate()
    rate.update({"done": 0, "total": 200})
    assert rate.spoken({"done": 110, "total": 200}) == told
