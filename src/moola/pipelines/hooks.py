"""Code around stages: called before, after, when a stage is skipped, and when it fails."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moola.config import reject, structure
from moola.errors import StorageError
from moola.pipelines.context import Context
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


HOOKS: Registry[Hook] = Registry(
    "hook",
    {
        "encoder_naming": "moola.pipelines.encoder_naming:EncoderNaming",
        "free_disk": "moola.pipelines.hooks:FreeDisk",
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


def hooks_from_config(section: Mapping[str, Mapping[str, Any]]) -> list[HookEntry]:
    """Build ``stage.hooks``: name -> priority, on_failure and the hook's own keys.

    Raises:
        ConfigError: unknown hook or wrong keys.
    """
    entries: list[HookEntry] = []
    for name, values in section.items():
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
            with contextlib.suppress(OSError):  # a full disk must not hide the failure that it caused
                context.events.emit(
                    "hook_failed",
                    hook=entry.name,
                    moment=moment,
                    stage=stage.name,
                    error=f"{type(failure).__name__}: {failure}",
                    ends_run=entry.on_failure == "raise",
                )
            if entry.on_failure == "raise":
                raise
            continue
        context = context if returned is None else returned
    return context


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
