"""The store of events: what an inbox writes, and what receipts are made of.

A batch of messages is one transaction. Whatever storing an event raises rejects that event alone, with a reason. Only
what the file itself makes fail (disk, lock, damage) is a :class:`StoreError` and ends the writer: nothing is
acknowledged then, and the broker keeps it.
"""

import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple, Self

import structlog
from sqlalchemy import Connection, func, select

from central.collector import paused_collector
from central.event import Event, GatewayState, Info, Rejected, TerminalState, gateway_of, read_message
from central.store import contact, lanes, partitions, remarks
from central.store.batch import Batch, Item, Outcome
from central.store.bulk import is_deadlock
from central.store.engine import Database, Lock, writer_lock
from central.store.errors import StoreError, StoreStalled
from central.store.lanes import FencedDatabase
from central.store.receipts import Receipt, Receipts
from central.store.rejections import Rejections
from central.store.remarks import Remark
from central.store.streams import Moment
from central.store.tables import events, gateways, streams, unproven

DEADLOCKS = 5
"""How often a batch is stored again that a server ended: it and another transaction waited for each other, or this
process stood still."""

log = structlog.get_logger("store")


class Message(NamedTuple):
    """A message as it arrived; ``topic`` is what follows ``<root>/v1/``."""

    topic: str
    payload: bytes
    cut_from: int | None = None
    """The size of the whole where ``payload`` is only its beginning, because it is too large to be read."""


@dataclass(slots=True)
class IngestResult:
    """What became of messages, in numbers of events."""

    stored: int = 0
    repeated: int = 0
    rejected: int = 0

    def __add__(self, other: Self) -> "IngestResult":
        return IngestResult(self.stored + other.stored, self.repeated + other.repeated, self.rejected + other.rejected)


_Storing = Callable[[Connection, Sequence[Item], Moment], Outcome]


