"""``moola labels batch``: the next windows to annotate."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.encoder_lines import table_lines
from moola.commands.label_commands.named_run import named_run
from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK

if TYPE_CHECKING:
    import polars as pl

_SHOWN = ("order", "window_id", "first_time", "session", "volatility", "uncertainty", "distance")
_EPILOG = """\
RUN is a run id or a run folder; its encoder says which windows are alike, and its classifier (moola finetune), or a
linear probe on the labels there are, of which it is unsure. Overrides instead of it cut windows and know no encoder;
before the first label:
  moola pretrain task=unlabelled data=files data.path='bars/*.csv'
  moola labels batch RUN --size 50
No window overlaps one that is labelled, decided about, blacklisted, in a batch already or sealed. A batch is three
files in data/batches; NAME.json is the template of the candlestick annotation tools (`moola labels import` reads it).
The last line on stdout is the table of the batch.
"""


def main(words: Sequence[str]) -> int:
    """Draw a batch from a finished run, or from the one that overrides describe."""
    arguments, others = _parser().parse_known_args(list(words))
    from moola.labels.batches import BatchConfig

    choice = BatchConfig(arguments.size, arguments.unsure_share, max(arguments.pool, arguments.size))
    folder = named_run(others, arguments.artifacts, "labels batch", "splits")
    if folder is None:  # --cfg: Hydra has answered
        return EXIT_OK
    from omegaconf import OmegaConf

    from moola.config import from_omegaconf
    from moola.layout import Layout
    from moola.pipelines.annotation_batch import draw_batch
    from moola.pipelines.run_artifacts import open_artifacts

    config = from_omegaconf(OmegaConf.load(folder / "config.yaml"))
    layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
    drawn = draw_batch(open_artifacts(folder), config, layout, choice, folder.name)
    if arguments.json:
        print(json.dumps({"batch": drawn.name, "file": str(drawn.path), **drawn.told}, indent=2, ensure_ascii=False))
        return EXIT_OK
    print("\n".join([*_lines(drawn.table), "", summary_line(drawn.name, len(drawn.table), drawn.told), ""]))
    print(drawn.path)
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola labels batch",
        usage="moola labels batch [RUN | KEY=VALUE ...] [OPTION ...]",
        description="Choose the next windows to annotate, by uncertainty and by coverage.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=50, metavar="N", help="windows to choose (default 50)")
    parser.add_argument("--pool", type=int, default=20_000, metavar="N", help="windows to look at (default 20000)")
    parser.add_argument(
        "--unsure-share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of each stratum, the most uncertain ones to choose among (default 0.25; 1: all)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    add_artifacts(parser)
    return parser


def _lines(table: pl.DataFrame) -> list[str]:
    return list(table_lines([_SHOWN, *([_cell(row[name]) for name in _SHOWN] for row in table.iter_rows(named=True))]))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value).removesuffix("+00:00")


def summary_line(name: str, n: int, told: Mapping[str, Any]) -> str:
    """What was drawn, how, and why it is fewer than was asked for, where it is."""
    compared = {"encoder": "by the run's encoder", "summary": "by simple features, for there is no encoder"}
    unsure = {
        "classifier": "the run's classifier was asked what it is unsure of",
        "probe": "a linear probe on the labels was asked what it is unsure of",
        "": "no model was asked what it is unsure of",
    }
    short = ""
    if n < told["asked"]:
        short = f"; {told['asked']:,} asked, {n:,} possible: no more fit side by side without sharing time"
        short += ", raise --pool to look at more" if told["looked_at"] < told["free_windows"] else ""
    return (
        f"{name}: {n} of {told['free_windows']:,} free windows ({told['looked_at']:,} looked at), compared "
        f"{compared[told['compared_by']]}; {unsure[told['uncertainty_by']]}{short}"
    )
