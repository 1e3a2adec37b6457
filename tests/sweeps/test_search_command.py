"""The command: what it refuses before anything starts, what it leaves, and that its winner runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moola.commands import search as command
from moola.commands.jobs import main as job
from moola.errors import EXIT_DATA, ConfigError, MoolaError, StorageError
from moola.layout import read_json
from moola.sweeps.search import folder as folder_module
from moola.sweeps.search.base import compose_words
from moola.sweeps.search.locks import locked
from moola.sweeps.search.study import study_id
from moola.sweeps.search.winner import write_winner
from moola.tracking.delivery import JOURNAL_ONLY
from moola.tracking.journal import read_calls
from moola.tracking.tracker import Tracker

pytest.importorskip("optuna")


@pytest.fixture
def no_handlers():
    """Signals as they were: the command catches them in a process of its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as raised:
        command.main(list(words))
    return str(raised.value)


def test_every_wrong_key_and_range_of_a_space_is_told_before_anything_starts(tmp_path: Path):
    (tmp_path / "search").mkdir()
    space = {
        "model.logistic_regression.cc": {"type": "float", "low": 1, "high": 2},
        "model.random_forest": {"type": "int", "low": 1, "high": 2},
        "modle.random_forest.trees": {"type": "int", "low": 1, "high": 2},
        "task.n_given": {"type": "int", "low": 1, "high": 2},
    }
    (tmp_path / "search" / "wrong.yaml").write_text(json.dumps({"name": "w", "model": "majority", "space": space}))
    told = refused("--config-dir", str(tmp_path), "search=wrong", f"paths.artifacts={tmp_path}/artifacts")
    assert "did you mean 'model.logistic_regression.c'" in told
    assert "model.random_forest: is a section" in told
    assert "did you mean 'model.random_forest.trees'" in told
    assert "task.n_given: changes what trials are judged on" in told
    assert not (tmp_path / "artifacts").exists()


def test_words_that_make_no_search_are_refused_as_they_were_typed():
    assert "lss: is no command of `moola search`, and no KEY=VALUE; did you mean 'ls'?" in refused("lss")
    assert "- search: a,b are several values; give one" in refused("search=a,b")
    assert "- search.name: a] cannot be read: Error parsing override 'search.name=" in refused(
        "search=random_forest", "search.name=a]"
    )


def test_a_search_that_is_not_there_is_no_wrong_command(tmp_path: Path):
    for n in range(2):  # without a search, and beside one
        with pytest.raises(MoolaError) as raised:
            command.main(["show", "nope", "--artifacts", str(tmp_path)])
        assert raised.value.exit_code == EXIT_DATA, n
        (tmp_path / "results" / "searches" / "one").mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / "searches" / "one" / "search.json").write_text("{}")


@pytest.mark.slow
def test_ends_that_no_model_allows_are_told_all_at_once():
    told = refused(
        "search=random_forest",
        "search.space.model.random_forest.trees.low=0",
        "search.space.model.random_forest.trees.log=false",
        "search.space.model.random_forest.inputs.choices=[window,sumary]",
    )
    assert "trees: 0 must be at least 1" in told
    assert "did you mean 'summary'" in told


@pytest.mark.slow
@pytest.mark.parametrize("word", ["debug=fast", "trainer.finetune.epochs=10"])
def test_a_range_that_goes_with_every_searched_value_of_another_key_is_allowed(
    word: str, search_of: Callable[..., Any]
):
    assert search_of(["search=finetune", word]).settings.dimensions["model.finetuned.frozen_epochs"].high == 12
    with pytest.raises(ConfigError, match=r"frozen_epochs: 80 is not allowed: .*leaves none of"):
        search_of(["search=finetune", word, "search.space.model.finetuned.frozen_epochs={type:int,low:70,high:80}"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("seeds=[0]",), "search=finetune"),
        (("search=finetun",), "did you mean 'finetune'"),
        (("search=finetune", "search.n_trial=3"), "did you mean 'n_trials'"),
        pytest.param(
            ("search=logistic_regression", "search.model=logistic"),
            "did you mean 'logistic_regression'",
            marks=pytest.mark.slow,
        ),
        (("search=finetune", "-m"), "makes its own runs"),
    ],
)
def test_wrong_words_are_told(words: tuple[str, ...], told: str):
    assert told in refused(*words)


def test_a_run_takes_no_search():
    with pytest.raises(ConfigError, match="speaks of a search") as raised:
        job("run", ["search=finetune"])
    assert "moola search" in raised.value.way_out


