"""``moola labels agreement``: do people agree, and do they follow what they are shown."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moola.commands.encoder_lines import table_lines
from moola.commands.label_commands.options import add_log, log_of, read_log
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    from moola.labels.agreement import Agreement

_HEAD = ("first", "second", "windows", "agree", "kappa", "95 % interval")
_DRAWN_HEAD = (*_HEAD[:2], "decisions", *_HEAD[3:])


def main(words: Sequence[str]) -> int:
    """Print Cohen's kappa of every pair, and of blind and shown decisions with the given labels."""
    parser = argparse.ArgumentParser(
        prog="moola labels agreement",
        description="Cohen's kappa with a 95 % interval: 1 is full agreement, 0 what chance gives.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_log(parser)
    arguments = parser.parse_args(words)
    from moola.labels.agreement import agreement_between, anchoring, why_not_anchored

    events = read_log(log_of(arguments)).events
    pairs, anchored = agreement_between(events), anchoring(events)
    if arguments.json:
        told = {"pairs": [_plain(one) for one in pairs], "anchoring": _plain(anchored) if anchored else None}
        print(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
        return EXIT_OK
    if pairs:
        print("\n".join(table_lines([_HEAD, *map(_cells, pairs)])))
    else:
        print("no window was judged by two people")
    if anchored is None:
        print(f"\n{why_not_anchored(events)}: what showing the given label does to people is not known")
    else:
        print("\n" + "\n".join(table_lines([_DRAWN_HEAD, _cells(anchored.blind), _cells(anchored.shown)])))
        interval = _interval(anchored.low, anchored.high)
        print(f"kappa shown minus blind {_number(anchored.difference)} {interval}: {anchored.conclusion}")
    return EXIT_OK


def _cells(one: Agreement) -> list[str]:
    return [one.first, one.second, str(one.n), f"{one.observed:.1%}", _number(one.kappa), _interval(one.low, one.high)]


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def _interval(low: float, high: float) -> str:
    return "[not defined]" if math.isnan(low) else f"[{low:.2f}, {high:.2f}]"


def _plain(value: Any) -> Any:
    """JSON values of a dataclass; null for what is not defined."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return (
        _plain(dataclasses.asdict(value)) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    )
