"""A client that kills itself with SIGKILL at a place that its arguments name: FOLDER PLACE."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moola.pods import attending, fetching, publishing, results, running, starting
from moola.pods.session import RunOnPod

spec = importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("stand_in.py"))
assert spec is not None and spec.loader is not None
stand_in = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stand_in)
TOP, PLACE = Path(sys.argv[1]), sys.argv[2]


def here(place: str) -> None:
    if place == PLACE:
        os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, place: str) -> None:
    """Pass two places with each call of a function."""
    function: Callable[..., Any] = getattr(owner, name)

    def passing(*arguments: Any, **options: Any) -> Any:
        here(f"before {place}")
        value = function(*arguments, **options)
        here(f"after {place}")
        return value

    setattr(owner, name, passing)


around(running.Acquisition, "acquire", "acquire")
around(starting, "push", "push")
around(RunOnPod, "supervise", "supervise")
around(attending.Following, "follow", "follow")
around(fetching, "pull_results", "pull")
around(fetching, "publish_results", "publish")
around(attending, "end_pod", "end")
moved = publishing.replace_folder


def replace_folder(source: Path, target: Path) -> None:
    moved(source, target)
    here("mid publish")


publishing.replace_folder = replace_folder
take = results._Arrivals.take


def take_half(arrivals: Any, block: bytes) -> None:
    """Of the last file of the run folder half is on disk when the client dies."""
    if PLACE == "mid pull" and (results_in := arrivals.into / "artifacts" / "results").is_dir():
        take(arrivals, block[: len(block) // 2])
        arrivals.close()
        assert list((arrivals.into / results.HALF).iterdir()) and list(results_in.rglob("manifest.json"))
        here("mid pull")
    take(arrivals, block)


results._Arrivals.take = take_half
run = stand_in.stand_in_run(TOP, [])


def show(record: Mapping[str, Any]) -> None:
    here(f"line {record['text']}")


run.show = show
run.go()
