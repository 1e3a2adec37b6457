"""What was asked for, what came of it and what it cost: one SQLite file that several clients may write at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from moola.pods.clock import Clock
from moola.pods.leases import Lease, holder_of, take_lease
from moola.pods.ledger_file import LedgerFile
from moola.pods.provider import BILLING, LENT, Offer, PodRecord, PodState, PodStatus, pod_name

LEDGER_PLACE = "metadata/pods.sqlite"
"""Below the artifacts folder."""
_BILL_LAG_S = 7200.0
"""After the end of a pod until its bill is whole; RunPod's lags by up to an hour, in buckets."""


@dataclass(frozen=True)
class Intent:
    """A pod that was asked for, of which nobody knows whether it came.

    Attributes:
        number: its row.
        provider: who was asked.
        run: for which run.
        offer: as it was spoken of.
        at: seconds since 1970.
    """

    number: int
    provider: str
    run: str
    offer: str
    at: float


@dataclass(frozen=True)
class LedgerPod:
    """A pod as the ledger knows it.

    Attributes:
        provider: who lends it.
        pod_id: the lender's id.
        run: the run it was made for.
        experiment: of that run; empty: unknown.
        gpu: id of the GPU type.
        cloud: the tier.
        data_center: where it stands.
        created_at: in UTC.
        ended_at: in UTC; None: not ended as far as the ledger knows.
        ended_why: what ended it.
        status: the last one seen.
        price_per_h: US dollars an hour, the last one seen.
        seconds: from its creation to its end, or to now.
        estimate: US dollars: prices seen times the time between.
        billed: US dollars on the lender's bill; None: not asked yet, or it has none.
        is_settled: the bill was read so long after the pod's end that all of it is there.
    """

    provider: str
    pod_id: str
    run: str
    experiment: str
    gpu: str
    cloud: str
    data_center: str
    created_at: datetime
    ended_at: datetime | None
    ended_why: str
    status: PodStatus
    price_per_h: float
    seconds: float
    estimate: float
    billed: float | None
    is_settled: bool

    @property
    def cost(self) -> float:
        """US dollars: the bill once it is whole; before that at least the estimate, for a bill comes late."""
        if self.billed is None:
            return self.estimate
        return self.billed if self.is_settled else max(self.billed, self.estimate)

    def record(self, owner: str) -> PodRecord:
        """As its lender would tell of it, for lenders that keep no list themselves."""
        return PodRecord(
            self.provider,
            self.pod_id,
            self.run,
            owner,
            pod_name(self.run, owner),
            self.status,
            self.gpu,
            self.cloud,
            self.data_center,
            self.price_per_h,
            self.created_at,
        )


