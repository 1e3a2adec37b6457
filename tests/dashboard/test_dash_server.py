"""Who gets in, what is served and what is not, and how the server ends."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from moola.pipelines.scores import display_name
from moola.pipelines.sweep_record import Point, PointState, Sweep, write_state
from moola.testing.run_folders import write_run_folder

TOKEN = "a-token-of-a-test"
FILES = (
    "report.html",
    "pictures/a.svg",
    "out.html",
    "pictures/../secret.html",
    "big.parquet",
    "fifo.html",
    "gone.html",
)


@pytest.fixture
def server(results: Path, serve: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """Over a run whose manifest names files that nobody should get."""
    files = dict.fromkeys((*FILES, "config.yaml"), "0")
    folder = write_run_folder(results, "run-1", files=files)
    (results.parent / "secret.html").write_text("secret")
    (folder / "pictures").mkdir()
    (folder / "report.html").write_text("<script>alert(1)</script><a href='#a'>report</a>")
    (folder / "pictures" / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "secret.html").write_text("secret")
    (folder / "big.parquet").write_text("x")
    (folder / "unlisted.html").write_text("secret")
    (folder / "out.html").symlink_to(results.parent / "secret.html")
    import os

    os.mkfifo(folder / "fifo.html")
    return serve()


@pytest.fixture
def ask(server: SimpleNamespace) -> Iterator[Callable[..., Any]]:
    """Sends a request as it is written; status, headers and content."""
    links: list[http.client.HTTPConnection] = []

    def send(path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        links.append(link)
        own = {"Cookie": f"moola_dash_{server.port}={TOKEN}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        link.request(method, path, headers=own)
        answer = link.getresponse()
        stream = "event-stream" in (answer.headers["content-type"] or "")
        return answer.status, answer.headers, answer.readline() if stream else answer.read()

    yield send
    for link in links:
        link.close()


def test_only_who_holds_the_token_gets_in(ask: Callable[..., Any]) -> None:
    for path in ("/", "/runs/run-1", "/events/", "/runs/run-1/files/report.html", "/static/dash.js", "/compare"):
        assert ask(path, Cookie="")[0] == 403
        assert ask(path, Host="evil.example")[0] == 403
    assert ask("/", "POST")[0] == 403
    assert ask("/", "DELETE", Origin="http://evil.example")[0] == 403


def test_pages_say_what_they_may_do(ask: Callable[..., Any]) -> None:
    status, headers, content = ask("/")
    csp = headers["content-security-policy"]
    assert status == 200 and "script-src 'self'" in csp and "unsafe" not in csp and "form-action 'self'" in csp
    assert b"run-1" in content and b"http://" not in content and b"https://" not in content
    content = ask("/runs/run-1")[2]
    assert content.index(b'id="figures"') < content.index(b'id="curves"'), "what a run came to is seen first"
    status, headers, content = ask("/runs/run-1/files/report.html")
    csp = headers.get_all("content-security-policy")
    assert status == 200 and len(csp) == 1 and csp[0].startswith("sandbox; default-src 'none'")
    assert "script" not in csp[0] and headers["x-content-type-options"] == "nosniff"
    assert ask("/runs/run-1/files/pictures/a.svg")[1]["content-type"] == "image/svg+xml"
    assert ask("/runs/run-1/files/config.yaml")[1]["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/../secret.html",
        "/runs/..",
        "/runs/%2e%2e",
        "/runs/..%2fresults",
        "/runs/run-1%2f..%2frun-1",
        "/runs/%00",
        "/runs/nobody",
        "/sweeps/..%2f..",
        "/sweeps/nobody",
        "/events/runs/nobody",
        "/curves?run=nobody",
        "/compare?run=run-1&run=../..",
        "/nothing",
        "/static/..%2fapp.py",
        "/runs/%2e%2e/files/secret.html",
        "/runs/run-1/files/unlisted.html",
        "/runs/run-1/files/..%2f..%2fsecret.html",
        "/runs/run-1/files/pictures/../secret.html",
        "/runs/run-1/files/pictures%2f..%2fsecret.html",
        "/runs/run-1/files//etc/passwd",
        "/runs/run-1/files/gone.html",
        "/runs/run-1/files/big.parquet",
    ],
)
def test_there_is_nothing_beside_what_runs_published(ask: Callable[..., Any], path: str) -> None:
    status, _, content = ask(path)
    assert status == 404 and b"<h1>secret" not in content and content != b"secret"


def test_links_and_pipes_are_no_files(ask: Callable[..., Any]) -> None:
    for name in ("out.html", "fifo.html"):
        status, _, content = ask(f"/runs/run-1/files/{name}")
        assert status == 422 and content != b"secret"


def test_what_cannot_be_shown_is_told(ask: Callable[..., Any]) -> None:
    assert b"no run is chosen" in ask("/curves")[2]
    assert b"tick two" in ask("/compare?run=run-1")[2]
    status, _, content = ask("/?limit=abc&revers=1&first=-3")
    assert status == 422 and b"limit: no page takes it" in content and b"reverse" in content
    assert b"must be a whole number" in content
    status, _, content = ask("/?where=%3Cb%3E+encoder.hiden%3D1&sort=%22%3E")
    assert status == 200 and b"<b>" not in content and b"encoder.hidden" in content


def test_a_server_ends_with_streams_open(server: SimpleNamespace, ask: Callable[..., Any]) -> None:
    for path in ("/events/", "/events/", "/events/runs/run-1", "/events/sweeps"):
        status, headers, first = ask(path)
        assert (status, headers["content-type"], first) == (200, "text/event-stream; charset=utf-8", b"retry: 1000\n")
    assert server.stop() < 5


def test_sweeps_are_listed_whatever_their_files_are(results: Path, ask: Callable[..., Any]) -> None:
    assert b"moola run -m" in ask("/sweeps")[2]
    folder = results / "sweeps" / "good"
    points = (Point(0, ("b=3", "a=<i>"), "run-2"), Point(1, ("b=3", "a=2"), "run-3"))
    Sweep(folder, "run", "moola run -m a=1,2", "2026-01-01T00:00:00Z", ("a",), points).write()
    write_state(folder, PointState(0, "failed", run_folder="/x/run-1", log="logs/0.log", why="no <b>room</b>"))
    (results / "sweeps" / "torn").mkdir()
    (results / "sweeps" / "torn" / "sweep.json").write_text("{")
    page = ask("/sweeps")[2].decode()
    assert "moola run -m a=1,2" in page and "1 failed" in page and "1 waiting" in page and "torn/sweep.json" in page
    page = ask("/sweeps/good")[2].decode()
    assert (
        "<code>a=&lt;i&gt;</code>" in page
        and "no &lt;b&gt;room" in page
        and 'href="/runs/run-1"' in page
        and "logs/0.log" in page
    )
    assert ask("/sweeps/torn")[0] == 200


def test_a_baseline_above_the_chosen_model_is_told(results: Path, ask: Callable[..., Any]) -> None:
    figure = {"low": 0.1, "high": 0.9, "n": 9, "seeds": 1}
    roles = {"finetuned": "model", "logistic_regression": "baseline", "majority": "control"}
    for name, best in (("below", 0.8), ("on-top", 0.5)):
        folder = write_run_folder(results, name)
        summary = json.loads((folder / "summary.json").read_text())
        values = {"finetuned": 0.7, "logistic_regression": best, "majority": 0.2}
        summary["as_given"] = {model: figure | {"value": value} for model, value in values.items()}
        (folder / "summary.json").write_text(json.dumps(summary))
        models = {model: {"role": role} for model, role in roles.items()}
        (folder / "models.json").write_text(json.dumps({"models": models}))
    page = ask("/runs/below")[2].decode()
    assert "the best out of fold that is no baseline or control" in page
    assert f"Better there, but a baseline or control: {display_name('logistic_regression')}." in page
    assert "Better there" not in ask("/runs/on-top")[2].decode()
    assert "no baseline or control" in ask("/")[2].decode()


def test_runs_that_are_not_in_a_picture_are_named(
    training: Callable[..., Any], serve: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    trained, reused = training("run-a"), training("run-b")
    trained.step(1, 0.5)
    reused.say("system", cpu_percent=50.0)
    reused.say("stage_reused", stage="pretrain", seconds=3.0, key="0" * 64)
    page = ask("/curves?run=run-a&run=run-b")[2].decode()
    assert "<b>run-b</b>: no curve of pretraining, as its encoder was reused" in page
    assert page.count('Without <span title="run-b">') == 1 and page.count('Without <span title="run-a">') == 1
    assert "its encoder was reused" in ask("/runs/run-b")[2].decode()


def test_too_many_runs_are_told_as_what_they_are(results: Path, ask: Callable[..., Any]) -> None:
    names = [f"many-{number}" for number in range(13)]
    for number, name in enumerate(names):
        write_run_folder(results, name, number=number)
    page = ask("/curves?" + "&".join(f"run={name}" for name in names))[2].decode()
    assert "<h1>13 runs are chosen</h1>" in page and "configuration" not in page
    assert b"1 run is chosen" in ask("/compare?run=run-1")[2]


def test_names_of_any_letters_are_linked_and_pages_of_none_are_errors(results: Path, ask: Callable[..., Any]) -> None:
    name = "a b&c?d#é%41"
    write_run_folder(results, name)
    write_run_folder(results, "two\nlines")
    status, _, content = ask(f"/runs/{quote(name)}?more=1")
    assert status == 200 and f"/runs/{quote(name)}".encode() in content
    assert f'href="/runs/{quote(name)}"'.encode() in ask("/")[2]
    for path in ("/runs/two%0Alines", "/static/none.js", "/events/nothing"):
        status, headers, content = ask(path)
        assert status == 404 and headers["content-type"].startswith("text/html") and b"there is no page" in content


def test_curves_of_a_run_with_an_odd_name_are_linked(training: Callable[..., Any], ask: Callable[..., Any]) -> None:
    run = training("odd?name")
    run.step(1, 0.5)
    assert b'href="/runs/odd%3Fname?more=1"' in ask("/runs/odd%3Fname")[2]


def test_long_names_are_shortened_and_the_sorted_column_comes_first(results: Path, ask: Callable[..., Any]) -> None:
    name = f"{'long' * 40}-000000000001"
    write_run_folder(results, name)
    page = ask("/?sort=test/macro_f1")[2].decode()
    assert f'title="{name}"' in page and f">{name}<" not in page and "…0000001</a>" in page
    page = ask("/?sort=encoder.hidden")[2].decode()
    assert page.index(">encoder.hidden ↓<") < page.index(">balanced accuracy<")


def test_figures_of_a_debug_preset_are_told_to_mean_nothing(results: Path, ask: Callable[..., Any]) -> None:
    write_run_folder(results, "debug-fast-000000000001")
    assert b"Made with debug=fast" in ask("/runs/debug-fast-000000000001")[2]
    assert b"mean nothing" not in ask("/runs/run-1")[2]
