"""Hooks that hear of a whole run: messages to a real server, files for Prometheus, both of real runs."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from prometheus_client.parser import text_string_to_metric_families

from moola.config import config_folder, from_omegaconf
from moola.errors import ConfigError
from moola.pipelines.events import EventLog, read_events
from moola.pipelines.hooks import Hook, HookEntry, hooks_from_config, let_hear
from moola.pipelines.prometheus_file import PrometheusFile
from moola.pipelines.run import execute
from moola.pipelines.webhook import Webhook, message

SECRET = "T0000/B0000/XXXXsecretXXXX"


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """Runs the first stage of the default job in this folder, with these overrides; returns the run folder."""
    monkeypatch.chdir(tmp_path)

    def work(*words: str) -> Path:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = from_omegaconf(compose("config", ["data.symbols=[sp500]", *words]))
        return execute(config, "", "ingest")

    return work


@pytest.fixture
def receiver(monkeypatch) -> Iterator[SimpleNamespace]:
    """A server on loopback that keeps what it is sent; its address is in the environment."""
    got = SimpleNamespace(requests=[], status=200, trickles=False)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.requests.append((self.path, self.headers["Content-Type"], json.loads(body)))
            while got.trickles:  # a byte now and then: no timeout of a single read ever comes
                self.wfile.write(b"H")
                time.sleep(0.02)
            self.send_response(got.status)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
        monkeypatch.setenv("MOOLA_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/services/{SECRET}")
        yield got
        got.trickles = False
        server.shutdown()


def test_a_finished_run_is_told_as_slack_wants_it_and_the_address_is_written_nowhere(run, receiver, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        folder = run("+stage.hooks.webhook={}")
    [(path, kind, payload)] = receiver.requests
    assert (path, kind, list(payload)) == (f"/services/{SECRET}", "application/json", ["text"])
    first, last = payload["text"].splitlines()
    assert first.startswith(f"moola: {folder.name} finished after ")
    assert last == str(folder)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not written
    assert SECRET not in caplog.text


def test_a_failed_run_is_told_with_its_error_and_fails_with_it_all_the_same(run, receiver, monkeypatch):
    def broken(self, inputs, workspace):
        raise RuntimeError("no more <paper> & ink")

    monkeypatch.setattr("moola.pipelines.stages.ingest.Ingest.run", broken)
    with pytest.raises(RuntimeError, match="no more"):
        run("+stage.hooks.webhook={}")
    [(_, _, payload)] = receiver.requests
    assert " failed after " in payload["text"].splitlines()[0]
    assert "RuntimeError: no more &lt;paper&gt; &amp; ink" in payload["text"]


def test_an_end_that_was_not_asked_for_is_not_told(run, receiver):
    run("+stage.hooks.webhook.on=[failed]")
    assert receiver.requests == []


@pytest.mark.parametrize(("fault", "said"), [("status", "it answered 403"), ("trickles", "no answer within 0.2 s")])
def test_what_the_server_does_wrong_is_told_and_ends_no_run(run, receiver, fault, said):
    setattr(receiver, fault, 403 if fault == "status" else True)
    started = time.monotonic()
    folder = run("+stage.hooks.webhook.timeout_s=0.2")
    assert time.monotonic() - started < 10
    [failed] = [event for event in read_events(folder / "events.jsonl") if event["event"] == "hook_failed"]
    assert (failed["hook"], failed["moment"], failed["ends_run"]) == ("webhook", "run_finished", False)
    assert said in failed["error"]
    assert SECRET not in failed["error"]


def test_a_proxy_that_the_client_cannot_speak_to_is_told_at_once(run, receiver, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "sock://127.0.0.1:1")
    folder = run("+stage.hooks.webhook={}")
    [failed] = [event for event in read_events(folder / "events.jsonl") if event["event"] == "hook_failed"]
    assert "ValueError" in failed["error"] and "no answer" not in failed["error"]


def test_nobody_at_the_address_is_told_without_it(run, monkeypatch):
    monkeypatch.setenv("MY_URL", f"http://127.0.0.1:9/{SECRET}")
    folder = run("+stage.hooks.webhook.url_from=MY_URL")
    log = (folder / "events.jsonl").read_text()
    assert "ConnectError" in log
    assert SECRET not in log


@pytest.mark.parametrize("address", ["", "not an address", "ftp://host/x", "http://"])
def test_a_missing_address_is_told_when_the_run_starts_and_once(monkeypatch, address):
    monkeypatch.setenv("MOOLA_WEBHOOK_URL", address)
    events, seen = EventLog(), []
    events.listen(seen.append)
    let_hear([HookEntry(Webhook(), "webhook")], events)
    events.emit("run_started")
    events.emit("run_finished", run_id="r-1", folder="", seconds=1.0)
    assert [event["event"] for event in seen] == ["run_started", "hook_failed", "run_finished"]
    assert ("MOOLA_WEBHOOK_URL is not set" in seen[1]["error"]) == (not address)
    assert "export MOOLA_WEBHOOK_URL=https://" in seen[1]["error"]


def test_an_address_in_the_configuration_is_refused_without_repeating_it():
    with pytest.raises(ConfigError, match="name of an environment variable") as refused:
        hooks_from_config({"webhook": {"url_from": f"https://hooks.slack.com/{SECRET}"}})
    assert SECRET not in str(refused.value)


def test_the_first_sentence_of_a_verdict_is_in_the_message(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"verdict": ["The first.", "The second."]}))
    told = message({"event": "run_finished", "run_id": "r-1", "folder": str(tmp_path), "seconds": 61.2})
    assert told.splitlines()[1:] == ["The first.", str(tmp_path)]


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """Every sample of a file, by its name and the values of its labels but the run's."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "run_id")): sample.value
        for family in families
        for sample in family.samples
    }


