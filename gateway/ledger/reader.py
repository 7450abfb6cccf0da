"""Reading the ledger, from any process."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from drivers.base import Record
from gateway import event as event_module
from gateway import ledger_summary
from gateway.ledger import file
from gateway.ledger.file import LedgerError
from gateway.ledger.schema import SETTLED, KnownTerminal, known_from, version_of
from gateway.ledger.stream import Stream
from gateway.ledger.transaction import present, unconfirmed
from gateway.ledger.verify import Row, Verdict, Walk
from gateway.ledger_summary import ALTERED, FILE_NAME, NUMBERS, Counts, DayCounts

CHUNK = 500
"""Identities looked up by one statement."""
VERIFY_BATCH = 2000

_UNSETTLED = f"body IS NOT NULL AND parked IS NOT {ALTERED} AND recorded_ms >= :since AND NOT {SETTLED}"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored in the ledger."""

    sequence: int
    """Its number in the ledger."""
    topic: str
    body: str
    recorded_ms: int
    digest: str | None = None
    """The digest column, stored beside the body."""

    @property
    def is_altered(self) -> bool:
        """Whether the body does not fit its digest."""
        return self.digest is not None and not event_module.is_intact(self.body, self.digest)


class LedgerReader:
    """Reads a ledger, also while a daemon writes it. Changes nothing."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME
        if not self.path.exists():
            raise LedgerError(f"{self.path}: there is no ledger here yet; `hadir run` creates it")
        self._engine = file.engine_for(self.path, read_only=True)
        try:
            with self._engine.connect() as connection:
                file.check_version(self.path, version_of(connection))
        except BaseException as exc:
            self._engine.dispose()
            if isinstance(exc, DBAPIError):
                raise file.explained(self.path, exc) from exc
            raise

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def _rows(self, statement: str, **values: object) -> list[Any]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(text(statement), values))
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc

    def _scalar(self, statement: str, **values: object) -> Any:
        rows = self._rows(statement, **values)
        return rows[0][0] if rows else None

    @property
    def stream(self) -> str:
        """Identifier of the present stream."""
        return self.streams()[-1].id

    def streams(self) -> list[Stream]:
        """Return all streams of this ledger, the present one last."""
        return [Stream(**row._mapping) for row in self._rows("SELECT * FROM stream ORDER BY number")]  # noqa: SLF001 - SQLAlchemy's documented way to a dictionary

    def base_of(self, stream: str) -> int | None:
        """Return an event's number here minus its sequence in ``stream``; None for a foreign stream."""
        base = self._scalar("SELECT base FROM stream WHERE id = :id", id=stream)
        return None if base is None else int(base)

    def digest(self, number: int) -> str | None:
        """Return the digest of the event with this number; None where there is none."""
        digest = self._scalar("SELECT digest FROM event WHERE sequence = :number", number=number)
        return None if digest is None else str(digest)

    def assigned(self) -> int:
        """Return the highest sequence assigned in the present stream."""
        return self.end_of_stream()[1]

    def end_of_stream(self) -> tuple[str, int]:
        """Return the present stream and the highest sequence assigned in it."""
        present = self.streams()[-1]
        return present.id, max(0, self.last_sequence() - present.base)

    @property
    def source(self) -> str:
        """The gateway this ledger belongs to, ``/hadir/<site>/<gateway>``."""
        return str(self._scalar("SELECT source FROM gateway"))

    def terminals(self) -> list[KnownTerminal]:
        """Return the stored state of every terminal ever read, ordered by name."""
        return [known_from(row) for row in self._rows("SELECT * FROM terminal ORDER BY name")]

    def terminal(self, name: str) -> KnownTerminal | None:
        """Return the stored state of one terminal; None before its first contact."""
        rows = self._rows("SELECT * FROM terminal WHERE name = :name", name=name)
        return known_from(rows[0]) if rows else None

    def events(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` events behind number ``after``, in order, sent or not, without pruned ones."""
        return self._events("body IS NOT NULL", after, limit)

    def pending(self, after: int, limit: int, topic: str | None = None) -> list[StoredEvent]:
        """Return up to ``limit`` events behind ``after`` that wait for the broker, in order."""
        condition = "sent_ms IS NULL AND parked IS NULL"
        return self._events(f"{condition} AND topic = :topic" if topic else condition, after, limit, topic=topic)

    def _events(self, condition: str, after: int, limit: int, **values: object) -> list[StoredEvent]:
        rows = self._rows(
            "SELECT sequence, topic, body, recorded_ms, digest FROM event "
            f"WHERE sequence > :after AND {condition} ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
            **values,
        )
        return [StoredEvent(*row) for row in rows]

    def unsettled(self, after: int, limit: int, since_ms: int = 0) -> list[StoredEvent]:
        """Return up to ``limit`` events behind ``after``, recorded from ``since_ms`` on, whose delivery is incomplete.

        Also those acknowledged or refused by the broker: delivery is complete as defined for retention (``SETTLED``).
        """
        return self._events(_UNSETTLED, after, limit, since=since_ms)

    def count_unsettled(self, after: int, since_ms: int = 0) -> int:
        """Count what :meth:`unsettled` would return without a limit."""
        statement = f"SELECT count(*) FROM event WHERE sequence > :after AND {_UNSETTLED}"
        return int(self._scalar(statement, after=after, since=since_ms))

    def again_upto(self) -> int:
        """Return the highest number that may have been marked for resending."""
        return int(self._scalar("SELECT again_upto FROM delivery"))

    def last_sequence(self) -> int:
        """Return the number of the newest event; 0 in an empty ledger."""
        return self._scalar("SELECT max(sequence) FROM event") or 0

    def counts(self) -> Counts:
        """Count the events by their delivery state."""
        return ledger_summary.counts(self._rows)

    def summary(self, days: int, since: date) -> dict[str, Any]:
        """Return counts, terminals and daily counts as plain data; see :func:`gateway.ledger_summary.summary`."""
        return ledger_summary.summary(self._rows, days, since)

    def punches(self) -> int:
        """Count the punches stored, of all terminals."""
        return int(self._scalar("SELECT count(*) FROM event WHERE topic LIKE 'punch/%'"))

    # Verification.

    def verify(
        self, progress: Callable[[int, int], None] = lambda _done, _all: None, *, chain_end: bool = True
    ) -> Verdict:
        """Verify all events, also while a daemon writes.

        ``progress`` receives the number of verified events and of all events.

        Without ``chain_end`` the end of the chain beside the ledger is not compared: it is another ledger's.
        """
        # Read first: the mark is then never newer than the ledger.
        mark = file.read_chain_end(self.path.with_name(file.LOCK_NAME)) if chain_end else None
        upto = self.last_sequence()
        walk = Walk(self.streams(), self.source, mark)
        while walk.can_go_on and walk.number < upto and (rows := self.rows(walk.number, VERIFY_BATCH)):
            for row in rows:
                walk.step(row)
            progress(walk.number, max(upto, walk.number))
        return walk.end(self.dangling_references())

    def rows(self, after: int, limit: int) -> list[Row]:
        """Return up to ``limit`` events behind number ``after`` as stored in the file."""
        rows = self._rows(
            "SELECT sequence, id, CAST(topic AS BLOB), CAST(body AS BLOB), CAST(digest AS BLOB) FROM event "
            "WHERE sequence > :after ORDER BY sequence LIMIT :limit",
            after=after,
            limit=limit,
        )
        return [
            Row(*row[:2], *(None if text is None else text.decode("utf-8", "replace") for text in row[2:]))
            for row in rows
        ]

    def dangling_references(self) -> list[tuple[int, str]]:
        """Return references to a missing or wrong event: its number and what is wrong."""
        rows = self._rows(
            "SELECT sequence, 'a record of a log has its place but no event' FROM place "
            "WHERE sequence IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM event WHERE event.sequence = place.sequence AND event.terminal IS NOT NULL) "
            "UNION ALL SELECT unconfirmed.sequence, 'a live punch waits for its log but has no event' FROM unconfirmed "
            "LEFT JOIN event ON event.id = unconfirmed.id WHERE event.sequence IS NOT unconfirmed.sequence "
            "UNION ALL SELECT 0, 'the known order of a log has gaps' FROM terminal LEFT JOIN place "
            "ON place.terminal = terminal.number AND place.generation = terminal.generation GROUP BY terminal.number "
            "HAVING count(position) <> length OR coalesce(max(position) + 1, 0) <> length LIMIT 1"
        )
        return [(int(number), what) for number, what in rows]

    def placed(self, name: str) -> int:
        """Count the stored places of a terminal's present log generation."""
        return int(
            self._scalar(
                "SELECT count(*) FROM place JOIN terminal ON terminal.number = place.terminal "
                "AND terminal.generation = place.generation WHERE name = :name",
                name=name,
            )
        )

    def tally(self, name: str, since: date = date.min) -> list[DayCounts]:
        """Return the delivery counts of each day from ``since`` on; see :func:`gateway.ledger_summary.tally`."""
        return ledger_summary.tally(self._rows, self._number_of(name), since)

    def count_days(self, serial: str, first: date, last: date) -> int:
        """Count the records dated from ``first`` to ``last`` of all terminals with this serial number.

        Withheld and pruned ones are among them.
        """
        found = "FROM {} JOIN terminal ON terminal.number = {}.terminal WHERE terminal.serial = :serial "
        ((count,),) = self._rows(
            f"SELECT (SELECT count(*) {found.format('event', 'event')} AND day BETWEEN :first AND :last) + "
            f"(SELECT count(*) {found.format('withheld', 'withheld')} AND day BETWEEN :first AND :last)",
            serial=serial,
            first=first.toordinal(),
            last=last.toordinal(),
        )
        return int(count)

    def hours(self, name: str, since: date) -> dict[tuple[date, int], int]:
        """Count a terminal's punches of each day and hour by its clock, from ``since`` on, withheld ones among them.

        Pruned punches are not counted, those recorded under another name of the same serial number are.
        """
        hour = "CAST(substr(json_extract({}, '$.{}local_time'), 12, 2) AS INTEGER) AS hour"
        rows = self._rows(
            f"WITH {NUMBERS} SELECT day, hour, count(*) FROM (SELECT day, {hour.format('body', 'data.')} FROM event "
            "WHERE terminal IN numbers AND day >= :since AND topic LIKE 'punch/%' UNION ALL "
            f"SELECT day, {hour.format('record', '')} FROM withheld WHERE terminal IN numbers AND day >= :since) "
            "WHERE hour IS NOT NULL GROUP BY day, hour",
            terminal=self._number_of(name),
            since=since.toordinal(),
        )
        return {(date.fromordinal(day), hour): count for day, hour, count in rows}

    def quarters(self, first: date, last: date) -> dict[tuple[date, int], int]:
        """Count the punches of all terminals, by their clocks, in each quarter of an hour of the days given.

        Quarters are counted from midnight, from 0 to 95. Neither withheld nor pruned punches are counted.
        """
        rows = self._rows(
            "SELECT day, CAST(substr(local_time, 12, 2) AS INTEGER) * 4 + CAST(substr(local_time, 15, 2) AS INTEGER) "
            "/ 15 AS quarter, count(*) FROM (SELECT day, json_extract(body, '$.data.local_time') AS local_time "
            "FROM event WHERE terminal IN (SELECT number FROM terminal) AND day BETWEEN :first AND :last "
            "AND topic LIKE 'punch/%') WHERE local_time IS NOT NULL GROUP BY day, quarter",
            first=first.toordinal(),
            last=last.toordinal(),
        )
        return {(date.fromordinal(day), quarter): count for day, quarter, count in rows}

    def punch_times(self, name: str, since: datetime) -> list[datetime]:
        """Return the local times, by the terminal's clock, of its punches from ``since`` (naive) on."""
        rows = self._rows(
            "SELECT json_extract(body, '$.data.local_time') AS local_time FROM event WHERE terminal = :terminal "
            "AND day >= :day AND topic LIKE 'punch/%' AND local_time >= :since",
            terminal=self._number_of(name),
            day=since.toordinal(),
            since=since.isoformat("T", "seconds"),
        )
        return [datetime.fromisoformat(row[0]) for row in rows]

    def _number_of(self, name: str) -> int | None:
        found: int | None = self._scalar("SELECT number FROM terminal WHERE name = :name", name=name)
        return found

    def files(self, name: str) -> set[str]:
        """Return the SHA-256 of every completely imported file of a terminal."""
        rows = self._rows(
            "SELECT sha256 FROM file JOIN terminal ON terminal.number = file.terminal WHERE terminal.name = :name",
            name=name,
        )
        return {row[0] for row in rows}

    def marks(self, name: str, serial: str | None = None) -> dict[str, str]:
        """Return the text of each mark of a terminal; none where it is known by another serial number than ``serial``.

        See :class:`drivers.base.Resumable`.
        """
        rows = self._rows(
            "SELECT mark.name, mark.text FROM mark JOIN terminal ON terminal.number = mark.terminal "
            "WHERE terminal.name = :name AND terminal.serial = coalesce(:serial, terminal.serial)",
            name=name,
            serial=serial,
        )
        return dict(tuple(row) for row in rows)

    def held(self, serial: str, records: Sequence[Record]) -> int:
        """Count those of a few records whose keys are stored for the terminal with this serial."""
        identities = [event_module.identity_of(serial, event_module.checked(record), 1).bytes for record in records]
        try:
            with self._engine.connect() as connection:
                return len(present(connection, identities))
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc

    # What a reading is aligned with.

    def order(self, known: KnownTerminal, first: int, count: int) -> list[bytes]:
        """Return up to ``count`` fingerprints of a terminal's stored order, from position ``first`` on."""
        rows = self._rows(
            "SELECT fingerprint FROM place WHERE terminal = :terminal AND generation = :generation "
            "AND position >= :first AND position < :end ORDER BY position",
            terminal=known.number,
            generation=known.generation,
            first=first,
            end=first + count,
        )
        return [row[0] for row in rows]

    def earlier_records(self, known: KnownTerminal, before: int) -> dict[bytes, deque[int | None]]:
        """Return fingerprint → events (None: withheld) of the records in this serial's generations before one.

        A record of several generations counts once: it was matched from one to the next.
        """
        rows = self._rows(
            "SELECT generation, fingerprint, sequence FROM place WHERE terminal = :terminal "
            "AND generation >= :first AND generation < :before ORDER BY generation, position",
            terminal=known.number,
            first=known.first_generation,
            before=before,
        )
        found: dict[bytes, deque[int | None]] = {}
        newest: dict[bytes, int] = {}
        for generation, fingerprint, sequence in rows:
            if newest.get(fingerprint) != generation:
                newest[fingerprint] = generation
                found[fingerprint] = deque()
            found[fingerprint].append(sequence)
        return found

    def bindings(self, known: KnownTerminal) -> dict[int, str]:
        """Return the last known PIN of each internal user number of a terminal."""
        rows = self._rows(
            "SELECT uid, pin FROM binding WHERE terminal = :terminal ORDER BY last_ms", terminal=known.number
        )
        return dict(tuple(row) for row in rows)

    def believed(self, identities: Iterable[bytes]) -> bool:
        """Return whether a log, and not only a live event, contained a record with one of these identities."""
        identities = iter(identities)
        try:
            with self._engine.connect() as connection:
                while chunk := list(islice(identities, CHUNK)):
                    if present(connection, chunk) - unconfirmed(connection, chunk).keys():
                        return True
        except DBAPIError as exc:
            raise file.explained(self.path, exc) from exc
        return False
