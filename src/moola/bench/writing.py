"""A bench on disk: CSV, JSON, Markdown, LaTeX, one page and the critical-difference picture."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import moola
from moola import drawing
from moola.bench.results import FEW, SetResult
from moola.bench.table import BenchTable
from moola.bench.text_tables import TextTable, text_tables
from moola.config import digest_json
from moola.drawing.page import render_page
from moola.layout import write_json, write_text
from moola.pipelines.events import now
from moola.pipelines.scores import display_name, without_nan

_COLUMNS = ("set", "method", "origin", "share_of_labels", "accuracy", "low", "high", "n_test", "seeds", "source")
_PICTURE = "critical_difference.svg"


def bench_folder(results: Path, name: str, table: BenchTable) -> Path:
    """Where it goes: the same runs and failures are the same bench."""
    told = {"runs": [one.run_id for one in table.sets], "failed": sorted(table.failed)}
    return results / f"bench-{name}-{digest_json(told)[:12]}"


def write_bench(folder: Path, table: BenchTable, command: str) -> None:
    """Write everything; a picture only where there are ranks.

    Args:
        folder: is made where it is missing.
        table: what was found.
        command: that makes it again.
    """
    tables = list(text_tables(table))
    picture = _picture(table)
    if picture:
        write_text(folder / _PICTURE, drawing.svg_file([("Average ranks", picture)], title="Average ranks of models"))
    write_text(folder / "accuracy.csv", _csv(table))
    write_json(
        folder / "bench.json", {"command": command, "moola": moola.__version__, "created": now(), **_json(table)}
    )
    write_text(folder / "bench.md", markdown(table, tables))
    write_text(folder / "bench.tex", "\n".join(one.latex() for one in tables))
    alarms = [(one.name, sentence) for one in table.sets for sentence in one.alarms]
    page = render_page(
        "moola.bench:bench.html.j2",
        table=table,
        targets=target_lines(table),
        tables=tables,
        names=[one.name for one in table.sets],
        alarms=alarms,
        picture=picture,
        command=command,
        version=moola.__version__,
        created=now(),
    )
    write_text(folder / "bench.html", page)


def markdown(table: BenchTable, tables: list[TextTable] | None = None) -> str:
    """Targets first, then the tables, the alarms of single runs, and the sources."""
    parts = ["# Bench", "\n".join(f"- {said}: {what}" for said, what in target_lines(table))]
    parts += [f"- **failed**: {name}: {why}" for name, why in table.failed.items()]
    parts += [one.markdown() for one in (list(text_tables(table)) if tables is None else tables)]
    alarms = [f"- {one.name}: {sentence}" for one in table.sets for sentence in one.alarms]
    parts += ["## Alarms of the runs", "\n".join(alarms)] if alarms else []
    parts += ["## Sources", "\n".join(f"- {one.name}: {one.source}" for one in table.published)]
    return "\n\n".join(parts) + "\n"


def target_lines(table: BenchTable) -> list[tuple[str, str]]:
    """Of each target whether it was reached, and what it is and what was found; one line for all that are not known."""
    known = [target for target in table.targets if target.reached is not None]
    n_unknown = len(table.targets) - len(known)
    told = [("reached" if target.reached else "missed", f"{target.claim}; {target.found}") for target in known]
    if n_unknown:
        others = f"{n_unknown} other{'s' * (n_unknown > 1)}" if known else f"all {n_unknown}"
        told.append(("not known", f"{others}, for models or sets that this bench leaves out; bench.json has them"))
    return told


def _picture(table: BenchTable) -> str:
    if table.ranks is None:
        return ""
    return drawing.draw_critical_difference(
        [display_name(name) for name in table.ranks.models],
        table.ranks.ranks,
        [[display_name(name) for name in clique] for clique in table.ranks.cliques],
        title="Average ranks of models over sets; a bar joins those that no test tells apart",
        width=1000,
    )


def _csv(table: BenchTable) -> str:
    """One row a set, method and share of the labels."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in table.sets:
        writer.writerows(_rows(one))
        for other in table.published:
            if one.name in other.accuracy:
                figure = other.accuracy[one.name]
                writer.writerow((one.name, other.name, other.origin, 1, figure, "", "", "", "", other.source))
    return out.getvalue()


def _rows(one: SetResult) -> Iterator[tuple[Any, ...]]:
    for share, figures in ((1, one.accuracy), (FEW, one.few)):
        for model, found in figures.items():
            ends = (without_nan(found.low), without_nan(found.high))
            yield (one.name, model, "here", share, found.value, *ends, found.n, found.seeds, one.run_id)


def _json(table: BenchTable) -> dict[str, Any]:
    """As plain values; means and differences are in it, so that nobody has to compute them over other lists."""
    told = dataclasses.asdict(table)
    told["against"] = [{**dataclasses.asdict(pair), "difference": pair.difference} for pair in table.against]
    return without_nan(told)
