"""The options that say which pod, for commands that start runs: each stands for a key of the section ``pod``."""

from __future__ import annotations

import argparse
from typing import Any

from moola.commands.pod_commands.pod_parser import number, whole

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
"""Option -> key."""
_SWITCHES = ("keep", "trust_first_use")


def add_host_options(parser: argparse.ArgumentParser) -> None:
    """Where the pod is, and how its host is reached."""
    parser.add_argument("--provider", metavar="NAME", help="runpod (default), ssh or local")
    parser.add_argument(
        "--host",
        action="append",
        metavar="USER@HOST:PORT",
        help="for ssh; may be repeated: a run takes the first that is free",
    )
    parser.add_argument("--identity", metavar="FILE", help="private key, for ssh")
    parser.add_argument(
        "--host-key", action="append", metavar="LINE", help="the host's public key, for ssh; else known_hosts has it"
    )
    parser.add_argument("--python", metavar="PATH", help="the pod's Python that has torch")


def add_gpu_options(parser: argparse.ArgumentParser) -> None:
    """Which GPUs, and what they may cost."""
    parser.add_argument("--gpu", metavar="NAMES", help='one or more, by comma: "RTX 4090,A5000"; default: any')
    parser.add_argument("--min-vram", type=whole, metavar="GB", help="memory of one GPU")
    parser.add_argument("--max-price", type=number, metavar="USD", help="an hour, for the whole pod")


def add_pod_options(parser: argparse.ArgumentParser) -> None:
    """Everything about the pod of a run."""
    add_host_options(parser)
    add_gpu_options(parser)
    parser.add_argument("--budget", type=number, metavar="USD", help="all pods of the run together")
    parser.add_argument("--max-hours", type=number, metavar="H", help="to the end of the pod")
    parser.add_argument("--keep", action="store_true", help="leave the pod on when the results are here")
    parser.add_argument("--trust-first-use", action="store_true", help="take a host key that nothing confirms")


def given_keys(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of the section ``pod`` that options give."""
    options = vars(arguments)
    given = {key: options[option] for option, key in _FLAGS.items() if options.get(option) is not None}
    if options.get("gpu"):
        given["gpus"] = [name.strip() for name in arguments.gpu.split(",") if name.strip()]
    return given | {name: True for name in _SWITCHES if options.get(name)}
