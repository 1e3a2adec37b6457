"""What was ordered, kept beside what came back, so that any later client can go on with a run by its id alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from moola.config import structure
from moola.errors import DataError, StorageError, did_you_mean
from moola.layout import Layout, read_json
from moola.pods.bundle import Bundle
from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.packing import BUNDLES
from moola.pods.provider import PodTakenError
from moola.pods.providers import open_ledger, open_provider
from moola.pods.publishing import RESULTS, result_folder
from moola.pods.running import ORDER, PodRun
from moola.pods.settings import PodSettings


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
    """A run of a bundle; nothing is written down before it is ordered. `replays` as of `PodRun`.

    Raises:
        ConfigError: the provider lacks something, e.g. a key.
        PodTakenError: another lender has a pod for the run.
    """
    ledger = ledger or open_ledger(layout)
    provider = open_provider(settings.provider, ledger, layout, settings.provider_options)
    run = PodRun(bundle, settings, layout, provider, ledger, tell, show, replays=replays)
    _refuse_other_lender(run)
    return run


def known_runs(layout: Layout) -> list[str]:
    """Ids of the runs that were ordered here."""
    return sorted(path.parent.name for path in layout.room(RESULTS).glob(f"*/{ORDER}"))


def read_order(run: str, layout: Layout) -> tuple[Bundle, Mapping[str, Any]]:
    """The bundle of a run and the settings it was ordered with, as plain values.

    Raises:
        DataError: there is none of that id; near ones are named.
        StorageError: its bundle is not here any more.
    """
    known = known_runs(layout)
    if run not in known:
        raise DataError(f"no pod was ordered for a run '{run}'", did_you_mean(run, known), "see `moola pod ps`")
    order = read_json(result_folder(layout, run) / ORDER)
    folder = layout.room(BUNDLES) / order["bundle"]
    if not folder.is_dir():
        why = f"{folder} was deleted"
        raise StorageError(f"what was packed for {run} is not here any more", why, "pack it again: `moola pod run`")
    return Bundle.load(folder), order["settings"]


def _refuse_other_lender(run: PodRun) -> None:
    """One pod for one run, whoever lends it: the same overrides with another ``--provider`` are the same run."""
    listed = {pod.pod_id for pod in run.provider.find(run.run)} if run.provider.name == "ssh" else set[str]()
    others = [
        pod
        for pod in run.ledger.pods(run.run, open_only=True)
        if (pod.provider != run.provider.name or (pod.provider == "ssh" and pod.pod_id not in listed))
        and not _is_deleted(pod, run)
    ]
    asked = [one for one in run.ledger.open_intents(run.run) if one.provider == "runpod" != run.provider.name]
    if asked and not others:
        raise PodTakenError(
            f"a pod was asked for at RunPod for {run.run}, and nobody knows whether it came",
            f"on {datetime.fromtimestamp(asked[0].at, UTC):%Y-%m-%d %H:%M} UTC",
            "the same command with --provider runpod looks for it first",
        )
    if others:
        raise PodTakenError(
            f"{run.run} has a pod with another lender",
            "\n".join(f"- {pod.pod_id} ({pod.provider}) since {pod.created_at:%Y-%m-%d %H:%M} UTC" for pod in others),
            f"go on there with `moola pod attach {run.run}`, or end it with `moola pod down {run.run}`",
        )


def _is_deleted(pod: LedgerPod, run: PodRun) -> bool:
    """Whether a pod is a folder of this machine that somebody deleted; other lenders would have to be asked."""
    if pod.provider != "local":
        return False
    return open_provider("local", run.ledger, run.layout).status(pod.pod_id).status == "TERMINATED"


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
