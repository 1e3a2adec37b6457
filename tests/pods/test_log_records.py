"""What of a pod's log is believed, and that no line of it stops or fools who reads along."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.commands.pod_commands import logs
from moola.commands.pod_commands.run_options import Speaker, report, tell_aside
from moola.commands.pod_commands.tables import print_table
from moola.pods.attaching import LogCopy
from moola.pods.log_records import STRANGE, log_line, read_record
from moola.pods.provider import LocalTarget, PodError
from moola.pods.running import Ended
from moola.pods.session import PodShell, RunOnPod, open_shell
from moola.pods.wire import Answer, LocalConnection, RemoteError

GOOD = {"n": 1, "at": "2026-06-01T12:00:00.000Z", "step": "job", "text": "step 1"}
STRANGE_LINES = [
    "",
    "no JSON",
    '"a string"',
    "[1]",
    "null",
    "[" * 100_000,
    '{"n": 1, "at": "2026-06-01T12:00:00Z", "step": "job"}',
    json.dumps({**GOOD, "text": ["x"]}),
    json.dumps({**GOOD, "step": {}}),
    json.dumps({**GOOD, "at": "yesterday"}),
    json.dumps({**GOOD, "at": "2026-06-01T12:00:00"}),
    json.dumps({**GOOD, "n": "1"}),
    "9" * 5000,
]


@pytest.mark.parametrize("line", STRANGE_LINES)
def test_a_line_that_no_supervisor_writes_is_shown_as_it_is(line: str, tmp_path: Path) -> None:
    assert read_record(line) == {"n": 0, "at": "", "step": STRANGE, "text": line}
    copy = LogCopy(tmp_path / "logs" / "pod.jsonl")
    lines = [json.dumps(GOOD), line, json.dumps(GOOD)]
    size = sum(len(one) + 1 for one in lines)
    assert [one["step"] for one in copy.add(lines, 0, size)] == ["job", STRANGE, "job"]
    assert copy.size == size
    assert [one["step"] for one in copy.records()] == ["job", STRANGE, "job"]


@given(st.text())
def test_whatever_a_line_holds_it_is_one_line_on_the_terminal(line: str) -> None:
    shown = log_line(read_record(line))
    assert len(shown.splitlines() or [""]) == 1 and "\x1b" not in shown


def test_a_run_cannot_act_on_the_terminal_of_who_reads_along(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r"
    Speaker().show({**GOOD, "step": f"j{evil}", "text": f"a{evil}\nmoola: all is well\tx"})
    Speaker().tell(f"its sshd says {evil}\nguard armed on the pod\n  more")
    tell_aside(evil)
    print_table(("GPU", "where"), [(f"RTX{evil}\n", "EU")])
    report(Ended("run", f"failed{evil}", f"why{evil}\nfinished", seconds={f"step {evil}": 1.0}), as_json=False)
    told = capsys.readouterr()
    assert not {"\x1b", "\x07", "\r"} & set(told.out + told.err)
    assert not [line for line in told.out.splitlines() if line.startswith(("moola", "guard", "finished"))]
    assert "\\x1b]52" in told.err and "\tx" in told.out and "\n  more" in told.out


def test_logs_show_strange_lines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = LogCopy(tmp_path / "artifacts" / "runpod_results" / "demo-1" / "logs" / "pod.jsonl")
    lines = [json.dumps(GOOD), "torn \x1b[2J", json.dumps(GOOD)]
    copy.add(lines, 0, sum(len(one) + 1 for one in lines))
    gone = PodError("there is no pod")
    run = argparse.Namespace(
        folder=copy.path.parents[1], find=lambda: None, what_became=lambda: gone, close=lambda: None
    )
    monkeypatch.setattr(logs, "reopened", lambda *_: run)
    assert logs.main(["demo-1"]) == 0
    shown = ["        job | step 1", "          ? | torn \\x1b[2J", "        job | step 1"]
    assert capsys.readouterr().out.splitlines() == shown


class Answering:
    """A pod that gives one answer to everything."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def request(self, *_: Any, **__: Any) -> Answer:
        return Answer(self.value, 0.0, 0.0)


def on_pod(value: Any) -> RunOnPod:
    return RunOnPod(PodShell(Answering(value), "root", "python3", {}, 0.0), "demo-1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [{}, {"lines": "x", "offset": 1, "size": 1}, {"lines": [1], "offset": 1, "size": 1}, {"lines": [], "offset": "1"}],
)
def test_an_answer_about_the_log_that_makes_no_sense_is_told(answer: Any) -> None:
    with pytest.raises(RemoteError, match="makes no sense: its log"):
        on_pod(answer).tail(0, 0.0)


@pytest.mark.parametrize(
    "status",
    [
        [1],
        "waiting",
        {"phase": 1},
        {"phase": "waiting", "outcome": ["finished"]},
        {"why": None},
        {"steps": [1]},
        {"steps": {"job": 1}},
        {"steps": {"job": {"seconds": "1"}}},
        {"steps": {"job": {"exit_code": "1"}}},
        {"armed": {"armed": "yes", "because": ""}},
    ],
)
def test_a_status_that_makes_no_sense_is_told(status: Any) -> None:
    with pytest.raises(RemoteError, match="its word about the run"):
        on_pod({"value": status}).status()


def test_a_pod_that_says_nothing_of_itself_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalConnection, "request", lambda *_, **__: Answer({"root": 1, "time": 2}, 0.0, 0.0))
    with pytest.raises(RemoteError, match="what it says of itself") as caught:
        open_shell(LocalTarget(tmp_path), root="", python="python3")
    assert caught.value.why.startswith("root in")