class Store:
    """The writer. For one thread at a time; a second one on the same file raises :class:`StoreLocked`.

    After a :class:`StoreError` from :meth:`ingest` it must not be used any more.
    """

    def __init__(
        self,
        address: Path | str | FencedDatabase,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open a file or a server's database, or create it; raises StoreError.

        Of a lane: write into its database, beside other lanes; receipts are those of sites that it adopts.
        """
        self._now = now
        self._monotonic_s = monotonic_s
        self._receipts = Receipts()
        self._rejections = Rejections()
        self._months_made: date | None = None
        self._lane: int | None = None
        self._lock: Lock | None = None
        if isinstance(address, FencedDatabase):
            self.database: Database = address
            self._lane = address.fence.lane
            with self.database.reading() as connection:
                self._rejections.load(connection)
            return
        self._lock = writer_lock(address)
        try:
            self.database = Database(address, create=True, lock=self._lock)
            try:
                with self.database.reading() as connection:
                    self._receipts.load(connection, monotonic_s())
                    self._rejections.load(connection)
                    _warn_of_unproven(connection)
                    plan = lanes.plan_of(connection)
                if plan is not None:
                    with self.database.writing() as connection:
                        lanes.forget_plan(connection)
            except BaseException:
                self.database.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def adopt(self, sites: Collection[str]) -> None:
        """Read what is held of the gateways at sites, so that receipts say it from now on."""
        with self.database.reading() as connection:
            self._receipts.load(connection, self._monotonic_s(), sites)

    def close(self) -> None:
        """Close the database; of a lane, it is closed by whoever opened it."""
        self.database.close()
        if self._lock is not None:
            self._lock.release()

    @property
    def empty(self) -> bool:
        """Whether no gateway has ever sent an event or ``info``, or the lane was never held; raises StoreError."""
        if isinstance(self.database, FencedDatabase):
            return self.database.fence.epoch == 1
        with self.database.reading() as connection:
            return connection.execute(select(gateways.c.id).limit(1)).first() is None

    @paused_collector()
    def ingest(self, messages: Iterable[Message]) -> IngestResult:
        """Store what the messages hold, all of it in one transaction that is on disk when this returns.

        What a message makes fail costs that message, or that element of a batch, which is then rejected. Raises
        StoreError where the file fails; then nothing is stored.
        """
        items, rejected = _read(messages)
        self._make_months(self._now().date())
        try:
            lines, outcome = self._commit_surely(items, rejected, self._store)
        except _Defect:
            lines, outcome = self._commit_surely(items, rejected, self._store_parts)
        remarks.write(lines)
        return IngestResult(outcome.stored, outcome.repeated, len(rejected) + len(outcome.rejected))

    def begin_contact(self) -> None:
        """Note that a connection to the broker is about to begin."""
        with self.database.writing() as connection:
            contact.begin(connection, self._now(), self._lane)

    def keep_contact(self) -> None:
        """Note that the connection lasts; call it every :data:`central.store.contact.KEPT_S` seconds, or sooner."""
        with self.database.writing() as connection:
            contact.keep(connection, self._now(), self._lane)

    def lose_contact(self) -> None:
        """Note that there is no connection, before anything is judged: what gateways recorded since may be missing."""
        with self.database.writing() as connection:
            contact.lose(connection, self._now(), self._lane)

    def receipts(self) -> Iterator[Receipt]:
        """Return for each gateway what its receipt may say now; raises StoreError where the inbox's lock is lost.

        Another inbox may then write, and this one's receipts would overwrite its. What this one stores meanwhile does
        no harm: a server lets several store at once, see :mod:`central.store.lanes`.
        """
        if self._lock is not None and not self._lock.is_held():
            raise StoreError(
                f"{self.database.place}: the server has ended the connection that held the inbox's lock, so another "
                "inbox may run; this one ends without another receipt. Start it again: it receives where none runs"
            )
        return self._receipts.at(self._monotonic_s())

    def _make_months(self, today: date) -> None:
        """Make the partitions of punches that are missing, once a day; without one a punch goes to the default one."""
        if today == self._months_made:
            return
        self._months_made = today
        try:
            with self.database.writing() as connection:  # alone: a judge would miss punches that move
                made = partitions.make(connection, today)
        except partitions.Busy:
            log.warning("months_not_made", reason="other transactions use the table of punches; tried again tomorrow")
        except StoreError as error:
            log.warning("months_not_made", reason=str(error))
        else:
            if made:
                log.info("months_made", months=made)

    def _commit_surely(
        self, items: Sequence[Item], rejected: Sequence[tuple[str, Rejected]], store: _Storing
    ) -> tuple[list[Remark], Outcome]:
        """Store as :meth:`_commit`; again where the server ends one of several transactions that wait crosswise.

        It also ends the transaction of a process that stood still.
        """
        for _ in range(DEADLOCKS):
            try:
                return self._commit(items, rejected, store)
            except StoreStalled as error:
                log.warning("process_stood_still", reason=str(error))
            except StoreError as error:
                if not is_deadlock(error):
                    raise
        return self._commit(items, rejected, store)

    def _commit(
        self, items: Sequence[Item], rejected: Sequence[tuple[str, Rejected]], store: _Storing
    ) -> tuple[list[Remark], Outcome]:
        """Store items and rejected messages in one transaction; return the lines of the log and what became of them."""
        with self.database.writing(alone=False) as connection:
            # Not before the wait for a writer: what that one stores was stored without these.
            moment = Moment(self._now(), self._monotonic_s(), self._lane)
            outcome = store(connection, items, moment)
            lines = self._rejections.write(connection, [*rejected, *outcome.rejected], moment.received)
            self._receipts.update(connection, outcome, moment.monotonic_s)
        return outcome.remarks + lines, outcome

    def _store(self, connection: Connection, items: Sequence[Item], moment: Moment) -> Outcome:
        """Store a batch; raises _Defect where an item makes that fail."""
        try:
            return Batch(connection, items, moment).store() if items else Outcome()
        except Exception as exc:
            if self.database.place.is_its_own(exc):
                raise
            raise _Defect from exc

    def _store_parts(self, connection: Connection, items: Sequence[Item], moment: Moment) -> Outcome:
        """Store a batch; where that fails, its halves, down to the item that makes it fail, which is rejected."""
        connection.exec_driver_sql("SAVEPOINT part")
        try:
            outcome = self._store(connection, items, moment)
        except _Defect as defect:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
            connection.exec_driver_sql("RELEASE SAVEPOINT part")
            if len(items) == 1:
                cause = defect.__cause__ or defect
                return Outcome(rejected=[(items[0].topic, Rejected("failed", _place(cause), items[0].text))])
            middle = len(items) // 2
            outcome = self._store_parts(connection, items[:middle], moment)
            outcome.add(self._store_parts(connection, items[middle:], moment))
            return outcome
        connection.exec_driver_sql("RELEASE SAVEPOINT part")
        return outcome


class _Defect(Exception):  # noqa: N818 - named by what is the matter
    """An item made its batch fail, by a defect of this program or by values that the database does not take."""


def _read(messages: Iterable[Message]) -> tuple[list[Item], list[tuple[str, Rejected]]]:
    """Return what messages hold, and what of them is rejected, each with its topic."""
    items: list[Item] = []
    rejected: list[tuple[str, Rejected]] = []
    for message in messages:
        topic = message.topic if message.topic.isascii() else message.topic.encode("utf-8", "replace").decode()
        topic = topic.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores no text with NUL
        gateway = gateway_of(topic) or ""
        for found in _contained(topic, message):
            if isinstance(found, Rejected):
                rejected.append((topic, found))
            else:
                items.append(Item(topic, gateway, found, message.payload))
    return items, rejected


def _contained(topic: str, message: Message) -> Iterator[Event | Info | TerminalState | GatewayState | Rejected]:
    """Yield what a message holds; a defect of this program in reading it ends it, and is named."""
    if message.cut_from is not None:
        yield Rejected("too_large", f"{message.cut_from} bytes, of which the beginning is here", message.payload)
        return
    try:
        yield from read_message(topic, message.payload)
    except Exception as exc:  # noqa: BLE001 - it costs this message only
        yield Rejected("failed", _place(exc), message.payload)


def _place(exc: BaseException) -> str:
    """Name an exception by kind and place: its text may hold what a person must not read in a log."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _warn_of_unproven(connection: Connection) -> None:
    """Name the gateways whose events an older version stored without their whole content, where they are missing."""
    stored = select(events.c.key).where(
        events.c.stream == unproven.c.stream,
        events.c.sequence == unproven.c.sequence,
        events.c.digest == unproven.c.digest,
    )
    missing = (
        select(gateways.c.name, func.count())
        .select_from(unproven)
        .join(streams, streams.c.id == unproven.c.stream)
        .join(gateways, gateways.c.id == streams.c.gateway)
        .where(~stored.exists())
        .group_by(gateways.c.name)
    )
    for gateway, count in connection.execute(missing):
        log.warning("events_unproven", gateway=gateway, events=count)
