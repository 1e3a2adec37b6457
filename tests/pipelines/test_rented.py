"""What a run's machines cost, told where the run is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from moola.errors import ConfigError
from moola.layout import write_json
from moola.pipelines.rented import POD_FILE, Rented, read_rented, write_rented

POD = Rented("runpod", "abc", "RTX 4090", "EU-RO-1", 0.72, 1, 1800.0, 0.36, 1e9, True, "b0", {"dirty": False})


def test_what_was_written_is_read_and_nothing_is_nothing(tmp_path: Path) -> None:
    assert read_rented(tmp_path) is None
    write_rented(tmp_path, POD)
    assert read_rented(tmp_path) == POD
    write_json(tmp_path / POD_FILE, {"cost": 1})
    with pytest.raises(ConfigError, match="cost: unknown key; did you mean 'cost_usd'"):
        read_rented(tmp_path)


def test_time_costs_while_the_run_is_under_way() -> None:
    later = POD.until(1e9 + 1800)
    assert (later.seconds, later.cost_usd) == (3600, pytest.approx(0.72))
    assert POD.until(1e9 - 60).cost_usd == 0.36, "a clock that was set back earns no money"
    over = dataclasses.replace(POD, under_way=False)
    assert over.until(2e9).cost_usd == 0.36


def test_it_is_said_in_words() -> None:
    assert POD.spoken() == (
        "runpod, RTX 4090, EU-RO-1: $0.36 for 30 min 00 s until this page was made, at $0.72 an hour"
    )
    two = dataclasses.replace(POD, pods=2, under_way=False, gpu="", place="")
    assert two.spoken() == "runpod: $0.36 for 30 min 00 s on 2 pods together, at $0.72 an hour"
    own = dataclasses.replace(POD, provider="ssh", gpu="", place="10.0.0.1", price_per_h=0.0, cost_usd=0.0)
    assert own.spoken() == "ssh, 10.0.0.1: 30 min 00 s, which nobody bills by the hour"
