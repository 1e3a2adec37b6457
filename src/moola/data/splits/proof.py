"""The proof of a split: what lies between training and held-out windows, measured on the finished split.

Nothing here knows how windows were purged. Overlaps are counted as in a comparison of all pairs: of the training
windows, those that begin before a held-out one has ended, less those that ended before it began. Two sorted arrays
give both counts for each held-out window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.splits import Fold, Splitter
from moola.data.splits.purging import Margins
from moola.data.splits.sealed import moment_text
from moola.data.window_index import WindowIndex, WindowSpans
from moola.errors import StorageError

_US_PER_S = 1_000_000
_SPOKEN = {"bars": "bars", "windows": "windows", "spans": "windows", "labelled": "labelled windows"}
"""Digests of a proof, in words."""


@dataclass(frozen=True)
class Distances:
    """How far training windows lie from held-out ones, on one axis.

    Attributes:
        overlaps: pairs of a training and a held-out window that share a point.
        before: smallest distance from the last point of a training window to the first of a held-out window after it;
            None where no training window ends before a held-out one begins.
        after: smallest distance from the last point of a held-out window to the first of a training window after it.
    """

    overlaps: int
    before: int | None
    after: int | None


def prove(
    splitter: Splitter,
    store: BarStore,
    windows: WindowIndex,
    spans: WindowSpans,
    part: np.ndarray,
    rows: np.ndarray,
    folds: Sequence[Fold],
) -> dict[str, Any]:
    """Everything that can be checked of a split by somebody who has only its files and the bars.

    Args:
        splitter: what made the split; its declared margins are written down beside the measured ones.
        store: the bars.
        windows: where windows start.
        spans: what they span, [n_windows].
        part: str [n_windows], ``"train"``, ``"test"`` or ``"excluded"``.
        rows: int64 [n_labelled], window numbers that the rows of the folds stand for.
        folds: over the labelled windows.

    Returns:
        JSON values: ``coverage``, ``declared`` (margins), ``digests``, ``windows`` (how many a part), ``seal``,
        ``test`` and ``folds`` (`evidence` of the sealed test and of each fold).
    """
    margins = Margins.declared_by(splitter)
    of = {name: np.flatnonzero(part == name) for name in ("train", "test", "excluded")}
    labelled = spans[rows]
    return {
        "coverage": splitter.coverage,
        "declared": asdict(margins),
        "digests": {
            "bars": store.digest,
            "windows": windows_digest(windows),
            "spans": spans_digest(spans),
            "labelled": spans_digest(labelled),
        },
        "windows": {name: len(rows) for name, rows in of.items()},
        "seal": seal(store, windows, spans, of["test"], getattr(splitter, "test_from", None)),
        "test": evidence(store, spans, of["train"], of["test"], of["excluded"], margins),
        "folds": [
            evidence(store, labelled, fold.train, fold.held_out, _left_out(fold, len(rows)), margins) for fold in folds
        ],
    }


def evidence(
    store: BarStore,
    windows: WindowSpans,
    train: np.ndarray,
    held_out: np.ndarray,
    left_out: np.ndarray,
    margins: Margins,
) -> dict[str, Any]:
    """What lies between two sets of windows, and how many of the rest had to be left out.

    Independent cases share no calendar, so that only their overlaps can be measured; their gaps are null.

    Args:
        store: the bars.
        windows: spans that the three sets are row numbers of.
        train: rows that train.
        held_out: rows that are predicted.
        left_out: rows in neither.
        margins: as declared.

    Returns:
        ``train``, ``held_out``; ``overlaps``; ``gap_bars`` and ``gap_s`` (bars between, and seconds from bar to bar,
        whichever side is nearer), each also ``_before`` and ``_after`` the held-out windows; of those left out, how
        many are ``purged``, how many ``embargoed`` alone, and how many are ``unused`` for another reason.
    """
    kept, held, out = windows[train], windows[held_out], windows[left_out]
    steps = distances((kept.first_step, kept.last_step), (held.first_step, held.last_step))
    seconds = distances((kept.first_time, kept.last_time), (held.first_time, held.last_time))
    known = not store.independent
    purged = _near(out, held, margins.without_embargo())
    embargoed = _near(out, held, margins)
    return {
        "train": len(train),
        "held_out": len(held_out),
        "overlaps": steps.overlaps,
        **_gaps("bars", steps, lambda distance: distance - 1, known),
        **_gaps("s", seconds, lambda distance: distance / _US_PER_S, known),
        "purged": purged,
        "embargoed": embargoed - purged,
        "unused": len(left_out) - embargoed,
    }


def distances(train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray]) -> Distances:
    """Overlaps and smallest distances between two sets of intervals, given as (firsts, lasts), both ends included."""
    ends, begins = np.sort(train[1], kind="stable"), np.sort(train[0], kind="stable")
    first, last = held_out
    ended = np.searchsorted(ends, first, side="left")  # training windows that are over when each begins
    begun = np.searchsorted(begins, last, side="right")  # ... and that have begun when it ends
    has_before, has_after = ended > 0, begun < len(begins)
    before = first[has_before] - ends[ended[has_before] - 1]
    after = begins[begun[has_after]] - last[has_after]
    return Distances(
        int((begun - ended).sum()),
        int(before.min()) if len(before) else None,
        int(after.min()) if len(after) else None,
    )


def seal(
    store: BarStore, windows: WindowIndex, spans: WindowSpans, test: np.ndarray, test_from: str | None
) -> dict[str, Any] | None:
    """What the sealed test is, by digest: another bar, window or date is another test. None where nothing is sealed."""
    if not len(test):
        return None
    digest = hashlib.sha256(f"{store.digest}\n{windows.length}\n{windows.horizon_bars}\n{test_from}\n".encode())
    digest.update(np.ascontiguousarray(windows.starts[test], dtype="<i8").data)
    known = not store.independent
    return {
        "digest": digest.hexdigest(),
        "windows": len(test),
        "test_from": test_from,
        "first_time": moment_text(spans.first_time[test].min()) if known else None,
        "last_time": moment_text(spans.last_time[test].max()) if known else None,
    }


def windows_digest(windows: WindowIndex) -> str:
    """SHA-256 (hex) of where windows start and how many bars they span."""
    digest = hashlib.sha256(f"{windows.length}\n{windows.horizon_bars}\n".encode())
    digest.update(np.ascontiguousarray(windows.starts, dtype="<i8").data)
    return digest.hexdigest()


def spans_digest(windows: WindowSpans) -> str:
    """SHA-256 (hex) of the series and the steps of windows; with the digest of the bars it says which they are."""
    digest = hashlib.sha256()
    for column in (windows.series, windows.first_step, windows.last_step):
        digest.update(np.ascontiguousarray(column, dtype="<i8").data)
    return digest.hexdigest()


def check_fresh(proof: Mapping[str, Any], store_digest: str, windows_digest: str) -> None:
    """A split is used with the bars and the windows that it was made for, and with no others.

    Raises:
        StorageError: the split is stale; what changed is named.
    """
    refuse_stale(proof, {"bars": store_digest, "windows": windows_digest})


def refuse_stale(
    proof: Mapping[str, Any],
    today: Mapping[str, str],
    what: str = "this split",
    way_out: str = "split the data again: --force=splits",
) -> None:
    """Compare digests of the proof with those of today: ``bars``, ``windows``, ``spans`` or ``labelled``.

    Raises:
        StorageError: some differ; all of them are named.
    """
    saved = proof.get("digests", {})
    changed = [
        f"- the {_SPOKEN[name]} changed: {saved.get(name, 'nothing')[:12]} then, {digest[:12] or 'nothing'} now"
        for name, digest in today.items()
        if saved.get(name) != digest
    ]
    if changed:
        raise StorageError(f"{what} is stale: it was made for other data", "\n".join(changed), way_out)


def _left_out(fold: Fold, n_windows: int) -> np.ndarray:
    rest = np.ones(n_windows, dtype=bool)
    rest[fold.train] = rest[fold.held_out] = False
    return np.flatnonzero(rest)


def _near(windows: WindowSpans, held_out: WindowSpans, margins: Margins) -> int:
    """How many windows overlap a held-out one that is enlarged by the margins, counted as in `distances`."""
    before = np.sort(held_out.first_step, kind="stable") - margins.before_bars
    after = np.sort(held_out.last_step, kind="stable") + margins.after_bars
    near = np.searchsorted(before, windows.last_step, side="right") > np.searchsorted(after, windows.first_step)
    if margins.after_us:
        before = np.sort(held_out.first_time, kind="stable") - margins.purge_us
        after = np.sort(held_out.last_time, kind="stable") + margins.after_us
        near |= np.searchsorted(before, windows.last_time, side="right") > np.searchsorted(after, windows.first_time)
    return int(near.sum())


def _gaps(unit: str, found: Distances, convert: Any, known: bool) -> dict[str, float | None]:
    """The gaps of one axis under their names; null where there is no calendar or nothing on that side."""
    sides = {"_before": found.before, "_after": found.after}
    gaps = {side: convert(value) if known and value is not None else None for side, value in sides.items()}
    smallest = min((gap for gap in gaps.values() if gap is not None), default=None)
    return {f"gap_{unit}": smallest, **{f"gap_{unit}{side}": gap for side, gap in gaps.items()}}
