"""An encoder as ONNX, for programs without torch; written only if onnxruntime gives the same numbers."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moola.encoders.loading import ReadyEncoder
from moola.errors import EXIT_FAILED, MissingPackageError, MoolaError
from moola.layout import write_bytes

MOST_ERROR = 1e-3
"""Largest error relative to the largest number of an output with which a file is written."""
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_TRIED = (1, 2, 33)
"""Windows in the batches on which both are compared; it was traced with 2."""


class ExportError(MoolaError):
    """The exported encoder is another function than the encoder."""

    exit_code = EXIT_FAILED


class _Encode(nn.Module):
    """`Encoder.encode` as the call of a module, which is what the exporter traces."""

    def __init__(self, ready: ReadyEncoder) -> None:
        super().__init__()
        self.encoder = ready.encoder

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.encode(inputs)


def export_onnx(ready: ReadyEncoder, path: Path) -> float:
    """Write ``inputs`` [B, T, D] -> ``states`` [B, T, W], ``embedding`` [B, E] for any B; T and D are fixed.

    The transform is not part of it: `inputs` are transformed bars. Metadata ``moola`` says which transform, as JSON.

    Returns:
        The largest error of onnxruntime against torch on random windows, relative to the largest number of an output.

    Raises:
        MissingPackageError: a package of the extra ``onnx`` is not installed.
        ExportError: the encoder cannot be exported, or the error is above `MOST_ERROR`; nothing is written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            "ONNX export needs packages that are not installed",
            "\n".join(f"- {name}" for name in missing),
            "pip install -c constraints.txt 'moola[onnx]'",
        )
    model = _traced(ready)
    told = {"name": ready.record.name, "seed": ready.seed, "inputs": list(ready.record.inputs)}
    told |= {"source_channels": list(ready.record.source_channels), "transform": ready.record.transform}
    entry = model.metadata_props.add()
    entry.key, entry.value = "moola", json.dumps(told)
    content = model.SerializeToString()
    error = _largest_error(ready, content)
    if not error <= MOST_ERROR:
        raise ExportError(
            f"onnxruntime does not compute what {ready.record.name} does",
            f"the largest relative error on random windows is {error:.2g}, above {MOST_ERROR:g}",
            "use the encoder through torch, or other versions of onnx, onnxruntime and torch",
        )
    write_bytes(path, content)
    return error


def _traced(ready: ReadyEncoder) -> Any:
    """The model as a protocol buffer."""
    example = torch.zeros(2, ready.record.visible_bars, len(ready.record.inputs))
    said = io.StringIO()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # The exporter tells its steps, and warns of torch's own use of old names.
        with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Encode(ready).eval(),
                (example,),
                input_names=["inputs"],
                output_names=["states", "embedding"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"torch cannot export {ready.record.name} to ONNX",
            str(error).strip().splitlines()[0],
            "use the encoder through torch, or another version of torch and onnxscript",
        ) from error
    finally:
        logger.setLevel(level)
    if program is None:
        raise ExportError(
            f"torch cannot export {ready.record.name} to ONNX", "it gives no program", "use the encoder through torch"
        )
    return program.model_proto


def _largest_error(ready: ReadyEncoder, content: bytes) -> float:
    """Largest difference between onnxruntime and torch over the largest number, over outputs and batch sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    numbers = torch.Generator().manual_seed(0)
    errors: list[float] = []
    for n_windows in _TRIED:
        inputs = torch.randn(n_windows, ready.record.visible_bars, len(ready.record.inputs), generator=numbers)
        with torch.no_grad():
            expected = [output.numpy() for output in ready.encoder.encode(inputs)]
        found = [np.asarray(output) for output in session.run(None, {"inputs": inputs.numpy()})]
        for ours, theirs in zip(expected, found, strict=True):
            if ours.shape != theirs.shape:
                return float("inf")
            errors.append(float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-12)))
    return float(np.max(errors))
