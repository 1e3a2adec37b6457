"""What was ordered, kept beside what came back, so that any later client can go on with a run by its id alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from moola.config import structure
from moola.errors import DataError, did_you_mean
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
) -> PodRun:
    """A run of a bundle, and the order for it on disk.

    Raises:
        ConfigError: the provider lacks something, e.g. a key.
    """
    ledger = ledger or open_ledger(layout)
    provider = open_provider(settings.provider, ledger, layout, settings.provider_options)
    run = PodRun(bundle, settings, layout, provider, ledger, tell, show)
    write_json(result_folder(layout, run.run) / _ORDER, {"bundle": bundle.bundle_id, "settings": asdict(settings)})
    return run


def reopen_run(
    run: str, layout: Layout, *, tell: Callable[[str], None], show: Callable[[Mapping[str, Any]], None]
) -> PodRun:
    """A run that was ordered before.

    Raises:
        DataError: there is none of that id; near ones are named.
        StorageError: its bundle is not here any more.
    """
    known = [path.parent.name for path in layout.room(RESULTS).glob(f"*/{_ORDER}")]
    if run not in known:
        raise DataError(f"no pod was ordered for a run '{run}'", did_you_mean(run, known), "see `moola pod ps`")
    order = read_json(result_folder(layout, run) / _ORDER)
    bundle = Bundle.load(layout.room(BUNDLES) / order["bundle"])
    settings = structure(PodSettings, order["settings"], "pod")
    return open_run(bundle, settings, layout, tell=tell, show=show)
