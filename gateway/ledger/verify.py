"""Verification of the ledger: every event, the digest chain, identities, and references to events."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from gateway import event as event_module
from gateway.ledger.file import Mark
from gateway.ledger.stream import SALVAGED, Stream

BATCH = 2000


class Breach(NamedTuple):
    """The first event that differs from what was written."""

    stream: str
    sequence: int
    what: str


class Row(NamedTuple):
    """An event as read from the file."""

    sequence: int
    id: object
    topic: str
    body: str | None
    digest: str


@dataclass(slots=True)
class Verdict:
    """Result of a verification."""

    events: int = 0
    punches: int = 0
    forgotten: int = 0
    """Pruned events: only their digest continues the chain."""
    lost: int = 0
    """Numbers without an event, which a recovery recorded as lost."""
    streams: int = 0
    breach: Breach | None = None


class VerifiableLedger(Protocol):
    """The ledger methods used by :func:`verify`."""

    @property
    def source(self) -> str:
        """The gateway that the ledger belongs to."""

    def streams(self) -> list[Stream]:
        """Return all streams, in order."""

    def last_sequence(self) -> int:
        """Return the number of the newest event."""

    def rows(self, after: int, limit: int) -> Sequence[Row]:
        """Return up to ``limit`` events behind number ``after``."""

    def dangling_references(self) -> list[tuple[int, str]]:
        """Return the numbers of events with a wrong reference, and what is wrong."""


def verify(ledger: VerifiableLedger, mark: Mark | None, progress: Callable[[int, int], None]) -> Verdict:
    """Verify a ledger up to the first breach, also while a daemon writes it.

    ``mark`` is the end of the chain stored beside the ledger before this call; ``progress`` receives the number of
    verified events and of all events.
    """
    upto = ledger.last_sequence()
    walk = _Walk(ledger.streams(), ledger.source, mark)
    while walk.breach is None and walk.number < upto and (rows := ledger.rows(walk.number, BATCH)):
        for row in rows:
            walk.step(row)
            if walk.breach is not None:
                break
        progress(walk.number, max(upto, walk.number))
    if walk.breach is None:
        walk.end(ledger.dangling_references())
    return walk.verdict


class _Walk:
    def __init__(self, streams: list[Stream], source: str, mark: Mark | None) -> None:
        self.verdict = Verdict(streams=len(streams))
        self.number = 0
        self._streams = streams
        self._bases = [stream.base for stream in streams]
        self._source = source
        self._mark = mark
        self._digest: str | None = None
        """Digest of the previous event; None where that is lost."""
        self._salvaged = next((stream for stream in reversed(streams) if stream.reason == SALVAGED), None)
        if not streams:
            self._break(1, "the ledger has no stream")

    @property
    def breach(self) -> Breach | None:
        return self.verdict.breach

    def step(self, row: Row) -> None:
        """Verify the next event."""
        number = row.sequence
        missing = number - self.number - 1
        if missing and (self._salvaged is None or number - 1 > self._salvaged.base):
            self._break(self.number + 1, "the event is missing")
            return
        self.verdict.lost += missing
        if missing:
            self._digest = None
        what = self._fault(row, number)
        if what is not None:
            self._break(number, what)
        self.number = number
        self._digest = row.digest
        self.verdict.events += 1
        self.verdict.punches += row.topic.startswith("punch/")
        self.verdict.forgotten += row.body is None

    def end(self, dangling_references: list[tuple[int, str]]) -> None:
        """Verify what needs all events."""
        if self._mark is not None and self._mark.number > self.number:
            self._break(self.number + 1, "the newest events are missing: more were written than there are")
        elif self._salvaged is not None and self.verdict.lost != self._salvaged.lost:
            what = f"{self.verdict.lost} events before it are missing, {self._salvaged.lost} were lost to damage"
            self._break(self._salvaged.base + 1, what)
        for number, what in dangling_references:
            self._break(number, what)

    def _fault(self, row: Row, number: int) -> str | None:
        stream = self._stream_of(number)
        opens = number == stream.base + 1
        if self._mark is not None and number == self._mark.number and row.digest != self._mark.digest:
            return "another event was written here"
        if row.body is None:
            return None
        try:
            event = event_module.verified(row.body)
        except ValueError as exc:
            return str(exc)
        previous = event_module.first_previous(stream.id) if opens else self._digest
        claims = {
            "the body is not the one that the row's digest was made of": event["digest"] == row.digest,
            "the row has another id than its body": event["id"] == _uuid_text(row.id),
            "the row has another topic than its body": row.topic
            == event_module.topic_of(event["type"], event.get("subject")),
            "the event belongs to another stream": event["stream"] == stream.id,
            "the event has another place in its stream": event["sequence"] == f"{number - stream.base:020d}",
            "the event comes from another gateway": event["source"] == self._source,
            "it does not continue the event before": previous in (None, event["previous"]),
            "it does not name the stream before as that ended": not opens or self._names_predecessor(stream, event),
        }
        return next((what for what, holds in claims.items() if not holds), None)

    def _names_predecessor(self, stream: Stream, event: dict[str, Any]) -> bool:
        """Return whether the first event of a stream, its row, and the end of the previous stream agree."""
        if stream.predecessor is None:
            return True
        if event["type"] != event_module.STREAM_OPENED or event["data"]["predecessor"] != stream.named_predecessor():
            return False
        before = self._streams[stream.number - 2]
        if stream.base == before.base or self._digest is None or stream.reason == SALVAGED:
            return True
        end = (before.id, stream.base - before.base, self._digest)
        return end == (stream.predecessor, stream.last_sequence, stream.last_digest)

    def _stream_of(self, number: int) -> Stream:
        return self._streams[max(0, bisect_left(self._bases, number) - 1)]

    def _break(self, number: int, what: str) -> None:
        if self.verdict.breach is None:
            stream = self._stream_of(number) if self._streams else None
            self.verdict.breach = Breach(stream.id if stream else "", number - (stream.base if stream else 0), what)


def _uuid_text(identity: object) -> str | None:
    return str(UUID(bytes=identity)) if isinstance(identity, bytes) and len(identity) == 16 else None
