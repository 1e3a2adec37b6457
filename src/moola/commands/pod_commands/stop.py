"""``moola pod stop``: end a run, or those of a sweep, with checkpoints, bring these here, and end the pods."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import Speaker, outcome_of, parser_of, reopened, report, under_lease
from moola.commands.pod_commands.sweep import BY_NAME, call_off, runs_of_sweep
from moola.errors import EXIT_OK, MoolaError
from moola.pods.attending import Ended
from moola.pods.provider import LENT, PodError
from moola.pods.running import PodRun
from moola.pods.stopping import pass_on_stop, stop


def main(words: Sequence[str]) -> int:
    """0 where it stopped, or had ended before."""
    parser = parser_of("stop", "End a run with its checkpoint, bring that here, and end the pod.", run=False)
    parser.add_argument("run", nargs="?", metavar="RUN", help="id of the run, e.g. market-584a4514f71f")
    parser.add_argument("--sweep", metavar="SWEEP", help=f"the runs of a sweep that have a pod, {BY_NAME}")
    arguments = parser.parse_args(words)
    if bool(arguments.run) == bool(arguments.sweep):
        parser.error("name a run, or --sweep SWEEP")
    speaker = Speaker(arguments.json)
    if arguments.sweep:
        return _stop_sweep(arguments, speaker)
    _refuse_with_points(arguments)
    ended = _stopped(reopened(arguments, speaker))
    code = report(ended, arguments.json)
    return EXIT_OK if ended.outcome == "stopped" else code


def _stop_sweep(arguments: argparse.Namespace, speaker: Speaker) -> int:
    """Stop one run after another; one that cannot be stopped keeps no other from it.

    Raises:
        PodError: some could not be stopped.
    """
    from moola.pods.providers import open_ledger

    layout = layout_of(arguments)
    ledger = open_ledger(layout)
    call_off(arguments.sweep, layout, ledger)
    runs = runs_of_sweep(arguments.sweep, layout, ledger)  # points first: their checkpoints come from the pods
    runs = [run for run in runs if ledger.pods(run, open_only=True)]
    ends: list[Ended] = []
    failures: list[str] = []
    for run in runs:
        if not ledger.pods(run, open_only=True):
            continue  # its client has ended it meanwhile
        try:
            ends.append(_stopped(reopened(argparse.Namespace(**{**vars(arguments), "run": run}), speaker)))
        except MoolaError as error:
            if ledger.pods(run, open_only=True):
                failures.append(error.spoken())
    if failures:
        way_out = (
            f"the same command again, or `moola pod down --sweep {arguments.sweep} --yes`, which loses their state"
        )
        raise PodError(f"{len(failures)} of {len(runs)} runs could not be stopped", "\n".join(failures), way_out)
    if arguments.json:
        print(json.dumps([outcome_of(ended) for ended in ends], indent=2))
        return EXIT_OK
    for ended in ends:
        report(ended, as_json=False)
    if not ends:
        print("no point of the sweep has a pod")
    return EXIT_OK


def _refuse_with_points(arguments: argparse.Namespace) -> None:
    """Refuse to end a pod of a sweep under its points.

    Raises:
        PodError: points are on it.
    """
    from moola.pods.providers import open_ledger

    ledger = open_ledger(layout_of(arguments))
    pods = {pod.pod_id for pod in ledger.pods(arguments.run, open_only=True)}
    on_it = [pod.run for pod in ledger.pods(open_only=True) if pod.provider == LENT and pod.data_center in pods]
    if on_it:
        sweep = arguments.run.rpartition("-pod")[0]
        at_once = f"`moola pod down {arguments.run}` ends it at once"
        way_out = f"`moola pod stop --sweep {sweep}` ends all of it with checkpoints; {at_once}"
        raise PodError(f"points of a sweep are on the pod of {arguments.run}", ", ".join(on_it), way_out)


def _stopped(run: PodRun) -> Ended:
    return _passed_on(run) or under_lease(run, lambda: stop(run))


def _passed_on(run: PodRun) -> Ended | None:
    """What came of it where another client follows the run and stops it for us."""
    holder = run.ledger.lease_holder(run.run)
    if holder is None:
        return None
    try:
        return pass_on_stop(run, holder)
    finally:
        run.close()
