"""``moola pod offers``: GPUs to be had now, in the order in which a run would try them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from moola.commands.layout import layout_of
from moola.commands.pod_commands.pod_parser import number, whole
from moola.commands.pod_commands.run_options import parser_of, tell_aside
from moola.commands.pod_commands.tables import print_table, usd
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.pods.provider import Offer


def main(words: Sequence[str]) -> int:
    """Print the offers, the one to try first in front."""
    parser = parser_of(
        "offers", "GPUs that RunPod has now, in the order in which `moola pod run` would try them.", run=False
    )
    parser.add_argument("--gpu", default="", metavar="NAMES", help='e.g. "RTX 4090,A5000"; default: any')
    parser.add_argument("--min-vram", type=whole, default=0, metavar="GB", help="memory of one GPU")
    parser.add_argument("--max-price", type=number, metavar="USD", help="an hour, for the whole pod")
    parser.add_argument("--count", type=whole, default=1, metavar="N", help="GPUs in the pod (default 1)")
    parser.add_argument("--cloud", default="SECURE,COMMUNITY", metavar="TIERS", help="default: SECURE,COMMUNITY")
    parser.add_argument("--data-center", default="", metavar="IDS", help="e.g. EU-RO-1,US-KS-2; default: any")
    parser.add_argument("--min-cuda", default="", metavar="X.Y", help="of the driver; default: the usual image's")
    arguments = parser.parse_args(words)
    from moola.pods.provider import PodWish
    from moola.pods.providers import ProviderOptions, open_ledger, open_provider

    wish = PodWish(
        gpus=_listed(arguments.gpu),
        min_vram_gb=arguments.min_vram,
        max_price_per_h=arguments.max_price,
        count=arguments.count,
        cloud=tuple(tier.upper() for tier in _listed(arguments.cloud)),  # pyright: ignore[reportArgumentType]
        data_centers=_listed(arguments.data_center),
        min_cuda=arguments.min_cuda,
    )
    layout = layout_of(arguments)
    options = ProviderOptions(tell=tell_aside)
    offers = open_provider("runpod", open_ledger(layout), layout, options).offers(wish)
    if arguments.json:
        print(json.dumps([asdict(offer) for offer in offers], indent=2))
        return EXIT_OK
    print_table(("GPU", "n", "VRAM", "per hour", "cloud", "data centre", "stock"), map(_row, offers))
    return EXIT_OK


def _row(one: Offer) -> list[str]:
    where = [one.cloud.lower(), one.data_center or "any", one.stock.lower()]
    return [one.gpu_name, str(one.count), f"{one.vram_gb} GB", usd(one.price_per_h), *where]


def _listed(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(",") if word.strip())
