"""From a configuration to a pipeline: which stages, in which order, with which hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moola.config import ConfigProblems, RunConfig, describe, digest_json, structure
from moola.errors import ConfigError, did_you_mean
from moola.pipelines.code_version import code_version
from moola.pipelines.hooks import hooks_from_config
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stage import STAGES, Stage
from moola.tracking.delivery import journal_only
from moola.tracking.tracker import check_packages, trackers_from_config


@dataclass(frozen=True)
class StageSection:
    """The section ``stage``.

    Attributes:
        order: stages of a whole run.
        skip: stages to leave out.
        insert: stage name -> ``after`` or ``before`` (the name of another), and the stage's own keys.
        hooks: hook name -> ``priority``, ``on_failure`` and the hook's own keys; None: it is off.
        sentinels: keys of the stage ``sentinels``.
        oof: keys of the stage ``oof``.
        label_efficiency: keys of the stage ``label_efficiency``.
        pseudo_labels: keys of the stage ``pseudo_labels``.
        label_issues: keys of the stage ``label_issues``.
        overfit: keys of the stage ``overfit``.
        stack: name of a stack -> its keys (`moola.pipelines.stages.stack`).
        report: keys of the stage ``report``.
    """

    order: tuple[str, ...]
    skip: tuple[str, ...] = ()
    insert: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    sentinels: dict[str, Any] = field(default_factory=dict)
    oof: dict[str, Any] = field(default_factory=dict)
    label_efficiency: dict[str, Any] = field(default_factory=dict)
    pseudo_labels: dict[str, Any] = field(default_factory=dict)
    label_issues: dict[str, Any] = field(default_factory=dict)
    overfit: dict[str, Any] = field(default_factory=dict)
    stack: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def assemble(config: RunConfig, target: str | None = None, *, here: bool = True) -> Pipeline:
    """Build the pipeline of a run, or of one stage with everything it reads and what is inserted beside these.

    Every stage that the configuration names is built, also those that are switched off, so that a wrong key anywhere
    is found before anything runs.

    Args:
        config: checked configuration.
        target: stage to run with everything it reads; None for all stages.
        here: whether it is to run on this machine; one that runs elsewhere may ask for a GPU that is not here.

    Raises:
        ConfigError: unknown stages, wrong keys, an impossible order: all in one go. Where there are none of these:
            stages that need labels, with a labeller that gives none, and windows that do not suit what is to run.
        MissingPackageError: ``device=cuda``, it runs here, and there is no GPU, or a tracker's package is not here.
        MoolaError: it runs here, and something else that a tracker needs is not here.
    """
    section = structure(StageSection, config.stage, "stage")
    problems = ConfigProblems()
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
    trackers = problems.attempt(lambda: trackers_from_config(config.tracker)) or {}
    if problems:
        raise problems.error()
    stages = [stage for name in order if (stage := built[name]) is not None and name not in section.skip]
    wanted = stages if target is None else _needed(stages, target, section)
    _refuse_what_must_fail(config, wanted)
    if here and not journal_only():
        check_packages(trackers)
        for tracker in trackers.values():
            tracker.check_here()
    if here and config.device == "cuda":
        _refuse_without_gpu(wanted)
    return Pipeline(wanted, hooks)


def run_identity(config: RunConfig, pipeline: Pipeline) -> str:
    """Name of the run: the experiment and a digest of every stage's configuration, code and outside data.

    The same command on the same data with the same code is the same run, so it resumes and never runs twice.
    """
    identity = [(stage.name, describe(stage), code_version(stage), stage.outside()) for stage in pipeline.stages]
    return f"{config.name}-{digest_json(identity)[:12]}"


def _settings(section: StageSection, name: str) -> dict[str, Any]:
    return {key: value for key, value in section.insert.get(name, {}).items() if key not in ("after", "before")}


def _order(section: StageSection, target: str | None, problems: ConfigProblems) -> list[str]:
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
        if "overfit" in order:  # a question of its own, which would go unasked
            problems.append(
                f"stage.order: asks 'overfit' alone, and `moola {target}` would leave it out; `moola run` asks"
            )
        order.append(target)
    return order


def _adopting(
    config: RunConfig, section: StageSection, order: list[str], target: str | None, problems: ConfigProblems
) -> list[str]:
    """The order with `adopt_encoder` in place of `pretrain`, where the configuration names an encoder."""
    if config.encoder_from is None:
        return order
    if target == "pretrain":
        problems.append(f"encoder_from: '{config.encoder_from}' is to be used, so there is nothing to pretrain")
    if "pretrain" in section.skip:
        problems.append(f"encoder_from: '{config.encoder_from}' has no place, because stage.skip leaves out pretrain")
    return ["adopt_encoder" if name == "pretrain" else name for name in order]


def _needed(stages: list[Stage], target: str, section: StageSection) -> list[Stage]:
    """The target, stages that were inserted beside what runs, and, backwards, every stage that provides what they read.

    A stage that was inserted beside one that does not run is not of this command; the run says so.
    """
    if target not in {stage.name for stage in stages}:
        raise ConfigError([f"stage.skip: the command needs the stage '{target}', which is switched off"])
    chosen, before = {target}, set[str]()
    while chosen != before:  # what an inserted stage reads may have others beside it
        before, chosen = chosen, _with_providers(stages, chosen)
        places = chosen | ({"pretrain"} if "adopt_encoder" in chosen else set())
        chosen |= {name for name, values in section.insert.items() if _place(values) in places}
    return [stage for stage in stages if stage.name in chosen]


def inserted_elsewhere(config: RunConfig, pipeline: Pipeline) -> list[str]:
    """Of each inserted stage that is not in the pipeline, though not switched off: why, in words."""
    section = structure(StageSection, config.stage, "stage")
    left_out = set(section.insert).difference(section.skip, (stage.name for stage in pipeline.stages))
    return [
        f"the inserted stage '{name}' does not run: it stands beside '{_place(values)}', which this command leaves out"
        for name, values in section.insert.items()
        if name in left_out
    ]


def forced_elsewhere(config: RunConfig, pipeline: Pipeline) -> list[str]:
    """Of each stage that is to be built again and is not in the pipeline: that it is not, in words."""
    here = {"all", *(stage.name for stage in pipeline.stages)}
    return [
        f"force={name} has no effect: this command does not run that stage"
        + (", because encoder_from is given" if name == "pretrain" and config.encoder_from is not None else "")
        for name in config.force
        if name not in here
    ]


def _place(values: Mapping[str, Any]) -> str:
    """The stage that another was inserted beside."""
    return values["after"] if "after" in values else values["before"]


def _with_providers(stages: list[Stage], chosen: set[str]) -> set[str]:
    """Names of the chosen stages and, backwards, of every one that provides something they read."""
    provider = {stage.provides: stage.name for stage in stages}
    found = set(chosen)
    for stage in reversed(stages):
        if stage.name in found:
            found |= {provider[name] for name in (*stage.needs(), *stage.uses) if name in provider}
    return found


def _refuse_what_must_fail(config: RunConfig, stages: list[Stage]) -> None:
    """Say it before hours of pretraining, not after."""
    problems = ConfigProblems()
    problems.attempt(lambda: _refuse_without_labels(config, stages))
    window = config.data.get("window", {})
    n_bars = window.get("visible") or window.get("length")
    if n_bars is not None:  # else it is told by the data
        for stage in stages:
            problems.attempt(lambda stage=stage: stage.check_windows(n_bars))
    if problems:
        raise problems.error()


def _refuse_without_gpu(stages: list[Stage]) -> None:
    """A GPU was asked for; stages that hold an encoder would look for it."""
    from moola.pipelines.setup import EncoderSetup
    from moola.training.device import choose_device  # needs torch, as such stages do

    if any(isinstance(part, EncoderSetup) for stage in stages for part in vars(stage).values()):
        choose_device("cuda")


def _refuse_without_labels(config: RunConfig, stages: list[Stage]) -> None:
    """Stages need labels, and the labeller gives none."""
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
