"""What was ordered, kept beside what came back, so that any later client can go on with a run by its id alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from moola.config import structure
from moola.errors import DataError, StorageError, did_you_mean
from moola.layout import Layout, read_json, write_json
from moola.pods.bundle import Bundle
from moola.pods.ledger import Ledger
from moola.pods.packing import BUNDLES
from moola.pods.providers import open_ledger, open_provider
from moola.pods.publishing import RESULTS, result_folder
from moola.pods.running import PodRun
from moola.pods.settings import PodSettings

_ORDER = "order.json"


def open_run(
    bundle: Bundle,
    settings: PodSettings,
    layout: Layout,
    *,
    tell: Callable[[str], None],
    show: Callable[[Mapping[str, Any]], None],
    ledger: Ledger | None = None,
    replays: bool = False,
) -> PodRun:
    """A run of a bundle, and the order for it on disk; `replays` as of `PodRun`.

    Raises:
        ConfigError: the provider lacks something, e.g. a key.
    """
    ledger = ledger or open_ledger(layout)
    provider = open_provider(settings.provider, ledger, layout, settings.provider_options)
    run = PodRun(bundle, settings, layout, provider, ledger, tell, show, replays)
    order = {"bundle": bundle.bundle_id, "settings": asdict(settings)}
    write_json(result_folder(layout, run.run) / _ORDER, order)
    return run


def known_runs(layout: Layout) -> list[str]:
    """Ids of the runs that were ordered here."""
    return sorted(path.parent.name for path in layout.room(RESULTS).glob(f"*/{_ORDER}"))


def read_order(run: str, layout: Layout) -> tuple[Bundle, Mapping[str, Any]]:
    """The bundle of a run and the settings it was ordered with, as plain values.

    Raises:
        DataError: there is none of that id; near ones are named.
        StorageError: its bundle is not here any more.
    """
    known = known_runs(layout)
    if run not in known:
        raise DataError(f"no pod was ordered for a run '{run}'", did_you_mean(run, known), "see `moola pod cost`")
    order = read_json(result_folder(layout, run) / _ORDER)
    folder = layout.room(BUNDLES) / order["bundle"]
    if not folder.is_dir():
        why = f"{folder} was deleted"
        raise StorageError(f"what was packed for {run} is not here any more", why, "pack it again: `moola pod run`")
    return Bundle.load(folder), order["settings"]


def reopen_run(
    run: str, layout: Layout, *, tell: Callable[[str], None], show: Callable[[Mapping[str, Any]], None]
) -> PodRun:
    """A run that was ordered before.

    Raises:
        DataError: there is none of that id; near ones are named.
        StorageError: its bundle is not here any more.
    """
    bundle, settings = read_order(run, layout)
    replays = run != bundle.facts["run_id"]
    return open_run(bundle, structure(PodSettings, settings, "pod"), layout, tell=tell, show=show, replays=replays)
