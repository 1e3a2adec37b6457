"""Tables as LaTeX source, for whoever writes a paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "−": "$-$",
}


def latex_escaped(text: str) -> str:
    """Text without signs that LaTeX takes for something else."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def latex_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A whole file for a table of names, words and numbers, which are written to three decimals; nothing for None."""
    cells = ([_cell(value) for value in row] for row in rows)
    return f"% \\usepackage{{booktabs}}\n{latex_tabular([[_cell(name) for name in names]], [*cells])}\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return latex_escaped(f"{value:.3f}" if isinstance(value, float) and not value.is_integer() else f"{value}")


def latex_tabular(*groups: Sequence[Sequence[str]]) -> str:
    """A ``tabular`` in the style of the package booktabs, the first column to the left and the others to the right.

    Args:
        groups: rows of cells, as LaTeX; a rule stands between two groups.
    """
    columns = "l" + "r" * (len(groups[0][0]) - 1)
    parts = ["\n".join(" & ".join(cells) + r" \\" for cells in rows) for rows in groups]
    body = "\n\\midrule\n".join(parts)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}"
