"""Verification of the ledger: every event, the digest chain, identities, and references to events."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from gateway import event as event_module
from gateway.ledger.file import Mark
from gateway.ledger.stream import SALVAGED, Stream

BREACHES_KEPT = 100
"""Breaches of one ledger that are listed; more are only counted."""


class Breach(NamedTuple):
    """An event that differs from what was written, or a wrong reference to it."""

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
    breaches: list[Breach] = field(default_factory=list)
    """The first ``BREACHES_KEPT`` of them, in order of the walk."""
    breach_count: int = 0

    @property
    def breach(self) -> Breach | None:
        """The first breach; None where the ledger is what was written."""
        return self.breaches[0] if self.breaches else None


class Walk:
    """Verifies a whole ledger event by event; no breach ends the walk."""

    def __init__(self, streams: list[Stream], source: str, mark: Mark | None) -> None:
        """Begin; ``mark`` is the end of the chain that was stored beside the ledger before the walk."""
        self.verdict = Verdict(streams=len(streams))
        self.number = 0
        self._streams = streams
        self._bases = [stream.base for stream in streams]
        self._source = source
        self._mark = mark
        self._digest: str | None = None
        """Digest of the previous event; None where that is lost."""
        self._salvaged = next((stream for stream in reversed(streams) if stream.reason == SALVAGED), None)

    @property
    def can_go_on(self) -> bool:
        """Whether there is a stream that events can belong to."""
        return bool(self._streams)

    def step(self, row: Row) -> None:
        """Verify the next event."""
        number = row.sequence
        missing = number - self.number - 1
        if missing and (self._salvaged is None or number - 1 > self._salvaged.base):
            self._add_breach(self.number + 1, "the event is missing")
        else:
            self.verdict.lost += missing
        if missing:
            self._digest = None
        what = self._fault(row, number)
        if what is not None:
            self._add_breach(number, what)
        self.number = number
        self._digest = row.digest
        self.verdict.events += 1
        self.verdict.punches += row.topic.startswith("punch/")
        self.verdict.forgotten += row.body is None

    def end(self, dangling_references: list[tuple[int, str]]) -> Verdict:
        """Verify what needs all events, and return the result."""
        if not self.can_go_on:
            self._add_breach(1, "the ledger has no stream")
            return self.verdict
        if self._mark is not None and self._mark.number > self.number:
            self._add_breach(self.number + 1, "the newest events are missing: more were written than there are")
        elif self._salvaged is not None and self.verdict.lost != self._salvaged.lost:
            what = f"{self.verdict.lost} events before it are missing, {self._salvaged.lost} were lost to damage"
            self._add_breach(self._salvaged.base + 1, what)
        for number, what in dangling_references:
            self._add_breach(number, what)
        return self.verdict

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

    def _add_breach(self, number: int, what: str) -> None:
        """Note that something is wrong with the event of this number."""
        self.verdict.breach_count += 1
        if len(self.verdict.breaches) < BREACHES_KEPT:
            stream = self._stream_of(number) if self._streams else None
            self.verdict.breaches.append(
                Breach(stream.id if stream else "", number - (stream.base if stream else 0), what)
            )


def _uuid_text(identity: object) -> str | None:
    return str(UUID(bytes=identity)) if isinstance(identity, bytes) and len(identity) == 16 else None
