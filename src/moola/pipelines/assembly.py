"""From a configuration to a pipeline: which stages, in which order, with which hooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moola.config import Problems, RunConfig, describe, digest_json, structure
from moola.errors import ConfigError, did_you_mean
from moola.pipelines.code_version import code_version
from moola.pipelines.hooks import hooks_from_config
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stage import STAGES, Stage


@dataclass(frozen=True)
class StageSection:
    """The section ``stage``.

    Attributes:
        order: stages of a whole run.
        skip: stages to leave out.
        insert: stage name -> ``after`` or ``before`` (the name of another), and the stage's own keys.
        hooks: hook name -> ``priority``, ``on_failure`` and the hook's own keys.
        stack: keys of the stage ``stack``.
    """

    order: tuple[str, ...]
    skip: tuple[str, ...] = ()
    insert: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    stack: dict[str, Any] = field(default_factory=dict)


def assemble(config: RunConfig, target: str | None = None) -> Pipeline:
    """Build the pipeline of a run, or of one stage with everything it reads.

    Every stage that the configuration names is built, also those that are switched off, so that a wrong key anywhere
    is found before anything runs.

    Raises:
        ConfigError: unknown stages, wrong keys, an impossible order: all in one go; stages that need labels, with a
            labeller that gives none.
    """
    section = structure(StageSection, config.stage, "stage")
    problems = Problems()
    order = _adopting(config, section, _order(section, target, problems), target, problems)
    known = set(STAGES.names())
    problems += [
        f"stage: there is no stage named '{name}'; {did_you_mean(name, known)}" for name in order if name not in known
    ]
    names = [*order, *(name for name in section.skip if name in known and name not in order)]
    built = {
        name: problems.attempt(lambda name=name: STAGES.get(name).from_config(config, _settings(section, name)))
        for name in names
        if name in known
    }
    problems += [
        f"stage.insert.{name}.{key}: the stage '{name}' takes no keys here, it has sections of its own"
        for name in STAGES.built_in.intersection(section.insert)
        for key in _settings(section, name)
    ]
    problems += [
        f"force: there is no stage named '{name}'; {did_you_mean(name, {*known, 'all'})}"
        for name in config.force
        if name not in known and name != "all"
    ]
    hooks = problems.attempt(lambda: hooks_from_config(section.hooks)) or []
    if problems:
        raise problems.error()
    stages = [stage for name in order if (stage := built[name]) is not None and name not in section.skip]
    wanted = stages if target is None else _needed(stages, target)
    _refuse_without_labels(config, wanted)
    return Pipeline(wanted, hooks)


def run_identity(config: RunConfig, pipeline: Pipeline) -> str:
    """Name of the run: the experiment and a digest of every stage's configuration, code and outside data.

    The same command on the same data with the same code is the same run, so it resumes and never runs twice.
    """
    identity = [(stage.name, describe(stage), code_version(stage), stage.outside()) for stage in pipeline.stages]
    return f"{config.name}-{digest_json(identity)[:12]}"


def _settings(section: StageSection, name: str) -> dict[str, Any]:
    return {key: value for key, value in section.insert.get(name, {}).items() if key not in ("after", "before")}


def _order(section: StageSection, target: str | None, problems: Problems) -> list[str]:
    """Stage names with the inserted ones in their places."""
    order = list(section.order)
    for name, values in section.insert.items():
        places = [key for key in ("after", "before") if key in values]
        anchor = values[places[0]] if len(places) == 1 else None
        if anchor not in order:
            problems.append(
                f"stage.insert.{name}: needs one of after, before, with a stage of the order; "
                + (did_you_mean(str(anchor), order) if anchor else f"known: {', '.join(order)}")
            )
            continue
        order.insert(order.index(anchor) + (places[0] == "after"), name)
    problems += [
        f"stage.skip: '{name}' is not among the stages; {did_you_mean(name, order)}"
        for name in section.skip
        if name not in order
    ]
    if target is not None and target not in order:
        order.append(target)
    return order


def _adopting(
    config: RunConfig, section: StageSection, order: list[str], target: str | None, problems: Problems
) -> list[str]:
    """The order with `adopt_encoder` in place of `pretrain`, where the configuration names an encoder."""
    if config.encoder_from is None:
        return order
    if target == "pretrain":
        problems.append(f"encoder_from: '{config.encoder_from}' is to be used, so there is nothing to pretrain")
    if "pretrain" in section.skip:
        problems.append(f"encoder_from: '{config.encoder_from}' has no place, because stage.skip leaves out pretrain")
    return ["adopt_encoder" if name == "pretrain" else name for name in order]


def _needed(stages: list[Stage], target: str) -> list[Stage]:
    """The target and, backwards, every stage that provides something it reads."""
    provider = {stage.provides: stage for stage in stages}
    chosen = {stage.name for stage in stages if stage.name == target}
    if not chosen:
        raise ConfigError([f"stage.skip: the command needs the stage '{target}', which is switched off"])
    for stage in reversed(stages):
        if stage.name in chosen:
            chosen |= {provider[name].name for name in (*stage.needs(), *stage.uses) if name in provider}
    return [stage for stage in stages if stage.name in chosen]


def _refuse_without_labels(config: RunConfig, stages: list[Stage]) -> None:
    """Say it before hours of pretraining, not after."""
    needy = [stage.name for stage in stages if stage.needs_labels]
    labeller = config.task.get("labels")
    if not needy or not isinstance(labeller, str):
        return
    from moola.labels import LABELLERS  # needs polars, which a run without such stages may do without

    if not getattr(LABELLERS.get(labeller), "labels_windows", True):
        need = f"the stages {', '.join(needy)} need" if len(needy) > 1 else f"the stage {needy[0]} needs"
        raise ConfigError(
            [f"task={labeller} gives no labels, and {need} some"],
            "run `moola pretrain`, or choose another task (task=label_file task.path=FILE)",
        )
