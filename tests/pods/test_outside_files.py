"""Files that a configuration names: found, placed on the pod, counted, and the overrides rewritten for there."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from moola.data.sources.problems import Problems
from moola.errors import ConfigError, DataError
from moola.pods.composed_run import ComposedRun, compose, layout_of, words_of
from moola.pods.outside_files import OutsideFiles, list_outside_files
from moola.pods.rows import count_rows

BARS = "timestamp,open,high,low,close\n" + "".join(f"2024-01-{day:02d},1,2,0,1\n" for day in range(1, 11))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ComposedRun]:
    """Compositions to change, because Hydra takes its time."""
    folder = tmp_path_factory.mktemp("project")
    given = {"files": ["data=files", "data.path=bars.csv"], "market": [], "fetch": ["data=fetch", "data.name=ETTh1"]}
    return {name: compose(words, folder) for name, words in given.items()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    folder.mkdir()
    return folder


def with_values(run: ComposedRun, **values: Any) -> ComposedRun:
    """The same run with ``section__key`` values in place, and as overrides."""
    plain = json.loads(json.dumps(run.plain))
    words = list(run.words)
    for name, value in values.items():
        section, _, key = name.partition("__")
        if key:
            plain[section][key] = value
        else:
            plain[section] = value
        words = [word for word in words if not word.startswith(name.replace("__", ".") + "=")]
        words.append(f"{name.replace('__', '.')}={value}")
    return dataclasses.replace(run, plain=plain, words=tuple(words))


def listed(run: ComposedRun, project: Path) -> tuple[OutsideFiles, list[str]]:
    problems = Problems()
    found = list_outside_files(run, project, layout_of(run, project), problems)
    return found, problems.lines()


def paths(run: ComposedRun, project: Path) -> list[str]:
    found, problems = listed(run, project)
    assert problems == []
    return [file.path for file in found.files]


def digest8(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def put(path: Path, content: str = BARS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_run_on_bundled_bars_names_no_file(base, project):
    found, problems = listed(base["market"], project)
    assert (found.files, dict(found.changes), problems) == ((), {}, [])


def test_a_file_of_the_project_keeps_its_place(base, project):
    put(project / "data/raw/bars.csv")
    run = with_values(base["files"], data__path="data/raw/bars.csv")
    [file] = listed(run, project)[0].files
    assert (file.path, file.rows, file.size) == ("data/raw/bars.csv", 10, len(BARS))
    assert listed(run, project)[0].rewrite(run.words) == run.words


def test_an_absolute_path_into_the_project_becomes_relative(base, project):
    put(project / "bars.csv")
    run = with_values(base["files"], data__path=str(project / "bars.csv"))
    assert paths(run, project) == ["bars.csv"]
    assert listed(run, project)[0].rewrite(run.words) == ("data=files", "data.path=bars.csv")


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("b'a\"r$(s);.csv", False),
        ("bars[1].csv", True),
        *(
            pytest.param(name, relative, marks=pytest.mark.slow)
            for name, relative in [
                ("bars.csv", False),
                ("bars.csv", True),
                ("with blank.csv", False),
                ("with blank.csv", True),
                ("b'a\"r$(s);.csv", True),
                ("bars[1].csv", False),
                ("ünï.csv", False),
                ("ünï.csv", True),
            ]
        ),
    ],
)
def test_a_file_from_elsewhere_travels_under_its_digest(base, project, name, relative):
    put(project.parent / "else" / name)
    value = f"../else/{name}" if relative else str(project.parent / "else" / name)
    run = with_values(base["files"], data__path=value)
    there = f"outside/{digest8(BARS)}/{name}"
    assert paths(run, project) == [there]
    rewritten = listed(run, project)[0].rewrite(run.words)
    put(project / there)
    assert compose(rewritten, project).plain["data"]["path"] == there
    assert str(project.parent) not in " ".join(rewritten)


def test_a_glob_brings_all_that_it_matches_and_goes_on_matching(base, project):
    for name in ("m1.csv", "m2.csv", "other.txt", "deep/m3.csv"):
        put(project.parent / "else" / name)
    run = with_values(base["files"], data__path=str(project.parent / "else" / "m*.csv"))
    found, _ = listed(run, project)
    folder = found.files[0].path.rpartition("/")[0]
    assert [file.path for file in found.files] == [f"{folder}/m1.csv", f"{folder}/m2.csv"]
    assert found.changes == {"data.path": f"{folder}/m*.csv"}


def test_a_glob_in_a_project_whose_own_name_holds_brackets(base, tmp_path):
    project = tmp_path / "p[1]"
    put(project / "data" / "m1.csv")
    run = with_values(base["files"], data__path="data/*.csv")
    assert paths(run, project) == ["data/m1.csv"]


def test_a_link_to_data_is_followed_wherever_it_leads(base, project):
    put(project.parent / "disk" / "bars.csv")
    (project / "data").symlink_to(project.parent / "disk")
    run = with_values(base["files"], data__path="data/bars.csv")
    [file] = listed(run, project)[0].files
    assert (file.path, file.rows) == ("data/bars.csv", 10)


def test_labels_corrections_and_their_log_travel(base, project):
    put(project / "labels.csv", "window_id,label\na,up\n")
    put(project / "data/processed/labeled/v001/events.jsonl", "{}\n")
    put(project / "data/processed/labeled/v001/labels.parquet", "never read")
    put(project / "log.jsonl", "{}\n{}\n")
    run = with_values(base["market"], task__path="labels.csv", task__corrections="data/processed/labeled/v001")
    run.plain["stage"]["label_issues"]["log"] = "log.jsonl"
    found, problems = listed(run, project)
    assert problems == []
    assert {file.path: file.rows for file in found.files} == {
        "data/processed/labeled/v001/events.jsonl": 1,
        "labels.csv": 1,
        "log.jsonl": 2,
    }


def test_bars_without_a_header_say_nothing_about_labels(base, project):
    put(project / "bars.csv", BARS)
    put(project / "labels.csv", "window_id,label\na,up\n")
    run = with_values(base["files"], data__header=False, task__path="labels.csv")
    assert {file.path: file.rows for file in listed(run, project)[0].files} == {"bars.csv": 11, "labels.csv": 1}


def test_a_saved_split_travels_as_its_three_files(base, project):
    for name in ("splits.parquet", "folds.json", "proof.json"):
        put(project.parent / "splits-1" / name, "{}")
    pl.DataFrame({"a": [1, 2]}).write_parquet(project.parent / "splits-1" / "splits.parquet")
    run = with_values(base["market"], split={"name": "saved", "folder": str(project.parent / "splits-1")})
    found, problems = listed(run, project)
    assert problems == []
    assert sorted(file.path.split("/")[-1] for file in found.files) == ["folds.json", "proof.json", "splits.parquet"]
    folder = found.changes["split.folder"]
    assert folder.startswith("outside/")
    assert folder.endswith("/splits-1")
    assert {file.path.rpartition("/")[0] for file in found.files} == {folder}


@pytest.mark.parametrize("place", ["named", "path", "elsewhere"])
def test_a_named_encoder_travels_with_its_files(base, project, place, monkeypatch):
    room = project / "artifacts/encoders/pretrained"
    folder = project.parent / "enc_v1" if place == "elsewhere" else room / "enc_v1"
    put(folder / "encoder.json", "{}")
    put(folder / "encoder-seed0.safetensors", "weights")
    record = type("Record", (), {"files": {"encoder-seed0.safetensors": "0"}})
    monkeypatch.setattr("moola.encoders.record.read_record", lambda folder: record)
    value = {"named": "enc_v1", "path": "artifacts/encoders/pretrained/enc_v1", "elsewhere": str(folder)}[place]
    found, problems = listed(with_values(base["market"], encoder_from=value), project)
    assert problems == []
    there = found.changes.get("encoder_from", "artifacts/encoders/pretrained/enc_v1")
    assert [file.path for file in found.files] == [f"{there}/encoder-seed0.safetensors", f"{there}/encoder.json"]
    assert there.startswith("outside/") == (place == "elsewhere")


def test_an_encoder_that_is_not_there_is_told_with_near_names(base, project):
    put(project / "artifacts/encoders/pretrained/bilstm_mae_4d_v1/encoder.json", "{}")
    _, problems = listed(with_values(base["market"], encoder_from="bilstm_mae_4d_v2"), project)
    assert len(problems) == 1


def test_a_fetched_set_travels_from_the_cache(base, project):
    put(project / "data/raw/unlabeled/fetched/ETTh1/ETTh1.csv")
    assert paths(base["fetch"], project) == ["data/raw/unlabeled/fetched/ETTh1/ETTh1.csv"]
    put(project.parent / "cache/ETTh1/ETTh1.csv")
    run = with_values(base["fetch"], data__cache=str(project.parent / "cache"))
    assert paths(run, project) == ["data/raw/unlabeled/fetched/ETTh1/ETTh1.csv"]
    assert listed(run, project)[0].changes == {"data.cache": "data/raw/unlabeled/fetched"}


def test_keys_of_other_packages_bring_their_files_too(base, project):
    put(project.parent / "dump.bin", "x")
    run = with_values(base["market"], data__dump=str(project.parent / "dump.bin"))
    assert paths(run, project) == [f"outside/{digest8('x')}/dump.bin"]


def test_what_cannot_be_brought_is_told_in_one_go(base, project):
    put(project / "broken.parquet", "PAR")
    (project.parent / "folder").mkdir()
    put(project.parent / "in_list.csv")
    run = with_values(
        base["files"],
        data__path="broken.parquet",
        task__corrections="gone.jsonl",
        data__dump=str(project.parent / "folder"),
        data__several=[str(project.parent / "in_list.csv")],
    )
    lines = "\n".join(listed(run, project)[1])
    assert "data.path: " in lines
    assert "broken.parquet is not what its ending says" in lines
    assert "task.corrections=gone.jsonl: there is no such file" in lines
    assert "is a folder of this machine" in lines
    assert "data.several[0]=" in lines


def test_a_glob_without_a_match_is_told(base, project):
    assert "no file matches" in listed(with_values(base["files"], data__path="*.csv"), project)[1][0]


def test_folders_of_this_machine_become_those_of_the_pod(base, project):
    run = with_values(base["market"], paths__data="/mnt/data", paths__artifacts="out")
    rewritten = listed(run, project)[0].rewrite(run.words)
    assert rewritten == ("paths.data=data", "paths.artifacts=artifacts")


def test_a_key_that_was_added_stays_added_and_one_of_a_preset_is_said_at_the_end():
    changes = OutsideFiles((), {"data.dump": "outside/1/x", "task.path": "outside/2/y"})
    assert changes.rewrite(["+data.dump=/x", "~model.ridge", "seeds=[0]"]) == (
        "+data.dump=outside/1/x",
        "~model.ridge",
        "seeds=[0]",
        "task.path=outside/2/y",
    )


def test_words_are_overrides_and_force_is_one_of_them():
    assert words_of(["seeds=[0]", "--force", "--force=oof"]) == ("seeds=[0]", "force=[all]", "force=[oof]")
    with pytest.raises(ConfigError, match="2 problems"):
        words_of(["-m", "--cfg", "seeds=0"])


def test_composing_leaves_the_working_directory_and_the_command_line(base, project, monkeypatch):
    import sys

    before = (Path.cwd(), list(sys.argv))
    with pytest.raises(ConfigError, match="seed"):
        compose(["sedes=[0]"], project)
    assert before == (Path.cwd(), sys.argv)


def _csv(path: Path) -> None:
    path.write_text("a,b\n1,2\n3,4")


def _gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"a,b\n1,2\n3,4\n"))


def _parquet(path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "b": [2, 4]}).write_parquet(path)


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.csv", _csv), ("a.csv.gz", _gzip), ("a.CSV", _csv), ("a.parquet", _parquet), ("a.tsv", _csv)],
)
def test_rows_are_counted(tmp_path, name, make: Callable[[Path], None]):
    make(tmp_path / name)
    assert count_rows(tmp_path / name) == 2


def test_without_a_header_every_line_is_a_row(tmp_path):
    _csv(tmp_path / "a.csv")
    assert count_rows(tmp_path / "a.csv", header=False) == 3
    (tmp_path / "a.csv").write_text("")
    assert count_rows(tmp_path / "a.csv") == 0
    (tmp_path / "a.jsonl").write_text("{}\n{}\n")
    assert count_rows(tmp_path / "a.jsonl") == 2
    (tmp_path / "a.bin").write_text("x")
    assert count_rows(tmp_path / "a.bin") is None


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz"])
def test_a_broken_table_is_no_table(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match="not what its ending says"):
        count_rows(tmp_path / name)
