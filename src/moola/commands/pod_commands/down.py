"""``moola pod down``: end the pods of a run, or all of them, now."""

from __future__ import annotations

import json
from collections.abc import Sequence

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import parser_of, tell_aside
from moola.commands.pod_commands.sweep import BY_NAME, call_off, runs_of_sweep
from moola.errors import EXIT_OK, DataError, MoolaError, did_you_mean

_DESCRIPTION = """\
End pods at once. What they have not sent is lost: `moola pod stop RUN` ends a run with its checkpoint, `moola pod pull
RUN` brings results as they are. On a host (ssh) the run is killed and its folder deleted; files and environments that
runs share stay (pod.keep_cache)."""


def main(words: Sequence[str]) -> int:
    """End them, unless that would lose results and ``--yes`` is missing."""
    parser = parser_of("down", _DESCRIPTION, run=False)
    parser.add_argument("run", nargs="?", metavar="RUN", help="id of the run whose pods are ended")
    parser.add_argument("--all", action="store_true", help="every pod that was made from here")
    parser.add_argument("--any-ledger", action="store_true", help="also those of other machines and checkouts")
    parser.add_argument("--yes", action="store_true", help="even where results would be lost, or a host is silent")
    parser.add_argument("--sweep", metavar="SWEEP", help=f"the pods of all points of a sweep, {BY_NAME}")
    arguments = parser.parse_args(words)
    if bool(arguments.run) + bool(arguments.sweep) + arguments.all != 1:
        parser.error("name a run, or --sweep SWEEP, or --all")
    from moola.pods.giving_up import give_up, own_pods, would_lose
    from moola.pods.providers import askable_providers, open_ledger

    layout = layout_of(arguments)
    ledger = open_ledger(layout)
    providers = askable_providers(ledger, layout, tell_aside)
    runs = runs_of_sweep(arguments.sweep, layout, ledger) if arguments.sweep else [arguments.run]
    pods = [pod for run in runs for pod in own_pods(ledger, providers, run, any_ledger=arguments.any_ledger)]
    if arguments.run and not own_pods(ledger, providers, arguments.run, any_ledger=True):
        known = {pod.run for pod in ledger.pods()}
        if arguments.run not in known:
            raise DataError(f"no pod was made for a run '{arguments.run}'", did_you_mean(arguments.run, known))
    lost = would_lose(ledger, pods)
    if lost and not arguments.yes:
        stop = f"--sweep {arguments.sweep}` ends them" if arguments.sweep else "RUN` ends it"
        way_out = f"`moola pod pull RUN` brings them, `moola pod stop {stop} well; --yes ends all the same"
        raise MoolaError("nothing was ended", "\n".join(f"- {line}" for line in lost), way_out)
    if arguments.sweep:
        call_off(arguments.sweep, layout, ledger)
    give_up(pods, providers, ledger, layout, tell=tell_aside, silent_too=arguments.yes)
    if arguments.json:
        print(json.dumps([{"pod_id": pod.pod_id, "run": pod.run, "provider": pod.provider} for pod in pods], indent=2))
    elif not pods:
        has_key = any(provider.name == "runpod" for provider in providers)
        account = "nor has the RunPod account" if has_key else "RunPod was not asked: there is no API key"
        print(f"no pods to end: the ledger has none open, of any lender; {account}")
    return EXIT_OK
