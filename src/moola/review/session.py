"""One reviewer's sitting: the queue, what models say, the log, and the next window at any moment."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from moola.labels.events import LabelEvent, window_digest
from moola.labels.folding import WindowState
from moola.review.decisions import ChangedError, Decision
from moola.review.journal import Journal
from moola.review.neighbours import LabelledSpace
from moola.review.opinions import Opinions
from moola.review.queue import SPLIT_BELOW, QueueFilter, QueueRow, ReviewQueue
from moola.review.similar import EmbeddedWindows
from moola.review.windows import ShownWindows


@dataclass(frozen=True)
class ReviewMaterial:
    """What does not change while somebody reviews.

    Attributes:
        name: what is reviewed, for the page.
        run_id: of the run.
        classes: labels to choose from, in the order of their keys.
        windows: pictures.
        queue: windows in the order of review.
        opinions: what models say of them.
        space: where neighbours are looked for; None where there is none.
        batch: name of the batch; empty where the labels of the run are reviewed.
        embedded: all windows of the run, to look for more that are like one; None where nobody embedded them.
        labels: given labels by window id, also of windows that are not in the queue.
    """

    name: str
    run_id: str
    classes: tuple[str, ...]
    windows: ShownWindows
    queue: ReviewQueue
    opinions: Opinions
    space: LabelledSpace | None = None
    batch: str = ""
    embedded: EmbeddedWindows | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Places:
    """Where one can go from a window; each a position in the queue, or None where there is no such window.

    Attributes:
        before: the previous window that the filter lets through.
        after: the next one.
        undecided: the next one that is undecided; behind the last one, the first that was passed over.
    """

    before: int | None
    after: int | None
    undecided: int | None


@dataclass(frozen=True)
class Progress:
    """How far one is.

    Attributes:
        decided: windows of the filter that this annotator decided.
        total: windows that the filter lets through.
        pace: decisions a minute; None before there are some.
    """

    decided: int
    total: int
    pace: float | None


class ReviewSession:
    """Answers the pages' questions; not for several threads at once.

    Args:
        material: what is reviewed.
        journal: the log, as this reviewer sees it.
        blind_share: of the windows of which nobody's opinion is shown, 0 to 1. Which ones is drawn from the names of
            annotator and window, so that no reload and no second tab unblinds one.
    """

    def __init__(self, material: ReviewMaterial, journal: Journal, blind_share: float = 0.0) -> None:
        self.material, self.journal, self.blind_share = material, journal, blind_share
        self._decided = np.zeros(len(material.queue), dtype=bool)
        self._blind = np.array(
            [blind_share > 0 and self.is_blind(name) for name in material.queue.positions], dtype=bool
        )
        self._mark(material.queue.positions)

    @property
    def command(self) -> str:
        """That serves the same review again: of the same run or batch, by the same annotator, into the same log."""
        words = ["moola", "review", self.material.run_id, "--annotator", self.journal.annotator]
        words += ["--batch", self.material.batch] if self.material.batch else []
        return shlex.join([*words, "--log", str(self.journal.log.path.absolute())])

    @property
    def export_command(self) -> str:
        """That writes what the labels are when all is decided."""
        known = set(self.material.labels.values())
        new = [name for name in self.material.classes if known and name not in known]
        words = ["moola", "labels", "export", self.material.run_id]
        words += ["--classes", ",".join(new)] if new else []
        return shlex.join([*words, "--log", str(self.journal.log.path.absolute())])

    @property
    def name(self) -> str:
        """Of `command`, in letters: what a browser keeps for one review is not sent to another."""
        return hashlib.sha256(self.command.encode()).hexdigest()[:12]

    def refresh(self) -> None:
        """Take in what others appended to the log."""
        self._mark(self.journal.refresh())

    def _mark(self, window_ids: Iterable[str]) -> None:
        positions = self.material.queue.positions
        for name in window_ids:
            if name in positions:
                self._decided[positions[name]] = self.journal.decided(name)

    def row(self, position: int) -> QueueRow:
        """A window of the queue."""
        return self.material.queue[position]

    def position(self, window_id: str) -> int | None:
        """Where a window stands in the queue; None where it does not."""
        return self.material.queue.positions.get(window_id)

    def state(self, position: int) -> WindowState | None:
        """What the log says of a window."""
        return self.journal.state(self.row(position).window_id)

    def label(self, window_id: str) -> str | None:
        """The label of a window as it is now: as decided, else as given; None where it has none."""
        state, position = self.journal.state(window_id), self.position(window_id)
        if state is not None and state.label is not None:
            return state.label
        return self.material.labels.get(window_id) if position is None else self.row(position).given_label

    def is_blind(self, window_id: str) -> bool:
        """Whether this window is to be judged without anybody's opinion."""
        told = f"{self.journal.annotator}\n{window_id}".encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:6]) < self.blind_share * 2**48

    def hides(self, window_id: str) -> bool:
        """Whether the label of a window is told nowhere: this annotator has still to judge it blindly."""
        return self.is_blind(window_id) and not self.journal.decided(window_id)

    def matching(self, wanted: QueueFilter) -> np.ndarray:
        """Mask, bool [n_queue]: what a filter lets through, none whose hidden label would be told by that."""
        matching = self.material.queue.matching(wanted)
        return matching & (~self._blind | self._decided) if wanted.tells_opinions else matching

    def first(self, wanted: QueueFilter) -> int | None:
        """Where to go on: the first undecided window; None where all that the filter lets through are decided."""
        return _first(self.matching(wanted) & ~self._decided)

    def ends(self, wanted: QueueFilter) -> tuple[int, int] | None:
        """The first and the last window that the filter lets through; None where it lets none through."""
        matching = np.flatnonzero(self._shown(wanted))
        return (int(matching[0]), int(matching[-1])) if len(matching) else None

    def rank(self, position: int, wanted: QueueFilter) -> tuple[int, int] | None:
        """The place of a window among those that the filter lets through, from 1, and how many these are.

        None where it is not among them, and of a blind window: most doubtful first, its place is an opinion.
        """
        matching = self.matching(wanted)
        if self._blind[position] or not matching[position]:
            return None
        return int(matching[: position + 1].sum()), int(matching.sum())

    def places(self, position: int, wanted: QueueFilter) -> Places:
        """Where one can go from here."""
        undecided, shown = self.matching(wanted) & ~self._decided, self._shown(wanted)
        before = np.flatnonzero(shown[:position])
        following, open_ones = _first(shown[position + 1 :]), _first(undecided[position + 1 :])
        return Places(
            int(before[-1]) if len(before) else None,
            None if following is None else position + 1 + following,
            _first(undecided[:position]) if open_ones is None else position + 1 + open_ones,
        )

    def _shown(self, wanted: QueueFilter) -> np.ndarray:
        matching = self.matching(wanted)
        return matching & ~self._decided if wanted.undecided else matching

    @property
    def n_still_blind(self) -> int:
        """Windows that this annotator has still to judge blindly."""
        return int((self._blind & ~self._decided).sum())

    def progress(self, wanted: QueueFilter) -> Progress:
        """How far one is with the windows of a filter."""
        matching = self.matching(wanted)
        return Progress(int((matching & self._decided).sum()), int(matching.sum()), self.journal.pace())

    def decide(self, decision: Decision) -> LabelEvent:
        """Write a decision, once: one that comes again is only confirmed.

        Raises:
            ChangedError: its window is not what was shown, or not in the queue.
            DataError: it makes no sense for its window.
            StorageError: the log cannot be written.
        """
        self.refresh()
        if self.journal.holds(decision.event_id):
            return self.journal.event(decision.event_id)
        position = self.position(decision.window_id)
        if position is None:
            raise ChangedError(f"{decision.window_id} is not in the queue", "", "load the page again")
        event = self._event(decision, position)
        self._mark(self.journal.append(event))
        return event

    def undo(self, event_id: str) -> LabelEvent | None:
        """Take back the last decision or note of this annotator, in whatever tab it was made.

        Returns:
            The undo, whose ``window_id`` is the window to look at; None where there is nothing to take back.
        """
        self.refresh()
        if self.journal.holds(event_id):
            return self.journal.event(event_id)
        last = self.journal.last_in_effect()
        if last is None:
            return None
        event = LabelEvent(
            decision="undo",
            event_id=event_id,
            window_id=last.window_id,
            annotator=self.journal.annotator,
            undoes=last.event_id,
            run_id=self.material.run_id,
        )
        self._mark(self.journal.append(event))
        return event

    def _event(self, decision: Decision, position: int) -> LabelEvent:
        """What the page says and what only the server knows."""
        row, windows = self.row(position), self.material.windows
        digest = window_digest(windows.bars(row.row))
        decision.check_shown(row.given_label, digest)
        kind, label = decision.resolve(row.given_label, self.material.classes)
        times = windows.times(row.row).moments
        start, end = decision.span(windows.zone) if label is not None else (None, None)
        return LabelEvent(
            decision=kind,
            event_id=decision.event_id,
            window_id=row.window_id,
            window_digest=digest,
            given=row.given_label,
            label=label,
            start=start,
            end=end,
            annotator=self.journal.annotator,
            note=decision.note if kind == "note" else "",
            seconds=decision.seconds,
            blind=decision.blind,
            blind_share=self.blind_share,
            run_id=self.material.run_id,
            series=windows.symbol(row.row),
            first_time=times[0].isoformat() if times else "",
            last_time=times[-1].isoformat() if times else "",
        )


def is_split(row: QueueRow) -> bool:
    """Whether models disagree among themselves."""
    return row.agreement is not None and row.agreement < SPLIT_BELOW


def _first(mask: np.ndarray) -> int | None:
    """The first True, or None."""
    place = int(mask.argmax()) if len(mask) else 0
    return place if len(mask) and mask[place] else None
