"""How pods, prices and times look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moola.commands.encoder_lines import table_lines
from moola.errors import printable

_HOUR = 3600
_DAY = 24 * _HOUR


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a head; what a lender calls its machines cannot act on the terminal."""
    print("\n".join(table_lines([[printable(cell, keep="") for cell in row] for row in (head, *rows)])))


def usd(amount: float | None) -> str:
    """``$1.20``; ``-`` for None."""
    return "-" if amount is None else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """``2 d 03 h``, ``3 h 20 min``, ``12 min`` or ``40 s``."""
    if seconds >= _DAY:
        return f"{seconds // _DAY:.0f} d {seconds % _DAY // _HOUR:02.0f} h"
    if seconds >= _HOUR:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // 60:02.0f} min"
    return f"{seconds // 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
