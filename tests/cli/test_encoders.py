"""`moola encoders`, and a run that uses an encoder of another one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

NAME = "bilstm_path_mae_4d_v1"
WINDOWS = ("debug=fast", "data.symbols=[sp500]", "data.window.stride_bars=5")
NO_MODELS = ("~model.scratch", "~model.pretrained_probe")


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    return [*tiny, "seeds=[0,1]"]


@pytest.fixture(scope="module")
def pretrained(make_moola, words):
    """Two pretrainings: one of two seeds, and another of the same kind."""
    moola = make_moola()
    first = moola("pretrain", *words)
    assert first.code == 0, first.err
    assert f"the encoder is named {NAME}" in first.err
    assert moola("pretrain", *words, "trainer.pretrain.lr=0.003").code == 0
    return moola


def listed(moola) -> list[dict]:
    return json.loads(moola("encoders", "ls", "--json").out)


def refused(done, code: int, *parts: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err, f"{part!r} is not in:\n{done.err}"


def test_every_pretraining_has_a_name_and_the_same_one_keeps_it(pretrained, words):
    assert [one["name"] for one in listed(pretrained)] == [NAME, "bilstm_path_mae_4d_v2"]
    again = pretrained("pretrain", *words)
    assert f"the encoder is named {NAME}: " in again.err
    assert len(listed(pretrained)) == 2
    room = pretrained.folder / "artifacts/encoders/pretrained"
    assert sorted(path.name for path in (room / NAME).iterdir()) == [
        "encoder-seed0.safetensors",
        "encoder-seed1.safetensors",
        "encoder.json",
        "history-seed0.json",
        "history-seed1.json",
        "reconstructions.safetensors",
    ]
    assert pretrained("layout", "check").code == 0


def test_ls_and_show_tell_what_the_run_made(pretrained):
    line = listed(pretrained)[0]
    assert (line["encoder"], line["objective"], line["inputs"], line["seeds"]) == (
        "bilstm",
        "mixture",
        4,
        [0, 1],
    )
    assert NAME in pretrained("encoders", "ls").out
    record = json.loads(pretrained("encoders", "show", NAME, "--json").out)
    run = json.loads(
        (Path(pretrained.folder) / "artifacts/results" / record["lineage"]["run_id"] / "manifest.json").read_text()
    )
    stages = {stage["stage"]: stage for stage in run["stages"]}
    assert record["lineage"]["content"] == stages["pretrain"]["digest"]
    assert record["lineage"]["splits"] == stages["splits"]["digest"]
    assert record["lineage"]["last_time"] < "2013-01-01"
    shown = pretrained("encoders", "show", NAME).out
    for part in ("hidden=8", "level_close", "val_copy_last", "val_mean", record["lineage"]["run_id"]):
        assert part in shown
    assert re.search(r"^ +objective: masked_autoencoder\s+\(mask=patch,\s+ratio=0.333333,", shown, re.MULTILINE)
    assert re.search(r"^ +seed 0 +seed 1\nepoch +2 +2$", shown, re.MULTILINE)
    assert not re.search(r"[{}']|moola\.\w+\.", shown), "what Python and files call it"


def test_show_keeps_to_the_width_of_the_terminal_and_loses_no_word(pretrained, monkeypatch):
    from moola.commands.encoder_lines import fact_lines
    from moola.encoders.record import read_record

    record = read_record(pretrained.folder / "artifacts/encoders/pretrained" / NAME)
    monkeypatch.setenv("COLUMNS", "300")
    wide = fact_lines(record)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = fact_lines(record)
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))
    assert " ".join(narrow).split() == " ".join(wide).split()


def test_embed_writes_what_encoding_by_hand_gives(pretrained):
    import torch

    from moola.data.bar_store import BarStore
    from moola.encoders.loading import load_encoder
    from moola.layout import read_json

    for out in ("v.parquet", "v.npy"):
        done = pretrained("encoders", "embed", NAME, *WINDOWS, "--out", out, "--seed", "1", "--batch", "100")
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == out
        assert "windows/s" in done.out
    table, array = pl.read_parquet(pretrained.folder / "v.parquet"), np.load(pretrained.folder / "v.npy")
    assert table.columns[:5] == ["window_id", "series", "first_time", "last_time", "e0"]
    assert np.array_equal(table[:, 4:].to_numpy(), array)

    ready = load_encoder(NAME, 1, pretrained.folder / "artifacts/encoders/pretrained")
    store = BarStore.open(next((pretrained.folder / "data/processed/unlabeled").glob("ingest-*")))
    for row in (0, 99, 100, len(table) - 1):
        start = int(table["window_id"][row].rpartition("_")[2])
        assert start == 5 * row
        bars = torch.from_numpy(store.values[start : start + 75].copy())[None]
        with torch.no_grad():
            expected = ready.encoder.encode(ready.transform.apply(bars, store.channels))[1][0]
        assert np.allclose(array[row], expected, atol=1e-5)
    assert read_json(pretrained.folder / "artifacts/encoders/pretrained" / NAME / "encoder.json")["seeds"] == [0, 1]


LONGER = ("data.window.visible=80", "data.window.length=110", "data.window.zone=[30,80]")


def test_windows_of_another_length_are_embedded_as_a_run_does_with_a_note(pretrained):
    import torch

    from moola.data.bar_store import BarStore
    from moola.encoders.loading import load_encoder
    from moola.labels.neighbours import Neighbours
    from moola.models.encoder import InputShape

    done = pretrained("encoders", "embed", NAME, *WINDOWS, *LONGER, "--out", "long.npy", "--index")
    assert done.code == 0, done.err
    assert f"note: {NAME} learned from windows of 75 bars in the parts 0 to 29 and 30 to 74 (data.window.v" in done.out
    ready = load_encoder(NAME, None, pretrained.folder / "artifacts/encoders/pretrained")
    ready = ready.for_windows(InputShape(4, 80, ((0, 30), (30, 80))))
    store = BarStore.open(next((pretrained.folder / "data/processed/unlabeled").glob("ingest-*")))
    bars = torch.from_numpy(store.values[:80].copy())[None]
    with torch.no_grad():
        expected = ready.encoder.encode(ready.transform.apply(bars, store.channels))[1][0]
    vectors = np.load(pretrained.folder / "long.npy")
    assert np.allclose(vectors[0], expected, atol=1e-5)
    index = Neighbours.load(pretrained.folder / "long.usearch", [str(number) for number in range(len(vectors))])
    assert index.ids[index.nearest(vectors[7], 1)[0][0]] == "7"


@pytest.mark.parametrize(
    ("asked", "code", "parts"),
    [
        (["embed", "bilstm_paht_mae_4d_v1", "--out", "x.npy"], 2, [f"did you mean '{NAME}'"]),
        (["embed", NAME, "--out", "x.csv"], 2, ["must end in .parquet or .npy"]),
        (["embed", NAME, "--out", "x.npy", "--batch", "0"], 2, ["--batch: 0 must be at least 1"]),
        (["embed", NAME, "--out", "x.parquet", "--index"], 2, ["--index: needs vectors in .npy"]),
        (["embed", NAME, "--out", "x.npy", "--seed", "9"], 2, ["no weights of seed 9; known: 0, 1"]),
        (["embed", NAME, "--out", "x.npy", "--device", "cuda"], 5, ["torch sees no GPU"]),
        (["embed", NAME, "--out", "x.npy", "-m", "data.window.stride_bars=5,9"], 2, ["embed one at a time"]),
        (["embed", NAME, "--out", "x.npy", "sedes=[1]"], 2, ["did you mean 'seeds'"]),
        (["embed", NAME, "--out", "x.npy", "transform=relative"], 2, [f"relative: {NAME} brings its own transform"]),
        (
            ["embed", NAME, "--out", "x.npy", "+encoder.depth=1", "seeds=[7]"],
            2,
            [f"{NAME} is the encoder", "own seeds"],
        ),
        (
            ["embed", NAME, "--out", "x.npy", "~model.scratch"],
            2,
            ["~model.scratch: does not say which", "--seed whose"],
        ),
        (
            ["embed", NAME, "--out", "x.npy", "--artifacts", "no, where"],
            2,
            ["no, where/encoders/pretrained; none", "`moola encoders ls --artifacts '"],
        ),
        (["embed", NAME, "--out", "x.npy", "data=ucr", "data.name=GunPoint"], 3, ["do not fit", "level_open"]),
        (["embed", NAME], 2, ["--out"]),
        (["show", "nothing"], 2, [f"known: {NAME}"]),
        (["export", NAME, "--out", "x.pt"], 2, ["must end in .onnx"]),
        (["lst"], 2, ["did you mean 'ls'?"]),
        (["ls", "--colour"], 2, ["unrecognized arguments: --colour"]),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_no_file(pretrained, asked, code, parts):
    refused(pretrained("encoders", *asked), code, *parts)
    assert not list(pretrained.folder.glob("*x.*"))


def test_a_file_that_does_not_fit_the_disk_leaves_nothing(pretrained):
    done = pretrained("encoders", "embed", NAME, *WINDOWS, "--out", "big.npy", file_bytes=64 * 1024)
    refused(done, 4, "--out: big.npy: File too large\n  -> lift", "give a file on another disk with --out\n")
    assert not list(pretrained.folder.glob("*big*"))


def test_an_encoder_that_cannot_be_used_is_listed_as_broken_with_the_reason_among_the_others(
    pretrained, make_moola, tmp_path
):
    import shutil

    room = tmp_path / "artifacts/encoders/pretrained"
    shutil.copytree(pretrained.folder / "artifacts/encoders/pretrained", room)
    path = room / NAME / "encoder.json"
    path.write_text(path.read_text().replace('"hidden": 8', '"hidden": 9'))
    shutil.copytree(room / NAME, room / "a_v1")
    (room / "a_v1/encoder.json").write_text("{")
    moola = make_moola(tmp_path)
    done = moola("encoders", "ls")
    refused(done, 0, f"{NAME}/encoder.json cannot be used\n  it was changed", "a_v1/encoder.json", "it is not JSON")
    _, *rows = (row.split() for row in done.out.splitlines())
    assert [row[:2] for row in rows] == [["a_v1", "broken"], [NAME, "broken"], ["bilstm_path_mae_4d_v2", "bilstm"]]
    assert [bool(one["broken"]) for one in listed(moola)] == [True, True, False]
    refused(moola("encoders", "show", NAME), 4, "another digest")


def test_damaged_weights_are_told_by_ls_and_show_and_mended_by_the_pretraining_that_made_them(pretrained, words):
    folder = pretrained.folder / "artifacts/encoders/pretrained" / NAME
    weights = folder / "encoder-seed0.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-8] + bytes(8))
    (folder / "history-seed1.json").unlink()
    done = pretrained("encoders", "ls")
    refused(done, 0, "encoder-seed0.safetensors: is not what was written", "history-seed1.json: is missing")
    assert [bool(one["broken"]) for one in listed(pretrained)] == [True, False]
    done = pretrained("encoders", "show", NAME)
    refused(done, 4, "encoder-seed0.safetensors: is not what was written", "-> put the files back, or run the pre")
    assert "hidden=8" in done.out
    again = pretrained("pretrain", *words)
    assert f"encoder-seed0.safetensors, history-seed1.json of {NAME}: not what was published, so copied" in again.err
    assert weights.read_bytes() == sound
    assert pretrained("encoders", "show", NAME).code == 0


def test_a_run_takes_a_named_encoder_in_place_of_pretraining(pretrained, words):
    from safetensors.numpy import load_file

    done = pretrained("run", *words, *NO_MODELS, f"encoder_from={NAME}", "seeds=[1]", "trainer.pretrain.lr=0.5")
    assert done.code == 0, done.err
    stages = {stage["stage"]: stage for stage in json.loads((done.run_folder / "manifest.json").read_text())["stages"]}
    assert "pretrain" not in stages
    assert "no window it learned from overlaps the sealed test" in done.err
    idle = "trainer.pretrain.batch_size=128 trainer.pretrain.lr=0.5"
    assert f"nothing is pretrained, because encoder_from is given: without effect are {idle}\n" in done.err
    folder = Path(stages["adopt_encoder"]["folder"])
    ours = load_file(folder / "encoder-seed1.safetensors")
    theirs = load_file(folder.parent / NAME / "encoder-seed1.safetensors")
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    said = json.loads((folder / "encoder.json").read_text())["adopted"]
    assert (said["name"], said["same_bars"], said["may_have_seen_test"]) == (NAME, True, False)
    assert "finetuned" in (done.run_folder / "metrics.json").read_text()
    probed = json.loads((Path(stages["probe"]["folder"]) / "probe.json").read_text())
    assert str(1) in json.dumps(probed)


@pytest.mark.parametrize(
    ("test_from", "seen", "told"),
    [
        ("2013-01-01", False, "other bars .*; all of it ends before the sealed test begins"),
        ("2010-01-01", True, "other bars .*; not all of it ends before the sealed test begins"),
    ],
)
def test_other_bars_are_said_in_events_artifact_and_report(pretrained, tiny, test_from, seen, told):
    others = [word for word in tiny if not word.startswith("data.symbols")]
    words = (*others, f"encoder_from={NAME}", "data.symbols=[nasdaq]", f"split.test_from={test_from}")
    done = pretrained("run", *words, *NO_MODELS, "stage.skip=[probe,stack,label_issues]")
    assert done.code == 0, done.err
    lines = (done.run_folder / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    adopted = next(event for event in events if event["event"] == "encoder_adopted")
    assert (adopted["same_bars"], adopted["may_have_seen_test"]) == (False, seen)
    assert re.search(told, done.err)
    fired = [alarm["code"] for alarm in json.loads((done.run_folder / "summary.json").read_text())["alarms"]]
    assert ("sealed_test_perhaps_seen" in fired) == seen
    assert ("may have been seen" in (done.run_folder / "report.html").read_text()) == seen


def test_an_encoder_that_has_seen_the_sealed_test_is_refused(pretrained, words):
    done = pretrained("finetune", *words, f"encoder_from={NAME}", "split.test_from=2010-01-01")
    refused(done, 3, f"{NAME} has seen the sealed test", "split.test_from")


def test_a_run_takes_windows_of_another_length_and_says_so_in_log_and_report(pretrained, words):
    done = pretrained("run", *words, *LONGER, *NO_MODELS, f"encoder_from={NAME}", "stage.skip=[stack,label_issues]")
    assert done.code == 0, done.err
    told = f"{NAME} learned from windows of 75 bars"
    assert told in done.err
    assert told in (done.run_folder / "report.html").read_text()


def test_every_difference_of_the_configuration_is_named_before_anything_runs(pretrained, tiny):
    done = pretrained("run", *tiny, f"encoder_from={NAME}", "encoder.hidden=9", "transform=relative", "seeds=[0,5]")
    refused(done, 2, "encoder.hidden: 9 here, 8 in", "transform.name: 'relative' here", "so none for 5", "3 problems")
    assert f"-> give encoder.hidden=8 transform=levels 'seeds=[0]' in place of what contradicts {NAME};" in done.err
    assert "--cfg" not in done.err
    refused(pretrained("pretrain", *tiny, f"encoder_from={NAME}"), 2, "nothing to pretrain")
    refused(pretrained("run", *tiny, "encoder_from=nobody"), 2, "there is no encoder named 'nobody'")
    words = ("data=files", "data.path=x.csv", "data.channels=[a,b]", "transform=standardised")
    done = pretrained("pretrain", *tiny[:1], *words, f"encoder_from={NAME}")
    refused(done, 3, "the data has no channel open, high, low, close; it has a, b", f"do not fit {NAME}")
    done = pretrained("run", *tiny, f"encoder_from={NAME}", "stage.skip=[pretrain]")
    refused(done, 2, "stage.skip leaves out pretrain")


@pytest.mark.parametrize("command", [("embed", ".npy"), ("export", ".onnx")], ids=lambda command: command[0])
def test_a_place_that_takes_no_file_is_refused_before_the_work(pretrained, command):
    verb, ending = command
    (pretrained.folder / "afile").write_text("")
    (pretrained.folder / f"afolder{ending}").mkdir(exist_ok=True)
    for out, said in ((f"afile/x{ending}", "cannot be made"), (f"afolder{ending}", "is a folder")):
        refused(
            pretrained("encoders", verb, NAME, "--out", out), 4, f"--out: {'the folder ' if '/' in out else ''}", said
        )
