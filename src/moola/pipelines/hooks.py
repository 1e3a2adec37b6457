"""Code around stages: called before, after, when a stage is skipped, when it fails, and with every event of the run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moola.config import reject, structure
from moola.errors import MoolaError, StorageError
from moola.pipelines.context import Context
from moola.pipelines.events import Event, EventLog
from moola.pipelines.stage import Stage
from moola.registry import Registry

Moment = Literal["before_stage", "after_stage", "on_skip", "on_error"]


class Hook:
    """Base of all hooks; each method does nothing and may return a context that replaces the current one."""

    def before_stage(self, stage: Stage, context: Context) -> Context | None:
        """Before a stage is looked up or built."""

    def after_stage(self, stage: Stage, context: Context) -> Context | None:
        """After its artifact is in the context, built or reused."""

    def on_skip(self, stage: Stage, context: Context) -> Context | None:
        """When its artifact was there already."""

    def on_error(self, stage: Stage, context: Context, error: BaseException) -> Context | None:
        """When it failed; the error is raised all the same."""

    def on_event(self, event: Event) -> None:
        """With every event of the run, from ``run_started`` to ``run_finished``, ``run_failed`` or ``run_interrupted``.

        Work waits meanwhile. A hook that fails here is called with no other event.
        """


HOOKS: Registry[Hook] = Registry(
    "hook",
    {
        "encoder_naming": "moola.pipelines.encoder_naming:EncoderNaming",
        "free_disk": "moola.pipelines.hooks:FreeDisk",
        "prometheus": "moola.pipelines.prometheus_file:PrometheusFile",
        "torch_profile": "moola.pipelines.torch_profile:TorchProfile",
        "torch_threads": "moola.pipelines.hooks:TorchThreads",
        "webhook": "moola.pipelines.webhook:Webhook",
    },
)


@dataclass(frozen=True)
class HookEntry:
    """A hook with its place in the order and what its own failure means.

    Attributes:
        hook: the hook.
        name: for messages.
        priority: smaller runs earlier; equal ones in the order they were given.
        on_failure: ``warn`` logs the failure and goes on, ``raise`` ends the run.
    """

    hook: Hook
    name: str = "hook"
    priority: int = 100
    on_failure: Literal["warn", "raise"] = "warn"


@dataclass(frozen=True)
class _HookSettings:
    priority: int = 100
    on_failure: Literal["warn", "raise"] = "warn"


def hooks_from_config(section: Mapping[str, Mapping[str, Any] | None]) -> list[HookEntry]:
    """Build ``stage.hooks``: name -> priority, on_failure and the hook's own keys; None switches it off.

    Raises:
        ConfigError: unknown hook or wrong keys.
    """
    entries: list[HookEntry] = []
    for name, values in section.items():
        if values is None:
            HOOKS.get(name)
            continue
        own = {key: value for key, value in values.items() if key not in {"priority", "on_failure"}}
        settings = structure(_HookSettings, {k: v for k, v in values.items() if k not in own}, f"stage.hooks.{name}")
        entries.append(
            HookEntry(HOOKS.build(name, own, f"stage.hooks.{name}"), name, settings.priority, settings.on_failure)
        )
    return entries


def call_hooks(
    entries: Sequence[HookEntry], moment: Moment, stage: Stage, context: Context, error: BaseException | None = None
) -> Context:
    """Call one method of every hook in order of priority; the context each returns goes to the next."""
    for entry in sorted(entries, key=lambda entry: entry.priority):
        method = getattr(entry.hook, moment)
        try:
            returned = method(stage, context, error) if moment == "on_error" else method(stage, context)
        except Exception as failure:
            _tell(context.events, entry, moment, stage.name, failure, entry.on_failure == "raise")
            if entry.on_failure == "raise":
                raise
            continue
        context = context if returned is None else returned
    return context


def let_hear(entries: Sequence[HookEntry], events: EventLog) -> None:
    """Call `Hook.on_event` of every hook that has one with every later event, in order of priority."""
    for entry in sorted(entries, key=lambda entry: entry.priority):
        if type(entry.hook).on_event is not Hook.on_event:
            events.listen(_Listener(entry, events))


class _Listener:
    """Hands events to a hook until it fails."""

    def __init__(self, entry: HookEntry, events: EventLog) -> None:
        self._entry, self._events, self._failed = entry, events, False

    def __call__(self, event: Event) -> None:
        if self._failed:
            return
        try:
            self._entry.hook.on_event(event)
        except Exception as failure:
            self._failed = True
            is_over = event["event"] in ("run_failed", "run_interrupted")  # its own error is the one to raise
            ends_run = self._entry.on_failure == "raise" and not is_over
            _tell(self._events, self._entry, event["event"], event.get("stage"), failure, ends_run)
            if ends_run:
                raise


def _tell(
    events: EventLog, entry: HookEntry, moment: str, stage: str | None, failure: Exception, ends_run: bool
) -> None:
    with contextlib.suppress(OSError):  # a full disk must not hide the failure that it caused
        events.emit(
            "hook_failed",
            hook=entry.name,
            moment=moment,
            stage=stage,
            error=_spoken(failure),
            ends_run=ends_run,
        )


def _spoken(failure: Exception) -> str:
    """What a person can mend in words alone; a defect with its kind."""
    if isinstance(failure, MoolaError):
        return "; ".join(part for part in (failure.what, failure.why, failure.way_out) if part)
    return f"{type(failure).__name__}: {failure}"


@dataclass(frozen=True)
class FreeDisk(Hook):
    """Stops before a stage when the disk is nearly full, while everything finished is still whole.

    Attributes:
        min_free_gb: in units of 10^9 bytes.
    """

    min_free_gb: float = 0.5

    def __post_init__(self) -> None:
        reject((self.min_free_gb < 0, f"min_free_gb: {self.min_free_gb} must not be negative"))

    def before_stage(self, stage: Stage, context: Context) -> None:
        """Raises StorageError when less is free."""
        free_gb = shutil.disk_usage(context.layout.artifacts).free / 1e9
        if free_gb < self.min_free_gb:
            raise StorageError(
                f"{context.layout.artifacts} has {free_gb:.2f} GB free",
                f"the hook free_disk wants {self.min_free_gb} GB before stage '{stage.name}'",
                "free some space, choose paths.artifacts=FOLDER, or lower stage.hooks.free_disk.min_free_gb",
            )


@dataclass(frozen=True)
class TorchThreads(Hook):
    """Gives torch as many threads as asked for; sums over another number of them round otherwise.

    Processes that fit models beside each other have one thread each, whatever is asked for.

    Attributes:
        count: of one process.
    """

    count: int = 1

    def __post_init__(self) -> None:
        reject((self.count < 1, f"count: {self.count} must be at least 1"))

    def before_stage(self, stage: Stage, context: Context) -> None:
        """Before every stage, since the one before it may have changed the number."""
        import torch

        torch.set_num_threads(self.count)
