"""A search as a process that is killed by real signals, goes on, and leaves a winner that runs."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_its_winner_runs(
    make_moola: Callable[..., Any], tiny: tuple[str, ...], tmp_path: Path
):
    from moola.sweeps.search.study import read_records

    moola = make_moola(tmp_path)
    of_run = [word for word in tiny if word != "~model.random_forest"]
    words = ["search", *of_run, "search=random_forest", "search.n_trials=14", "search.pruner=none"]
    words.append("search.workers=2")
    journal = tmp_path / "artifacts" / "metadata" / "studies" / "random_forest.journal"

    def finished() -> int:
        found = read_records(str(journal), "random_forest") if journal.exists() else []
        return sum(one.status == "finished" for one in found)

    for enough in (3, 7):
        command = moola.start(*words)
        deadline = time.monotonic() + 120
        while finished() < enough:
            assert time.monotonic() < deadline, command.err
            assert command.process.exitcode is None, command.err
            time.sleep(0.05)
        os.kill(command.process.pid, signal.SIGKILL)
        command.wait()
    done = moola(*words, "--write", "configs")
    assert done.code == 0, done.err
    records = read_records(str(journal), "random_forest")
    assert Counter(one.status for one in records)["finished"] == 14
    lost = [one for one in records if one.status == "lost"]
    retried = Counter(one.retry_of for one in records if one.retry_of is not None)
    assert all(retried[one.number] == 1 for one in lost if len(one.params) == 2)
    assert set(retried) <= {one.number for one in lost}
    run = moola("oof", "--config-dir", "configs", "experiment=random_forest")
    assert run.code == 0, run.err
    assert (run.run_folder / "oof.parquet").exists()
