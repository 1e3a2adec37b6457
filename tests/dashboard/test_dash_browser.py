"""The dashboard as somebody meets it who watches runs train: a real server, a real browser."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moola.testing.run_folders import write_run_folder

HOSTILE = "<img src=x onerror=alert(1)>"
POINTS = "document.querySelectorAll('#curves svg .dot').length"


def test_a_run_is_watched_while_it_trains(
    results: Path, training: Callable[..., Any], serve: Callable[..., Any], open_page: Any, until: Any
) -> None:
    server = serve()
    page = open_page(server)
    assert "moola run debug=fast" in page.inner_text("main")
    run = training()
    until(page, "document.querySelector('.runs')?.textContent.includes('live-00000000000a')")
    page.check("input[name=run]")
    write_run_folder(results, "later-000000000001")
    until(page, "document.querySelectorAll('.runs tbody tr').length === 2")
    assert page.is_checked("input[value=live-00000000000a]"), "what was ticked stays so"
    run.say("progress", stage="pretrain", done=3, total=4, what="epochs")
    until(page, "document.querySelector('.runs').textContent.includes('pretrain 3/4')")
    page.hover("a[href='/runs/live-00000000000a']")
    page.mouse.down()
    run.say("progress", stage="pretrain", done=3, total=5, what="epochs")
    page.wait_for_timeout(150)
    page.mouse.up()
    page.wait_for_url("**/runs/live-00000000000a")  # the link was not replaced under the pointer
    page.go_back()
    page.focus("a[href='/runs/live-00000000000a']")
    run.say("progress", stage="pretrain", done=4, total=4, what="epochs")
    until(page, "document.querySelector('.runs').textContent.includes('4/4')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/live-00000000000a")
    until(page, "byId('link').textContent === 'live'")
    for number in range(1, 4):
        run.step(number, 1 / number)
        until(page, f"{POINTS} >= {number}")
    run.say("note", stage="pretrain", message=HOSTILE)
    until(page, "document.querySelector('.log').textContent.includes('<img src=x')")
    run.end()
    until(page, "document.querySelector('#state').textContent.includes('stopped')")
    shutil.rmtree(results / "live-00000000000a")
    until(page, "document.querySelector('#state').textContent.includes('there is no run')")


def test_several_runs_are_followed_on_the_same_axes(
    training: Callable[..., Any], serve: Callable[..., Any], open_page: Any, until: Any
) -> None:
    runs = [training(f"live-00000000000{letter}") for letter in "ab"]
    for run in runs:
        run.step(1, 1.0)
    server = serve()
    page = open_page(server, scheme="dark")
    assert page.is_disabled("text=Curves side by side")
    for box in page.query_selector_all("input[name=run]"):
        box.check()
    page.click("text=Curves side by side")
    page.wait_for_url("**/curves?*")
    until(page, f"byId('link').textContent === 'live' && {POINTS} === 2")
    for run in runs:
        run.step(2, 0.5)
    until(page, f"{POINTS} === 4")
    assert page.evaluate("document.querySelectorAll('#curves .dot.s0').length") == 2
    assert server.stop() < 5
    until(page, "byId('link').classList.contains('lost')")
    runs[0].step(3, 0.25)
    serve(server.port)
    until(page, f"{POINTS} === 5 && byId('link').textContent === 'live'")


def test_tabs_that_nobody_sees_hold_no_connection_and_catch_up_when_they_are_shown(
    training: Callable[..., Any], serve: Callable[..., Any], open_page: Any, until: Any
) -> None:
    run = training()
    server = serve()
    first = open_page(server)
    # Under playwright every page is visible, so that hiding is played.
    hide = "Object.defineProperty(document, 'hidden', {get: () => window.unseen !== false, configurable: true});"
    flip = "(unseen) => { window.unseen = unseen; document.dispatchEvent(new Event('visibilitychange')); }"
    first.evaluate(hide)
    first.evaluate(flip, True)
    first.context.add_init_script(hide)
    tabs = [first.context.new_page() for _ in range(7)]
    for tab in tabs:
        tab.goto(f"{server.base}/", timeout=5000)
        assert tab.inner_text("#link") == "connecting", "a tab in the background"
        tab.evaluate(flip, False)
        until(tab, "byId('link').textContent === 'live'")
        tab.evaluate(flip, True)
    run.say("progress", stage="pretrain", done=3, total=4, what="epochs")
    tabs[0].wait_for_timeout(200)
    assert "3/4" not in tabs[0].inner_text(".runs")
    tabs[0].evaluate(flip, False)
    until(tabs[0], "document.querySelector('.runs').textContent.includes('3/4')")
    for done in (2, 3):  # what it shows is not what it was opened with, even where the server has that again
        tabs[0].evaluate(flip, done == 3)
        run.say("progress", stage="pretrain", done=done, total=4, what="epochs")
        tabs[0].evaluate(flip, False)
        until(tabs[0], f"document.querySelector('.runs').textContent.includes('{done}/4')")


def test_pages_fit_a_telephone_and_are_light_or_dark(results: Path, serve: Callable[..., Any], open_page: Any) -> None:
    folder = write_run_folder(results, "run-1")
    write_run_folder(results, "bad", status="failed", run_id=HOSTILE, error=f"DataError: {HOSTILE}", name=HOSTILE)
    (folder / "report.html").write_text("<style>body { color: red }</style><h1>The report</h1>")
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"files": {', '"files": {"report.html": "0", '))
    server = serve()
    page = open_page(server, "/", width=390)
    for path in ("/", "/runs/bad", "/sweeps", "/curves?run=run-1", "/runs/run-1"):
        page.goto(f"{server.base}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert not page.query_selector("img[src=x]")
    for scheme, paper in (("dark", "rgb(20, 23, 26)"), ("light", "rgb(253, 253, 251)")):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    page.click("text=Open the report")
    page.wait_for_url("**/report.html")
    assert page.inner_text("h1") == "The report"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(255, 0, 0)"
    page.go_back()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/"


@pytest.mark.slow
def test_a_real_run_is_watched_from_its_first_step_to_its_report(
    moola_process: Callable[..., Any], results: Path, serve: Callable[..., Any], open_page: Any, until: Any
) -> None:
    page = open_page(serve())
    run = moola_process("run", "debug=fast", "data.symbols=[sp500]", "~model.minirocket", "~model.random_forest")
    until(page, "document.querySelector('.runs .running')", 60)
    page.click(".runs tbody a")
    page.wait_for_url("**/runs/*")
    until(page, "document.querySelector('#curves path.series')", 90)
    assert run.wait(120) == 0
    until(page, "document.querySelector('#state')?.textContent.includes('finished')")
    until(
        page, "document.querySelector('#figures .intervals') && document.querySelectorAll('#pictures img').length > 3"
    )
    page.click("text=Open the report")
    page.wait_for_url("**/report.html")
    assert "what the figures are worth" in page.inner_text("h1")


@pytest.mark.slow
def test_the_command_ends_on_ctrl_c_with_a_page_open(
    moola_process: Callable[..., Any], results: Path, open_page: Any, until: Any
) -> None:
    write_run_folder(results, "run-1")
    process = moola_process("dash", "--no-open", "--port", "0")
    assert process.stdout is not None
    url = next(line.split()[1] for line in process.stdout if line.startswith("open "))
    page = open_page(SimpleNamespace(base=url.partition("/?")[0]), token=url.partition("token=")[2])
    until(page, "document.querySelector('#link')?.textContent === 'live'")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_what_runs_are_sorted_by_is_in_sight_however_long_their_names(
    results: Path, serve: Callable[..., Any], open_page: Any
) -> None:
    write_run_folder(results, f"{'long-' * 40}-000000000001")
    for number in range(13):
        write_run_folder(results, f"bad-{number}", status="failed", error=f"DataError: {'no bars ' * 20}")
    page = open_page(serve(), width=1400)
    for path in ("/", "/?sort=test/accuracy", "/?sort=seconds", "/?sort=trainer.pretrain.batch_size"):
        page.goto(page.url.partition("/?")[0].rstrip("/") + path)
        head = page.locator("thead a[aria-current]").bounding_box()
        assert head["x"] + head["width"] < 1400 - 60, path
    for box in page.query_selector_all("input[name=run]")[:12]:
        box.check()
    assert page.is_enabled("text=Curves side by side")
    page.query_selector_all("input[name=run]")[12].check()
    assert page.is_disabled("text=Curves side by side"), "more than can be looked at together"
