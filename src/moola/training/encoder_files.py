"""What is said of an encoder beside its weights, and building it again from that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from moola.config import describe
from moola.errors import StorageError
from moola.layout import read_json
from moola.models import EncoderConfig
from moola.models.encoder import Encoder, InputShape


@dataclass(frozen=True)
class EncoderPlan:
    """An encoder without its weights.

    Attributes:
        config: of the encoder.
        shape: of the windows it was built for.
    """

    config: EncoderConfig
    shape: InputShape

    def build(self) -> Encoder:
        """With random weights; torch's global generator is afterwards where it was."""
        with torch.random.fork_rng(devices=[]):
            return self.config.build(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values of both."""
        return {"encoder": describe(self.config), "shape": describe(self.shape)}

    @classmethod
    def from_json(cls, said: Any, config: EncoderConfig | None, path: Path) -> Self:
        """What `to_json` said, with the configuration that has to be the same.

        Args:
            said: read from `path`.
            config: of the encoder that is to be used.
            path: of the file, for messages.

        Raises:
            StorageError: it says nothing, or was another encoder.
        """
        if config is None or said["encoder"] != describe(config):
            raise StorageError(
                f"{path} belongs to another encoder",
                f"it was {said['encoder']}, and this is {'none' if config is None else describe(config)}",
                "load it with the encoder= that it was fitted with, or fit it again",
            )
        n_inputs, n_bars, spans = (said["shape"][name] for name in ("n_inputs", "n_bars", "spans"))
        return cls(config, InputShape(n_inputs, n_bars, tuple((first, end) for first, end in spans)))


def read_group(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A JSON file that holds a group of keys, these among them.

    Raises:
        StorageError: it is missing, or is no such file.
    """
    said = read_json(path)
    missing = [key for key in keys if not isinstance(said, dict) or key not in said]
    if missing:
        raise StorageError(f"{path} cannot be used", f"it says no {', '.join(missing)}", "fit the model again")
    return said
