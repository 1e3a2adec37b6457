"""Two steps of the user's own configuration on the pod, a checkpoint, and a third step after reading it back.

``python -m moola.pods.smoke FOLDER OVERRIDE...`` runs in the environment of the run, before the long run does. What is
wrong with the configuration on this machine (data that is not there, a batch that does not fit, a checkpoint that
cannot be read back) then shows within a minute. Bars, windows and splits that it makes are the run's own; what it
trains goes to a folder of its own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moola.errors import EXIT_OK, MoolaError, StorageError

if TYPE_CHECKING:
    from moola.pipelines.events import Event

N_STEPS = 2


class _Listener:
    """Ends a training after so many steps, as Ctrl-C does: the last checkpoint stays.

    Attributes:
        first: number of the first step that was seen.
        enough: whether it was this that ended the training.
    """

    def __init__(self, until_step: int) -> None:
        self._until = until_step
        self.first: int | None = None
        self.enough = False

    def __call__(self, event: Event) -> None:
        if event["event"] == "stage_started":
            print(f"stage {event['stage']}")
        if event["event"] == "note":
            print(event["message"])
        if event["event"] == "steps":
            self.first = self.first or event["step"]
            print(f"step {event['step']}: loss {event['loss']:.4f}")
            self.enough = event["step"] >= self._until
        if self.enough:
            raise KeyboardInterrupt


def smoke(words: Sequence[str], folder: Path) -> None:
    """Train two steps with a checkpoint, end in the third, and take the third one from the checkpoint.

    Args:
        words: Hydra overrides of the run.
        folder: for what is trained here; deleted in the end.

    Raises:
        StorageError: training did not go on from its checkpoint.
        MoolaError: what the run itself would have raised.
    """
    from moola.config import override

    own = [
        "trainer.pretrain.checkpoint_every_steps=1",
        "trainer.pretrain.log_every_steps=1",
        override("paths.artifacts", str(folder)),
    ]
    if not _trained_until([*words, *own], N_STEPS + 1).enough:  # the line of a step comes before its checkpoint
        print(f"the configuration pretrains in fewer than {N_STEPS + 1} steps: all of it was tried")
        return
    step = _trained_until([*words, *own], N_STEPS + 1).first
    if step is None or step <= N_STEPS:
        why = f"the first step after it was {step or 'none'}"
        raise StorageError(
            "training did not go on from its checkpoint", why, "take another pod: its disk may be broken"
        )
    print(f"went on from its checkpoint with step {step}")
    shutil.rmtree(folder)  # its state must not be met again


def _trained_until(words: Sequence[str], until_step: int) -> _Listener:
    """Train until a step, or to the end where it comes before; who listened."""
    from moola.pipelines.run import execute
    from moola.pods.composed_run import compose

    listener, run = _Listener(until_step), compose(words, Path.cwd())
    target = "pretrain" if run.config.encoder_from is None else "adopt_encoder"
    try:
        execute(run.config, run.text, target, ["moola.pods.smoke"], listener)
    except KeyboardInterrupt:
        if not listener.enough:
            raise
    return listener


def main(words: Sequence[str]) -> int:
    """Try the configuration that the overrides after the folder give."""
    folder, *overrides = words
    try:
        smoke(overrides, Path(folder))
    except MoolaError as error:
        print(error.spoken())
        return error.exit_code
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
