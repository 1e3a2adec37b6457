"""Reports and comparisons of real runs, through the command."""

from __future__ import annotations

import html
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from moola.cli import main
from moola.pipelines.results import FinishedRun, open_run
from moola.pipelines.run_table import NoFigureError, tabulate_runs
from moola.pipelines.sweep_record import Point, PointState, Sweep, write_state
from moola.sweeps.table import tabulate_sweep

SCRIPTS = Path(__file__).parents[2] / "scripts" / "evaluation"


def script(monkeypatch: pytest.MonkeyPatch, name: str, *words: object) -> int:
    """The exit code of a script."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="session")
def second(finished, make_moola, tiny):
    """Another run beside `finished`, of which only the page and one model differ; with pictures as PNG."""
    again = make_moola(finished.folder)(
        "run", *tiny, "stage.report.png=true", "model.logistic_regression.c=0.01", "stage.skip=[label_issues]"
    )
    assert again.code == 0, again.err
    return again


def test_every_picture_of_the_page_is_a_file_and_tables_are_too(finished, second):
    page = (second.run_folder / "report.html").read_text()
    pictures = {path.name for path in (second.run_folder / "pictures").iterdir()}
    stems = {name.partition(".")[0] for name in pictures}
    assert pictures == {f"{stem}.{ending}" for stem in stems for ending in ("svg", "png")}
    assert {"leaderboard", "confusion", "calibration-01", "label-efficiency", "loss", "embedding-01"} <= stems
    assert re.search(r"Labels as given: \w+: \d+, \w+: \d+\.", page) and "1 seed (0)" in page
    assert page.count("<svg") == len(stems) and "not run: label_issues was switched off" in page
    for path in (second.run_folder / "pictures").glob("*.svg"):
        ElementTree.fromstring(path.read_text())
    assert (second.run_folder / "pictures" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list((finished.run_folder / "pictures").glob("*.png"))
    assert {"comparisons.csv", "confusion.csv", "costs.csv", "stages.csv"} <= {
        path.name for path in (second.run_folder / "tables").iterdir()
    }


def test_runs_without_a_chosen_model_are_told_with_the_reason_of_their_verdict(finished, monkeypatch, tmp_path):
    verdict = ("", "No best model can be named, because no model other than controls and baselines was run.", "")
    monkeypatch.setattr(FinishedRun, "chosen", None)
    monkeypatch.setattr(FinishedRun, "verdict", verdict)
    name = finished.run_folder.name
    told = f"{name}: no model was chosen (no model other than controls and baselines was run; --model NAME shows one: "
    with pytest.raises(NoFigureError, match=re.escape(told)):
        tabulate_runs([open_run(finished.run_folder)], split="oof")
    sweep = Sweep(tmp_path, "run", "moola", "", (), (Point(0, (), name),))
    write_state(tmp_path, PointState(0, "finished", str(finished.run_folder)))
    notes = tabulate_sweep(sweep).text().splitlines()[2:]
    assert [note.startswith(f"no figure of {told}") for note in notes] == [True]


def test_a_table_is_written_into_no_new_folder(tmp_path, capsys):
    assert main(["compare", "a", "b", "--csv", str(tmp_path / "no" / "x.csv")]) == 4
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_commands_on_the_page_repeat_the_run(finished, make_moola):
    page = (finished.run_folder / "report.html").read_text()
    (block,) = re.findall(r"<pre>(.*?)</pre>", page, flags=re.DOTALL)
    reuse, anew = [shlex.split(line) for line in html.unescape(block).split("\n") if line.startswith("moola")]
    assert anew == [*reuse, "--force"] and reuse[0] == "moola"
    again = make_moola(finished.folder)(*reuse[1:])
    assert again.run_folder == finished.run_folder
    assert "reused" in again.err and "done in" not in again.err


def test_two_runs_give_a_page_whose_path_is_the_last_line_and_need_no_torch(finished, second):
    words = ["compare", finished.run_folder.name, str(second.run_folder), "--artifacts", "artifacts"]
    program = f"""
import sys
from moola.cli import main
code = main({words!r})
print("torch" in sys.modules, file=sys.stderr)
raise SystemExit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=finished.folder, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "False"
    path = done.stdout.splitlines()[-1]
    assert path.endswith("compare.html")
    assert "model.logistic_regression.c" in done.stdout and "the same predictions" in done.stdout
    with open(path) as page:
        assert re.search(r"\d+ runs have opened the sealed test", page.read())


