"""The journal is the record of what trackers are told: nothing lost, nothing doubled, whatever tears it."""

from __future__ import annotations

import json
import math
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.layout import write_text
from moola.tracking.journal import JOURNAL, Journal, read_calls
from moola.tracking.tracker import TrackedArtifact, TrackedRun, Tracker

POINTS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 30)), unique=True, max_size=20)


class Listener(Tracker):
    """Keeps its arguments as they come."""

    def __init__(self) -> None:
        self.figures: list[tuple[str, int, dict[str, float]]] = []
        self.runs: list[TrackedRun] = []
        self.artifacts: list[TrackedArtifact] = []
        self.pictures: list[Path] = []

    def start(self, run: TrackedRun) -> None:
        self.runs.append(run)

    def log_figures(self, series, step, figures, time_s) -> None:
        self.figures.append((series, step, dict(figures)))

    def log_artifact(self, artifact: TrackedArtifact) -> None:
        self.artifacts.append(artifact)

    def log_picture(self, name, svg, caption) -> None:
        self.pictures.append(svg)


@pytest.fixture
def tiny_disk() -> Iterator[None]:
    """No file of this process may grow beyond 2,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@settings(max_examples=20, deadline=None)
@given(POINTS, st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=4))
def test_whatever_is_torn_off_and_told_again_every_point_is_there_once(
    points: list[tuple[str, int]], kills: list[tuple[int, float]]
) -> None:
    """Each attempt tells the points from some place on; a kill tears the file anywhere behind the attempt before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for told, torn in [*kills, (len(points), 1.0)]:
            journal = Journal(folder)
            before = (folder / JOURNAL).stat().st_size
            for series, step in points[:told]:
                journal.append("log_figures", series=series, step=step, figures={"x": step}, time_s=0.0)
            journal.close()
            content = (folder / JOURNAL).read_bytes()
            (folder / JOURNAL).write_bytes(content[: before + round(torn * (len(content) - before))])
        calls = list(read_calls(folder))
        found = Counter((call.arguments["series"], call.arguments["step"]) for call in calls)
        assert found == Counter(points)
        numbers = [call.number for call in calls]
        assert numbers == sorted(set(numbers))


def test_what_was_journaled_is_told_as_it_was_said(tracked_run: TrackedRun, journal: Journal) -> None:
    write_text(tracked_run.folder / "pictures" / "a.svg", "<svg/>")
    write_text(tracked_run.folder.parent.parent / "encoders" / "e.safetensors", "weights")
    encoder = tracked_run.folder.parent.parent / "encoders" / "e.safetensors"
    figures = {"loss": math.nan, "up": math.inf, "down": -math.inf, "x": 0.1 + 0.2}
    journal.append("log_figures", series="s", step=3, figures=figures, time_s=1.5)
    artifact = TrackedArtifact("encoder-tiny", "encoder", "ab", (encoder,), {"bars": "cd"}, {"seconds": 1.0})
    journal.append("log_artifact", artifact=artifact)
    journal.append("log_picture", name="a", svg=tracked_run.folder / "pictures" / "a.svg", caption="A")
    listener = Listener()
    for call in read_calls(tracked_run.folder):
        call.tell(listener, tracked_run.folder)
    assert listener.runs == [tracked_run]
    assert listener.artifacts == [artifact]
    assert listener.pictures == [tracked_run.folder / "pictures" / "a.svg"]
    [(series, step, told)] = listener.figures
    assert (series, step, str(told)) == ("s", 3, str(figures))
    for line in (tracked_run.folder / JOURNAL).read_text().splitlines():
        assert str(tracked_run.folder) not in line, "a path that is true on this machine alone"
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_results_of_before_are_told_again_only_where_they_changed(tracked_run: TrackedRun, journal: Journal) -> None:
    page = tracked_run.folder / "report.html"
    write_text(page, "one")
    assert journal.append("log_page", name="report", html=page)
    again = Journal(tracked_run.folder)
    assert not again.append("log_page", name="report", html=page)
    write_text(page, "two")
    assert again.append("log_page", name="report", html=page)
    assert again.append("log_summary", figures={"x": 1.0})
    assert not again.append("log_summary", figures={"x": 1.0})
    assert again.append("start", run=tracked_run), "each attempt is told"
    again.close()


def test_a_call_after_the_end_goes_into_no_other_file(tracked_run: TrackedRun) -> None:
    journal = Journal(tracked_run.folder)
    journal.close()
    other = tracked_run.folder / "other"
    with other.open("w"), pytest.raises(OSError, match=JOURNAL):  # it has the number that the journal had
        journal.append("finish", status="finished")
    assert other.read_text() == ""


@pytest.mark.usefixtures("tiny_disk")
def test_a_full_disk_loses_the_calls_that_it_refuses_and_no_others(tracked_run: TrackedRun) -> None:
    journal = Journal(tracked_run.folder)
    step = 0

    def fill() -> None:
        nonlocal step
        for step in range(20):
            journal.append("log_figures", series="s", step=step, figures={"x": 1.0}, time_s=0.0)

    with pytest.raises(OSError, match=JOURNAL):
        fill()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert journal.append("log_figures", series="s", step=step, figures={"x": 1.0}, time_s=0.0), "it is not there yet"
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [call.arguments["step"] for call in read_calls(tracked_run.folder)] == list(range(step + 1))
    journal.close()
