"""The log of decisions against a plain list: appends, undos, merges, crashes at any byte, several writers, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moola.errors import DataError, StorageError
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.folding import fold, in_effect
from moola.labels.versions import blacklistings

PEOPLE, WINDOWS, CLASSES = ("ada", "bob", "cyd"), ("w0", "w1"), ("up", "down")


def event(decision: Any = "relabel", window: str = "w0", who: str = "ada", **fields: Any) -> LabelEvent:
    told = {"label": "up"} if decision == "relabel" else {"given": "down"} if decision == "accept" else {}
    return LabelEvent(decision=decision, window_id=window, annotator=who, **{**told, **fields})


def line_of(one: LabelEvent) -> bytes:
    return json.dumps(one.to_json(), ensure_ascii=False).encode() + b"\n"


def plainly(events: list[LabelEvent]) -> dict[str, tuple[Any, ...]]:
    """Window -> label, removed, conflict, notes: the rules once more, without a thought for speed."""

    def counts(one: LabelEvent) -> bool:
        return not any(other.undoes == one.event_id and counts(other) for other in events)

    kept = sorted((one for one in events if counts(one) and one.decision != "undo"), key=lambda one: one.at)
    states: dict[str, tuple[Any, ...]] = {}
    for window in {one.window_id for one in kept}:
        said = {one.annotator: one for one in kept if one.window_id == window and one.decision != "note"}
        verdicts = [one.label or one.given if one.decision in ("accept", "relabel") else None for one in said.values()]
        most = next((verdict for verdict in verdicts if 2 * verdicts.count(verdict) > len(verdicts)), "nobody")
        most = None if any(one.decision == "blacklist" for one in said.values()) else most
        notes = tuple(one.note for one in kept if one.window_id == window and one.note)
        label = None if most in ("nobody", None) else most
        states[window] = (label, bool(verdicts) and most is None, bool(verdicts) and most == "nobody", notes)
    return states


class LogAgainstList(RuleBasedStateMachine):
    """What is confirmed is there, in order and once; the fold of it is the plain one."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.no_power_cut = mock.patch("os.fsync")  # bytes are cut here by hand; waiting for the disk shows nothing
        self.no_power_cut.start()
        self.path = Path(self.folder.name) / "deep" / "events.jsonl"
        self.log, self.model, self.clock = LabelLog(self.path), [], 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.no_power_cut.stop()
            self.folder.cleanup()

    def new(self, decision: Any, window: str, who: str, **fields: Any) -> LabelEvent:
        self.clock += 1
        return event(decision, window, who, at=f"2026-01-01T00:00:00.{self.clock:06d}Z", **fields)

    def draw(self, data: st.DataObject) -> LabelEvent:
        """Any event that a person could make now."""
        who, window = data.draw(st.sampled_from(PEOPLE)), data.draw(st.sampled_from(WINDOWS))
        decision = data.draw(st.sampled_from(["relabel", "accept", "skip", "blacklist", "note", "undo", "undo"]))
        if decision == "undo" and self.model:
            target = data.draw(st.sampled_from(self.model))
            return self.new("undo", target.window_id, who, undoes=target.event_id)
        if decision == "relabel":
            return self.new("relabel", window, who, label=data.draw(st.sampled_from(CLASSES)))
        if decision in ("note", "undo"):
            return self.new("note", window, who, note=data.draw(st.text(min_size=1, max_size=5)))
        return self.new(decision, window, who)

    @rule(data=st.data(), n=st.integers(1, 3))
    def append(self, data: st.DataObject, n: int) -> None:
        fresh = [self.draw(data) for _ in range(n)]
        self.log.append(*fresh)
        self.model += fresh

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        if self.model:
            self.log.append(data.draw(st.sampled_from(self.model)))

    @rule(data=st.data())
    def merge_another_log(self, data: st.DataObject) -> None:
        fresh = self.draw(data)
        other = LabelLog(self.path.with_name(f"{fresh.event_id}.jsonl"))
        other.append(fresh, *self.model[-1:])
        self.log.append(*other.read().events)
        self.model.append(fresh)

    @rule(data=st.data())
    def crash_at_any_byte(self, data: st.DataObject) -> None:
        lost = self.draw(data)
        line = line_of(lost)
        n = data.draw(st.integers(0, len(line)))
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("ab") as handle:
            handle.write(line[:n])
        self.log = LabelLog(self.path)  # the process that comes after
        self.model += [lost] if n >= len(line) - 1 else []
        torn = self.log.read().torn
        assert torn == ("" if n >= len(line) - 1 else line[:n].decode(errors="replace"))
        kept = self.draw(data)
        self.log.append(kept)
        self.model.append(kept)
        assert LabelLog(self.path).read().torn == ""

    @invariant()
    def the_log_is_the_list(self) -> None:
        if hasattr(self, "log"):
            events = self.log.read().events
            assert list(events) == self.model == list(LabelLog(self.path).read().events)
            states = {w: (s.label, s.removed, s.conflict, s.notes) for w, s in fold(events).items()}
            assert states == plainly(self.model)
            assert fold(reversed(events)) == fold(events)  # the order in which logs are merged does not matter


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(max_examples=15, stateful_step_count=10, deadline=None)

