"""Runs that are over, or are to be: what is here is said and not rented for, and no pod that did nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_in

from moola.cli import main
from moola.layout import digest_file, write_json
from moola.pods.ledger import Ledger
from moola.pods.local_provider import LocalProvider
from moola.pods.provider import BadDrawError, PodError, PodWish
from moola.pods.running import PodRun
from moola.pods.stopping import pass_on_stop, stop

from .scripted_pod import ScriptedPod

RUN = stand_in.RUN
BAD_GPU = {"check": "gpu", "ok": False, "said": "torch sees 0 GPUs", "way_out": "take another pod", "elsewhere": True}
NO_DISK = {"check": "disk", "ok": False, "said": "1 GB free", "way_out": "pod.disk_gb=...", "elsewhere": False}


def published(run: PodRun) -> Path:
    """Results of a run, as publishing leaves them."""
    folder = run.layout.results / "demo-ffffffffffff"
    write_json(folder / "metrics.json", {"accuracy": 0.75})
    files = {"metrics.json": digest_file(folder / "metrics.json")}
    came_of = {"run": RUN, "bundle": run.bundle.bundle_id}
    write_json(folder / "manifest.json", {"status": "finished", "files": files, "pod": came_of})
    return folder


@pytest.mark.parametrize("command", ["attach", "pull", "stop", "resume", "logs"])
def test_commands_about_a_finished_run_say_where_its_results_are(
    world, ordered, monkeypatch, capsys, tmp_path, command
):
    run = ordered()
    run.bundle.write(run.layout.room("artifacts/runpod_bundles") / run.bundle.bundle_id)
    run.order()
    folder = published(run)
    monkeypatch.setattr("moola.pods.resuming.open_provider", lambda *_: world.provider)
    monkeypatch.setattr("moola.pods.resuming.open_ledger", lambda _: world.ledger)
    monkeypatch.chdir(tmp_path)
    assert main(["pod", command, RUN]) == 0
    assert f"results are here: {folder}" in "".join(capsys.readouterr()) and world.fake.pods == {}


def test_a_run_whose_results_are_here_rents_no_pod(world, scripted, ordered):
    run = ordered()
    folder = published(run)
    ended = run.go()
    assert (ended.outcome, ended.published.folder) == ("finished", folder)
    assert world.fake.pods == {} and "force=[all]" in world.told[-1]


def test_a_run_is_done_again_where_its_results_are_damaged_of_other_files_or_not_wanted(world, scripted, ordered):
    run = ordered()
    folder = published(run)
    assert run.go(again=True).outcome == "finished" and len(world.fake.pods) == 1
    (folder / "metrics.json").write_text("{}")
    assert ordered().go().outcome == "finished" and len(world.fake.pods) == 2
    published(run)
    other = ordered()
    other.bundle.facts["note"] = "packed of other files"
    manifest = {"status": "finished", "files": {}, "pod": {"run": RUN, "bundle": "another"}}
    write_json(folder / "manifest.json", manifest)
    assert other.go().outcome == "finished" and len(world.fake.pods) == 3


@pytest.mark.parametrize(
    ("word", "forced"), [("force=[all]", True), ("force=[oof]", True), ("force=[]", False), ("forces=[a]", False)]
)
def test_overrides_tell_whether_to_build_again(ordered, word, forced):
    run = ordered()
    run.bundle.facts["overrides"].append(word)
    assert run.is_forced == forced


def test_a_finished_run_whose_pod_is_left_has_that_ended_first(world, scripted, ordered):
    run = ordered()
    run._acquire()
    published(run)
    assert run.go().pod_ended and world.billing() == [] and len(world.fake.pods) == 1


def interrupted_at(step: str) -> Callable[[ScriptedPod], None]:
    def interrupt(pod: ScriptedPod) -> None:
        pod.files["status.json"] |= {"step": step}
        raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("step", ["environment", "preflight", "smoke"])
def test_ctrl_c_before_the_jobs_own_step_ends_the_pod(world, scripted, ordered, step):
    scripted.script = interrupted_at(step)
    with pytest.raises(KeyboardInterrupt):
        ordered().go()
    assert world.billing() == [] and "nothing is lost" in world.told[-1]


def test_ctrl_c_ends_no_pod_that_is_kept_or_that_another_command_began(world, scripted, ordered):
    scripted.script = interrupted_at("smoke")
    with pytest.raises(KeyboardInterrupt):
        ordered(keep=True).go()
    assert len(world.billing()) == 1 and "stays on" in world.told[-1]


def failing(*checks: dict[str, Any], pods: int) -> Callable[[ScriptedPod], None]:
    """The first `pods` pods fail their preflight."""
    seen: set[str] = set()

    def script(pod: ScriptedPod) -> None:
        if len(seen | {pod.pod_id}) > pods:
            pod.finish()
            return
        seen.add(pod.pod_id)
        pod.finish("failed")
        pod.files["status.json"] |= {"step": None, "steps": {"preflight": {"exit_code": 5}}}
        pod.files["preflight-report.json"] = list(checks)

    return script


def test_a_pod_whose_gpu_does_not_work_is_ended_and_another_drawn(world, scripted, ordered):
    scripted.script = failing(BAD_GPU, pods=1)
    assert ordered().go().outcome == "finished"
    assert len(world.fake.pods) == 2 and world.billing() == []
    assert "torch sees 0 GPUs" in "\n".join(world.told)


def test_bad_draws_of_the_preflight_are_as_few_as_others_and_the_check_is_named(world, scripted, ordered):
    scripted.script = failing(BAD_GPU, pods=9)
    with pytest.raises(BadDrawError, match="4 pods in a row") as caught:
        ordered().go()
    assert len(world.fake.pods) == 4 and world.billing() == [] and "gpu: torch sees 0 GPUs" in caught.value.why


def test_a_check_that_no_other_pod_would_pass_ends_the_run_and_is_named(world, scripted, ordered):
    scripted.script = failing(BAD_GPU, NO_DISK, pods=9)
    ended = ordered().go()
    assert ended.outcome == "failed" and "disk: 1 GB free; pod.disk_gb=..." in ended.why
    assert len(world.fake.pods) == 1 and world.billing() == []


class WokenError(Exception):
    """The wait for the other client has begun."""


def test_stop_passes_its_word_to_the_client_that_follows(world, scripted, ordered, monkeypatch):
    other = ordered()

    def wake(_: float) -> None:
        raise WokenError

    def ask(pod: ScriptedPod) -> None:
        if pod.moments == 2:
            with monkeypatch.context() as patched:
                patched.setattr(other, "clock", type("Clock", (), {"sleep": staticmethod(wake)}))
                with pytest.raises(WokenError):
                    pass_on_stop(other, "process 7")

    scripted.script = ask
    run = ordered()
    with world.ledger.lease(RUN) as run.lease:
        ended = run.go()
    assert (ended.outcome, scripted.states, world.billing()) == ("stopped", 1, [])
    assert any("process 7 follows it" in line for line in world.told)


def test_stop_ends_when_the_client_that_follows_has_and_takes_over_where_that_dies(world, scripted, ordered):
    def interrupt(pod: ScriptedPod) -> None:
        raise KeyboardInterrupt

    scripted.script = interrupt
    run = ordered()
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert pass_on_stop(run, "process 7") is None
    for pod in scripted.pods.values():
        pod.script = lambda _: None
    assert stop(run).outcome == "stopped" and world.billing() == []


def test_stop_says_that_a_run_has_not_begun(ordered):
    run = ordered()
    run._acquire()
    with pytest.raises(PodError, match="has not begun") as caught:
        pass_on_stop(run, "process 7")
    assert "process 7" in caught.value.why


def test_lines_of_a_run_name_files_as_they_come_here(world, scripted, ordered):
    def say(pod: ScriptedPod) -> None:
        if not pod.log:
            pod.say(f"open /pod/runs/{RUN}/project/artifacts/results/x/report.html")
        pod.finish()

    scripted.script = say
    run, shown = ordered(), []
    run.show = shown.append
    run.go()
    assert shown[0]["text"] == "open artifacts/results/x/report.html"


def test_a_folder_of_a_ledger_that_was_deleted_is_found_again(world, tmp_path):
    before, after = (Ledger(tmp_path / name / "pods.sqlite", world.clock) for name in ("before", "after"))
    made = LocalProvider(tmp_path / "pods", before, clock=world.clock)
    offer = made.offers(PodWish())[0]
    pod, _ = (made.create(PodWish(), run, offer, "") for run in ("demo-1", "demo-1-replay"))
    (tmp_path / "pods" / f".{pod.pod_id}.ended").mkdir()
    provider = LocalProvider(tmp_path / "pods", after, clock=world.clock)
    assert [(one.pod_id, one.owner) for one in provider.find("demo-1")] == [(pod.pod_id, after.owner)]
    assert len(provider.find()) == 2 and provider.find("demo") == []
    after.add_pod(provider.find("demo-1")[0])
    assert len(provider.find("demo-1")) == 1
    after.end_pod("local", pod.pod_id, "test")
    assert provider.find("demo-1") == []
