"""What a page may ask to be written, checked before it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from moola.errors import DataError, MoolaError, did_you_mean

EventId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
LONGEST_NOTE = 2000
"""Letters."""


class AnotherReviewError(MoolaError):
    """The page is of another review than the one that is served now."""


class ChangedError(DataError):
    """The decision is about something that the server shows no more."""


class Undo(BaseModel):
    """Take back the last decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: EventId


class Decision(BaseModel):
    """One decision about one window.

    Attributes:
        event_id: chosen by the page, so that one sent twice counts once.
        window_id: the window.
        window_digest: of the bars that were shown (`moola.labels.events.window_digest`).
        given: label that was shown as given; None where none was, and where the window was blind.
        blind: whether nobody's opinion was shown.
        decision: ``label`` is for the label that `label` names; whether that accepts or relabels follows.
        label: for ``label``.
        start: first marked bar, within the window; None where nobody touched the marks.
        end: last marked bar.
        note: for ``note``.
        seconds: from when the window was shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: EventId
    window_id: str = Field(min_length=1, max_length=500)
    window_digest: str = Field(max_length=64)
    given: str | None = Field(max_length=500)
    blind: bool
    decision: Literal["accept", "label", "blacklist", "skip", "note"]
    label: str | None = Field(default=None, max_length=500)
    start: int | None = None
    end: int | None = None
    note: str = Field(default="", max_length=LONGEST_NOTE)
    seconds: FiniteFloat | None = Field(default=None, ge=0)

    def resolve(
        self, given: str | None, classes: tuple[str, ...]
    ) -> tuple[Literal["accept", "relabel", "blacklist", "skip", "note"], str | None]:
        """The decision as the log says it, and the label that it is for.

        Raises:
            DataError: there is no such label, nothing to accept or no text.
        """
        if self.decision == "note" and not self.note.strip():
            raise DataError("the note is empty", "", "write something, or cancel it")
        if self.decision in ("blacklist", "skip", "note"):
            return self.decision, None
        label = given if self.decision == "accept" else self.label
        if label is None or (self.blind and self.decision == "accept"):
            raise DataError("this window shows no label to accept", "", "choose one by its number")
        if label not in classes:
            raise DataError(f"there is no label '{label}'", did_you_mean(label, classes), "choose one by its number")
        return ("accept" if label == given else "relabel"), label

    def check_shown(self, given: str | None, window_digest: str) -> None:
        """Compare what was shown with what the window is now.

        Args:
            given: its given label.
            window_digest: of its bars.

        Raises:
            ChangedError: it is another one.
        """
        problems: list[str] = []
        if self.window_digest != window_digest:
            problems.append("it had other bars")
        if not self.blind and self.given != given:
            problems.append(f"it was labelled {_quoted(self.given)} and is labelled {_quoted(given)} now")
        if problems:
            raise ChangedError(f"{self.window_id} has changed since it was shown", "; ".join(problems), "look again")

    def span(self, zone: tuple[int, int]) -> tuple[int | None, int | None]:
        """First and last marked bar; both None where none is marked.

        Args:
            zone: first and past-the-end bar that may be marked.

        Raises:
            DataError: they are no span within the zone.
        """
        if self.start is None and self.end is None:
            return None, None
        if self.start is None or self.end is None or not zone[0] <= self.start < self.end < zone[1]:
            raise DataError(
                f"bars {self.start} to {self.end} cannot be marked",
                f"marks lie within the zone, bars {zone[0]} to {zone[1] - 1}, and the first comes before the last",
                "drag them into the zone",
            )
        return self.start, self.end


def _quoted(label: str | None) -> str:
    return "in no way" if label is None else f"'{label}'"
