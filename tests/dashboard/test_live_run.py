"""Logs that grow: every event once, however it arrives; curves that stay true when they are long or begun again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moola.dashboard.curve_pictures import draw_run, draw_together, split_names, spoken, without_training
from moola.dashboard.event_tail import EventTail
from moola.dashboard.live_run import CurveName, LiveRun, Points
from moola.errors import cause_of

LOSS = CurveName("pretrain", "loss", "step")
_LINES = st.lists(
    st.one_of(
        st.integers().map(lambda n: json.dumps({"event": "note", "n": n, "message": "ä\u2028"}, ensure_ascii=False)),
        st.sampled_from(["", "{", "7", '{"event": 3}', "\x00", '{"no": "event"}']),
    ),
    max_size=8,
)


@settings(max_examples=12)
@given(_LINES, st.lists(st.integers(0, 200), max_size=5))
def test_a_log_is_read_once_wherever_it_is_cut(lines: list[str], cuts: list[int]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "events.jsonl")
        tail, found = EventTail(path), []
        assert tail.read() == []
        edges = sorted({min(cut, len(content)) for cut in (0, *cuts, len(content))})
        for begin, end in zip(edges, [*edges[1:], None], strict=True):
            with path.open("ab") as handle:
                handle.write(content[begin:end])
            found += tail.read()
            assert not tail.restarted
        assert [event["n"] for event in found] == [json.loads(line)["n"] for line in lines if '"n"' in line]
        path.write_bytes(b"")
        tail.read()
        if content:
            assert tail.restarted
        path.write_text('{"event": "new"}\n')
        assert [event["event"] for event in tail.read()] == ["new"]


def test_links_and_what_is_no_file_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"event": "secret"}\n')
    (tmp_path / "events.jsonl").symlink_to("secret")
    assert EventTail(tmp_path / "events.jsonl").read() == []
    (tmp_path / "folder").mkdir()
    assert EventTail(tmp_path / "folder").read() == []


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(-9, 9)), max_size=60))
def test_a_later_attempt_takes_the_place_of_an_earlier_one(told: list[tuple[int, float]]) -> None:
    points, kept = Points(), dict[int, float]()
    for x, y in told:
        points.add(x, y)
        kept = {at: value for at, value in kept.items() if at < x} | {x: y}
    assert dict(zip(points.x, points.y, strict=True)) == kept
    assert points.x == sorted(points.x)


def test_long_curves_keep_their_spikes() -> None:
    points = Points()
    for x in range(20_000):
        points.add(x, 99.0 if x == 777 else -99.0 if x == 11_000 else float("nan") if x % 1000 == 5 else x / 20_000)
    assert len(points.x) <= 4096 and points.x == sorted(points.x) and points.x[-1] >= 19_000
    assert {99.0, -99.0} <= set(points.y)


def test_a_run_is_followed(training: Callable[..., Any]) -> None:
    run = training()
    live = LiveRun(run.folder)
    assert live.follow() and not live.follow()
    for number in range(4):
        run.step(number, 1.0 / (number + 1), seed=number % 2)
    run.say("epoch", stage="pretrain", seed=1, epoch=1, loss=0.5, val_loss=0.123456)
    run.say("progress", stage="pretrain", done=1, total=4, what="seed 1, epoch 1", loss=0.5, val_loss=0.1235)
    for member in (0, 1):
        run.say("epoch", stage="finetune", seed=0, member=member, epoch=3, loss=0.125 + member)
    run.say("system", cpu_percent=50.0, gpu={"memory_gb": 2.5}, host="a", busy=True)
    run.say("note", stage="pretrain", message="<b>warm</b>")
    run.say("steps", stage="pretrain", seed="none", step=None)
    run.say("stage_started", stage="unknown")
    run.say("stage_failed", stage="pretrain", error="ValueError: no")
    assert live.follow()
    assert live.curves[LOSS][1].y == [0.5, 0.25]
    assert live.curves[CurveName("pretrain", "lr/group0", "step")][0].x == [0, 2]
    assert live.curves[CurveName("pretrain", "val_loss", "epoch")][1].y == [0.123456], "not as a bar shows it"
    assert live.curves[CurveName("finetune", "loss", "epoch")][0] == Points([3], [0.125])
    assert live.curves[CurveName("system", "gpu/memory_gb", "second")][0].y == [2.5]
    assert not [name for name in live.curves if name.figure in ("busy", "host", "done")]
    assert live.stages["pretrain"].status == "failed" and live.n_stages == 3
    assert [line.strip() for line in live.log][-2:] == [
        "note: <b>warm</b>",
        "stopped here; everything finished before is kept",
    ]
    first, others = split_names([live])
    assert LOSS in first and CurveName("pretrain", "loss", "epoch") not in [*first, *others]
    assert draw_run(live, LOSS).count('class="series') >= 2
    together = draw_together({"a<i>": live, "b": live}, LOSS)
    assert "a&lt;i&gt;, seed 0" in together and "<i>" not in together
    run.say("run_started", run_id="again")
    live.follow()
    assert not live.stages and live.curves[LOSS][1].y == [0.5, 0.25]


def test_a_pause_between_two_attempts_is_no_time_of_the_run(training: Callable[..., Any]) -> None:
    run = training()

    def at(hour: int, second: int, event: str, **fields: Any) -> None:
        run.say(event, time=f"2026-01-01T{hour:02d}:00:{second:02d}.000Z", **fields)

    for hour in (0, 5):
        at(hour, 0, "run_started", run_id="again")
        for second in (10, 20):
            at(hour, second, "system", cpu_percent=50.0 + hour)
        at(hour, 30, "note", message="nothing")
    live = LiveRun(run.folder)
    live.follow()
    name = CurveName("system", "cpu_percent", "second")
    assert live.curves[name][0].x == [10, 20, 40, 50]
    assert draw_run(live, name).count('class="series') == 2, "the line breaks"
    assert draw_together({"a": live}, name).count("legend") == 1


def test_a_stage_that_ctrl_c_ended_is_interrupted(training: Callable[..., Any]) -> None:
    run = training()
    run.say("stage_failed", stage="pretrain", error=cause_of(KeyboardInterrupt()))
    live = LiveRun(run.folder)
    live.follow()
    assert live.stages["pretrain"].status == "interrupted"


def test_a_run_without_curves_of_training_says_why(training: Callable[..., Any]) -> None:
    run = training()
    run.say("system", cpu_percent=50.0)
    live = LiveRun(run.folder)
    live.follow()
    assert without_training(live) == "no step of training in its log"
    run.say("stage_reused", stage="pretrain", seconds=3.0, key="0" * 64)
    live.follow()
    assert "its encoder was reused" in without_training(live)
    run.step(1, 0.5)
    live.follow()
    assert without_training(live) == ""


def test_curves_are_named_in_words() -> None:
    def title(figure: str) -> str:
        return spoken(CurveName("system", figure, "second"))

    assert [title(name) for name in ("cpu_percent", "gpu0_memory_mb", "disk_free_gb")] == [
        "machine: CPU, % of one core",
        "machine: GPU 0 memory, MB",
        "machine: free disk, GB",
    ]
    assert spoken(CurveName("pretrain", "lr/group0", "step")) == "pretrain: learning rate, group0"