def test_a_table_is_printed_as_text_json_and_csv(finished, second, tmp_path, capsys):
    runs = [str(finished.run_folder), str(second.run_folder)]
    assert main(["compare", *runs, "--model", "logistic_regression", "--csv", str(tmp_path / "table.csv")]) == 0
    shown = capsys.readouterr()
    assert finished.run_folder.name in shown.out and "runs have opened the sealed test" in shown.err
    assert (tmp_path / "table.csv").read_text().count("\n") == 3
    assert main(["compare", *runs, "--split", "oof", "--model", "scratch", "--json"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2 and "beware" not in shown.err


def test_a_run_that_is_not_there_is_answered_with_the_near_one(finished, capsys):
    artifacts = str(finished.run_folder.parents[1])
    assert main(["compare", finished.run_folder.name[:-1] + "x", "--artifacts", artifacts]) == 3
    assert f"did you mean '{finished.run_folder.name}'" in capsys.readouterr().err


def test_one_of_two_runs_that_was_edited_is_an_error_and_no_table_of_the_other(finished, second, tmp_path, capsys):
    edited = tmp_path / "edited"
    shutil.copytree(second.run_folder, edited)
    rows = json.loads((edited / "metrics.json").read_text())
    (edited / "metrics.json").write_text(json.dumps([row | {"value": 1.0} for row in rows]))
    assert main(["compare", str(finished.run_folder), str(edited)]) == 4
    shown = capsys.readouterr()
    assert "metrics.json is not what was written" in shown.err and not shown.out
    assert main(["compare", str(edited)]) == 4


def test_a_run_against_itself_is_told_to_be_one_run(finished, capsys):
    run = finished.run_folder
    assert main(["compare", str(run), run.name, "--artifacts", str(run.parents[1])]) == 3
    shown = capsys.readouterr()
    assert "moola: these are 2 names of one run" in shown.err and not shown.out


def test_the_paired_differences_are_a_csv_file_too(finished, second, tmp_path, capsys):
    runs = [str(finished.run_folder), str(second.run_folder)]
    page, table = tmp_path / "pages" / "two.html", tmp_path / "pairs.csv"
    assert main(["compare", *runs, "--csv", str(table), "--page", str(page)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(page) and "A minus B" in page.read_text()
    pairs = pl.read_csv(table)
    assert {"split", "a", "b", "difference_value", "difference_low", "p_adjusted", "outcome"} <= set(pairs.columns)
    assert "the same predictions" in pairs["outcome"] and set(pairs["split"]) == {"oof", "test"}


def test_figures_are_shown_though_the_page_or_the_table_cannot_be_written(finished, second, tmp_path, capsys):
    runs = [str(finished.run_folder), str(second.run_folder)]
    for words in (["--page", str(tmp_path)], ["--csv", str(tmp_path)], ["--split", "oof", "--csv", str(tmp_path)]):
        assert main(["compare", *runs, *words]) == 4
        shown = capsys.readouterr()
        assert finished.run_folder.name in shown.out and str(tmp_path) in shown.err
        assert "Traceback" not in shown.err and "paths.artifacts" not in shown.err


def test_a_model_that_no_run_has_is_answered_with_the_near_one(finished, second, capsys):
    runs = [str(finished.run_folder), str(second.run_folder)]
    assert main(["compare", *runs, "--model", "scrtach"]) == 3
    what, why = capsys.readouterr().err.splitlines()[:2]
    assert what == "moola: no run has a model 'scrtach' on 'test'" and why.startswith("  did you mean 'scratch'")


def test_scripts_tell_where_they_cannot_write(finished, tmp_path, capsys, monkeypatch):
    results = finished.run_folder.parent
    assert script(monkeypatch, "aggregate_results.py", results, "--csv", tmp_path / "new" / "all.csv") == 0
    assert finished.run_folder.name in set(pl.read_csv(tmp_path / "new" / "all.csv")["run_id"])
    assert script(monkeypatch, "aggregate_results.py", results, "--csv", tmp_path) == 4
    assert f"moola: {tmp_path}: Is a directory" in capsys.readouterr().err
    words = ("diagnose_transfer_learning.py", finished.run_folder, "--json", tmp_path)
    assert script(monkeypatch, *words) == 4
    shown = capsys.readouterr()
    assert "linear probe" in shown.out and f"moola: {tmp_path}: Is a directory" in shown.err
    assert "paths." not in shown.err
