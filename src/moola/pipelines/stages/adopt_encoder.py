"""Use a named encoder from another run in place of pretraining, where it fits and has not seen the sealed test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from moola.config import RunConfig, describe
from moola.data.channel_names import CLOCK_CHANNELS
from moola.data.splits.sealed import moment_us
from moola.data.window_index import WindowSpans
from moola.encoders.coverage import overlapping
from moola.encoders.loading import components
from moola.encoders.record import EncoderRecord, Lineage, read_record, verify_files
from moola.encoders.shelf import ROOM, find_folder
from moola.encoders.windows import build_for, check_channels, told_difference
from moola.errors import ConfigError, DataError, StorageError
from moola.features import Fittable, Transform
from moola.features.saving import save_transform
from moola.layout import Layout, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.encoder_agreement import check_agreement
from moola.pipelines.setup import FITTED_TRANSFORM, EncoderSetup
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.window_set import UNLABELLED_FILES, WindowSet


@dataclass(frozen=True)
class AdoptEncoder(Stage):
    """The named encoder of `encoder_from`, as later stages expect what pretraining leaves.

    Attributes:
        setup: of the run; the encoder has to have the same.
        folder: of the encoder.
        digest: of its record, so that another encoder under the same name is another artifact.
    """

    setup: EncoderSetup
    folder: str
    digest: str
    name: ClassVar[str] = "adopt_encoder"
    provides: ClassVar[str] = "encoder"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = UNLABELLED_FILES
    room: ClassVar[str] = ROOM
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``encoder_from``, and the ``seeds``, ``transform`` and ``encoder`` that it has to agree with.

        Raises:
            ConfigError: `encoder_from` is null or names none, or its encoder is another than this run's.
            DataError: the channels that the configuration names do not give the inputs that it takes.
        """
        if config.encoder_from is None:
            raise ConfigError(["encoder_from: is null; the stage adopt_encoder needs the name of an encoder"])
        setup = EncoderSetup.from_config(config)
        layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
        folder = find_folder(config.encoder_from, layout.room(ROOM)).absolute()
        record = read_record(folder)
        _check_told_channels(config, record)
        check_agreement(config, setup, record)
        return cls(setup, str(folder), record.digest)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes what `Pretrain` writes, with snapshots of the random start and of the end alone.

        Raises:
            DataError: it does not take such windows (`moola.encoders.windows`), or it has seen the sealed test.
            StorageError: the encoder was changed.
        """
        data = WindowSet.open(inputs)
        folder = Path(self.folder)
        record = read_record(folder)
        if record.digest != self.digest:
            raise StorageError(f"{record.name} was replaced while this run went on", "", "run the same command again")
        verify_files(folder, record)
        _, transform = components(record)
        check_channels(record, transform, data.store.channels)
        shape = self.setup.input_shape(data)
        adopted = adoption(record, data, told_difference(record, build_for(record, self.setup.encoder, shape), shape))
        workspace.events.emit("encoder_adopted", stage=self.name, **adopted)
        workspace.events.emit("note", stage=self.name, message=adopted["told"])
        for name in record.files:
            with (folder / name).open("rb") as source, replace_atomically(workspace.folder / name) as copy:
                shutil.copyfileobj(source, copy)
        self._write_snapshots(record, data, transform, workspace.folder)
        if isinstance(self.setup.transform, Fittable):
            save_transform(workspace.folder / FITTED_TRANSFORM, transform)
        said = {
            "encoder": describe(self.setup.encoder),
            "transform": describe(transform),
            "inputs": list(record.inputs),
            "visible_bars": record.visible_bars,
            "seeds": list(self.setup.seeds),
            "windows": record.windows,
        }
        write_json(workspace.folder / "encoder.json", {**record.remarks, **said, "adopted": adopted})

    def _write_snapshots(self, record: EncoderRecord, data: WindowSet, transform: Transform, folder: Path) -> None:
        """The two ends of the probe curve: the same architecture before it learned anything, and what was adopted.

        The random one settles on the training windows of this run, as that of a pretraining would.
        """
        import torch

        from moola.training.weights import load_weights, save_weights

        known = self.setup.settling_inputs(data, data.rows_of("train"), transform)
        for seed in self.setup.seeds:
            torch.manual_seed(seed)
            fresh = self.setup.encoder.build(self.setup.input_shape(data))
            fresh.settle(known)
            epoch = int(record.figures[str(seed)]["epoch"])
            learned = load_weights(folder / f"encoder-seed{seed}.safetensors")
            save_weights(folder / "snapshots" / f"seed{seed}-epoch000.safetensors", fresh.state_dict())
            save_weights(folder / "snapshots" / f"seed{seed}-epoch{epoch:03d}.safetensors", learned)


def _check_told_channels(config: RunConfig, record: EncoderRecord) -> None:
    """Refuse bars that cannot give its inputs, where their channels are configured: no override would help them.

    Raises:
        DataError: as `check_channels`.
    """
    channels = config.data.get("channels")
    if isinstance(channels, list):
        clock = CLOCK_CHANNELS if config.data.get("clock_timezone") is not None else ()
        check_channels(record, components(record)[1], (*map(str, channels), *clock))


def adoption(record: EncoderRecord, data: WindowSet, difference: str = "") -> dict[str, Any]:
    """What is to be known of an encoder that comes from elsewhere.

    Args:
        record: of the encoder.
        data: of the run.
        difference: in which way its windows are others than the encoder learned from; empty if in none.

    Returns:
        ``name``, ``content``, ``objective``, ``run_id``, ``learned`` (first and last time), ``same_bars``,
        ``may_have_seen_test`` (False only where it is proved), ``times_known`` (whether its times and those of the
        sealed test could be compared), and all of it ``told`` in words.

    Raises:
        DataError: it learned from these very bars, and from windows that overlap the sealed test.
    """
    lineage = record.lineage
    same_bars = lineage.bars == data.store.digest
    test = data.spans[data.rows_of("test")]
    if same_bars and (shared := int(overlapping(test, lineage.steps).sum())):
        raise DataError(
            f"{record.name} has seen the sealed test",
            f"it learned from these bars, and from windows that overlap {shared:,} of the {len(test):,} sealed ones",
            "seal later windows (split.test_from), use an encoder that learned from earlier ones, or pretrain",
        )
    times_known = lineage.last_time is not None and not data.store.independent
    seen, proof = _seen(lineage, test, same_bars, times_known)
    when = f" from {lineage.first_time} to {lineage.last_time}" if lineage.first_time else ""
    where = "these bars" if same_bars else "other bars"
    untrained = ", ".join(record.remarks.get("untrained", []))
    return {
        "name": record.name,
        "content": lineage.content,
        "objective": record.objective["name"],
        "run_id": lineage.run_id,
        "learned": [lineage.first_time, lineage.last_time],
        "same_bars": same_bars,
        "may_have_seen_test": seen,
        "times_known": times_known,
        "told": f"{record.name} was not pretrained in this run: it learned from {where}{when}; {proof}"
        + (f". Its layers {untrained} were not trained: what they add is random" if untrained else "")
        + (f". {difference}" if difference else ""),
    }


def _seen(lineage: Lineage, test: WindowSpans, same_bars: bool, times_known: bool) -> tuple[bool, str]:
    """Whether what an encoder learned from may hold the sealed test, and how that is known."""
    if same_bars:
        return False, "no window it learned from overlaps the sealed test"
    if not len(test):
        return False, "no window is sealed"
    if not times_known:
        return True, "whether the sealed test is among them cannot be known, so its figures there may flatter"
    if moment_us(str(lineage.last_time)) < int(test.first_time.min()):
        return False, "all of it ends before the sealed test begins"
    return True, "not all of it ends before the sealed test begins, so its figures there may flatter"
