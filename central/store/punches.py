"""Punches: stored once by id, and compared where an id is known already."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, literal_column, select, union_all

from central.event import QUARANTINE, Event, Punch, contradicting_fields
from central.store.bulk import insert_new, serialize
from central.store.engine import in_list, insert_many, json_list
from central.store.ownership import Recounted, claim, event_in
from central.store.portable import is_postgresql
from central.store.streams import Stream
from central.store.tables import events, gateways, ownership, punches, streams


class Arrived(NamedTuple):
    """An event that is stored since this batch."""

    stream: Stream
    event: Event
    key: int


class Contradiction(NamedTuple):
    """An event whose id another event has with other content."""

    arrived: Arrived
    where: str
    fields: list[str]


class PunchBatch:
    """The punches of one batch: which are new, and which are to be compared with what is stored."""

    def __init__(self, connection: Connection, arriving: Iterable[Event]) -> None:
        self._connection = connection
        self._shared = is_postgresql(connection)
        found = [event for event in arriving if event.punch is not None]
        serials = {event.punch.serial for event in found if event.punch is not None}
        self._known: set[str] = set()
        """Ids that are stored or were taken before; where others write too, more may be there when this is written."""
        self._owned: set[str] = set()
        if found:
            arrive = {"ids": json_list(event.id for event in found), "serials": json_list(sorted(serials))}
            times = [event.punch.local_time for event in found if event.punch is not None]
            known = _KNOWN_WITHIN if self._shared else _KNOWN
            for is_punch, value in connection.execute(known, {**arrive, "first": min(times), "last": max(times)}):
                (self._known if is_punch else self._owned).add(value)
        if self._shared and serials - self._owned:
            serialize(connection, "serial")
            self._load_owned(serials)
        self.added: list[Arrived] = []
        self.repeated: list[Arrived] = []
        """Punches whose ids were known before."""
        self._owners: list[dict[str, str]] = []

    def add(self, arrived: Arrived, received: str) -> None:
        """Take a punch; the gateway that sent the first one of a serial number owns it."""
        event = arrived.event
        assert event.punch is not None, "only punches have the fields of one"  # noqa: S101
        if event.id in self._known:
            self.repeated.append(arrived)
            return
        self._known.add(event.id)
        self.added.append(arrived)
        if event.punch.serial not in self._owned:
            self._owned.add(event.punch.serial)
            gateway = arrived.stream.gateway.name
            self._owners.append({"serial": event.punch.serial, "since": "", "gateway": gateway, "entered": received})

    @property
    def devices(self) -> list[tuple[str, str]]:
        """The devices (gateway, serial) of which this batch has the first punch."""
        return [(row["gateway"], row["serial"]) for row in self._owners]

    def _load_owned(self, serials: set[str]) -> None:
        self._owned |= set(self._connection.execute(_OWNED, {"serials": json_list(sorted(serials))}).scalars())

    def write(self) -> None:
        """Store the new punches, and whose serial numbers are whose."""
        if self.added:
            # By id: neighbours in the index are written one after the other, and no two processes wait crosswise.
            rows = sorted((arrived.event.id, arrived.key, *(arrived.event.punch or ())) for arrived in self.added)
            columns = ("id", "event", *Punch._fields)
            if self._shared:
                new = insert_new(self._connection, punches, columns, rows)
                there = [one for one in self.added if one.event.id not in new]
                self.repeated = sorted(there + self.repeated, key=lambda one: one.key)
                self.added = [one for one in self.added if one.event.id in new]
            else:
                insert_many(self._connection, punches, columns, rows)
        if self._owners:
            self._connection.execute(insert(ownership), self._owners)

    def compare(self) -> tuple[list[Contradiction], list[Recounted]]:
        """Compare the punches whose ids were known: contradictions, and punches of which another event counts now."""
        contradictions: list[Contradiction] = []
        recounted: list[Recounted] = []
        for part in _with_distinct_ids(self.repeated):
            ids = json_list(one.event.id for one in part)
            times = [one.event.punch.local_time for one in part if one.event.punch is not None]
            among = {"ids": ids, "first": min(times), "last": max(times)}  # leads to the months of these punches
            stored = {row.id: row for row in self._connection.execute(_COUNTING, among)}
            claimed = []
            for arrived in part:
                first = stored[arrived.event.id]
                contradictions += _contradiction(arrived, first.name, first.body)
                gateway = arrived.stream.gateway.key
                if first.gateway != gateway:
                    claimed += [
                        (arrived.event.id, first.gateway, first.key),
                        (arrived.event.id, gateway, arrived.key),
                    ]
            if claimed:
                recounted += claim(self._connection, claimed)
        return contradictions, recounted


def compare_quarantined(connection: Connection, arrived: Iterable[Arrived]) -> list[Contradiction]:
    """Compare quarantined records with the first ones of their ids: nothing is displaced, a person should look."""
    found: list[Contradiction] = []
    for one in arrived:
        first = connection.execute(_QUARANTINED, {"id": one.event.id, "key": one.key}).first()
        if first is not None:
            found += _contradiction(one, first.name, first.body)
    return found


def _contradiction(arrived: Arrived, gateway: str, body: str) -> list[Contradiction]:
    other = event_in(gateway, body)
    fields = [] if other is None else contradicting_fields(other, arrived.event)
    if other is None or not fields:
        return []
    return [Contradiction(arrived, f"{gateway} stream {other.stream} sequence {other.sequence}", fields)]


def _with_distinct_ids(repeated: list[Arrived]) -> Iterator[list[Arrived]]:
    """Yield punches in order, in lists in which every id is once: which one counts may change with each."""
    rest = repeated
    while rest:
        part: dict[str, Arrived] = {}
        rest = [arrived for arrived in rest if part.setdefault(arrived.event.id, arrived) is not arrived]
        yield list(part.values())


_OWNED = select(ownership.c.serial).where(ownership.c.since == "", in_list(ownership.c.serial, "serials"))
_ARE_STORED = select(literal_column("1"), punches.c.id).where(in_list(punches.c.id, "ids"))
_ARE_OWNED = select(literal_column("0"), ownership.c.serial).where(
    ownership.c.since == "", in_list(ownership.c.serial, "serials")
)
_KNOWN = union_all(_ARE_STORED, _ARE_OWNED)
"""Which punches are stored, and which serial numbers have had a first punch."""
_WITHIN = punches.c.local_time.between(bindparam("first"), bindparam("last"))
"""Leads to the months of a batch's punches, where each month is a table."""
_KNOWN_WITHIN = union_all(_ARE_STORED.where(_WITHIN), _ARE_OWNED)
_WITH_GATEWAY = (
    select(events.c.key, gateways.c.id.label("gateway"), gateways.c.name, events.c.body)
    .select_from(events)
    .join(streams, streams.c.id == events.c.stream)
    .join(gateways, gateways.c.id == streams.c.gateway)
)
_COUNTING = (
    _WITH_GATEWAY.add_columns(punches.c.id)
    .join(punches, punches.c.event == events.c.key)
    .where(in_list(punches.c.id, "ids"), _WITHIN)
)
_QUARANTINED = (
    _WITH_GATEWAY.where(
        events.c.id == bindparam("id"),
        events.c.type == literal_column(f"'{QUARANTINE}'"),
        events.c.key < bindparam("key"),
    )
    .order_by(events.c.key)
    .limit(1)
)
"""The type is written out: only so do databases use the index of these events."""
