"""``moola pod run``: one command from here to a pod and back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.layout import layout_of
from moola.commands.pod_commands.run_options import Speaker, parser_of, report, under_lease

if TYPE_CHECKING:
    from moola.pods.running import PodRun

_FLAGS = {
    "provider": "provider",
    "host": "host",
    "identity": "identity",
    "host_key": "host_key",
    "max_price": "max_price_per_h",
    "min_vram": "min_vram_gb",
    "budget": "guards.budget",
    "max_hours": "guards.max_hours",
    "python": "python",
}
"""Option -> key of the section ``pod``."""


def main(words: Sequence[str]) -> int:
    """Pack, find a pod, send, run, follow, bring back, end the pod."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(words)
    speaker = Speaker(arguments.json)
    run = _prepared(arguments, speaker)
    if arguments.dry_run:
        speaker.tell("nothing was asked for (--dry-run)")
        return 0
    return report(under_lease(run, lambda: run.go(detach=arguments.detach)), arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "run",
        "Run a configuration on a pod. OVERRIDE is what `moola run` takes, or pod.KEY=VALUE (configs/pod); after "
        "anything that cuts this off, the same command goes on.",
        run=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--provider", metavar="NAME", help="runpod (default), ssh or local")
    parser.add_argument("--gpu", metavar="NAMES", help='one or more, by comma: "RTX 4090,A5000"')
    parser.add_argument("--min-vram", type=int, metavar="GB")
    parser.add_argument("--max-price", type=float, metavar="USD", help="an hour")
    parser.add_argument("--budget", type=float, metavar="USD", help="all pods of the run together")
    parser.add_argument("--max-hours", type=float, metavar="H", help="to the end of the pod")
    parser.add_argument("--host", metavar="USER@HOST:PORT", help="for ssh")
    parser.add_argument("--identity", metavar="FILE", help="private key, for ssh")
    parser.add_argument("--host-key", metavar="LINE", help="the host's public key, for ssh; else known_hosts has it")
    parser.add_argument("--python", metavar="PATH", help="the pod's Python that has torch")
    parser.add_argument("-d", "--detach", action="store_true", help="leave when the run has started")
    parser.add_argument("--keep", action="store_true", help="leave the pod on when the results are here")
    parser.add_argument("--trust-first-use", action="store_true", help="take a host key that nothing confirms")
    parser.add_argument("--allow", action="append", default=[], metavar="PATH[:LINE]", help="a finding that may travel")
    parser.add_argument("--dry-run", action="store_true", help="pack and estimate, ask for nothing")
    return parser


def _prepared(arguments: argparse.Namespace, speaker: Speaker) -> PodRun:
    """Everything that can be found wrong before a pod exists."""
    from moola.pods.estimating import check_budget
    from moola.pods.packing import PackLimits, pack
    from moola.pods.resuming import open_run
    from moola.pods.settings import load_settings, split_words

    of_pod, overrides = split_words(arguments.overrides)
    settings = load_settings(of_pod, _given(arguments))
    layout = layout_of(arguments)
    packed = pack(Path.cwd(), overrides, layout, limits=PackLimits(allowed=tuple(arguments.allow)))
    facts, files = packed.bundle.facts, packed.bundle.files
    size = sum(file.size for file in files) / 1e6
    speaker.tell(f"run {facts['run_id']}, bundle {packed.bundle.bundle_id}: {len(files)} files, {size:.1f} MB")
    run = open_run(packed.bundle, settings, layout, tell=speaker.tell, show=speaker.show)
    check_budget(run)
    return run


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of the section ``pod`` that options give."""
    given = {
        key: getattr(arguments, option) for option, key in _FLAGS.items() if getattr(arguments, option) is not None
    }
    if arguments.gpu:
        given["gpus"] = [name.strip() for name in arguments.gpu.split(",") if name.strip()]
    return given | {name: True for name in ("keep", "trust_first_use") if getattr(arguments, name)}
