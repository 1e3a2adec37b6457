"""Where the time of a training step goes: torch's profiler around some steps of pretraining."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.config import reject
from moola.layout import write_bytes, write_text
from moola.pipelines.context import Context
from moola.pipelines.events import Event
from moola.pipelines.hooks import Hook
from moola.pipelines.stage import Stage

if TYPE_CHECKING:
    from torch.profiler import profile

_STAGE = "pretrain"
"""The stage whose log has a line for every step, with ``trainer.pretrain.log_every_steps=1``."""
_TABLE, _TRACE = "slowest.txt", "trace.json.gz"


@dataclass
class TorchProfile(Hook):
    """Writes a trace of some steps and a table of what took longest in them into the run folder's ``profile/``.

    Attributes:
        wait: lines of the log that pass first: the first steps allocate memory and choose kernels.
        steps: that are recorded; each takes some megabytes of memory.
        rows: of the table.
    """

    wait: int = 2
    steps: int = 10
    rows: int = 30
    _profile: Any = field(default=None, init=False, repr=False)
    _folder: Path = field(default=Path(), init=False, repr=False)

    def __post_init__(self) -> None:
        reject(
            (self.wait < 1, f"wait: {self.wait} must be at least 1"),
            (self.steps < 1, f"steps: {self.steps} must be at least 1"),
            (self.rows < 1, f"rows: {self.rows} must be at least 1"),
        )

    def before_stage(self, stage: Stage, context: Context) -> None:
        """Get ready before the first step."""
        if stage.name != _STAGE:
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes to stderr by itself
        import torch
        from torch.profiler import ProfilerActivity, profile, schedule

        on_gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self._folder = context.layout.results / context.run_id / "profile"
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *on_gpu],
            schedule=schedule(wait=self.wait - 1, warmup=1, active=self.steps, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
        )
        self._profile.start()

    def on_event(self, event: Event) -> None:
        """Count a step."""
        if self._profile is not None and event["event"] == "steps":
            self._profile.step()

    def after_stage(self, stage: Stage, context: Context) -> None:
        """Say where the files are."""
        if stage.name != _STAGE:
            return
        self._stop()
        written = (self._folder / _TABLE).exists()
        told = f"profile of the training steps: {self._folder / _TABLE}, and {_TRACE} beside it for ui.perfetto.dev"
        missed = (
            f"nothing was profiled: pretraining was reused (--force={_STAGE}) or had no more than {self.wait} steps"
        )
        context.events.emit("note", stage=stage.name, message=told if written else missed)

    def on_error(self, stage: Stage, context: Context, error: BaseException) -> None:
        """Let the profiler go; what was recorded so far is written."""
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            profiler, self._profile = self._profile, None
            profiler.stop()

    def _write(self, profiler: profile) -> None:
        averages = profiler.key_averages()
        by = "self_device_time_total" if any(row.self_device_time_total for row in averages) else "self_cpu_time_total"
        write_text(self._folder / _TABLE, averages.table(sort_by=by, row_limit=self.rows))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _TRACE
            profiler.export_chrome_trace(str(path))
            write_bytes(self._folder / _TRACE, path.read_bytes())
