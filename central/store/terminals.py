"""What gateways say of their terminals: how far each log is known to be complete here, and what may be missing.

A watermark is a fact with its time of arrival: it is never changed, but for the moment at which it began to count,
which is when the stream was held up to its sequence. An incident is what a numbered event says of a time in which a
punch may exist that is not known; the end of an outage follows from the events that end it, whatever arrived first.

The functions work within the caller's transaction.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Index,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlmodel import Field

from central.event import INCIDENTS, Event, TerminalState, read_stored
from central.store.bulk import serialize_terminals
from central.store.engine import KEY, Row, chunks, in_list, json_list, listed_values, table
from central.store.findings import Findings
from central.store.ownership import counted_then
from central.store.punches import Arrived
from central.store.streams import Gateway, Moment, Refused, Stream
from central.store.tables import claims, events, gaps, gateways, punches, streams

FOREVER = 1 << 62
"""The end of what has not ended."""
STEP_S = 60
"""A watermark is stored where it is this much further than the last one: the usual pause between two visits."""
AHEAD_S = 300
"""How far a watermark may lie ahead of this computer's clock; further, one of the two clocks is wrong."""
UNKNOWN_BEFORE_S = 24 * 3600
"""How long before it was read a record may have been made that no watermark lies before."""
KINDS = (*INCIDENTS.values(), "log_lost")
"""Kinds of incidents that concern everybody at a terminal."""
SINCE_COMPLETE = ("quarantined", "unconfirmed", "log_lost")
"""Those that begin where the terminal's log was last complete before them."""
FAST_OR_SLOW_S = 3600
"""By how much a terminal's clock may be wrong for its punches to prove anything."""
NEAR = 50
"""Places of a stream around a punch without a date in which its neighbours in time are looked for."""
OUTAGES = ("lost", "found", "resumed")
"""Kinds of incidents during which a terminal may have been out of order."""
MAX_TERMINALS = 1_000
"""Terminals of one gateway, replaced devices included."""


