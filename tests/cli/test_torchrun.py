"""The whole command under torchrun: two processes, one run, the same encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = (
    "debug=fast",
    "data=synthetic",
    "data.n_bars=3000",
    "task=unlabelled",
    "split.test_from=2000-01-10",
    "objective=masked_autoencoder",
    "objective.variance_weight=0",
    "trainer.pretrain.batch_size=64",
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def pretrain(folder: Path, *launcher: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "moola", "pretrain", *SMALL, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def history(folder: Path) -> list[dict[str, float]]:
    (path,) = folder.glob("artifacts/encoders/pretrained/pretrain-*/history-seed0.json")
    return json.loads(path.read_text())


def test_two_processes_learn_what_one_learns_write_one_run_and_reuse_it(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    assert pretrain(alone).returncode == 0
    done = pretrain(shared, *TORCHRUN)
    assert done.returncode == 0, done.stderr
    (folder,) = (shared / "artifacts/results").glob("debug-fast-*")
    assert done.stdout.split() == [str(folder)]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    for one, two in zip(history(alone), history(shared), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    again = pretrain(shared, *TORCHRUN)
    assert again.returncode == 0
    assert "reused" in again.stderr


def test_weights_that_all_train_are_not_looked_after(tmp_path: Path) -> None:
    done = pretrain(tmp_path, *TORCHRUN, words=("encoder.pooling=mean_max_last", "encoder.mixing=0"))
    assert done.returncode == 0, done.stderr
    assert "find_unused_parameters" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("split.test_from=2030-01-01", "moola: split.test_from=2030-01-01 leaves no test windows"),  # the first finds
        ("trainer.pretrain.batch_size=63", "  - trainer.pretrain.batch_size: 63 must be a multiple of the 2 processes"),
        ("trainer.pretrain.batch_sise=64", "  - trainer.pretrain.batch_sise: there is no such key"),
    ],
)
def test_what_one_process_refuses_ends_all_and_is_said_once(tmp_path: Path, words: str, said: str) -> None:
    done = pretrain(tmp_path, *TORCHRUN, words=(words,))
    assert done.returncode != 0
    assert done.stderr.count(said) == 1
    assert done.stderr.count("moola:") == 1 and "[rank1]: Traceback" not in done.stderr
