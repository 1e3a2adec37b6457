"""Every shipped experiment runs, as small as it goes; and what the other debug presets find out."""

from __future__ import annotations

import gzip
import json

import pytest

from moola.config import config_folder

EXPERIMENTS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
SMALL = ("data.symbols=[sp500]", "data.window.stride_bars=10", "task.n_given=40", "task.n_flipped=0")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_runs_from_bars_to_report_with_a_tiny_budget(make_moola, tmp_path_factory, name):
    done = make_moola(tmp_path_factory.getbasetemp())("run", f"experiment={name}", "debug=fast")
    assert done.run_folder.name.startswith("debug-fast-")
    assert (done.run_folder / "report.html").stat().st_size
    rows = json.loads((done.run_folder / "metrics.json").read_text())
    assert {"finetuned", "scratch", "majority"} <= {row["model"] for row in rows}


@pytest.fixture(scope="module")
def small(make_moola):
    """Commands in one folder, so that bars and windows are made once."""
    return make_moola()


@pytest.mark.slow
def test_overfit_finds_that_the_encoder_can_learn_and_says_how_well(small):
    done = small("run", "debug=overfit", *SMALL, "encoder=bilstm_8x1", "stage.overfit.steps=60")
    assert "windows learned by heart: training error 0.000" in done.err
    found = json.loads((done.run_folder / "overfit.json").read_text())
    assert (found["windows"], found["error"]) == (16, 0.0)
    assert found["log_loss"] <= 0.1


def test_overfit_ends_with_a_code_and_says_why_where_nothing_is_learned(small):
    words = ("encoder=bilstm_8x1", "stage.overfit.steps=20", "stage.overfit.windows=999", "trainer.finetune.lr=1e-9")
    done = small("run", "debug=overfit", *SMALL, *words)
    assert done.code == 1
    assert "stage.overfit.windows=999: only 40 windows have labels, all are taken" in done.err
    assert "the encoder cannot learn 40 windows by heart" in done.err
    assert "look at the learning rate (trainer.finetune.lr=1e-09)" in done.err
    assert "Traceback" not in done.err
    [manifest] = [
        path for path in small.folder.glob("artifacts/results/*/manifest.json") if "failed" in path.read_text()
    ]
    assert json.loads(manifest.read_text())["error"].startswith("NotLearnedError")


@pytest.mark.slow
def test_profile_writes_a_trace_and_the_slowest_operations_and_says_where(small):
    done = small("pretrain", "debug=profile", *SMALL, "encoder=bilstm_8x1")
    folder = done.run_folder / "profile"
    assert f"profile of the training steps: {folder / 'slowest.txt'}" in done.err
    assert "USDT" not in done.err  # the profiler's own lines
    table = (folder / "slowest.txt").read_text()
    assert "Self CPU %" in table and "aten::" in table
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    assert {"ProfilerStep#2"} <= {event["name"] for event in events if "ProfilerStep" in event["name"]}
    assert {path.name for path in folder.iterdir()} == {"slowest.txt", "trace.json.gz"}


@pytest.mark.slow
def test_cpu_gives_the_same_bits_in_two_processes(small):
    words = ("debug=cpu", *SMALL, "encoder=bilstm_8x1", "paths.artifacts=")
    ours, theirs = (small("pretrain", *words[:-1], f"{words[-1]}{name}") for name in ("one", "two"))
    assert ours.run_folder != theirs.run_folder
    weights = [
        next(run.folder.glob(f"{name}/encoders/pretrained/*/encoder-seed0.safetensors"))
        for run, name in ((ours, "one"), (theirs, "two"))
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()
