"""The gateways and streams that one batch of messages touches: loaded from rows, changed in memory, written back.

Only the neighbourhood of the batch is loaded: the places of its sequences with those before and behind, and the gaps
around them. So a batch costs the same however long its streams are, and any process may store the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, null, or_, select, union_all, update

from central.coverage import Coverage
from central.store.bodies import extent_of_gap
from central.store.bulk import serialize
from central.store.engine import in_list, insert_many, json_list, listed_rows, utc
from central.store.tables import events, forgotten, gaps, gateways, streams

MAX_GATEWAYS = 10_000
MAX_STREAMS_A_DAY = 100
"""New streams of one gateway within 24 hours: a damaged card makes a few, only an attack makes hundreds."""


class Moment(NamedTuple):
    """When a transaction began, by both clocks, and whose it is."""

    now: datetime
    monotonic_s: float
    lane: int | None = None
    """Of the lane that writes; None: the only inbox, or none at all."""

    @property
    def received(self) -> str:
        """The moment as rows have it."""
        return utc(self.now)


class Refused(Exception):  # noqa: N818 - named by the state of the event
    """A quota is used up: the event is rejected, and the gateway's stream gets a finding that says so."""

    def __init__(self, reason: str, most: int, stream: "Stream | None" = None, place: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = f"more than {most} are not stored"
        self.stream = stream
        self.place = place
        """The sequence at which other events are stored and this one is not; 0 where it has none."""


class PlaceClaim(NamedTuple):
    """An event at a place, by what is known of it."""

    id: str
    digest: str
    previous: str | None
    """None where its content is gone."""


@dataclass(slots=True)
class Place:
    """What is stored at one sequence of a stream, in the order of arrival."""

    events: list[PlaceClaim] = field(default_factory=list)
    forgotten: list[PlaceClaim] = field(default_factory=list)
    """Everything that the gateway has said to have pruned here, also where its content is stored."""

    def claims(self) -> list[PlaceClaim]:
        """Return the different events at this place, those with their content first."""
        if not self.forgotten:
            return self.events
        stored = {claim.digest for claim in self.events}
        return [*self.events, *(claim for claim in self.forgotten if claim.digest not in stored)]


@dataclass(slots=True)
class Gateway:
    """A gateway's row."""

    key: int
    name: str
    current: int | None
    """The stream that its receipts speak of."""
    informed: bool
    """Its own ``info`` named that stream."""
    changed: bool = False
    streams_today: int | None = None
    """Streams that began within 24 hours, where they were counted."""


@dataclass(slots=True)
class Stream:
    """A stream's row, with the places and gaps around the sequences of a batch."""

    key: int
    gateway: Gateway
    name: str
    coverage: Coverage
    stored_gaps: frozenset[tuple[int, int]] = frozenset()
    """The loaded gaps as the rows have them."""
    places: dict[int, Place] = field(default_factory=dict)
    filled: list[int] = field(default_factory=list)
    """Sequences that are held since this batch, in the order of arrival."""
    created: bool = False
    """By this batch."""
    changed: bool = False

    def claims(self, sequence: int) -> list[PlaceClaim]:
        """Return the events at a place of the batch or beside one."""
        place = self.places.get(sequence)
        return [] if place is None else place.claims()

    def place(self, sequence: int) -> Place:
        """Return a place, to add to it."""
        return self.places.setdefault(sequence, Place())


Wanted = Mapping[tuple[str, str], set[int]]
"""Sequences of streams, by the names of gateway and stream."""


class Streams:
    """The gateways and streams of one batch, within the caller's transaction.

    Where several processes write at once, the rows of the gateways are locked until it ends, and with them all that is
    stored by gateway: batches of one gateway follow each other, those of different ones do not wait.
    """

    def __init__(self, connection: Connection, wanted: Wanted, moment: Moment) -> None:
        self._connection = connection
        self._moment = moment
        names = {gateway for gateway, _ in wanted}
        self.gateways = _load_gateways(connection, names)
        if names - self.gateways.keys():
            serialize(connection, "gateway")  # a new one has no row yet that could be locked
            self.gateways |= _load_gateways(connection, names - self.gateways.keys())
        self.streams = _load_streams(connection, self.gateways, wanted, moment.monotonic_s)

    def gateway(self, name: str) -> Gateway:
        """Return a gateway, a new one if there is none of this name; raises Refused."""
        gateway = self.gateways.get(name)
        if gateway is None:
            if self._connection.execute(_COUNT_GATEWAYS).scalar_one() >= MAX_GATEWAYS:
                raise Refused("too_many_gateways", MAX_GATEWAYS)
            key = self._connection.execute(_ADD_GATEWAY, {"name": name, "informed": False}).scalar_one()
            gateway = self.gateways[name] = Gateway(key, name, None, informed=False)
        return gateway

    def stream(self, gateway: Gateway, name: str) -> Stream:
        """Return a stream of a gateway, a new one if there is none of this name; raises Refused."""
        stream = self.streams.get((gateway.key, name))
        if stream is None:
            if gateway.streams_today is None:
                since = utc(self._moment.now - timedelta(days=1))
                gateway.streams_today = self._connection.execute(
                    _COUNT_RECENT, {"gateway": gateway.key, "since": since, "most": MAX_STREAMS_A_DAY}
                ).scalar_one()
            if gateway.streams_today >= MAX_STREAMS_A_DAY:
                raise Refused("too_many_streams", MAX_STREAMS_A_DAY, self.current(gateway))
            gateway.streams_today += 1
            row = {"gateway": gateway.key, "name": name, "found": self._moment.received, "seen": 0, "assigned": 0}
            key = self._connection.execute(_ADD_STREAM, row).scalar_one()
            stream = Stream(key, gateway, name, Coverage(0, 0, [], self._moment.monotonic_s), created=True)
            self.streams[gateway.key, name] = stream
        return stream

    def known(self, gateway: Gateway, name: str) -> Stream | None:
        """Return a stream of a gateway if there is one of this name."""
        return self.streams.get((gateway.key, name))

    def current(self, gateway: Gateway) -> Stream | None:
        """Return the stream that a gateway's receipts speak of."""
        return next((stream for stream in self.streams.values() if stream.key == gateway.current), None)

    def set_current(self, gateway: Gateway, stream: Stream, *, informed: bool) -> None:
        """Let a gateway's receipts speak of a stream."""
        gateway.current, gateway.informed, gateway.changed = stream.key, informed, True

    def fill(self, stream: Stream, sequence: int) -> None:
        """Mark a sequence, which was not held, as held."""
        stream.coverage.fill(sequence, self._moment.monotonic_s)
        stream.filled.append(sequence)
        stream.changed = True

    def set_assigned(self, stream: Stream, assigned: int) -> None:
        """Record the highest sequence that a gateway has announced as assigned."""
        if assigned > stream.coverage.assigned:
            stream.coverage.set_assigned(assigned, self._moment.monotonic_s)
            stream.changed = True

    def write(self) -> list[tuple[Stream, tuple[int, int]]]:
        """Write what has changed back into the rows; return the gaps that were opened or closed.

        The events of the batch are stored before: the times of a gap are those of the events around it.
        """
        changed = [stream for stream in self.streams.values() if stream.changed]
        if changed:
            reached = [(stream.key, stream.coverage.seen, stream.coverage.assigned) for stream in changed]
            self._connection.execute(_SET_STREAMS, {"reached": json_list(reached)})
        closed, opened = [], []
        differing: list[tuple[Stream, tuple[int, int]]] = []
        for stream in changed:
            now = {(gap.first, gap.last) for gap in stream.coverage.gaps}
            closed += [{"b_stream": stream.key, "b_first": first} for first, _ in stream.stored_gaps - now]
            opened += [(stream.key, first, last) for first, last in now - stream.stored_gaps]
            differing += [(stream, gap) for gap in sorted(now ^ stream.stored_gaps)]
        if closed:
            self._connection.execute(_DELETE_GAP, closed)
        if opened:
            rows = [(*gap, *extent_of_gap(self._connection, *gap)) for gap in opened]
            insert_many(self._connection, gaps, ("stream", "first", "last", '"begin"', '"end"'), rows)
        for gateway in self.gateways.values():
            if gateway.changed:
                self._connection.execute(
                    _SET_GATEWAY, {"b_id": gateway.key, "stream": gateway.current, "informed": gateway.informed}
                )
        return differing


_COUNT_GATEWAYS = select(func.count()).select_from(gateways)
_COUNT_RECENT = select(func.count()).select_from(
    select(streams.c.id)
    .where(streams.c.gateway == bindparam("gateway"), streams.c.found >= bindparam("since"))
    .limit(bindparam("most"))
    .subquery()
)
_ADD_GATEWAY = insert(gateways).returning(gateways.c.id)
_ADD_STREAM = insert(streams).returning(streams.c.id)
_REACHED = listed_rows("reached", "stream", "seen", "assigned")
_SET_STREAMS = (
    update(streams).where(streams.c.id == _REACHED.c.stream).values(seen=_REACHED.c.seen, assigned=_REACHED.c.assigned)
)
_SET_GATEWAY = (
    update(gateways)
    .where(gateways.c.id == bindparam("b_id"))
    .values(stream=bindparam("stream"), informed=bindparam("informed"))
)
_DELETE_GAP = delete(gaps).where(gaps.c.stream == bindparam("b_stream"), gaps.c.first == bindparam("b_first"))
_GATEWAYS = (
    select(gateways.c.id, gateways.c.name, gateways.c.stream, gateways.c.informed)
    .where(in_list(gateways.c.name, "names"))
    .order_by(gateways.c.id)
    .with_for_update(key_share=True)
)
"""Locks the rows in one order; SQLite, where one transaction writes at a time, has no such clause."""
_STREAMS = select(
    streams.c.id,
    streams.c.gateway,
    streams.c.name,
    streams.c.seen,
    streams.c.assigned,
    select(func.count()).where(gaps.c.stream == streams.c.id).scalar_subquery(),
)
_STREAMS_BY_NAME = _STREAMS.where(in_list(streams.c.gateway, "gateways"), in_list(streams.c.name, "names"))
_STREAMS_BY_KEY = _STREAMS.where(in_list(streams.c.id, "keys"))
_GAPS = (
    select(gaps.c.first, gaps.c.last)
    .where(
        gaps.c.stream == bindparam("stream"),
        or_(
            and_(gaps.c.first >= bindparam("low"), gaps.c.first <= bindparam("high")),
            gaps.c.first
            == select(func.max(gaps.c.first))
            .where(gaps.c.stream == bindparam("stream"), gaps.c.first < bindparam("low"))
            .scalar_subquery(),
        ),
    )
    .order_by(gaps.c.first)
)
_WANTED = listed_rows("places", "stream", "at")
_PLACES = union_all(
    select(
        *(events.c.stream, events.c.sequence, events.c.id, events.c.digest, events.c.previous, events.c.key),
    ).join(_WANTED, and_(events.c.stream == _WANTED.c.stream, events.c.sequence == _WANTED.c.at)),
    select(
        *(forgotten.c.stream, forgotten.c.sequence, forgotten.c.id, forgotten.c.digest, null(), forgotten.c.event),
    ).join(_WANTED, and_(forgotten.c.stream == _WANTED.c.stream, forgotten.c.sequence == _WANTED.c.at)),
).order_by("key")
"""Events and, without ``previous``, pruned ones at places, each [stream, sequence], in the order of arrival."""


def _load_gateways(connection: Connection, names: set[str]) -> dict[str, Gateway]:
    return {
        name: Gateway(key, name, current, informed)
        for key, name, current, informed in connection.execute(_GATEWAYS, {"names": json_list(sorted(names))})
    }


def _load_streams(
    connection: Connection, known: Mapping[str, Gateway], wanted: Wanted, now_s: float
) -> dict[tuple[int, str], Stream]:
    by_key = {gateway.key: gateway for gateway in known.values()}
    sequences = {(known[gateway].key, name): found for (gateway, name), found in wanted.items() if gateway in known}
    names = {"gateways": json_list(sorted(by_key)), "names": json_list(sorted({name for _, name in sequences}))}
    rows: list[Any] = [row for row in connection.execute(_STREAMS_BY_NAME, names) if (row[1], row[2]) in sequences]
    missing = {gateway.current for gateway in known.values() if gateway.current is not None} - {row[0] for row in rows}
    if missing:
        rows += connection.execute(_STREAMS_BY_KEY, {"keys": json_list(sorted(missing))})
    loaded: dict[tuple[int, str], Stream] = {}
    places: list[tuple[int, int]] = []
    for key, gateway, name, seen, assigned, gap_count in rows:
        around = {
            near
            for at in sequences.get((gateway, name), ())
            if at <= seen + 1
            for near in (at - 1, at, at + 1)
            if 1 <= near <= seen
        }
        found = _load_gaps(connection, key, around) if gap_count and around else []
        coverage = Coverage(seen, assigned, found, now_s, gap_count - len(found))
        loaded[gateway, name] = Stream(key, by_key[gateway], name, coverage, frozenset(found))
        places += [(key, at) for at in sorted(around)]
    _load_places(connection, {stream.key: stream for stream in loaded.values()}, places)
    return loaded


def _load_gaps(connection: Connection, key: int, around: set[int]) -> list[tuple[int, int]]:
    rows = connection.execute(_GAPS, {"stream": key, "low": min(around), "high": max(around)})
    return [(first, last) for first, last in rows]


def _load_places(connection: Connection, by_key: Mapping[int, Stream], places: list[tuple[int, int]]) -> None:
    if not places:
        return
    for stream, sequence, identity, digest, previous, _ in connection.execute(_PLACES, {"places": json_list(places)}):
        place = by_key[stream].place(sequence)
        (place.events if previous is not None else place.forgotten).append(PlaceClaim(identity, digest, previous))
