"""Reports and comparisons of real runs, through the command."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from moola.cli import main


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
    assert page.count("<svg") == len(stems) and "not run: label_issues was switched off" in page
    for path in (second.run_folder / "pictures").glob("*.svg"):
        ElementTree.fromstring(path.read_text())
    assert (second.run_folder / "pictures" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list((finished.run_folder / "pictures").glob("*.png"))
    assert {"comparisons.csv", "confusion.csv", "costs.csv", "stages.csv"} <= {
        path.name for path in (second.run_folder / "tables").iterdir()
    }


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
