"""Tables for a paper."""

from __future__ import annotations

from moola.drawing.latex import latex_table


def test_names_are_escaped_numbers_rounded_and_what_is_not_known_stays_empty() -> None:
    lines = latex_table(["model", "p_corrected"], [("a_b & 50 %", 0.12345), ("c", None), ("d", 3.0)]).splitlines()
    assert lines[0] == r"% \usepackage{booktabs}" and lines[1] == r"\begin{tabular}{lr}"
    assert r"model & p\_corrected \\" in lines
    assert lines[5:8] == [r"a\_b \& 50 \% & 0.123 \\", r"c &  \\", r"d & 3.0 \\"]
