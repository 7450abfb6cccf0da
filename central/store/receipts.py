"""What receipts say: which sequences of each gateway's present stream are held, and how old its gaps are.

The rows say what is held. How long a gap has been open is measured here, with a monotonic clock, by the one process
that writes receipts; ages begin anew when it starts. Until the gaps that it found are old enough to be listed, as the
writer before may have done, it states nothing: so ``upto`` does not fall when the writer changes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, select

from central.coverage import Coverage, HeldRange
from central.store.batch import Outcome
from central.store.tables import findings, gaps, gateways, streams

TOO_MANY_FORKS = "too_many_forks"


class Receipt(NamedTuple):
    """The content of a gateway's receipt."""

    gateway: str
    stream: str
    held_range: HeldRange


@dataclass(slots=True)
class _Present:
    """The stream that a gateway's receipts speak of."""

    key: int
    name: str
    coverage: Coverage
    floor: int = 0
    """How far an earlier writer may have stated the rows that were read: a receipt that ends before it waits."""

    @classmethod
    def load(cls, connection: Connection, key: int, name: str, now_s: float) -> "_Present":
        """Read the rows of a stream; the ages of its gaps begin now."""
        coverage = _load_coverage(connection, key, now_s)
        return cls(key, name, coverage, coverage.greatest_upto)


@dataclass(slots=True)
class Receipts:
    """The present streams of all gateways."""

    _present: dict[str, _Present] = field(default_factory=dict)
    """By gateway."""

    def load(self, connection: Connection, now_s: float, sites: Collection[str] | None = None) -> None:
        """Read the rows of all gateways, or of those at sites; the ages of their gaps begin now."""
        found = connection.execute(
            select(gateways.c.name, streams.c.id, streams.c.name)
            .join(streams, streams.c.id == gateways.c.stream)
            .order_by(gateways.c.id)
        )
        for gateway, key, name in found.all():
            if sites is not None and gateway.partition("/")[0] not in sites:
                continue
            self._present[gateway] = _Present.load(connection, key, name, now_s)

    def update(self, connection: Connection, outcome: Outcome, now_s: float) -> None:
        """Take over what a batch has written: filled sequences, disputed places, and gateways' present streams."""
        created = {stream.key for stream in outcome.streams if stream.created}
        names = {stream.key: stream.name for stream in outcome.streams}
        for gateway in outcome.gateways:
            key, present = gateway.current, self._present.get(gateway.name)
            if key is not None and (present is None or present.key != key):
                self._present[gateway.name] = (
                    _Present(key, names[key], Coverage(0, 0, [], now_s))
                    if key in created
                    else _Present.load(connection, key, names[key], now_s)
                )
        for stream in outcome.streams:
            present = self._present.get(stream.gateway.name)
            if present is None or present.key != stream.key:
                continue
            for sequence in stream.filled:
                if not present.coverage.holds(sequence):  # else it was loaded above
                    present.coverage.fill(sequence, now_s)
            present.coverage.set_assigned(stream.coverage.assigned, now_s)
            if not stream.created and present.coverage.extent != stream.coverage.extent:
                # Another lane, which had the site before, has stored what its session still held.
                self._present[stream.gateway.name] = _Present.load(connection, present.key, present.name, now_s)
        for stream, place in outcome.disputed:
            present = self._present.get(stream.gateway.name)
            if present is not None and present.key == stream.key:
                present.coverage.disputed.add(place)

    def at(self, now_s: float) -> Iterator[Receipt]:
        """Yield what the receipt of each gateway may say now, but of those that have to wait."""
        for gateway, present in self._present.items():
            held_range = present.coverage.held_range(now_s)
            if held_range.upto >= present.floor:
                yield Receipt(gateway, present.name, held_range)


def _load_coverage(connection: Connection, key: int, now_s: float) -> Coverage:
    seen, assigned = connection.execute(select(streams.c.seen, streams.c.assigned).where(streams.c.id == key)).one()
    found = connection.execute(select(gaps.c.first, gaps.c.last).where(gaps.c.stream == key).order_by(gaps.c.first))
    coverage = Coverage(seen, assigned, [(first, last) for first, last in found], now_s)
    places = select(findings.c.sequence).where(
        findings.c.stream == key, findings.c.kind == TOO_MANY_FORKS, findings.c.sequence > 0
    )
    coverage.disputed.update(connection.execute(places).scalars())
    return coverage
