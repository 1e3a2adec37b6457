"""Gives every finished pretraining its name: after the stage, because a name is no part of what the stage computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.hooks import Hook
from moola.pipelines.stage import Stage

if TYPE_CHECKING:
    from moola.encoders.record import EncoderRecord, Lineage
    from moola.pipelines.stages.pretrain import Pretrain
    from moola.pipelines.window_set import WindowSet

_IN_RECORD = ("encoder.json", "transform.json")
"""Files of the artifact whose content goes into the record."""
_TOLD = ("encoder", "transform", "inputs", "visible_bars", "seeds", "windows")
"""What the stage says of the encoder and the record says in fields of its own."""


@dataclass(frozen=True)
class EncoderNaming(Hook):
    """Publishes the encoder of a run as a folder of its own, once; see `moola.encoders`."""

    def after_stage(self, stage: Stage, context: Context) -> None:
        """Emits ``encoder_named``, and notes that say the name and what of its folder had to be mended."""
        if stage.name != "pretrain":
            return
        from moola.encoders.shelf import ROOM, mend, publish, published
        from moola.pipelines.stages.pretrain import Pretrain

        if not isinstance(stage, Pretrain):
            return
        artifact, room = context.artifacts[stage.provides], context.layout.room(ROOM)
        files = {name: artifact.path(name) for name in published_files(artifact)}
        folder, is_new = published(room, artifact.digest), False
        if folder is None:
            drafted = draft(stage, context)
            record, is_new = publish(room, _stem(stage, drafted), drafted, files)
            folder = room / record.name
        elif mended := mend(folder, files):
            told = f"{', '.join(mended)} of {folder.name}: not what was published, so copied there anew"
            context.events.emit("note", stage=stage.name, message=told)
        context.events.emit("encoder_named", stage=stage.name, name=folder.name, folder=str(folder), new=is_new)
        context.events.emit("note", stage=stage.name, message=f"the encoder is named {folder.name}: {folder}")


def published_files(artifact: Artifact) -> list[str]:
    """What a named encoder takes along: weights, histories, reconstructions; no snapshots from on the way."""
    return [name for name in artifact.manifest["files"] if "/" not in name and name not in _IN_RECORD]


def draft(stage: Pretrain, context: Context) -> EncoderRecord:
    """The record of an encoder that has no name yet."""
    from moola.augment import AUGMENTATIONS
    from moola.encoders.record import EncoderRecord
    from moola.features import TRANSFORMS
    from moola.models import ENCODERS
    from moola.pipelines.window_set import WindowSet
    from moola.pretraining import OBJECTIVES

    artifact = context.artifacts[stage.provides]
    data = WindowSet.open(context.artifacts)
    said = read_json(artifact.path("encoder.json"))
    return EncoderRecord(
        name="",
        created=artifact.manifest["started"],
        objective=OBJECTIVES.section_of(stage.objective, parts=(OBJECTIVES, AUGMENTATIONS)),
        encoder=ENCODERS.section_of(stage.setup.encoder),
        configured_transform=TRANSFORMS.section_of(stage.setup.transform),
        transform=TRANSFORMS.section_of(stage.setup.encoder_transform(artifact)),
        inputs=tuple(said["inputs"]),
        source_channels=data.store.channels,
        visible_bars=data.windows.visible,
        spans=stage.setup.input_shape(data).spans,
        seeds=stage.setup.seeds,
        windows=said["windows"],
        figures={
            str(seed): kept_figures(read_json(artifact.path(f"history-seed{seed}.json")), stage.fit.patience)
            for seed in stage.setup.seeds
        },
        lineage=_lineage(artifact, context, data),
        remarks={key: value for key, value in said.items() if key not in _TOLD},
    )


def _stem(stage: Pretrain, record: EncoderRecord) -> str:
    from moola.encoders.names import short_name, stem_of

    return stem_of(record.encoder["name"], short_name(stage.objective, record.objective["name"]), len(record.inputs))


def _lineage(artifact: Artifact, context: Context, data: WindowSet) -> Lineage:
    from moola.data.splits.sealed import moment_text
    from moola.encoders.coverage import covered_steps
    from moola.encoders.record import Lineage

    # Training and validation windows, and those across their border, whose bars are in neighbours all the same.
    learned = data.spans[data.rows_of("train")]
    timed = not data.store.independent
    code = artifact.manifest["code"]
    return Lineage(
        artifact=artifact.key,
        content=artifact.digest,
        bars=data.store.digest,
        windows=context.artifacts["windows"].digest,
        splits=context.artifacts["splits"].digest,
        independent=data.store.independent,
        first_time=moment_text(learned.first_time.min()) if timed else None,
        last_time=moment_text(learned.last_time.max()) if timed else None,
        steps=covered_steps(learned),
        run_id=context.run_id,
        git_commit=code["git_commit"],
        git_dirty=code["git_dirty"],
        moola=code["moola"],
        versions=artifact.manifest["versions"],
    )


def kept_figures(history: list[dict[str, Any]], patience: int) -> dict[str, float]:
    """The figures of the epoch whose weights were kept: losses, and the trivial predictors beside them.

    Args:
        history: one record an epoch.
        patience: of the schedule; where it is not 0, the weights of the best epoch were put back.
    """
    kept = min(history, key=lambda record: record["val_loss"]) if patience else history[-1]
    return {name: float(value) for name, value in kept.items() if isinstance(value, int | float)}