@pytest.mark.slow
def test_the_winner_composes_to_what_was_tried(tmp_path: Path, search_of: Callable[..., Any]):
    found = search_of(["search=encoder", "experiment=market", "seeds=[4]", "~model.minirocket"])
    params = {"encoder": "gru_64x1", "trainer.finetune.lr": 0.00123, "model.finetuned.encoder_lr_factor": 0.5}
    for name, base in (("whole", found.base), ("brief", search_of(["search=encoder", "seeds=[4]"]).base)):
        path = write_winner(tmp_path, name, base, params, [("Evidence", "study x in y\nmore"), ("Cost", "none")])
        made = compose_words(["--config-dir", str(tmp_path), f"experiment={name}"])
        assert made is not None
        assert "hidden: 64" in made.text
        assert "lr: 0.00123" in made.text
        assert ("minirocket" in made.text) == (name == "brief")
        assert path.read_text().startswith("# @package _global_\n# Evidence: study x in y\n#           more\n# Cost:")
        assert (len(path.read_text().splitlines()) < 25) == (name == "brief")


def test_a_file_that_no_search_wrote_is_kept(tmp_path: Path, search_of: Callable[..., Any]):
    mine = tmp_path / "experiment" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text("name: mine\n")
    with pytest.raises(MoolaError, match="no search wrote it"):
        write_winner(tmp_path, "mine", search_of(["search=logistic_regression"]).base, {}, [])
    assert mine.read_text() == "name: mine\n"


