"""Figures as people read them: three decimals, fewer of large ones, a true minus sign, a dash where there is none."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def figure(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A figure: ``0.612``, ``−0.034``, with `signed` ``+0.034``; an en dash for None, NaN and infinities.

    From ten on four digits are significant: ``38.25``, ``3825``.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) >= 10:
        digits = min(digits, max(3 - int(math.log10(abs(value))), 0))
    size = f"{abs(value):.{digits}f}" if abs(value) < 1e6 else f"{abs(value):.3g}".replace("e+", "e")
    # What rounds to nothing has no sign: -0.0001 is shown as 0.000.
    if float(size) == 0:
        return size
    return (MINUS if value < 0 else "+" if signed else "") + size


def interval(low: float, high: float, digits: int = 3, signed: bool = False) -> str:
    """An interval ``[0.540, 0.683]``; ``no interval`` where an end is missing."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"[{figure(low, digits, signed)}, {figure(high, digits, signed)}]"


def p_value(value: float | None) -> str:
    """A p-value: ``0.012``, below a thousandth ``< 0.001``, for no chance is nought; an en dash where there is none."""
    return "< 0.001" if value is not None and value < 0.001 else figure(value)


def duration(seconds: float) -> str:
    """Seconds as ``12 ms``, ``0.4 s``, ``2 min 14 s`` or ``1 h 02 min``."""
    if not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
