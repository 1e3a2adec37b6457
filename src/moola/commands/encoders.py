"""``moola encoders``: what pretraining left under a name, and what can be done with it far from its run."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.commands.layout import add_artifacts
from moola.errors import EXIT_OK, EXIT_USAGE, ConfigError, StorageError, did_you_mean

if TYPE_CHECKING:
    from moola.config import RunConfig
    from moola.encoders.record import EncoderRecord

_COMMANDS = {
    "ls": "a line for each encoder",
    "show": "everything known of one: losses, lineage, files",
    "embed": "the embedding of every window of a configuration, as Parquet or .npy",
    "export": "write it as ONNX, checked against onnxruntime",
}
_COLUMNS = ("name", "encoder", "objective", "inputs", "bars", "windows", "seeds", "created", "bytes")
"""What `ls` says of an encoder."""
_LS = "An encoder whose files were changed is listed as broken, with the reason on stderr; that is no failure of `ls`."
_EMBED = """\
Further words are overrides of `moola run` that say which windows, and where files are: data, paths, device, and the
presets experiment and debug. What the encoder was made with it brings along: a transform, a model or seeds are refused.
  moola encoders embed bilstm_path_mae_4d_v1 --out vectors.parquet data=files data.path='bars/*.csv'
A name that ends in .parquet gets window_id, series, first_time, last_time, e0 to eN; one in .npy float32 [windows, N].
The last line on stdout is the file.
"""
_HAS_A_SAY = ("data", "paths", "device", "force")
"""Keys of a run that change what `embed` writes, or where; of the others, those that the encoder settles:"""
_BROUGHT_ALONG = ("transform", "encoder", "encoder_from", "objective", "augment", "trainer", "seeds")


def main(words: Sequence[str]) -> int:
    """``ls``, ``show``, ``embed`` or ``export``."""
    words = list(words) or ["--help"]
    if words[0] not in _COMMANDS and not words[0].startswith("-"):
        told = f"there is no command '{words[0]}'; {did_you_mean(words[0], _COMMANDS)}"
        print(f"moola encoders: {told}", file=sys.stderr)
        return EXIT_USAGE
    arguments, others = _parser().parse_known_args(words)
    if arguments.command == "embed":
        return _embed(arguments, others)
    if others:
        _parser().error(f"unrecognized arguments: {' '.join(others)}")
    act: Callable[[argparse.Namespace], int] = {"ls": _ls, "show": _show, "export": _export}[arguments.command]
    return act(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moola encoders", description="Encoders that finished pretraining, each under a name."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    ls, show, embed, export = (
        commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", formatter_class=raw)
        for name, words in _COMMANDS.items()
    )
    ls.epilog, embed.epilog = _LS, _EMBED
    embed.usage = "moola encoders embed NAME --out FILE [OPTION ...] [KEY=VALUE ...]"
    for one in (show, embed, export):
        one.add_argument("name", metavar="NAME", help="its name, or the folder it is in")
    for one in (ls, show):
        one.add_argument("--json", action="store_true", help="as JSON")
    for one, what in ((embed, "FILE.parquet or FILE.npy"), (export, "FILE.onnx")):
        one.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"{what}; replaced if it is there")
        one.add_argument("--seed", type=int, metavar="N", help="which of its weights (default: the first)")
    embed.add_argument("--batch", type=int, metavar="N", help="windows at once (default: what suits the device)")
    embed.add_argument("--index", action="store_true", help="and an index beside it that finds nearest windows")
    embed.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: what the key device says")
    for one in (ls, show, export):
        add_artifacts(one)
    embed.add_argument("--artifacts", type=Path, metavar="FOLDER", help="default: what the key paths.artifacts says")
    return parser


def _room(artifacts: Path) -> Path:
    return artifacts.absolute() / "encoders" / "pretrained"


def _ls(arguments: argparse.Namespace) -> int:
    from moola.commands.encoder_lines import table_lines
    from moola.encoders.record import read_record, verify_files
    from moola.encoders.shelf import encoder_folders

    rows: list[dict[str, Any]] = []
    for folder in encoder_folders(_room(arguments.artifacts)):
        try:
            record = read_record(folder)
            verify_files(folder, record)
            rows.append({**_row(record, folder), "broken": None})
        except StorageError as error:
            print(error.spoken(), file=sys.stderr)
            rows.append({**dict.fromkeys(_COLUMNS), "name": folder.name, "broken": f"{error.what}: {error.why}"})
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        cells = [
            ["broken" if row["broken"] and name == "encoder" else _cell(row[name]) for name in _COLUMNS] for row in rows
        ]
        print("\n".join(table_lines([_COLUMNS, *cells])))
    else:
        print(f"no encoder has a name yet in {_room(arguments.artifacts)}: `moola pretrain` makes one")
    return EXIT_OK


def _row(record: EncoderRecord, folder: Path) -> dict[str, Any]:
    """What `ls` says of an encoder, a value for each of `_COLUMNS`."""
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


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show(arguments: argparse.Namespace) -> int:
    from moola.commands.encoder_lines import fact_lines, figure_lines
    from moola.encoders.record import read_record, verify_files
    from moola.encoders.shelf import find_folder

    folder = find_folder(arguments.name, _room(arguments.artifacts))
    record = read_record(folder)
    if arguments.json:
        print(json.dumps({"folder": str(folder), **record.to_json()}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*fact_lines(record), "", *figure_lines(record), "", str(folder)]))
    verify_files(folder, record)  # last: what is known says how to make the files again
    return EXIT_OK


def _embed(arguments: argparse.Namespace, overrides: list[str]) -> int:
    from moola.commands.jobs import for_each
    from moola.config import override, reject

    reject(
        (arguments.batch is not None and arguments.batch < 1, f"--batch: {arguments.batch} must be at least 1"),
        (arguments.index and arguments.out.suffix != ".npy", f"--index: needs vectors in .npy, not {arguments.out}"),
    )
    _refuse_without_say(arguments.name, overrides)
    _make_room_for(arguments.out)
    configs: list[RunConfig] = []
    if arguments.artifacts is not None:
        overrides = [*overrides, override("paths.artifacts", str(arguments.artifacts))]
    for_each("encoders embed", overrides, lambda config, config_yaml: configs.append(config))
    if not configs:  # --cfg: Hydra has answered
        return EXIT_OK
    if len(configs) > 1:
        raise ConfigError(["-m: every combination would be written to the same file; embed one at a time"])
    from moola.pipelines.console import open_console
    from moola.pipelines.embedding import embed_windows

    console = open_console()
    try:
        with _writing(arguments.out):
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
    if arguments.index:
        _build_index(done.path)
    print(done.path)
    return EXIT_OK


def _build_index(vectors: Path) -> None:
    """Write the index of a file of embeddings beside it, ``vectors.usearch`` beside ``vectors.npy``."""
    import numpy as np

    from moola.labels.neighbours import build_index

    path = vectors.with_suffix(".usearch")
    build_index(np.load(vectors, mmap_mode="r", allow_pickle=False), path)
    print(f"index of nearest windows: {path}")


def _refuse_without_say(name: str, overrides: Sequence[str]) -> None:
    """Refuse overrides that would change nothing, before anybody believes that they did.

    Raises:
        ConfigError: all of them.
    """
    from moola.config import RunConfig

    without_say = {item.name for item in dataclasses.fields(RunConfig)}.difference(_HAS_A_SAY)
    problems: list[str] = []
    for word in overrides:
        section = re.split(r"[=.@]", word.lstrip("+~"), maxsplit=1)[0]
        if section in without_say:
            own = f"{name} is the encoder" if section.startswith("encoder") else f"{name} brings its own {section}"
            problems.append(f"{word}: {own if section in _BROUGHT_ALONG else 'does not say which windows'}")
    if problems:
        told = "leave out what is named: data says which windows, paths and device where, --seed whose weights"
        raise ConfigError(problems, told)


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


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Errors of the disk at this file are told with another --out, where those at others ask for other paths.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if str(error.filename) != str(file):
            raise
        lift = "lift the limit on the size of files (ulimit -f unlimited)"
        way_out = f"{lift if error.errno == errno.EFBIG else 'free space'}, or give a file on another disk with --out"
        raise StorageError(f"--out: {file}: {error.strerror}", "", way_out) from error


def _export(arguments: argparse.Namespace) -> int:
    from moola.config import reject
    from moola.encoders.loading import load_encoder
    from moola.encoders.onnx_export import export_onnx

    reject((arguments.out.suffix != ".onnx", f"--out: {arguments.out} must end in .onnx"))
    _make_room_for(arguments.out)
    ready = load_encoder(arguments.name, arguments.seed, _room(arguments.artifacts))
    with _writing(arguments.out):
        error = export_onnx(ready, arguments.out)
    shape = f"[windows, {ready.record.visible_bars}, {len(ready.record.inputs)}]"
    print(f"{ready.record.name}, seed {ready.seed}: inputs {shape} -> states, embedding")
    print(f"largest relative error of onnxruntime on random windows: {error:.1e}")
    print(arguments.out)
    return EXIT_OK