def test_a_search_leaves_trials_pictures_and_a_winner_and_tells_trackers(
    search_words: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    no_handlers: None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv(*next(iter(JOURNAL_ONLY.items())))
    words = [*search_words(), "search=logistic_regression", "search.n_trials=6", "tracker=tensorboard"]
    artifacts = next(word.partition("=")[2] for word in words if word.startswith("paths.artifacts"))
    assert command.main(words) == 0
    out = capsys.readouterr().out
    folder = Path(artifacts) / "results" / "searches" / "logistic_regression"
    assert out.splitlines()[-1] == str(folder / "experiment" / "logistic_regression.yaml")
    assert "0 default" in out
    assert "too good by the choice" in out
    told, trials = read_json(folder / "search.json"), read_json(folder / "trials.json")
    assert told["trials"] == {"finished": 6}
    assert told["best"]["value"] == max(one["value"] for one in trials)
    assert len((folder / "trials.csv").read_text().splitlines()) == 7
    names = {path.stem for path in (folder / "pictures").iterdir()}
    assert names == {"history", "importance", "parallel_coordinates"}
    assert "<script" not in (folder / "search.html").read_text()
    header = (folder / "experiment" / "logistic_regression.yaml").read_text()
    for part in ("Question:", "Command:", "Expected: Inner:", "Evidence: study logistic_regression", "Found by:"):
        assert part in header
    calls = list(read_calls(folder))
    assert [calls[0].method, calls[-1].method] == ["start", "finish"]
    assert calls[0].arguments["run_id"] == f"logistic_regression-{told['study'][:12]}"
    points = [one.arguments for one in calls if one.method == "log_figures" and one.arguments["series"] == "search"]
    assert [one["step"] for one in points] == list(range(6))
    assert points[-1]["figures"]["best"] == told["best"]["value"]
    assert {one.arguments["name"] for one in calls if one.method == "log_picture"} == {f"pictures/{n}" for n in names}
    curves = {f"{one['series']}/{name}" for one in points for name in one["figures"]}
    [summary] = [
        one.arguments["figures"]
        for one in calls
        if one.method == "log_summary" and "search/trials" in one.arguments["figures"]
    ]
    assert summary["search/best_trial"] == told["best"]["number"]
    assert not curves & set(summary), "a figure of the whole run has the name of no curve"
    assert {"log_table", "log_page", "log_summary", "log_artifact"} <= {one.method for one in calls}
    for one in calls:
        assert not one.missing(folder)
        one.tell(Tracker(), folder)
    assert not list((folder.parents[1]).glob("*/tracking.jsonl"))  # of no trial
    assert command.main(["ls", "--artifacts", artifacts]) == 0
    assert "finished  balanced_accuracy" in capsys.readouterr().out
    assert command.main(["show", "--artifacts", artifacts, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 6
    with pytest.raises(MoolaError, match="did you mean 'logistic_regression'"):
        command.main(["show", "logistic_regresion", "--artifacts", artifacts])
    (folder / "search.json").write_text(
        json.dumps({key: told[key] for key in ("name", "command", "model", "metric")} | {"storage": told["storage"]})
    )
    with locked(folder / ".lock", shared=True):
        assert command.main(["show", "--artifacts", artifacts]) == 0
        assert "under way, 6 finished" in capsys.readouterr().out
    (folder / "search.json").write_text((folder / "search.json").read_text().replace(".journal", ".gone"))
    assert command.main(["ls", "--artifacts", artifacts]) == 0
    assert "interrupted  no balanced_accuracy yet  " in capsys.readouterr().out
    (folder / "search.json").write_text((folder / "search.json").read_text().replace(".gone", ".journal"))
    assert command.main(["ls", "--artifacts", artifacts, "--json"]) == 0
    [known] = json.loads(capsys.readouterr().out)
    assert (known["status"], known["trials"]) == ("interrupted", {"finished": 6})


@pytest.mark.slow
def test_a_finished_search_tries_nothing_more_and_takes_no_other_question(
    search_words: Callable[..., list[str]], no_handlers: None
):
    words = [*search_words(), "search=logistic_regression", "search.n_trials=3"]
    artifacts = next(word.partition("=")[2] for word in words if word.startswith("paths.artifacts"))
    trials = Path(artifacts) / "results" / "searches" / "logistic_regression" / "trials.json"
    assert command.main(words) == 0
    first = read_json(trials)
    assert command.main(words) == 0
    assert read_json(trials) == first
    with pytest.raises(ConfigError, match=r"about something else: search\.metric"):
        command.main([*words, "search.metric=accuracy"])


@pytest.mark.slow
def test_what_another_study_found_is_not_replaced(
    search_words: Callable[..., list[str]], no_handlers: None, tmp_path: Path
):
    words = [*search_words(), "search=logistic_regression", "search.n_trials=2"]
    artifacts = next(word.partition("=")[2] for word in words if word.startswith("paths.artifacts"))
    folder = Path(artifacts) / "results" / "searches" / "logistic_regression"
    assert command.main(words) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.name != "events.jsonl"}
    with pytest.raises(ConfigError) as raised:
        command.main([*words, f"search.storage=sqlite:///{tmp_path}/other.db"])
    told = str(raised.value)
    assert f"sqlite:///{tmp_path}/other.db" in told
    assert "studies/logistic_regression.journal" in told
    assert "search.name=OTHER" in told
    assert {path: path.read_bytes() for path in before} == before
    moved = tmp_path / "moved.log"
    (Path(artifacts) / "metadata" / "studies" / "logistic_regression.journal").rename(moved)
    assert command.main([*words, f"search.storage={moved}"]) == 0, "the same study"
    assert read_json(folder / "search.json")["study"] == json.loads(before[folder / "search.json"])["study"]
    with pytest.raises(ConfigError, match="and this one in"):
        command.main(words)


def test_a_study_is_told_from_another_of_its_name(tmp_path: Path):
    def known(name: str) -> str:
        return study_id(str(tmp_path / name), "found", True)

    assert known("a.log") == known("a.log") != known("b.log")
    (tmp_path / "a.log").rename(tmp_path / "c.log")
    assert known("c.log") != known("a.log"), "which is another one now"


def test_a_journal_makes_no_folder_outside_the_artifacts(
    search_words: Callable[..., list[str]], search_of: Callable[..., Any], tmp_path: Path
):
    words = [*search_words(), "search=logistic_regression"]
    with pytest.raises(StorageError, match="there is no folder"):
        _ = search_of([*words, f"search.storage={tmp_path}/nowhere/in/file.log"]).study_id
    assert not (tmp_path / "nowhere").exists()
    inside = search_of(words).layout.artifacts / "metadata" / "mine" / "file.log"
    assert search_of([*words, f"search.storage={inside}"]).study_id
    assert inside.is_file()


def test_no_password_is_printed_or_kept(capsys: pytest.CaptureFixture[str]):
    url = f"postgresql://{'anna:Sup3rS3cret'}@h/db"
    line = command._without_secrets(["search=x", f"search.storage={url}"], url)
    assert "Sup3rS3cret" not in line
    assert "anna:***@h" in line


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("search.storage=postgresql://anna:Sup3r'S3cret@h/db", "postgresql://anna:Sup3r'S3cret@h/db"),
        ("+search.storage='postgresql://anna:Sup3r\\'S3cret@h/db'", "postgresql://anna:Sup3r'S3cret@h/db"),
        ("search.storage=postgresql://anna:Sup3rS3cret@h/db", None),
        ("search.storage=postgresql://anna:Sup3rS3cret@${oc.env:HOST}/db", "postgresql://anna:Sup3rS3cret@h/db"),
    ],
)
def test_no_password_is_kept_however_it_was_typed(typed: str, url: str | None):
    line = command._without_secrets(["search=x", typed], url)
    assert "S3cret" not in line and "Sup3r" not in line
    assert "anna:***@" in line


def test_the_name_of_a_variable_is_kept():
    words = ["search=x", "search.storage=${oc.env:STUDY_URL}"]
    assert "${oc.env:STUDY_URL}" in command._without_secrets(words, "postgresql://anna:Sup3rS3cret@h/db")


def test_a_server_whose_password_is_not_kept_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_module, "read_records", lambda *_: pytest.fail("it was asked without its password"))
    told = {"name": "x", "storage": "postgresql://anna:***@h/db", "metric": "accuracy"}
    (tmp_path / "search.json").write_text(json.dumps(told))
    assert folder_module.read_search(tmp_path).trials == ()
