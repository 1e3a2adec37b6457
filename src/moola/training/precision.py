"""Precision of the arithmetic: what is asked for, what the device can do, and what was therefore done.

``fp32`` is full single precision; on a GPU this switches off TF32, which cuDNN uses by default. ``tf32`` multiplies
matrices with 10 bits of mantissa (NVIDIA GPUs since Ampere) and adds up in single precision. ``bf16`` computes what
autocast holds to be safe in bfloat16; weights, gradients and the optimiser stay in single precision. ``auto`` is
``tf32`` where there is such a GPU and ``fp32`` elsewhere: both keep the range of single precision, and no bfloat16
rounding decides what an encoder learns unless somebody asked for it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

PrecisionName = Literal["fp32", "tf32", "bf16"]
_AMPERE = (8, 0)
_TOLERANCE = 0.05
"""Largest difference of an LSTM state (all lie in [-1, 1]) between bfloat16 and single precision."""


@dataclass(frozen=True)
class Precision:
    """The precision of a fit.

    Attributes:
        name: what is computed in.
        fallback: why it is not what was asked for; empty where it is.
    """

    name: PrecisionName
    fallback: str = ""

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Around each forward pass."""
        if self.name != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def realise(asked: Literal["auto", "fp32", "tf32", "bf16"], device: torch.device) -> Precision:
    """What `device` does of what is asked; falls back to ``fp32`` and says why."""
    if asked == "auto":
        return Precision("tf32" if _has_tf32(device) else "fp32")
    if asked == "tf32" and not _has_tf32(device):
        return Precision("fp32", f"tf32 needs an NVIDIA GPU since Ampere, and this trains on {_spoken(device)}")
    if asked == "bf16":
        trouble = _bf16_trouble(device.type)
        if trouble:
            return Precision("fp32", f"an LSTM in bf16 does not work on {_spoken(device)}: {trouble}")
    return Precision(asked)


@contextlib.contextmanager
def matrix_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let matrix products, convolutions and recurrent layers use TF32 or not; puts back what was set before."""
    if device.type != "cuda":
        yield
        return
    switches = _Switches()
    before = switches.read()
    switches.write(switches.values(precision.name == "tf32"))
    try:
        yield
    finally:
        switches.write(before)


class _Switches:
    """The three places where torch keeps the choice; their names changed in torch 2.9, and the old ones warn."""

    def __init__(self) -> None:
        cudnn: Any = torch.backends.cudnn
        self._new = hasattr(cudnn, "rnn")
        matmul: Any = torch.backends.cuda.matmul
        self._places: list[Any] = [matmul, cudnn.conv, cudnn.rnn] if self._new else [matmul, cudnn]
        self._name = "fp32_precision" if self._new else "allow_tf32"

    def values(self, tf32: bool) -> list[Any]:
        chosen: Any = ("tf32" if tf32 else "ieee") if self._new else tf32
        return [chosen] * len(self._places)

    def read(self) -> list[Any]:
        return [getattr(place, self._name) for place in self._places]

    def write(self, values: list[Any]) -> None:
        for place, value in zip(self._places, values, strict=True):
            setattr(place, self._name, value)


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= _AMPERE


@functools.cache
def _bf16_trouble(device_type: str) -> str:
    """What goes wrong in a small bidirectional LSTM, forwards and backwards, under autocast; empty if nothing does.

    On a CPU it depends on the instructions that oneDNN finds; nothing but trying tells.
    """
    with torch.random.fork_rng(devices=[] if device_type == "cpu" else None):
        lstm = nn.LSTM(4, 16, bidirectional=True, batch_first=True).to(device_type)
        inputs = torch.randn(8, 20, 4, device=device_type)
    try:
        with torch.autocast(device_type, torch.bfloat16):
            states = lstm(inputs)[0].float()
        states.sum().backward()
        difference = float((states - lstm(inputs)[0]).abs().max().detach())
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "" if difference <= _TOLERANCE else f"its states are off by {difference:.2g}"


def _spoken(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
