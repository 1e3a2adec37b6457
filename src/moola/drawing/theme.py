"""The stylesheet of every picture: one palette for light and one for dark, after Okabe and Ito (2008).

A page puts `STYLESHEET` into its own style element and may use the same custom properties for its text.
"""

from __future__ import annotations

import re

_LIGHT = """
  --page: #fdfdfb; --panel: #f5f5f1; --ink: #1c2024; --muted: #5c646d; --rule: #dcdcd6; --grid: #e9e9e4;
  --accent: #0068a3; --good: #0b7256; --alarm: #a8321a; --note: #7d5700;
  --good-tint: #e9f4ef; --alarm-tint: #fbece7; --note-tint: #fbf3df;
  --up: #1878b4; --down: #d06a1b; --overlay: #8d2f78; --highlight: #f0e4ee;
  --context: #f1f1ec; --zone: #dfebf4; --after: #f8ecdc;
  --shade0: #a8321a; --shade1: #de7440; --shade2: #b4b5b0; --shade3: #d6d7d2;
  --s0: #0072b2; --s1: #d55e00; --s2: #00855f; --s3: #a84c86; --s4: #8a6d00; --s5: #3f8fc4;
"""
_DARK = """
  --page: #14171a; --panel: #1c2024; --ink: #e4e7ea; --muted: #9ba4ad; --rule: #343a41; --grid: #272c32;
  --accent: #6cb8e6; --good: #4ec9a1; --alarm: #ff9478; --note: #e8bd5a;
  --good-tint: #16291f; --alarm-tint: #361c15; --note-tint: #2e2612;
  --up: #56b4e9; --down: #e8924a; --overlay: #e79bd2; --highlight: #33252f;
  --context: #1d2125; --zone: #1b303f; --after: #352818;
  --shade0: #ff9478; --shade1: #cf6a3c; --shade2: #5f6166; --shade3: #3a4047;
  --s0: #56b4e9; --s1: #f08a3c; --s2: #35c49a; --s3: #dc8fc0; --s4: #d8c04a; --s5: #9cc9ea;
"""
_RULES = """
.moola { max-width: 100%; height: auto; display: block; font-size: 11px; font-variant-numeric: tabular-nums; }
.moola text { fill: var(--ink); }
.moola .tick, .moola .axis-title, .moola .span-label, .moola .reference-label { fill: var(--muted); }
.moola .pane-name, .moola .figure { font-weight: 600; }
.moola .axis-title { font-style: italic; }
.moola line, .moola path { fill: none; stroke-linecap: round; stroke-linejoin: round; }
.moola .grid { stroke: var(--grid); }
.moola .base { stroke: var(--rule); }
.moola .reference { stroke: var(--muted); stroke-dasharray: 2 4; }
.moola .mark { stroke: var(--ink); stroke-dasharray: 4 3; }
.moola .span.context { fill: var(--context); }
.moola .span.zone { fill: var(--zone); }
.moola .span.after { fill: var(--after); }
.moola .highlight { fill: var(--highlight); }
.moola .wick { stroke-width: 1; stroke-linecap: butt; }
.moola .wick.up { stroke: var(--up); } .moola .body.up { fill: var(--up); }
.moola .wick.down { stroke: var(--down); } .moola .body.down { fill: var(--down); }
.moola .wick.overlay { stroke: var(--overlay); } .moola .body.overlay { fill: var(--overlay); }
.moola .volume { fill: var(--muted); opacity: 0.55; } .moola .volume.pale { opacity: 0.25; }
.moola .band { fill: var(--overlay); opacity: 0.16; }
.moola .pale { opacity: 0.45; }
.moola .series { stroke-width: 1.6; }
.moola .series.dashed { stroke-dasharray: 5 4; }
.moola .series.overlay { stroke: var(--overlay); }
.moola .count { fill: var(--rule); }
.moola .plane { fill: none; stroke: var(--rule); }
.moola .point { stroke: var(--page); stroke-width: 0.6; opacity: 0.85; }
.moola .ring { fill: none; stroke-width: 1.8; }
.moola .whisker { stroke-width: 2; opacity: 0.55; }
.moola .cell { fill: var(--s0); stroke: var(--page); }
.moola .whisker.model { stroke: var(--s0); } .moola .symbol.model { fill: var(--s0); }
.moola .whisker.control { stroke: var(--muted); }
.moola .whisker.baseline { stroke: var(--muted); } .moola .symbol.baseline { fill: var(--muted); }
.moola .symbol.control { fill: var(--page); stroke: var(--muted); stroke-width: 2; }
.moola .whisker.stack { stroke: var(--s3); } .moola .symbol.stack { fill: var(--s3); }
.moola .clique { stroke: var(--ink); stroke-width: 3.5; }
.moola .leader { stroke: var(--rule); }
.moola .trial { stroke-width: 1.2; opacity: 0.8; }
.moola .trial.best { stroke: var(--s0); stroke-width: 3; opacity: 1; }
.moola .haloed { paint-order: stroke; stroke: var(--page); stroke-width: 3; }
.moola text.control { fill: var(--muted); }
.moola text.alarmed { fill: var(--alarm); }
"""
_SERIES = "\n".join(
    f".moola .series.s{i}, .moola .ring.s{i} {{ stroke: var(--s{i}); }} "
    f".moola .dot.s{i}, .moola .point.s{i} {{ fill: var(--s{i}); }}"
    for i in range(6)
)
_SHADES = "\n".join(
    f".moola .point.shade{i} {{ fill: var(--shade{i}); }} .moola .trial.shade{i} {{ stroke: var(--shade{i}); }}"
    for i in range(4)
)
# Steps of opacity keep text on a cell readable in both schemes.
_CELLS = "\n".join(f".moola .cell.step{i} {{ fill-opacity: {0.05 * i:.2f}; }}" for i in range(11))

# Paper is light whatever the screen is, so the dark palette is for screens only.
STYLESHEET = (
    f":root {{ color-scheme: light dark;{_LIGHT}}}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{{_DARK}}} }}\n{_RULES}{_SERIES}\n{_SHADES}\n{_CELLS}\n"
)
"""CSS for everything in `moola.drawing`, with custom properties for both colour schemes."""
CHOOSABLE_STYLESHEET = STYLESHEET.replace(
    f"{{ :root {{{_DARK}}} }}", f"{{ :root:not([data-scheme=light]) {{{_DARK}}} }}"
) + (f":root[data-scheme=dark] {{ color-scheme: dark;{_DARK}}}\n:root[data-scheme=light] {{ color-scheme: light; }}\n")
"""The same for a page whose reader may choose: ``data-scheme`` of the root element is ``light`` or ``dark``."""
_DARK_RULE = re.compile(r"@media screen and \(prefers-color-scheme: dark\) \{ :root \{[^}]*\} \}")


def in_light(markup: str) -> str:
    """Markup with `STYLESHEET` inside, its colours written out: for readers that know no custom properties."""
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", _LIGHT))
    return re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: colours[found[1]], _DARK_RULE.sub("", markup))