def test_prometheus_gets_state_seconds_and_stages_of_a_real_run(run, tmp_path):
    folder = run("+stage.hooks.prometheus.folder=watched")
    path = tmp_path / "watched" / f"moola-{folder.name}.prom"
    found = samples(path)
    assert found["moola_run_state", "finished"] == 1
    assert found["moola_run_state", "running"] == 0
    assert found["moola_run_seconds",] == json.loads((folder / "manifest.json").read_text())["seconds"]
    assert found["moola_stage_seconds", "ingest"] > 0
    assert f'run_id="{folder.name}"' in path.read_text()
    assert path.stat().st_mode & 0o444 == 0o444  # the node exporter runs as another user
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            PrometheusFile("/proc/nowhere"),
            "/proc/nowhere/moola-r-1.prom cannot be written; No such file or directory; ch",
        ),
        (Webhook(url_from="MY_URL"), "MY_URL is not set; the webhook's address is read from it; export MY_URL="),
    ],
)
def test_what_a_person_can_mend_is_said_without_the_kind_of_error(hook, said, tmp_path):
    events, seen = EventLog(), []
    events.listen(seen.append)
    let_hear([HookEntry(hook, "it")], events)
    events.emit("run_started", run_id="r-1", folder=str(tmp_path))
    assert seen[1]["error"].startswith(said)


def test_prometheus_gets_training_now_and_then_and_figures_at_the_end(tmp_path):
    rows = [{"model": "finetuned", "split": "test", "metric": "accuracy", "value": 0.9}]
    (tmp_path / "metrics.json").write_text(json.dumps([*rows, {**rows[0], "metric": "none", "value": None}]))
    events = EventLog()
    let_hear([HookEntry(PrometheusFile(every_s=3600))], events)
    events.emit("run_started", run_id="r-1", folder=str(tmp_path))
    path = tmp_path / "moola-r-1.prom"
    line = {"stage": "pretrain", "seed": 0, "step": 50, "loss": 0.5, "windows_per_s": 100.0}
    events.emit("steps", **line)
    assert ("moola_training_loss", "0", "pretrain") not in samples(path)  # too soon after the last
    events.emit("run_finished", run_id="r-1", folder=str(tmp_path), seconds=1.0)
    found = samples(path)
    assert found["moola_training_loss", "0", "pretrain"] == 0.5
    assert found["moola_training_step", "0", "pretrain"] == 50
    assert {key: value for key, value in found.items() if key[0] == "moola_figure"} == {
        ("moola_figure", "accuracy", "finetuned", "test"): 0.9
    }


class Breaks(Hook):
    """Fails at every event, and counts them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_event(self, event) -> None:
        self.calls.append(event["event"])
        raise ValueError("the hook broke")


def heard(on_failure: str) -> tuple[EventLog, Breaks, list[str]]:
    events, hook, seen = EventLog(), Breaks(), []
    events.listen(lambda event: seen.append(event["event"]))
    let_hear([HookEntry(hook, "breaks", on_failure=on_failure)], events)  # type: ignore[arg-type]
    return events, hook, seen


def test_a_hook_that_breaks_at_an_event_is_told_once_and_called_no_more():
    events, hook, seen = heard("warn")
    events.emit("run_started")
    events.emit("run_finished")
    assert hook.calls == ["run_started"]
    assert seen == ["run_started", "hook_failed", "run_finished"]


def test_a_hook_that_has_to_work_ends_the_run_but_never_hides_its_error():
    events, _, seen = heard("raise")
    with pytest.raises(ValueError, match="the hook broke"):
        events.emit("run_started")
    events, _, seen = heard("raise")
    events.emit("run_failed", error="the real one")
    assert seen == ["run_failed", "hook_failed"]


def test_a_run_that_a_hook_ends_at_its_start_is_known_as_failed(run, monkeypatch):
    monkeypatch.delenv("MOOLA_WEBHOOK_URL", raising=False)
    with pytest.raises(Exception, match="MOOLA_WEBHOOK_URL is not set"):
        run("+stage.hooks.webhook.on_failure=raise")
    [manifest] = Path().glob("artifacts/results/*/manifest.json")
    assert json.loads(manifest.read_text())["status"] == "failed"


def test_a_hook_without_that_moment_hears_nothing():
    events = EventLog()
    let_hear([HookEntry(Hook())], events)
    assert events._listeners == []


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"webhook": {"on": ["finnished"]}}, "did you mean 'finished'"),
        ({"webhook": {"timeout_s": 0.0}}, r"must lie in \(0, 60\]"),
        ({"webhook": {"on": []}}, "needs at least one"),
        ({"prometheus": {"every_s": -1.0}}, "must be finite and not negative"),
        ({"torch_threads": {"count": 0}}, "must be at least 1"),
        ({"torch_profile": {"steps": 0, "wait": 0, "rows": 0}}, "(?s)wait: 0.*steps: 0.*rows: 0"),
    ],
)
def test_wrong_keys_of_a_hook_are_refused(section, said):
    with pytest.raises(ConfigError, match=said):
        hooks_from_config(section)


def test_webhook_is_off_unless_it_is_asked_for():
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        hooks = from_omegaconf(compose("config", [])).stage["hooks"]
    assert not {"webhook", "prometheus", "torch_profile", "torch_threads"} & set(hooks)
    assert Webhook().on == ("finished", "failed")
