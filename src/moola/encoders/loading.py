"""A named encoder, ready to use: digests checked, the transform as it was fitted, the weights in their module."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from moola.encoders.record import EncoderRecord, read_record, verify_files
from moola.encoders.shelf import find_folder
from moola.encoders.windows import build_for, learned_shape
from moola.errors import ConfigError, StorageError
from moola.features import TRANSFORMS, Fittable, Transform
from moola.models import ENCODERS, EncoderConfig
from moola.models.encoder import Encoder, InputShape
from moola.training.weights import load_weights, transfer_weights


@dataclass(frozen=True)
class ReadyEncoder:
    """An encoder with what belongs before it.

    Attributes:
        record: what is known of it.
        seed: whose weights these are.
        encoder: inputs [B, T, D] -> states [B, T, W] and embedding [B, E], in evaluation mode, on the CPU.
        transform: bars [B, T, C] -> inputs [B, T, D].
    """

    record: EncoderRecord
    seed: int
    encoder: Encoder
    transform: Transform

    def for_windows(self, shape: InputShape) -> ReadyEncoder:
        """The same weights in the module that a run builds for such windows.

        Raises:
            DataError: they fit none; see `moola.encoders.windows`.
        """
        config, _ = components(self.record)
        encoder = build_for(self.record, config, shape)
        transfer_weights(encoder, self.encoder.state_dict())
        return dataclasses.replace(self, encoder=encoder.eval())


def load_encoder(
    name_or_path: str,
    seed: int | None = None,
    room: Path = Path("artifacts/encoders/pretrained"),
) -> ReadyEncoder:
    """Load a named encoder, as it was when it had learned.

    In windows of another length, one that pools by parts takes the same shares, unless `ReadyEncoder.for_windows` is
    told where the parts lie.

    Args:
        name_or_path: e.g. ``bilstm_mae_4d_v1``, or the folder of one.
        seed: which of its weights; None: the first.
        room: folder that holds the names.

    Raises:
        ConfigError: there is no such encoder, or it has no weights of that seed.
        StorageError: a file is missing, truncated or changed; a component is not installed.
    """
    folder = find_folder(name_or_path, room)
    record = read_record(folder)
    verify_files(folder, record)
    chosen = record.seeds[0] if seed is None else seed
    if chosen not in record.seeds:
        known = ", ".join(map(str, record.seeds))
        raise ConfigError([f"seed: {record.name} has no weights of seed {seed}; known: {known}"], "choose one of them")
    config, transform = components(record)
    encoder = config.build(learned_shape(record))
    transfer_weights(encoder, load_weights(folder / f"encoder-seed{chosen}.safetensors"))
    return ReadyEncoder(record, chosen, encoder.eval(), transform)


def components(record: EncoderRecord) -> tuple[EncoderConfig, Transform]:
    """The encoder's configuration and the fitted transform that a record describes.

    Raises:
        StorageError: one of them is not installed here, or takes other keys by now.
    """
    try:
        config = ENCODERS.build_section(record.encoder, "encoder")
        transform = TRANSFORMS.build_section(record.transform, "transform")
    except ConfigError as error:
        raise StorageError(
            f"{record.name} cannot be built here",
            error.why,
            f"install the package that brings it; moola {record.lineage.moola} made it",
        ) from error
    if isinstance(transform, Fittable):
        raise StorageError(f"{record.name} cannot be used", "its transform was never fitted", "pretrain it again")
    return config, transform
