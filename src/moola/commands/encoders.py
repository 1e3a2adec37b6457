"""``moola encoders``: what pretraining left under a name, and what can be done with it far from its run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import EXIT_OK, EXIT_STORAGE, ConfigError, StorageError

if TYPE_CHECKING:
    from moola.config import RunConfig
    from moola.encoders.record import EncoderRecord

_EMBED = """\
Further words are overrides of `moola run` that say which windows:
  moola encoders embed bilstm_path_mae_4d_v1 --out vectors.parquet data=files data.path='bars/*.csv'
A name that ends in .parquet gets window_id, series, first_time, last_time, e0 to eN; one in .npy float32 [windows, N].
The last line on stdout is the file.
"""


def main(words: Sequence[str]) -> int:
    """``ls``, ``show``, ``embed`` or ``export``."""
    arguments, others = _parser().parse_known_args(words)
    if others and arguments.command != "embed":
        _parser().error(f"unrecognized arguments: {' '.join(others)}")
    if arguments.command == "embed":
        return _embed(arguments, others)
    act: Callable[[argparse.Namespace], int] = {"ls": _ls, "show": _show, "export": _export}[arguments.command]
    return act(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola encoders", description="Encoders that finished pretraining, each under a name."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", help="a line an encoder")
    show = commands.add_parser("show", help="everything known of one: losses, lineage, files")
    embed = commands.add_parser(
        "embed",
        help="the embedding of every window of a configuration, as Parquet or .npy",
        epilog=_EMBED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export = commands.add_parser("export", help="write it as ONNX, checked against onnxruntime")
    for one in (show, embed, export):
        one.add_argument("name", metavar="NAME", help="its name, or the folder it is in")
    for one in (ls, show):
        one.add_argument("--json", action="store_true", help="as JSON")
    for one in (ls, show, export):
        one.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="default: artifacts")
    for one, what in ((embed, "FILE.parquet or FILE.npy"), (export, "FILE.onnx")):
        one.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"{what}; replaced if it is there")
        one.add_argument("--seed", type=int, help="which of its weights (default: the first)")
    embed.add_argument("--batch", type=int, metavar="N", help="windows at once (default: what suits the device)")
    embed.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the key device")
    return parser


def _room(artifacts: Path) -> Path:
    return artifacts.absolute() / "encoders" / "pretrained"


def _ls(arguments: argparse.Namespace) -> int:
    from moola.encoders.record import read_record
    from moola.encoders.shelf import encoder_folders

    lines: list[dict[str, Any]] = []
    unreadable = False
    for folder in encoder_folders(_room(arguments.artifacts)):
        try:
            lines.append(_line(read_record(folder), folder))
        except StorageError as error:
            print(error.spoken(), file=sys.stderr)
            unreadable = True
    if arguments.json:
        print(json.dumps(lines, indent=2, ensure_ascii=False))
    elif lines:
        print("\n".join(_table([list(lines[0]), *([_short(value) for value in line.values()] for line in lines)])))
    elif not unreadable:
        print(f"no encoder has a name yet in {_room(arguments.artifacts)}: `moola pretrain` makes one")
    return EXIT_STORAGE if unreadable else EXIT_OK


def _line(record: EncoderRecord, folder: Path) -> dict[str, Any]:
    """What `ls` says of an encoder."""
    return {
        "name": record.name,
        "encoder": record.encoder["name"],
        "objective": record.objective["name"],
        "inputs": len(record.inputs),
        "bars": record.visible_bars,
        "windows": record.windows.get("train"),
        "seeds": list(record.seeds),
        "created": record.created,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def _show(arguments: argparse.Namespace) -> int:
    from moola.encoders.record import read_record
    from moola.encoders.shelf import find_folder

    folder = find_folder(arguments.name, _room(arguments.artifacts))
    record = read_record(folder)
    if arguments.json:
        print(json.dumps({"folder": str(folder), **record.to_json()}, indent=2, ensure_ascii=False))
        return EXIT_OK
    facts = _facts(record)
    wide = max(map(len, facts))
    for name, words in facts.items():
        print(f"{name:{wide}}  {words}")
    print("\nkept epoch of each seed; val_copy_last, val_mean: trivial predictors in the units of val_reconstruction")
    names = list(dict.fromkeys(name for figures in record.figures.values() for name in figures))
    rows = [
        [seed, *(f"{figures[name]:.5g}" if name in figures else "-" for name in names)]
        for seed, figures in record.figures.items()
    ]
    print("\n".join(_table([["seed", *names], *rows])))
    print(folder)
    return EXIT_OK


def _facts(record: EncoderRecord) -> dict[str, str]:
    """What there is to know, as label and words."""
    lineage = record.lineage
    times = f"{lineage.first_time} to {lineage.last_time}" if lineage.first_time else "cases without times"
    state = {True: ", changed since", False: "", None: ""}[lineage.git_dirty]
    return {
        "name": record.name,
        "encoder": _spoken(record.encoder),
        "objective": _spoken(record.objective),
        "transform": _spoken(record.configured_transform),
        "inputs": f"{', '.join(record.inputs)} (from {', '.join(record.source_channels)})",
        "visible bars": str(record.visible_bars),
        "windows": ", ".join(f"{n:,} {what}" for what, n in record.windows.items()),
        "not trained": ", ".join(record.remarks.get("untrained", [])) or "every layer was trained",
        "learned from": times,
        "seeds": ", ".join(map(str, record.seeds)),
        "created": record.created,
        "run": lineage.run_id,
        "code": f"moola {lineage.moola}, commit {lineage.git_commit or 'unknown'}{state}",
        "versions": ", ".join(f"{name} {version}" for name, version in lineage.versions.items()),
        "bars, splits": f"{lineage.bars[:16]}, {lineage.splits[:16]}",
        "artifact": lineage.artifact[:16],
        "files": ", ".join(f"{name} {digest[:12]}" for name, digest in record.files.items()),
    }


def _spoken(section: Mapping[str, Any]) -> str:
    """A section as ``name (key=value, ...)``."""
    keys = ", ".join(f"{key}={value}" for key, value in section.items() if key != "name")
    return f"{section['name']} ({keys})" if keys else str(section["name"])


def _embed(arguments: argparse.Namespace, overrides: list[str]) -> int:
    from moola.commands.jobs import for_each
    from moola.config import reject

    reject((arguments.batch is not None and arguments.batch < 1, f"--batch: {arguments.batch} must be at least 1"))
    _make_room_for(arguments.out)
    configs: list[RunConfig] = []
    for_each("encoders embed", overrides, lambda config, config_yaml: configs.append(config))
    if not configs:  # --cfg: Hydra has answered
        return EXIT_OK
    if len(configs) > 1:
        raise ConfigError(["-m: every combination would be written to the same file; embed one at a time"])
    from moola.pipelines.console import open_console
    from moola.pipelines.embedding import embed_windows

    console = open_console()
    try:
        done = embed_windows(
            configs[0],
            arguments.name,
            arguments.out,
            seed=arguments.seed,
            batch_size=arguments.batch,
            device=arguments.device,
            listener=console,
        )
    finally:
        console.close()
    if done.difference:
        print(f"note: {done.difference}")
    print(
        f"{done.n_windows:,} windows of {done.n_bars} bars as {done.width} numbers each, by {done.name}, seed "
        f"{done.seed}, on {done.device}: {done.windows_per_s:,.0f} windows/s"
    )
    print(done.path)
    return EXIT_OK


def _make_room_for(file: Path) -> None:
    """Make the folder of a file that is to be written, before the work for it begins.

    Raises:
        StorageError: no file can be written there.
    """
    if file.is_dir():
        raise StorageError(f"--out: {file} is a folder", "", f"give a file, e.g. --out {file / 'vectors.parquet'}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out: the folder {file.parent} cannot be made", str(error), "give another") from error
    if not os.access(file.parent, os.W_OK):
        raise StorageError(f"--out: nothing can be written to {file.parent}", "", "give another folder")


def _export(arguments: argparse.Namespace) -> int:
    from moola.config import reject
    from moola.encoders.loading import load_encoder
    from moola.encoders.onnx_export import export_onnx

    reject((arguments.out.suffix != ".onnx", f"--out: {arguments.out} must end in .onnx"))
    _make_room_for(arguments.out)
    ready = load_encoder(arguments.name, arguments.seed, _room(arguments.artifacts))
    error = export_onnx(ready, arguments.out)
    shape = f"[windows, {ready.record.visible_bars}, {len(ready.record.inputs)}]"
    print(f"{ready.record.name}, seed {ready.seed}: inputs {shape} -> states, embedding")
    print(f"largest relative error of onnxruntime on random windows: {error:.1e}")
    print(arguments.out)
    return EXIT_OK


def _short(value: Any) -> str:
    """A cell of the table."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
