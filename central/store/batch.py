"""One batch of events, ``info`` messages and states of terminals, within one transaction.

Rows are loaded, decided upon in memory, and written. Every event is decided upon in the order of arrival, against the
rows and the events of the batch before it; then all rows of a table are written by one statement. A defect in one event
makes the whole batch fail: the caller rolls it back and tries its halves, until the event stands alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from central.coverage import MAX_GAPS
from central.event import (
    QUARANTINE,
    Event,
    GatewayState,
    Info,
    Rejected,
    StreamEnd,
    TerminalState,
    Tombstone,
    first_previous,
)
from central.store import contact, marks, offline, tails
from central.store.bodies import recorded_at
from central.store.engine import insert_many, reserve_keys
from central.store.findings import Findings
from central.store.ownership import Recounted
from central.store.punches import Arrived, PunchBatch, compare_quarantined
from central.store.remarks import Remark
from central.store.streams import Gateway, Moment, PlaceClaim, Refused, Stream, Streams
from central.store.tables import events, forgotten, streams
from central.store.terminals import TerminalBatch
from central.store.waiting import find_waiting

MAX_CLAIMS = 16
"""Different events, and ids of pruned ones, that may claim one place: two make a fork, more prove nothing more."""


class Item(NamedTuple):
    """An event, ``info`` or state, with what it arrived in."""

    topic: str
    gateway: str
    """``site/gateway``, of the topic."""
    found: Event | Info | TerminalState | GatewayState
    payload: bytes
    """Of the whole message."""

    @property
    def text(self) -> bytes:
        """What is kept of it where it is rejected."""
        return self.found.body.encode() if isinstance(self.found, Event) else self.payload

    @property
    def sequence(self) -> int:
        """Its own sequence, or the highest one that it announces."""
        if isinstance(self.found, GatewayState):
            return 0
        if isinstance(self.found, TerminalState):
            return 0 if self.found.complete is None else self.found.complete.sequence
        return self.found.sequence if isinstance(self.found, Event) else self.found.assigned


@dataclass(slots=True)
class Outcome:
    """What became of a batch; it counts where the transaction is committed."""

    stored: int = 0
    repeated: int = 0
    rejected: list[tuple[str, Rejected]] = field(default_factory=list)
    """With their topics."""
    remarks: list[Remark] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    disputed: list[tuple[Stream, int]] = field(default_factory=list)
    """Places at which an event was refused because others have it."""

    def add(self, later: "Outcome") -> None:
        """Add what became of a batch behind this one."""
        self.stored += later.stored
        self.repeated += later.repeated
        self.rejected += later.rejected
        self.remarks += later.remarks
        self.streams += later.streams
        self.gateways += later.gateways
        self.disputed += later.disputed


class Batch:
    """Stores items, once."""

    def __init__(self, connection: Connection, items: Sequence[Item], moment: Moment) -> None:
        """Load the rows that the items touch."""
        self._connection = connection
        self._items = items
        self._moment = moment
        self._received = moment.received  # written once: each event has it
        self._streams = Streams(connection, _touched(items), moment)
        arriving = [item.found for item in items if isinstance(item.found, Event)]
        self._punches = PunchBatch(connection, arriving)
        self._findings = Findings(moment.received)
        self._terminals = TerminalBatch(connection, moment, self._findings)
        self._keys = iter(reserve_keys(connection, events.c.key, len(arriving)))
        self._arrived: list[Arrived] = []
        self._forgotten: list[dict[str, object]] = []
        self._predecessors: list[tuple[Stream, StreamEnd]] = []
        self._announced: list[Stream] = []
        """Streams of which a message says how far they reach."""
        self._states: list[tuple[Gateway, GatewayState]] = []
        self._ran: dict[int, int] = {}
        """Keys of gateways that stated the end of their stream, or read a log to its end, with when they last did."""
        self._outcome = Outcome()

    def store(self) -> Outcome:
        """Decide upon every item in order, write, and return what became of them."""
        for item in self._items:
            try:
                self._decide(item)
            except Refused as refused:
                self._refuse(item, refused)
        self._write()
        self._outcome.streams += self._streams.streams.values()
        self._outcome.gateways += self._streams.gateways.values()
        return self._outcome

    # Decisions.

    def _decide(self, item: Item) -> None:
        gateway = self._streams.gateway(item.gateway)
        if isinstance(item.found, Info):
            self._decide_info(gateway, item.found)
        elif isinstance(item.found, GatewayState):
            self._states.append((gateway, item.found))
        elif isinstance(item.found, TerminalState):
            claim, current = item.found.complete, self._streams.current(gateway)
            named = None if claim is None else claim.stream
            if claim is not None and named is None and current is not None:
                # Another stream may have begun, in which a low sequence says nothing about this one.
                found = f"{item.found.terminal} until {claim.until} sequence {claim.sequence}"
                self._findings.note(current, 0, "watermark_unplaced", "the stream of `complete`", found)
            stream = None if named is None else self._streams.known(gateway, named)
            self._terminals.state(gateway, item.found, stream)
            if claim is not None:
                self._note_run(gateway, claim.until)
        elif self._decide_event(gateway, item.found):
            self._outcome.stored += 1
        else:
            self._outcome.repeated += 1

    def _refuse(self, item: Item, refused: Refused) -> None:
        """Reject an item for which a quota leaves no room; nothing of it is stored."""
        stream = refused.stream
        if stream is not None:
            self._findings.note(stream, refused.place, refused.reason, refused.detail, f"sequence {item.sequence}")
            if refused.place:
                self._outcome.disputed.append((stream, refused.place))
        self._outcome.rejected.append((item.topic, Rejected(refused.reason, refused.detail, item.text)))

    def _decide_info(self, gateway: Gateway, info: Info) -> None:
        stream = self._streams.stream(gateway, info.stream)
        if gateway.current != stream.key or not gateway.informed:
            self._streams.set_current(gateway, stream, informed=True)
        self._streams.set_assigned(stream, info.assigned)
        self._announced.append(stream)
        if info.at is not None:
            self._note_run(gateway, info.at)
        if info.predecessor is not None:
            self._predecessors.append((stream, info.predecessor))

    def _note_run(self, gateway: Gateway, at: int) -> None:
        self._ran[gateway.key] = max(at, self._ran.get(gateway.key, at))

    def _decide_event(self, gateway: Gateway, event: Event) -> bool:
        """Store an event; return whether it is new. Raises Refused before anything of it is decided."""
        stream = self._streams.stream(gateway, event.stream)
        coverage = stream.coverage
        if gateway.current is None or (not gateway.informed and not coverage.seen):
            self._streams.set_current(gateway, stream, informed=False)
        held = coverage.holds(event.sequence)
        claims = stream.claims(event.sequence) if held else []
        if claims and any(claim.digest == event.digest and claim.previous is not None for claim in claims):
            return False
        if len(claims) >= MAX_CLAIMS:
            raise Refused("too_many_forks", MAX_CLAIMS, stream, event.sequence)
        if not held and coverage.exceeds_gap_limit(event.sequence):
            raise Refused("too_many_gaps", MAX_GAPS, stream)
        claim = PlaceClaim(event.id, event.digest, event.previous)
        if not held:
            if not coverage.seen:
                self._remark_beginning(stream, event.sequence)
            self._streams.fill(stream, event.sequence)
        else:
            self._note_forks(stream, event.sequence, claims, claim)
        stream.place(event.sequence).events.append(claim)
        self._check_links(stream, event.sequence)
        arrived = Arrived(stream, event, next(self._keys))
        self._arrived.append(arrived)
        if event.tombstones:
            self._decide_tombstones(gateway, event.tombstones, arrived.key)
        if event.punch is not None:
            self._punches.add(arrived, self._received)
        elif event.id_mismatch is not None:
            self._findings.note(stream, event.sequence, "misidentified", event.id_mismatch, event.id)
        return True

    def _decide_tombstones(self, gateway: Gateway, tombstones: Iterable[Tombstone], key: int) -> None:
        """Give pruned events their places, so that their content is not requested any more.

        Those for which the quotas leave no room stay missing.
        """
        for tombstone in tombstones:
            try:
                self._decide_tombstone(self._streams.stream(gateway, tombstone.stream), tombstone, key)
            except Refused as refused:
                if refused.stream is not None:
                    self._findings.note(refused.stream, 0, refused.reason, refused.detail, "forgotten places")

    def _decide_tombstone(self, stream: Stream, tombstone: Tombstone, key: int) -> None:
        at = tombstone.sequence
        held = stream.coverage.holds(at)
        claims = stream.claims(at) if held else []
        if len(claims) >= MAX_CLAIMS:
            raise Refused("too_many_forks", MAX_CLAIMS, stream)
        if not held and stream.coverage.exceeds_gap_limit(at):
            raise Refused("too_many_gaps", MAX_GAPS, stream)
        claim = PlaceClaim(tombstone.id, tombstone.digest, None)
        place = stream.place(at)
        if claim in place.forgotten:
            return
        place.forgotten.append(claim)
        self._forgotten.append(
            {"stream": stream.key, "sequence": at, "id": claim.id, "digest": claim.digest, "event": key}
        )
        if not held:
            self._streams.fill(stream, at)
        self._note_forks(stream, at, claims, claim)
        self._check_links(stream, at)

    def _note_forks(self, stream: Stream, sequence: int, claims: list[PlaceClaim], claim: PlaceClaim) -> None:
        """Record that a place is claimed by another event than those that have it."""
        for other in claims:
            if other.digest != claim.digest:
                self._findings.note(stream, sequence, "fork", other.digest, claim.digest)
            elif other.id != claim.id:
                self._findings.note(stream, sequence, "fork", other.id, claim.id)

    def _check_links(self, stream: Stream, sequence: int) -> None:
        """Compare the links of a place to the places before and behind, as far as those are held.

        So a link is compared when its second end arrives, in whatever order, and again when a fork adds an end.
        """
        coverage = stream.coverage
        if sequence == 1 or coverage.holds(sequence - 1):
            self._check_link(stream, sequence)
        if sequence < coverage.seen and coverage.holds(sequence + 1):
            self._check_link(stream, sequence + 1)

    def _check_link(self, stream: Stream, place: int) -> None:
        """Compare the link into a place. One that an event without content may make is not called broken."""
        before, after = stream.claims(place - 1), stream.claims(place)
        if len(before) == len(after) == 1 and before[0].digest == after[0].previous:
            return
        below = [claim.digest for claim in before] or [first_previous(stream.name)]
        here = [claim.previous for claim in after]
        if None not in here and set(below).isdisjoint(here):
            self._findings.note(stream, place, "break", below[0], str(here[0]))
        elif len(below) + len(here) > 2:  # a fork may have mended it
            self._findings.mend(stream, place)

    def _remark_beginning(self, stream: Stream, sequence: int) -> None:
        fields = {"gateway": stream.gateway.name, "stream": stream.name, "sequence": sequence}
        if sequence == 1:
            self._outcome.remarks.append(("info", "stream_found", fields))
        else:
            fields["reason"] = "the first event to arrive is not the stream's first: its `previous` is taken on trust"
            self._outcome.remarks.append(("warning", "stream_joined", fields))

    # Rows.

    def _write(self) -> None:
        received = self._received
        if self._arrived:
            rows = [
                (key, stream.key, one.sequence, one.id, one.digest, one.previous, one.type, received, one.body)
                for stream, one, key in self._arrived
            ]
            insert_many(self._connection, events, events.columns.keys(), rows)
        if self._forgotten:
            self._connection.execute(insert(forgotten), self._forgotten)
        self._terminals.take_turns(self._arrived)
        self._punches.write()
        gaps = self._streams.write()
        punched = [*self._punches.added, *self._punches.repeated]
        changed = self._terminals.incidents(self._arrived)
        for stream in self._announced:
            tails.announce(self._connection, stream, self._moment)
        waiting = find_waiting(self._connection, self._streams, self._arrived)
        if waiting.unresolved:
            changed += self._terminals.resolve()
        if waiting.misdated:
            changed += self._terminals.beside(self._arrived)
        if waiting.outage:
            changed += self._terminals.proofs(punched)
        if waiting.away:
            self._show()
        for gateway, state in self._states:
            contact.born(self._connection, gateway.key, state, self._moment.now, self._moment.lane)
            offline.take(self._connection, gateway, state, self._streams.current(gateway), self._moment)
        if waiting.tail:
            arrived = tails.arrive(self._connection, self._streams.streams.values(), self._moment)
            marks.mark_tails(self._connection, arrived, received)
        recounted = self._compare()
        advances = self._terminals.count(self._streams.gateways.values()) if waiting.watermark else []
        counting = [(one.stream.gateway.name, one.event.punch) for one in self._punches.added]
        marks.mark_punches(self._connection, counting, received)
        marks.mark_recounted(self._connection, recounted, received)
        marks.mark_changed(self._connection, changed, received)
        marks.mark_devices(self._connection, [*self._terminals.found, *self._punches.devices], received)
        marks.mark_owners(self._connection, self._punches.devices, received)
        marks.mark_advances(self._connection, advances, received)
        marks.mark_gaps(self._connection, [(one.gateway.name, one.key, gap) for one, gap in gaps], received)
        self._outcome.remarks += self._findings.write(self._connection)

    def _show(self) -> None:
        """Let what has arrived show which gateways run."""
        latest = dict(self._ran)
        newest = {stream.key: (stream.gateway.key, event) for stream, event, _ in self._arrived}
        for gateway, event in newest.values():
            at = recorded_at(event.body)
            latest[gateway] = max(at, latest.get(gateway, at))
        contact.show(self._connection, latest, self._moment.now, self._moment.lane)

    def _compare(self) -> list[Recounted]:
        """Find what contradicts stored events: punches and records of one id, and the ends of streams before.

        Returns the punches of which another event counts now.
        """
        contradictions, recounted = self._punches.compare()
        quarantined = [arrived for arrived in self._arrived if arrived.event.type == QUARANTINE]
        for (stream, event, _), where, fields in (
            *contradictions,
            *compare_quarantined(self._connection, quarantined),
        ):
            self._findings.note(stream, event.sequence, "claimed_twice", where, f"other {', '.join(fields)}")
        for stream, end in self._predecessors:
            self._compare_end(stream, end)
        return recounted

    def _compare_end(self, stream: Stream, end: StreamEnd) -> None:
        """Keep what ``info`` says of the stream before, and compare it with what is held of that."""
        self._connection.execute(
            _SET_PREDECESSOR,
            {"b_id": stream.key, "b_name": end.stream, "b_sequence": end.sequence, "b_digest": end.digest},
        )
        wanted = {"gateway": stream.gateway.key, "name": end.stream, "sequence": end.sequence}
        held = [digest for statement in _ENDS for digest in self._connection.execute(statement, wanted).scalars()]
        if held and end.digest not in held:
            self._findings.note(stream, 0, "predecessor", held[0], end.digest)


def _touched(items: Iterable[Item]) -> dict[tuple[str, str], set[int]]:
    """Return the sequences that items touch, by gateway and stream."""
    found: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for item in items:
        if isinstance(item.found, TerminalState):
            claim = item.found.complete
            found[item.gateway, "" if claim is None or claim.stream is None else claim.stream] |= set()
            continue
        if isinstance(item.found, GatewayState):
            found[item.gateway, ""] |= set()
            continue
        places = found[item.gateway, item.found.stream]
        if isinstance(item.found, Event):
            places.add(item.found.sequence)
            for tombstone in item.found.tombstones:
                found[item.gateway, tombstone.stream].add(tombstone.sequence)
    return found


_SET_PREDECESSOR = (
    update(streams)
    .where(streams.c.id == bindparam("b_id"))
    .values(
        predecessor=bindparam("b_name"),
        predecessor_sequence=bindparam("b_sequence"),
        predecessor_digest=bindparam("b_digest"),
    )
)
_ENDS = [
    select(table.c.digest)
    .join(streams, streams.c.id == table.c.stream)
    .where(
        streams.c.gateway == bindparam("gateway"),
        streams.c.name == bindparam("name"),
        table.c.sequence == bindparam("sequence"),
    )
    for table in (events, forgotten)
]
"""The digests that are held of a place: of events with content first, then of pruned ones."""
