"""Which windows a named encoder takes: one rule for a run that adopts it and for a file of embeddings.

The bars have to give the inputs that it learned from; what else they hold is nothing to it. The length of a window, and
where its parts lie, is no part of what was learned: layers do the same at every bar and count positions from the last
one, and every part goes through the same pooling. So windows of another length are taken, by the module that a run
builds for them, and the difference is told. Only where the layers themselves go by the length, as with ``depth: null``
of a TCN, the weights fit no other.
"""

from __future__ import annotations

from moola.encoders.record import EncoderRecord
from moola.errors import ConfigError, DataError
from moola.features import Transform
from moola.models import EncoderConfig
from moola.models.encoder import Encoder, InputShape
from moola.models.span_pooling import pooling_of
from moola.training.weights import compare_weights


def check_channels(record: EncoderRecord, transform: Transform, channels: tuple[str, ...]) -> None:
    """Whether bars with these channels give the inputs that an encoder learned from.

    Args:
        record: of the encoder.
        transform: its own, as it was fitted.
        channels: of the bars.

    Raises:
        DataError: they do not; what was expected is named.
    """
    try:
        inputs = transform.output_channels(channels)
        why = f"these bars ({', '.join(channels)}) give the inputs {', '.join(inputs)}"
    except DataError as error:
        inputs, why = (), "\n".join(part for part in (error.what, error.why) if part)
    if inputs != record.inputs:
        needed = _needed_channels(record, transform)
        raise DataError(
            f"the bars do not fit {record.name}",
            f"{why}\nit takes {', '.join(record.inputs)}, made from {', '.join(needed)}",
            f"bring these: data.channels=[{','.join(needed)}], with data.columns='{{close: Close}}' and the like where "
            "a file has other names for them; or choose another encoder",
        )


def learned_shape(record: EncoderRecord) -> InputShape:
    """What the windows looked like that an encoder learned from."""
    return InputShape(len(record.inputs), record.visible_bars, record.spans)


def build_for(record: EncoderRecord, config: EncoderConfig, shape: InputShape) -> Encoder:
    """A fresh encoder for such windows, which the weights of a named one fit.

    Raises:
        DataError: they fit none that takes such windows.
    """
    why = ""
    try:
        encoder = config.build(shape)
    except ConfigError as error:
        why = "\n".join(error.problems)
    else:
        report = compare_weights(encoder, config.build(learned_shape(record)).state_dict())
        differing = [*report.missing, *report.unexpected, *report.mismatched]
        if not differing:
            return encoder
        why = f"its layers go by the length: for {shape.n_bars} bars it has other weights, {differing[0]} among them"
    raise DataError(
        f"{record.name} learned from windows of {record.visible_bars} bars and cannot take {shape.n_bars}",
        why,
        f"cut windows as it learned from them ({_overrides(record)}), or pretrain",
    )


def told_difference(record: EncoderRecord, encoder: Encoder, shape: InputShape) -> str:
    """In which way windows differ from those that an encoder learned from, as far as it can tell; empty if in none."""
    by_parts = pooling_of(encoder) is not None and shape.spans != record.spans
    if shape.n_bars == record.visible_bars and not by_parts:
        return ""
    learned, these = (
        f"{windows.n_bars} bars" + (f" in the parts {_parts(windows)}" if by_parts else "")
        for windows in (learned_shape(record), shape)
    )
    return f"{record.name} learned from windows of {learned} ({_overrides(record)}), these have {these}"


def _needed_channels(record: EncoderRecord, transform: Transform) -> list[str]:
    """The source channels without which a transform does not give the inputs of an encoder."""

    def gives(channels: tuple[str, ...]) -> bool:
        try:
            return transform.output_channels(channels) == record.inputs
        except DataError:
            return False

    every = record.source_channels
    return [one for one in every if not gives(tuple(other for other in every if other != one))]


def _overrides(record: EncoderRecord) -> str:
    """What cuts windows as an encoder learned from them."""
    zone = f" data.window.zone=[{record.spans[-1][0]},{record.spans[-1][1]}]" if record.spans else ""
    return f"data.window.visible={record.visible_bars}{zone}"


def _parts(windows: InputShape) -> str:
    return " and ".join(f"{first} to {past - 1}" for first, past in windows.spans)
