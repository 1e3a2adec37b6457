"""Which places to try for a pod, and in which order: what a catalogue has against what is wished for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moola.errors import ConfigError, did_you_mean
from moola.pods.provider import CloudTier, NoCapacityError, Offer, PodWish, Stock

_ORDER: Mapping[Stock, int] = {"HIGH": 0, "MEDIUM": 1, "LOW": 2, "NONE": 3}
COMMON_GPUS = (
    "A100 PCIe",
    "A100 SXM",
    "A40",
    "B200",
    "H100 NVL",
    "H100 PCIe",
    "H100 SXM",
    "H200 SXM",
    "L4",
    "L40",
    "L40S",
    "RTX 2000 Ada",
    "RTX 3090",
    "RTX 4000 Ada",
    "RTX 4090",
    "RTX 5090",
    "RTX 6000 Ada",
    "RTX A4000",
    "RTX A4500",
    "RTX A5000",
    "RTX A6000",
)
"""Names that people type, for completion alone: `moola pod offers` has what there is."""
_SHOWN = 8
"""Near misses that an error names."""


@dataclass(frozen=True)
class GpuStock:
    """A GPU type in one tier, as a catalogue tells of it.

    Attributes:
        gpu: its id.
        name: as people say it.
        vram_gb: its memory.
        cloud: the tier.
        price_per_h: US dollars an hour for one.
        max_count: most of them in one pod.
        stock: how much there is for the count that was asked about.
        data_centers: the same by data centre.
    """

    gpu: str
    name: str
    vram_gb: int
    cloud: CloudTier
    price_per_h: float
    max_count: int
    stock: Stock
    data_centers: Mapping[str, Stock] = field(default_factory=dict)


def offers_for(catalog: Sequence[GpuStock], wish: PodWish, data_centers: Iterable[str] = ()) -> list[Offer]:
    """Every place that meets the wish and has stock, the one to try first in front.

    The cheapest comes first. A type costs the same in all data centres of a tier, so that stock chooses among those:
    a place that has run out costs one request, a dearer GPU costs every hour.

    Args:
        catalog: GPU types, once for each tier.
        wish: what is wanted.
        data_centers: those there are, to know a typing error from a place without stock.

    Raises:
        ConfigError: GPUs or data centres that nobody has, all of them, with near names.
        NoCapacityError: nothing meets the wish; `why` counts what stands in the way.
    """
    checked = [(one, _failing(one, wish)) for one in _chosen(catalog, wish, data_centers)]
    offers = [offer for one, failing in checked if not failing for offer in _places(one, wish)]
    if not offers:
        raise _nothing(checked, wish)
    return sorted(offers, key=lambda one: (one.price_per_h, _ORDER[one.stock], one.cloud, one.gpu, one.data_center))


def _chosen(catalog: Sequence[GpuStock], wish: PodWish, data_centers: Iterable[str]) -> list[GpuStock]:
    """Entries of the GPUs and tiers that are named.

    Raises:
        ConfigError: names that nobody has.
    """
    known = sorted({*data_centers, *(center for one in catalog for center in one.data_centers)})
    problems: list[str] = []
    ids: set[str] = set()
    for name in wish.gpus:
        found = _named(name, catalog)
        ids |= found
        if not found:
            problems.append(f"no GPU is called '{name}'; {did_you_mean(name, {one.name for one in catalog})}")
    for center in wish.data_centers:
        if center not in known:
            problems.append(f"no data centre is called '{center}'; {did_you_mean(center, known)}")
    if problems:
        raise ConfigError(problems, "`moola pod offers` lists what there is")
    return [one for one in catalog if one.cloud in wish.cloud and (one.gpu in ids or not wish.gpus)]


def _named(name: str, catalog: Sequence[GpuStock]) -> set[str]:
    """Ids of the GPUs that a name means: one that is called just so, else all whose name holds every word of it."""
    words = _words(name)
    exact = {one.gpu for one in catalog if words and words in (_words(one.gpu), _words(one.name))}
    return exact or {one.gpu for one in catalog if words and {*words} <= {*_words(one.gpu), *_words(one.name)}}


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.casefold())


def _failing(one: GpuStock, wish: PodWish) -> str:
    """Why an entry does not meet the wish; empty: it does."""
    price = one.price_per_h * wish.count
    if one.vram_gb < wish.min_vram_gb:
        return f"has {one.vram_gb} GB, {wish.min_vram_gb} are asked for"
    if one.max_count < wish.count:
        return f"comes at most {one.max_count} in a pod, {wish.count} are asked for"
    if wish.max_price_per_h is not None and price > wish.max_price_per_h:
        return f"costs ${price:.2f}/h, ${wish.max_price_per_h:.2f} are allowed"
    if not _places(one, wish):
        return "is out of stock" + (f" in {', '.join(wish.data_centers)}" if wish.data_centers else "")
    return ""


def _places(one: GpuStock, wish: PodWish) -> list[Offer]:
    """Offers of an entry: one for each data centre with stock; where the catalogue names none, the lender chooses."""
    centers = one.data_centers or ({} if wish.data_centers else {"": one.stock})
    return [
        Offer(one.gpu, one.name, one.vram_gb, one.cloud, center, stock, one.price_per_h * wish.count, wish.count)
        for center, stock in centers.items()
        if stock != "NONE" and (not wish.data_centers or center in wish.data_centers)
    ]


def _nothing(checked: Sequence[tuple[GpuStock, str]], wish: PodWish) -> NoCapacityError:
    """What stands in the way, the cheapest first, so that the nearest miss is in front."""
    ranked = sorted(checked, key=lambda pair: (pair[0].price_per_h, pair[0].name, pair[0].cloud))
    shown = [f"- {one.name} ({one.cloud.lower()}) {failing}" for one, failing in ranked[:_SHOWN]]
    more = [f"- and {len(ranked) - _SHOWN} more"] if len(ranked) > _SHOWN else []
    what = f"no machine with {', '.join(wish.gpus) or 'any GPU'} is to be had as wished for"
    return NoCapacityError(
        what,
        "\n".join([*shown, *more]) or f"nothing is offered in {', '.join(wish.cloud).lower()}",
        "name more GPUs, raise the price, or ask again later: `moola pod offers` shows what there is",
    )
