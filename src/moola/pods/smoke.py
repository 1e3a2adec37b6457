"""Two steps of the user's own configuration on the pod, a checkpoint, and a third step after reading it back.

``python -m moola.pods.smoke FOLDER OVERRIDE...`` runs in the environment of the run, before the long run does. What is
wrong with the configuration on this machine (data that is not there, a batch that does not fit, a checkpoint that
cannot be read back) then shows within a minute. Bars, windows and splits that it makes are the run's own; what it
trains goes to a folder of its own.
"""

from __future__ import annotations

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
    """Train two steps, end, and go on for one more from the checkpoint.

    Args:
        words: Hydra overrides of the run.
        folder: for what is trained here.

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
    if _first_step([*words, *own], N_STEPS) is None:
        print("nothing is pretrained here, so there is no step to try")
        return
    step = _first_step([*words, *own], N_STEPS + 1)
    if step is None or step < N_STEPS:
        why = f"the first step after it was {step or 'none'}"
        raise StorageError(
            "training did not go on from its checkpoint", why, "take another pod: its disk may be broken"
        )
    print(f"went on from its checkpoint with step {step}")


def _first_step(words: Sequence[str], until_step: int) -> int | None:
    """Train until a step; the first one that was seen, None where the configuration trains none."""
    from moola.pipelines.run import execute
    from moola.pods.composed_run import compose

    listener, run = _Listener(until_step), compose(words, Path.cwd())
    target = "pretrain" if run.config.encoder_from is None else "adopt_encoder"
    try:
        execute(run.config, run.text, target, ["moola.pods.smoke"], listener)
    except KeyboardInterrupt:
        if not listener.enough:
            raise
    return listener.first


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