class Ledger:
    """The ledger of one artifacts folder.

    Args:
        path: the SQLite file; made where it is missing.
        clock: for tests.

    Attributes:
        owner: 8 hex digits that tell this ledger's pods from those of another machine.

    Raises:
        StorageError: the file is no ledger, or one of a later moola.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path, self._clock, self._file = path, clock or Clock(), LedgerFile(path)
        self.owner: str = self._file.rows("SELECT value FROM facts WHERE name = 'owner'")[0][0]

    def lease(self, run: str) -> Lease:
        """The right to work on a run, for one process at a time; a context manager that gives it back.

        Raises:
            PodTakenError: another client has it.
        """
        return take_lease(self._file.writing, run, self._clock)

    def lease_holder(self, run: str) -> str | None:
        """The client that works on a run now, by process and machine; None: there is none."""
        with self._file.reading() as book:
            return holder_of(book, run, self._clock)

    def is_leased(self, run: str) -> bool:
        """Whether a client works on a run now."""
        return self.lease_holder(run) is not None

    def add_run(
        self, run: str, experiment: str, bundle: str, budget: float | None = None, max_hours: float | None = None
    ) -> None:
        """Note what a run is, so that costs can be told by experiment; the last word counts."""
        with self._file.writing() as book:
            row = (run, experiment, bundle, budget, max_hours, self._clock.now())
            book.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)

    def runs(self, begin: str) -> list[str]:
        """Runs that were ordered and whose ids begin so."""
        return [
            run for (run,) in self._file.rows("SELECT run FROM runs WHERE substr(run, 1, ?) = ?", len(begin), begin)
        ]

    def max_hours(self, run: str) -> float | None:
        """How long a run may take; None: nobody said."""
        rows = self._file.rows("SELECT max_hours FROM runs WHERE run = ?", run)
        return rows[0][0] if rows else None

    def budget(self, run: str) -> float | None:
        """US dollars that all pods of a run may cost; None: nobody said."""
        rows = self._file.rows("SELECT budget FROM runs WHERE run = ?", run)
        return rows[0][0] if rows else None

    def intend(self, provider: str, run: str, offer: Offer) -> int:
        """Write down that a pod is about to be asked for; on disk when this returns. The number settles it."""
        with self._file.writing() as book:
            row = (provider, run, json.dumps(asdict(offer)), self._clock.now())
            done = book.execute("INSERT INTO intents (provider, run, offer, at) VALUES (?, ?, ?, ?)", row)
            return int(done.lastrowid or 0)

    def settle(
        self, intent: int, outcome: Literal["created", "adopted", "refused", "nothing"], detail: str = ""
    ) -> None:
        """Write down what came of an intent."""
        with self._file.writing() as book:
            book.execute("UPDATE intents SET outcome = ?, detail = ? WHERE intent = ?", (outcome, detail, intent))

    def open_intents(self, run: str | None = None) -> list[Intent]:
        """Intents of which nobody knows what came: of one run, or all."""
        query = "SELECT intent, provider, run, offer, at FROM intents WHERE outcome IS NULL AND run = coalesce(?, run)"
        return [Intent(*row) for row in self._file.rows(f"{query} ORDER BY intent", run)]

    def add_pod(self, pod: PodRecord) -> None:
        """Write down a pod that exists; a known one gets its state, and has not ended after all."""
        with self._file.writing() as book:
            self._add(book, pod)

    def claim(self, pod: PodRecord, slots: int) -> bool:
        """Write down a pod on a host that takes `slots` at a time; False where it has them, also just now."""
        taken = "SELECT count(*) FROM pods WHERE provider = ? AND data_center = ? AND ended_at IS NULL"
        with self._file.writing() as book:
            free = book.execute(taken, (pod.provider, pod.data_center)).fetchone()[0] < slots
            if free:
                self._add(book, pod)
        return free

    def add_state(self, provider: str, pod_id: str, state: PodState) -> None:
        """Write down what a known pod does and costs, where it differs from the last word."""
        with self._file.writing() as book:
            self._note(book, provider, pod_id, state.status, state.price_per_h)

    def see_pod(self, provider: str, pod_id: str) -> None:
        """Write down that a pod was there just now."""
        with self._file.writing() as book:
            self._see(book, provider, pod_id)

    def end_pod(self, provider: str, pod_id: str, why: str, *, was_found_gone: bool = False) -> None:
        """Write down that a pod is gone; the first word counts.

        Args:
            provider: its lender.
            pod_id: the lender's id.
            why: what ended it.
            was_found_gone: nobody saw its end, so that it counts up to the last sight; its bill tells what came after.
        """
        with self._file.writing() as book:
            seen = "SELECT max(at) FROM sights WHERE provider = ? AND pod_id = ?"
            last = book.execute(seen, (provider, pod_id)).fetchone()[0] if was_found_gone else None
            book.execute(
                "UPDATE pods SET ended_at = ?, ended_why = ? WHERE provider = ? AND pod_id = ? AND ended_at IS NULL",
                (last or self._clock.now(), why, provider, pod_id),
            )
            book.execute(  # what was lent on it went with it
                "UPDATE pods SET ended_at = ?, ended_why = 'its pod ended' "
                "WHERE provider = ? AND data_center = ? AND ended_at IS NULL",
                (last or self._clock.now(), LENT, pod_id),
            )
            self._note(book, provider, pod_id, "TERMINATED", 0.0)

    def lose_pod(self, provider: str, pod_id: str, run: str, said: str, *, is_gone: bool = True) -> None:
        """Write down that a pod died before its run had ended.

        Args:
            provider: its lender.
            pod_id: the lender's id.
            run: its run.
            said: by the lender, or why nobody can tell.
            is_gone: the lender knows it no more, so that it costs nothing from now on.
        """
        self.add_event(run, pod_id, "lost", said)
        if is_gone:
            self.end_pod(provider, pod_id, "lost", was_found_gone=True)

    def give_up_pod(self, provider: str, pod_id: str, run: str) -> None:
        """Write down that a command is about to end a pod, so that whoever follows the run rents no other."""
        self.add_event(run, pod_id, "given up", provider)

    def was_given_up(self, run: str, pod_id: str) -> bool:
        """Whether a command was about to end a pod of a run."""
        return any(one["kind"] == "given up" and one["pod_id"] == pod_id for one in self.events(run))

    def set_billed(self, provider: str, pod_id: str, usd: float) -> None:
        """Write down what the lender's bill says of a pod so far."""
        with self._file.writing() as book:
            book.execute(
                "UPDATE pods SET billed = ?, billed_at = ? WHERE provider = ? AND pod_id = ?",
                (usd, self._clock.now(), provider, pod_id),
            )

    def add_transfer(
        self,
        run: str,
        pod_id: str,
        direction: Literal["push", "pull"],
        seconds: float,
        files: int,
        size: int,
        sent: int,
    ) -> None:
        """Write down a transfer.

        Args:
            run: whose.
            pod_id: with which pod.
            direction: seen from here.
            seconds: how long it took.
            files: it was about.
            size: their bytes.
            sent: bytes that travelled; the rest was there.
        """
        with self._file.writing() as book:
            row = (run, pod_id, direction, self._clock.now(), seconds, files, size, sent)
            book.execute("INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def pin_host_keys(self, provider: str, pod_id: str, lines: Sequence[str]) -> None:
        """Write down the host keys of a pod, in place of those before."""
        with self._file.writing() as book:
            book.execute("DELETE FROM host_keys WHERE provider = ? AND pod_id = ?", (provider, pod_id))
            rows = [(provider, pod_id, line) for line in lines]
            book.executemany("INSERT INTO host_keys VALUES (?, ?, ?)", rows)

    def host_keys(self, provider: str, pod_id: str) -> tuple[str, ...]:
        """Host keys that were written down for a pod."""
        query = "SELECT line FROM host_keys WHERE provider = ? AND pod_id = ? ORDER BY line"
        return tuple(line for (line,) in self._file.rows(query, provider, pod_id))

    def add_event(self, run: str, pod_id: str, kind: str, detail: str) -> None:
        """Write down what happened to a run: ``guard``, ``lost``, ``host_key`` and the like."""
        with self._file.writing() as book:
            row = (run, pod_id, self._clock.now(), kind, detail)
            book.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)

    def events(self, run: str) -> list[dict[str, Any]]:
        """What happened to a run, the oldest first: pod_id, at, kind, detail."""
        names = ("pod_id", "at", "kind", "detail")
        rows = self._file.rows("SELECT pod_id, at, kind, detail FROM events WHERE run = ? ORDER BY rowid", run)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def transfers(self, run: str) -> list[dict[str, Any]]:
        """Transfers of a run, the oldest first: pod_id, direction, at, seconds, files, bytes, sent."""
        names = ("pod_id", "direction", "at", "seconds", "files", "bytes", "sent")
        rows = self._file.rows(f"SELECT {', '.join(names)} FROM transfers WHERE run = ? ORDER BY rowid", run)  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]

    def pods(self, run: str | None = None, *, open_only: bool = False) -> list[LedgerPod]:
        """Pods that the ledger knows, the oldest first.

        Args:
            run: of this run only.
            open_only: those that have not ended as far as the ledger knows.
        """
        query = (
            "SELECT provider, pod_id, pods.run, coalesce(experiment, ''), gpu, cloud, data_center, created_at,"
            " ended_at, ended_why, billed, billed_at FROM pods LEFT JOIN runs ON runs.run = pods.run"
            " WHERE pods.run = coalesce(?, pods.run) AND (ended_at IS NULL OR NOT ?) ORDER BY created_at, pod_id"
        )
        with self._file.reading() as book:
            return [self._pod(book, *row) for row in book.execute(query, (run, open_only)).fetchall()]

    def is_open(self, provider: str, pod_id: str) -> bool:
        """Whether the ledger knows a pod and no end of it."""
        query = "SELECT 1 FROM pods WHERE provider = ? AND pod_id = ? AND ended_at IS NULL"
        return bool(self._file.rows(query, provider, pod_id))

    def age(self, pod: PodRecord) -> float:
        """Seconds since a pod was created."""
        return max(self._clock.now() - pod.created_at.timestamp(), 0.0)

    def _pod(self, book: sqlite3.Connection, *row: Any) -> LedgerPod:
        ended_at: float | None
        billed_at: float | None
        provider, pod_id, run, experiment, gpu, cloud, data_center, created_at, ended_at, why, billed, billed_at = row
        states = "SELECT at, status, price_per_h FROM states WHERE provider = ? AND pod_id = ? ORDER BY at, rowid"
        seen = book.execute(states, (provider, pod_id)).fetchall()
        until = self._clock.now() if ended_at is None else ended_at
        return LedgerPod(
            provider=provider,
            pod_id=pod_id,
            run=run,
            experiment=experiment,
            gpu=gpu,
            cloud=cloud,
            data_center=data_center,
            created_at=datetime.fromtimestamp(created_at, UTC),
            ended_at=None if ended_at is None else datetime.fromtimestamp(ended_at, UTC),
            ended_why=why,
            status=seen[-1][1],
            price_per_h=seen[-1][2],
            seconds=max(until - created_at, 0.0),
            estimate=_integral(seen, created_at, until),
            billed=billed,
            is_settled=ended_at is not None and billed_at is not None and billed_at > ended_at + _BILL_LAG_S,
        )

    def _add(self, book: sqlite3.Connection, pod: PodRecord) -> None:
        row = (pod.provider, pod.pod_id, pod.run, pod.gpu, pod.cloud, pod.data_center, pod.created_at.timestamp())
        book.execute(
            "INSERT INTO pods (provider, pod_id, run, gpu, cloud, data_center, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET data_center = excluded.data_center, ended_at = NULL",
            row,
        )
        self._note(book, pod.provider, pod.pod_id, pod.status, pod.price_per_h)

    def _note(self, book: sqlite3.Connection, provider: str, pod_id: str, status: PodStatus, price: float) -> None:
        known = book.execute("SELECT 1 FROM pods WHERE provider = ? AND pod_id = ?", (provider, pod_id)).fetchone()
        last = book.execute(
            "SELECT status, price_per_h FROM states WHERE provider = ? AND pod_id = ? ORDER BY at DESC, rowid DESC",
            (provider, pod_id),
        ).fetchone()
        if known and last != (status, price):
            row = (provider, pod_id, self._clock.now(), status, price)
            book.execute("INSERT INTO states VALUES (?, ?, ?, ?, ?)", row)
        if known and status in BILLING:
            self._see(book, provider, pod_id)

    def _see(self, book: sqlite3.Connection, provider: str, pod_id: str) -> None:
        book.execute("INSERT OR REPLACE INTO sights VALUES (?, ?, ?)", (provider, pod_id, self._clock.now()))


def _integral(seen: list[tuple[Any, ...]], since: float, until: float) -> float:
    """Prices times hours: each price holds from when it was seen, the first from the pod's creation, until its end."""
    starts = [since, *(min(max(at, since), until) for at, _, _ in seen[1:])]
    ends = [*starts[1:], until]
    prices = [price if status in BILLING else 0.0 for _, status, price in seen]
    return sum(max(end - start, 0.0) / 3600 * price for start, end, price in zip(starts, ends, prices, strict=True))