class TerminalRow(Row, table=True):
    """A device at a terminal of a gateway, as states have named it."""

    __tablename__: ClassVar[Any] = "terminal"
    __table_args__: ClassVar[Any] = (
        Index("terminal_device", "gateway", "name", "serial", unique=True),
        Index("terminal_serial", "serial"),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    gateway: int = Field(sa_type=BigInteger, foreign_key="gateway.id")
    name: str
    serial: str
    found: str
    """When its first state arrived, UTC."""
    log: str | None = None
    """When a state first said that it has a log which can be read to its end; null: it never did."""


class WatermarkRow(Row, table=True):
    """Everything that the log of a terminal held at ``until`` is in a stream at or below ``sequence``."""

    __tablename__: ClassVar[Any] = "watermark"
    __table_args__: ClassVar[Any] = (
        Index("watermark_until", "terminal", "until"),
        Index(
            "watermark_waiting",
            "stream",
            "sequence",
            sqlite_where=text("counted IS NULL"),
            postgresql_where=text("counted IS NULL"),
        ),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    terminal: int = Field(sa_type=BigInteger, foreign_key="terminal.id")
    stream: int = Field(sa_type=BigInteger, foreign_key="stream.id")
    until: int = Field(sa_type=BigInteger)
    """A second of UTC."""
    sequence: int = Field(sa_type=BigInteger)
    received: str
    counted: str | None = None
    """Since when the stream is held up to the sequence; null: it is not."""


class IncidentRow(Row, table=True):
    """A time in which a punch may exist that is not known, see :class:`central.event.Incident`."""

    __tablename__: ClassVar[Any] = "incident"
    __table_args__: ClassVar[Any] = (
        Index("incident_begin", "gateway", "kind", "begin"),
        Index("incident_end", "gateway", "kind", "end"),
        Index("incident_place", "stream", "sequence"),
        Index(
            "incident_unresolved",
            "punch",
            sqlite_where=text("punch IS NOT NULL"),
            postgresql_where=text("punch IS NOT NULL"),
        ),
    )
    event: int = Field(sa_type=BigInteger, primary_key=True, foreign_key="event.key")
    gateway: int = Field(sa_type=BigInteger, foreign_key="gateway.id")
    stream: int = Field(sa_type=BigInteger, foreign_key="stream.id")
    sequence: int = Field(sa_type=BigInteger)
    kind: str
    terminal: str | None = None
    serial: str | None = None
    begin: int = Field(sa_type=BigInteger)
    end: int = Field(sa_type=BigInteger)
    """:data:`FOREVER` where nothing that is held ends it."""
    punch: str | None = None
    """The punch of an unconfirmed live event, as long as that punch is not held."""


TERMINAL, WATERMARK, INCIDENT = table(TerminalRow), table(WatermarkRow), table(IncidentRow)


class Advance(NamedTuple):
    """A watermark that counts since this batch."""

    serial: str
    before: int | None
    """How far the log was known to be complete; None: not at all."""
    until: int


class Changed(NamedTuple):
    """Times of a terminal, or of a gateway, in which doubts have begun, ended or moved."""

    gateway: str
    serial: str | None
    """None: unknown, or all terminals of the gateway."""
    begin: int
    end: int


class _Last(NamedTuple):
    until: int
    sequence: int
    stream: int


class TerminalBatch:
    """The states and incidents of one batch."""

    def __init__(self, connection: Connection, moment: Moment, findings: Findings) -> None:
        self._connection = connection
        self._received = moment.received
        self._now = int(moment.now.timestamp())
        self._findings = findings
        self._rows: dict[tuple[int, str, str], tuple[int, bool]] = {}
        self._last: dict[int, _Last | None] = {}
        self._moved: list[Changed] = []
        """Incidents that a watermark lets begin later."""
        self.found: list[tuple[str, str]] = []
        """Devices (gateway, serial) of which this batch holds the first state, or the first that names a log."""

    # States.

    def state(self, gateway: Gateway, state: TerminalState, stream: Stream | None) -> None:
        """Take a state; ``stream`` is the one that its watermark speaks of, None where it is not known here."""
        if state.serial is None:
            return
        terminal = self._device(gateway, state.terminal, state.serial, has_log=state.has_log)
        claim = state.complete
        if claim is None or stream is None:
            return
        last = self._last_of(terminal)
        name = f"{state.terminal} {state.serial}"
        if claim.until > self._now + AHEAD_S:
            self._findings.note(stream, 0, "watermark_ahead", self._received, f"{name} until {claim.until}")
            return
        until = min(claim.until, self._now)
        if last is not None:
            back = until < last.until or (stream.key == last.stream and claim.sequence < last.sequence)
            if back and claim.until < last.until:
                expected = f"{name} until {last.until} sequence {last.sequence}"
                self._findings.note(
                    stream, 0, "watermark_back", expected, f"until {claim.until} sequence {claim.sequence}"
                )
            if back or until - last.until < STEP_S:
                return
        row = {"terminal": terminal, "stream": stream.key, "until": until, "sequence": claim.sequence}
        self._connection.execute(insert(WATERMARK), row | {"received": self._received})
        self._last[terminal] = _Last(until, claim.sequence, stream.key)
        place = {"stream": stream.key, "sequence": claim.sequence, "serial": state.serial}
        # They arrived before a state that was published before them.
        for later in self._connection.execute(_LATER, place).all():
            last_before = self._connection.execute(_COMPLETE_BEFORE, place | {"sequence": later.sequence}).scalar_one()
            begin = min(int(last_before), later.end)
            if begin == later.begin:
                continue
            read = {"b_event": later.event, "b_begin": later.begin, "b_end": later.end}
            if self._connection.execute(_MOVE_BEGIN, read | {"begin": begin}).rowcount:
                self._moved.append(Changed(gateway.name, state.serial, min(begin, later.begin), later.end))

    def _device(self, gateway: Gateway, name: str, serial: str, *, has_log: bool) -> int:
        """Return the key of a device, a new one if there is none; raises Refused."""
        place = (gateway.key, name, serial)
        if place not in self._rows:
            found = self._connection.execute(
                _DEVICE, {"gateway": gateway.key, "name": name, "serial": serial}
            ).one_or_none()
            if found is None:
                if self._connection.execute(_COUNT_DEVICES, {"gateway": gateway.key}).scalar_one() >= MAX_TERMINALS:
                    raise Refused("too_many_terminals", MAX_TERMINALS)
                row = {"gateway": gateway.key, "name": name, "serial": serial, "found": self._received}
                key = self._connection.execute(_ADD_DEVICE, row | {"log": None}).scalar_one()
                self.found.append((gateway.name, serial))
                self._rows[place] = key, False
            else:
                self._rows[place] = found.id, found.log is not None
        key, had_log = self._rows[place]
        if has_log and not had_log:
            self._connection.execute(update(TERMINAL).where(TERMINAL.c.id == key).values(log=self._received))
            self._rows[place] = key, True
            self.found.append((gateway.name, serial))
        return key

    def _last_of(self, terminal: int) -> _Last | None:
        if terminal not in self._last:
            row = self._connection.execute(_LAST, {"terminal": terminal}).one_or_none()
            self._last[terminal] = None if row is None else _Last(*row)
        return self._last[terminal]

    def count(self, touched: Iterable[Gateway]) -> list[Advance]:
        """Let the watermarks count up to whose sequence the streams are held; return those that advance a log.

        What a log held may lie in the stream before: that must be held up to its end, where it is known here.
        """
        advances: dict[str, Advance] = {}
        of_touched = {"gateways": json_list(gateway.key for gateway in touched)}
        held = self._held(set(self._connection.execute(_WITH_WAITING, of_touched).scalars()))
        counting = [
            row
            for stream, upto in sorted(held.items())
            for row in self._connection.execute(_WAITING, {"stream": stream, "upto": upto})
        ]
        for row in counting:
            before = advances.get(row.serial)
            if before is None:
                known = self._connection.execute(_READ, {"serial": row.serial}).scalar_one()
                advances[row.serial] = Advance(row.serial, known, max(row.until, known or row.until))
            else:
                advances[row.serial] = before._replace(until=max(before.until, row.until))
        if counting:
            self._connection.execute(_COUNT, [{"b_id": row.id, "counted": self._received} for row in counting])
        return [one for one in advances.values() if one.before is None or one.until > one.before]

    def _held(self, keys: set[int]) -> dict[int, int]:
        """Return up to which sequence streams are held; -1 as long as the one before lacks its end."""
        found, ends = {}, {}
        new = keys
        while new:
            for row in self._connection.execute(_UPTO, {"streams": json_list(sorted(new))}):
                found[row.id], ends[row.id] = row.upto, (row.predecessor, row.predecessor_sequence)
            new = {stream for stream, _ in ends.values() if stream is not None} - found.keys()
        return {key: found[key] if _is_whole(key, found, ends) else -1 for key in keys}

    # Incidents.

    def take_turns(self, arrived: Iterable[Arrived]) -> None:
        """Let the batches of several gateways about one terminal follow each other, as far as their marks need it.

        Punches shorten outages, and concern whoever named their terminal first: one of two batches that are stored at
        once must see what the other has stored. To be called before punches and incidents are written.
        """
        punched, changed = set(), {serial for _, serial in self.found}
        whole: set[int] = set()
        for stream, event, _ in arrived:
            if event.punch is not None:
                punched.add(event.punch.serial)
            if event.incident is None:
                continue
            if event.incident.serial is None:
                whole.add(stream.gateway.key)
            else:
                changed.add(event.incident.serial)
        if whole:
            changed.update(self._connection.execute(_NAMED, {"gateways": json_list(sorted(whole))}).scalars())
        serialize_terminals(self._connection, punched, changed)

    def incidents(self, arrived: Iterable[tuple[Stream, Event, int]]) -> list[Changed]:
        """Store the incidents of new events; return where doubts have changed by them and by watermarks."""
        rows: list[dict[str, Any]] = [
            {
                "event": key,
                "gateway": stream.gateway.key,
                "stream": stream.key,
                "sequence": event.sequence,
                "kind": event.incident.kind,
                "terminal": event.incident.terminal,
                "serial": event.incident.serial,
                "begin": event.incident.begin if event.incident.begin is not None else self._begin(stream, event),
                "end": FOREVER if event.incident.end is None else event.incident.end,
                "punch": event.incident.punch,
            }
            for stream, event, key in arrived
            if event.incident is not None
        ]
        if rows:
            self._connection.execute(insert(INCIDENT), rows)
        names = {stream.gateway.key: stream.gateway.name for stream, _, _ in arrived}
        changed = [Changed(names[row["gateway"]], row["serial"], row["begin"], row["end"]) for row in rows]
        since: dict[int, int] = {}
        for row in rows:
            if row["kind"] in ("lost", "found", "resumed"):
                since[row["gateway"]] = min(row["begin"], since.get(row["gateway"], row["begin"]))
        for key, begin in since.items():
            changed += self._end_outages(key, names[key], begin)
        return changed + self._moved

    def beside(self, arrived: Iterable[tuple[Stream, Event, int]]) -> list[Changed]:
        """Return the punches without a date whose neighbours may have arrived."""
        near: dict[int, tuple[str, list[int]]] = {}
        for stream, event, _ in arrived:
            if event.punch is not None:
                near.setdefault(stream.key, (stream.gateway.name, []))[1].append(event.sequence)
        return [
            Changed(name, *row)
            for key, (name, read) in near.items()
            for row in self._connection.execute(
                _MISDATED_NEAR, {"stream": key, "low": min(read) - NEAR, "high": max(read) + NEAR}
            )
        ]

    def proofs(self, arrived: Iterable[Arrived]) -> list[Changed]:
        """Return the outages that punches may shorten, as they prove that a terminal worked.

        An outage that has not ended is not shortened by any punch.
        """
        instants: dict[str, set[int]] = {}
        keys = set()
        for stream, event, _ in arrived:
            if event.punch is not None and event.punch.instant is not None:
                keys.add(stream.gateway.key)
                instants.setdefault(event.punch.serial, set()).add(event.punch.instant)
        if not instants:
            return []
        ends = {
            "first": min(min(read) for read in instants.values()),
            "last": max(max(read) for read in instants.values()),
        }
        found = self._connection.execute(
            _OUTAGES, {**ends, "gateways": json_list(sorted(keys)), "serials": json_list(sorted(instants))}
        )
        return [
            Changed(name, serial, begin, end)
            for name, of_serial, begin, end in sorted((tuple(row) for row in found), key=str)
            for serial, read in instants.items()
            if of_serial in (None, serial)
            if any(begin - FAST_OR_SLOW_S <= at <= end + FAST_OR_SLOW_S for at in read)
        ]

    def _begin(self, stream: Stream, event: Event) -> int:
        """Return since when a record that is no punch may have been made: since its log was last complete before it."""
        incident = event.incident
        assert incident is not None and incident.end is not None, "an outage states its begin"  # noqa: S101, PT018
        place = {"stream": stream.key, "sequence": event.sequence, "serial": incident.serial}
        return _since(self._connection.execute(_COMPLETE_BEFORE, place).scalar_one(), incident.end)

    def _end_outages(self, gateway: int, name: str, since: int) -> list[Changed]:
        """Let outages of a gateway's terminals end as the held events say; ``since``: the first begin of new ones."""
        moved = self._connection.execute(_MOVED_ENDS, {"gateway": gateway, "since": since}).all()
        if moved:
            self._connection.execute(_SET_END, [{"b_event": row.event, "end": row.ends} for row in moved])
        return [Changed(name, row.serial, row.begin, row.end) for row in moved]

    def resolve(self) -> list[Changed]:
        """Let each unconfirmed live event lie at the moment of its punch, once that is held."""
        found = self._connection.execute(_UNRESOLVED).all()
        if not found:
            return []
        self._connection.execute(
            _RESOLVE, [{"b_event": row.event, "begin": row.instant, "end": row.instant} for row in found]
        )
        return [Changed(row.name, row.serial, min(row.begin, row.instant), max(row.end, row.instant)) for row in found]


def _is_whole(key: int, held: Mapping[int, int], ends: Mapping[int, tuple[int | None, int | None]]) -> bool:
    """Return whether the streams before one, as far as they are known here, are held up to their stated ends."""
    seen = {key}
    before, end = ends[key]
    while before is not None and before not in seen:
        if end is not None and held[before] < end:
            return False
        seen.add(before)
        before, end = ends[before]
    return True


def _since(complete: int | None, end: int) -> int:
    """Return since when a record may have been made, by how far its log was complete before it."""
    return end - UNKNOWN_BEFORE_S if complete is None else min(complete, end)


_DEVICE = select(TERMINAL.c.id, TERMINAL.c.log).where(
    TERMINAL.c.gateway == bindparam("gateway"),
    TERMINAL.c.name == bindparam("name"),
    TERMINAL.c.serial == bindparam("serial"),
)
_NAMED = select(TERMINAL.c.serial).where(in_list(TERMINAL.c.gateway, "gateways"))
_COUNT_DEVICES = select(func.count()).where(TERMINAL.c.gateway == bindparam("gateway"))
_ADD_DEVICE = insert(TERMINAL).returning(TERMINAL.c.id)
_LAST = (
    select(WATERMARK.c.until, WATERMARK.c.sequence, WATERMARK.c.stream)
    .where(WATERMARK.c.terminal == bindparam("terminal"))
    .order_by(WATERMARK.c.until.desc())
    .limit(1)
)
_WAITING = (
    select(WATERMARK.c.id, WATERMARK.c.stream, WATERMARK.c.sequence, WATERMARK.c.until, TERMINAL.c.serial)
    .join(TERMINAL, TERMINAL.c.id == WATERMARK.c.terminal)
    .where(
        WATERMARK.c.counted.is_(None),
        WATERMARK.c.stream == bindparam("stream"),
        WATERMARK.c.sequence <= bindparam("upto"),
    )
    .order_by(WATERMARK.c.id)
)
_WITH_WAITING = select(streams.c.id).where(
    in_list(streams.c.gateway, "gateways"),
    exists().where(WATERMARK.c.stream == streams.c.id, WATERMARK.c.counted.is_(None)),
)
"""Streams of gateways: the watermarks that wait are found by their own index, and those that count are not read."""
WATERMARK_WAITS = _WITH_WAITING.exists()
_BEFORE = streams.alias("predecessor")


def _upto(of: FromClause) -> ColumnElement[int]:
    """Return up to which sequence a stream is held without a gap."""
    first_gap = select(func.min(gaps.c.first) - 1).where(gaps.c.stream == of.c.id).scalar_subquery()
    return func.coalesce(first_gap, of.c.seen)


_UPTO = (
    select(
        streams.c.id, _upto(streams).label("upto"), _BEFORE.c.id.label("predecessor"), streams.c.predecessor_sequence
    )
    .outerjoin(_BEFORE, and_(_BEFORE.c.gateway == streams.c.gateway, _BEFORE.c.name == streams.c.predecessor))
    .where(in_list(streams.c.id, "streams"))
)
_COUNT = update(WATERMARK).where(WATERMARK.c.id == bindparam("b_id")).values(counted=bindparam("counted"))


def _last(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return how far the watermarks of a serial number reach; each terminal's last one is read by its index."""
    last = select(WATERMARK.c.until).where(WATERMARK.c.terminal == TERMINAL.c.id, *conditions)
    newest = last.order_by(WATERMARK.c.until.desc()).limit(1).correlate(TERMINAL).scalar_subquery()
    return select(func.max(newest)).where(TERMINAL.c.serial == bindparam("serial"))


_BEFORE_SEQUENCE = WATERMARK.c.stream == bindparam("stream"), WATERMARK.c.sequence < bindparam("sequence")
_READ = _last(WATERMARK.c.counted.is_not(None))
_COMPLETE_BEFORE = _last(*_BEFORE_SEQUENCE)
_COMPLETE_BEFORE_THEN = _last(*_BEFORE_SEQUENCE, WATERMARK.c.received <= bindparam("known_at"))
_LATER = select(INCIDENT.c.event, INCIDENT.c.sequence, INCIDENT.c.begin, INCIDENT.c.end).where(
    INCIDENT.c.stream == bindparam("stream"),
    INCIDENT.c.sequence > bindparam("sequence"),
    INCIDENT.c.serial == bindparam("serial"),
    INCIDENT.c.kind.in_((*SINCE_COMPLETE, "misdated")),
    INCIDENT.c.begin < INCIDENT.c.end,
)
_MOVE_BEGIN = (
    update(INCIDENT)
    .where(
        INCIDENT.c.event == bindparam("b_event"),
        INCIDENT.c.begin == bindparam("b_begin"),
        INCIDENT.c.end == bindparam("b_end"),
    )
    .values(begin=bindparam("begin"))
)
"""Only as it was read: the batch of another gateway may have brought its punch meanwhile."""
_LOST, _ENDING = INCIDENT.alias("lost"), INCIDENT.alias("ending")


def _ends(lost: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the end of a loss, by its found event, else by the next start of its gateway.

    A gateway that starts anew states again what is out then: what was out before ends there.
    """
    of_gateway = _ENDING.c.gateway == lost.c.gateway
    # The sum keeps SQLite from looking for the least end among all found events instead of those of this begin.
    found = select(func.min(_ENDING.c.end + 0)).where(
        of_gateway, _ENDING.c.kind == "found", _ENDING.c.terminal == lost.c.terminal, _ENDING.c.begin == lost.c.begin
    )
    resumed = select(func.min(_ENDING.c.end)).where(
        of_gateway, _ENDING.c.kind == "resumed", _ENDING.c.end > lost.c.begin
    )
    found, resumed = (one.where(*conditions).correlate(lost) for one in (found, resumed))
    return func.coalesce(found.scalar_subquery(), resumed.scalar_subquery(), FOREVER)


_ENDS = _ends(_LOST)
_MOVED_ENDS = select(_LOST.c.event, _LOST.c.serial, _LOST.c.begin, _LOST.c.end, _ENDS.label("ends")).where(
    _LOST.c.gateway == bindparam("gateway"),
    _LOST.c.kind == "lost",
    _LOST.c.end >= bindparam("since"),
    _LOST.c.end != _ENDS,
)
_SET_END = update(INCIDENT).where(INCIDENT.c.event == bindparam("b_event")).values(end=bindparam("end"))
_UNRESOLVED = (
    select(INCIDENT.c.event, gateways.c.name, INCIDENT.c.serial, INCIDENT.c.begin, INCIDENT.c.end, punches.c.instant)
    .join(punches, punches.c.id == INCIDENT.c.punch)
    .join(gateways, gateways.c.id == INCIDENT.c.gateway)
    .where(INCIDENT.c.punch.is_not(None))
)
UNRESOLVED_WAITS = exists().where(INCIDENT.c.punch.is_not(None))
_OUTAGE_AROUND = (
    INCIDENT.c.gateway.in_(
        listed_values(INCIDENT.c.gateway, "gateways").union(
            select(TERMINAL.c.gateway).where(in_list(TERMINAL.c.serial, "serials"))
        )
    ),
    INCIDENT.c.kind.in_([literal_column(f"'{kind}'") for kind in OUTAGES]),
    INCIDENT.c.end >= bindparam("first", type_=BigInteger) - FAST_OR_SLOW_S,
    INCIDENT.c.end < FOREVER,
    INCIDENT.c.begin <= bindparam("last", type_=BigInteger) + FAST_OR_SLOW_S,
)
"""An outage around punches, of a gateway that sent them or has named their terminals.

The gateways are one list, and the kinds are written out: so databases look into the index for each of them.
"""
_OUTAGES = (
    select(gateways.c.name, INCIDENT.c.serial, INCIDENT.c.begin, INCIDENT.c.end)
    .join(gateways, gateways.c.id == INCIDENT.c.gateway)
    .where(*_OUTAGE_AROUND)
    .distinct()
)
OUTAGE_WAITS = exists().where(*_OUTAGE_AROUND)
_IS_MISDATED_NEAR = (
    INCIDENT.c.sequence.between(bindparam("low"), bindparam("high")),
    INCIDENT.c.kind == "misdated",
)
_MISDATED_NEAR = select(INCIDENT.c.serial, INCIDENT.c.begin, INCIDENT.c.end).where(
    INCIDENT.c.stream == bindparam("stream"), *_IS_MISDATED_NEAR
)
MISDATED_WAITS = exists().where(in_list(INCIDENT.c.stream, "streams"), *_IS_MISDATED_NEAR)
_RECORDS = (
    select(events.c.stream, events.c.body)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
    .where(
        gateways.c.name == bindparam("gateway"),
        streams.c.name == bindparam("stream"),
        events.c.sequence == bindparam("sequence"),
        events.c.received <= bindparam("known_at"),
    )
    .order_by(events.c.key)
)
_STORED_THEN = exists().where(
    or_(
        events.c.key == punches.c.event,
        events.c.key.in_(select(claims.c.event).where(claims.c.punch == punches.c.id)),
    ),
    events.c.received <= bindparam("known_at"),
)
"""Whether any gateway's event of a punch was held at a moment; another one may count today."""
_PUNCH_THEN = select(punches.c.instant).where(punches.c.id == bindparam("id"), _STORED_THEN)
_RESOLVE = (
    update(INCIDENT)
    .where(INCIDENT.c.event == bindparam("b_event"))
    .values(begin=bindparam("begin"), end=bindparam("end"), punch=None)
)


# --- what judging reads -------------------------------------------------------------------------------------------


class Recording(NamedTuple):
    """A punch as one gateway recorded it."""

    instant: int
    """The second of UTC that the counting event's time names."""
    gateway: str
    """``site/gateway``."""
    stream: str
    sequence: int
    body: str


def recordings(
    connection: Connection, serial: str, first: int, last: int, known_at: str | None = None
) -> list[Recording]:
    """Return the punches of a serial number with printed times between two instants, of each gateway that sent them.

    As known at a moment, or now.
    """
    found: list[Recording] = []
    for query in (_COUNTING, _CLAIMED):
        if known_at is not None:
            query = query.where(events.c.received <= known_at)  # noqa: PLW2901 - the same with one more condition
        rows = connection.execute(query, {"serial": serial, "first": first, "last": last})
        found += [Recording(*row) for row in rows]
    return found


_OF_SERIAL = (
    punches.c.serial == bindparam("serial"),
    punches.c.instant.between(bindparam("first"), bindparam("last")),
)
_RECORDING = select(punches.c.instant, gateways.c.name, streams.c.name, events.c.sequence, events.c.body)
_COUNTING = (
    _RECORDING.select_from(punches)
    .join(events, events.c.key == punches.c.event)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
    .where(*_OF_SERIAL)
)
_CLAIMED = (
    _RECORDING.select_from(punches)
    .join(claims, claims.c.punch == punches.c.id)
    .join(events, events.c.key == claims.c.event)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
    .where(*_OF_SERIAL)
)
"""Of punches that several gateways have sent, the first event of each."""


class Device(NamedTuple):
    """A serial number at a gateway, as states have named it, and how far its log is known here."""

    gateway: str
    """``site/gateway``."""
    name: str
    serial: str
    found: str
    log: bool
    """It has a log that can be read to its end."""
    until: int | None
    """Everything that its log held until then is held here; None: that is not known."""


def devices(
    connection: Connection, names: Iterable[str], serials: Iterable[str], known_at: str | None = None
) -> list[Device]:
    """Return the devices of gateways (``site/gateway``) and of serial numbers; as known at a moment, or now."""
    counted = [WATERMARK.c.terminal == TERMINAL.c.id, WATERMARK.c.counted.is_not(None)]
    if known_at is not None:
        counted.append(WATERMARK.c.counted <= known_at)
    newest = select(WATERMARK.c.until).where(*counted).order_by(WATERMARK.c.until.desc()).limit(1).scalar_subquery()
    query = select(gateways.c.name, TERMINAL.c.name, TERMINAL.c.serial, TERMINAL.c.found, TERMINAL.c.log, newest).join(
        gateways, gateways.c.id == TERMINAL.c.gateway
    )
    if known_at is not None:
        query = query.where(TERMINAL.c.found <= known_at)
    rows: dict[tuple[Any, ...], Any] = {}
    for part in chunks(sorted(set(names))):
        rows |= {tuple(row[:3]): row for row in connection.execute(query.where(gateways.c.name.in_(part)))}
    for part in chunks(sorted(set(serials))):
        rows |= {tuple(row[:3]): row for row in connection.execute(query.where(TERMINAL.c.serial.in_(part)))}
    return [
        Device(gateway, name, serial, found, log is not None and (known_at is None or log <= known_at), until)
        for _, (gateway, name, serial, found, log, until) in sorted(rows.items())
    ]


def serials_at(connection: Connection, stream: str, sequence: int, terminal: str) -> list[str]:
    """Return the serial number that an incident states; else those of the devices of its terminal's name."""
    at = select(INCIDENT.c.gateway, INCIDENT.c.serial).join(streams, streams.c.id == INCIDENT.c.stream)
    row = connection.execute(at.where(streams.c.name == stream, INCIDENT.c.sequence == sequence)).first()
    if row is None:
        return []
    if row.serial is not None:
        return [row.serial]
    named = select(TERMINAL.c.serial).where(TERMINAL.c.gateway == row.gateway, TERMINAL.c.name == terminal)
    return list(connection.execute(named.order_by(TERMINAL.c.id)).scalars())


class Incident(NamedTuple):
    """An incident as judging reads it."""

    gateway: str
    """``site/gateway``."""
    kind: str
    terminal: str | None
    serial: str | None
    begin: int
    end: int
    stream: str
    sequence: int


def incidents(
    connection: Connection, names: Iterable[str], first: int, last: int, known_at: str | None = None
) -> list[Incident]:
    """Return what touches two instants of gateways (``site/gateway``); as known at a moment, or now."""
    if known_at is not None:
        return _incidents_known_at(connection, set(names), first, last, known_at)
    found = []
    for part in chunks(sorted(set(names))):
        query = _INCIDENTS.where(
            gateways.c.name.in_(part), INCIDENT.c.kind.in_(KINDS), INCIDENT.c.end >= first, INCIDENT.c.begin <= last
        )
        found += [Incident(*row[:8]) for row in connection.execute(query)]
    return found


_INCIDENTS = (
    select(
        gateways.c.name,
        INCIDENT.c.kind,
        INCIDENT.c.terminal,
        INCIDENT.c.serial,
        INCIDENT.c.begin,
        INCIDENT.c.end,
        streams.c.name,
        INCIDENT.c.sequence,
        events.c.received,
    )
    .join(gateways, gateways.c.id == INCIDENT.c.gateway)
    .join(streams, streams.c.id == INCIDENT.c.stream)
    .join(events, events.c.key == INCIDENT.c.event)
    .order_by(INCIDENT.c.stream, INCIDENT.c.sequence, INCIDENT.c.event)
)


def _incidents_known_at(
    connection: Connection, names: set[str], first: int, last: int, known_at: str
) -> list[Incident]:
    """Return what was known at a moment: an outage has the end that the events of that time give it."""
    times = {"known_at": known_at, "first": first, "last": last}
    rows: list[Any] = []
    for part in chunks(sorted(names)):
        for query in _INCIDENTS_THEN:
            rows += connection.execute(query.where(gateways.c.name.in_(part)), times)
    found = []
    for row in sorted(rows, key=lambda row: (row.place, row.sequence, row.event)):
        one = Incident(*row[:8])
        if one.kind in SINCE_COMPLETE:
            one = _record_known_at(connection, one, known_at)
        elif one.kind == "lost":
            one = one._replace(end=row.ends)
        if one.end >= first and one.begin <= last:
            found.append(one)
    return found


_HELD_THEN = events.alias("held_then")
_ENDS_THEN = _ends(
    INCIDENT,
    exists()
    .where(_HELD_THEN.c.key == _ENDING.c.event, _HELD_THEN.c.received <= bindparam("known_at"))
    .correlate(_ENDING),
)
_BEGUN, _NOT_OVER = INCIDENT.c.begin <= bindparam("last"), INCIDENT.c.end >= bindparam("first")
_INCIDENTS_THEN = [
    _INCIDENTS.add_columns(_ENDS_THEN.label("ends"), INCIDENT.c.stream.label("place"), INCIDENT.c.event).where(
        events.c.received <= bindparam("known_at"), condition
    )
    for condition in (
        and_(INCIDENT.c.kind.in_(("found", "resumed", "not_held", "unpublished")), _BEGUN, _NOT_OVER),
        and_(INCIDENT.c.kind == "lost", _BEGUN, bindparam("first") <= _ENDS_THEN),
        and_(INCIDENT.c.kind.in_(("quarantined", "log_lost")), _NOT_OVER),
        INCIDENT.c.kind == "unconfirmed",
    )
]
"""What may have touched two instants, as known at a moment, each kind by an index.

The begin of a record, and both times of a live event, may have moved since.
"""


class Misdated(NamedTuple):
    """A punch whose printed time says nothing, and the instants between which its stream proves it to lie."""

    event: int
    site: str
    serial: str
    pin: str
    begin: int
    end: int
    stream: str
    sequence: int
    body: str
    id: str
    local_time: str
    instant: int


def misdated(
    connection: Connection, pins: Iterable[str], first: int, last: int, known_at: str | None = None
) -> list[Misdated]:
    """Return the punches of PINs that have no date and may lie between two instants.

    Each was made after the log was last complete before it, and after the one before it in the log; before it was
    recorded, and before the one behind it. As known at a moment, or now.
    """
    named = json_list(set(pins))
    rows = (
        connection.execute(_MISDATED_NOW, {"pins": named, "first": first, "last": last}).all()
        if known_at is None
        else _misdated_then(connection, named, first, known_at)
    )
    found = []
    for row in sorted(rows, key=lambda row: int(row.event)):
        one = Misdated(row[0], row[1].partition("/")[0], *row[2:12])
        if known_at is not None:
            of_log = {"stream": row.place, "sequence": one.sequence, "serial": one.serial, "known_at": known_at}
            complete = connection.execute(_COMPLETE_BEFORE_THEN, of_log).scalar_one()
            one = one._replace(begin=_since(complete, one.end))
        before, after = (_neighbour(connection, row.place, one, side, known_at) for side in (-1, 1))
        begin = max(one.begin, before) if before is not None else one.begin
        end = min(one.end, after) if after is not None else one.end
        if begin <= end and end >= first and begin <= last:
            found.append(one._replace(begin=begin, end=end))
    return found


def _misdated_then(connection: Connection, pins: str, first: int, known_at: str) -> list[Any]:
    """Return the punches that had no date by the events that counted at a moment; another one may count today."""
    values = {"pins": pins, "first": first, "known_at": known_at}
    rows = list(connection.execute(_MISDATED_THEN, values))
    claimed = connection.execute(_MISDATED_CLAIMED, values).all()
    if claimed:
        ids = [row.id for row in claimed]
        counted = {
            (one.id, one.gateway, one.event.stream, one.event.sequence)
            for part in chunks(dict.fromkeys(ids))
            for one in counted_then(connection, known_at, punches.c.id.in_(part))
        }
        rows += [row for row in claimed if (row.id, row[1], row[6], row.sequence) in counted]
    return rows


def _neighbour(connection: Connection, stream: int, one: Misdated, side: int, known_at: str | None) -> int | None:
    """Return the instant of the nearest punch before (-1) or behind a place, of the same terminal, that has a date."""
    low, high = sorted((one.sequence + side, one.sequence + side * NEAR))
    undated = select(INCIDENT.c.event).where(INCIDENT.c.event == events.c.key, INCIDENT.c.kind == "misdated")
    query = (
        select(punches.c.instant)
        .join(events, events.c.id == punches.c.id)  # whichever gateway's event of it counts
        .where(
            events.c.stream == stream,
            events.c.sequence.between(low, high),
            punches.c.serial == one.serial,
            ~undated.exists(),
        )
    )
    if known_at is not None:
        query = query.where(events.c.received <= known_at)
    found: int | None = connection.execute(
        query.order_by(events.c.sequence if side > 0 else events.c.sequence.desc()).limit(1)
    ).scalar_one_or_none()
    return found


_MISDATED = (
    select(
        INCIDENT.c.event,
        gateways.c.name,
        punches.c.serial,
        punches.c.pin,
        INCIDENT.c.begin,
        INCIDENT.c.end,
        streams.c.name,
        events.c.sequence,
        events.c.body,
        punches.c.id,
        punches.c.local_time,
        punches.c.instant,
        INCIDENT.c.stream.label("place"),
    )
    .select_from(INCIDENT)
    .join(events, events.c.key == INCIDENT.c.event)
    .join(streams, streams.c.id == INCIDENT.c.stream)
    .join(gateways, gateways.c.id == INCIDENT.c.gateway)
    .where(
        INCIDENT.c.gateway.in_(select(gateways.c.id)),
        INCIDENT.c.kind == "misdated",
        INCIDENT.c.end >= bindparam("first"),
        in_list(func.coalesce(punches.c.pin, ""), "pins"),
    )
)
"""Found by the incidents of all gateways, which are few, not by the index of all that a PIN ever was read."""
_COUNTS = and_(punches.c.event == INCIDENT.c.event, punches.c.id == events.c.id)
_THEN = events.c.received <= bindparam("known_at")
_MISDATED_NOW = _MISDATED.join(punches, _COUNTS).where(INCIDENT.c.begin <= bindparam("last"))
_MISDATED_THEN = _MISDATED.join(punches, _COUNTS).where(_THEN, ~exists().where(claims.c.punch == punches.c.id))
_MISDATED_CLAIMED = (
    _MISDATED.join(claims, claims.c.event == INCIDENT.c.event)
    .join(punches, punches.c.id == claims.c.punch)
    .where(_THEN)
)


def _record_known_at(connection: Connection, one: Incident, known_at: str) -> Incident:
    """Return when a record that is no punch may have been made, by the watermarks and punches of a moment."""
    place = {"gateway": one.gateway, "stream": one.stream, "sequence": one.sequence}
    for stream, body in connection.execute(_RECORDS, place | {"known_at": known_at}):
        event = read_stored(one.gateway, body)
        incident = event.incident if isinstance(event, Event) else None
        if incident is None or incident.end is None or incident.serial != one.serial:
            continue
        if incident.punch is not None:
            instant = connection.execute(_PUNCH_THEN, {"id": incident.punch, "known_at": known_at}).scalar()
            if instant is not None:
                return one._replace(begin=instant, end=instant)
        of_log = {"stream": stream, "sequence": one.sequence, "serial": one.serial, "known_at": known_at}
        complete = connection.execute(_COMPLETE_BEFORE_THEN, of_log).scalar_one()
        return one._replace(begin=_since(complete, incident.end), end=incident.end)
    return one
