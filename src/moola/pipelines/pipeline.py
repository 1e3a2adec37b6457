"""Runs stages in order, reusing what is there."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moola.config import describe
from moola.errors import ConfigError, MissingPackageError, StorageError, cause_of
from moola.pipelines.artifacts import Artifact, ArtifactStore, Recipe
from moola.pipelines.code_version import code_version
from moola.pipelines.context import Context
from moola.pipelines.events import EventLog
from moola.pipelines.hooks import HookEntry, call_hooks
from moola.pipelines.stage import Stage, Workspace


class Pipeline:
    """An ordered list of stages with hooks around them: ``Pipeline([...]).run(context)``.

    Raises:
        ConfigError: a stage comes before one it requires, two provide the same thing, or one is there twice.
    """

    def __init__(self, stages: Sequence[Stage], hooks: Sequence[HookEntry] = ()) -> None:
        self.stages = tuple(stages)
        self.hooks = tuple(hooks)
        problems = _order_problems(self.stages)
        if problems:
            raise ConfigError(problems, "see the stages and what they require with `moola stages`")

    def run(self, context: Context) -> Context:
        """Bring every stage's artifact into the context.

        Raises:
            MissingPackageError: packages that some stage needs are not installed; all of them are named.
            MoolaError: a stage failed. What was finished before is kept, and the next run goes on from there.
        """
        _check_packages(self.stages)
        context.layout.check_writable()
        for number, stage in enumerate(self.stages, start=1):
            context.events.emit("stage_started", stage=stage.name, number=number, total=len(self.stages))
            try:
                context = self._run_stage(stage, context)
            except BaseException as error:
                with contextlib.suppress(OSError):  # a full disk must not hide the error that it caused
                    context.events.emit("stage_failed", stage=stage.name, error=cause_of(error))
                call_hooks(self.hooks, "on_error", stage, context, error)
                raise
        return context

    def follow(self, context: Context) -> Context:
        """What a process of a ``torchrun`` does that is not the first: train with it, else wait, and write nothing.

        Raises:
            MoolaError: a stage failed in which this process took part, or left no artifact.
        """
        _check_packages(self.stages)
        store = ArtifactStore(context.layout)
        for stage in self.stages:
            inputs = _inputs(stage, context)
            recipe = recipe_of(stage, inputs, context.run_id)
            context.meet()
            if stage.distributed and (context.forces(stage.name) or store.find(recipe) is None):
                cache = context.layout.room("artifacts/oof/units")
                stage.run(inputs, Workspace(store.building(recipe), context.run_id, stage.name, EventLog(), cache))
            context.meet()
            artifact = store.find(recipe)
            if artifact is None:
                raise StorageError(
                    f"the artifact of stage '{stage.name}' is not in {store.folder(recipe)}",
                    "the first process has built it there, so this one sees another disk",
                    "give all machines the same paths.artifacts on a shared disk",
                )
            context = context.with_artifact(stage.provides, artifact, reused=False)
        return context

    def _run_stage(self, stage: Stage, context: Context) -> Context:
        context = call_hooks(self.hooks, "before_stage", stage, context)
        inputs = _inputs(stage, context)
        recipe = recipe_of(stage, inputs, context.run_id)
        store = ArtifactStore(context.layout)
        forced = context.forces(stage.name)

        def waiting() -> None:
            context.events.emit("stage_waiting", stage=stage.name, why="another process is building the same artifact")

        with store.lock(recipe, waiting):
            if forced:
                store.discard(recipe)  # before other processes look what a run before this one left
            context.meet()
            found = None if forced else store.find(recipe)
            reused = found is not None
            artifact = found or self._build(stage, inputs, recipe, store, context, forced)
            context.meet()
        context.events.emit(
            "stage_reused" if reused else "stage_finished",
            stage=stage.name,
            key=artifact.key,
            digest=artifact.digest,
            folder=str(artifact.folder),
            seconds=artifact.manifest["seconds"],
        )
        context = context.with_artifact(stage.provides, artifact, reused=reused)
        if reused:
            context = call_hooks(self.hooks, "on_skip", stage, context)
        return call_hooks(self.hooks, "after_stage", stage, context)

    @staticmethod
    def _build(
        stage: Stage,
        inputs: Mapping[str, Artifact],
        recipe: Recipe,
        store: ArtifactStore,
        context: Context,
        forced: bool,
    ) -> Artifact:
        cache = context.layout.room("artifacts/oof/units")

        def run(folder: Path, keep_spent: Callable[[], None]) -> None:
            workspace = Workspace(
                folder,
                context.run_id,
                stage.name,
                context.events,
                cache,
                fresh=forced,
                processes=context.processes,
                sealed_tests=context.layout.room("artifacts/metadata") / "sealed_tests.jsonl",
                results=context.layout.results,
                keep_spent=keep_spent,
            )
            stage.run(inputs, workspace)
            if _outside(stage, context.run_id) != recipe.outside:
                shutil.rmtree(folder)  # made from this and that
                raise StorageError(
                    f"what stage '{stage.name}' reads from outside changed while it was read",
                    "a file of data, labels or decisions was written to",
                    "run the same command again",
                )

        return store.build(recipe, run)


def recipe_of(stage: Stage, inputs: Mapping[str, Artifact], run_id: str) -> Recipe:
    """What a stage's artifact is made from."""
    return Recipe(
        stage=stage.name,
        room=stage.room,
        config=describe(stage),
        inputs={name: artifact.digest for name, artifact in inputs.items()},
        code=code_version(stage),
        outside=_outside(stage, run_id),
    )


def _outside(stage: Stage, run_id: str) -> str:
    return stage.outside() + stage.run_identity(run_id)


def _inputs(stage: Stage, context: Context) -> dict[str, Artifact]:
    missing = [name for name in stage.needs() if name not in context.artifacts]
    if missing:
        raise ConfigError([f"stage '{stage.name}' requires {', '.join(missing)}, which no stage before it provides"])
    wanted = dict.fromkeys((*stage.needs(), *stage.uses))
    found = {name: context.artifacts[name] for name in wanted if name in context.artifacts}
    return {name: item.narrowed(stage.reads[name]) if name in stage.reads else item for name, item in found.items()}


def _order_problems(stages: Sequence[Stage]) -> list[str]:
    problems: list[str] = []
    provided: dict[str, str] = {}
    everything = {stage.provides: stage.name for stage in stages}
    for stage in stages:
        for name in stage.needs():
            if name not in provided:
                where = (
                    f"stage '{everything[name]}' provides it later" if name in everything else "no stage provides it"
                )
                problems.append(f"stage '{stage.name}' requires {name}: {where}")
        if stage.provides in provided:
            problems.append(f"stages '{provided[stage.provides]}' and '{stage.name}' both provide {stage.provides}")
        provided[stage.provides] = stage.name
    return problems


def _check_packages(stages: Sequence[Stage]) -> None:
    wanted = {package: (extra, stage.name) for stage in stages for package, extra in stage.packages.items()}
    missing = {name: where for name, where in wanted.items() if importlib.util.find_spec(name) is None}
    if missing:
        extras = ",".join(sorted({extra for extra, _ in missing.values()}))
        raise MissingPackageError(
            f"{len(missing)} packages are not installed",
            "\n".join(f"- {name}, for stage '{stage}'" for name, (_, stage) in sorted(missing.items())),
            f"pip install 'moola[{extras}]'",
        )
