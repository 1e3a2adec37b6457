"""Batches of annotated candle windows as JSON: grades, spans with their kind, notes; read, checked and merged.

One object a window: ``window_id``, ``annotation_version``, ``window_quality`` (A to D), ``expansions`` (each ``type``,
``start_bar``, ``end_bar``, ``quality``), ``notes``, ``timestamp``, ``annotator_id``. A file holds a list of them, or an
object with the list under ``annotations`` or ``windows`` and perhaps ``zone``, the first and the past-the-end bar that
spans may name; `moola.labels.batch_files.write_batch` writes such templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.data.sources.problems import Problems, refuse
from moola.errors import did_you_mean
from moola.labels.events import LabelEvent
from moola.labels.exchange import imported, read_json_file, utc
from moola.schemas.annotations import QUALITIES

ZONE = (30, 75)
"""First and past-the-end bar that spans may name where neither a file nor a run says: 30 to 74."""
REJECTED = QUALITIES[-1]
KEYS = (
    "window_id",
    "annotation_version",
    "window_quality",
    "expansions",
    "notes",
    "timestamp",
    "annotator_id",
)
_SPAN_KEYS = ("type", "start_bar", "end_bar", "quality")
ALSO_MARKED = "; also marked: "
"""What the note of a window says before all spans but the one that counts."""
LISTS = ("annotations", "windows")
"""Keys under which the list may stand."""


@dataclass(frozen=True)
class Span:
    """What was marked: its kind (a class), first and last bar within the window, and its grade."""

    kind: str
    start: int
    end: int
    quality: str


@dataclass(frozen=True)
class Annotation:
    """What one person said of one window.

    Attributes:
        file: it was read from.
        window_id: of the window.
        version: later ones of the same person replace earlier ones.
        quality: grade of the window, A to D.
        spans: what was marked, the best grade first.
        notes: free text.
        at: when, UTC, ISO 8601.
        annotator: who.
        zone: first and past-the-end bar that spans may name.
    """

    file: Path
    window_id: str
    version: int
    quality: str
    spans: tuple[Span, ...]
    notes: str
    at: str
    annotator: str
    zone: tuple[int, int] = ZONE

    @property
    def rejected(self) -> bool:
        """Grade D with nothing marked: the window is of no use."""
        return self.quality == REJECTED and not self.spans

    @property
    def label(self) -> str | None:
        """Kind of the span with the best grade; None where nothing was marked."""
        return self.spans[0].kind if self.spans else None

    def event(self) -> LabelEvent:
        """A rejected window is blacklisted, one with a span labelled by the best one; of others there is a note."""
        note = f"grade {self.quality}" + (f": {self.notes}" if self.notes else "")
        if self.rejected:
            return imported(self.file, "blacklist", self.window_id, self.annotator, self.at, note=note)
        if not self.spans:
            return imported(self.file, "note", self.window_id, self.annotator, self.at, note=f"{note}; nothing marked")
        best, *others = self.spans
        if others:
            note += ALSO_MARKED + ", ".join(f"{one.kind} {one.start} to {one.end} ({one.quality})" for one in others)
        fields = {"label": best.kind, "start": best.start, "end": best.end, "note": note}
        return imported(self.file, "relabel", self.window_id, self.annotator, self.at, **fields)


def read(path: Path, zone: tuple[int, int] = ZONE, classes: Sequence[str] | None = None) -> list[LabelEvent]:
    """The events of a batch; raises as `read_annotations`."""
    return [annotation.event() for annotation in read_annotations([path], zone, classes)]


def read_annotations(
    paths: Sequence[Path], zone: tuple[int, int] = ZONE, classes: Sequence[str] | None = None
) -> list[Annotation]:
    """Every annotation of some batches; objects of a template that nobody filled in yet are left out.

    Args:
        paths: the files.
        zone: first and past-the-end bar that spans may name, where a file does not say.
        classes: kinds there may be; None: any.

    Raises:
        DataError: files that cannot be read, unknown or missing keys, grades, spans or times that are none, windows
            whose best spans are of several kinds, one person twice on a window with one version: of all files in one
            go.
    """
    groups: list[Problems] = []
    found: list[Annotation] = []
    for path in paths:
        problems = Problems(path.name)
        groups.append(problems)
        content = read_json_file(path, problems)
        reader = _Reader(path, _zone_of(content, problems) or zone, classes, problems)
        found += reader.annotations(content)
    refuse("the annotations cannot be used", *groups)
    return found


def _zone_of(content: Any, problems: Problems) -> tuple[int, int] | None:
    """The zone that a file tells; None where it tells none."""
    told = content.get("zone") if isinstance(content, Mapping) else None
    if told is None:
        return None
    bars = [bar for bar in told if type(bar) is int] if isinstance(told, list) else []
    if len(bars) != 2 or len(told) != 2 or not 0 <= bars[0] < bars[1]:
        problems.say(f"its zone is {told!r}", "give the first and the past-the-end bar: [30, 75]")
        return None
    return bars[0], bars[1]


@dataclass(frozen=True)
class _Reader:
    """Makes annotations of one file, and tells what is wrong."""

    path: Path
    zone: tuple[int, int]
    classes: Sequence[str] | None
    problems: Problems

    def annotations(self, content: Any) -> list[Annotation]:
        if isinstance(content, Mapping):
            content = next((content[key] for key in LISTS if key in content), [content])
        if self.problems:
            return []
        if not isinstance(content, list) or not all(isinstance(one, Mapping) for one in content):
            self.problems.say("it holds no list of annotations", "give a JSON list of objects, one a window")
            return []
        filled = [one for one in content if one.get("window_quality") or one.get("expansions")]
        found = [annotation for one in filled if (annotation := self._annotation(one)) is not None]
        self._tell_twice(found)
        return found

    def _annotation(self, values: Mapping[str, Any]) -> Annotation | None:
        name = values.get("window_id")
        place = str(name or "an object without a window_id")
        if not self._known(values, KEYS, place) or not isinstance(name, str) or not name:
            return None
        at, quality = utc(values.get("timestamp")), values.get("window_quality")
        if at is None:
            told = f"{place}: {values.get('timestamp')!r}"
            self.problems.count("timestamps that are none", told, "give ISO 8601, e.g. 2026-01-31T12:00:00Z")
        if quality not in QUALITIES:
            told = f"{place}: {quality!r}"
            self.problems.count(f"grades that are none of {', '.join(QUALITIES)}", told, "grade every window")
        spans = self._spans(values.get("expansions") or [], place)
        version = values.get("annotation_version", 1)
        if not str(version).removeprefix("v").isdigit():
            self.problems.count("versions that are no whole number", f"{place}: {version!r}", "number versions from 1")
        if self.problems or at is None or quality not in QUALITIES:
            return None
        number = int(str(version).removeprefix("v"))
        who = str(values.get("annotator_id") or "unknown")
        return Annotation(self.path, name, number, quality, spans, str(values.get("notes") or ""), at, who, self.zone)

    def _known(self, values: Mapping[str, Any], keys: Sequence[str], place: str) -> bool:
        """Whether the keys are those of the layout; ``annotation_version`` and ``notes`` may be missing."""
        for key in values:
            if key not in keys:
                told = f"{place}: '{key}'; {did_you_mean(key, keys)}"
                self.problems.count("unknown keys", told, "rename or remove them")
        missing = [key for key in keys if key not in values and key not in ("annotation_version", "notes")]
        for key in missing:
            self.problems.count("missing keys", f"{place}: {key}", "export them too")
        return not missing and all(key in keys for key in values)

    def _spans(self, values: Any, place: str) -> tuple[Span, ...]:
        """The best grade first; of equal grades the order of the file."""
        if not isinstance(values, list) or not all(isinstance(one, Mapping) for one in values):
            self.problems.count("expansions that are no list of objects", place, "give a list, perhaps an empty one")
            return ()
        spans = [span for one in values if (span := self._span(one, place)) is not None]
        spans.sort(key=lambda span: span.quality)
        best = {span.kind for span in spans if span.quality == spans[0].quality}
        if len(best) > 1:
            told = f"{place}: {', '.join(sorted(best))}"
            way_out = "a window has one label: grade the span higher that gives it"
            self.problems.count("windows whose best spans are of several kinds", told, way_out)
        return tuple(spans)

    def _span(self, values: Mapping[str, Any], place: str) -> Span | None:
        if not self._known(values, _SPAN_KEYS, place):
            return None
        kind, start, end, quality = (values[key] for key in _SPAN_KEYS)
        told = f"{place}: {kind} from {start} to {end}, grade {quality}"
        if self.classes is not None and kind not in self.classes:
            near = did_you_mean(str(kind), self.classes)
            self.problems.count("spans of a kind that is no class", f"{told}; {near}", "mend them, or name the class")
        if quality not in QUALITIES:
            self.problems.count(f"spans whose grade is none of {', '.join(QUALITIES)}", told, "grade every span")
        bars = [bar for bar in (start, end) if isinstance(bar, int) and not isinstance(bar, bool)]
        if len(bars) < 2 or not self.zone[0] <= start < end < self.zone[1]:
            rule = f"spans that are not two bars inside [{self.zone[0]}, {self.zone[1] - 1}], the first before the last"
            self.problems.count(rule, told, "count bars within the window, and mark inside the zone")
            return None
        return Span(str(kind), start, end, str(quality))

    def _tell_twice(self, found: Sequence[Annotation]) -> None:
        seen: set[tuple[str, str, int]] = set()
        for one in found:
            key = (one.window_id, one.annotator, one.version)
            if key in seen:
                told = f"{one.window_id} by {one.annotator}, version {one.version}"
                self.problems.count("annotations given twice", told, "keep one, or count its version up")
            seen.add(key)


def latest(annotations: Sequence[Annotation]) -> Iterator[Annotation]:
    """Of each person's annotations of a window the one that counts: the highest version, then the latest time."""
    best: dict[tuple[str, str], Annotation] = {}
    for one in annotations:
        key = (one.window_id, one.annotator)
        if key not in best or (one.version, one.at) >= (best[key].version, best[key].at):
            best[key] = one
    yield from best.values()