WRITER = """
import sys
from pathlib import Path
from moola.labels.events import LabelEvent, LabelLog
log = LabelLog(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    log.append(LabelEvent(decision="note", window_id=f"w{number}", annotator=sys.argv[2], note="n" * 200))
    print(number, flush=True)
"""


def test_two_processes_append_at_once_while_a_third_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def writer(name: str, n: int) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, name, str(n)], stdout=subprocess.PIPE, text=True, env=environment)

    killed, *others = writer("killed", 10**6), writer("ada", 20), writer("bob", 20)
    assert killed.stdout is not None
    for _ in range(5):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    confirmed = 5 + len(killed.communicate()[0].splitlines())
    for other in others:
        other.communicate()
        assert other.returncode == 0
    LabelLog(path).append(event(who="cyd"))
    events = LabelLog(path).read().events
    said = {who: [one.window_id for one in events if one.annotator == who] for who in ("ada", "bob", "killed")}
    assert said["ada"] == said["bob"] == [f"w{number}" for number in range(20)]
    assert confirmed <= len(said["killed"]) <= confirmed + 1
    assert path.read_bytes().count(b"\n") == len(events)


def test_reading_goes_on_where_it_ended_also_when_another_file_takes_the_name(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader, one, two = LabelLog(path), event(), event(window="w1")
    assert reader.read().events == ()
    LabelLog(path).append(one)
    assert reader.read().events == (one,)
    LabelLog(path).append(two)
    assert reader.read().events == (one, two)
    path.unlink()
    LabelLog(path).append(two)
    assert reader.read().events == (two,)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"\x00\x01", "line 2"),
        (b"[]", "it is no JSON object"),
        (b'{"version": 0}', "version: 0; this moola knows version 1"),
        (line_of(event()).replace(b"decision", b"decission")[:-1], "did you mean 'decision'"),
        (line_of(event(at="2026-01-01T00:00:00Z")).replace(b"2026-01", b"2026-99")[:-1], "no time in ISO 8601"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_written(line: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line_of(event()) + line + b"\n" + line_of(event()))
    before = path.read_bytes()
    for act in (LabelLog(path).read, lambda: LabelLog(path).append(event())):
        with pytest.raises(StorageError, match="line 2") as caught:
            act()
        assert told in caught.value.spoken() and "bring back a copy" in caught.value.way_out
    assert path.read_bytes() == before


def test_what_a_full_disk_refuses_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LabelLog(tmp_path / "events.jsonl")
    log.append(event())
    before = log.path.read_bytes()
    write = os.write

    def half(descriptor: int, content: bytes) -> int:
        if len(content) < 300:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            log.append(event(window="w1"), event(window="w2"))
    assert log.path.read_bytes() == before
    log.append(event(window="w1"))
    assert [one.window_id for one in LabelLog(log.path).read().events] == ["w0", "w1"]


def test_an_event_that_was_read_outlives_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, one, two = tmp_path / "events.jsonl", event(), event(window="w1")
    path.write_bytes(line_of(one) + line_of(two)[:-1])
    assert LabelLog(path).read().events == (one, two)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            LabelLog(path).append(event(window="w2"))
    assert LabelLog(path).read().events == (one, two)
    LabelLog(path).append(two)  # whoever sends it again is told that it is on disk: it is whole by then
    assert path.read_bytes() == line_of(one) + line_of(two)


def test_all_that_makes_no_sense_is_told_in_one_go() -> None:
    with pytest.raises(DataError) as caught:
        event(label="", who="", start=5, seconds=float("nan"), at="yesterday", first_time="2026-01-01T00:00:00Z")
    told = [line.split(":")[0] for line in caught.value.why.splitlines()]
    assert told == ["- annotator", "- to", "- start, end", "- seconds", "- first_time, last_time", "- at"]


def test_an_undo_of_another_window_or_in_a_circle_does_nothing() -> None:
    one = event()
    elsewhere = event("undo", "w1", undoes=one.event_id)
    assert in_effect([one, elsewhere])[0] == one
    circle = [event("undo", event_id="a", undoes="b"), event("undo", event_id="b", undoes="a")]
    assert in_effect([*circle, one]) == [one]


def test_two_who_differ_leave_the_label_until_one_yields_or_a_third_decides() -> None:
    first, second = event(label="up"), event(label="down", who="bob")
    differ = fold([first, second])["w0"]
    assert differ.conflict and differ.label is None and differ.annotators == {"ada": "up", "bob": "down"}
    yields = fold([first, second, event(label="up", who="bob")])["w0"]
    assert not yields.conflict and yields.label == "up"
    third = fold([first, second, event("skip", who="cyd")])["w0"]
    assert third.conflict
    third = fold([first, second, event(label="down", who="cyd", start=3, end=9)])["w0"]
    assert (third.conflict, third.label, third.start, third.end) == (False, "down", 3, 9)


def test_who_skips_does_not_soften_who_blacklists() -> None:
    state = fold([event("blacklist"), event("skip", who="bob")])["w0"]
    assert state.removed and state.decision == "blacklist"
    assert fold([event("blacklist"), event("skip")])["w0"].decision == "skip"  # the same person, later


def test_a_blacklisting_holds_until_its_own_author_takes_it_back() -> None:
    rejected = event("blacklist", first_time="2026-01-01T00:00:00Z", last_time="2026-01-01T00:01:00Z", series="s")
    others = [event(label="up", who="bob"), event(label="up", who="cyd")]
    state = fold([rejected, *others])["w0"]
    assert (state.decision, state.removed, state.conflict, state.label) == ("blacklist", True, False, None)
    assert (state.series, state.first_time) == ("s", rejected.first_time) and len(state.annotators) == 3
    assert blacklistings([rejected, *others]) == [rejected]
    assert fold([rejected, *others, event("undo", undoes=rejected.event_id)])["w0"].label == "up"
    assert fold([rejected, *others, event(label="up")])["w0"].label == "up"
    second = event("blacklist", who="bob", note="a holiday")
    assert blacklistings([second, rejected, event("accept")]) == [second]  # the one that still holds


def test_a_log_of_a_newer_moola_is_no_damage_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = line_of(event()).replace(b'"version": 1', b'"version": 2, "mood": "good"')
    for content in (line_of(event()) + newer, newer[:-1]):  # a line without its end is no torn one either
        path.write_bytes(content)
        for act in (LabelLog(path).read, lambda: LabelLog(path).append(event())):
            with pytest.raises(StorageError, match="a newer moola") as caught:
                act()
            assert "update moola" in caught.value.way_out and "delete" not in caught.value.way_out
        assert path.read_bytes() == content


def test_blank_lines_decide_nothing(tmp_path: Path) -> None:
    path, one, two = tmp_path / "events.jsonl", event(), event(window="w1")
    path.write_bytes(b"\n" + line_of(one) + b"\n \r\n" + line_of(two) + b"\n  ")
    content = LabelLog(path).read()
    assert (content.events, content.torn) == ((one, two), "")
    LabelLog(path).append(event(window="w2"))
    assert len(LabelLog(path).read().events) == 3


def test_a_place_that_takes_no_log_is_told() -> None:
    with pytest.raises(StorageError, match="no log can be made at /proc/log") as caught:
        LabelLog(Path("/proc/log.jsonl")).append(event())
    assert caught.value.way_out
